"""Attacks on the supervisor and its privileged daemons: each must be refused, harm nobody else and leave nothing.

``pytest tests/attack``. As root, the supervisor is root's and the attackers
are ``nobody`` and ``daemon``; as another user, who can only attack himself,
what needs two users is skipped. The tests of oslo.privsep need an
interpreter that has it: ``--oslo-python``, or ``BEASTACK_OSLO_PYTHON``.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from beastack.supervisor import process
from beastack.supervisor.client import Client
from beastack.supervisor.spec import Helper, Parent
from intruder import IS_FREEBSD, IS_ROOT, LIMIT, ME, run_as

HERE = Path(__file__).resolve().parent
SOURCE = HERE.parent.parent / "src"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Say which interpreter has oslo.privsep."""
    parser.addoption("--oslo-python", default=os.environ.get("BEASTACK_OSLO_PYTHON"), metavar="PYTHON",
                     help="an interpreter with oslo.privsep (default: this one, if it has it)")  # fmt: skip


@pytest.fixture(scope="session")
def oslo_python(request: pytest.FixtureRequest) -> str:
    """An interpreter that has oslo.privsep."""
    found = request.config.getoption("--oslo-python")
    if found is None and importlib.util.find_spec("oslo_privsep"):
        found = sys.executable
    if found is None:
        pytest.skip("no interpreter with oslo.privsep was named")
    if IS_FREEBSD and not (SOURCE / "beastack/port/oslo/freebsd_seams.py").exists():
        pytest.skip("oslo.privsep needs its seams on FreeBSD")
    return str(found)


class Target:
    """A supervisor with privileged daemons, and the users that attack it."""

    def __init__(self, root: Path, python: str) -> None:
        self.root = root
        self.client = Client(root)
        self.door = root / "run" / "privileged.sock"
        self.user = ME if not IS_ROOT else pwd.getpwnam("nobody").pw_uid
        self.stranger = ME if not IS_ROOT else pwd.getpwnam("daemon").pw_uid
        self.env = {"PYTHONPATH": f"{SOURCE}:{HERE}", "PATH": os.environ["PATH"]}
        self.parents = [
            Parent("base", ("json",), (), None, python, self.env),
            Parent("victims", ("victim",), (), "base"),
        ]
        self.helpers = [
            self.helper("plain"),
            self.helper("humble", as_asker=True),
            self.helper("strangers", peers=(pwd.getpwuid(self.stranger).pw_name if IS_ROOT else "daemon",)),
            self.helper("crashes", target="victim:crash"),
            self.helper("unloadable", parent="broken"),
        ]
        self.parents.append(Parent("broken", ("no_such_module",), (), "base"))

    def helper(self, name: str, **changes: Any) -> Helper:
        """Return the spec of a privileged daemon for the first user."""
        given: dict[str, Any] = {
            "parent": "victims", "target": "victim:serve", "env": {"COLOUR": "red"},
            "log": str(self.root / "log" / "daemons.log"), "peers": (pwd.getpwuid(self.user).pw_name,),
        }  # fmt: skip
        return Helper(name=name, **{**given, **changes})

    def start(self) -> None:
        """Start the supervisor."""
        self.client.start_supervisor(sys.executable, self.env, 1 << 22, 1)
        self.client.define([], self.parents, self.helpers)

    def pid(self) -> int:
        return int(self.status()["pid"])

    def status(self) -> dict[str, Any]:
        return self.client.ask("status")

    def daemons(self) -> list[int]:
        """Return the pids of the privileged daemons."""
        return [helper["pid"] for helper in self.status()["helpers"]]

    def log(self) -> str:
        return (self.root / "log" / "supervisor.log").read_text()

    def attack(self, work: Callable[[], Any]) -> Any:
        """Do something as the user whom daemons are for."""
        return run_as(self.user, work)

    def descriptors(self) -> int:
        """Return how many descriptors the supervisor has open."""
        if not IS_FREEBSD:
            return len(os.listdir(f"/proc/{self.pid()}/fd"))
        listing = subprocess.run(["procstat", "-f", str(self.pid())], capture_output=True, text=True, check=True)
        return len(listing.stdout.splitlines())

    def end(self) -> None:
        """End everything."""
        with contextlib.suppress(Exception):
            pid = self.pid()
            self.client.ask("shutdown")
            eventually(lambda: process.start_time(pid) is None, "the supervisor's end")
        shutil.rmtree(self.root)


def eventually(holds: Callable[[], Any], what: str) -> Any:
    """Wait until something holds, and return what it answered."""
    deadline = time.monotonic() + LIMIT
    while not (found := holds()):
        assert time.monotonic() < deadline, f"never: {what}"
        time.sleep(0.02)
    return found


@pytest.fixture(scope="session")
def session_target() -> Iterator[Target]:
    """A supervisor; tests use it through ``target``."""
    # Not tmp_path: a Unix socket's path may have 103 bytes, and others must be able to reach it.
    root = Path(tempfile.mkdtemp(prefix="attacked-"))
    root.chmod(0o711)
    for name in ("run", "log"):
        (root / name).mkdir(mode=0o711)
        (root / name).chmod(0o711)
    target = Target(root, sys.executable)
    try:
        target.start()
        yield target
    finally:
        target.end()


@pytest.fixture
def target(session_target: Target) -> Iterator[Target]:
    """A supervisor under attack; afterwards it must be the same process, with nothing left over."""
    warm_up(session_target)
    pid, descriptors = session_target.pid(), session_target.descriptors()
    yield session_target
    assert session_target.pid() == pid, "the supervisor did not live on"
    eventually(lambda: not session_target.daemons(), "the end of every privileged daemon")
    eventually(lambda: session_target.descriptors() <= descriptors, "as few descriptors as before")
    assert not list((session_target.root / "run" / "services").iterdir())


def warm_up(target: Target) -> None:
    """Have the parents loaded, so that the count of descriptors means something."""
    if target.status()["parents"]["victims"]["state"] != "ready":
        target.client.ask("preload", names=["victims"])
        eventually(lambda: target.status()["parents"]["victims"]["state"] == "ready", "the parent")


def kill(pid: int) -> None:
    """Kill a daemon."""
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: process.start_time(pid) is None, f"the end of {pid}")
