"""Somebody at a console: a TCP connection that gets what the guest says and may type.

Whoever does not take what is sent is cut off when too much waits for him; the
guest, the log and the others never wait.
"""

from __future__ import annotations

import socket
from collections.abc import Callable

from beastack.console.loop import READ, WRITE, Loop

OUTPUT_LIMIT = 262144  # bytes that may wait for one viewer
CHUNK = 16384


class Viewer:
    """One connection."""

    def __init__(
        self, loop: Loop, connection: socket.socket,
        typed: Callable[[bytes], None], left: Callable[[Viewer], None],
    ) -> None:  # fmt: skip
        connection.setblocking(False)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._connection = connection
        self._typed = typed
        self._left = left
        self._pending = bytearray()
        self._heard = True
        self._watch = loop.watch(connection.fileno(), READ, self._ready)

    def send(self, data: bytes) -> None:
        """Send now what goes, and the rest when it goes."""
        if self._watch.ended:
            return
        if not self._pending:
            try:
                data = data[self._connection.send(data) :]
            except BlockingIOError:
                pass
            except OSError:
                self.leave()
                return
        if len(self._pending) + len(data) > OUTPUT_LIMIT:
            self.leave()
            return
        self._pending += data
        self._await()

    def hear(self, heard: bool) -> None:
        """Listen to what is typed, or let it wait in the network."""
        self._heard = heard
        self._await()

    def leave(self) -> None:
        """Hang up, and say so to the console."""
        self.close()
        self._left(self)

    def close(self) -> None:
        """Hang up."""
        self._watch.end()
        self._connection.close()

    def _await(self) -> None:
        self._watch.want((READ if self._heard else 0) | (WRITE if self._pending else 0))

    def _ready(self, event: int) -> None:
        try:
            if event == WRITE:
                del self._pending[: self._connection.send(self._pending)]
                self._await()
                return
            data = self._connection.recv(CHUNK)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if data:
            self._typed(data)
        else:
            self.leave()
