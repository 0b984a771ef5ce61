"""What nova-compute's driver asks of the console daemon."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import time
from collections.abc import Collection
from pathlib import Path
from typing import Any

from beastack.console.log import read_tail
from beastack.console.names import CONTROL, LOGS, check_uuid, make_key

PATIENCE = 10.0  # seconds
RETRY = 0.1  # seconds


class ConsoleError(Exception):
    """Something about consoles went wrong; the classes below say what."""


class DaemonUnreachable(ConsoleError):
    """The daemon does not answer: it is not running, is being started again, or must not be asked by this user."""


class RequestRefused(ConsoleError):
    """The daemon does not grant this: wrong identifier, wrong line, wrong user, or its disk is full."""


class LineUnavailable(ConsoleError):
    """The serial line cannot be opened; most often the module nmdm is not loaded."""


class TooManyConsoles(ConsoleError):
    """There is no room, or no port, for another console."""


_KINDS: dict[str, type[ConsoleError]] = {"line": LineUnavailable, "full": TooManyConsoles}


class Client:
    """Speaks to the daemon of ``directory``; each request has a connection of its own, so threads may share it.

    :param patience: seconds to wait for an answer; what changes something is
        asked again meanwhile when the daemon is away, for its restart takes a moment
    """

    def __init__(self, directory: Path, patience: float = PATIENCE) -> None:
        self.directory = directory
        self.patience = patience

    def ensure(self, uuid: str, line: str | None = None, *, index: int = 0) -> int:
        """Have a console, its line open, and return the TCP port it is served at.

        To be called before every start of a guest, so that nothing it prints
        is lost; for a console that is there it only makes sure.

        :param line: side B of the instance's nmdm pair (the default), or ``tcp:127.0.0.1:PORT``
        :param index: which serial port of the guest, from 0
        :raises ValueError: the identifier or the index is none
        :raises LineUnavailable: the line cannot be opened
        :raises TooManyConsoles: no room or no port
        :raises RequestRefused: not granted
        :raises DaemonUnreachable: nobody answers
        """
        key = make_key(uuid, index)
        answer = self._ask({"op": "add", "uuid": uuid, "index": index, "line": line or key.pair.b}, insist=True)
        return int(answer["port"])

    def remove(self, uuid: str, *, keep_log: bool = False) -> None:
        """Let all consoles of an instance go, and their logs; none there is no error.

        :raises RequestRefused: not granted
        :raises DaemonUnreachable: nobody answers
        """
        self._ask({"op": "remove", "uuid": uuid, "keep_log": keep_log}, insist=True)

    def remove_others(self, uuids: Collection[str]) -> None:
        """Let the consoles and logs go of every instance but these: what a lost ``remove`` left behind.

        :raises OSError: the logs' directory cannot be read
        :raises RequestRefused: not granted
        :raises DaemonUnreachable: nobody answers
        """
        found = {item["uuid"] for item in self.list()}
        for name in os.listdir(self.directory / LOGS):
            with contextlib.suppress(ValueError):
                found.add(check_uuid(name[:36]))
        for uuid in sorted(found - set(uuids)):
            self.remove(uuid)

    def read_log(self, uuid: str, count: int, *, index: int = 0) -> bytes:
        """Return the last bytes that a guest has printed; none when there is no log.

        The files are read here, by permission of the directory's group: it
        works while the daemon is away.

        :raises ValueError: the identifier or the index is none
        :raises OSError: the files cannot be read
        """
        return read_tail(self.directory / LOGS, str(make_key(uuid, index)), count)

    def list(self) -> list[dict[str, Any]]:
        """Return each console: uuid, index, line, port, state, why, viewers, lost (bytes not logged).

        :raises DaemonUnreachable: nobody answers
        """
        found: list[dict[str, Any]] = self._ask({"op": "list"})["consoles"]
        return found

    def status(self) -> dict[str, Any]:
        """Return pid, and the numbers of consoles and viewers.

        :raises DaemonUnreachable: nobody answers
        """
        return self._ask({"op": "status"})

    def _ask(self, request: dict[str, Any], *, insist: bool = False) -> dict[str, Any]:
        deadline = time.monotonic() + self.patience
        while True:
            try:
                return self._ask_once(request)
            except DaemonUnreachable as error:
                hopeless = isinstance(error.__cause__, PermissionError | TimeoutError)
                if not insist or hopeless or time.monotonic() > deadline:
                    raise
            time.sleep(RETRY)

    def _ask_once(self, request: dict[str, Any]) -> dict[str, Any]:
        path = self.directory / CONTROL
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
                connection.settimeout(self.patience)
                connection.connect(str(path))
                with contextlib.suppress(BrokenPipeError):  # the answer is there already
                    connection.sendall(json.dumps(request).encode() + b"\n")
                with connection.makefile("rb") as stream:
                    line = stream.readline()
        except OSError as error:
            raise DaemonUnreachable(f"the console daemon does not answer at {path} ({error})") from error
        if not line.endswith(b"\n"):
            raise DaemonUnreachable(f"the console daemon at {path} ended while it was asked")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            refusal = answer["error"]
            raise _KINDS.get(refusal["kind"], RequestRefused)(refusal["text"])
        return answer
