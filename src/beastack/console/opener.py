"""The one thing that needs root: opening side B of an instance's nmdm pair.

The nodes belong to root with mode 0600, and new ones do each time a pair
comes back after both sides were closed (nmdm(4)). Of the ways to let an
unprivileged daemon have them this is the narrowest that needs nobody's help
after a restart:

- ``start``, called as root in the daemon's process before that changes its
  user, forks a child that keeps root and does one thing: it is told the name
  of a console (``names.Key``, checked again here), builds the node's path by
  rule, opens side B and passes the descriptor. It knows no path, no other
  verb, and no other asker than the daemon at the end of its socket pair,
  whose end is its own end.
- The nodes stay root's: no other user, and not the daemon either, can open a
  second reader that would take bytes away (two readers share them).
- Giving the node to the daemon's user would be lost with the pair, which
  goes when a guest and the daemon are down at the same time; somebody
  privileged would be needed just then. A rule of devfs(8) would last, but
  belongs to the host's administrator and holds for every pair of that name.
- A privileged context of nova-compute's would make every restart of the
  daemon wait for nova-compute.
"""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import socket
import sys

from beastack.console.names import Key, parse_key
from beastack.freebsd import nmdm

REQUEST_LIMIT = 64  # bytes; a key has at most 38
PATIENCE = 10.0  # seconds: an open that does not block takes none of them

_channel: socket.socket | None = None


class OpenerGone(Exception):
    """The opener does not answer, and nothing can be opened any more without a new start."""


def start() -> None:
    """Fork the opener and remember the way to it; to be called as root, before the user changes.

    :raises OSError: no process can be made
    """
    global _channel
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    if os.fork() == 0:
        try:
            ours.close()
            serve(theirs)
        except BaseException as error:
            sys.excepthook(type(error), error, error.__traceback__)
        finally:
            os._exit(0)
    theirs.close()
    ours.settimeout(PATIENCE)
    _channel = ours


def channel() -> socket.socket | None:
    """Return this process's way to its opener; None without one."""
    return _channel


def open_side_b(key: Key) -> int:
    """Return a new descriptor of side B of a console's pair: raw, not blocking, not minding carrier.

    Without an opener (the daemon runs as root, or the nodes are its own) it is opened here.

    :raises OSError: it cannot be opened; ENOENT: the module nmdm is not loaded
    :raises OpenerGone: the opener has ended
    """
    if _channel is None:
        return nmdm.open_side(key.pair.b)
    try:
        _channel.send(str(key).encode())
        answer, descriptors, _, _ = socket.recv_fds(_channel, REQUEST_LIMIT, 1)
    except OSError as error:
        raise OpenerGone(f"the opener does not answer ({error})") from None
    if descriptors:
        os.set_inheritable(descriptors[0], False)
        return descriptors[0]
    if not answer:
        raise OpenerGone("the opener has ended")
    number = int(answer)
    raise OSError(number, os.strerror(number), key.pair.b)


def serve(connection: socket.socket) -> None:
    """Open what is asked for until the asker is gone."""
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # it ends with the daemon, and not before
    while request := connection.recv(REQUEST_LIMIT):
        try:
            descriptor = nmdm.open_side(parse_key(request.decode("ascii", "replace")).pair.b)
        except ValueError:
            connection.send(b"%d" % errno.EINVAL)
            continue
        except OSError as error:
            connection.send(b"%d" % (error.errno or errno.EIO))
            continue
        try:
            with contextlib.suppress(BrokenPipeError):
                socket.send_fds(connection, [b"0"], [descriptor])
        finally:
            os.close(descriptor)
