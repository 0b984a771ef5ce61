"""Plugs guests into a simulated FreeBSD host as a compute service would, and has them do what guests do.

A guest is a vnet jail with nothing in it but the far end of an epair; the near
end is a port of the integration bridge, named and marked as nova's would be
(os-vif's ``vif_plug_ovs.ovsdb.ovsdb_lib``). What runs "in" the guest is
network_guest.py, a Linux program in the jail's network: a guest is not FreeBSD.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parents[2]
PROGRAM = Path(__file__).with_name("network_guest.py")
SIMULATOR = PROJECT / "simulator/freebsd-sim"
PARAMETERS = ("path=/", "vnet", "persist", "host=inherit", "children.max=0", "allow.raw_sockets")
SWITCH_LIMIT = 30  # seconds that ovs-vsctl waits for the switch to do what it was told


class GuestFailed(AssertionError):
    """A guest could not do what the test had it do; ``answer`` is what it said."""

    def __init__(self, command: Sequence[str], answer: Mapping[str, Any]) -> None:
        super().__init__(f"guest: {' '.join(command)}: {json.dumps(answer)}")
        self.answer = answer


@dataclass(frozen=True)
class SimulatedHost:
    """A running simulated host and the switch in it.

    ``database`` is where its ovsdb-server answers, as in ``unix:/.../db.sock``.
    """

    name: str
    state: Path
    database: str
    bridge: str = "br-int"

    def environment(self) -> dict[str, str]:
        """Return the environment in which freebsd-sim and beastack find the host."""
        return {"FREEBSD_SIM_PYTHON": sys.executable, **os.environ, "FREEBSD_SIM_STATE": str(self.state)}

    def simulator(self, *arguments: str, ok: bool = True, limit: float = 120) -> subprocess.CompletedProcess[str]:
        """Run freebsd-sim."""
        done = subprocess.run(
            [str(SIMULATOR), *arguments], capture_output=True, text=True, timeout=limit, env=self.environment(),
            stdin=subprocess.DEVNULL,
        )  # fmt: skip
        assert not ok or done.returncode == 0, f"{' '.join(arguments)}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    def run(self, *argv: str, ok: bool = True, jail: str | None = None) -> str:
        """Run a command of FreeBSD's inside the host, or inside a jail of it, and return what it prints."""
        place = ["--jail", jail] if jail else []
        return self.simulator("run", "--name", self.name, *place, *argv, ok=ok).stdout

    def vsctl(self, *arguments: str) -> str:
        """Run ovs-vsctl on the host's switch."""
        return self.run("ovs-vsctl", f"--db={self.database}", f"--timeout={SWITCH_LIMIT}", *arguments)

    def start_outside(self, jail: str | None, *argv: str, **options: Any) -> subprocess.Popen[str]:
        """Start a program of Linux in the network of the host, or of a jail of it."""
        place = ["--jail", jail] if jail else []
        options.setdefault("stdin", subprocess.DEVNULL)
        command = [str(SIMULATOR), "outside", "--name", self.name, *place, "--", *argv]
        return subprocess.Popen(command, text=True, env=self.environment(), **options)

    def start_inside(self, user: str, *argv: str) -> subprocess.Popen[str]:
        """Start a program of FreeBSD's inside the host, as a user."""
        command = [str(SIMULATOR), "run", "--name", self.name, "--user", user, "--", *argv]
        return subprocess.Popen(
            command, text=True, env=self.environment(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )  # fmt: skip

    def has_interface(self, name: str, jail: str | None = None) -> bool:
        """Tell whether an interface is there."""
        place = ["-j", jail] if jail else []
        return name in self.run("ifconfig", *place, "-l", ok=False).split()


@dataclass
class Running:
    """A command of network_guest.py that goes on until it is told to end."""

    command: Sequence[str]
    process: subprocess.Popen[str]

    def wait_until_ready(self, limit: float = 20) -> None:
        """Wait until it says that it has begun.

        :raises GuestFailed: it ended instead
        """
        assert self.process.stderr is not None
        with selectors.DefaultSelector() as selector:
            selector.register(self.process.stderr, selectors.EVENT_READ)
            if not selector.select(limit):
                self.kill()
                raise GuestFailed(self.command, {"error": f"not ready within {limit:g} s"})
        line = self.process.stderr.readline()
        if line != "ready\n":
            raise GuestFailed(self.command, self._read(limit) | {"stderr": line})

    @property
    def is_alive(self) -> bool:
        """Whether it still runs."""
        return self.process.poll() is None

    def wait(self, limit: float = 60) -> dict[str, Any]:
        """Wait until it ends by itself and return its answer."""
        return self._read(limit)

    def stop(self, limit: float = 20) -> dict[str, Any]:
        """Tell it to end and return its answer."""
        if self.is_alive:
            self.process.send_signal(signal.SIGTERM)
        return self._read(limit)

    def kill(self) -> None:
        """End it for good."""
        if self.is_alive:
            self.process.send_signal(signal.SIGTERM)
        try:
            self.process.communicate(timeout=5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.communicate()

    def _read(self, limit: float) -> dict[str, Any]:
        try:
            said, complaint = self.process.communicate(timeout=limit)
        except subprocess.TimeoutExpired:
            self.kill()
            raise GuestFailed(self.command, {"error": f"still running after {limit:g} s"}) from None
        return read_answer(said, complaint)


def read_answer(said: str, complaint: str) -> dict[str, Any]:
    """Return the JSON object that the program printed, or one with what it printed instead."""
    try:
        answer: dict[str, Any] = json.loads(said)
    except json.JSONDecodeError:
        return {"ok": False, "error": f"{said}{complaint}".strip()}
    return answer


@dataclass
class PluggedGuest:
    """A guest on one port.

    :param port_id: neutron's number of the port; names are made of its first eleven characters
    :param mac: the port's address
    :param server_id: what the switch's record names as the server
    """

    host: SimulatedHost
    port_id: str
    mac: str
    server_id: str = "00000000-0000-0000-0000-000000000000"
    running: list[Running] = field(default_factory=list)

    @property
    def tap(self) -> str:
        """The host's end, by the name that nova and neutron would give it."""
        return f"tap{self.port_id[:11]}"

    @property
    def interface(self) -> str:
        """The guest's own end; no other interface of the host has such a name."""
        return f"vif{self.port_id[:11]}"

    @property
    def jail(self) -> str:
        """The jail that is the guest."""
        return f"guest-{self.port_id[:11]}"

    def plug(self) -> PluggedGuest:
        """Make the jail and the pair of interfaces, and put the near one into the switch."""
        host = self.host
        host.run("jail", "-c", f"name={self.jail}", *PARAMETERS)
        host.run("ifconfig", "-j", self.jail, "lo0", "inet", "127.0.0.1/8", "up")
        near = host.run("ifconfig", "epair", "create").strip()
        far = f"{near[:-1]}b"
        # Checksums that nobody computes would reach the switch otherwise.
        for end in (near, far):
            host.run("ifconfig", end, "-txcsum", "-txcsum6")
        host.run("ifconfig", near, "name", self.tap)
        host.run("ifconfig", far, "name", self.interface)
        host.run("ifconfig", self.interface, "ether", self.mac)
        host.run("ifconfig", self.interface, "vnet", self.jail)
        host.run("ifconfig", self.tap, "up")
        host.run("ifconfig", "-j", self.jail, self.interface, "up")
        self.add_port()
        return self

    def add_port(self) -> None:
        """Put the near end into the switch, afresh if a port of its name is there.

        Two steps: within one, the switch would go on with what it had opened under that name.
        """
        self.host.vsctl("--if-exists", "del-port", self.tap)
        marks = {"iface-id": self.port_id, "iface-status": "active", "attached-mac": self.mac,
                 "vm-uuid": self.server_id, "vm-id": self.server_id}  # fmt: skip
        values = [f'external_ids:{name}="{value}"' for name, value in marks.items()]
        self.host.vsctl("add-port", self.host.bridge, self.tap, "--", "set", "Interface", self.tap, *values)

    def unplug(self) -> None:
        """Remove all that ``plug`` made, whatever is left of it."""
        for item in self.running:
            item.kill()
        self.running.clear()
        self.host.vsctl("--if-exists", "del-port", self.tap)
        self.host.run("jail", "-r", self.jail, ok=False)
        self.host.run("ifconfig", self.tap, "destroy", ok=False)

    def start(self, *command: str, ready: bool = True) -> Running:
        """Start a command of network_guest.py that goes on, and wait until it has begun.

        :raises GuestFailed: it ended instead
        """
        process = self.host.start_outside(
            self.jail, sys.executable, str(PROGRAM), *command, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        started = Running(command, process)
        self.running.append(started)
        if ready:
            started.wait_until_ready()
        return started

    def try_to(self, *command: str, limit: float = 90) -> dict[str, Any]:
        """Run a command of network_guest.py in the guest and return its answer, good or bad."""
        return self.start(*command, ready=False).wait(limit)

    def do(self, *command: str, limit: float = 90) -> dict[str, Any]:
        """Run a command of network_guest.py in the guest and return its answer.

        :raises GuestFailed: the answer is not ok
        """
        answer = self.try_to(*command, limit=limit)
        if not answer["ok"]:
            raise GuestFailed(command, answer)
        return answer

    def linux(self, *argv: str) -> str:
        """Run another program of Linux in the guest's network and return what it prints."""
        done = self.host.simulator("outside", "--name", self.host.name, "--jail", self.jail, "--", *argv)
        return done.stdout

    # What tests have guests do all the time

    def boot(self, *options: str) -> dict[str, Any]:
        """Obtain a lease and set the interface by it."""
        return self.do("dhcp4", self.interface, *options)

    def boot6(self, *options: str) -> dict[str, Any]:
        """Obtain IPv6 addresses as the network offers them."""
        return self.do("ipv6", self.interface, *options)

    def reaches(self, address: str, count: int = 3, *options: str) -> bool:
        """Tell whether any of some ICMP echo requests is answered."""
        command = ("ping", self.interface, address, "--count", str(count), "--interval", "0.3", *options)
        return bool(self.try_to(*command)["ok"])

    def address_is_unknown(self, address: str) -> bool:
        """Tell whether the guest has never learned who has an address."""
        found = json.loads(self.linux("ip", "-j", "neighbour", "show", address) or "[]")
        return not any("lladdr" in item for item in found)

    def connects(self, address: str, port: int, limit: float = 1) -> str:
        """Return what became of a TCP connection: ``ok``, ``refused``, ``timed out``, ..."""
        answer = self.try_to("tcp-connect", address, str(port), "--limit", str(limit))
        return "ok" if answer["ok"] else str(answer["error"])

    def asks_metadata(self, path: str, *, ipv6: bool = False, host: str | None = None) -> dict[str, Any]:
        """Ask the metadata service for a path and return its answer; any status is one."""
        where = f"[fe80::a9fe:a9fe%{self.interface}]" if ipv6 else host or "169.254.169.254"
        return self.do("get", f"http://{where}{path}", "--interface", self.interface)


@contextlib.contextmanager
def plugged(host: SimulatedHost, port_id: str, mac: str, server_id: str | None = None) -> Iterator[PluggedGuest]:
    """Plug a guest in for as long as the block lasts."""
    guest = PluggedGuest(host, port_id, mac, server_id or "00000000-0000-0000-0000-000000000000")
    try:
        yield guest.plug()
    finally:
        guest.unplug()


def read_replies(file: Path) -> list[float]:
    """Return the times of the replies that ``ping --watch FILE`` noted."""
    return [float(line.split()[0]) for line in file.read_text().splitlines()]


def longest_gap(times: Sequence[float], since: float, until: float | None = None) -> float:
    """Return the longest time without a reply between two moments, in seconds."""
    until = time.time() if until is None else until
    marks = [since, *(moment for moment in times if since < moment < until), until]
    return max(after - before for before, after in itertools.pairwise(marks))
