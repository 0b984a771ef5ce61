"""A console daemon as the supervisor would start it: root's opener first, then an unprivileged user."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from beastack.console.client import Client, DaemonUnreachable
from beastack.freebsd import process
from beastack.supervisor.client import Client as SupervisorClient
from beastack.supervisor.spec import Parent, Service
from conftest import eventually

T = TypeVar("T")

#: The daemon's user, and one that stands for nova-compute's; both are on every FreeBSD host.
DAEMON = "nobody"
PEER = "www"

#: What the supervisor's child does between fork and the daemon's own code.
LAUNCH = """
import os, pwd, sys
from beastack.console import daemon, opener
opener.start()
user = pwd.getpwnam(sys.argv[1])
os.setgroups([user.pw_gid])
os.setresgid(user.pw_gid, user.pw_gid, user.pw_gid)
os.setresuid(user.pw_uid, user.pw_uid, user.pw_uid)
sys.exit(daemon.main(sys.argv[2:]))
"""


class Site:
    """A daemon's directory, and the daemon while it runs."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.client = Client(directory)
        self.running: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the daemon and wait until it answers."""
        words = ["--directory", str(self.directory), "--peer", PEER, "--log-bytes", "200000"]
        self.running = subprocess.Popen([sys.executable, "-c", LAUNCH, DAEMON, *words])
        eventually(self._answers, "the daemon to answer")

    def _answers(self) -> bool:
        assert self.running is not None
        assert self.running.poll() is None, "the daemon has ended"
        try:
            return bool(self.client.status()["pid"] == self.running.pid)
        except DaemonUnreachable:
            return False

    def opener(self) -> int:
        """Return the opener's process number."""
        assert self.running is not None
        (child,) = process.children(self.running.pid, process.list_processes())
        return child.pid

    def end(self, number: int = signal.SIGTERM) -> int:
        """End the daemon by a signal, see that its opener ends too, and return its exit status."""
        assert self.running is not None
        opener = self.opener() if self.running.poll() is None else 0
        self.running.send_signal(number)
        status = self.running.wait(10)
        if opener:
            process.wait_gone(opener, 10)
        self.running = None
        return status

    def log(self, uuid: str) -> str:
        """Return what a guest has printed, as nova-compute's user reads it."""
        return as_peer(lambda: self.client.read_log(uuid, 1 << 20)).decode(errors="replace")


def as_peer(work: Callable[[], T], group: str = PEER) -> T:
    """Do something as the user that stands for nova-compute's."""
    user, other = pwd.getpwnam(PEER), pwd.getpwnam(group)
    os.setgroups([])
    os.setegid(other.pw_gid)
    os.seteuid(user.pw_uid)
    try:
        return work()
    finally:
        os.seteuid(0)
        os.setegid(0)


@contextlib.contextmanager
def _directory() -> Iterator[Path]:
    # Not below pytest's own directory: other users must get there, and a socket's path is short.
    directory = Path(tempfile.mkdtemp(prefix="bt-console-", dir="/var/tmp"))
    os.chown(directory, pwd.getpwnam(DAEMON).pw_uid, pwd.getpwnam(PEER).pw_gid)
    os.chmod(directory, 0o2750)
    try:
        yield directory
    finally:
        shutil.rmtree(directory)


@contextlib.contextmanager
def made_site() -> Iterator[Site]:
    """A directory with a running daemon."""
    with _directory() as directory:
        site = Site(directory)
        try:
            site.start()
            yield site
        finally:
            if site.running is not None:
                site.end(signal.SIGKILL)


def view(port: int) -> socket.socket:
    """Connect to a console."""
    return socket.create_connection(("127.0.0.1", port), 10)


def read_for(connection: socket.socket, text: bytes) -> bytes:
    """Read until a text has come."""
    data = b""
    while text not in data:
        more = connection.recv(65536)
        assert more, f"hung up after {data!r}"
        data += more
    return data


@contextlib.contextmanager
def supervised_site() -> Iterator[Site]:
    """The same, run by the supervisor as a site's service is."""
    with _directory() as directory, tempfile.TemporaryDirectory(dir="/var/tmp") as name:
        root = Path(name)
        for part in ("run", "log"):
            (root / part).mkdir()
        environment = {"PYTHONPATH": os.pathsep.join(sys.path), "PATH": os.environ["PATH"]}
        words = ("beastack-console", "--directory", str(directory), "--peer", PEER)
        service = Service(
            "beastack-console", words, parent="console", target="beastack.console.daemon:run_service",
            env=environment, user=DAEMON, log=str(root / "log/console.log"),
            before_drop="beastack.console.opener:start",
        )  # fmt: skip
        supervisor = SupervisorClient(root)
        supervisor.start_supervisor(sys.executable, environment, 1 << 20, 1)
        try:
            parent = Parent("console", ("beastack.console.daemon",), (), None, sys.executable, environment)
            supervisor.define([service], [parent])
            supervisor.ask("start", names=[service.name])
            yield Site(directory)
        finally:
            supervisor.ask("shutdown")
            eventually(lambda: not supervisor.running(), "the supervisor to end")
