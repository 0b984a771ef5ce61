"""Tells what a site.toml may have in it: as data, and as an annotated file."""

from __future__ import annotations

import json
import textwrap
from dataclasses import dataclass

from beastack.site.description.kinds import rules_of
from beastack.site.description.tables import TABLES


@dataclass(frozen=True)
class Key:
    """A key as it is explained: ``default`` is TOML, or the word none."""

    name: str
    about: str
    unit: str
    accepts: str
    default: str
    toml: str


def tables() -> list[tuple[str, list[Key]]]:
    """Return all tables with their keys, in their order."""
    found = []
    for name, table in TABLES.items():
        defaults = table()
        keys = []
        for key, rule in rules_of(table).items():
            default = getattr(defaults, key)
            shown = "none" if default in (None, ()) else _toml(default)
            keys.append(Key(key, rule.about, rule.unit, rule.kind.allowed, shown, _toml(default)))
        found.append((name, keys))
    return found


def explain() -> str:
    """An annotated site.toml with every key: meaning, unit, what it accepts, default.

    The keys are commented out, so that a file begun from it keeps following
    the defaults of later releases, and so that unset ports follow
    ``site.port_offset``.  Removing the single # in front of any key keeps its default.
    """
    parts = ["# A site's description. Everything is optional; each key shows its default.\n"]
    for name, keys in tables():
        parts.append(f"\n[{name}]\n\n")
        for key in keys:
            unit = f"Unit: {key.unit}. " if key.unit else ""
            facts = f"{unit}Accepts: {key.accepts}. Default: {key.default}."
            for sentence in (key.about, facts):
                wrapped = textwrap.wrap(sentence, width=98, break_long_words=False, break_on_hyphens=False)
                parts.extend(f"# {line}\n" for line in wrapped)
            parts.append(f"#{key.name} = {key.toml}\n\n")
    return "".join(parts).rstrip("\n") + "\n"


def _toml(value: object) -> str:
    if value is None:
        return '""'
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, tuple):
        return f"[{', '.join(_toml(item) for item in value)}]"
    # JSON's numbers and strings are TOML's as well.
    return json.dumps(value)
