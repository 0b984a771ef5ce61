"""Reads the record of Linuxisms that programs inside a host leave (python/freebsd_personality/recorder.py)."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Linuxism:
    """One use of something that only Linux has.

    ``kind`` is open, listdir, stat, readlink, exec, ctypes, socket,
    setsockopt or ioctl; ``where`` is "file:line", empty when it is not known;
    ``time`` is in seconds since 1970.
    """

    time: float
    pid: int
    program: str
    kind: str
    what: str
    where: str
    guarded: bool = False  # a file whose absence the program expects

    def as_dict(self) -> dict[str, Any]:
        """Return the fields as they are in the record."""
        return asdict(self)


def read_linuxisms(path: Path) -> list[Linuxism]:
    """Return the records of a file in their order; none when there is no file.

    Every program of the host may write to the file, so a line that is not a
    record is passed over.
    """
    try:
        lines = path.read_text(errors="replace").splitlines()
    except FileNotFoundError:
        return []
    return [record for record in map(_parse, lines) if record is not None]


def _parse(line: str) -> Linuxism | None:
    try:
        fields = json.loads(line)
        return Linuxism(
            time=float(fields["time"]),
            pid=int(fields["pid"]),
            program=str(fields["program"]),
            kind=str(fields["kind"]),
            what=str(fields["what"]),
            where=str(fields["where"]),
            guarded=bool(fields.get("guarded", False)),
        )
    except (ValueError, KeyError, TypeError):
        return None
