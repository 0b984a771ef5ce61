"""Asking ovs-vswitchd for what ovs-appctl(8) asks it for, without starting a program.

ovs-vswitchd listens on a Unix socket for JSON-RPC 1.0 requests: the method is
the command, its words are the parameters, and the result is one text
(lib/unixctl.c). The site gives the socket a fixed name in ``OVS_RUNDIR`` and
lets the agents' group at it, so that this needs no privilege.
"""

from __future__ import annotations

import json
import os
import socket
import time
from types import TracebackType
from typing import Any

SOCKET = "ovs-vswitchd.ctl"
DEFAULT_RUNDIR = "/var/run/openvswitch"  # where the package has it
TIMEOUT = 15.0


class ControlError(Exception):
    """ovs-vswitchd was not there, did not answer in time, or refused a command."""


def control_path() -> str:
    """Return the path of ovs-vswitchd's control socket."""
    return os.path.join(os.environ.get("OVS_RUNDIR") or DEFAULT_RUNDIR, SOCKET)


class Control:
    """A connection to ovs-vswitchd; usable in a ``with`` statement.

    :raises ControlError: it is not there
    """

    def __init__(self, path: str | None = None, timeout: float = TIMEOUT) -> None:
        self.path = path or control_path()
        self.timeout = timeout
        self._number = 0
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.settimeout(timeout)
        try:
            self._socket.connect(self.path)
        except OSError as error:
            self._socket.close()
            raise ControlError(f"ovs-vswitchd cannot be asked: {self.path}: {error.strerror or error}") from error

    def ask(self, command: str, *words: str) -> str:
        """Run one command and return what it printed.

        :raises ControlError: there was no answer, or a refusal
        """
        self._number += 1
        request = {"id": self._number, "method": command, "params": list(words)}
        try:
            self._socket.sendall(json.dumps(request).encode())
            reply = self._receive()
        except (OSError, ValueError) as error:
            raise ControlError(f"{command}: ovs-vswitchd did not answer: {error}") from error
        if reply.get("error") is not None:
            raise ControlError(f"{command}: {str(reply['error']).strip()}")
        return str(reply.get("result") or "")

    def _receive(self) -> dict[str, Any]:
        """Return the next message; messages follow each other without a separator."""
        end = time.monotonic() + self.timeout
        parts: list[bytes] = []
        while time.monotonic() < end:
            piece = self._socket.recv(1 << 18)
            if not piece:
                raise ConnectionError("the connection was closed")
            parts.append(piece)
            # Only what ends so can be whole: a long text is decoded once, not with each piece.
            if piece.rstrip().endswith(b"}"):
                try:
                    message = json.loads(b"".join(parts))
                except ValueError:
                    continue
                if isinstance(message, dict) and message.get("id") == self._number:
                    return message
                parts.clear()
        raise TimeoutError(f"nothing within {self.timeout:g} s")

    def close(self) -> None:
        """End the connection."""
        self._socket.close()

    def __enter__(self) -> Control:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
