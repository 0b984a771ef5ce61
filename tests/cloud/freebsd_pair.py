"""Two simulated FreeBSD hosts on one Ethernet segment, each a site: a control host with networks, and a second host.

What the tests ask of a cloud goes through its APIs, by a program in the first
host's network; what they do to a host goes through freebsd-sim.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from beastack.site.layout import Layout
from conftest import BEASTACK, TestSite, eventually, links, namespaces, user_names
from plugged import PROJECT, PluggedGuest, SimulatedHost

HERE = Path(__file__).parent
SEGMENT, INTERFACE = "beastack-pair", "em0"
CONTROL_ADDRESS, SECOND_ADDRESS = "10.99.0.1", "10.99.0.2"
IDENTITY = f"http://{CONTROL_ADDRESS}:5000/v3"
#: Where the second host's agents find the metadata service: a program of the tests.
STUB_PORT = 8779

CONTROL_TOML = f"""\
[site]
bind_address = "{CONTROL_ADDRESS}"
[host]
kind = "freebsd"
role = "control+network"
[messaging]
listen = "{CONTROL_ADDRESS}"
[network]
underlay = "{INTERFACE}"
local_ip = "{CONTROL_ADDRESS}"
underlay_prefix = 24
project_cidr_v6 = "fd42:1::/64"
"""

SECOND_TOML = f"""\
[host]
kind = "freebsd"
role = "network"
[messaging]
url = "rabbit://beastack:MESSAGING@{CONTROL_ADDRESS}:5673/"
[control]
address = "{CONTROL_ADDRESS}"
metadata_secret = "METADATA"
[ports]
metadata = {STUB_PORT}
[network]
underlay = "{INTERFACE}"
local_ip = "{SECOND_ADDRESS}"
underlay_prefix = 24
"""


#: What the APIs call the agents, and what the supervisor does.
AGENTS = {
    "neutron-openvswitch-agent": "neutron-ovs-agent",
    "neutron-dhcp-agent": "neutron-dhcp-agent",
    "neutron-metadata-agent": "neutron-metadata-agent",
}


class ApiFailed(AssertionError):
    """An API did not answer as it should."""


@dataclass
class PairedSite(TestSite):
    """One of the two sites, and its simulated host."""

    state: Path = Path()

    @property
    def layout(self) -> Layout:
        """Where the site keeps what."""
        return Layout(self.root)

    @property
    def host(self) -> SimulatedHost:
        """The simulated host."""
        database = f"unix:{self.layout.run('openvswitch')}/db.sock"
        return SimulatedHost(self.layout.prefix, self.state, database, self.layout.interface("int"))

    def run(self, *arguments: str, ok: bool = True, timeout: float = 900) -> subprocess.CompletedProcess[str]:
        """Run beastack on this site."""
        argv = [BEASTACK, "--root", str(self.root), *arguments]
        done = subprocess.run(
            argv, capture_output=True, text=True, timeout=timeout, stdin=subprocess.DEVNULL, env=self.host.environment()
        )
        assert not ok or done.returncode == 0, f"{' '.join(argv)}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    def up(self) -> dict[str, Any]:
        """Bring the site up and return what up says of it."""
        summary: dict[str, Any] = json.loads(self.run("up", "--host", "freebsd", "--json").stdout)
        return summary

    def inside(self, *argv: str, ok: bool = True) -> str:
        """Run a command inside the host and return what it prints."""
        return self.host.run(*argv, ok=ok)

    def kill(self, service: str, number: str = "KILL") -> int:
        """Send a signal to a service's process, and return its number."""
        pid = int(self.services()[service]["pid"])
        self.inside("kill", f"-{number}", str(pid))
        return pid

    def is_back(self, service: str, before: int) -> bool:
        """Tell whether a service runs again as another process."""
        now = self.services()[service]
        return now["state"] == "running" and now["pid"] not in (None, before)

    def jails(self) -> list[str]:
        """Return the names of the host's jails."""
        return self.inside("jls", "name").split()

    def find_processes(self, pattern: str) -> list[int]:
        """Return the processes whose command line a pattern fits."""
        return [int(pid) for pid in self.inside("pgrep", "-f", pattern, ok=False).split()]

    def linuxisms(self) -> list[Any]:
        """Return what programs of the host touched that only Linux has."""
        listing = self.host.simulator("status", "--name", self.host.name, "--linuxisms", "--json").stdout
        found: list[Any] = json.loads(listing)["hosts"][0]["linuxisms"]
        return found


