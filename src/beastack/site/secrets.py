"""Random secrets of a site: made once, kept in one file that only root can read."""

from __future__ import annotations

import json
import os
import secrets as random_source
from collections.abc import Iterable, Mapping
from pathlib import Path

#: Every secret a site has. Adding a name here makes it on the next ``up``.
NAMES = (
    "admin", "demo",
    "user-glance", "user-placement", "user-nova", "user-neutron",
    "db-keystone", "db-glance", "db-placement", "db-nova", "db-neutron",
    "messaging", "erlang-cookie", "metadata-proxy",
)  # fmt: skip


def add(path: Path, values: Mapping[str, str]) -> None:
    """Keep further secrets, in place of earlier ones of their names."""
    write(path, as_text({**load_or_make(path), **values}))


def load_or_make(path: Path) -> dict[str, str]:
    """Return the site's secrets by name, making those that are missing.

    A secret is 32 hexadecimal digits: no character in it means anything to a
    URL, an INI file, SQL or a shell.
    """
    known: dict[str, str] = json.loads(path.read_text()) if path.exists() else {}
    missing = [name for name in NAMES if name not in known]
    if missing:
        known.update(make(missing))
        write(path, as_text(known))
    return known


def make(names: Iterable[str] = NAMES) -> dict[str, str]:
    """Return new secrets."""
    return {name: random_source.token_hex(16) for name in names}


def as_text(known: Mapping[str, str]) -> str:
    """Return secrets as the text of their file."""
    return json.dumps(dict(known), indent=1)


def write(path: Path, text: str) -> None:
    """Replace the file, whole, for root alone."""
    temporary = path.with_name(f".{path.name}.new")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    temporary.replace(path)
