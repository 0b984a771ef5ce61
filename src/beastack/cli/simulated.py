"""Sites of kind freebsd on a Linux machine: the same command line, run inside a simulated FreeBSD host.

What cannot be fetched inside (the simulated host has no network of its own)
is brought from outside: the virtual environment, the console pages, and the
programs that the host's packages stand for.

The other way round, the ports of the APIs and consoles on Linux's loopback
lead to those on the host's, so that clients and browsers of the machine work.
"""

from __future__ import annotations

import ipaddress
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
from typing import IO, Any, NoReturn

from beastack.cli import commands
from beastack.site import backup, clients, guest_image, joining, operate, other_hosts, release, steps
from beastack.site.configuration import Site
from beastack.site.description import Description
from beastack.site.host import linux, machine_kind
from beastack.site.layout import Layout

PROJECT = Path(__file__).resolve().parents[3]

#: Debian packages whose programs the simulated host is lent; the switch's and others' the simulator brings itself.
PACKAGES = ("python3-venv",)
CONTROL_PACKAGES = ("mariadb-server-core", "mariadb-client", "rabbitmq-server")

#: What the simulated host is: a release in support.
RELEASE = "15.1"

#: Where the simulator keeps hosts: hosts of several sites can be joined when they are kept together.
STATE = "FREEBSD_SIM_STATE"

#: Set for a process in a host's network to the host's name: in there the simulator cannot be asked.
ENTERED = "BEASTACK_SIMULATED_HOST"

#: Commands that run on this machine itself: they need no host that runs, or find their own way to it.
OUTSIDE = ("describe", "test", "seams", "restore")

