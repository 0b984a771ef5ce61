"""kqueue(2) for the select module, over Linux's epoll and process descriptors.

READ and WRITE, PROC with NOTE_EXIT, and TIMER. The descriptor of a queue can
itself be waited for, as on FreeBSD, except for its timers. Other filters are
refused as not simulated.
"""

from __future__ import annotations

import errno
import os
import select
import time
import weakref
from types import ModuleType
from typing import Any

from . import identity

CONSTANTS = {
    "KQ_FILTER_READ": -1, "KQ_FILTER_WRITE": -2, "KQ_FILTER_AIO": -3, "KQ_FILTER_VNODE": -4, "KQ_FILTER_PROC": -5,
    "KQ_FILTER_SIGNAL": -6, "KQ_FILTER_TIMER": -7, "KQ_FILTER_NETDEV": -8,
    "KQ_EV_ADD": 0x1, "KQ_EV_DELETE": 0x2, "KQ_EV_ENABLE": 0x4, "KQ_EV_DISABLE": 0x8, "KQ_EV_ONESHOT": 0x10,
    "KQ_EV_CLEAR": 0x20, "KQ_EV_SYSFLAGS": 0xF000, "KQ_EV_FLAG1": 0x2000, "KQ_EV_EOF": 0x8000, "KQ_EV_ERROR": 0x4000,
    "KQ_NOTE_LOWAT": 0x1, "KQ_NOTE_DELETE": 0x1, "KQ_NOTE_WRITE": 0x2, "KQ_NOTE_EXTEND": 0x4, "KQ_NOTE_ATTRIB": 0x8,
    "KQ_NOTE_LINK": 0x10, "KQ_NOTE_RENAME": 0x20, "KQ_NOTE_REVOKE": 0x40,
    "KQ_NOTE_EXIT": 0x80000000, "KQ_NOTE_FORK": 0x40000000, "KQ_NOTE_EXEC": 0x20000000,
    "KQ_NOTE_PCTRLMASK": 0xF0000000, "KQ_NOTE_PDATAMASK": 0xFFFFF, "KQ_NOTE_TRACK": 0x1, "KQ_NOTE_CHILD": 0x4,
    "KQ_NOTE_TRACKERR": 0x2, "KQ_NOTE_LINKUP": 0x1, "KQ_NOTE_LINKDOWN": 0x2, "KQ_NOTE_LINKINV": 0x4,
}  # fmt: skip
READ, WRITE, PROC, TIMER = -1, -2, -5, -7
ADD, DELETE, ENABLE, DISABLE, ONESHOT, CLEAR = 0x1, 0x2, 0x4, 0x8, 0x10, 0x20
EOF = 0x8000
NOTE_EXIT = 0x80000000
TIMER_UNITS = {0x1: 1.0, 0x2: 1e-3, 0x4: 1e-6, 0x8: 1e-9}  # NOTE_SECONDS ... NOTE_NSECONDS; none means milliseconds

# Taken before they are removed from their modules.
_epoll: Any = getattr(select, "epoll", None)
_IN, _OUT, _ERR, _HUP, _RDHUP, _ET = 0x1, 0x4, 0x8, 0x10, 0x2000, 1 << 31
_open_queues: weakref.WeakSet[kqueue] = weakref.WeakSet()


class kevent:
    """One event, as of CPython's select module."""

    __slots__ = ("data", "fflags", "filter", "flags", "ident", "udata")

    def __init__(
        self, ident: Any, filter: int = READ, flags: int = ADD, fflags: int = 0, data: int = 0, udata: int = 0
    ) -> None:
        self.ident: int = ident if isinstance(ident, int) else ident.fileno()
        self.filter = filter
        self.flags = flags
        self.fflags = fflags
        self.data = data
        self.udata = udata

    def _key(self) -> tuple[int, ...]:
        return (self.ident, self.filter, self.flags, self.fflags, self.data, self.udata)

    def __eq__(self, other: object) -> bool:
        return self._key() == other._key() if isinstance(other, kevent) else NotImplemented

    def __lt__(self, other: kevent) -> bool:
        return self._key() < other._key()

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return (
            f"<select.kevent ident={self.ident} filter={self.filter} flags=0x{self.flags:x} "
            f"fflags=0x{self.fflags:x} data=0x{self.data:x} udata=0x{self.udata:x}>"
        )


