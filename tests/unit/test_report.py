"""How up shows its progress: lines for a log, a live line for a terminal, nothing for --json."""

from __future__ import annotations

import io
import re
import sys
import threading
import time
from collections.abc import Iterator

import pytest

from beastack.cli import report
from beastack.cli.report import LiveReporter, PlainReporter, QuietReporter, make_reporter
from beastack.site.plan import Step
from beastack.site.wait import wait_until

PACKAGES = Step("packages", "Install system packages")
USERS = Step("users", "Make service users")

TIME = re.compile(r"^\[ *\d+\.\d s\] ")
CLEAR = "\r\033[K"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def lines(stream: io.StringIO) -> list[str]:
    """Return what was written, each line without the time that it begins with."""
    written = stream.getvalue().splitlines()
    assert all(TIME.match(line) for line in written)
    return [TIME.sub("", line) for line in written]


# Plain.


def test_plain_lines_say_what_happened() -> None:
    stream = io.StringIO()
    reporter = PlainReporter(12, stream)
    reporter.started(PACKAGES)
    reporter.progress(PACKAGES, "refreshing the lists")
    reporter.finished(PACKAGES, 3.14, True)
    reporter.started(USERS)
    reporter.finished(USERS, 0.0, False)
    reporter.failed(PACKAGES, 12.0, OSError("no room"))
    reporter.close()
    assert lines(stream) == [
        " 0/12 Install system packages: refreshing the lists",
        " 1/12 Install system packages: done in 3.1 s",
        " 2/12 Make service users: already so",
        " 2/12 Install system packages: failed after 12.0 s",
    ]


def test_lines_of_several_threads_are_not_mixed() -> None:
    stream = io.StringIO()
    reporter = PlainReporter(400, stream)
    together = threading.Barrier(4, timeout=30)

    def work() -> None:
        together.wait()
        for _ in range(100):
            reporter.finished(USERS, 1.0, True)

    workers = [threading.Thread(target=work) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert reporter.count == 400
    assert len(lines(stream)) == 400
    assert all(line.endswith("/400 Make service users: done in 1.0 s") for line in lines(stream))


# Live.


@pytest.fixture
def live(monkeypatch: pytest.MonkeyPatch) -> Iterator[LiveReporter]:
    monkeypatch.setattr(report, "FRAME", 0.01)
    monkeypatch.setenv("COLUMNS", "80")
    reporter = LiveReporter(12, Terminal())
    yield reporter
    reporter.ended.set()
    reporter.thread.join()


def text(reporter: LiveReporter) -> str:
    assert isinstance(reporter.stream, io.StringIO)
    return reporter.stream.getvalue()


def await_text(reporter: LiveReporter, wanted: str) -> None:
    wait_until(lambda: (wanted in text(reporter), text(reporter)[-80:]), what=wanted, timeout=30, interval=0.01)


def begun_earlier(reporter: LiveReporter, step: Step, said: str, seconds: float = 5.0) -> None:
    """Show a step that has been under way for a while."""
    reporter.started(step)
    with reporter.lock:
        reporter.under_way[step.name] = (step, time.monotonic() - seconds, said)


def test_a_finished_step_becomes_a_line(live: LiveReporter) -> None:
    live.started(PACKAGES)
    live.finished(PACKAGES, 3.14, True)
    assert f"{CLEAR}  \033[32m✓\033[0m Install system packages \033[2m3.1 s\033[0m\n" in text(live)
    assert live.count == 1


def test_a_failed_step_becomes_a_line_too(live: LiveReporter) -> None:
    live.started(PACKAGES)
    live.failed(PACKAGES, 3.14, OSError("no room"))
    assert f"{CLEAR}  \033[31m✗\033[0m Install system packages \033[2m3.1 s\033[0m\n" in text(live)
    assert live.under_way == {}


def test_a_step_with_nothing_to_do_goes_without(live: LiveReporter) -> None:
    live.started(USERS)
    live.finished(USERS, 0.1, False)
    live.close()
    assert "Make service users" not in text(live)
    assert "\n" not in text(live)
    assert live.count == 1


def test_the_live_line_tells_what_takes_long_and_what_it_is_at(live: LiveReporter) -> None:
    begun_earlier(live, PACKAGES, "unpacking", 60)
    begun_earlier(live, USERS, "", 120)
    await_text(live, "Install system packages: unpacking (6")
    await_text(live, "Make service users (12")
    assert f"{CLEAR}  0/12  " in text(live)


def test_what_a_step_says_replaces_what_it_said(live: LiveReporter) -> None:
    begun_earlier(live, PACKAGES, "fetching")
    live.progress(PACKAGES, "unpacking")
    await_text(live, "unpacking")
    live.finished(PACKAGES, 1.0, True)
    live.progress(PACKAGES, "a late word")
    assert live.under_way == {}


def test_the_live_line_is_never_wider_than_the_terminal(live: LiveReporter) -> None:
    begun_earlier(live, PACKAGES, "x" * 200)
    await_text(live, "…")
    drawn = [part for part in text(live).split(CLEAR) if part.endswith("…")]
    assert {len(part) for part in drawn} == {79}


def test_closing_clears_the_live_line_and_draws_no_more(live: LiveReporter) -> None:
    await_text(live, "0/12")
    live.close()
    assert text(live).endswith(CLEAR)
    assert not live.thread.is_alive()


# Quiet, and which one it is.


def test_quiet_says_nothing() -> None:
    stream = io.StringIO()
    reporter = QuietReporter(2, stream)
    reporter.started(PACKAGES)
    reporter.progress(PACKAGES, "refreshing")
    reporter.finished(PACKAGES, 1.0, True)
    reporter.failed(USERS, 1.0, OSError("no room"))
    reporter.close()
    assert stream.getvalue() == ""


@pytest.mark.parametrize(
    ("stream", "json", "kind"),
    [
        (io.StringIO(), False, PlainReporter),
        (Terminal(), False, LiveReporter),
        (io.StringIO(), True, QuietReporter),
        (Terminal(), True, QuietReporter),
    ],
)
def test_the_reporter_suits_where_the_output_goes(
    stream: io.StringIO, json: bool, kind: type[PlainReporter], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdout", stream)
    reporter = make_reporter(3, json=json)
    reporter.close()
    assert type(reporter) is kind
