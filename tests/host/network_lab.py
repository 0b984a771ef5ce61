"""Jails, interfaces and small programs for one test, and the host's own commands to compare the library with."""

from __future__ import annotations

import contextlib
import itertools
import os
import platform
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from beastack.freebsd import interface, jail
from beastack.freebsd.command import CommandError, run
from beastack.freebsd.interface import Settings

PREFIX = "bt"
NOBODY = 65534
#: Release of the host as two numbers: (15, 0).
RELEASE = tuple(int(part) for part in platform.release().partition("-")[0].split(".")[:2])

_numbers = itertools.count(1)


def new_name(kind: str) -> str:
    """Return a name that nothing on the host has had before."""
    return f"{PREFIX}{kind}{next(_numbers)}"


def run_at(place: str | None, *argv: str) -> str:
    """Return what a command prints, run by jexec(8) when a jail is named."""
    where = [] if place is None else ["jexec", place]
    return run([*where, *argv]).stdout


def print_interface(name: str, place: str | None = None) -> str:
    """Return what ifconfig(8) prints about an interface."""
    return run_at(place, "ifconfig", "-D", name)


def print_names(place: str | None = None) -> list[str]:
    """Return the names that ifconfig(8) prints."""
    return run_at(place, "ifconfig", "-l").split()


@contextlib.contextmanager
def as_nobody() -> Iterator[None]:
    """Run what is inside without root's privileges."""
    os.setegid(NOBODY)
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)


@contextlib.contextmanager
def skip_if_not_simulated() -> Iterator[None]:
    """Skip the test when a simulated host says that it cannot do this; a real one never says so."""
    try:
        yield
    except CommandError as error:
        if "freebsd-sim: not simulated" not in error.stderr:
            raise
        pytest.skip(error.stderr.strip())


class Lab:
    """What one test makes. Interface names are unique on the host, as the jails' return demands."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.jails: list[str] = []
        self.interfaces: list[tuple[str, str | None]] = []

    def add_jail(self, parameters: jail.Parameters | None = None) -> str:
        """Make a vnet jail with its loopback up, and return its name."""
        name = new_name("jail")
        self.jails.append(name)
        jail.create_jail(name, parameters)
        interface.add_address("lo0", "127.0.0.1/8", jail=name)
        interface.set_up("lo0", jail=name)
        return name

    def track(self, name: str, place: str | None = None) -> str:
        """Remember an interface that is to be destroyed after the test, if it is still there."""
        self.interfaces.append((name, place))
        return name

    def add_bridge(self, settings: Settings | None = None, *, place: str | None = None) -> str:
        """Make a bridge, up unless the settings say otherwise, and return its name."""
        name = self.track(new_name("br"), place)
        interface.create_bridge(name, settings or Settings(up=True), jail=place)
        return name

    def add_tap(self, settings: Settings | None = None, *, place: str | None = None) -> str:
        """Make a tap and return its name."""
        name = self.track(new_name("tap"), place)
        interface.create_tap(name, settings or Settings(), jail=place)
        return name

    def add_epair(
        self, settings: Settings | None = None, peer: Settings | None = None, *, place: str | None = None
    ) -> tuple[str, str]:
        """Make an epair and return the names of its halves."""
        one = self.track(new_name("ep"), place)
        other = self.track(f"{one}b", place)
        interface.create_epair(one, other, settings or Settings(), peer or Settings(), jail=place)
        return one, other

    def connect(
        self,
        one: tuple[str | None, str | None],
        other: tuple[str | None, str | None],
        settings: Settings | None = None,
    ) -> tuple[str, str]:
        """Join two places by an epair that is up, and return the names of its halves.

        :param one: a jail or None for the host, and the address of that half or None
        """
        halves = self.add_epair(settings, settings)
        for name, (place, address) in zip(halves, (one, other), strict=True):
            if place is not None:
                interface.move_to_jail(name, place)
            if address is not None:
                words = ("no_dad", "-ifdisabled") if ":" in address else ()
                interface.add_address(name, address, jail=place, words=words)
            interface.set_up(name, jail=place)
        return halves

    def run_program(self, place: str, code: str, *arguments: object, timeout: float = 30) -> str:
        """Run a Python program in a jail to its end and return what it prints."""
        return jail.run_in_jail(
            place, [sys.executable, "-c", code, *map(str, arguments)], timeout=timeout
        ).stdout.strip()

    def start_program(self, place: str, code: str, *arguments: object) -> Path:
        """Start a Python program in a jail that goes on, and return the file with what it prints."""
        return self.start([sys.executable, "-u", "-c", code, *map(str, arguments)], place)

    def start(self, argv: list[str], place: str) -> Path:
        """Start a program in a jail that goes on, and return the file with what it prints."""
        name = new_name("run")
        output = self.directory / f"{name}.out"
        output.touch()
        jail.start_daemon(place, argv, pidfile=self.directory / f"{name}.pid", output=output)
        return output

    def remove_all(self) -> None:
        """Remove the jails, and then the interfaces that came home or never left."""
        failures: list[str] = []
        for name, place in self.interfaces:
            if place is not None and place in self.jails and jail.jail_exists(place):
                self._destroy(name, place, failures)
        for name in reversed(self.jails):
            try:
                jail.remove_jail(name, limit=90)
            except CommandError as error:
                failures.append(str(error))
        for name, _ in self.interfaces:
            self._destroy(name, None, failures)
        assert not failures, f"cannot be removed: {failures}"

    @staticmethod
    def _destroy(name: str, place: str | None, failures: list[str]) -> None:
        try:
            interface.destroy_interface(name, jail=place, missing_ok=True)
        except CommandError as error:
            failures.append(str(error))
