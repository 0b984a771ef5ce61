"""The supervisor's control socket: JSON lines from root, one answer to each.

Never waits for who is at the other end: the supervisor has one thread.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

from beastack.supervisor.credentials import read_peer

REQUEST_LIMIT = 4 << 20  # bytes


class Control:
    """The socket and its connections. ``answer`` is called with each line, and returns what is sent back."""

    def __init__(self, selector: selectors.BaseSelector, answer: Callable[[bytes], dict[str, Any]]) -> None:
        self._selector = selector
        self._answer = answer

    def open(self, path: Path) -> None:
        """Listen at a path, in place of what an earlier supervisor left there."""
        with contextlib.suppress(FileNotFoundError):
            path.unlink()
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        before = os.umask(0o177)
        try:
            listener.bind(str(path))
        finally:
            os.umask(before)
        listener.listen(64)
        listener.setblocking(False)
        self._selector.register(listener, selectors.EVENT_READ, lambda: self._accept(listener))

    def _accept(self, listener: socket.socket) -> None:
        try:
            connection, _ = listener.accept()
        except OSError:
            return  # whoever asked is gone, or there are no descriptors left
        try:
            allowed = read_peer(connection).uid == os.geteuid()
        except OSError:
            allowed = False
        if not allowed:
            connection.close()
            return
        connection.setblocking(False)
        pending = bytearray()
        self._selector.register(connection, selectors.EVENT_READ, lambda: self._read(connection, pending))

    def _read(self, connection: socket.socket, pending: bytearray) -> None:
        try:
            data = connection.recv(1 << 16)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._hang_up(connection)
            return
        pending += data
        while (end := pending.find(b"\n")) >= 0:
            line = bytes(pending[:end])
            del pending[: end + 1]
            if not self._reply(connection, self._answer(line)):
                self._hang_up(connection)
                return
        if len(pending) > REQUEST_LIMIT:
            self._reply(connection, {"error": f"a request may have {REQUEST_LIMIT} bytes"})
            self._hang_up(connection)

    def _reply(self, connection: socket.socket, answer: dict[str, Any]) -> bool:
        """Send an answer; return False if the other end does not take it."""
        connection.settimeout(1)  # an answer fits into the socket's buffer, unless others lie unread there
        try:
            connection.sendall(json.dumps(answer).encode() + b"\n")
        except OSError:
            return False
        connection.setblocking(False)
        return True

    def _hang_up(self, connection: socket.socket) -> None:
        self._selector.unregister(connection)
        connection.close()
