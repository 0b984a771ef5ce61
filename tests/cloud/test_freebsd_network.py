"""The networks of a cloud on two simulated FreeBSD hosts, told in order: each test goes on from the one before.

Who ann, bob, cat and dan are stands in freebsd_town.py.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from conftest import eventually, links, namespaces, user_names
from freebsd_pair import AGENTS, PairedSite, address_of
from freebsd_town import (
    ECHO,
    Town,
    dhcp_device,
    ping_both,
    reported_since,
    serves_again,
    settled_town,
    start_traffic,
)
from plugged import PluggedGuest

pytestmark = pytest.mark.cloud

VXLAN_OVERHEAD = 50
MTU = 1500 - VXLAN_OVERHEAD
HEADERS = {4: 20 + 8, 6: 40 + 8}  # octets of IP and ICMP before an echo request's data
PATH = "/sbin:/bin:/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin"
SWITCH_AGENT = "import beastack.port.neutron.freebsd_seams; from beastack.port.neutron.ovs_agent import main; main()"
MARK = "forged"  # how network_guest.py's sniffer calls the datagrams that it sends itself


@pytest.fixture(scope="module")
def town() -> Iterator[Town]:
    """Two hosts, two networks, four guests."""
    with settled_town() as made:
        yield made


# What a guest is given


def test_agents_of_both_hosts_report(town: Town) -> None:
    for site in (town.pair.control, town.pair.second):
        for binary in AGENTS:
            assert town.pair.is_alive(binary, site)
            assert town.pair.agent(binary, site)["admin_state_up"]


def test_each_guest_is_given_what_neutron_says(town: Town) -> None:
    for name, guest in town.guests.items():
        network = town.networks["alpha" if name in ("ann", "bob") else "beta"]
        server = address_of(town.pair.find_dhcp_ports(network)[0], 4)
        lease = guest.boot("--hostname", name)
        assert (lease["address"], lease["prefix"], lease["mtu"]) == (town.address(name), 24, MTU)
        assert ["169.254.169.254/32", server] in lease["routes"]
        assert (lease["server"], lease["domain"]) == (server, "cloud.internal")
        assert lease["dns"] == (["192.0.2.53"] if name in ("ann", "bob") else [server])
        said = guest.boot6("--hostname", name)
        assert [(item["address"], item["by"]) for item in said["addresses"]] == [(town.address(name, 6), "dhcp")]
        # No router is on the network: nobody may be told of a way out.
        assert (said["router"]["managed"], said["router"]["lifetime"], said["router"]["mtu"]) == (True, 0, MTU)
        assert not any(item["autonomous"] for item in said["router"]["prefixes"])


@pytest.mark.parametrize("version", [4, 6])
def test_guests_on_two_hosts_reach_each_other_with_full_packets(town: Town, version: int) -> None:
    full = MTU - HEADERS[version]
    for one, other in (("ann", "bob"), ("bob", "ann"), ("cat", "dan")):
        guest, target = town.guests[one], town.address(other, version)
        assert guest.reaches(target, 2, "--whole", "--size", str(full))
        said = guest.try_to("ping", guest.interface, target, "--count", "1", "--whole", "--size", str(full + 1))
        assert said["errors"] == {"EMSGSIZE": 1}


def test_doctor_finds_nothing(town: Town) -> None:
    for site in (town.pair.control, town.pair.second):
        findings = json.loads(site.run("doctor", "--json", ok=False).stdout)
        assert len(findings) > 10
        assert [finding for finding in findings if not finding["ok"]] == []


def test_a_host_name_is_known_to_the_network(town: Town) -> None:
    server = address_of(town.pair.find_dhcp_ports(town.networks["beta"])[0], 4)
    cat = town.guests["cat"]
    name = town.ports["cat"].get("dns_name") or f"host-{town.address('cat').replace('.', '-')}"
    said = cat.do("resolve", f"{name}.cloud.internal", "--server", server)
    assert town.address("cat") in said["addresses"]


# Metadata


@pytest.mark.parametrize("ipv6", [False, True])
def test_each_guest_is_known_to_the_metadata_service(town: Town, ipv6: bool) -> None:
    for name in ("ann", "bob"):
        answer = town.guests[name].asks_metadata("/openstack", ipv6=ipv6)
        assert answer["status"] == 200, answer
        said = json.loads(answer["body"])
        assert said["instance"] == town.ports[name]["device_id"]
        assert (said["tenant"], said["path"]) == (town.ports[name]["project_id"], "/openstack")
    # There is no instance behind the port: nova says so, having accepted who asks. Otherwise it would be 403.
    answer = town.guests["cat"].asks_metadata("/openstack", ipv6=ipv6)
    assert answer["status"] == 404 and "not found on network" not in answer["body"]


def test_nobody_has_anothers_metadata(town: Town) -> None:
    bob, own = town.guests["bob"], town.ports["bob"]["device_id"]
    for header in (
        f"X-Forwarded-For={town.address('ann')}", f"X-Instance-ID={town.ports['ann']['device_id']}",
        f"X-Neutron-Network-ID={town.networks['beta']['id']}", "X-Neutron-Router-ID=1",
    ):  # fmt: skip
        url = "http://169.254.169.254/openstack"
        answer = bob.do("get", url, "--interface", bob.interface, "--header", header)
        # Refusing is as good as knowing better.
        assert answer["status"] != 200 or json.loads(answer["body"])["instance"] == own, header
    bob.linux("ip", "address", "add", f"{town.address('ann')}/32", "dev", bob.interface)
    try:
        answer = bob.try_to("get", "http://169.254.169.254/openstack", "--host-address", town.address("ann"),
                            "--interface", bob.interface, "--limit", "3")  # fmt: skip
        assert not answer["ok"]
    finally:
        bob.linux("ip", "address", "delete", f"{town.address('ann')}/32", "dev", bob.interface)


# Walls


def test_networks_are_isolated(town: Town) -> None:
    """Cat shouts; dan, on her network, hears all of it, and nobody of the other network any."""
    cat = town.guests["cat"]
    condition = ("--filter", f"from-mac={cat.mac}")
    ears = {name: town.guests[name].start("sniff", town.guests[name].interface, "--seconds", "60", *condition)
            for name in ("ann", "bob", "dan")}  # fmt: skip
    for version in (4, 6):
        for other in ("ann", "bob"):
            target = town.address(other, version)
            cat.linux("ip", "route", "replace", target, "dev", cat.interface)
            assert not cat.reaches(target, 2)
            assert town.guests[other].address_is_unknown(town.address("cat", version))
    cat.do("spoof", cat.interface, "--kind", "arp", "--source-ip", town.address("cat"))
    cat.do("spoof", cat.interface, "--kind", "ip", "--source-ip", town.address("cat"))
    assert ping_both(cat, town, "dan")
    heard = {name: ear.stop() for name, ear in ears.items()}
    assert {"arp", "ns", "echo"} <= set(heard["dan"]["kinds"])
    assert [heard[name]["count"] for name in ("ann", "bob")] == [0, 0]


def test_nobody_speaks_for_another(town: Town) -> None:
    """Bob forges; ann, who lets everything in, sees nothing of it, and the honest datagram after it."""
    pair, bob, ann = town.pair, town.guests["bob"], town.guests["ann"]
    pair.api.change("port", ann.port_id, security_groups=[town.groups["open"]["id"]])
    honest = ("spoof", bob.interface, "--kind", "ip", "--source-ip", town.address("bob"), "--target-ip",
              town.address("ann"), "--target-mac", ann.mac, "--count", "1")  # fmt: skip

    def hears() -> bool:
        ear = ann.start("sniff", ann.interface, "--seconds", "3", "--enough", "1", "--filter", MARK)
        bob.do(*honest)
        return bool(ear.wait()["count"])

    eventually(hears, "ann's port to let everything in", 60)
    everything = ann.start("sniff", ann.interface, "--seconds", "60", "--keep", "10000")
    last = ann.start("sniff", ann.interface, "--seconds", "60", "--enough", "1", "--filter", MARK,
                     "--filter", f"from-ip={town.address('bob')}", "--filter", f"from-mac={bob.mac}")  # fmt: skip
    own = {4: town.address("bob"), 6: town.address("bob", 6)}
    false = {4: "10.71.0.66", 6: "fd71::66"}
    for kind, claim in (
        ("mac", own[4]), ("mac6", own[6]), ("ip", false[4]), ("ip6", false[6]), ("ip6", "fe80::66"), ("arp", false[4]),
        ("arp", town.address("ann")), ("nd", false[6]), ("nd", town.address("ann", 6)), ("dhcp-server", own[4]),
        ("dhcp6-server", own[6]), ("ra", own[6]), ("ra", "fe80::66"),
    ):  # fmt: skip
        for target in ((), ("--target-mac", ann.mac)):
            bob.do("spoof", bob.interface, "--kind", kind, "--source-ip", claim, "--interval", "0.02", *target)
    bob.do(*honest)
    assert last.wait()["count"] == 1
    foreign = {*false.values(), "fe80::66", town.address("ann"), town.address("ann", 6)}
    lies = [frame for frame in everything.stop()["frames"] if is_lie(frame, bob.mac, foreign)]
    assert lies == []
    assert ping_both(ann, town, "bob")


def is_lie(frame: dict[str, Any], mac: str, foreign: set[str]) -> bool:
    """Tell whether a frame cannot come from the owner of a MAC, or is none that a guest may send."""
    if frame["from_mac"].startswith("02:0b:ad"):
        return True
    servers = {"ra", "dhcp-server", "dhcp6-server"}
    return frame["from_mac"] == mac and (frame["from_ip"] in foreign or bool(servers & set(frame["kinds"])))


# Security groups, on traffic that flows


def test_a_rule_that_goes_ends_what_it_let_in(town: Town) -> None:
    """In both directions, by IPv4 and IPv6, and twice: what was flushed once must be let in again."""
    pair, guests = town.pair, [town.guests[name] for name in ("ann", "bob")]
    port = {"protocol": "tcp", "port_range_min": 7, "port_range_max": 7}
    rules = [{"ethertype": f"IPv{version}", **port} for version in (4, 6)]
    group = pair.make_group("serve", *ECHO)
    for guest in guests:
        pair.api.change("port", guest.port_id, security_groups=[group["id"]])
    servers, ways = [], []
    for client, server in (guests, reversed(guests)):
        for version in (4, 6):
            address = address_of(pair.api.show("port", server.port_id), version)
            servers.append(server.start("tcp-serve", address, "7"))
            ways.append((client, address))
    for client, address in ways:
        eventually(lambda: client.connects(address, 7) == "timed out", "nothing to be let in", 60)  # noqa: B023
    for _ in range(2):
        allowed = [pair.allow(group, **rule) for rule in rules]
        for client, address in ways:
            eventually(lambda: client.connects(address, 7) == "ok", "the rules to act", 60)  # noqa: B023
        held = [client.start("tcp-hold", address, "7", "--patience", "2") for client, address in ways]
        for rule in allowed:
            pair.api.delete("security_group_rule", rule["id"])
        assert [item.wait()["reason"] for item in held] == ["silent"] * len(ways)
        assert [client.connects(address, 7) for client, address in ways] == ["timed out"] * len(ways)
    for item in servers:
        item.stop()


def test_datagrams_that_are_not_allowed_to_leave_stop(town: Town) -> None:
    pair, ann, bob = town.pair, town.guests["ann"], town.guests["bob"]
    pair.api.change("port", ann.port_id, security_groups=[town.groups["open"]["id"]])
    quiet = pair.make_group("quiet", *ECHO)
    outward = [rule for rule in pair.api.show("security_group", quiet["id"])["security_group_rules"]
               if rule["direction"] == "egress"]  # fmt: skip
    pair.api.change("port", bob.port_id, security_groups=[quiet["id"]])
    server = ann.start("udp-serve", town.address("ann"), "7")
    held = eventually(lambda: _holds(bob, town.address("ann")), "bob's datagrams to be answered", 60)
    for rule in outward:
        pair.api.delete("security_group_rule", rule["id"])
    assert held.wait()["reason"] in ("silent", "EPERM")
    server.stop()
    pair.api.change("port", bob.port_id, security_groups=[town.groups["echo"]["id"]])
    eventually(lambda: ping_both(bob, town, "ann"), "bob to be let out again", 60)


def _holds(guest: PluggedGuest, address: str) -> Any:
    held = guest.start("udp-hold", address, "7", "--patience", "2", ready=False)
    try:
        held.wait_until_ready(10)
    except AssertionError:
        return None
    return held


def test_who_leaves_a_group_loses_what_its_members_may(town: Town) -> None:
    pair, ann, bob = town.pair, town.guests["ann"], town.guests["bob"]
    friends = pair.make_group("friends", *ECHO)
    guarded = pair.make_group("guarded", *ECHO, *(
        {"ethertype": f"IPv{version}", "protocol": "tcp", "remote_group_id": friends["id"]} for version in (4, 6)
    ))  # fmt: skip
    pair.api.change("port", ann.port_id, security_groups=[guarded["id"]])
    pair.api.change("port", bob.port_id, security_groups=[friends["id"]])
    addresses = [town.address("ann", version) for version in (4, 6)]
    servers = [ann.start("tcp-serve", address, "7") for address in addresses]
    for address in addresses:
        eventually(lambda: bob.connects(address, 7) == "ok", "a member to be let in", 60)  # noqa: B023
    held = [bob.start("tcp-hold", address, "7", "--patience", "2") for address in addresses]
    pair.api.change("port", bob.port_id, security_groups=[town.groups["echo"]["id"]])
    assert [item.wait()["reason"] for item in held] == ["silent"] * 2
    assert [bob.connects(address, 7) for address in addresses] == ["timed out"] * 2
    pair.api.change("port", bob.port_id, security_groups=[friends["id"]])
    for address in addresses:
        eventually(lambda: bob.connects(address, 7) == "ok", "a member to be let in again", 60)  # noqa: B023
    for server in servers:
        server.stop()
    for guest in (ann, bob):
        pair.api.change("port", guest.port_id, security_groups=[town.groups["echo"]["id"]])
    eventually(lambda: ping_both(ann, town, "bob") and ping_both(bob, town, "ann"), "the two to be as before", 60)


# Kinds of subnets


def test_several_subnets_routes_and_addresses_of_their_own(town: Town) -> None:
    """Eve has addresses of three subnets: two for IPv4, one for which she makes the address herself."""
    pair = town.pair
    route = {"destination": "198.51.100.0/24", "nexthop": "10.73.0.9"}
    town.networks["gamma"] = pair.make_network(
        "gamma", pair.control,
        {"cidr": "10.73.0.0/25", "ip_version": 4, "gateway_ip": "10.73.0.1", "host_routes": [route],
         "dns_nameservers": ["192.0.2.1", "192.0.2.2"]},
        {"cidr": "10.73.1.0/24", "ip_version": 4, "gateway_ip": None},
        {"cidr": "fd73::/64", "ip_version": 6, "ipv6_ra_mode": "slaac", "ipv6_address_mode": "slaac",
         "gateway_ip": None},
    )  # fmt: skip
    subnets = {item["cidr"]: item["id"] for item in pair.api.list("subnets", network_id=town.networks["gamma"]["id"])}
    eve = town.settle("eve", pair.second, "gamma", fixed_ips=[{"subnet_id": subnets["10.73.0.0/25"]}])
    lease = eve.boot()
    assert (lease["address"], lease["prefix"], lease["dns"]) == (town.address("eve"), 25, ["192.0.2.1", "192.0.2.2"])
    assert [route["destination"], route["nexthop"]] in lease["routes"]
    assert ["0.0.0.0/0", "10.73.0.1"] in lease["routes"]
    said = eve.boot6()
    assert [(item["address"], item["by"]) for item in said["addresses"]] == [(town.address("eve", 6), "slaac")]
    assert (said["router"]["managed"], said["router"]["other"], said["router"]["lifetime"]) == (False, False, 0)
    fay = town.settle("fay", pair.control, "gamma", fixed_ips=[{"subnet_id": subnets["10.73.1.0/24"]}])
    assert fay.boot()["address"] == town.address("fay")
    fay.boot6()
    pair.api.change("port", eve.port_id, security_groups=[town.groups["echo"]["id"]])
    pair.api.change("port", fay.port_id, security_groups=[town.groups["echo"]["id"]])
    assert eventually(lambda: fay.reaches(town.address("eve", 6)), "eve to be reached", 60)


def test_a_guest_that_makes_its_address_asks_for_the_rest(town: Town) -> None:
    pair = town.pair
    town.networks["delta"] = pair.make_network(
        "delta", pair.second,
        {"cidr": "fd74::/64", "ip_version": 6, "ipv6_ra_mode": "dhcpv6-stateless", "gateway_ip": None,
         "ipv6_address_mode": "dhcpv6-stateless", "dns_nameservers": ["2001:db8::53"]},
    )  # fmt: skip
    gus = town.settle("gus", pair.second, "delta")
    said = gus.boot6()
    assert [(item["address"], item["by"]) for item in said["addresses"]] == [(town.address("gus", 6), "slaac")]
    assert (said["router"]["managed"], said["router"]["other"]) == (False, True)
    assert (said["dhcp"]["dns"], said["sent"]) == (["2001:db8::53"], ["INFORMATION-REQUEST"])


def test_a_deleted_port_leaves_no_lease(town: Town) -> None:
    site, network = town.pair.control, town.networks["gamma"]["id"]
    leases = site.layout.data("neutron-dhcp-agent") / "dhcp" / network / "leases"
    assert town.address("fay") in leases.read_text()
    gone = town.address("fay")
    town.leave("fay")
    eventually(lambda: gone not in leases.read_text(), "the lease to be released", 60)
    for name, network_name in (("eve", "gamma"), ("gus", "delta")):
        town.leave(name)
        for port in town.pair.find_dhcp_ports(town.networks[network_name]):
            town.pair.api.delete("port", port["id"])
        town.pair.api.delete("network", town.networks.pop(network_name)["id"])


# Bad luck


def stale_flows_removed(site: PairedSite) -> int:
    """Return how often a host's switch agent has removed the flows of the agent before it."""
    said = site.layout.log("neutron-ovs-agent").read_text()
    return said.count(f"Cleaning stale {site.layout.interface('tun')} flows")


