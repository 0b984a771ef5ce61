"""Carry out a plan: each step as soon as what it waits for is done, several at once.

For each step: already true? else apply, then verify. The first failure
stops further steps from starting; what runs is let to its end.
"""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from beastack.site.plan import Step
from beastack.site.wait import STOPPING, Interrupted


class Reporter(Protocol):
    """Who is told how the work goes. Called from several threads."""

    def started(self, step: Step) -> None: ...
    def progress(self, step: Step, text: str) -> None: ...
    def finished(self, step: Step, seconds: float, applied: bool) -> None: ...
    def failed(self, step: Step, seconds: float, error: BaseException) -> None: ...


@dataclass(frozen=True)
class Action:
    """How a step is done. ``done`` answers whether it is true already; ``apply`` makes it true.

    ``verify`` says that ``done`` must hold after ``apply``; steps whose
    ``apply`` itself waits for the outcome leave it out.
    """

    done: Callable[[], bool]
    apply: Callable[[Callable[[str], None]], None]
    verify: bool = True


class StepFailed(Exception):
    """A step could not be carried out; the cause is ``__cause__``."""

    def __init__(self, step: Step, error: BaseException) -> None:
        self.step = step
        super().__init__(f"{step.title}: {error}")


def carry_out(
    steps: Sequence[Step], actions: Mapping[str, Action], reporter: Reporter, *, at_once: int = 6
) -> list[str]:
    """Carry out a plan and return the names of the steps that had something to do.

    :raises StepFailed: a step failed (the first one, after the others under way have ended)
    :raises Interrupted: the user asked to stop
    """
    finished: set[str] = set()
    started: set[str] = set()
    applied: list[str] = []
    failure: StepFailed | None = None
    results: queue.Queue[tuple[Step, bool, BaseException | None]] = queue.Queue()
    running = 0
    while True:
        if failure is None and not STOPPING.is_set():
            for step in steps:
                if running >= at_once:
                    break
                if step.name not in started and all(name in finished for name in step.after):
                    started.add(step.name)
                    running += 1
                    arguments = (step, actions[step.name], reporter, results)
                    threading.Thread(target=_work, args=arguments, name=step.name, daemon=True).start()
        if running == 0:
            break
        step, did, error = _next(results)
        running -= 1
        if error is None:
            finished.add(step.name)
            if did:
                applied.append(step.name)
        elif failure is None:
            failure = StepFailed(step, error)
            failure.__cause__ = error
    if failure is not None:
        raise failure
    if len(finished) < len(steps):
        raise Interrupted("stopped before the end of the plan")
    return applied


def _next(
    results: queue.Queue[tuple[Step, bool, BaseException | None]],
) -> tuple[Step, bool, BaseException | None]:
    while True:
        try:
            # A wait without a limit would not let the main thread see an interrupt.
            return results.get(timeout=1.0)
        except queue.Empty:
            continue


def _work(
    step: Step, action: Action, reporter: Reporter, results: queue.Queue[tuple[Step, bool, BaseException | None]]
) -> None:
    began = time.monotonic()
    did = False
    error: BaseException | None = None
    try:
        reporter.started(step)
        if not action.done():
            did = True
            action.apply(lambda text: reporter.progress(step, text))
            if action.verify and not action.done():
                raise RuntimeError("it was carried out, but does not hold")
        reporter.finished(step, time.monotonic() - began, did)
    except BaseException as problem:  # handed to the thread that waits for it
        error = problem
        with contextlib.suppress(OSError):  # who was told may be gone: a closed pipe
            reporter.failed(step, time.monotonic() - began, problem)
    finally:
        results.put((step, did, error))
