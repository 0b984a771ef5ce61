"""Carrying out a plan: at once what can be, nothing twice, and no further after a failure."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator

import pytest

from beastack.site.execute import Action, StepFailed, carry_out
from beastack.site.plan import Step
from beastack.site.wait import STOPPING, Interrupted

Progress = Callable[[str], None]


class Recorder:
    """Keeps what it is told, in order."""

    def __init__(self) -> None:
        self.events: list[tuple[str, str, object]] = []
        self.lock = threading.Lock()

    def _keep(self, what: str, step: Step, detail: object = None) -> None:
        with self.lock:
            self.events.append((what, step.name, detail))

    def started(self, step: Step) -> None:
        self._keep("started", step)

    def progress(self, step: Step, text: str) -> None:
        self._keep("progress", step, text)

    def finished(self, step: Step, seconds: float, applied: bool) -> None:
        self._keep("finished", step, applied)

    def failed(self, step: Step, seconds: float, error: BaseException) -> None:
        self._keep("failed", step, str(error))

    def names(self, what: str) -> list[str]:
        return [name for kind, name, _ in self.events if kind == what]


@pytest.fixture
def reporter() -> Recorder:
    return Recorder()


@pytest.fixture(autouse=True)
def not_stopping() -> Iterator[None]:
    STOPPING.clear()
    yield
    STOPPING.clear()


def nothing(progress: Progress) -> None:
    pass


def doing(apply: Callable[[], object]) -> Action:
    """An action that is never true already and vouches for its outcome itself."""
    return Action(lambda: False, lambda progress: (apply(), None)[1], verify=False)


def refuse() -> None:
    raise OSError("no room")


# Going well.


def test_steps_that_wait_for_nothing_run_at_once(reporter: Recorder) -> None:
    meeting = threading.Barrier(3, timeout=30)
    steps = [Step(name, name.upper()) for name in "abc"]
    applied = carry_out(steps, {name: doing(meeting.wait) for name in "abc"}, reporter)
    assert sorted(applied) == ["a", "b", "c"]


def test_no_more_run_at_once_than_allowed(reporter: Recorder) -> None:
    lock = threading.Lock()
    running: list[str] = []
    most: list[int] = []
    pairs = threading.Barrier(2, timeout=30)

    def work(name: str) -> Callable[[], None]:
        def apply() -> None:
            with lock:
                running.append(name)
                most.append(len(running))
            pairs.wait()
            with lock:
                running.remove(name)

        return apply

    steps = [Step(name, name) for name in "abcdef"]
    carry_out(steps, {name: doing(work(name)) for name in "abcdef"}, reporter, at_once=2)
    assert max(most) == 2
    assert sorted(reporter.names("finished")) == list("abcdef")


def test_a_step_begins_when_all_it_waits_for_is_done(reporter: Recorder) -> None:
    steps = [Step("c", "C", ("a", "b")), Step("b", "B", ("a",)), Step("a", "A")]
    assert carry_out(steps, {name: doing(lambda: None) for name in "abc"}, reporter) == ["a", "b", "c"]
    happened = [(what, name) for what, name, _ in reporter.events]
    assert happened == [(what, name) for name in "abc" for what in ("started", "finished")]


def test_what_is_true_already_is_not_applied(reporter: Recorder) -> None:
    truth = {"a": True, "b": False}

    def make_true(name: str) -> Action:
        return Action(lambda: truth[name], lambda progress: truth.__setitem__(name, True))

    steps = [Step("a", "A"), Step("b", "B", ("a",))]
    actions = {"a": Action(lambda: True, lambda progress: refuse()), "b": make_true("b")}
    assert carry_out(steps, actions, reporter) == ["b"]
    assert [event for event in reporter.events if event[0] == "finished"] == [
        ("finished", "a", False),
        ("finished", "b", True),
    ]


def test_what_a_step_says_is_passed_on(reporter: Recorder) -> None:
    carry_out([Step("a", "A")], {"a": Action(lambda: False, lambda say: say("half way"), verify=False)}, reporter)
    assert reporter.events[1] == ("progress", "a", "half way")


def test_an_empty_plan_is_done(reporter: Recorder) -> None:
    assert carry_out([], {}, reporter) == []


# Going wrong.


def test_a_failure_lets_what_runs_end_and_starts_nothing_more(reporter: Recorder) -> None:
    failed = threading.Event()
    ended = []

    class Telling(Recorder):
        def failed(self, step: Step, seconds: float, error: BaseException) -> None:
            super().failed(step, seconds, error)
            failed.set()

    def run_on() -> None:
        begun.set()
        assert failed.wait(30)
        ended.append("b")

    def fail() -> None:
        assert begun.wait(30)
        refuse()

    begun = threading.Event()
    telling = Telling()
    steps = [Step("a", "Make room"), Step("b", "B"), Step("c", "C", ("b",)), Step("d", "D", ("a",))]
    actions = {
        "a": doing(fail),
        "b": doing(run_on),
        "c": doing(lambda: ended.append("c")),
        "d": doing(lambda: ended.append("d")),
    }
    with pytest.raises(StepFailed) as caught:
        carry_out(steps, actions, telling)
    assert str(caught.value) == "Make room: no room"
    assert caught.value.step is steps[0]
    assert isinstance(caught.value.__cause__, OSError)
    assert ended == ["b"]
    assert telling.names("finished") == ["b"]
    assert sorted(telling.names("started")) == ["a", "b"]


def test_of_several_failures_the_first_is_raised() -> None:
    first_is_told = threading.Event()

    class Telling(Recorder):
        def failed(self, step: Step, seconds: float, error: BaseException) -> None:
            super().failed(step, seconds, error)
            first_is_told.set()

    def fail_later() -> None:
        both.wait()
        assert first_is_told.wait(30)
        raise ValueError("the second")

    def fail_first() -> None:
        both.wait()
        refuse()

    telling = Telling()
    both = threading.Barrier(2, timeout=30)
    steps = [Step("late", "Late"), Step("early", "Early")]
    actions = {
        "late": doing(fail_later),
        "early": doing(fail_first),
    }
    with pytest.raises(StepFailed) as caught:
        carry_out(steps, actions, telling)
    assert sorted(telling.names("failed")) == ["early", "late"]
    assert str(caught.value) == "Early: no room"


def test_what_does_not_hold_afterwards_has_failed(reporter: Recorder) -> None:
    with pytest.raises(StepFailed) as caught:
        carry_out([Step("a", "Start it")], {"a": Action(lambda: False, nothing)}, reporter)
    assert str(caught.value) == "Start it: it was carried out, but does not hold"
    assert reporter.names("failed") == ["a"]
    assert reporter.names("finished") == []


def test_a_question_that_fails_is_a_failure_of_the_step(reporter: Recorder) -> None:
    def ask() -> bool:
        raise OSError("unreadable")

    with pytest.raises(StepFailed, match=r"^A: unreadable$"):
        carry_out([Step("a", "A")], {"a": Action(ask, nothing)}, reporter)


# Stopping.


def run_to_a_stop(reporter: Recorder) -> None:
    steps = [Step("a", "A"), Step("b", "B", ("a",))]
    carry_out(steps, {"a": doing(STOPPING.set), "b": doing(lambda: None)}, reporter)


def test_when_asked_to_stop_no_step_is_started(reporter: Recorder) -> None:
    with contextlib.suppress(Interrupted):
        run_to_a_stop(reporter)
    assert reporter.events == [("started", "a", None), ("finished", "a", True)]


def test_a_plan_that_was_stopped_is_not_taken_for_done(reporter: Recorder) -> None:
    with pytest.raises(Interrupted):
        run_to_a_stop(reporter)


def test_a_stop_after_the_last_step_changes_nothing(reporter: Recorder) -> None:
    assert carry_out([Step("a", "A")], {"a": doing(STOPPING.set)}, reporter) == ["a"]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize("what", ["started", "finished", "failed"])
def test_a_reporter_that_cannot_write_does_not_hang_the_work(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*arguments: object) -> None:
        raise BrokenPipeError(32, "Broken pipe")

    reporter = Recorder()
    monkeypatch.setattr(reporter, what, broken)
    action = doing(refuse) if what == "failed" else doing(lambda: None)

    def work() -> None:
        with contextlib.suppress(StepFailed, BrokenPipeError):
            carry_out([Step("a", "A")], {"a": action}, reporter)

    worker = threading.Thread(target=work, daemon=True)
    worker.start()
    worker.join(2)
    assert not worker.is_alive()