class kqueue:
    """A kernel event queue, as of CPython's select module."""

    def __init__(self) -> None:
        self._epoll = _epoll()
        self._watched: dict[tuple[int, int], kevent] = {}  # (filter, ident): what was asked for
        self._processes: dict[int, tuple[int, int]] = {}  # process descriptor: (pid, process descriptor)
        self._deadlines: dict[int, float] = {}  # timer: monotonic time
        self._always_ready: set[int] = set()  # regular files, which epoll refuses
        _open_queues.add(self)

    @property
    def closed(self) -> bool:
        """Whether the queue is closed."""
        return bool(self._epoll.closed)

    def close(self) -> None:
        """Close the queue."""
        self._epoll.close()
        for descriptor in self._processes:
            os.close(descriptor)
        self._processes.clear()
        self._watched.clear()
        self._deadlines.clear()

    def fileno(self) -> int:
        """Return the queue's descriptor."""
        if self.closed:
            raise ValueError("I/O operation on closed kqueue object")
        return int(self._epoll.fileno())

    def control(self, changelist: Any, max_events: int, timeout: float | None = None, /) -> list[kevent]:
        """Make changes, then wait up to ``timeout`` seconds for at most ``max_events`` events.

        :raises OSError: a change is refused
        """
        self.fileno()
        if max_events < 0:
            raise ValueError(f"Length of eventlist must be 0 or positive, got {max_events}")
        for change in changelist or ():
            self._change(change)
        if max_events == 0:
            return []
        return self._wait(max_events, timeout)

    # Changes

    def _change(self, change: kevent) -> None:
        key = (change.filter, change.ident)
        if change.filter not in (READ, WRITE, PROC, TIMER):
            raise OSError(errno.EOPNOTSUPP, f"freebsd-sim: not simulated: kqueue filter {change.filter}")
        known = self._watched.get(key)
        if change.flags & ADD:
            # What is added again is changed; an event of a descriptor that was closed meanwhile is gone.
            self._watched[key] = change
        elif known is None:
            raise OSError(errno.ENOENT, "No such file or directory")
        if change.flags & DELETE:
            del self._watched[key]
        elif change.flags & (ENABLE | DISABLE) and known is not None and not change.flags & ADD:
            known.flags = known.flags & ~DISABLE | change.flags & DISABLE
        try:
            self._apply(change)
        except OSError:
            self._watched.pop(key, None)
            raise

    def _apply(self, change: kevent) -> None:
        if change.filter in (READ, WRITE):
            self._apply_descriptor(change.ident, change.filter if change.flags & ADD else 0)
        elif change.filter == PROC:
            self._apply_process(change)
        elif change.flags & ADD:
            self._deadlines[change.ident] = time.monotonic() + _seconds(change)
        elif change.flags & DELETE:
            self._deadlines.pop(change.ident, None)

    def _apply_descriptor(self, ident: int, added: int = 0) -> None:
        mask = 0
        for filter, bit in ((READ, _IN | _RDHUP), (WRITE, _OUT)):
            asked = self._watched.get((filter, ident))
            if asked is not None and not asked.flags & DISABLE:
                mask |= bit | (_ET if asked.flags & CLEAR else 0)
        self._always_ready.discard(ident)
        if not mask:
            try:
                self._epoll.unregister(ident)
            except OSError as error:
                if error.errno not in (errno.ENOENT, errno.EBADF, errno.EPERM):
                    raise
            return
        try:
            self._epoll.register(ident, mask)
            other = {READ: WRITE, WRITE: READ}.get(added, 0)
            if self._watched.pop((other, ident), None) is not None:
                # It was asked for with an earlier descriptor of this number, and went with it.
                self._apply_descriptor(ident)
        except FileExistsError:
            self._epoll.modify(ident, mask)
        except PermissionError:
            self._always_ready.add(ident)

    def _apply_process(self, change: kevent) -> None:
        known = next((fd for fd, (pid, _) in self._processes.items() if pid == change.ident), None)
        if change.flags & DELETE:
            if known is not None:
                self._drop_process(known)
        elif known is None:
            if change.fflags & ~NOTE_EXIT:
                raise OSError(errno.EOPNOTSUPP, "freebsd-sim: not simulated: EVFILT_PROC other than NOTE_EXIT")
            descriptor = identity.pidfd_open(change.ident)
            self._processes[descriptor] = (change.ident, descriptor)
            self._epoll.register(descriptor, _IN)

    def _drop_process(self, descriptor: int) -> None:
        pid, _ = self._processes.pop(descriptor)
        self._epoll.unregister(descriptor)
        os.close(descriptor)
        self._watched.pop((PROC, pid), None)

    # Events

    def _wait(self, max_events: int, timeout: float | None) -> list[kevent]:
        end = None if timeout is None else time.monotonic() + max(timeout, 0)
        while True:
            now = time.monotonic()
            limits = [*self._deadlines.values()] + ([end] if end is not None else [])
            if self._always_ready:
                limits = [now]
            wait = None if not limits else max(min(limits) - now, 0)
            events: list[kevent] = []
            for descriptor, mask in self._epoll.poll(wait, max_events):
                self._take(descriptor, mask, events)
            for ident in list(self._always_ready):
                self._take(ident, _IN | _OUT, events)
            self._take_timers(events)
            if events or (end is not None and time.monotonic() >= end):
                return events[:max_events]

    def _take(self, descriptor: int, mask: int, events: list[kevent]) -> None:
        if descriptor in self._processes:
            pid = self._processes[descriptor][0]
            asked = self._watched[PROC, pid]
            status = _exit_status(descriptor)
            self._drop_process(descriptor)
            events.append(kevent(pid, PROC, asked.flags | EOF | ONESHOT, NOTE_EXIT, status, asked.udata))
            return
        for filter, bits, end in ((READ, _IN | _RDHUP | _HUP | _ERR, _RDHUP | _HUP), (WRITE, _OUT | _HUP | _ERR, _HUP)):
            asked = self._watched.get((filter, descriptor))  # type: ignore[assignment]
            if asked is None or asked.flags & DISABLE or not mask & bits:
                continue
            flags = asked.flags & ~ADD | (EOF if mask & end else 0)
            data = _readable(descriptor) if filter == READ else 0
            events.append(kevent(descriptor, filter, flags, 0, data, asked.udata))
            if asked.flags & ONESHOT:
                del self._watched[filter, descriptor]
                self._apply_descriptor(descriptor)

    def _take_timers(self, events: list[kevent]) -> None:
        now = time.monotonic()
        for ident, deadline in list(self._deadlines.items()):
            if deadline > now:
                continue
            asked = self._watched[TIMER, ident]
            events.append(kevent(ident, TIMER, asked.flags | CLEAR, 0, 1, asked.udata))
            if asked.flags & ONESHOT:
                del self._deadlines[ident], self._watched[TIMER, ident]
            else:
                self._deadlines[ident] = now + _seconds(asked)


