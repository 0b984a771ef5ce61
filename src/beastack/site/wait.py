"""Waiting on conditions: each wait has a limit and says what it waited for.

Nothing in the site sleeps for a fixed time and hopes; it asks again until
the answer is yes, and when the limit passes it can say what the last answer
was.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

DEFAULT_INTERVAL = 0.2


class WaitTimeout(Exception):
    """The limit of a wait passed.

    ``what`` names what was awaited, ``timeout`` is the limit in seconds and
    ``last_seen`` is what the condition said the last time it was asked.
    """

    def __init__(self, what: str, timeout: float, last_seen: str) -> None:
        self.what = what
        self.timeout = timeout
        self.last_seen = last_seen
        super().__init__(f"waited {timeout:g} s for {what}; last seen: {last_seen or 'nothing'}")


class Interrupted(Exception):
    """The user asked to stop while something was awaited."""


#: Set once when the user asks to stop: every wait under way then ends with ``Interrupted``.
STOPPING = threading.Event()


def wait_until(
    condition: Callable[[], tuple[bool, str]],
    *,
    what: str,
    timeout: float,
    interval: float = DEFAULT_INTERVAL,
) -> str:
    """Ask the condition until it holds, and return what it said then.

    The condition is asked at once, and once more when the limit has passed,
    so a limit of zero asks it exactly once. What it raises passes through.

    :param condition: returns whether it holds, and what it saw in a few words
    :param what: what is awaited, for the message ("the server to be ACTIVE")
    :param timeout: the limit in seconds
    :param interval: seconds between two questions
    :raises WaitTimeout: the condition did not hold within the limit
    :raises Interrupted: the user asked to stop
    """
    deadline = time.monotonic() + timeout
    while True:
        # Read the clock before asking: a condition that takes long to answer
        # still gets its last question after the limit, not before it.
        left = deadline - time.monotonic()
        holds, seen = condition()
        if holds:
            return seen
        if left <= 0:
            raise WaitTimeout(what, timeout, seen)
        if STOPPING.wait(max(0.0, min(interval, left))):
            raise Interrupted(f"stopped while waiting for {what}")
