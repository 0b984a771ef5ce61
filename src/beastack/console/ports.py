"""The TCP ports that consoles are served at: each given again as late as possible.

A token of nova's leads to a port for minutes after its instance is gone; a
port that went to the next instance at once would lead it to a stranger.
"""

from __future__ import annotations

import errno
import socket


class NoPort(Exception):
    """Every port of the range is taken."""


class Ports:
    """A range of ports at one address. ``next`` is where the search goes on."""

    def __init__(self, address: str, ports: range) -> None:
        self.address = address
        self.ports = ports
        self.next = ports.start

    def listen(self, wanted: int | None = None) -> socket.socket:
        """Return a listener: at the wanted port if it can be had, or else at the next free one.

        :raises NoPort: there is none
        :raises OSError: the address is not this host's
        """
        if wanted is not None and wanted in self.ports and (found := self._listen_at(wanted)) is not None:
            return found
        if self.next not in self.ports:
            self.next = self.ports.start
        first = self.next - self.ports.start
        for turn in range(len(self.ports)):
            port = self.ports[(first + turn) % len(self.ports)]
            if (found := self._listen_at(port)) is not None:
                self.next = port + 1
                return found
        raise NoPort(f"no port from {self.ports.start} to {self.ports.stop - 1} is free")

    def _listen_at(self, port: int) -> socket.socket | None:
        listener = socket.socket(socket.AF_INET6 if ":" in self.address else socket.AF_INET, socket.SOCK_STREAM)
        try:
            # After a restart, connections of before must not keep the port.
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((self.address, port))
            listener.listen(16)
        except OSError as error:
            listener.close()
            if error.errno in (errno.EADDRINUSE, errno.EACCES):
                return None
            raise
        listener.setblocking(False)
        return listener
