"""A run's result, as text and as JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from beastack.cli.tempest.outcomes import Outcome
from beastack.cli.tempest.report import Result, document, text

PASSED, FAILED = Outcome("t.A.one", "passed", 1.5), Outcome("t.A.two", "failed", 1.0, "why")


def result(
    *outcomes: Outcome, left: Sequence[str] = (), stuck: Sequence[str] = (), earlier: Sequence[str] = ()
) -> Result:
    """Return the result of a run that ended so."""
    return Result(
        version="47.0.0", chosen="smoke", cloud={"host": "freebsd"}, seconds=1.04, outcomes=outcomes,
        log=Path("/w/log/run.log"), left=left, stuck=stuck, earlier=earlier,
    )  # fmt: skip


def test_status_is_zero_only_when_nothing_failed_and_nothing_was_left() -> None:
    assert result(PASSED).status == 0
    assert result(PASSED, FAILED).status == 1
    assert result(PASSED, left=["user tempest-x"]).status == 1
    assert result(PASSED, earlier=["user tempest-old"]).status == 0


def test_text_has_the_totals_each_failure_and_what_was_left() -> None:
    said = text(result(PASSED, FAILED, left=["user tempest-x"], stuck=["user tempest-x: no"], earlier=["user old"]))
    assert said.splitlines() == [
        "2 tests in 1 s: 1 passed, 1 failed, 0 skipped",
        "failed: t.A.two: why",
        "left in the cloud: user tempest-x",
        "could not be removed: user tempest-x: no",
        "was in the cloud before: user old",
        "Each failure with its requests: /w/log/run.log",
    ]


def test_json_has_every_test() -> None:
    found = json.loads(json.dumps(document(result(PASSED, FAILED))))
    assert (found["passed"], found["failed"], found["skipped"]) == (1, 1, 0)
    assert found["tests"][0] == {"name": "t.A.one", "state": "passed", "seconds": 1.5, "reason": ""}
    assert (found["tempest"], found["set"], found["cloud"], found["seconds"]) == (
        "47.0.0",
        "smoke",
        {"host": "freebsd"},
        1.0,
    )
