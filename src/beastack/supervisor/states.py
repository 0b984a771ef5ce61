"""What the supervisor knows of each service and of each parent while it runs."""

from __future__ import annotations

import signal
import socket
from dataclasses import dataclass, field

from beastack.supervisor.door import Asker
from beastack.supervisor.spec import Parent, Service

HELPER_PREFIX = "privileged-"


@dataclass
class Running:
    """A service as the supervisor sees it now."""

    service: Service
    wanted: bool = False
    task: bool = False
    forgotten: bool = False  # no longer described: dropped when its process has ended
    state: str = "stopped"  # stopped, waiting, starting, running, stopping, backoff, done
    pid: int = 0
    started: str | None = None
    session: int = 0
    adopted: bool = False
    remains: tuple[int, int] | None = None  # process group and session of what it may have left running
    since: float = 0.0
    failures: int = 0
    restarts: int = 0
    last_exit: str = ""
    status: int | None = None
    retry_at: float = 0.0
    kill_at: float = 0.0
    starting_until: float = 0.0
    token: int = 0  # of the request to its parent
    go: int = -1
    asker: Asker | None = None  # who waits for this privileged daemon
    asker_uid: int = -1
    connection: socket.socket | None = None  # what the daemon will serve, until it has it

    @property
    def helper(self) -> bool:
        """Whether it is a privileged daemon that a service asked for."""
        return self.service.name.startswith(HELPER_PREFIX)


@dataclass
class Preloaded:
    """A parent process as the supervisor sees it now."""

    parent: Parent
    state: str = "absent"  # absent, loading, ready, failed
    channel: socket.socket | None = None
    loading_until: float = 0.0
    why: str = ""
    pid: int = 0
    queue: list[str] = field(default_factory=list)


def describe_exit(code: int | None) -> str:
    """Say how a process ended; ``code`` is waitstatus_to_exitcode's, None when nobody was told."""
    if code is None:
        return "ended while nobody was its parent"
    if code < 0:
        try:
            return f"killed by {signal.Signals(-code).name}"
        except ValueError:
            return f"killed by signal {-code}"
    return f"exit status {code}"
