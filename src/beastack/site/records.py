"""What a site made outside its state directory, in order, so that it can be taken back.

One JSON object to a line, appended and synced before the thing is made: a
crash in between leaves a record of something that does not exist, which is
harmless, and never the opposite.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True)
class Record:
    """One thing made: its kind (packages, user, file, link, module, ...), name and what undoing needs."""

    kind: str
    name: str
    detail: str = ""


def read(path: Path) -> list[Record]:
    """Return all records, the oldest first. A half-written last line is ignored."""
    found = []
    try:
        lines = path.read_text().splitlines()
    except FileNotFoundError:
        return []
    for line in lines:
        try:
            found.append(Record(**json.loads(line)))
        except (ValueError, TypeError):
            continue
    return found


def add(path: Path, record: Record) -> None:
    """Append a record unless it is there already."""
    if record in read(path):
        return
    text = json.dumps(asdict(record)) + "\n"
    written = path.read_bytes() if path.exists() else b""
    if written and not written.endswith(b"\n"):
        text = "\n" + text  # a crash left a half line: ours must not be glued to it
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    with os.fdopen(descriptor, "w") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())


def drop(path: Path, record: Record) -> None:
    """Remove one record, whole file replaced."""
    left = [item for item in read(path) if item != record]
    temporary = path.with_name(f".{path.name}.new")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as stream:
        stream.writelines(json.dumps(asdict(item)) + "\n" for item in left)
        stream.flush()
        os.fsync(stream.fileno())
    temporary.replace(path)