@dataclass
class Api:
    """The cloud's APIs, asked as one user, by a program that is started again if it ended with its host."""

    start: Callable[[], subprocess.Popen[str]]
    process: subprocess.Popen[str] | None = None

    def ask(
        self, service: str, method: str, path: str, body: Any = None, *, ok: Sequence[int] = (),
        file: Path | None = None, version: str | None = None,
    ) -> Any:  # fmt: skip
        """Make a request and return the answer's body.

        :param ok: the statuses that are right; any below 300 if none is named
        :param file: what is sent instead of a body
        :param version: the microversion, as in ``compute 2.96``
        :raises ApiFailed: another status
        """
        if self.process is None or self.process.poll() is not None:
            self.process = self.start()
        assert self.process.stdin is not None and self.process.stdout is not None
        asked = {"service": service, "method": method, "path": path, "body": body, "version": version}
        line = json.dumps({**asked, "file": str(file) if file else None})
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        answer = json.loads(self.process.stdout.readline())
        status = answer["status"]
        if status not in ok if ok else not 200 <= status < 300:
            raise ApiFailed(f"{method} {service} {path}: {status} {answer['body']}")
        return answer["body"]

    def list(self, kind: str, **filters: str) -> list[dict[str, Any]]:
        """Return neutron's objects of a kind, named in the plural."""
        query = "&".join(f"{name}={value}" for name, value in filters.items())
        found: list[dict[str, Any]] = self.ask("network", "GET", f"/v2.0/{kind}?{query}")[kind.replace("-", "_")]
        return found

    def show(self, kind: str, number: str) -> dict[str, Any]:
        """Return one of neutron's objects, named in the singular."""
        found: dict[str, Any] = self.ask("network", "GET", f"/v2.0/{_path(kind)}/{number}")[kind]
        return found

    def make(self, kind: str, **values: Any) -> dict[str, Any]:
        """Make one of neutron's objects and return it."""
        made: dict[str, Any] = self.ask("network", "POST", f"/v2.0/{_path(kind)}", {kind: values})[kind]
        return made

    def change(self, kind: str, number: str, **values: Any) -> dict[str, Any]:
        """Change one of neutron's objects and return it."""
        changed: dict[str, Any] = self.ask("network", "PUT", f"/v2.0/{_path(kind)}/{number}", {kind: values})[kind]
        return changed

    def delete(self, kind: str, number: str) -> None:
        """Delete one of neutron's objects; one that is gone is no error."""
        self.ask("network", "DELETE", f"/v2.0/{_path(kind)}/{number}", ok=(204, 404))


def _path(kind: str) -> str:
    return f"{kind.replace('_', '-')}s"


