"""When answers came, and the longest time without one."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, TextIO


class Answers:
    """Times of answers by the system clock; with a file, one line for each: time, number, round trip in seconds."""

    def __init__(self, file: Path | None = None) -> None:
        self.began = time.time()
        self.last = self.began
        self.count = 0
        self.longest, self.longest_began = 0.0, self.began
        self._file: TextIO | None = None if file is None else open(file, "a", buffering=1)  # noqa: SIM115

    def note(self, number: int, trip: float) -> None:
        """Note an answer that has just come."""
        now = time.time()
        self._stretch(now)
        self.last = now
        self.count += 1
        if self._file is not None:
            self._file.write(f"{now:.4f} {number} {trip:.6f}\n")

    def _stretch(self, until: float) -> None:
        if until - self.last > self.longest:
            self.longest, self.longest_began = until - self.last, self.last

    def describe(self) -> dict[str, Any]:
        """Return the longest gap, in seconds, and when it began; the time since the last answer counts too."""
        self._stretch(time.time())
        return {
            "began": round(self.began, 3),
            "last": round(self.last, 3) if self.count else None,
            "longest_gap": round(self.longest, 3),
            "longest_gap_began": round(self.longest_began, 3),
        }
