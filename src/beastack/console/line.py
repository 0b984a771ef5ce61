"""A guest's serial line as the daemon holds it: opened again when it is lost, never waited for.

An nmdm line is opened once and kept through every restart of the guest. A TCP
line is there only while its bhyve runs, so it is looked for again and again,
ever more slowly; ``reach`` looks at once.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
import time
from collections.abc import Callable

from beastack.console.loop import READ, WRITE, Loop, Timer, Watch
from beastack.console.names import Key, Nmdm, Tcp

CHUNK = 65536  # bytes read at once
INPUT_LIMIT = 65536  # bytes kept for a guest that does not read; then who types has to wait
STALE = 5.0  # seconds after which input that a guest does not take is thrown away
RETRY_FIRST = 0.1  # seconds until a lost line is looked for again, doubled each time
STEADY = 10.0  # seconds; a line that is lost sooner is not looked for faster (bhyve turns a second client away)
RETRY_MAX = {Nmdm: 30.0, Tcp: 10.0}

OpenPair = Callable[[Key], int]


class Line:
    """One line. ``state`` is ``open``, ``connecting`` or ``lost``; ``why`` says what went wrong last."""

    def __init__(
        self, loop: Loop, where: Nmdm | Tcp, open_pair: OpenPair,
        received: Callable[[bytes], None], drained: Callable[[], None],
    ) -> None:  # fmt: skip
        self.where = where
        self.state = "lost"
        self.why = ""
        self._loop = loop
        self._open_pair = open_pair
        self._received = received
        self._drained = drained
        self._descriptor = -1
        self._connecting: socket.socket | None = None
        self._watch: Watch | None = None
        self._pending = bytearray()
        self._stale: Timer | None = None
        self._moved = False  # the guest has taken input since the timer was set
        self._retry: Timer | None = None
        self._delay = RETRY_FIRST
        self._opened = 0.0

    @property
    def full(self) -> bool:
        """No more input can be taken just now; ``drained`` is called when it can."""
        return len(self._pending) >= INPUT_LIMIT

    def reach(self) -> None:
        """Open the line now unless it is open; what fails is tried again later.

        :raises OSError: an nmdm line cannot be opened; a TCP line has until later
        """
        if self.state != "lost":
            return
        self._forget_retry()
        self._delay = RETRY_FIRST
        self._open()

    def write(self, data: bytes) -> None:
        """Send input to the guest; where there is no guest it goes nowhere."""
        if self.state != "open":
            return
        if not self._pending:
            data = data[self._send(data) :]
        if data and self.state == "open":
            self._pending += data
            self._await_room()

    def close(self) -> None:
        """Let the line go for good."""
        self._forget_retry()
        self._drop("closed")

    def _open(self) -> None:
        try:
            if isinstance(self.where, Nmdm):
                self._take(self._open_pair(self.where.key))
            else:
                self._connect(self.where)
        except OSError as error:
            self._lose(error.strerror or str(error))
            if isinstance(self.where, Nmdm):
                raise

    def _open_again(self) -> None:
        try:
            self._open()
        except OSError:
            pass  # noted, and to be tried again

    def _connect(self, where: Tcp) -> None:
        family = socket.AF_INET6 if ":" in where.address else socket.AF_INET
        connection = socket.socket(family, socket.SOCK_STREAM)
        connection.setblocking(False)
        # Closed by a reset: bhyve binds its port again without SO_REUSEADDR, and an ordinary end would keep
        # that port for a minute, so that a guest's reboot would fail (usr.sbin/bhyve/uart_backend.c).
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        result = connection.connect_ex((where.address, where.port))
        if result not in (0, errno.EINPROGRESS):
            connection.close()
            raise OSError(result, os.strerror(result))
        self._connecting, self.state = connection, "connecting"
        self._watch = self._loop.watch(connection.fileno(), WRITE, lambda event: self._connected())

    def _connected(self) -> None:
        assert self._connecting is not None and self._watch is not None
        connection, self._connecting = self._connecting, None
        self._watch.end()
        self._watch = None
        result = connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if result or reached_itself(connection):
            connection.close()
            self._lose(os.strerror(result or errno.ECONNREFUSED))
        else:
            self._take(connection.detach())

    def _take(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self.state, self.why = "open", ""
        self._opened = time.monotonic()
        self._watch = self._loop.watch(descriptor, READ, self._ready)

    def _ready(self, event: int) -> None:
        if event == WRITE:
            self._flush()
            return
        try:
            data = os.read(self._descriptor, CHUNK)
        except BlockingIOError:
            return
        except OSError as error:
            self._lose(error.strerror or str(error))
            return
        if not data:
            self._lose("hung up")
            return
        self._received(data)

    def _send(self, data: bytes | bytearray) -> int:
        try:
            return os.write(self._descriptor, data)
        except BlockingIOError:
            return 0
        except OSError as error:
            self._lose(error.strerror or str(error))
            return 0

    def _flush(self) -> None:
        sent = self._send(self._pending)
        del self._pending[:sent]
        self._moved = self._moved or sent > 0
        if self.state == "open":
            self._await_room()
        self._drained()

    def _await_room(self) -> None:
        assert self._watch is not None
        self._watch.want(READ | WRITE if self._pending else READ)
        if self._pending and self._stale is None:
            self._moved = False
            self._stale = self._loop.call_after(STALE, self._discard)
        elif not self._pending:
            self._forget_stale()

    def _discard(self) -> None:
        self._stale = None
        if not self._moved:
            # Keys must not be pressed an hour later, in whatever runs there then.
            self._pending.clear()
        self._await_room()
        self._drained()

    def _lose(self, why: str) -> None:
        if self.state == "open" and time.monotonic() - self._opened >= STEADY:
            self._delay = RETRY_FIRST
        self._drop(why)
        self._retry = self._loop.call_after(self._delay, self._open_again)
        self._delay = min(self._delay * 2, RETRY_MAX[type(self.where)])

    def _drop(self, why: str) -> None:
        self.state, self.why = "lost", why
        if self._watch is not None:
            self._watch.end()
            self._watch = None
        if self._connecting is not None:
            self._connecting.close()
            self._connecting = None
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
        self._pending.clear()
        self._forget_stale()
        self._drained()

    def _forget_stale(self) -> None:
        if self._stale is not None:
            self._stale.cancel()
            self._stale = None

    def _forget_retry(self) -> None:
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None


def reached_itself(connection: socket.socket) -> bool:
    """Tell whether a connection leads to its own port.

    Where nobody listens at a port that the kernel gives to connections too,
    TCP may connect one to itself, and the guest would hear its own echo.
    """
    try:
        return bool(connection.getsockname() == connection.getpeername())
    except OSError:
        return False  # it has ended already, as the first look at it will tell
