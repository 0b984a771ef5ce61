"""What is made of Tempest's answers."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

#: Characters of a failure's text that are told; the whole is in the log.
LONGEST_CAUSE = 240

_LINE = re.compile(
    r"^\{\d+\} (?P<name>.+?)(?: \[(?P<seconds>[\d.]*)s?\])? \.\.\. (?P<outcome>ok|FAILED|SKIPPED)(?:: (?P<reason>.*))?$"
)
_ERROR = re.compile(r"^    (?P<kind>[A-Za-z_][\w.]*): (?P<said>.+)$")
_FIXTURE = re.compile(r"^(?:setUpClass|tearDownClass) \((?P<group>[\w.]+)\)$")


@dataclass(frozen=True)
class Outcome:
    """How one test, or the preparation of a class of tests, ended."""

    name: str
    state: str  # passed, failed or skipped
    seconds: float = 0.0
    reason: str = ""


def read_line(line: str) -> Outcome | None:
    """Return what a line of ``tempest run`` says of a test, or None if it says something else."""
    match = _LINE.match(line)
    if match is None:
        return None
    state = {"ok": "passed", "FAILED": "failed", "SKIPPED": "skipped"}[match["outcome"]]
    return Outcome(match["name"], state, float(match["seconds"] or 0), (match["reason"] or "").strip())


def settled(outcome: Outcome, names: Iterable[str]) -> set[str]:
    """Return those of the tests that an outcome is of: one, or all of a class whose preparation ended so."""
    fixture = _FIXTURE.match(outcome.name)
    if fixture is None:
        return {outcome.name}.intersection(names)
    return {name for name in names if name.rpartition(".")[0] == fixture["group"]}


def causes(text: str) -> dict[str, str]:
    """Return the error that each failed test of a run's output ended in, shortened to a line."""
    found: dict[str, str] = {}
    name = ""
    for line in text.splitlines():
        outcome = read_line(line)
        if outcome is not None:
            name = outcome.name if outcome.state == "failed" else ""
        elif line.startswith("Captured pythonlogging"):
            name = ""
        elif name and (match := _ERROR.match(line)):
            kind, said = match["kind"].rpartition(".")[2], match["said"]
            found[name] = f"{kind}: {said}" if len(said) <= LONGEST_CAUSE else f"{kind}: {said[:LONGEST_CAUSE]}…"
    return found


def spread(outcomes: Iterable[Outcome], expected: Sequence[str]) -> list[Outcome]:
    """Return one outcome for each expected test.

    Tempest reports once for a whole class what its preparation ended in; each
    of its tests that was not run gets that.  One that nothing was heard of failed.
    """
    own: dict[str, Outcome] = {}
    groups: dict[str, Outcome] = {}
    for outcome in outcomes:
        match = _FIXTURE.match(outcome.name)
        if match is None:
            own[outcome.name] = outcome
        elif match["group"] not in groups or outcome.state == "failed":
            groups[match["group"]] = outcome
    everyone: list[Outcome] = []
    used: set[str] = set()
    for name in expected:
        group = name.rpartition(".")[0]
        if name in own:
            everyone.append(own[name])
        elif group in groups:
            used.add(group)
            whole = groups[group]
            everyone.append(Outcome(name, whole.state, 0.0, whole.reason or whole.name.partition(" ")[0]))
        else:
            everyone.append(Outcome(name, "failed", 0.0, "it was not run"))
    # A class that failed besides its tests, such as one that could not be cleaned up after them.
    everyone += [one for group, one in groups.items() if group not in used]
    return everyone + [one for name, one in own.items() if name not in expected]
