"""The console daemon: one thread and one event loop, of a user that may do nothing else.

Usage: daemon.py --directory DIR [--peer USER]... [options]

DIR is the daemon's own, of mode 2750 and of the group that may use it: the
control socket, the list of consoles and ``log/`` are in it. Before the user
changes, root calls ``opener.start`` in this process, so that nmdm lines can
be opened. One daemon has one directory; a second one refuses to start.

Ended in any way, SIGKILL too, the next one opens every console again at the
port that it had. A pair lives while a guest has its side A, so the guest does
not notice; what it prints meanwhile waits in the terminal's small queue.
"""

from __future__ import annotations

import argparse
import fcntl
import os
import pwd
import resource
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from beastack.console import control, opener
from beastack.console.console import Console
from beastack.console.control import Control, Refused
from beastack.console.line import OpenPair
from beastack.console.log import Log, remove_log
from beastack.console.loop import READ, Loop
from beastack.console.names import CONTROL, LOGS, LOOPBACK, PORTS, Key, Nmdm, Tcp, check_uuid, make_key, parse_line
from beastack.console.opener import OpenerGone
from beastack.console.ports import NoPort, Ports
from beastack.console.state import Entry, read_state, set_aside, write_state

_LOCK = "lock"
_PER_CONSOLE = 3  # descriptors: line, log, listener
_OTHERS = 32  # descriptors: streams, queue, control, opener, one file being replaced

#: The keys of each request beside ``op``, and whether they must be there.
_FIELDS = {
    "add": {"uuid": True, "line": True, "index": False},
    "remove": {"uuid": True, "keep_log": False},
    "list": {},
    "status": {},
}


class CannotStart(Exception):
    """Another daemon has the directory, or the consoles of before have no room."""


@dataclass(frozen=True)
class Config:
    """What the daemon is told at its start; sizes in bytes."""

    directory: Path
    peers: frozenset[int] = frozenset()
    listen: str = LOOPBACK[0]
    ports: range = range(10000, 20000)
    tcp_lines: range = range(20000, 30000)
    log_bytes: int = 1 << 20
    backlog_bytes: int = 16384
    consoles: int = 1024
    viewers: int = 256


