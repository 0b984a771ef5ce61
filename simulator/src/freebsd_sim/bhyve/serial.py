"""What stands behind bhyve's serial ports: a terminal, standard input and output, or a TCP listener.

QEMU has one end of a socket pair for each port. Guest output that nobody
takes is dropped, as bhyve does; the guest never waits for a reader.
"""

from __future__ import annotations

import contextlib
import os
import re
import selectors
import socket
import stat
import termios
import tty
from collections.abc import Callable

from freebsd_sim.bhyve.errors import device_failure

CHUNK = 4096
TAKEN = b"Socket already connected\n"

LookUp = Callable[[str], None]


class SerialPort:
    """One port: ``guest`` is this side of the pair, ``source`` is read and ``target`` is written for the backend."""

    def __init__(self, selector: selectors.BaseSelector, backend: str, look_up: LookUp) -> None:
        self.selector = selector
        self.guest, self.qemu = socket.socketpair()
        self.guest.setblocking(False)
        self.source = self.target = -1
        self.listener: socket.socket | None = None
        self.client: socket.socket | None = None
        self.to_guest = b""
        if backend.startswith("tcp="):
            self._listen(backend.removeprefix("tcp="))
        elif backend == "stdio":
            self._use_standard()
        else:
            self._use_terminal(backend, look_up)
        selector.register(self.guest, selectors.EVENT_READ, self._from_guest)

    def _use_standard(self) -> None:
        self.source, self.target = 0, 1
        for descriptor in (0, 1):
            os.set_blocking(descriptor, False)
        if os.isatty(0):
            tty.setraw(0)
        self._read_source(wanted=True)

    def _use_terminal(self, path: str, look_up: LookUp) -> None:
        try:
            look_up(path)
            self.source = self.target = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
            if not stat.S_ISCHR(os.fstat(self.source).st_mode) or not os.isatty(self.source):
                raise OSError(25, "Inappropriate ioctl for device")
        except OSError as error:
            raise OSError(error.errno, error.strerror, path) from None
        tty.setraw(self.source)
        mode = termios.tcgetattr(self.source)
        mode[2] |= termios.CLOCAL
        termios.tcsetattr(self.source, termios.TCSANOW, mode)
        self._read_source(wanted=True)

    def _listen(self, address: str) -> None:
        match = re.fullmatch(r"\[([0-9a-fA-F:.]+)\]:(\d+)|([0-9.]+):(\d+)", address)
        if match is None:
            raise device_failure(f"Invalid socket address '{address}'", "Invalid argument")
        host, port = match[1] or match[3], int(match[2] or match[4])
        self.listener = socket.socket(socket.AF_INET6 if match[1] else socket.AF_INET, socket.SOCK_STREAM)
        try:
            self.listener.bind((host, port))
        except OSError as error:
            raise device_failure(f"bind({address}): {error.strerror}", error.strerror or "") from None
        self.listener.listen(1)
        self.listener.setblocking(False)
        self.selector.register(self.listener, selectors.EVENT_READ, self._accept)

    def _accept(self) -> None:
        assert self.listener is not None
        client, _ = self.listener.accept()
        if self.client is not None:
            with client, contextlib.suppress(OSError):
                client.sendall(TAKEN)
            return
        client.setblocking(False)
        self.client = client
        self.source = self.target = client.fileno()
        self._read_source(wanted=True)

    def _read_source(self, *, wanted: bool) -> None:
        with contextlib.suppress(KeyError, ValueError, PermissionError):
            if wanted:
                self.selector.register(self.source, selectors.EVENT_READ, self._from_source)
            else:
                self.selector.unregister(self.source)

    def _from_source(self) -> None:
        try:
            data = os.read(self.source, CHUNK)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._read_source(wanted=False)
            if self.client is not None:
                self.client.close()
                self.client, self.source, self.target = None, -1, -1
            return
        self.to_guest = data
        self._feed_guest()

    def _feed_guest(self) -> None:
        """Give the guest what came in; while it does not take it, nothing more is read."""
        with contextlib.suppress(BlockingIOError, BrokenPipeError, ConnectionResetError):
            self.to_guest = self.to_guest[self.guest.send(self.to_guest) :]
        waiting = bool(self.to_guest)
        self._read_source(wanted=not waiting)
        events = selectors.EVENT_READ | (selectors.EVENT_WRITE if waiting else 0)
        with contextlib.suppress(KeyError):
            self.selector.modify(self.guest, events, self._serve_guest if waiting else self._from_guest)

    def _serve_guest(self) -> None:
        self._from_guest()
        self._feed_guest()

    def _from_guest(self) -> None:
        try:
            data = self.guest.recv(CHUNK)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            with contextlib.suppress(KeyError):
                self.selector.unregister(self.guest)
            return
        if self.target >= 0:
            with contextlib.suppress(OSError):
                os.write(self.target, data)
