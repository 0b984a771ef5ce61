"""Runs upstream's own unit tests in this interpreter, with or without the seams, and writes how each ended.

Usage: python run_upstream.py without|installed|effective OUTPUT.json [--leave-out MODULE_OR_CLASS] MODULE_OR_PACKAGE...

``installed``: every seam stands, on this machine as it is. ``effective``: the
same where each seam is needed, on what says that it is FreeBSD or has an old
libvirt. There are tests that upstream leaves out where it is not on Linux: the
system's name is FreeBSD's only as long as the code under the seams is loaded.

Upstream's tests are unittest's: scenarios and fixtures of theirs are lost on
other runners.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import platform
import sys
import traceback
import types
import unittest
from collections.abc import Iterator, Sequence
from typing import Any

from beastack.port.seams import ALL
from beastack.seams.install import install
from freebsd import say_freebsd


class Outcomes(unittest.TestResult):
    """How each test ended, by its id, and what a failure said."""

    def __init__(self) -> None:
        super().__init__()
        self.states: dict[str, str] = {}
        self.reasons: dict[str, str] = {}

    def _note(self, test: Any, state: str, error: Any = None, details: Any = None) -> None:
        self.states[test.id()] = state
        if error is not None:
            self.reasons[test.id()] = "".join(traceback.format_exception(*error))
        elif details is not None:
            self.reasons[test.id()] = "\n".join(item.as_text() for item in details.values())

    def addSuccess(self, test: Any, details: Any = None) -> None:
        self._note(test, "passed")

    def addFailure(self, test: Any, error: Any = None, details: Any = None) -> None:
        self._note(test, "failed", error, details)

    def addError(self, test: Any, error: Any = None, details: Any = None) -> None:
        self._note(test, "failed", error, details)

    def addSkip(self, test: Any, reason: Any = None, details: Any = None) -> None:
        self._note(test, "skipped")

    def addExpectedFailure(self, test: Any, error: Any = None, details: Any = None) -> None:
        self._note(test, "expected failure")

    def addUnexpectedSuccess(self, test: Any, details: Any = None) -> None:
        self._note(test, "unexpected success")


def provide_libvirt(version: int) -> None:
    """Stand in for the system's libvirt binding, which is no package of the release."""
    binding = types.ModuleType("libvirt")
    binding.getVersion = lambda: version  # type: ignore[attr-defined]
    sys.modules["libvirt"] = binding


def become_freebsd(packages: set[str]) -> None:
    """Load the code under the seams as on FreeBSD."""
    name_of_system = platform.system
    say_freebsd()
    for seam in ALL:
        if seam.module.partition(".")[0] in packages:
            importlib.import_module(seam.module)
    platform.system = name_of_system


def single_tests(suite: Any) -> Iterator[Any]:
    """Give the tests of a suite one by one."""
    for item in suite if isinstance(suite, unittest.TestSuite) else ():
        yield from single_tests(item)
    if not isinstance(suite, unittest.TestSuite):
        yield suite


def load_tests(names: Sequence[str]) -> Iterator[Any]:
    """Give the tests of modules, and of all modules in packages."""
    loader = unittest.defaultTestLoader
    for name in names:
        is_package = hasattr(importlib.import_module(name), "__path__")
        yield from single_tests(loader.discover(name) if is_package else loader.loadTestsFromName(name))


def read_arguments(words: Sequence[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("mode", choices=("without", "installed", "effective"))
    parser.add_argument("output")
    parser.add_argument("--leave-out", default=[], action="append")
    parser.add_argument("modules", nargs="+")
    return parser.parse_args(words)


def main() -> int:
    """Return 0 when the tests could be run, however they ended."""
    arguments = read_arguments(sys.argv[1:])
    packages = {name.partition(".")[0] for name in arguments.modules}
    effective = arguments.mode == "effective"
    if arguments.mode != "without":
        install(ALL, ())
    if "nova" in packages:
        provide_libvirt(9_000_000 if effective else 12_000_000)
    elif effective:
        become_freebsd(packages)
    result = Outcomes()
    for test in load_tests(arguments.modules):
        if not any(f".{name}." in test.id() for name in arguments.leave_out):
            test.run(result)
    with open(arguments.output, "w") as stream:
        json.dump({"states": result.states, "reasons": result.reasons}, stream)
    return 0


if __name__ == "__main__":
    status = main()
    sys.stdout.flush()
    sys.stderr.flush()
    # Threads that tests left behind have nothing more to say.
    os._exit(status)
