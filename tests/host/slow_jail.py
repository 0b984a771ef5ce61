"""A jail that has been removed and cannot go yet: something outside holds a socket of it."""

from __future__ import annotations

import contextlib
import os
import socket
import sys
from collections.abc import Iterator

from beastack.freebsd import jail
from beastack.freebsd.command import run
from network_lab import Lab

#: Opens a socket in the jail, and hands it to whoever listens at the path.
HAND_OVER = """
import socket, sys
held = socket.socket()
held.bind(("127.0.0.1", 7777))
held.listen()
with socket.socket(socket.AF_UNIX) as way:
    way.connect(sys.argv[1])
    socket.send_fds(way, [b"x"], [held.fileno()])
"""


@contextlib.contextmanager
def dying_jail(lab: Lab) -> Iterator[str]:
    """Make a jail, remove it while one of its sockets is held, and return its name; then let it go."""
    name = lab.add_jail()
    path = lab.directory / "hand-over"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        jail.run_in_jail(name, [sys.executable, "-c", HAND_OVER, str(path)])
        stream, _ = listener.accept()
        with stream:
            _, held, _, _ = socket.recv_fds(stream, 1, 1)
    path.unlink()
    try:
        run(["jail", "-R", name])
        yield name
    finally:
        os.close(held[0])
