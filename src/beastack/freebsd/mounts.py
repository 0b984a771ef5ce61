"""What is mounted where, from ``mount -p``."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import PurePosixPath

from beastack.freebsd import command


@dataclass(frozen=True)
class Mount:
    """One mounted file system; ``source`` is a device, a dataset or a directory."""

    source: str
    target: str
    kind: str
    options: tuple[str, ...]


def parse_mounts(output: str) -> tuple[Mount, ...]:
    """Read lines of fstab(5) form, in the order of mounting.

    mount(8) separates names with tabs, or with one space after a name of 24
    or more bytes, and does not escape blanks inside them; the last four
    columns have none, so they are taken from the right.

    :raises ValueError: a line has another form
    """
    mounts = []
    for line in output.splitlines():
        columns = line.rsplit(None, 4)
        if len(columns) != 5:
            raise ValueError(f"mount(8) printed a line of an unknown form: {line!r}")
        names, kind, options, _dump, _pass = columns
        parts = re.split(r"\t+", names, maxsplit=1)
        if len(parts) != 2:
            parts = names.split(None, 1)
        if len(parts) != 2:
            raise ValueError(f"mount(8) printed a line of an unknown form: {line!r}")
        mounts.append(Mount(parts[0].strip(), parts[1].strip(), kind, tuple(options.split(","))))
    return tuple(mounts)


def read_mounts() -> tuple[Mount, ...]:
    """Return all mounts that the caller's jail can see.

    :raises CommandError: mount(8) failed
    """
    return parse_mounts(command.run(["mount", "-p"]).stdout)


def find_mount(path: str, mounts: Iterable[Mount]) -> Mount | None:
    """Return the mount that a path lies on: the last one mounted nearest to it."""
    wanted = PurePosixPath(path)
    best: Mount | None = None
    for mount in mounts:
        target = PurePosixPath(mount.target)
        if not wanted.is_relative_to(target):
            continue
        # A later mount on the same directory hides the earlier one.
        if best is None or len(target.parts) >= len(PurePosixPath(best.target).parts):
            best = mount
    return best
