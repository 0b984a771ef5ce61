"""``beastack test``: a set of tests that runs beside others, in a process of its own."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence

#: Seconds in which tests that are interrupted have to have tidied up.
TIDY_LIMIT = 20


@contextlib.contextmanager
def run_meanwhile(argv: Sequence[str], variables: Mapping[str, str]) -> Iterator[Callable[[], int]]:
    """Run a command beside what the block does.

    Gives a function that waits for the end, prints what was printed and returns the exit status; a block that is left
    without it ends the command and all that it started.
    """
    with tempfile.TemporaryFile("w+", errors="replace") as output:
        process = subprocess.Popen(
            argv, env=dict(variables), stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
            start_new_session=True,
        )  # fmt: skip

        def result() -> int:
            status = process.wait()
            output.seek(0)
            print(output.read(), end="", flush=True)
            return status

        try:
            yield result
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGINT)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(TIDY_LIMIT)
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
