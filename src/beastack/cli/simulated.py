"""Sites of kind freebsd on a Linux machine: the same command line, run inside a simulated FreeBSD host.

What a FreeBSD host has from its packages, and what cannot be fetched inside
(the simulated host has no network of its own), is brought from outside:
the data services' programs, the virtual environment, the console pages.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from argparse import Namespace
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from beastack.site import guest_image, operate, records, release, steps
from beastack.site.host import linux
from beastack.site.layout import Layout

PROJECT = Path(__file__).resolve().parents[3]

#: Debian packages whose programs the simulated host is lent; the switch's and others' the simulator brings itself.
PACKAGES = ("python3-venv",)
CONTROL_PACKAGES = ("mariadb-server-core", "mariadb-client-core", "rabbitmq-server")

#: Where the simulator keeps hosts: hosts of several sites can be joined when they are kept together.
STATE = "FREEBSD_SIM_STATE"

#: Set for a process in a host's network to the host's name: in there the simulator cannot be asked.
ENTERED = "BEASTACK_SIMULATED_HOST"

#: Commands that run on this machine itself: they need no host that runs, or find their own way to it.
OUTSIDE = ("describe", "test", "seams")


@dataclass(frozen=True)
class Simulator:
    """The simulated host of one site; its disk stands beside the site's state directory."""

    layout: Layout

    @property
    def state(self) -> Path:
        """Where the simulator keeps the host: a directory of its own, unless the simulator's own variable names one."""
        shared = os.environ.get(STATE)
        return Path(shared) if shared else self.layout.root.with_name(f"{self.layout.root.name}-simulator")

    @property
    def name(self) -> str:
        """The host's name."""
        return self.layout.prefix

    def run(self, *arguments: str, quiet: bool = False) -> subprocess.CompletedProcess[str]:
        """Run freebsd-sim; its output goes where ours goes, unless ``quiet``."""
        environment = {**os.environ, STATE: str(self.state)}
        command = [str(PROJECT / "simulator" / "freebsd-sim"), *arguments]
        return subprocess.run(command, env=environment, text=True, capture_output=quiet)

    def is_running(self) -> bool:
        """Return whether the host runs."""
        return self._described().get("pid") is not None

    def runs_from_elsewhere(self) -> str | None:
        """Return the copy of this project that the running host was lent, if it is another than this one."""
        described = self._described()
        shares = described.get("shares") or []
        if described.get("pid") is None or not shares or str(PROJECT) in shares:
            return None
        return str(shares[0])

    def _described(self) -> dict[str, Any]:
        if not self.state.is_dir():
            return {}  # and none is made by asking
        listing = self.run("status", "--name", self.name, "--json", quiet=True)
        found: dict[str, Any] = json.loads(listing.stdout)["hosts"][0] if listing.returncode == 0 else {}
        return found

    def start(self, *, guests: bool = False) -> None:
        """Start the host, with this project and the site's directory in it, and libvirt if it is to have guests.

        :raises operate.SiteError: it does not start
        """
        started = self.run(
            "start", "--name", self.name, *(() if guests else ("--without-libvirt",)),
            f"--share={PROJECT}", f"--share={self.layout.root}", quiet=True,
        )  # fmt: skip
        if started.returncode != 0:
            reason = (started.stderr.strip().splitlines() or ["no reason given"])[-1]
            raise operate.SiteError(f"the simulated host does not start: {reason}")

    def inside(self, argv: Sequence[str]) -> int:
        """Run this command line inside and return its exit status."""
        command = [str(PROJECT / "beastack"), *argv]
        # An interrupt on the terminal reaches the inner command too, which knows what to make of it.
        before = signal.signal(signal.SIGINT, lambda number, frame: None)
        try:
            return self.run("run", "--name", self.name, "--", *command).returncode
        finally:
            signal.signal(signal.SIGINT, before)

    def is_entered(self) -> bool:
        """Return whether this process is what ``enter`` made of another."""
        return os.environ.get(ENTERED) == self.name

    def enter(self, argv: Sequence[str]) -> NoReturn:
        """Go on as this command line in the host's network, as a program of Linux: where the cloud's APIs answer."""
        program = str(PROJECT / "simulator" / "freebsd-sim")
        command = [program, "outside", "--name", self.name, "--", str(PROJECT / "beastack"), *argv]
        os.execve(program, command, {**os.environ, STATE: str(self.state), ENTERED: self.name})


def host_of(layout: Layout) -> Simulator | None:
    """Return the simulated host that a site stands on, or None for a site on this machine itself."""
    simulates = sys.platform == "linux" and operate.recorded_host(layout).get("kind") == "freebsd"
    return Simulator(layout) if simulates else None