def test_killed_agents_come_back_and_no_packet_is_lost(town: Town, tmp_path: Path) -> None:
    sites = (town.pair.control, town.pair.second)
    removed = {site.host.name: stale_flows_removed(site) for site in sites}
    traffic = start_traffic(town, tmp_path)
    before = {
        (site.host.name, service): (site, site.kill(service))
        for site in sites
        for service in AGENTS.values()
    }
    for (name, service), (site, pid) in before.items():
        eventually(partial(site.is_back, service, pid), f"{service} of {name} to come back", 60)
    # The switch agent removes what its predecessor left when something is changed for the first time.
    town.pair.allow(town.groups["echo"], ethertype="IPv4", protocol="udp")
    for site in sites:
        eventually(lambda: stale_flows_removed(site) > removed[site.host.name], "old flows to go", 60)  # noqa: B023
    # Not later: a new interface makes the switch forget its routes for a moment (docs/performance.md).
    assert traffic.stop() == []
    # They work again when a new port is served.
    ida = town.settle("ida", town.pair.second, "alpha")
    assert ida.boot()["address"] == town.address("ida")
    eventually(lambda: ida.asks_metadata("/")["status"] == 200, "metadata", 60)
    town.leave("ida")


@pytest.mark.parametrize("program", ["dnsmasq", "haproxy"])
def test_a_killed_server_of_a_network_comes_back(town: Town, program: str) -> None:
    site, network = town.pair.second, town.networks["alpha"]["id"]
    before = site.find_processes(f"{program}.*{network}")
    assert before
    site.inside("kill", "-9", *map(str, before))

    def is_back() -> bool:
        now = site.find_processes(f"{program}.*{network}")
        return bool(now) and not set(now) & set(before)

    eventually(is_back, f"{program} to come back", 90)
    serves_again(town)


