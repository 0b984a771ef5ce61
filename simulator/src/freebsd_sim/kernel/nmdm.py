"""nmdm(4): pairs of terminals that are each other's modem line, as two Linux ptys with a pump between them.

A pair is made by the first look-up of either of its names. Bytes written to
one side come out at the other. When one side is closed, the other loses
carrier: it is hung up unless its termios has CLOCAL. When both are closed,
the pair is gone.

Differences from FreeBSD: a plain open of one side does not wait for the other
(``wait_for_carrier`` is for those who want that), speeds are not simulated,
and the pair goes with a hang-up, even while the dead descriptor is held.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import os
import select
import struct
import termios
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from freebsd_sim.kernel.errors import KernelError

if TYPE_CHECKING:
    from freebsd_sim.kernel import Kernel

QUEUE = 4096  # bytes kept for a side that nobody has open; the real queue's size is not known
LONGEST_NAME = 250  # devfs
DRAIN_DELAY = 0.05  # seconds from an open to what was kept, so that the opener can set raw mode before
CARRIER_STEP = 0.2  # seconds between looks whether a waiting process is still there

TIOCSPTLCK = 0x40045431  # asm-generic/ioctls.h; Python has names for them from 3.13 on
TIOCGPTN = 0x80045430
IN_CLOSE_WRITE = 0x08  # linux/inotify.h
IN_CLOSE_NOWRITE = 0x10
IN_OPEN = 0x20
EVENT = struct.Struct("iIII")

_libc = ctypes.CDLL(None, use_errno=True)


def split_name(name: str) -> tuple[str, str]:
    """Return the pair's name and the side ("A" or "B") of a node's name, e.g. "nmdm0A".

    :raises KernelError: ENOENT, it is no such name
    """
    base, side = name[:-1], name[-1:]
    if not name.startswith("nmdm") or side not in ("A", "B") or base == "nmdm" or "/" in name:
        raise KernelError("ENOENT")
    if len(name) > LONGEST_NAME:
        raise KernelError("ENOENT")
    return base, side


@dataclass
class Side:
    """One end: a pty whose slave is the device."""

    name: str
    master: int = -1
    slave: Path = Path()  # as this process sees it
    watch: int = -1  # inotify's number
    opens: int = 0
    pending: bytearray = field(default_factory=bytearray)  # to be read at this end
    drain_at: float = 0.0
    initial: list[Any] = field(default_factory=list)  # termios of a fresh device


@dataclass
class Pair:
    """Both ends."""

    name: str
    sides: dict[str, Side]

    def other(self, side: Side) -> Side:
        """Return the end across."""
        return next(item for item in self.sides.values() if item is not side)


class Nmdm:
    """All pairs of the host. One thread moves the bytes and notices opens and closes."""

    def __init__(self, kernel: Kernel) -> None:
        self.kernel = kernel
        self.pairs: dict[str, Pair] = {}
        self.lock = threading.RLock()
        self.changed = threading.Condition(self.lock)
        self._by_master: dict[int, tuple[Pair, Side]] = {}
        self._by_watch: dict[int, tuple[Pair, Side]] = {}
        self._poll = select.epoll()
        self._notify = -1

    @property
    def devices(self) -> Path:
        """The host's /dev as this process sees it."""
        return self.kernel.root / "dev"

    def lookup(self, name: str) -> str:
        """Return the path in the host of a node's terminal; make the pair when this is the first look-up.

        :param name: "nmdm0A" or "/dev/nmdm0A"
        :raises KernelError: ENOENT, the name is none, or the module is not loaded
        """
        base, side = split_name(name.removeprefix("/dev/"))
        if not self.kernel.modules.is_loaded("nmdm"):
            raise KernelError("ENOENT")
        with self.lock:
            pair = self.pairs.get(base)
            if pair is None:
                pair = self._make_pair(base)
            return f"/dev/pts/{pair.sides[side].slave.name}"

    def in_use(self) -> bool:
        """Tell whether any pair exists, so that the module cannot be unloaded."""
        return bool(self.pairs)

    def has_carrier(self, name: str) -> bool:
        """Tell whether the other side of a node is open."""
        base, side = split_name(name.removeprefix("/dev/"))
        with self.lock:
            pair = self.pairs.get(base)
            return pair is not None and pair.other(pair.sides[side]).opens > 0

    def wait_for_carrier(self, name: str, pid: int) -> None:
        """Wait until the other side of a node is open, as an open without O_NONBLOCK does, or ``pid`` is gone.

        :raises KernelError: EINTR, the process is gone
        """
        self.lookup(name)
        with self.lock:
            while not self.has_carrier(name):
                self.changed.wait(CARRIER_STEP)
                if not Path(f"/proc/{pid}").exists():
                    raise KernelError("EINTR")

    def _make_pair(self, base: str) -> Pair:
        if self._notify < 0:
            self._start()
        pair = Pair(base, {})
        for letter in "AB":
            side = Side(base + letter)
            pair.sides[letter] = side
            self._make_side(pair, side)
        self.pairs[base] = pair
        return pair

    def _start(self) -> None:
        self._notify = _libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        if self._notify < 0:
            raise KernelError("ENFILE")
        self._poll.register(self._notify, select.EPOLLIN)
        threading.Thread(target=self._pump, name="nmdm", daemon=True).start()

    def _make_side(self, pair: Pair, side: Side) -> None:
        """Give a side a fresh terminal."""
        side.master = os.open(self.devices / "pts/ptmx", os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC)
        fcntl.ioctl(side.master, TIOCSPTLCK, struct.pack("i", 0))
        (number,) = struct.unpack("i", fcntl.ioctl(side.master, TIOCGPTN, bytes(4)))
        side.slave = self.devices / "pts" / str(number)
        os.chmod(side.slave, 0o600)
        os.chown(side.slave, 0, 0)
        side.initial = termios.tcgetattr(side.master)
        side.opens = 0
        side.watch = _libc.inotify_add_watch(
            self._notify, os.fsencode(side.slave), IN_OPEN | IN_CLOSE_WRITE | IN_CLOSE_NOWRITE
        )
        if side.watch < 0:
            raise KernelError("EIO")
        self._by_watch[side.watch] = (pair, side)
        self._by_master[side.master] = (pair, side)
        link = self.devices / side.name
        fresh = self.devices / f".{side.name}"
        fresh.unlink(missing_ok=True)
        fresh.symlink_to(f"pts/{number}")
        fresh.rename(link)

    def _drop_side(self, side: Side) -> None:
        """Take a side's terminal away; who has it open is hung up."""
        self._listen(side, listen=False)
        self._by_master.pop(side.master, None)
        self._by_watch.pop(side.watch, None)
        _libc.inotify_rm_watch(self._notify, side.watch)
        os.close(side.master)

    def _listen(self, side: Side, *, listen: bool) -> None:
        with contextlib.suppress(FileNotFoundError, FileExistsError):
            if listen:
                self._poll.register(side.master, select.EPOLLIN)
            else:
                self._poll.unregister(side.master)

    def _pump(self) -> None:
        while True:
            with self.lock:
                timeout = self._next_drain()
            events = self._poll.poll(timeout)
            with self.lock:
                for descriptor, _ in events:
                    if descriptor == self._notify:
                        self._take_notices()
                    elif descriptor in self._by_master:
                        self._move(*self._by_master[descriptor])
                for pair in list(self.pairs.values()):
                    for side in pair.sides.values():
                        self._drain(pair, side)

    def _next_drain(self) -> float:
        """Return how long the pump may sleep, in seconds; -1 for until something happens."""
        waiting = [side.drain_at for pair in self.pairs.values() for side in pair.sides.values() if side.pending]
        open_ends = [when for when in waiting if when > 0]
        return max(0.001, min(open_ends) - time.monotonic()) if open_ends else -1

    def _take_notices(self) -> None:
        try:
            data = os.read(self._notify, 65536)
        except BlockingIOError:
            return
        position = 0
        while position < len(data):
            watch, mask, _, length = EVENT.unpack_from(data, position)
            position += EVENT.size + length
            if watch in self._by_watch:
                self._notice(*self._by_watch[watch], mask)

    def _notice(self, pair: Pair, side: Side, mask: int) -> None:
        if mask & IN_OPEN:
            side.opens += 1
            if side.opens == 1:
                side.drain_at = time.monotonic() + DRAIN_DELAY
                self._listen(side, listen=True)
                self.changed.notify_all()
        elif mask & (IN_CLOSE_WRITE | IN_CLOSE_NOWRITE) and side.opens > 0:
            side.opens -= 1
            if side.opens == 0:
                self._closed(pair, side)

    def _closed(self, pair: Pair, side: Side) -> None:
        """Deal with the last close of a side."""
        self._move(pair, side)
        self._listen(side, listen=False)
        side.drain_at = 0.0
        side.pending.clear()
        other = pair.other(side)
        if other.opens == 0:
            self._remove(pair)
            return
        with contextlib.suppress(termios.error):
            termios.tcsetattr(side.master, termios.TCSANOW, side.initial)
        if not termios.tcgetattr(other.master)[2] & termios.CLOCAL:
            # Hung up: on FreeBSD that descriptor is dead from now on, too.
            self._remove(pair)

    def _remove(self, pair: Pair) -> None:
        for side in pair.sides.values():
            (self.devices / side.name).unlink(missing_ok=True)
            self._drop_side(side)
        self.pairs.pop(pair.name, None)
        self.changed.notify_all()

    def _move(self, pair: Pair, side: Side) -> None:
        """Take what a side wrote and keep it for the other, as far as there is room."""
        other = pair.other(side)
        while True:
            room = QUEUE - len(other.pending)
            if room <= 0:
                # The writer's own queue fills up now, and its writes wait or fail.
                self._listen(side, listen=False)
                return
            try:
                data = os.read(side.master, room)
            except OSError:
                return  # nothing there, or closed
            if not data:
                return
            other.pending += data
            if other.drain_at:
                self._drain(pair, other)

    def _drain(self, pair: Pair, side: Side) -> None:
        """Let an open side read what was kept for it."""
        if not side.pending or not side.drain_at:
            return
        now = time.monotonic()
        if now < side.drain_at:
            return
        try:
            written = os.write(side.master, side.pending)
        except OSError as error:
            if error.errno not in (errno.EAGAIN, errno.EIO):
                raise
            written = 0
        del side.pending[:written]
        # A reader that does not read is looked at again a little later.
        side.drain_at = now if not side.pending else now + DRAIN_DELAY
        other = pair.other(side)
        if other.opens and len(side.pending) < QUEUE:
            self._listen(other, listen=True)


def _open(kernel: Kernel, pid: int, uid: int, arguments: dict[str, Any]) -> tuple[Any, list[int]]:
    """Look a node up: {"path": "/dev/nmdm0A", "wait": false} gives the path of its terminal."""
    path = str(arguments["path"])
    terminal = kernel.nmdm.lookup(path)
    if arguments.get("wait"):
        kernel.nmdm.wait_for_carrier(path, pid)
        terminal = kernel.nmdm.lookup(path)
    return terminal, []


SYSCALLS = {"nmdm_open": _open}
