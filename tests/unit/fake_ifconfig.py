"""An ifconfig that answers what a test lays down, in place of the runner."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from pathlib import Path

import pytest

from beastack.freebsd import interface_change, interface_run
from beastack.freebsd.command import CommandError, Result

GOLDEN = Path(__file__).parent / "golden" / "freebsd" / "ifconfig"


class FakeIfconfig:
    """Records each argv; answers what was laid down for it, else with silence."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.calls: list[str] = []
        self.timeouts: list[float] = []
        self.answers: dict[str, list[str | tuple[str, str] | CommandError]] = {}

        monkeypatch.setattr(interface_run, "run", self.run)
        monkeypatch.setattr(interface_change, "_POLL_INTERVAL", 0.0)
        monkeypatch.setattr(socket, "if_nameindex", lambda: [(1, "em0"), (2, "lo0"), (7, "twice"), (8, "twice")])
        monkeypatch.setattr(socket, "if_nametoindex", lambda name: 11)

    def answer(self, call: str, *answers: str | tuple[str, str] | CommandError) -> None:
        """Lay down stdout, or (stdout, stderr) of a failure; the last answer stays."""
        self.answers[call] = list(answers)

    def run(self, argv: Sequence[str], *, timeout: float = 60.0) -> Result:
        assert argv[0] == "ifconfig"
        words = argv[1:]
        # With a bar between the words where one of them has a blank in it.
        call = ("|" if any(" " in word for word in words) else " ").join(words)
        self.calls.append(call)
        self.timeouts.append(timeout)
        laid = self.answers.get(call, [""])
        answer = laid.pop(0) if len(laid) > 1 else laid[0]
        if isinstance(answer, CommandError):
            raise answer
        if isinstance(answer, tuple):
            raise CommandError(argv, 1, answer[0], f"ifconfig: {answer[1]}\n")
        return Result(tuple(argv), 0, answer, "")


def read_golden(name: str) -> str:
    return (GOLDEN / name).read_text()


def block(name: str, *lines: str, flags: str = "8802<BROADCAST,SIMPLEX,MULTICAST>") -> str:
    return "".join([f"{name}: flags={flags} metric 0 mtu 1500\n", *(f"\t{line}\n" for line in lines)])
