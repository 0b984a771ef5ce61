"""A run's result, as text and as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from beastack.cli.tempest.outcomes import Outcome

STATES = ("passed", "failed", "skipped")


@dataclass(frozen=True)
class Result:
    """What came of a run: how each test ended, and what it left in the cloud.

    ``stuck`` are those of what was left that could not be removed, and
    ``earlier`` is what was there before the run.
    """

    version: str
    chosen: str
    cloud: dict[str, Any]
    seconds: float
    outcomes: Sequence[Outcome]
    log: Path
    left: Sequence[str] = field(default=())
    stuck: Sequence[str] = field(default=())
    earlier: Sequence[str] = field(default=())

    @property
    def status(self) -> int:
        """The exit status: 0 only if no test failed and nothing was left."""
        return 1 if self.left or any(one.state == "failed" for one in self.outcomes) else 0

    def count(self, state: str) -> int:
        """Return how many tests ended in a state."""
        return sum(1 for one in self.outcomes if one.state == state)


def text(result: Result) -> str:
    """Return the totals, each failure and what was left."""
    totals = ", ".join(f"{result.count(state)} {state}" for state in STATES)
    lines = [f"{len(result.outcomes)} tests in {result.seconds:.0f} s: {totals}"]
    for one in result.outcomes:
        if one.state == "failed":
            lines.append(f"failed: {one.name}{': ' + one.reason if one.reason else ''}")
    lines += [f"left in the cloud: {what}" for what in result.left]
    lines += [f"could not be removed: {what}" for what in result.stuck]
    lines += [f"was in the cloud before: {what}" for what in result.earlier]
    if result.count("failed"):
        lines.append(f"Each failure with its requests: {result.log}")
    return "\n".join(lines)


def document(result: Result) -> dict[str, Any]:
    """Return the result as one JSON document."""
    return {
        "tempest": result.version,
        "set": result.chosen,
        "cloud": result.cloud,
        "seconds": round(result.seconds, 1),
        **{state: result.count(state) for state in STATES},
        "tests": [asdict(one) for one in result.outcomes],
        "left": list(result.left),
        "stuck": list(result.stuck),
        "earlier": list(result.earlier),
        "log": str(result.log),
    }
