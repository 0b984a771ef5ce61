"""Who lives in the cloud of two simulated FreeBSD hosts: four guests on two networks, and what they exchange.

``ann`` (first host) and ``bob`` (second host) share the network ``alpha``;
``cat`` and ``dan`` share ``beta``. Alpha's DHCP is on the second host, beta's on the first.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from conftest import eventually
from freebsd_pair import CONTROL_ADDRESS, STUB_PORT, Pair, PairedSite, address_of, two_sites
from plugged import PluggedGuest, Running

HERE = Path(__file__).parent
EVERYTHING = tuple({"ethertype": version} for version in ("IPv4", "IPv6"))
ECHO = ({"ethertype": "IPv4", "protocol": "icmp"}, {"ethertype": "IPv6", "protocol": "ipv6-icmp"})


@dataclass
class Town:
    """The cloud, and who lives in it: by name, the guest and its port."""

    pair: Pair
    guests: dict[str, PluggedGuest] = field(default_factory=dict)
    ports: dict[str, dict[str, Any]] = field(default_factory=dict)
    networks: dict[str, dict[str, Any]] = field(default_factory=dict)
    groups: dict[str, dict[str, Any]] = field(default_factory=dict)

    def settle(self, name: str, site: PairedSite, network: str, **values: Any) -> PluggedGuest:
        """Give a guest a port on a network, plug it in, and wait until neutron says that it is active."""
        port = self.pair.make_port(site, self.networks[network], name=name, **values)
        self.guests[name] = guest = self.pair.plug(site, port)
        eventually(lambda: self.pair.is_wired(port), f"{name}'s port to be active")
        self.ports[name] = self.pair.api.show("port", port["id"])
        return guest

    def leave(self, name: str) -> None:
        """Unplug a guest and delete its port."""
        self.guests.pop(name).unplug()
        self.pair.api.delete("port", self.ports.pop(name)["id"])

    def address(self, name: str, version: int = 4) -> str:
        """Return the address that neutron gave a guest."""
        return address_of(self.ports[name], version)


@contextlib.contextmanager
def settled_town() -> Iterator[Town]:
    """Two hosts, two networks, four guests; only echo requests are let in."""
    with two_sites() as pair:
        made = Town(pair)
        v6 = {"ip_version": 6, "ipv6_ra_mode": "dhcpv6-stateful", "ipv6_address_mode": "dhcpv6-stateful",
              "gateway_ip": None}  # fmt: skip
        made.networks["alpha"] = pair.make_network(
            "alpha", pair.second,
            {"cidr": "10.71.0.0/24", "ip_version": 4, "gateway_ip": None, "dns_nameservers": ["192.0.2.53"]},
            {"cidr": "fd71::/64", **v6},
        )  # fmt: skip
        made.networks["beta"] = pair.make_network(
            "beta", pair.control, {"cidr": "10.72.0.0/24", "ip_version": 4, "gateway_ip": None},
            {"cidr": "fd72::/64", **v6},
        )  # fmt: skip
        made.groups["echo"] = pair.make_group("echo", *ECHO)
        made.groups["open"] = pair.make_group("open", *EVERYTHING)
        secret = json.loads((pair.control.root / "secrets.json").read_text())["metadata-proxy"]
        program = [sys.executable, str(HERE / "metadata_stub.py"), CONTROL_ADDRESS, str(STUB_PORT), secret]
        stub = pair.control.host.start_outside(None, *program, stdout=subprocess.PIPE)
        assert stub.stdout is not None and stub.stdout.readline() == "ready\n"
        try:
            for name, site, network in (
                ("ann", pair.control, "alpha"), ("bob", pair.second, "alpha"),
                ("cat", pair.control, "beta"), ("dan", pair.second, "beta"),
            ):  # fmt: skip
                made.settle(name, site, network, security_groups=[made.groups["echo"]["id"]])
            yield made
        finally:
            stub.terminate()
            stub.communicate()


def ping_both(guest: PluggedGuest, town: Town, other: str) -> bool:
    """Tell whether a guest reaches another by IPv4 and by IPv6."""
    return all(guest.reaches(town.address(other, version)) for version in (4, 6))


@dataclass
class Traffic:
    """What ann and bob exchange while something happens."""

    pings: list[Running]

    def stop(self) -> list[dict[str, Any]]:
        """End it and return what was said of each stream that lost anything."""
        answers = [item.stop() for item in self.pings]
        return [answer for answer in answers if answer["lost"] or not answer["received"]]


def start_traffic(town: Town, directory: Path) -> Traffic:
    """Let ann ping bob by IPv4, and bob ann by IPv6, until told to end."""
    ann, bob = town.guests["ann"], town.guests["bob"]
    return Traffic([
        ann.start("ping", ann.interface, town.address("bob"), "--watch", str(directory / "4")),
        bob.start("ping", bob.interface, town.address("ann", 6), "--watch", str(directory / "6")),
    ])  # fmt: skip


def serves_again(town: Town) -> None:
    """Wait until alpha's guests are given addresses and metadata as before."""
    ann = town.guests["ann"]
    eventually(lambda: ann.try_to("dhcp4", ann.interface, "--limit", "5").get("address") == town.address("ann"),
               "a lease", 90)  # fmt: skip
    eventually(lambda: ann.try_to("get", "http://169.254.169.254/", "--limit", "5").get("status") == 200,
               "metadata", 90)  # fmt: skip
    assert town.guests["bob"].boot()["address"] == town.address("bob")


def dhcp_device(town: Town) -> str:
    """Return the host's end of the interface that alpha's DHCP server is on."""
    (port,) = town.pair.find_dhcp_ports(town.networks["alpha"])
    return f"tap{port['id'][:11]}"


def reported_since(town: Town, binary: str, site: PairedSite, since: float) -> bool:
    """Tell whether an agent has reported after a time (seconds since 1970)."""
    stamp = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(since))
    return str(town.pair.agent(binary, site).get("heartbeat_timestamp", "")) > stamp
