"""Where services ask for privileged daemons: a Unix socket that any local user may reach.

A request is one line of JSON, ``{"op": "helper", "name": CONTEXT}``, with
one descriptor: a connection to the service's own socket, which the daemon
will serve. Nothing else comes from the asker: no path that root would walk,
no option, no configuration file. Who asks is what the kernel says
(``credentials``), and the listener at the far end of the descriptor must be
the same user: a connection to somebody else's socket is worth nothing.

The answer comes when the daemon has been started with that connection, or
has failed to. From then on the end of either side is seen by the other.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import socket
import struct
import time
import traceback
from collections.abc import Callable
from pathlib import Path

from beastack.supervisor.credentials import Peer, read_peer

REQUEST_LIMIT = 1024  # bytes
PATIENCE = 10.0  # seconds an asker may take to say what it wants
CONNECTIONS = 128  # askers at once: each holds two of the supervisor's descriptors
CONNECTIONS_PER_USER = 64
BACKLOG = 128
REFUSALS_TOLD = 20  # lines in the log for each stretch of time:
REFUSALS_EVERY = 10.0  # seconds
_RIGHTS = 8  # descriptors looked for in a message; more than one is refused


class Asker:
    """One connection to the door."""

    def __init__(self, connection: socket.socket, peer: Peer, until: float) -> None:
        self.connection = connection
        self.peer = peer
        self.until = until
        self.pending = bytearray()
        self.descriptors: list[int] = []
        self.waiting = False  # it has asked, and is told when there is an answer
        self.gone = False

    def take(self) -> socket.socket:
        """Return the connection that came with the request, checked; it is the caller's to close.

        :raises ValueError: there is none, or it does not lead to the asker
        """
        if len(self.descriptors) != 1:
            raise ValueError(f"a request comes with one descriptor, not {len(self.descriptors)}")
        try:
            found = socket.socket(fileno=self.descriptors[0])
        except OSError:
            raise ValueError("its descriptor is not a socket") from None
        self.descriptors.clear()
        try:
            if found.family != socket.AF_UNIX or found.type != socket.SOCK_STREAM:
                raise ValueError("its descriptor is not a Unix stream socket")
            try:
                listener = read_peer(found)
            except OSError as error:
                raise ValueError(f"its descriptor is not connected ({error.strerror or error})") from None
            if listener.uid != self.peer.uid:
                raise ValueError(f"its descriptor leads to a socket of uid {listener.uid}")
        except ValueError:
            close_foreign(found)
            raise
        # The daemon reads and writes it in threads that wait.
        found.setblocking(True)
        found.set_inheritable(False)
        return found


class Door:
    """Accepts askers, reads their requests and tells them the answer.

    ``knows(uid)`` tells whether there is anything for a user at all.
    ``ask(asker, name)`` is called with each request: it raises ValueError to
    refuse it, or has ``answer`` called later. ``left(asker)`` is called for
    one that goes before it is answered.
    """

    def __init__(
        self,
        selector: selectors.BaseSelector,
        knows: Callable[[int], bool],
        ask: Callable[[Asker, str], None],
        left: Callable[[Asker], None],
        say: Callable[[str], None],
    ) -> None:
        self.selector = selector
        self.knows, self.ask, self.left, self.say = knows, ask, left, say
        self.askers: list[Asker] = []
        self.listener: socket.socket | None = None
        self.shut_until = 0.0  # no descriptors are left: nobody is let in before this moment
        self.refused = 0
        self.refusals_until = 0.0

    def open(self, path: Path) -> None:
        """Listen at ``path``, which any user may connect to."""
        with contextlib.suppress(FileNotFoundError):
            path.unlink()
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        before = os.umask(0o111)
        try:
            self.listener.bind(str(path))
        finally:
            os.umask(before)
        self.listener.listen(BACKLOG)
        self.listener.setblocking(False)
        self.selector.register(self.listener, selectors.EVENT_READ, self._accept)

    def refuse(self, asker: Asker, why: str) -> None:
        """Tell an asker that it gets nothing, and the log; hang up."""
        if not asker.gone:
            self._note(asker.peer, why)
            self.answer(asker, why)

    def answer(self, asker: Asker, error: str = "") -> None:
        """Tell an asker how it went, and hang up."""
        if asker.gone:
            return
        # It fits into the socket's buffer; who does not want it is not waited for.
        with contextlib.suppress(OSError):
            asker.connection.send(json.dumps({"error": error} if error else {"ok": True}).encode() + b"\n")
        self._hang_up(asker)

    def next_deadline(self) -> float:
        """Return the moment of the monotonic clock at which ``tick`` has something to do."""
        times = [asker.until for asker in self.askers if not asker.waiting]
        if self.shut_until:
            times.append(self.shut_until)
        return min(times, default=float("inf"))

    def tick(self, now: float) -> None:
        """Hang up on those who do not say what they want."""
        for asker in list(self.askers):
            if not asker.waiting and now >= asker.until:
                self.refuse(asker, f"it asked for nothing within {PATIENCE:g} s")
        if self.shut_until and now >= self.shut_until and self.listener is not None:
            self.shut_until = 0.0
            self.selector.register(self.listener, selectors.EVENT_READ, self._accept)

    def _accept(self) -> None:
        assert self.listener is not None
        now = time.monotonic()
        try:
            connection, _ = self.listener.accept()
        except (BlockingIOError, InterruptedError, ConnectionError):
            return
        except OSError as error:
            # Whoever knocks goes on knocking: looking at once again would be all that is done here.
            self.say(f"nobody can ask for privileged daemons: {error}")
            self.selector.unregister(self.listener)
            self.shut_until = now + 1.0
            return
        connection.setblocking(False)
        try:
            peer = read_peer(connection)
        except OSError:
            close_foreign(connection)
            return
        asker = Asker(connection, peer, now + PATIENCE)
        self.askers.append(asker)
        self.selector.register(connection, selectors.EVENT_READ, lambda: self._read(asker))
        if not self.knows(peer.uid):
            # Others must not take the places of those whom this is for.
            self.refuse(asker, f"there is none for uid {peer.uid}")
            return
        mine = sum(other.peer.uid == peer.uid for other in self.askers)
        if len(self.askers) > CONNECTIONS or mine > CONNECTIONS_PER_USER:
            self.refuse(asker, "too many ask at once")

    def _read(self, asker: Asker) -> None:
        if asker.gone:
            return  # closed by another event of the same round
        try:
            data, descriptors, _, _ = socket.recv_fds(asker.connection, REQUEST_LIMIT + 1, _RIGHTS)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            data, descriptors = b"", []
        for descriptor in descriptors:
            os.set_inheritable(descriptor, False)
        asker.descriptors += descriptors
        if not data or asker.waiting:
            waited, asker.waiting = asker.waiting, False
            self._hang_up(asker)
            if waited:
                self.left(asker)
            return
        asker.pending += data
        try:
            if len(asker.pending) > REQUEST_LIMIT:
                raise ValueError(f"a request may have {REQUEST_LIMIT} bytes")
            if len(asker.descriptors) > 1:
                raise ValueError("a request comes with one descriptor, not with more")
            if not asker.pending.endswith(b"\n"):
                return
            name = parse_request(bytes(asker.pending))
            asker.waiting = True
            self.ask(asker, name)
        except ValueError as error:
            self.refuse(asker, str(error))
        except Exception:  # one bad request must not end the supervisor
            self.say(traceback.format_exc())
            self.refuse(asker, "it cannot be answered")

    def _hang_up(self, asker: Asker) -> None:
        asker.gone = True
        self.askers.remove(asker)
        self.selector.unregister(asker.connection)
        for descriptor in asker.descriptors:
            close_foreign_descriptor(descriptor)
        asker.descriptors.clear()
        close_foreign(asker.connection)

    def _note(self, peer: Peer, why: str) -> None:
        """Log a refusal; a flood of them only by its number."""
        now = time.monotonic()
        if now >= self.refusals_until:
            if self.refused > REFUSALS_TOLD:
                self.say(f"refused {self.refused - REFUSALS_TOLD} more requests for privileged daemons")
            self.refused, self.refusals_until = 0, now + REFUSALS_EVERY
        self.refused += 1
        if self.refused <= REFUSALS_TOLD:
            self.say(f"refused a privileged daemon to uid {peer.uid} (pid {peer.pid}): {why}")


def parse_request(line: bytes) -> str:
    """Return the name of the context that a request is for.

    :raises ValueError: it is not a request
    """
    try:
        request = json.loads(line)
    except (ValueError, RecursionError):
        raise ValueError("bad request: not one line of JSON") from None
    if not isinstance(request, dict) or set(request) != {"op", "name"} or request["op"] != "helper":
        raise ValueError("bad request: only helper can be asked for here, by its name")
    if not isinstance(request["name"], str):
        raise ValueError("bad request: a name is a text")
    return request["name"]


def close_foreign(connection: socket.socket) -> None:
    """Shut a socket that came from a user and close it, without ever waiting for that user.

    The last to close a socket that lingers (socket(7) SO_LINGER) waits until
    its data has been taken, and descriptors that still lie unread in a Unix
    socket are closed with it: they are taken out first.
    """
    with contextlib.suppress(OSError):
        connection.setblocking(False)
        if connection.family == socket.AF_UNIX:
            connection.shutdown(socket.SHUT_RD)
            while True:
                # The flag: whoever shares the socket may have made it wait again.
                data, descriptors, _, _ = socket.recv_fds(connection, 1 << 16, 256, socket.MSG_DONTWAIT)
                for descriptor in descriptors:
                    close_foreign_descriptor(descriptor)
                if not data:
                    break
    with contextlib.suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 0, 0))
    connection.close()


def close_foreign_descriptor(descriptor: int) -> None:
    """Close a descriptor that came from a user, as ``close_foreign`` does where it is a socket."""
    try:
        found = socket.socket(fileno=descriptor)
    except OSError:
        os.close(descriptor)
        return
    close_foreign(found)
