"""What is measured in a place: DHCP's start, the wiring of ports, the restart of the Open vSwitch agent."""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import Any

from benchmarks.network.costs import counted
from benchmarks.network.places import FAR, NEAR, TOOLS, Place, PlaceError, run
from benchmarks.network.watch import AGENT, LIMIT, QUIET, AgentLog, Api, FlowWatch, Lines, Ping, name_of, wait

Figures = dict[str, Any]


def mac_of(number: int) -> str:
    """Return the address of a guest's interface."""
    return f"fa:16:3e:be:{number >> 8:02x}:{number & 255:02x}"


@contextmanager
def undone(undo: Callable[[], object]) -> Iterator[None]:
    """Undo something at the end of the block; after an interrupt it goes with the whole site."""
    try:
        yield
    except Exception:
        with suppress(PlaceError, OSError):
            undo()
        raise
    undo()


class Bench:
    """One place under measurement."""

    def __init__(self, place: Place, api: Api, flows: FlowWatch) -> None:
        self.place, self.api, self.flows = place, api, flows
        self.top = place.top()
        agents = api.ask("GET", "/agents?binary=neutron-openvswitch-agent&fields=host")["agents"]
        self.host = agents[0]["host"]
        self.costs: dict[str, dict[str, float]] = {}

    # What there is to plug

    @contextmanager
    def pairs(self, numbers: Sequence[int], guests: Sequence[int] = ()) -> Iterator[None]:
        """Make pairs of interfaces; the far ends of some are in guests of their own."""
        script = "set -e\n" + "".join(
            self.place.pair_script(NEAR.format(number), FAR.format(number), mac_of(number)) for number in numbers
        )
        script += "".join(self.place.guest_script(name_of(number), FAR.format(number)) for number in guests)

        def remove() -> None:
            self.unplug(numbers)
            names = [name_of(number) for number in guests]
            self.place.shell.run(f"({self.place.removal_script(numbers, names)}) 2>/dev/null")

        with undone(remove):
            self.place.shell.run(f"(\n{script})")
            yield

    def plug(self, ports: Sequence[tuple[int, str]]) -> None:
        """Put pairs into the switch, as ports (number and neutron's id) of servers."""
        words: list[str] = []
        for number, port in ports:
            near = NEAR.format(number)
            words += ["--", "--may-exist", "add-port", self.place.bridge, near, "--", "set", "Interface", near,
                      f'external_ids:iface-id="{port}"', "external_ids:iface-status=active",
                      f'external_ids:attached-mac="{mac_of(number)}"', f'external_ids:vm-id="{port}"']  # fmt: skip
        self.place.vsctl(*words[1:])

    def unplug(self, numbers: Sequence[int]) -> None:
        """Take pairs out of the switch."""
        words: list[str] = []
        for number in numbers:
            words += ["--", "--if-exists", "del-port", NEAR.format(number)]
        self.place.vsctl(*words[1:])

    @contextmanager
    def security_group(self) -> Iterator[str]:
        """Make a security group that lets ICMP in from any address."""
        group = str(
            self.api.ask("POST", "/security-groups", {"security_group": {"name": "bench"}})["security_group"]["id"]
        )
        rule = {"security_group_id": group, "direction": "ingress", "protocol": "icmp", "ethertype": "IPv4",
                "remote_ip_prefix": "0.0.0.0/0"}  # fmt: skip
        self.api.ask("POST", "/security-group-rules", {"security_group_rule": rule})
        with undone(lambda: self.api.ask("DELETE", f"/security-groups/{group}")):
            yield group

    @contextmanager
    def network(self, name: str, cidr: str) -> Iterator[str]:
        """Make a network with DHCP, as large as its prefix says."""
        network = self.make_network(name, cidr)
        with undone(lambda: self.remove_network(network)):
            yield network

    def make_network(self, name: str, cidr: str) -> str:
        """Make a network and its subnet."""
        network = str(self.api.ask("POST", "/networks", {"network": {"name": name}})["network"]["id"])
        subnet = {"network_id": network, "name": name, "ip_version": 4, "cidr": cidr, "gateway_ip": None}
        self.api.ask("POST", "/subnets", {"subnet": subnet})
        return network

    def remove_network(self, network: str) -> None:
        """Remove a network with the servers' ports on it."""
        for port in self.api.ask("GET", f"/ports?network_id={network}&fields=id&fields=device_owner")["ports"]:
            if not port["device_owner"].startswith("network:"):
                self.api.ask("DELETE", f"/ports/{port['id']}")
        self.api.ask("DELETE", f"/networks/{network}")

    def make_ports(self, network: str, numbers: Sequence[int]) -> list[tuple[int, str]]:
        """Make ports with one request and return number and id of each."""
        wanted = [
            {"network_id": network, "mac_address": mac_of(number), "binding:host_id": self.host,
             "device_owner": "compute:bench", "device_id": f"bench-{number}"}
            for number in numbers
        ]  # fmt: skip
        made = self.api.ask("POST", "/ports", {"ports": wanted})["ports"]
        by_mac = {port["mac_address"]: port["id"] for port in made}
        return [(number, by_mac[mac_of(number)]) for number in numbers]

    def count_active(self, network: str) -> int:
        """Return how many servers' ports of a network are ACTIVE."""
        query = f"/ports?network_id={network}&status=ACTIVE&device_owner=compute:bench&fields=id"
        return len(self.api.ask("GET", query)["ports"])

    # What is measured

    def time_dhcp(self, count: int) -> Figures:
        """Return seconds from the request for a network to DHCP's first offer to a guest on it."""
        taken: dict[str, list[float]] = {"offer": [], "API": [], "plug": [], "gone": []}
        costs = self.costs.setdefault("dhcp", {})
        with self.pairs([1], [1]), closing(self.prober(1)) as prober:
            for number in range(count):
                self.flows.wait_until_quiet()
                with counted(self.top, costs):
                    began = time.monotonic()
                    network = self.make_network(f"bench-dhcp-{number}", "10.97.0.0/24")
                    ports = self.make_ports(network, [1])
                    made = time.monotonic()
                    self.plug(ports)
                    plugged = time.monotonic()
                    prober.say("go")
                    answer = json.loads(prober.hear())
                if answer["offer"] is None:
                    raise PlaceError(f"{self.place.name}: no offer within {LIMIT:g} s")
                taken["API"].append(made - began)
                taken["plug"].append(plugged - made)
                taken["offer"].append(answer["offer"] - began)
                self.unplug([1])
                began = time.monotonic()
                self.remove_network(network)
                wait(lambda network=network: not self.has_dhcp(network), "DHCP to be gone")  # type: ignore[misc]
                taken["gone"].append(time.monotonic() - began)
        return taken

    def time_one_port(self, count: int) -> Figures:
        """Return seconds from the add-port of one port to its last flow, and to ACTIVE; others are there already."""
        taken: dict[str, list[float]] = {"flows": [], "active": [], "create": [], "agent": []}
        costs = self.costs.setdefault("port", {})
        numbers = range(10, 10 + count)
        with self.pairs(numbers), self.network("bench-port", "10.97.0.0/24") as network:
            wait(lambda: self.has_dhcp(network), "DHCP")
            for done, number in enumerate(numbers):
                self.flows.wait_until_quiet()
                began = time.monotonic()
                ports = self.make_ports(network, [number])
                taken["create"].append(time.monotonic() - began)
                # DHCP's share, an entry for the new port, is over by then.
                time.sleep(QUIET)
                log = AgentLog(self.place)
                with counted(self.top, costs):
                    began = time.monotonic()
                    self.plug(ports)
                    wait(lambda done=done: self.count_active(network) > done, "a port to be ACTIVE")  # type: ignore[misc]
                    taken["active"].append(time.monotonic() - began)
                    self.flows.wait_until_quiet()
                taken["flows"].append(self.flows.last - began)
                taken["agent"].append(log.busy())
        return taken

    def time_many(self, count: int, restarts: int) -> tuple[Figures, Figures]:
        """Return the figures of many ports wired at once, and then of the agent's restarts with them.

        Two of the ports let ICMP in from any address; the others, as the
        default group has it, from members of their group.
        """
        numbers = range(100, 100 + count)
        costs = self.costs.setdefault("many", {})
        with (
            self.pairs(numbers, numbers[:4]), self.security_group() as group,
            self.network("bench-many", "10.96.0.0/20") as network,
        ):  # fmt: skip
            wait(lambda: self.has_dhcp(network), "DHCP")
            began = time.monotonic()
            ports = self.make_ports(network, numbers)
            created = time.monotonic() - began
            for _, port in ports[2:4]:
                self.api.ask("PUT", f"/ports/{port}", {"port": {"security_groups": [group]}})
            self.flows.wait_until_quiet(3.0)
            before = len(self.place.dump_flows())
            log = AgentLog(self.place)
            with counted(self.top, costs):
                began = time.monotonic()
                self.plug(ports)
                wait(lambda: self.count_active(network) >= count, "all ports to be ACTIVE", 0.25)
                active = time.monotonic() - began
                self.flows.wait_until_quiet(3.0)
            many = {
                "create": [created], "active": [active], "flows": [self.flows.last - began], "agent": [log.busy()],
                "number of flows": [len(self.place.dump_flows()) - before],
            }  # fmt: skip
            return many, self.time_restarts(ports[:4], restarts)

    def time_restarts(self, ports: Sequence[tuple[int, str]], count: int) -> Figures:
        """Return seconds from the agent's end to all flows made anew, and what two pairs of guests noticed of it."""
        taken: dict[str, list[float]] = {"flows": []}
        addresses = [self.api.ask("GET", f"/ports/{port}")["port"]["fixed_ips"][0]["ip_address"] for _, port in ports]
        for (number, _), address in zip(ports, addresses, strict=True):
            run(self.place.outside(
                "ip", "address", "add", f"{address}/20", "dev", FAR.format(number), guest=name_of(number)
            ))  # fmt: skip
        for _ in range(count):
            with tempfile.TemporaryDirectory() as directory, ExitStack() as stack:
                pings = {
                    kind: stack.enter_context(
                        closing(Ping(self.place, ports[first][0], addresses[first + 1], Path(directory, kind)))
                    )
                    for kind, first in (("group", 0), ("address", 2))
                }
                for ping in pings.values():
                    wait(ping.has_replies, "the guests' ping", limit=30)
                self.flows.wait_until_quiet(2.0)
                taken["flows"].append(self.restart())
                self.flows.wait_until_quiet(3.0)
                for kind, ping in pings.items():
                    for name, value in ping.end().items():
                        taken.setdefault(f"{kind}: {name}", []).append(value)
        return taken

    def restart(self) -> float:
        """Kill the agent and return the seconds until the last flow is made anew, and none of the old one's is left."""
        old = set(map(_cookie, self.place.dump_flows()))
        pid = self.place.services()[AGENT]["pid"]
        began = time.monotonic()
        self.place.shell.run(f"kill -9 {pid}")
        wait(lambda: not old & set(map(_cookie, self.place.dump_flows())), "all flows to be made anew", 0.5)
        self.flows.wait_until_quiet(2.0)
        return self.flows.last - began

    # Helpers

    def prober(self, number: int) -> Lines:
        """Start what asks for an address in a guest."""
        made = Lines(self.place.outside(
            "env", f"PYTHONPATH={TOOLS}", sys.executable, str(Path(__file__).with_name("prober.py")),
            FAR.format(number), str(LIMIT), guest=name_of(number),
        ))  # fmt: skip
        made.hear()
        return made

    def has_dhcp(self, network: str) -> bool:
        """Return whether the network's DHCP port is ACTIVE."""
        query = f"/ports?network_id={network}&device_owner=network:dhcp&fields=status"
        return any(port["status"] == "ACTIVE" for port in self.api.ask("GET", query)["ports"])


def _cookie(flow: str) -> str:
    return flow.split("cookie=", 1)[1].partition(",")[0]
