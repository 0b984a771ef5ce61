"""What the daemon must know after a restart: ``consoles.json`` in its directory, replaced as a whole."""

from __future__ import annotations

import json
import os
from collections.abc import Container, Iterable
from dataclasses import dataclass
from pathlib import Path

from beastack.console.names import Key, Nmdm, Tcp, make_key, parse_line

NAME = "consoles.json"
_VERSION = 1
_LIMIT = 4 << 20  # bytes


@dataclass(frozen=True)
class Entry:
    """One console and the port that it had."""

    key: Key
    line: Nmdm | Tcp
    port: int


def write_state(directory: Path, entries: Iterable[Entry], next_port: int) -> None:
    """Write the file; whoever reads it finds all of the old or all of the new.

    :raises OSError: it cannot be written; the old one stays
    """
    consoles = [
        {"uuid": entry.key.uuid, "index": entry.key.index, "line": str(entry.line), "port": entry.port}
        for entry in entries
    ]
    text = json.dumps({"version": _VERSION, "next_port": next_port, "consoles": consoles}, indent=1)
    path = directory / NAME
    fresh = path.with_name(f"{NAME}.new")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with open(descriptor, "w") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    os.replace(fresh, path)


def set_aside(directory: Path) -> Path:
    """Rename a file that cannot be read, so that nothing in it is lost, and return its new path.

    :raises OSError: it cannot be renamed
    """
    aside = directory / f"{NAME}.bad"
    os.replace(directory / NAME, aside)
    return aside


def read_state(directory: Path, tcp_ports: Container[int]) -> tuple[list[Entry], int]:
    """Return the consoles of before, and the next port to be given (0 when it is not known).

    What is read is checked as a request is. One console is read once: of two
    with the same name the first counts.

    :raises ValueError: it is not what ``write_state`` writes
    :raises OSError: it is there and cannot be read
    """
    try:
        with (directory / NAME).open() as stream:
            text = stream.read(_LIMIT + 1)
    except FileNotFoundError:
        return [], 0
    if len(text) > _LIMIT:
        raise ValueError("it is too large")
    try:
        data = json.loads(text)
        if data["version"] != _VERSION:
            raise ValueError(f"it is of version {data['version']!r:.20}")
        entries: dict[Key, Entry] = {}
        for item in data["consoles"]:
            key = make_key(item["uuid"], item["index"])
            entries.setdefault(key, Entry(key, parse_line(item["line"], key, tcp_ports), int(item["port"])))
        return list(entries.values()), int(data["next_port"])
    except (KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"it is not the daemon's: {error!r:.60}") from None
