"""How messages about site.toml name things."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterable, Sequence

# Longer values are cut in messages.
_LONGEST_SHOWN = 60


def type_name(value: object) -> str:
    """Name the TOML type of a value, with its article."""
    # bool before int, of which it is a subclass.
    names: tuple[tuple[type, str], ...] = (
        (bool, "a boolean"),
        (int, "an integer"),
        (float, "a fractional number"),
        (str, "text"),
        (list, "a list"),
        (dict, "a table"),
    )
    for kind, name in names:
        if isinstance(value, kind):
            return name
    return "a date or time"


def wrong_type(wanted: str, value: object) -> str:
    """Say that a value is of another type than wanted."""
    # The value itself is not shown: it may be a URL with a password, in the wrong brackets.
    unquote = isinstance(value, str) and re.fullmatch(r"true|false|[0-9.]+", value)
    return f"must be {wanted}, not {type_name(value)}{'; remove the quotes' if unquote else ''}"


def shown(value: object) -> str:
    """Show a value, cut when it is long."""
    text = json.dumps(value, ensure_ascii=False) if isinstance(value, str) else str(value)
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}..."


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Ask whether a name that is near was meant, or say nothing."""
    near = difflib.get_close_matches(name.lower(), list(known), n=1)
    return f"; did you mean {near[0]}?" if near else ""


def listed(names: Iterable[str]) -> str:
    """List names."""
    return ", ".join(names)


def dotted(path: Sequence[str]) -> str:
    """Write a key's path as TOML does."""
    bare = re.compile(r"[A-Za-z0-9_-]+")
    return ".".join(part if bare.fullmatch(part) else json.dumps(part, ensure_ascii=False) for part in path)


def printable(text: str) -> str:
    """The text on one line, whatever a path or a key had in it."""
    return "".join(each if each.isprintable() else ascii(each)[1:-1] for each in text)
