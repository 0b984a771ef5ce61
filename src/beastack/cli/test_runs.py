"""``beastack test``: runs of tests that tidy up when they are interrupted: one in front, and others beside it."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

#: Seconds in which tests that are interrupted have to have taken down what they made, whole clouds too.
TIDY_LIMIT = 300


def run_pytest(project: Path, venv: Path, variables: Mapping[str, str], *arguments: str) -> int:
    """Run a directory's tests, with options, and return the exit status; see ``run_tests``."""
    print(f"beastack test: {arguments[0]}", flush=True)
    return run_tests([f"{venv}/bin/pytest", *arguments], cwd=project, env=variables)


def run_tests(argv: Sequence[str], **options: Any) -> int:
    """Run a command of pytest's and return the exit status.

    An interrupt is passed on, and pytest's fixtures take down what they made.

    :param options: of ``subprocess.Popen``
    """
    # A process group of its own, as a terminal would interrupt it too: twice interrupted, pytest leaves all as it is.
    process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, process_group=0, **options)
    try:
        return process.wait()
    except KeyboardInterrupt:
        print("beastack test: interrupted: taking down what the tests made", flush=True)
        process.send_signal(signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(TIDY_LIMIT)
        raise
    finally:
        _end_group(process)


@contextlib.contextmanager
def run_meanwhile(argv: Sequence[str], variables: Mapping[str, str], *, tidy: float) -> Iterator[Callable[[], int]]:
    """Run a command beside what the block does.

    Gives a function that waits for the end, prints what was printed and returns the exit status; a block that is left
    without it interrupts the command.

    :param tidy: seconds that an interrupted command has before it is killed
    """
    with tempfile.TemporaryFile("w+", errors="replace") as output:
        process = subprocess.Popen(
            argv, env=dict(variables), stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
            process_group=0,
        )  # fmt: skip

        def result() -> int:
            status = process.wait()
            output.seek(0)
            print(output.read(), end="", flush=True)
            return status

        try:
            yield result
        finally:
            if process.poll() is None and tidy:
                process.send_signal(signal.SIGINT)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(tidy)
            _end_group(process)


def _end_group(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