class Places:
    """A number of viewers."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.taken = 0

    def take(self) -> bool:
        """Take a place; False when there is none."""
        if self.taken >= self.limit:
            return False
        self.taken += 1
        return True

    def give(self) -> None:
        """Give it back."""
        self.taken -= 1


class Daemon:
    """All consoles of a host.

    :raises CannotStart: another daemon has the directory, or there is no room for the consoles of before
    :raises OSError: the directory is not there, not writable, or its path too long for a socket
    """

    def __init__(self, config: Config, open_pair: OpenPair = opener.open_side_b) -> None:
        self.config = config
        self.loop = Loop()
        self.consoles: dict[Key, Console] = {}
        self.places = Places(config.viewers)
        self._open_pair = open_pair
        self._unsaved = False  # the list on disk is not the one in memory
        self._ports = Ports(config.listen, config.ports)
        self._logs = config.directory / LOGS
        self._lock = _lock(config.directory)
        self._logs.mkdir(mode=0o750, exist_ok=True)
        self._restore()
        peers = {0, os.geteuid(), *config.peers}
        self.control = Control(self.loop, config.directory / CONTROL, peers, self.handle)

    def handle(self, request: dict[str, Any]) -> dict[str, Any]:
        """Do what a request says and return what its answer holds.

        :raises Refused: it is not granted
        """
        op = request.get("op")
        fields = _FIELDS.get(op) if isinstance(op, str) else None
        if fields is None:
            raise Refused("request", f"what can be asked for: {', '.join(_FIELDS)}")
        given = set(request) - {"op"}
        if not given <= set(fields) or not {name for name, needed in fields.items() if needed} <= given:
            raise Refused("request", f"{op} takes {', '.join(fields) or 'nothing'}")
        try:
            if op == "add":
                return self._add(request)
            if op == "remove":
                return self._remove(request)
        except ValueError as error:
            raise Refused("request", str(error)) from None
        if op == "list":
            return {"consoles": [self.consoles[key].describe() for key in sorted(self.consoles)]}
        return {"pid": os.getpid(), "consoles": len(self.consoles), "viewers": self.places.taken}

    def close(self) -> None:
        """End; what the consoles' next daemon needs is on disk already."""
        self.control.close()
        for console in self.consoles.values():
            console.close()
        self.loop.close()
        os.close(self._lock)

    def _add(self, request: dict[str, Any]) -> dict[str, Any]:
        key = make_key(request["uuid"], request.get("index", 0))
        where = parse_line(request["line"], key, self.config.tcp_lines)
        console = self.consoles.get(key)
        if console is None:
            return {"port": self._add_new(key, where).port}
        if where != console.line.where or self._unsaved:
            console.lead(where)
            self._save()
        try:
            console.line.reach()
        except OSError as error:
            raise Refused("line", f"{where} cannot be opened: {error.strerror or error}") from None
        return {"port": console.port}

    def _add_new(self, key: Key, where: Nmdm | Tcp) -> Console:
        if len(self.consoles) >= self.config.consoles:
            raise Refused("full", f"there are {len(self.consoles)} consoles already")
        try:
            console = self._make(key, where, None)
        except NoPort as error:
            raise Refused("full", str(error)) from None
        except OSError as error:
            raise Refused("files", f"no log can be written: {error.strerror or error}") from None
        try:
            console.line.reach()
            self.consoles[key] = console
            self._save()
        except OSError as error:
            console.close()
            raise Refused("line", f"{where} cannot be opened: {error.strerror or error}") from None
        except Refused:
            del self.consoles[key]
            console.close()
            raise
        return console

    def _remove(self, request: dict[str, Any]) -> dict[str, Any]:
        uuid = check_uuid(request["uuid"])
        keep_log = request.get("keep_log", False)
        if not isinstance(keep_log, bool):
            raise ValueError("keep_log is true or false")
        keys = [Key(uuid, index) for index in range(PORTS)]
        found = [self.consoles.pop(key) for key in keys if key in self.consoles]
        for console in found:
            console.close()
        if found or self._unsaved:
            self._save()
        if not keep_log:
            try:
                for key in keys:
                    remove_log(self._logs, str(key))
            except OSError as error:
                raise Refused("files", f"a log cannot be removed: {error.strerror or error}") from None
        return {"removed": len(found)}

    def _make(self, key: Key, where: Nmdm | Tcp, port: int | None) -> Console:
        listener = self._ports.listen(port)
        try:
            log = Log(self._logs, str(key), self.config.log_bytes)
        except OSError:
            listener.close()
            raise
        return Console(self.loop, key, where, self._open_pair, log, listener, self.places, self.config.backlog_bytes)

    def _restore(self) -> None:
        try:
            entries, next_port = read_state(self.config.directory, self.config.tcp_lines)
        except ValueError as error:
            aside = set_aside(self.config.directory)
            say(f"the list of consoles is begun anew, the old one is {aside}: {error}")
            return
        if len(entries) > self.config.consoles:
            raise CannotStart(f"there is room for {self.config.consoles} consoles, and there were {len(entries)}")
        self._ports.next = next_port
        for entry in entries:
            try:
                console = self.consoles[entry.key] = self._make(entry.key, entry.line, entry.port)
            except NoPort as error:
                raise CannotStart(str(error)) from None
            if console.port != entry.port:
                say(f"console {entry.key} is served at port {console.port} now: {entry.port} is taken")
            try:
                console.line.reach()
            except OSError as error:
                say(f"console {entry.key}: {entry.line} cannot be opened yet: {error.strerror or error}")

    def _save(self) -> None:
        entries = [Entry(key, console.line.where, console.port) for key, console in self.consoles.items()]
        self._unsaved = True
        try:
            write_state(self.config.directory, entries, self._ports.next)
            self._unsaved = False
        except OSError as error:
            raise Refused("files", f"the list of consoles cannot be written: {error.strerror or error}") from None