#: What is reached from Linux, by its name in site.toml's [ports].
FORWARDED = ("identity", "image", "placement", "network", "compute", "novnc", "serial")


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

    def run(
        self, *arguments: str, quiet: bool = False, output: IO[bytes] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run freebsd-sim; its output goes where ours goes, unless ``quiet``, or into a file (``output``)."""
        command, environment = self._command(*arguments)
        if quiet:
            return subprocess.run(command, env=environment, text=True, capture_output=True)
        return subprocess.run(command, env=environment, text=True, stdout=output)

    def _command(self, *arguments: str) -> tuple[list[str], dict[str, str]]:
        return [str(PROJECT / "simulator" / "freebsd-sim"), *arguments], {**os.environ, STATE: str(self.state)}

    @property
    def clients_record(self) -> Path:
        """What was made on Linux for the clients of this site."""
        return self.state / f"{self.name}-clients.jsonl"

    def outside_command(self) -> str:
        """Return what runs a program of Linux in the host's network."""
        return f"{STATE}={self.state} {PROJECT}/simulator/freebsd-sim outside --name {self.name}"

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

    def start(self, say: Callable[[str], None], *, guests: bool = False) -> None:
        """Start the host, with this project and the site's directory in it, and libvirt if it is to have guests.

        A new one has no packages but Python: ``up`` installs them, as it does on FreeBSD.

        :param say: is told what takes long: packages that are fetched, libvirt that is built
        :raises operate.SiteError: it does not start
        """
        command, environment = self._command(
            "start", "--name", self.name, "--release", RELEASE, "--bare",
            # A site that is started at boot is not: whoever starts the host so brings the site up itself.
            "--single-user", *(() if guests else ("--without-libvirt",)),
            f"--share={PROJECT}", f"--share={self.layout.root}",
        )  # fmt: skip
        said = "no reason given"
        with subprocess.Popen(
            command, env=environment, text=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        ) as process:
            assert process.stderr is not None
            for line in process.stderr:
                said = line.strip().removeprefix("freebsd-sim: ")
                say(said)
        if process.returncode != 0:
            raise operate.SiteError(f"the simulated host does not start: {said}")

    def forward(self, description: Description) -> str | None:
        """Let Linux's ports of the APIs and consoles lead to the host's; return why that cannot be, or None.

        Only where they listen on loopback: elsewhere the catalogue's addresses would lead nowhere on Linux.
        """
        if not ipaddress.ip_address(description.site.bind_address).is_loopback:
            return f"they listen on {description.site.bind_address}"
        ports = [str(getattr(description.ports, name)) for name in FORWARDED]
        done = self.run("forward", "--name", self.name, *ports, quiet=True)
        return None if done.returncode == 0 else _last_line(done.stderr).removeprefix("freebsd-sim: ")

    def is_forwarded(self, port: int) -> bool:
        """Return whether a port of Linux's loopback leads to the host."""
        return port in self._described().get("forwarded", ())

    def ask_inside(self, argv: Sequence[str]) -> str:
        """Return what this command line prints inside.

        :raises operate.SiteError: it failed there
        """
        done = self.run("run", "--name", self.name, "--", str(PROJECT / "beastack"), *argv, quiet=True)
        if done.returncode != 0:
            raise operate.SiteError(_last_line(done.stderr).removeprefix("beastack: "))
        return done.stdout

    def inside(self, argv: Sequence[str], output: IO[bytes] | None = None) -> int:
        """Run this command line inside and return its exit status; what it prints may go into a file."""
        command = [str(PROJECT / "beastack"), *argv]
        # An interrupt on the terminal reaches the inner command too, which knows what to make of it.
        before = signal.signal(signal.SIGINT, lambda number, frame: None)
        try:
            return self.run("run", "--name", self.name, "--", *command, output=output).returncode
        finally:
            signal.signal(signal.SIGINT, before)

    def is_entered(self) -> bool:
        """Return whether this process is what ``enter`` made of another."""
        return os.environ.get(ENTERED) == self.name

    def enter(self, argv: Sequence[str]) -> NoReturn:
        """Go on as this command line in the host's network, as a program of Linux: where the cloud's APIs answer."""
        command, environment = self._command("outside", "--name", self.name, "--", str(PROJECT / "beastack"), *argv)
        os.execve(command[0], command, {**environment, ENTERED: self.name})


def host_of(layout: Layout) -> Simulator | None:
    """Return the simulated host that a site stands on, or None for a site on this machine itself."""
    simulates = sys.platform == "linux" and operate.recorded_host(layout).get("kind") == "freebsd"
    return Simulator(layout) if simulates else None


def applies(arguments: Namespace) -> bool:
    """Return whether a command is for a simulated host: on Linux, of a site of kind freebsd."""
    if machine_kind() == "freebsd" or arguments.verb in OUTSIDE:
        return False
    if arguments.verb == "up" and arguments.plan:
        # Nothing is made for it: only a host that runs is asked.
        layout = Layout(arguments.root)
        return operate.recorded_host(layout).get("kind") == "freebsd" and Simulator(layout).is_running()
    if arguments.verb == "join" and (arguments.plan or arguments.template):
        return False  # nothing is made for it
    if arguments.verb == "join":
        return joining.read_file(arguments.file).host.kind == "freebsd"
    if arguments.verb == "up":
        wanted = operate.read_description(Layout(arguments.root), arguments.site, kind=arguments.host)
        return wanted.host.kind == "freebsd"
    simulator = host_of(Layout(arguments.root))
    return simulator is not None and not (arguments.verb == "image" and simulator.is_entered())


def run(arguments: Namespace, argv: Sequence[str]) -> int:
    """Run a command inside the site's simulated host, which ``up`` makes and ``destroy`` removes."""
    if os.geteuid() != 0:
        raise operate.SiteError("this must be run as root (a simulated host needs namespaces and interfaces)")
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
    if arguments.verb == "up" and not arguments.plan:
        layout = simulator.layout
        wanted = operate.read_description(layout, arguments.site, kind=arguments.host, role=arguments.role)
        _prepare(arguments, simulator, wanted)
    elif arguments.verb == "join":
        inner = _bring_description(arguments, simulator, inner)
    elif not simulator.is_running():
        if arguments.verb == "destroy":
            simulator.start(lambda text: None)
        elif arguments.verb == "down":
            print("nothing runs")
            return 0
        else:
            print(f"beastack: the simulated host {simulator.name} does not run (beastack up)", file=sys.stderr)
            return 3
    if arguments.verb == "image":
        return _image(arguments, simulator, inner)
    if arguments.verb == "ssh":
        return _ssh(arguments, simulator)
    if arguments.verb == "backup" and arguments.file != "-":
        return _back_up(arguments.file, simulator, inner)
    status = simulator.inside(inner)
    if arguments.verb == "up" and status == 0 and not arguments.plan:
        _open(arguments, simulator)
    if arguments.verb == "secrets" and status == 0 and simulator.layout.is_default:
        clients.write(_site(arguments, simulator), simulator.clients_record)
    if arguments.verb == "down" and status == 0:
        simulator.run("stop", "--name", simulator.name, quiet=True)
    if arguments.verb == "destroy" and status == 0:
        _remove(arguments, simulator)
    return status


class _InsideFailed(Exception):
    """The command inside said why, and ended with ``status``."""

    def __init__(self, status: int) -> None:
        self.status = status
        super().__init__(status)


def _back_up(name: str, simulator: Simulator, argv: list[str]) -> int:
    """Have the backup written to a file of this machine, where the host inside sees none of its directories."""
    place = len(argv) - 1 - argv[::-1].index(name)
    file = Path(name)
    try:
        with backup.new_file(file) as stream:
            status = simulator.inside([*argv[:place], "-", *argv[place + 1 :]], stream)
            if status != 0:
                raise _InsideFailed(status)
    except _InsideFailed as failed:
        return failed.status
    print(backup.describe(file))
    return 0


def _without_root(argv: Sequence[str]) -> list[str]:
    kept, words = [], iter(argv)
    for word in words:
        if word == "--root":
            next(words, None)
        elif not word.startswith("--root="):
            kept.append(word)
    return kept


def _bring_description(arguments: Namespace, simulator: Simulator, inner: list[str]) -> list[str]:
    """Prepare the host for a file to join by, and return the inner command line, for which it lies in the site."""
    layout, file = simulator.layout, arguments.file
    wanted = operate.read_joining(layout, file)
    brought = layout.root / operate.BROUGHT
    if file.resolve() != brought:
        other_hosts.write_private(brought, file.read_text())
    _prepare(arguments, simulator, wanted)
    return [str(brought) if word == str(file) else word for word in inner]


def _prepare(arguments: Namespace, simulator: Simulator, wanted: Description) -> None:
    layout = simulator.layout

    def say(text: str) -> None:
        if not arguments.json:
            print(f"  {text}", flush=True)

    operate.check_kind(wanted)
    operate.check_directory(layout)
    operate.check_disk(layout.root, layout)
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
            operate.stop_release(layout)
            release.install(layout, linux.facts(layout).python, say)
        if wanted.host.has_control and not (layout.data("novnc") / "vnc_lite.html").exists():
            (layout.root / "cache").mkdir(exist_ok=True)
            (layout.root / "data").mkdir(exist_ok=True)
            release.novnc_pages(layout, layout.root / "cache" / "novnc")
        if wanted.host.has_guests and wanted.host.has_control:
            _bring_image(simulator, say)
    simulator.start(say, guests=wanted.host.has_guests)


def _bring_image(simulator: Simulator, say: Callable[[str], None]) -> None:
    """Build the first image, which takes Linux's tools."""
    missing = linux.missing_packages((*guest_image.required_packages(), "python3-libvirt"))
    if missing:
        linux.install_packages(Layout(simulator.state), missing, say)
    layout = simulator.layout
    target = layout.data("guest-image") / f"{steps.IMAGE_NAME}.raw"
    target.parent.mkdir(parents=True, exist_ok=True)
    guest_image.build_guest_image(target, layout.root / "cache", progress=say)


def _site(arguments: Namespace, simulator: Simulator) -> Site:
    layout = simulator.layout
    return operate.open_site(layout, operate.read_description(layout, arguments.site))


def _open(arguments: Namespace, simulator: Simulator) -> None:
    """Make the cloud reachable from Linux, and say whether it is."""
    site = _site(arguments, simulator)
    if not site.description.host.has_control:
        return
    problem = simulator.forward(site.description)
    if problem is None and simulator.layout.is_default:
        clients.write(site, simulator.clients_record)
    if arguments.json:
        return
    if problem is not None:
        print(f"From this machine the cloud is not reached: {problem}.", flush=True)
        print(f"  In the host's network: {simulator.outside_command()} COMMAND")


def _image(arguments: Namespace, simulator: Simulator, argv: Sequence[str]) -> int:
    """Run the command for images on Linux, which has the file or the network that it comes from."""
    site = _site(arguments, simulator)
    if not ipaddress.ip_address(site.address).is_loopback:
        simulator.enter(argv)
    if not simulator.is_forwarded(site.ports.image):
        raise operate.SiteError(
            f"port {site.ports.image} of this machine does not lead to the simulated host: free it, then beastack up"
        )
    return commands.image(arguments)


def _ssh(arguments: Namespace, simulator: Simulator) -> int:
    """Run ssh on Linux, in the host's network."""
    site = ["--site", str(arguments.site)] if arguments.site else []
    words = [arguments.instance, *arguments.command] if arguments.instance else []
    printed = simulator.ask_inside(["--root", str(arguments.root), *site, "ssh", "--print", *words])
    return simulator.run("outside", "--name", simulator.name, "--", *json.loads(printed)).returncode


def _last_line(text: str) -> str:
    return (text.strip().splitlines() or ["no reason given"])[-1]


def _remove(arguments: Namespace, simulator: Simulator) -> None:
    simulator.run("remove", "--name", simulator.name, quiet=True)
    operate.take_back(simulator.clients_record, lambda text: None, packages=False)
    simulator.clients_record.unlink(missing_ok=True)
    if arguments.packages:
        operate.take_back(Layout(simulator.state).records, lambda text: None, packages=True)
    if STATE not in os.environ:
        shutil.rmtree(simulator.state, ignore_errors=True)
    root = simulator.layout.root
    if root.is_dir() and not any(root.iterdir()):
        root.rmdir()