@dataclass
class Pair:
    """The two sites, their APIs, and what was plugged in and made."""

    control: PairedSite
    second: PairedSite
    api: Api
    guests: list[PluggedGuest] = field(default_factory=list)
    made: list[tuple[str, str]] = field(default_factory=list)

    def agent(self, binary: str, site: PairedSite) -> dict[str, Any]:
        """Return what the API says of an agent."""
        found = self.api.list("agents", binary=binary, host=site.host.name)
        return found[0] if found else {"alive": False}

    def is_alive(self, binary: str, site: PairedSite) -> bool:
        """Tell whether the API says that an agent is alive."""
        return bool(self.agent(binary, site)["alive"])

    def make(self, kind: str, **values: Any) -> dict[str, Any]:
        """Make one of neutron's objects, which is deleted at the end if a test does not."""
        made = self.api.make(kind, **values)
        self.made.append((kind, made["id"]))
        return made

    def make_network(
        self, name: str, served_by: PairedSite, *subnets: Mapping[str, Any], **values: Any
    ) -> dict[str, Any]:
        """Make a network with subnets, whose DHCP is one host's."""
        network = self.make("network", name=name, **values)
        for agent in self.api.list("agents", binary="neutron-dhcp-agent"):
            path = f"/v2.0/agents/{agent['id']}/dhcp-networks"
            if agent["host"] == served_by.host.name:
                self.api.ask("network", "POST", path, {"network_id": network["id"]}, ok=(201, 409))
            else:
                self.api.ask("network", "DELETE", f"{path}/{network['id']}", ok=(204, 404, 409))
        for number, subnet in enumerate(subnets):
            self.make("subnet", network_id=network["id"], name=f"{name}-{number}", **subnet)
        return network

    def make_group(self, name: str, *rules: Mapping[str, Any]) -> dict[str, Any]:
        """Make a security group with rules; what leaves is allowed, as neutron has it from the start."""
        group = self.make("security_group", name=name)
        for rule in rules:
            self.allow(group, **rule)
        return group

    def allow(self, group: Mapping[str, Any], **rule: Any) -> dict[str, Any]:
        """Add a rule to a security group, for what comes in unless it says otherwise."""
        return self.api.make("security_group_rule", security_group_id=group["id"], **{"direction": "ingress", **rule})

    def make_port(self, site: PairedSite, network: Mapping[str, Any], **values: Any) -> dict[str, Any]:
        """Make a guest's port that is bound to a host."""
        return self.make(
            "port", network_id=network["id"],
            **{"binding:host_id": site.host.name, "device_owner": "compute:nova", "device_id": new_number(), **values},
        )  # fmt: skip

    def plug(self, site: PairedSite, port: Mapping[str, Any]) -> PluggedGuest:
        """Plug a guest into a host for a port."""
        guest = PluggedGuest(site.host, port["id"], port["mac_address"], port["device_id"])
        self.guests.append(guest)
        return guest.plug()

    def is_wired(self, port: Mapping[str, Any]) -> bool:
        """Tell whether neutron says that a port is active."""
        return bool(self.api.show("port", port["id"])["status"] == "ACTIVE")

    def find_dhcp_ports(self, network: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Return the ports of a network's DHCP servers."""
        return self.api.list("ports", network_id=network["id"], device_owner="network:dhcp")


def new_number() -> str:
    """Return a UUID."""
    return Path("/proc/sys/kernel/random/uuid").read_text().strip()


def address_of(port: Mapping[str, Any], version: int) -> str:
    """Return a port's first address of an IP version."""
    addresses = [item["ip_address"] for item in port["fixed_ips"]]
    return str(next(item for item in addresses if (":" in item) is (version == 6)))


@contextlib.contextmanager
def two_sites() -> Iterator[Pair]:
    """Bring up both hosts and sites; everything of them is removed at the end."""
    state = Path(tempfile.mkdtemp(prefix="beastack-pair-", dir="/var/tmp"))
    state.chmod(0o755)
    made: list[PairedSite] = []
    before = (links(), namespaces(), set(user_names()))
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, state, ignore_errors=True)
        for name in ("one", "two"):
            root = state / name
            root.mkdir()
            root.chmod(0o711)
            site = PairedSite(root, *before, state=state / "simulator")
            made.append(site)
            stack.callback(_remove, site)
            site.host.simulator(
                "start", "--name", site.host.name, "--without-libvirt", "--share", str(PROJECT), "--share", str(root),
                limit=600,
            )  # fmt: skip
        control, second = made
        ends = [f"{site.host.name}:{INTERFACE}" for site in made]
        stack.callback(control.host.simulator, "unlink", SEGMENT, ok=False)
        control.host.simulator("link", SEGMENT, *ends)
        (control.root / "site.toml").write_text(CONTROL_TOML)
        control.up()
        secrets = json.loads((control.root / "secrets.json").read_text())
        text = SECOND_TOML.replace("MESSAGING", secrets["messaging"]).replace("METADATA", secrets["metadata-proxy"])
        (second.root / "site.toml").write_text(text)
        second.up()
        api = stack.enter_context(open_api(control.host, secrets["admin"]))
        pair = Pair(control, second, api)
        stack.callback(_tidy, pair)
        for site in made:
            # A port whose host has no agent yet would be refused for good.
            for binary in AGENTS:
                eventually(functools.partial(pair.is_alive, binary, site), f"{binary} of {site.host.name} to report")
        yield pair


@contextlib.contextmanager
def open_api(host: SimulatedHost, password: str, identity: str = IDENTITY, user: str = "admin") -> Iterator[Api]:
    """Ask the cloud's APIs from a host's network, as a user, for as long as the block lasts."""
    program = [sys.executable, str(HERE / "api_client.py"), identity, user]

    def start() -> subprocess.Popen[str]:
        process = host.start_outside(None, *program, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert process.stdin is not None
        process.stdin.write(password + "\n")
        process.stdin.flush()
        return process

    api = Api(start)
    try:
        yield api
    finally:
        if api.process is not None:
            api.process.terminate()
            api.process.communicate()


def _tidy(pair: Pair) -> None:
    for guest in pair.guests:
        for item in guest.running:
            item.kill()


def _remove(site: PairedSite) -> None:
    keep = os.environ.get("BEASTACK_KEEP_LOGS")
    if keep and (site.root / "log").exists():
        shutil.copytree(site.root / "log", Path(keep) / site.root.name, dirs_exist_ok=True)
    if (site.root / "site.json").exists():
        site.run("destroy", "--yes", ok=False)
    site.host.simulator("remove", "--name", site.host.name, ok=False)
