"""The table: one row for each figure, both layouts, their ratio, and what is aimed at."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Row:
    """Where a figure is found, how it is shown, and which limits it is held to.

    ``limit`` is absolute, ``ratio`` relative to the stock layout; for a rate
    more is better, for everything else less.
    """

    label: str
    unit: str
    group: str
    key: str
    limit: float | None = None
    ratio: float | None = None
    more: bool = False


def _api(name: str) -> list[Row]:
    rows = [
        Row(f"{name}, {clients} client{'s' if clients > 1 else ''}, {key}", "ms", f"{name} x{clients}", key, ratio=1.0)
        for clients in (1, 8)
        for key in ("p50", "p95")
    ]
    return [*rows, Row(f"{name}, 8 clients", "/s", f"{name} x8", "rate", ratio=1.0, more=True)]


ROWS = (
    Row("services stopped → keystone answers", "s", "start", "keystone answers"),
    Row("services stopped → six APIs answer", "s", "start", "six APIs answer"),
    Row("services stopped → compute and agents report", "s", "start", "cloud answers"),
    Row("`down`", "s", "restart", "warm down"),
    Row("warm `up` after `down`", "s", "restart", "warm up", limit=25),
    Row("PSS, idle", "MB", "idle", "pss", ratio=0.5),
    Row("PSS, after the guests below", "MB", "after guests", "pss", ratio=0.5),
    Row("processes", "", "idle", "processes"),
    Row("processor, idle", "% of a core", "idle", "cpu"),
    *_api("token issue"),
    *_api("GET /servers"),
    *_api("GET /networks"),
    Row("server create → ACTIVE, p50", "s", "create", "p50"),
    Row("server delete → gone, p50", "s", "create", "deleted p50"),
    Row("10 creates at once: first ACTIVE", "s", "ten", "first"),
    Row("10 creates at once: median ACTIVE", "s", "ten", "median"),
    Row("10 creates at once: all ACTIVE", "s", "ten", "last", limit=30),
    Row("10 deletes: all gone", "s", "ten", "all deleted"),
)


def markdown(stock: Mapping[str, Any], ours: Mapping[str, Any]) -> str:
    """Return the rows that were measured as a Markdown table."""
    lines = ["| | stock | beastack | ratio | aim | met |", "|---|--:|--:|--:|---|---|"]
    for row in ROWS:
        left, right = stock.get(row.group, {}).get(row.key), ours.get(row.group, {}).get(row.key)
        if left is None and right is None:
            continue
        ratio = right / left if left and right is not None else None
        numbers = [_number(left, row.unit), _number(right, row.unit), _number(ratio, "", 2)]
        cells = [row.label, *numbers, *_aim(row, right, ratio)]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _aim(row: Row, value: float | None, ratio: float | None) -> tuple[str, str]:
    sign = "≥" if row.more else "≤"
    if row.limit is not None:
        return f"{sign} {row.limit:g} {row.unit}", _yes(value, row.limit, row.more)
    if row.ratio is not None:
        return f"{sign} {row.ratio:g} × stock", _yes(ratio, row.ratio, row.more)
    return "", ""


def _yes(value: float | None, limit: float, more: bool) -> str:
    if value is None:
        return ""
    return "yes" if (value >= limit if more else value <= limit) else "no"


def _number(value: float | None, unit: str, digits: int = 1) -> str:
    if value is None:
        return "–"
    return f"{value:.{0 if value >= 100 else digits}f}" + (f" {unit}" if unit else "")