def test_an_interface_that_is_destroyed_by_hand_is_made_again(town: Town) -> None:
    site, device = town.pair.second, dhcp_device(town)
    near = next(name for name in site.inside("ovs-vsctl", f"--db={site.host.database}", "list-ports",
                                             site.host.bridge).split() if device[3:] in name)  # fmt: skip
    site.inside("ifconfig", near, "destroy")
    eventually(lambda: site.host.has_interface(near), "the interface to be made again", 90)
    serves_again(town)


def test_a_jail_that_is_removed_by_hand_is_made_again(town: Town) -> None:
    site, jail = town.pair.second, f"qdhcp-{town.networks['alpha']['id']}"
    number = site.inside("jls", "-j", jail, "jid").strip()
    site.inside("jail", "-R", jail)
    eventually(lambda: jail in site.jails() and site.inside("jls", "-j", jail, "jid").strip() != number,
               "the jail to be made again", 90)  # fmt: skip
    serves_again(town)


def test_a_port_that_is_deleted_by_hand_is_made_again(town: Town) -> None:
    site = town.pair.second
    near = next(
        name for name in site.host.vsctl("list-ports", site.host.bridge).split() if dhcp_device(town)[3:] in name
    )
    site.host.vsctl("del-port", near)
    eventually(lambda: near in site.host.vsctl("list-ports", site.host.bridge).split(), "the port to be made again", 90)
    serves_again(town)


