"""How ``up`` shows its progress: a live line on a terminal, plain lines elsewhere."""

from __future__ import annotations

import shutil
import sys
import threading
import time
from typing import TextIO

from beastack.site.plan import Step

FRAME = 0.2  # seconds between two drawings of the live line


class PlainReporter:
    """One line for each thing that happens; what a log file or a pipe wants."""

    def __init__(self, total: int, stream: TextIO) -> None:
        self.total = total
        self.stream = stream
        self.began = time.monotonic()
        self.count = 0
        self.lock = threading.Lock()

    def started(self, step: Step) -> None:
        """Nothing: a step that has nothing to do should not be seen to begin."""

    def progress(self, step: Step, text: str) -> None:
        """Say what a step is at."""
        self._line(f"{step.title}: {text}")

    def finished(self, step: Step, seconds: float, applied: bool) -> None:
        """Say that a step is done."""
        self._line(f"{step.title}: {f'done in {seconds:.1f} s' if applied else 'already so'}", done=1)

    def failed(self, step: Step, seconds: float, error: BaseException) -> None:
        """Say that a step failed; the error itself is shown at the end."""
        self._line(f"{step.title}: failed after {seconds:.1f} s")

    def close(self) -> None:
        """Nothing to put back."""

    def _line(self, text: str, done: int = 0) -> None:
        with self.lock:
            self.count += done
            elapsed = time.monotonic() - self.began
            self.stream.write(f"[{elapsed:6.1f} s] {self.count:2}/{self.total} {text}\n")
            self.stream.flush()


class LiveReporter(PlainReporter):
    """Finished steps as lines; below them one line, redrawn, with what is under way and for how long."""

    def __init__(self, total: int, stream: TextIO) -> None:
        super().__init__(total, stream)
        self.under_way: dict[str, tuple[Step, float, str]] = {}
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self._draw, daemon=True)
        self.thread.start()

    def started(self, step: Step) -> None:
        """Show a step on the live line."""
        with self.lock:
            self.under_way[step.name] = (step, time.monotonic(), "")

    def progress(self, step: Step, text: str) -> None:
        """Show what a step is at."""
        with self.lock:
            if step.name in self.under_way:
                self.under_way[step.name] = (step, self.under_way[step.name][1], text)

    def finished(self, step: Step, seconds: float, applied: bool) -> None:
        """Turn a step into a line; one that had nothing to do goes without."""
        with self.lock:
            self.under_way.pop(step.name, None)
            self.count += 1
            if applied:
                self._above(f"  \033[32m✓\033[0m {step.title} \033[2m{seconds:.1f} s\033[0m")

    def failed(self, step: Step, seconds: float, error: BaseException) -> None:
        """Turn a step into a line that says so."""
        with self.lock:
            self.under_way.pop(step.name, None)
            self._above(f"  \033[31m✗\033[0m {step.title} \033[2m{seconds:.1f} s\033[0m")

    def close(self) -> None:
        """Clear the live line."""
        self.ended.set()
        self.thread.join()
        self.stream.write("\r\033[K")
        self.stream.flush()

    def _above(self, text: str) -> None:
        self.stream.write(f"\r\033[K{text}\n")
        self.stream.flush()

    def _draw(self) -> None:
        while not self.ended.wait(FRAME):
            with self.lock:
                now = time.monotonic()
                parts = []
                for step, began, text in self.under_way.values():
                    if now - began >= 1.0:
                        parts.append(f"{step.title}{': ' + text if text else ''} ({now - began:.0f} s)")
                line = f"  {self.count}/{self.total}  {now - self.began:.0f} s  " + ", ".join(parts)
                width = shutil.get_terminal_size().columns - 1
                self.stream.write(f"\r\033[K{line if len(line) <= width else line[: width - 1] + '…'}")
                self.stream.flush()


class QuietReporter(PlainReporter):
    """Says nothing; for ``--json``."""

    def _line(self, text: str, done: int = 0) -> None:
        self.count += done


def make_reporter(total: int, *, json: bool) -> PlainReporter:
    """Return the reporter that suits where the output goes."""
    if json:
        return QuietReporter(total, sys.stderr)
    if sys.stdout.isatty():
        return LiveReporter(total, sys.stdout)
    return PlainReporter(total, sys.stdout)
