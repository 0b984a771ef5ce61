"""The copy of beastack's own code that a site's processes run.

The clone may lie where unprivileged users cannot read (a home directory),
may be changed while a cloud runs, and may be moved. What runs is therefore
a copy in the state directory, replaced by ``up`` when it differs.
"""

from __future__ import annotations

import functools
import hashlib
import shutil
from pathlib import Path

import beastack
from beastack.site.layout import Layout

#: The package as it stands where this program was started from.
SOURCE = Path(beastack.__file__).resolve().parent


def _files() -> list[Path]:
    return sorted(path for path in SOURCE.rglob("*") if path.is_file() and "__pycache__" not in path.parts)


@functools.cache
def digest() -> str:
    """Return a short hash of the code this program was started from."""
    total = hashlib.sha256()
    for path in _files():
        total.update(str(path.relative_to(SOURCE)).encode() + b"\0" + path.read_bytes() + b"\0")
    return total.hexdigest()[:16]


def is_installed(layout: Layout) -> bool:
    """Return whether the site's copy is this program's code."""
    marker = layout.code / "digest"
    return marker.exists() and marker.read_text() == digest()


def install(layout: Layout) -> None:
    """Replace the site's copy, whole: a crash leaves the old one, or none and a new one beside it."""
    if is_installed(layout):
        return
    new, old = layout.root / "lib.new", layout.root / "lib.old"
    for directory in (new, old):
        shutil.rmtree(directory, ignore_errors=True)
    for path in _files():
        target = new / "beastack" / path.relative_to(SOURCE)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
        target.chmod(0o644)
    for directory in (new, *(path for path in new.rglob("*") if path.is_dir())):
        directory.chmod(0o755)
    (new / "digest").write_text(digest())
    if layout.code.exists():
        layout.code.replace(old)
    new.replace(layout.code)
    shutil.rmtree(old, ignore_errors=True)
