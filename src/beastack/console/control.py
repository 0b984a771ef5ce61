"""The control socket: one line of JSON in, one line of JSON out, then it is closed.

Only users that the daemon was told of are heard, by what the kernel says of
them. A connection has ten seconds for its request and its answer, and a
request has at most one kilobyte; nobody is waited for.
"""

from __future__ import annotations

import json
import os
import socket
import stat
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

from beastack.console.loop import READ, WRITE, Loop
from beastack.console.peer import read_peer_uid

MODE = 0o660
REQUEST_LIMIT = 1024  # bytes
CONNECTIONS = 32  # at once; others wait in the kernel's queue
PATIENCE = 10.0  # seconds

Handler = Callable[[dict[str, Any]], dict[str, Any]]


class Refused(Exception):
    """A request that is not granted. ``kind`` is for programs, the text for people."""

    def __init__(self, kind: str, text: str) -> None:
        self.kind = kind
        super().__init__(text)


def parse_request(line: bytes) -> dict[str, Any]:
    """Return the request in a line.

    :raises Refused: it is not one JSON object
    """
    try:
        request = json.loads(line)
    except (ValueError, RecursionError):
        raise Refused("request", "not one line of JSON") from None
    if not isinstance(request, dict):
        raise Refused("request", "not a JSON object")
    return request


class Control:
    """The listener and its connections."""

    def __init__(self, loop: Loop, path: Path, peers: Collection[int], handle: Handler) -> None:
        self._loop = loop
        self._path = path
        self._peers = frozenset(peers)
        self._handle = handle
        self._connections: set[_Connection] = set()
        self._listener = _listen(path)
        self._watch = loop.watch(self._listener.fileno(), READ, lambda event: self._accept())

    def close(self) -> None:
        """Hear nobody any more."""
        self._watch.end()
        self._listener.close()
        for connection in list(self._connections):
            connection.close()
        self._path.unlink(missing_ok=True)

    def answer(self, line: bytes) -> dict[str, Any]:
        """Return the answer to a request."""
        try:
            return {"ok": True, **self._handle(parse_request(line))}
        except Refused as error:
            return {"error": {"kind": error.kind, "text": str(error)}}

    def left(self, connection: _Connection) -> None:
        """Note the end of a connection."""
        self._connections.discard(connection)
        if not self._watch.ended:
            self._watch.want(READ)

    def _accept(self) -> None:
        try:
            connection, _ = self._listener.accept()
        except OSError:
            return
        made = _Connection(self._loop, connection, self)
        self._connections.add(made)
        if len(self._connections) >= CONNECTIONS:
            self._watch.want(0)
        try:
            uid = read_peer_uid(connection)
        except OSError:
            made.close()
            return
        if uid not in self._peers:
            made.say({"error": {"kind": "user", "text": f"uid {uid} has no business here"}})


class _Connection:
    def __init__(self, loop: Loop, connection: socket.socket, control: Control) -> None:
        connection.setblocking(False)
        self._connection = connection
        self._control = control
        self._request = bytearray()
        self._answer = b""
        self._limit = loop.call_after(PATIENCE, self.close)
        self._watch = loop.watch(connection.fileno(), READ, self._ready)

    def close(self) -> None:
        if not self._watch.ended:
            self._watch.end()
            self._limit.cancel()
            self._connection.close()
            self._control.left(self)

    def say(self, answer: dict[str, Any]) -> None:
        self._answer = json.dumps(answer).encode() + b"\n"
        self._watch.want(WRITE)
        self._ready(WRITE)

    def _ready(self, event: int) -> None:
        try:
            if event == WRITE:
                self._answer = self._answer[self._connection.send(self._answer) :]
                if not self._answer:
                    self.close()
                return
            data = self._connection.recv(REQUEST_LIMIT)
        except BlockingIOError:
            return
        except OSError:
            self.close()
            return
        self._request += data
        line, end, rest = bytes(self._request).partition(b"\n")
        if not data:
            self.close()
        elif len(self._request) > REQUEST_LIMIT or rest:
            self.say({"error": {"kind": "request", "text": f"one line of at most {REQUEST_LIMIT} bytes"}})
        elif end:
            self.say(self._control.answer(line))


def _listen(path: Path) -> socket.socket:
    # The directory is locked: who left a socket here is gone.
    if path.is_socket():
        path.unlink()
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o777 & ~MODE)
    try:
        listener.bind(str(path))
    except OSError as error:
        listener.close()
        raise OSError(error.errno, f"{path}: {error.strerror or error}") from None
    finally:
        os.umask(before)
    if stat.S_IMODE(path.stat().st_mode) != MODE:
        path.chmod(MODE)  # where the umask does not count for sockets
    listener.listen(128)
    listener.setblocking(False)
    return listener
