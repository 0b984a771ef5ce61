"""A netlink socket that stays in one network namespace whichever thread uses it.

pyroute2's IPRoute keeps a socket for each thread and opens it, on first use,
in the namespace that the thread happens to be in. Here one thread owns the
real IPRoute, and calls are handed to it.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import Any

from pyroute2 import IPRoute

Call = tuple[Callable[[], Any], "queue.SimpleQueue[tuple[Any, BaseException | None]]"]


class PinnedIPRoute:
    """Has every method of IPRoute; each runs in a thread of the namespace that this was made in."""

    def __init__(self) -> None:
        self._calls: queue.SimpleQueue[Call | None] = queue.SimpleQueue()
        ready: queue.SimpleQueue[IPRoute | BaseException] = queue.SimpleQueue()
        # A thread starts in the namespace of the thread that makes it.
        self._thread = threading.Thread(target=self._serve, args=(ready,), name="netlink", daemon=True)
        self._thread.start()
        made = ready.get()
        if isinstance(made, BaseException):
            raise made
        self._real = made

    def _serve(self, ready: queue.SimpleQueue[IPRoute | BaseException]) -> None:
        try:
            real = IPRoute()
        except BaseException as error:
            ready.put(error)
            return
        ready.put(real)
        while (call := self._calls.get()) is not None:
            func, answer = call
            try:
                answer.put((func(), None))
            except BaseException as error:
                answer.put((None, error))
        real.close()

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self._real, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            def run() -> Any:
                result = method(*args, **kwargs)
                # Dumps are generators: they must be read in this thread too.
                return result if isinstance(result, (list, tuple, dict)) or result is None else _read(result)

            answer: queue.SimpleQueue[tuple[Any, BaseException | None]] = queue.SimpleQueue()
            self._calls.put((run, answer))
            result, error = answer.get()
            if error is not None:
                raise error
            return result

        return call

    def close(self) -> None:
        """Close the socket and end the thread."""
        self._calls.put(None)
        self._thread.join()


def _read(result: Any) -> Any:
    return list(result) if hasattr(result, "__next__") else result
