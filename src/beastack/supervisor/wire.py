"""The descriptors that one start of a service needs."""

from __future__ import annotations

import os
from pathlib import Path

from beastack.supervisor import logs


class Wire:
    """A start's log, and the pipe that lets it go on; closed at the end of the block, but for what is kept."""

    def __init__(self, log: str) -> None:
        self.log = logs.open_log(Path(log))
        try:
            self.go_read, self.go_write = os.pipe2(os.O_CLOEXEC)
        except OSError:
            os.close(self.log)
            raise

    def __enter__(self) -> Wire:
        return self

    def keep(self) -> int:
        """Return the end of the pipe that outlives this start."""
        kept, self.go_write = self.go_write, -1
        return kept

    def __exit__(self, *_: object) -> None:
        for descriptor in (self.log, self.go_read, self.go_write):
            if descriptor >= 0:
                os.close(descriptor)