def test_a_killed_switch_comes_back_with_everything(town: Town) -> None:
    ann = town.guests["ann"]
    for site in (town.pair.control, town.pair.second):
        before = site.kill("ovs-vswitchd")
        eventually(lambda: site.is_back("ovs-vswitchd", before), "the switch to come back", 60)  # noqa: B023
    eventually(lambda: ping_both(ann, town, "bob"), "the guests to reach each other", 120)
    serves_again(town)


def test_a_broker_that_is_away_for_a_while_is_found_again(town: Town, tmp_path: Path) -> None:
    traffic = start_traffic(town, tmp_path)
    before = town.pair.control.kill("rabbitmq")
    eventually(lambda: town.pair.control.is_back("rabbitmq", before), "the broker to come back", 90)
    since = time.time()
    for site in (town.pair.control, town.pair.second):
        for binary in AGENTS:
            eventually(lambda: reported_since(town, binary, site, since), f"{binary} to report", 120)  # noqa: B023
    assert traffic.stop() == []
    town.settle("joe", town.pair.second, "alpha")
    assert town.guests["joe"].boot()["address"] == town.address("joe")
    town.leave("joe")


def test_a_second_switch_agent_by_mistake_does_no_harm(town: Town, tmp_path: Path) -> None:
    site = town.pair.control
    service = "neutron-ovs-agent"
    pid = int(site.services()[service]["pid"])
    traffic = start_traffic(town, tmp_path)
    environment = {
        "PATH": f"{site.layout.venv}/bin:{PATH}", "PYTHONPATH": site.layout.code, "HOME": site.layout.run(service),
        "OVS_RUNDIR": site.layout.run("openvswitch"), "BEASTACK_ROOT": site.root,
    }  # fmt: skip
    second = site.host.start_inside(
        site.layout.user(service), "env", *(f"{name}={value}" for name, value in environment.items()),
        str(site.layout.python), "-c", SWITCH_AGENT, "--config-file", str(site.layout.etc(service) / "neutron.conf"),
    )  # fmt: skip
    _, complaint = second.communicate(timeout=60)
    assert second.returncode != 0 and "another openvswitch agent runs" in complaint, complaint
    assert traffic.stop() == []
    town.settle("kim", site, "alpha")
    assert town.guests["kim"].boot()["address"] == town.address("kim")
    town.leave("kim")
    assert int(site.services()[service]["pid"]) == pid


