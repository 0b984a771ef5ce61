"""Files of a host's root: links and copies that are made only where something changes."""

from __future__ import annotations

import os
import shutil
from pathlib import Path


def link(path: Path, target: str) -> None:
    """Make a symbolic link, in place of what is there."""
    if path.is_symlink() and os.readlink(path) == target:
        return
    if path.is_symlink() or path.exists():
        path.unlink()
    path.symlink_to(target)


def copy(source: Path, target: Path) -> None:
    """Copy a file with its mode; nobody sees half of it."""
    part = target.with_name(f".{target.name}.part")
    shutil.copyfile(source, part)
    shutil.copymode(source, part)
    part.rename(target)