def _seconds(event: kevent) -> float:
    return max(event.data, 1e-3) * TIMER_UNITS.get(event.fflags & 0xF, 1e-3)


def _exit_status(descriptor: int) -> int:
    """Return the wait(2) status of an exited child without reaping it; 0 for another's child."""
    try:
        result = os.waitid(3, descriptor, os.WEXITED | os.WNOHANG | os.WNOWAIT)  # P_PIDFD
    except OSError:
        return 0
    if result is None:
        return 0
    return result.si_status << 8 if result.si_code == os.CLD_EXITED else result.si_status


def _readable(descriptor: int) -> int:
    import fcntl
    import struct

    try:
        return int(struct.unpack("=i", fcntl.ioctl(descriptor, 0x541B, bytes(4)))[0])  # FIONREAD
    except OSError:
        return 1  # a listening socket: at least one connection waits


def _close_after_fork() -> None:
    """A queue is not inherited by a child: kqueue(2)."""
    for queue in list(_open_queues):
        queue.close()


def install(module: ModuleType) -> None:
    """Give kqueue to the select module."""
    global _epoll
    _epoll = module.__dict__["epoll"]
    kqueue.__module__ = kevent.__module__ = "select"
    module.__dict__.update(CONSTANTS, kqueue=kqueue, kevent=kevent)
    os.register_at_fork(after_in_child=_close_after_fork)
