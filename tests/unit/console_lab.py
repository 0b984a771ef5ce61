"""A console daemon in a thread, guests on ptys, and people at their consoles."""

from __future__ import annotations

import contextlib
import os
import pty
import select
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from beastack.console.client import Client
from beastack.console.daemon import Config, Daemon
from beastack.console.names import Key
from beastack.freebsd import nmdm

UUID = "5b6f9d0e-28f1-4d0a-9a4b-0c6d3f1e2a10"
OTHER = "5b6f9d0e-28f1-4d0a-9a4b-0c6d3f1e2a11"


def eventually(condition: Callable[[], Any], what: str, limit: float = 10) -> Any:
    """Wait until a condition returns something true, and return that."""
    deadline = time.monotonic() + limit
    while not (value := condition()):
        assert time.monotonic() < deadline, f"not within {limit:g} s: {what}"
        time.sleep(0.01)
    return value


class Guest:
    """Side A of a pair: the master of a pty, whose slave is side B."""

    def __init__(self) -> None:
        self.master, self._slave = pty.openpty()
        self.path = os.ttyname(self._slave)
        nmdm.set_raw(self._slave)
        os.set_blocking(self.master, False)

    def say(self, data: bytes) -> None:
        """Print to the console, all of it."""
        while data:
            assert select.select([], [self.master], [], 5)[1], "nobody reads this line"
            with contextlib.suppress(BlockingIOError):
                data = data[os.write(self.master, data[:4096]) :]

    def hear(self, count: int, limit: float = 10) -> bytes:
        """Return at least so many bytes of input, or what came until the limit."""
        heard, deadline = b"", time.monotonic() + limit
        while len(heard) < count and time.monotonic() < deadline:
            if select.select([self.master], [], [], 0.1)[0]:
                heard += os.read(self.master, 65536)
        return heard

    def close(self) -> None:
        """Take the whole pair away."""
        for descriptor in (self.master, self._slave):
            with contextlib.suppress(OSError):
                os.close(descriptor)
        self.master = self._slave = -1


class House:
    """A daemon's directory, its guests, and the daemon while it runs."""

    def __init__(self, directory: Path, **options: Any) -> None:
        self.directory = directory
        first = free_port(32)
        self.options = {"ports": range(first, first + 32), "tcp_lines": range(1024, first), **options}
        self.guests: dict[Key, Guest] = {}
        self.opened = 0
        self.client = Client(directory, patience=5)
        self.failure: BaseException | None = None
        self._thread: threading.Thread | None = None

    def open_pair(self, key: Key) -> int:
        """Open side B of a guest's line."""
        if key not in self.guests:
            raise FileNotFoundError(2, "No such file or directory", key.pair.b)
        self.opened += 1
        return nmdm.open_line(self.guests[key].path)

    def guest(self, uuid: str = UUID, index: int = 0) -> Guest:
        """Have a guest's line."""
        key = Key(uuid, index)
        if key not in self.guests:
            self.guests[key] = Guest()
        return self.guests[key]

    def forget_guest(self, uuid: str = UUID, index: int = 0) -> None:
        """Take a guest's line away."""
        self.guests.pop(Key(uuid, index)).close()

    def make(self) -> Daemon:
        """Make a daemon that does not run by itself."""
        return Daemon(Config(self.directory, **self.options), self.open_pair)

    def start(self) -> None:
        """Start the daemon."""
        daemon = self.make()
        wake, self._waker = socket.socketpair()
        self._stopping = threading.Event()
        daemon.loop.watch(wake.fileno(), 1, lambda event: None)

        def run() -> None:
            try:
                while not self._stopping.is_set():
                    daemon.loop.turn()
            except BaseException as error:
                self.failure = error
            finally:
                daemon.close()
                wake.close()

        self._thread = threading.Thread(target=run)
        self._thread.start()

    def stop(self) -> None:
        """End the daemon."""
        if self._thread is not None:
            self._stopping.set()
            with contextlib.suppress(BrokenPipeError):
                self._waker.send(b"x")
            self._thread.join()
            self._waker.close()
            self._thread = None
        assert self.failure is None, self.failure

    def restart(self) -> None:
        """End the daemon and start the next one."""
        self.stop()
        self.start()

    def console(self, uuid: str = UUID, index: int = 0) -> dict[str, Any]:
        """Return what the daemon says of a console."""
        return next(item for item in self.client.list() if (item["uuid"], item["index"]) == (uuid, index))

    def close(self) -> None:
        """End everything."""
        try:
            self.stop()
        finally:
            for guest in self.guests.values():
                guest.close()


def view(port: int) -> socket.socket:
    """Connect to a console."""
    return socket.create_connection(("127.0.0.1", port), 5)


def read_until(connection: socket.socket, end: bytes) -> bytes:
    """Read until the text ends so."""
    data = b""
    while not data.endswith(end):
        more = connection.recv(65536)
        assert more, f"hung up after {data!r}"
        data += more
    return data


def is_cut(connection: socket.socket) -> bool:
    """Read to the end and tell whether there is one."""
    try:
        while connection.recv(1 << 20):
            pass
    except TimeoutError:
        return False
    except OSError:
        return True
    return True


def free_port(count: int) -> int:
    """Return the first of so many ports that nobody listens at."""
    for first in range(24000, 60000, count):
        with contextlib.ExitStack() as held:
            try:
                for port in range(first, first + count):
                    held.enter_context(socket.socket()).bind(("127.0.0.1", port))
            except OSError:
                continue
            return first
    raise AssertionError("no free ports")


@contextlib.contextmanager
def running(house: House) -> Iterator[House]:
    """Have a daemon run meanwhile."""
    house.start()
    try:
        yield house
    finally:
        house.close()
