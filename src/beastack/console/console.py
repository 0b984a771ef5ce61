"""One console: what the guest says goes to the log and to every viewer, what any viewer types goes to the guest."""

from __future__ import annotations

import errno
import socket
from typing import Any, Protocol

from beastack.console.line import Line, OpenPair
from beastack.console.log import Log
from beastack.console.loop import READ, Loop, Watch
from beastack.console.names import Key, Nmdm, Tcp
from beastack.console.queries import without_queries
from beastack.console.viewer import Viewer

VIEWERS = 8  # of one console; who comes then takes the place of the first
BREATH = 1.0  # seconds until somebody is let in again after the descriptors ran out


class Room(Protocol):
    """How many viewers the whole daemon may have."""

    def take(self) -> bool:
        """Take a place; False when there is none."""

    def give(self) -> None:
        """Give it back."""


class Console:
    """A line, its log, its listener and who is connected to it."""

    def __init__(
        self, loop: Loop, key: Key, where: Nmdm | Tcp, open_pair: OpenPair,
        log: Log, listener: socket.socket, room: Room, backlog: int,
    ) -> None:  # fmt: skip
        self.key = key
        self.log = log
        self.port: int = listener.getsockname()[1]
        self._loop = loop
        self._open_pair = open_pair
        self._listener = listener
        self._room = room
        self._backlog = backlog
        self._viewers: list[Viewer] = []
        self.line = self._make_line(where)
        self._watch: Watch = loop.watch(listener.fileno(), READ, lambda event: self._accept())

    def lead(self, where: Nmdm | Tcp) -> None:
        """Change where the line leads; log, port and viewers stay."""
        if where != self.line.where:
            self.line.close()
            self.line = self._make_line(where)

    def describe(self) -> dict[str, Any]:
        """Return what ``list`` says of it."""
        return {
            "uuid": self.key.uuid, "index": self.key.index, "line": str(self.line.where), "port": self.port,
            "state": self.line.state, "why": self.line.why, "viewers": len(self._viewers), "lost": self.log.lost,
        }  # fmt: skip

    def close(self) -> None:
        """Let everything go; the log's files stay."""
        self._watch.end()
        self._listener.close()
        self.line.close()
        for viewer in self._viewers:
            viewer.close()
            self._room.give()
        self._viewers.clear()
        self.log.close()

    def _make_line(self, where: Nmdm | Tcp) -> Line:
        return Line(self._loop, where, self._open_pair, self._received, self._drained)

    def _received(self, data: bytes) -> None:
        self.log.write(data)
        for viewer in list(self._viewers):
            viewer.send(data)

    def _typed(self, data: bytes) -> None:
        self.line.write(data)
        if self.line.full:
            for viewer in self._viewers:
                viewer.hear(False)

    def _drained(self) -> None:
        # Also while the line is being made, without viewers.
        for viewer in self._viewers:
            viewer.hear(True)

    def _accept(self) -> None:
        try:
            connection, _ = self._listener.accept()
        except OSError as error:
            if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
                self._watch.want(0)
                self._loop.call_after(BREATH, lambda: self._watch.want(READ))
            return
        if len(self._viewers) >= VIEWERS:
            # A proxy that lost its user may hold a connection for ever, and must not keep that user out.
            self._viewers[0].leave()
        if not self._room.take():
            connection.close()
            return
        try:
            viewer = Viewer(self._loop, connection, self._typed, self._left)
        except OSError:  # gone already: FreeBSD refuses options then
            connection.close()
            self._room.give()
            return
        self._viewers.append(viewer)
        viewer.send(without_queries(self.log.tail(self._backlog)))

    def _left(self, viewer: Viewer) -> None:
        self._viewers.remove(viewer)
        self._room.give()