# The end


def test_nothing_is_left_of_what_is_deleted(town: Town) -> None:
    pair = town.pair
    macs = [guest.mac for guest in town.guests.values()]
    for name in list(town.guests):
        town.leave(name)
    for name in list(town.networks):
        for port in pair.find_dhcp_ports(town.networks[name]):
            pair.api.delete("port", port["id"])
        pair.api.delete("network", town.networks[name]["id"])
    for site in (pair.control, pair.second):
        for number in (network["id"] for network in town.networks.values()):
            eventually(lambda: f"qdhcp-{number}" not in site.jails(), "the jail to go", 60)  # noqa: B023
            eventually(lambda: not site.find_processes(f"(dnsmasq|haproxy).*{number}"), "its programs to go", 60)  # noqa: B023
        ports = site.host.vsctl("list-ports", site.host.bridge).split()
        names = site.inside("ifconfig", "-l").split()
        kept = {f"tap{port['id'][:11]}" for port in pair.api.list("ports")}
        assert [name for name in (*ports, *names) if name.startswith(("tap", "ns-")) and name not in kept] == []
        flows = site.inside("ovs-ofctl", "dump-flows", f"unix:{site.layout.run('openvswitch')}/{site.host.bridge}.mgmt")
        assert [mac for mac in macs if mac in flows] == []


def test_nothing_touched_what_only_linux_has(town: Town) -> None:
    for site in (town.pair.control, town.pair.second):
        listing = json.loads(site.host.simulator("status", "--name", site.host.name, "--linuxisms", "--json").stdout)
        assert listing["hosts"][0]["linuxisms"] == []


def test_destroy_leaves_nothing(town: Town) -> None:
    for site in (town.pair.second, town.pair.control):
        site.run("destroy", "--yes")
        assert not (site.root / "site.json").exists()
        ours = [*links(), *namespaces(), *user_names()]
        assert [
            name for name in ours if name.startswith((site.layout.prefix, "qdhcp-")) and name not in site.namespaces
        ] == []
