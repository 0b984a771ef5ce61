"""The host library against a FreeBSD host: a real one, or the simulated one.

On FreeBSD, as root: ``pytest tests/host --host=freebsd``. Inside a simulated
host the same tests run with ``--host=simulated`` (``beastack test`` does it).
Everything a test makes carries the prefix ``bt`` and is gone afterwards.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from beastack.freebsd import interface, jail
from beastack.freebsd.command import CommandError, find_program
from network_lab import Lab


def pytest_addoption(parser: pytest.Parser) -> None:
    """Say which host this is, and where a bootable image is."""
    parser.addoption("--host", choices=("freebsd", "simulated"), help="what the tests run on")
    parser.addoption(
        "--guest-image", help="a raw UEFI disk image whose guest asks for DHCP and prints to its first serial port"
    )
    parser.addoption("--sequences", type=int, default=1000, help="how many random sequences of changes to make")
    parser.addoption("--seed", type=int, help="repeat the random sequences of this seed")
    parser.addoption("--pool", help="the ZFS pool to make datasets in (default: the first)")


def pytest_configure(config: pytest.Config) -> None:
    """Refuse a machine that these tests are not for."""
    if config.getoption("--host") is None:
        raise pytest.UsageError("tests/host: say --host=freebsd, on a FreeBSD machine, or --host=simulated")
    if not sys.platform.startswith("freebsd"):
        raise pytest.UsageError(
            f"tests/host: this machine is {sys.platform}; run them on FreeBSD or in freebsd-sim run"
        )
    if os.geteuid() != 0:
        raise pytest.UsageError("tests/host: run them as root")


@pytest.fixture(autouse=True)
def _clean() -> Iterator[None]:
    """Fail the test that leaves an interface or a jail behind, and remove what it left."""
    interfaces = set(interface.list_names())
    jails = {each.name for each in jail.list_jails()}
    yield
    left_jails = {each.name for each in jail.list_jails()} - jails
    for name in left_jails:
        jail.remove_jail(name)
    left = set(interface.list_names()) - interfaces
    for name in left:
        try:
            interface.destroy_interface(name, missing_ok=True)
        except CommandError:
            pass  # the assertion names it
    missing = interfaces - set(interface.list_names())
    assert not left_jails and not left, f"left behind: jails {left_jails}, interfaces {left}"
    assert not missing, f"taken away: interfaces {missing}"


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    """Jails and interfaces for one test, removed after it."""
    made = Lab(tmp_path)
    try:
        yield made
    finally:
        made.remove_all()


@pytest.fixture(params=["host", "jail"])
def place(request: pytest.FixtureRequest, lab: Lab) -> str | None:
    """Where a test works: on the host (None), and then in a vnet jail (its name)."""
    return None if request.param == "host" else lab.add_jail()


@pytest.fixture
def image(request: pytest.FixtureRequest) -> Path:
    """A bootable image, or skip."""
    path = request.config.getoption("--guest-image")
    if not path:
        pytest.skip("--guest-image names no image to boot")
    return Path(path)


def need_program(name: str) -> str:
    """Return the full path of a program that a package brings, or skip the test."""
    path = find_program(name)
    if path is None:
        pytest.skip(f"the program {name} is not installed")
    return path


def eventually(condition: Callable[[], Any], what: str, limit: float = 30) -> Any:
    """Wait until a condition returns something true, and return that."""
    deadline = time.monotonic() + limit
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < deadline, f"not within {limit:g} s: {what}"
        time.sleep(0.05)