def say(text: str) -> None:
    """Write a line to the daemon's own log, standard error."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def parse_arguments(words: Sequence[str]) -> Config:
    """Return what the command line says.

    :raises SystemExit: it is wrong
    """
    default = Config(Path("/"))
    parser = argparse.ArgumentParser("beastack.console.daemon", description="The console daemon of a host.")
    parser.add_argument("--directory", type=Path, required=True, help="its own directory, made before (mode 2750)")
    parser.add_argument("--peer", action="append", default=[], metavar="USER", help="who may use the control socket")
    parser.add_argument("--listen", default=default.listen, help="address of the consoles (numeric)")
    parser.add_argument("--ports", type=_range, default=default.ports, metavar="FIRST:LAST", help="of the consoles")
    parser.add_argument(
        "--tcp-lines", type=_range, default=default.tcp_lines, metavar="FIRST:LAST",
        help="ports that bhyve's own TCP consoles may have",
    )  # fmt: skip
    parser.add_argument("--log-bytes", type=int, default=default.log_bytes, help="limit of one console's log")
    parser.add_argument("--backlog-bytes", type=int, default=default.backlog_bytes, help="sent to a new viewer")
    parser.add_argument("--consoles", type=int, default=default.consoles, help="how many there may be")
    parser.add_argument("--viewers", type=int, default=default.viewers, help="how many there may be at all consoles")
    given = parser.parse_args(words)
    if not given.directory.is_absolute():
        parser.error("--directory must be absolute")
    if set(given.ports) & set(given.tcp_lines):
        parser.error("--ports and --tcp-lines overlap: a console could be led to itself")
    if given.log_bytes < 2 or min(given.backlog_bytes, given.consoles, given.viewers) < 0:
        parser.error("sizes and numbers must not be negative, and a log has at least 2 bytes")
    try:
        peers = frozenset(pwd.getpwnam(name).pw_uid for name in given.peer)
    except KeyError as error:
        parser.error(f"there is no such user: {error}")
    return Config(
        given.directory, peers, given.listen, given.ports, given.tcp_lines,
        given.log_bytes, given.backlog_bytes, given.consoles, given.viewers,
    )  # fmt: skip


def main(words: Sequence[str] | None = None) -> int:
    """Run the daemon until SIGTERM; return its exit status."""
    config = make_room(parse_arguments(sys.argv[1:] if words is None else words))
    os.umask(0o027)
    read_end, write_end = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(write_end, warn_on_full_buffer=False)
    told: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, frame: told.append(number))
    for number in (signal.SIGHUP, signal.SIGPIPE):
        signal.signal(number, signal.SIG_IGN)
    try:
        daemon = Daemon(config)
    except (CannotStart, OpenerGone, OSError) as error:
        say(f"the console daemon cannot start: {error}")
        return 1
    daemon.loop.watch(read_end, READ, lambda event: None)  # a signal: the loop is left below
    if (channel := opener.channel()) is not None:
        daemon.loop.watch(channel.fileno(), READ, _opener_gone)
    try:
        while not told:
            daemon.loop.turn()
    except OpenerGone as error:
        say(f"{error}: a new start brings both back")
        return 1
    daemon.close()
    return 0


def run_service() -> NoReturn:
    """As ``main``, for the supervisor, which goes by the exit status."""
    sys.exit(main())


def make_room(config: Config) -> Config:
    """Raise the limit of descriptors to what the consoles need, or else lower their number."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    fixed = config.viewers + control.CONNECTIONS + _OTHERS
    wanted = _PER_CONSOLE * config.consoles + fixed
    if soft != resource.RLIM_INFINITY and soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        if soft < wanted:
            fewer = max(0, (soft - fixed) // _PER_CONSOLE)
            say(f"{soft} descriptors are enough for {fewer} consoles, not {config.consoles}")
            return Config(**{**vars(config), "consoles": fewer})
    return config


def _opener_gone(event: int) -> None:
    raise OpenerGone("the opener has ended")


def _range(text: str) -> range:
    first, _, last = text.partition(":")
    found = range(int(first), int(last) + 1)
    if not 1024 <= found.start < found.stop <= 65536:
        raise ValueError(text)
    return found


def _lock(directory: Path) -> int:
    descriptor = os.open(directory / _LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise CannotStart(f"another one serves {directory}") from None
    return descriptor


if __name__ == "__main__":
    sys.exit(main())
