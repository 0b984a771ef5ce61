"""One command that runs inside the host: what it was called with, and how it answers."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from freebsd_sim.kernel import Kernel
    from freebsd_sim.kernel.jails import Jail

NOT_SIMULATED = 78  # EX_CONFIG of sysexits(3)


class CommandExit(Exception):
    """Ends a command: ``text`` goes to standard error (a newline is added), ``status`` is the exit status."""

    def __init__(self, status: int, text: str = "") -> None:
        self.status = status
        self.text = text
        super().__init__(text)


class NotSimulated(CommandExit):
    """The real command could do this; the simulated one cannot and says so."""

    def __init__(self, what: str) -> None:
        super().__init__(NOT_SIMULATED, f"freebsd-sim: not simulated: {what}")


@dataclass(frozen=True)
class Exec:
    """What a command returns to become another program, in the same process.

    ``jail`` is entered first, then uid, gid and groups are taken. When the
    program cannot be executed, ``fail_text`` and the reason are printed and
    the exit status is ``fail_status``.
    """

    argv: Sequence[str]
    program: str | None = None  # the file to execute when it is not argv[0]
    environ: Mapping[str, str] | None = None
    cwd: str | None = None
    jail: Jail | None = None
    uid: int | None = None
    gid: int | None = None
    groups: Sequence[int] | None = None
    fail_text: str = ""
    fail_status: int = 1


@dataclass
class Call:
    """A running command. The descriptors are the caller's own."""

    argv: list[str]
    environ: dict[str, str]
    cwd: str
    pid: int
    uid: int
    gid: int
    groups: list[int]
    jail: Jail
    kernel: Kernel
    stdin: int
    stdout: int
    stderr: int
    caller_gone: Callable[[], bool] = lambda: False  # whether the caller was killed meanwhile

    @property
    def is_root(self) -> bool:
        """Whether the caller is the superuser."""
        return self.uid == 0

    def out(self, text: str) -> None:
        """Write text to standard output as it is."""
        _write(self.stdout, text)

    def err(self, text: str) -> None:
        """Write text to standard error as it is."""
        _write(self.stderr, text)

    def path(self, name: str) -> Path:
        """Return where a path of the simulated host is for this process; relative paths start at the caller's cwd."""
        inside = os.path.normpath(os.path.join(self.cwd, name))
        return self.kernel.root / inside.lstrip("/")


def _write(descriptor: int, text: str) -> None:
    data = text.encode(errors="surrogateescape")
    with contextlib.suppress(BrokenPipeError):
        while data:
            data = data[os.write(descriptor, data) :]
