"""QEMU's monitor protocol (QMP): commands with callbacks, and events."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from typing import Any

Answer = Callable[[Any], None]  # called with the result, or None when the command was refused
Event = Callable[[str, dict[str, Any]], None]


class Monitor:
    """One connection; ``read`` is called when it is readable."""

    def __init__(self, stream: socket.socket, on_event: Event) -> None:
        self.stream = stream
        self.on_event = on_event
        self.buffer = b""
        self.waiting: list[Answer] = []
        self.ready = False
        self.later: list[tuple[str, dict[str, Any], Answer]] = []

    def execute(self, command: str, answer: Answer = lambda _: None, **arguments: Any) -> None:
        """Send a command; answers come in the order of the commands."""
        if not self.ready:
            self.later.append((command, arguments, answer))
            return
        self.waiting.append(answer)
        self.stream.sendall(json.dumps({"execute": command, "arguments": arguments}).encode())

    def read(self) -> bool:
        """Take what came; returns False at the end of the connection."""
        try:
            data = self.stream.recv(65536)
        except OSError:
            data = b""
        if not data:
            return False
        *lines, self.buffer = (self.buffer + data).split(b"\n")
        for line in lines:
            if line.strip():
                self._take(json.loads(line))
        return True

    def _take(self, message: dict[str, Any]) -> None:
        if "QMP" in message:
            self.ready = True
            self.execute("qmp_capabilities")
            for command, arguments, answer in self.later:
                self.execute(command, answer, **arguments)
        elif "event" in message:
            self.on_event(message["event"], message.get("data", {}))
        elif self.waiting:
            self.waiting.pop(0)(message.get("return"))
