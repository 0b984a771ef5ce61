"""Runs of tests take down what they made when they are interrupted."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from beastack.cli.test_runs import run_meanwhile, run_tests

#: Tidies up for longer than subprocess.run would wait for it.
TESTS = """\
import pathlib, sys, time
print("said", flush=True)
place = pathlib.Path(sys.argv[1])
try:
    (place / "begun").touch()
    if sys.argv[2] == "end":
        sys.exit(3)
    time.sleep(600)
finally:
    time.sleep(1)
    (place / "tidied").touch()
"""
RUN = "import sys; from beastack.cli.test_runs import run_tests; run_tests(sys.argv[1:])"


def command(place: Path, how: str) -> list[str]:
    (place / "tests.py").write_text(TESTS)
    return [sys.executable, str(place / "tests.py"), str(place), how]


def await_begun(place: Path) -> None:
    deadline = time.monotonic() + 30
    while not (place / "begun").exists():
        assert time.monotonic() < deadline, "they have not begun"
        time.sleep(0.01)


def test_the_exit_status_is_theirs(tmp_path: Path) -> None:
    assert run_tests(command(tmp_path, "end")) == 3


def test_an_interrupt_is_passed_on_and_waited_for(tmp_path: Path) -> None:
    argv: Sequence[str] = [sys.executable, "-c", RUN, *command(tmp_path, "wait")]
    with subprocess.Popen(argv, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}) as process:
        await_begun(tmp_path)
        process.send_signal(signal.SIGINT)
        assert process.wait(60) != 0
    assert (tmp_path / "tidied").exists()


def test_what_runs_beside_is_waited_for(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with run_meanwhile(command(tmp_path, "end"), os.environ, tidy=60) as result:
        assert result() == 3
    assert capfd.readouterr().out == "said\n"


@pytest.mark.parametrize("tidy", [60, 0])
def test_what_runs_beside_ends_with_the_block(tmp_path: Path, tidy: float) -> None:
    with pytest.raises(ValueError, match="the block"), run_meanwhile(command(tmp_path, "wait"), os.environ, tidy=tidy):
        await_begun(tmp_path)
        raise ValueError("the block")
    assert (tmp_path / "tidied").exists() == bool(tidy)
