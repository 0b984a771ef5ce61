"""A host of recorded answers: the commands a test expects, in order, and what each prints."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from beastack.freebsd import command
from beastack.freebsd.command import CommandError, CommandNotFound, Result

GOLDEN = Path(__file__).parent / "golden" / "freebsd"


def golden(path: str) -> str:
    """Return a recorded output."""
    return (GOLDEN / path).read_text()


class Commands:
    """Stands in for the runner; every command must have been expected."""

    def __init__(self) -> None:
        self.script: list[tuple[list[str], int | None, str, str]] = []
        self.options: dict[str, Any] = {}

    def expect(self, argv: str | Sequence[str], stdout: str = "", stderr: str = "", status: int | None = 0) -> None:
        """Expect a command next; a text is split at blanks, and status None is a missing program."""
        self.script.append((argv.split() if isinstance(argv, str) else list(argv), status, stdout, stderr))

    def run(self, argv: Sequence[str], *, ok: Sequence[int] = (0,), **options: Any) -> Result:
        assert self.script, f"nothing more was expected, but: {list(argv)}"
        expected, status, stdout, stderr = self.script.pop(0)
        assert list(argv) == expected
        self.options = options
        if status is None:
            raise CommandNotFound(argv, None, "", f"[Errno 2] No such file or directory: '{argv[0]}'")
        if status not in ok:
            raise CommandError(argv, status, stdout, stderr)
        return Result(tuple(argv), status, stdout, stderr)


def play(monkeypatch: pytest.MonkeyPatch) -> Iterator[Commands]:
    """Put recorded answers in the runner's place, and see that all of them were asked for."""
    commands = Commands()
    monkeypatch.setattr(command, "run", commands.run)
    yield commands
    assert not commands.script, f"these were expected and did not run: {commands.script}"


class Clock:
    """Time that passes only when someone sleeps."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.slept: list[float] = []

    def read(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds
