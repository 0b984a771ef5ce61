"""What is made of Tempest's answers."""

from __future__ import annotations

from beastack.cli.tempest.outcomes import Outcome, causes, read_line, settled, spread


def test_lines_of_tests_are_read_and_others_are_not() -> None:
    name = "tempest.api.a.B.test_c"
    assert read_line(f"{{0}} {name} [1.250000s] ... ok") == Outcome(name, "passed", 1.25)
    assert read_line(f"{{1}} {name} [0.5s] ... FAILED") == Outcome(name, "failed", 0.5)
    assert read_line(f"{{1}} {name} ... SKIPPED: no volumes") == Outcome(name, "skipped", 0.0, "no volumes")
    assert read_line("{0} setUpClass (tempest.api.a.B) [0.000000s] ... FAILED") == Outcome(
        "setUpClass (tempest.api.a.B)", "failed"
    )
    for other in ("", "Totals", " - Passed: 3", "    Traceback (most recent call last):"):
        assert read_line(other) is None


def test_a_failure_is_told_with_the_error_it_ended_in() -> None:
    text = """{0} t.A.one [0.1s] ... FAILED

Captured traceback:
~~~~~~~~~~~~~~~~~~~
    Traceback (most recent call last):

      File "a.py", line 65, in wrapper
    return f(*func_args)

    tempest.lib.exceptions.NotFound: Object not found
Details: none

Captured pythonlogging:
~~~~~~~~~~~~~~~~~~~~~~~
    INFO: Request
{0} t.A.two [0.1s] ... ok
    other: text
"""
    assert causes(text) == {"t.A.one": "NotFound: Object not found"}


def test_a_long_error_is_shortened() -> None:
    (cause,) = causes(f"{{0}} t.A.one [0.1s] ... FAILED\n    ValueError: {'x' * 1000}").values()
    assert cause.endswith("x…") and len(cause) < 300


def test_a_class_that_is_skipped_skips_each_of_its_tests() -> None:
    everyone = spread([Outcome("setUpClass (t.A)", "skipped", 0.0, "no routers")], ["t.A.one", "t.A.two"])
    assert everyone == [Outcome(name, "skipped", 0.0, "no routers") for name in ("t.A.one", "t.A.two")]


def test_a_class_that_cannot_be_set_up_fails_each_of_its_tests() -> None:
    everyone = spread([Outcome("setUpClass (t.A)", "failed")], ["t.A.one", "t.A.two"])
    assert [(one.name, one.state) for one in everyone] == [("t.A.one", "failed"), ("t.A.two", "failed")]


def test_a_class_that_cannot_be_cleaned_up_is_a_failure_besides_its_tests() -> None:
    everyone = spread([Outcome("t.A.one", "passed"), Outcome("tearDownClass (t.A)", "failed")], ["t.A.one"])
    assert [(one.name, one.state) for one in everyone] == [("t.A.one", "passed"), ("tearDownClass (t.A)", "failed")]


def test_a_test_that_nothing_was_heard_of_failed() -> None:
    (one,) = spread([], ["t.A.one"])
    assert (one.state, one.reason) == ("failed", "it was not run")


def test_a_test_that_was_not_expected_counts_too() -> None:
    assert spread([Outcome("t.A.one", "failed")], []) == [Outcome("t.A.one", "failed")]


def test_progress_counts_a_test_once_and_a_class_that_is_skipped_whole() -> None:
    names = {"t.A.one", "t.A.two", "t.AB.one"}
    assert settled(Outcome("t.A.one", "passed"), names) == {"t.A.one"}
    assert settled(Outcome("setUpClass (t.A)", "skipped"), names) == {"t.A.one", "t.A.two"}
    assert settled(Outcome("t.other", "passed"), names) == set()
