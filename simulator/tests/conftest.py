"""Simulated hosts for the simulator's own tests. Root only."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parents[1] / "src"
sys.path.insert(0, str(SOURCE))

ENVIRONMENT = {"PYTHONPATH": str(SOURCE), "PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave out what needs a host when this is not root."""
    if os.geteuid() != 0:
        for item in items:
            if {"simulator", "new_host", "host"} & set(getattr(item, "fixturenames", ())):
                item.add_marker(pytest.mark.skip(reason="simulated hosts need root"))


class Simulator:
    """The command freebsd-sim with a state directory of its own."""

    def __init__(self, state: Path) -> None:
        self.state = state

    def argv(self, *arguments: str) -> list[str]:
        """Return the command that runs freebsd-sim with these arguments."""
        return [sys.executable, "-m", "freebsd_sim.cli", "--state", str(self.state), *arguments]

    def run(self, *arguments: str, timeout: float = 120, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """Run freebsd-sim with these arguments."""
        return subprocess.run(
            self.argv(*arguments), capture_output=True, text=True, timeout=timeout, input=stdin, env=ENVIRONMENT
        )

    def inside(self, command: str, name: str = "freebsd", timeout: float = 120) -> subprocess.CompletedProcess[str]:
        """Run a shell command inside a host."""
        return self.run("run", "--name", name, "/bin/sh", "-c", command, timeout=timeout)

    def start(self, name: str = "freebsd", *arguments: str) -> None:
        """Start a host without libvirt; fail the test when it does not start."""
        done = self.run("start", "--name", name, "--without-libvirt", *arguments)
        assert done.returncode == 0, done.stderr


@pytest.fixture(scope="session")
def simulator() -> Iterator[Simulator]:
    """The simulator; every host it made is removed at the end."""
    with tempfile.TemporaryDirectory(prefix="freebsd-sim-", dir="/var/tmp") as directory:
        under_test = Simulator(Path(directory))
        # On a fresh machine packages are fetched here, and not while a test waits.
        done = under_test.run("setup", "--without-libvirt", timeout=1800)
        assert done.returncode == 0, done.stderr
        yield under_test
        hosts = Path(directory, "hosts")
        for host in hosts.iterdir() if hosts.is_dir() else ():
            under_test.run("remove", "--name", host.name)


@pytest.fixture
def new_host(simulator: Simulator) -> Iterator[Callable[..., Callable[..., subprocess.CompletedProcess[str]]]]:
    """A function that makes a fresh host and returns a function that runs shell commands in it."""
    made: list[str] = []

    def make(name: str = "fresh", *arguments: str) -> Callable[..., subprocess.CompletedProcess[str]]:
        simulator.start(name, *arguments)
        made.append(name)
        return lambda command, timeout=60: simulator.inside(command, name, timeout)

    yield make
    for name in made:
        simulator.run("remove", "--name", name)


@pytest.fixture(scope="module")
def host(simulator: Simulator) -> Iterator[Callable[..., subprocess.CompletedProcess[str]]]:
    """A host that the tests of one file share: a function that runs shell commands in it."""
    simulator.start("shared")
    yield lambda command, timeout=60: simulator.inside(command, "shared", timeout)
    simulator.run("remove", "--name", "shared")
