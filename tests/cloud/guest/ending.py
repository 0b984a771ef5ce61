"""Being told to end: SIGTERM and SIGINT end what runs on and on, and its result is still printed."""

from __future__ import annotations

import signal
import sys
import time
from types import FrameType


class Ending:
    """Tells a loop when it is over: by a signal, or by a limit in seconds (None: by a signal alone)."""

    def __init__(self, limit: float | None = None) -> None:
        self.deadline = None if limit is None else time.monotonic() + limit
        self.told = False
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._note)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.told = True

    @property
    def is_near(self) -> bool:
        """Whether it is time to end."""
        return self.told or (self.deadline is not None and time.monotonic() >= self.deadline)


def say_ready() -> None:
    """Say on standard error that what a test waits for has begun."""
    print("ready", file=sys.stderr, flush=True)
