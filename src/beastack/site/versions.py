"""Versions, and bounds as Python distributions state them (PEP 440), as far as released versions need."""

from __future__ import annotations

import re

_BOUND = re.compile(r"(~=|==|!=|<=|>=|<|>)\s*([0-9]+(?:\.[0-9]+)*)(\.\*)?")
_RELEASE = re.compile(r"[0-9]+(?:\.[0-9]+)*")

Release = tuple[int, ...]


def parse_release(text: str) -> Release:
    """Return the numbers that a version begins with, without zeros at the end; () if it begins with none."""
    match = _RELEASE.match(text)
    return _release(match[0]) if match else ()


def _release(text: str) -> Release:
    numbers = [int(word) for word in text.split(".")]
    while len(numbers) > 1 and numbers[-1] == 0:
        numbers.pop()
    return tuple(numbers)


def is_within(version: str, bounds: str) -> bool:
    """Return whether a version keeps within bounds, as ``>=49.0.0,<51``.

    :raises ValueError: this is no bound of released versions
    """
    return all(_holds(parse_release(version), part.strip()) for part in bounds.split(",") if part.strip())


def _holds(have: Release, bound: str) -> bool:
    match = _BOUND.fullmatch(bound)
    if match is None:
        raise ValueError(f"{bound!r} is no bound of a version")
    operator, text, star = match[1], match[2], match[3]
    limit = _release(text)
    if operator == "~=":
        words = text.split(".")
        return have >= limit and _begins(have, ".".join(words[:-1]))
    if operator in ("==", "!="):
        same = _begins(have, text) if star else have == limit
        return same == (operator == "==")
    return {">=": have >= limit, "<=": have <= limit, ">": have > limit, "<": have < limit}[operator]


def _begins(have: Release, prefix: str) -> bool:
    wanted = [int(word) for word in prefix.split(".")]
    padded = [*have, *([0] * (len(wanted) - len(have)))]
    return padded[: len(wanted)] == wanted
