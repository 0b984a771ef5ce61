"""What ``beastack test`` makes of upstream's functional tests."""

from __future__ import annotations

from pathlib import Path

from beastack.cli import functional_tests

PROJECT = Path(__file__).resolve().parents[2]


def test_all_is_well() -> None:
    states = {"a": "passed", "b": "failed", "c": "skipped"}
    assert functional_tests.compare(states, {}, {"b": "IP rules"}) == []


def test_what_fails_undeclared_passes_declared_or_is_not_there() -> None:
    states = {"a": "passed", "b": "failed", "c": "passed"}
    declared = {"c": "IP rules", "d": "IP rules"}
    assert functional_tests.compare(states, {"b": "Traceback\n  here\nValueError: x\n"}, declared) == [
        "b ends as 'failed': ValueError: x",
        "c is declared not to apply, and ends as 'passed'",
        "d is declared not to apply, and is not there",
    ]


def test_tests_that_could_not_be_loaded() -> None:
    assert functional_tests.compare({"loader": "failed"}, {"loader": "ImportError"}, {}) == [
        "upstream's tests could not be run",
        "ImportError",
    ]


def test_the_declared_ones_are_of_modules_that_are_run_and_have_reasons() -> None:
    declared = functional_tests.read_declared(PROJECT)
    assert declared
    for name, reason in declared.items():
        assert name.startswith(functional_tests.MODULES)
        assert reason and "\n" not in reason
