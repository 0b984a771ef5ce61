"""What a check found, and how findings are worded."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """What was looked at, whether it is right, what was seen, and what to do if it is not."""

    what: str
    ok: bool
    seen: str
    remedy: str


def good(what: str, seen: str) -> Finding:
    """Return that a thing is right."""
    return Finding(what, True, seen, "")


def bad(what: str, seen: str, remedy: str) -> Finding:
    """Return that a thing is wrong."""
    return Finding(what, False, seen, remedy)


def listed(names: Iterable[str], most: int = 8) -> str:
    """Return names as one text, the first few of many."""
    known = list(names)
    more = f" and {len(known) - most} more" if len(known) > most else ""
    return ", ".join(known[:most]) + more