def applies(arguments: Namespace) -> bool:
    """Return whether a command is for a simulated host: on Linux, of a site of kind freebsd."""
    if sys.platform != "linux" or arguments.verb in OUTSIDE:
        return False
    if arguments.verb == "up" and arguments.plan:
        return False  # nothing is made for it
    if arguments.verb == "up":
        wanted = operate.read_description(Layout(arguments.root), arguments.site, kind=arguments.host)
        return wanted.host.kind == "freebsd"
    return host_of(Layout(arguments.root)) is not None


def run(arguments: Namespace, argv: Sequence[str]) -> int:
    """Run a command inside the site's simulated host, which ``up`` makes and ``destroy`` removes."""
    simulator = Simulator(Layout(arguments.root))
    # The place is said again: what is the default here is not the default inside.
    inner = ["--root", str(arguments.root), *_without_root(argv)]
    elsewhere = simulator.runs_from_elsewhere()
    if elsewhere is not None:
        if arguments.verb != "destroy":
            raise operate.SiteError(
                f"the cloud was brought up by {elsewhere}/beastack; use that one, or destroy it and begin again"
            )
        simulator.run("stop", "--name", simulator.name, quiet=True)
    if arguments.verb == "up":
        _prepare(arguments, simulator)
    elif not simulator.is_running():
        if arguments.verb == "destroy":
            simulator.start()
        elif arguments.verb == "down":
            print("nothing runs")
            return 0
        else:
            print(f"beastack: the simulated host {simulator.name} does not run (beastack up)", file=sys.stderr)
            return 3
    status = simulator.inside(inner)
    if arguments.verb == "down" and status == 0:
        simulator.run("stop", "--name", simulator.name, quiet=True)
    if arguments.verb == "destroy" and status == 0:
        _remove(arguments, simulator)
    return status


def _without_root(argv: Sequence[str]) -> list[str]:
    kept, words = [], iter(argv)
    for word in words:
        if word == "--root":
            next(words, None)
        elif not word.startswith("--root="):
            kept.append(word)
    return kept


def _prepare(arguments: Namespace, simulator: Simulator) -> None:
    layout = simulator.layout
    wanted = operate.read_description(layout, arguments.site, kind=arguments.host, role=arguments.role)

    def say(text: str) -> None:
        if not arguments.json:
            print(f"  {text}", flush=True)

    operate.check_kind(wanted)
    if not arguments.json:
        print(f"This is Linux: the cloud runs inside a simulated FreeBSD host ({simulator.name}).", flush=True)
    with operate.only_one(layout):
        operate.make_site(layout, wanted)
        simulator.state.mkdir(parents=True, exist_ok=True)
        missing = linux.missing_packages((*PACKAGES, *(CONTROL_PACKAGES if wanted.host.has_control else ())))
        if missing:
            linux.install_packages(Layout(simulator.state), missing, say)
        if not release.is_installed(layout):
            say("installing the OpenStack release")
            release.install(layout, linux.facts(layout).python, say)
        if wanted.host.has_control and not (layout.data("novnc") / "vnc_lite.html").exists():
            (layout.root / "cache").mkdir(exist_ok=True)
            (layout.root / "data").mkdir(exist_ok=True)
            release.novnc_pages(layout, layout.root / "cache" / "novnc")
        if wanted.host.has_guests:
            _bring_image(simulator, say)
    simulator.start(guests=wanted.host.has_guests)


def _bring_image(simulator: Simulator, say: Callable[[str], None]) -> None:
    """Build the first image, which takes Linux's tools."""
    missing = linux.missing_packages((*guest_image.required_packages(), "python3-libvirt"))
    if missing:
        linux.install_packages(Layout(simulator.state), missing, say)
    layout = simulator.layout
    target = layout.data("guest-image") / f"{steps.IMAGE_NAME}.raw"
    target.parent.mkdir(parents=True, exist_ok=True)
    guest_image.build_guest_image(target, layout.root / "cache", progress=say)


def _remove(arguments: Namespace, simulator: Simulator) -> None:
    simulator.run("remove", "--name", simulator.name, quiet=True)
    if arguments.packages:
        for record in records.read(Layout(simulator.state).records):
            linux.remove_packages(record.detail.split())
    if STATE not in os.environ:
        shutil.rmtree(simulator.state, ignore_errors=True)
    root = simulator.layout.root
    if root.is_dir() and not any(root.iterdir()):
        root.rmdir()
