"""Runs upstream's own functional tests in this interpreter, inside a simulated FreeBSD host or on a FreeBSD machine.

Usage: python run_upstream.py OUTPUT.json MODULE...     (as root; a MODULE may also be a class or a test in one)

The tests are upstream's, unchanged, over the seams of hosts of kind freebsd.
Privileged functions run in this process, which is root: the daemons that run
them otherwise are tested elsewhere. What is written is how each test ended,
by its id, what those that failed said, and how long each took.
"""

from __future__ import annotations

import importlib.util
import json
import os
import sys
import time
import traceback
import types
import unittest
from collections.abc import Iterator
from pathlib import Path
from typing import Any

# Upstream reads these when its modules are imported.
os.environ.setdefault("OS_SUDO_TESTING", "1")
os.environ.setdefault("OS_LOG_PATH", "/tmp/beastack-functional-logs")

from beastack.port.seams import ALL
from beastack.seams.install import install


class Outcomes(unittest.TestResult):
    """How each test ended, by its id, with reason and duration (seconds)."""

    def __init__(self) -> None:
        super().__init__()
        self.states: dict[str, str] = {}
        self.reasons: dict[str, str] = {}
        self.seconds: dict[str, float] = {}

    def startTest(self, test: Any) -> None:
        super().startTest(test)
        self.seconds[test.id()] = time.monotonic()

    def stopTest(self, test: Any) -> None:
        super().stopTest(test)
        self.seconds[test.id()] = round(time.monotonic() - self.seconds[test.id()], 3)

    def _note(self, test: Any, state: str, error: Any = None, details: Any = None, reason: Any = None) -> None:
        # A test fails once, whatever its clean-up says afterwards.
        self.states[test.id()] = state
        if error is not None:
            self.reasons[test.id()] = "".join(traceback.format_exception(*error))
        elif details is not None:
            self.reasons[test.id()] = "\n".join(item.as_text() for item in details.values())
        elif reason is not None:
            self.reasons[test.id()] = str(reason)

    def addSuccess(self, test: Any, details: Any = None) -> None:
        self._note(test, "passed")

    def addFailure(self, test: Any, error: Any = None, details: Any = None) -> None:
        self._note(test, "failed", error, details)

    def addError(self, test: Any, error: Any = None, details: Any = None) -> None:
        self._note(test, "failed", error, details)

    def addSkip(self, test: Any, reason: Any = None, details: Any = None) -> None:
        self._note(test, "skipped", details=details, reason=reason)

    def addExpectedFailure(self, test: Any, error: Any = None, details: Any = None) -> None:
        self._note(test, "expected failure")

    def addUnexpectedSuccess(self, test: Any, details: Any = None) -> None:
        self._note(test, "unexpected success")


def provide_webtest() -> None:
    """Stand in for what upstream's modules import for tests of its API, none of which is run here."""
    if importlib.util.find_spec("webtest") is None:
        sys.modules["webtest"] = types.ModuleType("webtest")


def stay_in_process() -> None:
    """Let every privileged function run right here."""
    from neutron import privileged
    from oslo_privsep import priv_context

    for context in vars(privileged).values():
        if isinstance(context, priv_context.PrivContext):
            context.set_client_mode(False)


def single_tests(suite: Any) -> Iterator[Any]:
    """Give the tests of a suite one by one."""
    for item in suite if isinstance(suite, unittest.TestSuite) else ():
        yield from single_tests(item)
    if not isinstance(suite, unittest.TestSuite):
        yield suite


def main() -> int:
    """Return 0 when the tests could be run, however they ended."""
    output, names = Path(sys.argv[1]), sys.argv[2:]
    install([seam for seam in ALL if "freebsd" in seam.hosts])
    provide_webtest()
    stay_in_process()
    result = Outcomes()
    for test in single_tests(unittest.defaultTestLoader.loadTestsFromNames(names)):
        test.run(result)
    output.write_text(
        json.dumps({"states": result.states, "reasons": result.reasons, "seconds": result.seconds}, indent=1)
    )
    return 0


if __name__ == "__main__":
    status = main()
    sys.stdout.flush()
    sys.stderr.flush()
    # Threads that tests left behind have nothing more to say.
    os._exit(status)
