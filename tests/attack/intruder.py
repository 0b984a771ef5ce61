"""What an attacker does, in a process of his own with nothing but an unprivileged user's rights."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import sys
import tempfile
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

LIMIT = 30.0  # seconds that anything may take before it counts as never


def run_as(uid: int, work: Callable[[], Any]) -> Any:
    """Return what ``work`` returns in a process of the user ``uid``; a value that JSON can carry.

    :raises AssertionError: it failed; the traceback is in the message
    """
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            os.close(read)
            if os.geteuid() == 0 and uid != 0:
                os.setgroups([])
                os.setresgid(uid, uid, uid)
                os.setresuid(uid, uid, uid)
            os.chdir("/")
            try:
                result = {"value": work()}
            except BaseException:
                result = {"error": traceback.format_exc()}
            with os.fdopen(write, "w") as stream:
                json.dump(result, stream)
            status = 0
        finally:
            os._exit(status)
    os.close(write)
    with os.fdopen(read) as stream:
        text = stream.read()
    os.waitpid(pid, 0)
    result = json.loads(text or '{"error": "it said nothing"}')
    assert "error" not in result, result["error"]
    return result["value"]


class Service:
    """A service's own socket in a private directory, as oslo.privsep makes it."""

    def __init__(self) -> None:
        self.directory = tempfile.mkdtemp(prefix="attack-")
        self.path = os.path.join(self.directory, "privsep.sock")
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(self.path)
        self.listener.listen(8)
        self.listener.settimeout(LIMIT)

    def __enter__(self) -> Service:
        return self

    def __exit__(self, *_: object) -> None:
        self.listener.close()
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.path)
        os.rmdir(self.directory)

    def connect(self) -> socket.socket:
        """Return a connection to it, which a daemon is to serve."""
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(self.path)
        return connection

    def accept(self) -> socket.socket:
        """Return the service's end of the oldest connection."""
        connection, _ = self.listener.accept()
        connection.settimeout(LIMIT)
        return connection


def knock(door: Path) -> socket.socket:
    """Return a connection to the supervisor."""
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(LIMIT)
    connection.connect(str(door))
    return connection


def say(door: Path, data: bytes, descriptors: Sequence[int] = ()) -> str:
    """Send bytes and descriptors to the supervisor, and return all that it answers until it hangs up."""
    with knock(door) as connection:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            if descriptors:
                socket.send_fds(connection, [data], descriptors)
            else:
                connection.sendall(data)
        return listen(connection)


def listen(connection: socket.socket) -> str:
    """Return what is said until the other end hangs up."""
    heard = b""
    with contextlib.suppress(ConnectionResetError):
        while more := connection.recv(1 << 16):
            heard += more
    return heard.decode()


def ask(door: Path, name: str, descriptor: int) -> str:
    """Ask for a privileged daemon; return the error, or nothing when there is one."""
    answer = say(door, request(name), [descriptor])
    return str(json.loads(answer).get("error", ""))


def request(name: object) -> bytes:
    """Return a well-formed request."""
    return json.dumps({"op": "helper", "name": name}).encode() + b"\n"


def obtain(door: Path, name: str) -> socket.socket:
    """Return a connection to a privileged daemon that was asked for as it should be."""
    with Service() as service:
        with service.connect() as connection:
            error = ask(door, name, connection.fileno())
        if error:
            raise AssertionError(f"{name} was refused: {error}")
        return service.accept()


def talk(daemon: socket.socket, line: str = "report") -> Any:
    """Send one line to a daemon of ``victim`` and return its report."""
    daemon.sendall(line.encode() + b"\n")
    with daemon.makefile() as stream:
        return json.loads(stream.readline())


def listen_all(connection: socket.socket) -> None:
    """Wait until the other end hangs up, whatever it says."""
    with contextlib.suppress(ConnectionResetError):
        while connection.recv(1 << 16):
            pass


def is_over(connection: socket.socket) -> bool:
    """Return whether the other end has gone."""
    try:
        return connection.recv(1) == b""
    except ConnectionResetError:
        return True


ME = os.geteuid()
IS_ROOT = ME == 0
IS_FREEBSD = sys.platform.startswith("freebsd")
