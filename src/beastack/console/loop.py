"""The event loop: what to do when a descriptor is ready and when a moment has come.

One thread, and no wake-up of its own: where nothing happens it sleeps.

A callback may close descriptors whose events wait in the same turn, and the
kernel gives their numbers to new ones: a watch that has ended gets no event.
"""

from __future__ import annotations

import heapq
import itertools
import selectors
import time
from collections.abc import Callable

READ = selectors.EVENT_READ
WRITE = selectors.EVENT_WRITE


class Timer:
    """A call at a moment; ``cancel`` takes it back."""

    def __init__(self, callback: Callable[[], None]) -> None:
        self._callback: Callable[[], None] | None = callback

    def cancel(self) -> None:
        """Do not call."""
        self._callback = None

    @property
    def waiting(self) -> bool:
        """It is still to be called."""
        return self._callback is not None

    def fire(self) -> None:
        """Call, once."""
        callback, self._callback = self._callback, None
        if callback is not None:
            callback()


class Watch:
    """One descriptor and what is waited for: READ, WRITE, both or nothing (0)."""

    def __init__(self, loop: Loop, descriptor: int, events: int, ready: Callable[[int], None]) -> None:
        self._loop = loop
        self._descriptor = descriptor
        self._events = 0
        self.ready = ready
        self.ended = False
        self.want(events)

    def want(self, events: int) -> None:
        """Change what is waited for."""
        selector = self._loop.selector
        if self.ended or events == self._events:
            return
        if not events:
            selector.unregister(self._descriptor)
        elif not self._events:
            selector.register(self._descriptor, events, self)
        else:
            selector.modify(self._descriptor, events, self)
        self._events = events

    def wants(self, events: int) -> bool:
        """Tell whether a ready event is still asked for."""
        return not self.ended and bool(self._events & events)

    def end(self) -> None:
        """Stop, before the descriptor is closed."""
        self.want(0)
        self.ended = True


class Loop:
    """Watches and timers."""

    def __init__(self) -> None:
        self.selector = selectors.DefaultSelector()
        self._timers: list[tuple[float, int, Timer]] = []
        self._order = itertools.count()

    def watch(self, descriptor: int, events: int, ready: Callable[[int], None]) -> Watch:
        """Call ``ready`` with READ or WRITE each time a descriptor is."""
        return Watch(self, descriptor, events, ready)

    def call_after(self, seconds: float, callback: Callable[[], None]) -> Timer:
        """Call once, after so many seconds."""
        timer = Timer(callback)
        heapq.heappush(self._timers, (time.monotonic() + seconds, next(self._order), timer))
        return timer

    def patience(self) -> float | None:
        """Return the seconds until the next timer; None means that only a descriptor can wake the loop."""
        while self._timers and not self._timers[0][2].waiting:
            heapq.heappop(self._timers)
        return max(0.0, self._timers[0][0] - time.monotonic()) if self._timers else None

    def turn(self, limit: float | None = None) -> None:
        """Wait for the next events, at most ``limit`` seconds, and handle them."""
        patience = self.patience()
        if limit is not None:
            patience = limit if patience is None else min(limit, patience)
        for key, events in self.selector.select(patience):
            watch: Watch = key.data
            for event in (READ, WRITE):
                if events & event and watch.wants(event):
                    watch.ready(event)
        now = time.monotonic()
        while self._timers and self._timers[0][0] <= now:
            heapq.heappop(self._timers)[2].fire()

    def close(self) -> None:
        """Give the kernel's queue back."""
        self.selector.close()
