"""Log files: opened for appending, rotated by copy and truncation.

Services hold their log open for life and do not know of the rotation, so
the file keeps its identity: its content moves to ``NAME.1`` and so on.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path


def open_log(path: Path) -> int:
    """Open a log file for appending and return its descriptor (readable by root and its group)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)


def rotate(path: Path, max_bytes: int, keep: int) -> bool:
    """Rotate one log if it is larger than ``max_bytes``; return whether it was.

    :raises OSError: it cannot be copied (a full disk); all logs are then as before
    """
    try:
        if path.stat().st_size <= max_bytes:
            return False
    except FileNotFoundError:
        return False
    if keep > 0:
        copy = path.with_name(f"{path.name}.new")
        try:
            shutil.copyfile(path, copy)
            copy.chmod(0o640)
        except OSError:
            copy.unlink(missing_ok=True)
            raise
    # What is written from here on to the truncation is lost: keep it short.
    os.truncate(path, 0)
    for number in range(keep - 1, 0, -1):
        older = path.with_name(f"{path.name}.{number}")
        if older.exists():
            older.replace(path.with_name(f"{path.name}.{number + 1}"))
    if keep > 0:
        copy.replace(path.with_name(f"{path.name}.1"))
    return True


def last_lines(path: Path, count: int, limit: int = 65536) -> list[str]:
    """Return up to ``count`` last lines from the last ``limit`` bytes of a log."""
    try:
        with path.open("rb") as stream:
            stream.seek(0, os.SEEK_END)
            stream.seek(max(0, stream.tell() - limit))
            text = stream.read().decode(errors="replace")
    except FileNotFoundError:
        return []
    return text.splitlines()[-count:]
