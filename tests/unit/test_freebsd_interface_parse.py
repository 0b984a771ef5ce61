"""What ifconfig prints, read: hosts of 14 and 15, jails, and every kind of interface."""

from __future__ import annotations

import math
from ipaddress import ip_address, ip_interface

import pytest

from beastack.freebsd.interface import (
    Endpoint,
    Interface,
    Tunnel,
    Vlan,
    Vxlan,
    Words,
    find_epair_peer,
    parse_interfaces,
)
from beastack.freebsd.interface_parse import parse_address, parse_bridge_addresses, parse_names, parse_words
from fake_ifconfig import read_golden


def read_interfaces(name: str) -> dict[str, Interface]:
    return {each.name: each for each in parse_interfaces(read_golden(name))}


@pytest.fixture
def host14() -> dict[str, Interface]:
    return read_interfaces("host-14.txt")


@pytest.fixture
def host15() -> dict[str, Interface]:
    return read_interfaces("host-15.txt")


# A whole host.


def test_all_interfaces_are_read_in_the_order_of_the_kernel(host14: dict[str, Interface]) -> None:
    assert list(host14) == [
        *("em0", "lo0", "brq-public", "tapd3adbeef-01", "qg-9c1f-a", "qg-9c1f-b", "em0.100", "vxlan-108"),
    ]  # fmt: skip


@pytest.mark.parametrize("golden", ["host-14.txt", "host-15.txt", "host-cidr.txt", "jail-fresh.txt"])
def test_only_lines_of_a_driver_that_is_not_known_are_left_over(golden: str) -> None:
    left = {each.name: each.other for each in parse_interfaces(read_golden(golden)) if each.other}
    assert set(left) <= {"lagg0"}


def test_a_physical_interface(host14: dict[str, Interface]) -> None:
    em0 = host14["em0"]
    assert em0.flags.value == 0x1008943
    assert em0.flags.names == ("UP", "BROADCAST", "RUNNING", "PROMISC", "SIMPLEX", "MULTICAST", "LOWER_UP")
    assert em0.is_up and em0.is_running
    assert (em0.mtu, em0.metric, em0.index, em0.fib) == (1500, 0, 1, 0)
    assert em0.options == Words(0x4810098, ("VLAN_MTU", "VLAN_HWTAGGING", "VLAN_HWCSUM", "VLAN_HWFILTER", "NOMAP"))
    assert (em0.mac, em0.permanent_mac, em0.description) == ("58:9c:fc:00:12:34", None, None)
    assert em0.media == "Ethernet autoselect (1000baseT <full-duplex>)"
    assert em0.status == "active"
    assert em0.nd6_options == Words(0x23, ("PERFORMNUD", "ACCEPT_RTADV", "AUTO_LINKLOCAL"))
    assert (em0.driver_name, em0.kind, em0.groups, em0.opened_by) == ("em0", "em", (), ())


def test_addresses(host14: dict[str, Interface]) -> None:
    v4, carp, link_local, autoconf = host14["em0"].addresses
    assert v4.interface == ip_interface("192.0.2.10/24")
    assert (v4.version, v4.broadcast, v4.vhid) == (4, ip_address("192.0.2.255"), None)
    assert (carp.interface, carp.vhid) == (ip_interface("192.0.2.11/32"), 3)
    assert link_local.interface == ip_interface("fe80::5a9c:fcff:fe00:1234/64")
    assert (link_local.scope, link_local.scope_id, link_local.words) == ("em0", 1, ())
    assert (autoconf.words, autoconf.preferred_lifetime, autoconf.valid_lifetime) == (("autoconf",), 604800, 2592000)


def test_addresses_with_the_prefix_in_short_form() -> None:
    v4, far, link_local, v6 = read_interfaces("host-cidr.txt")["em0"].addresses
    assert (v4.interface, v4.broadcast) == (ip_interface("192.0.2.10/24"), ip_address("192.0.2.255"))
    assert (far.interface, far.destination) == (ip_interface("10.9.0.1/32"), ip_address("10.9.0.2"))
    assert (link_local.prefix_length, link_local.scope, link_local.scope_id) == (64, "em0", 1)
    assert (v6.words, v6.preferred_lifetime, v6.valid_lifetime) == (("tentative",), math.inf, math.inf)


@pytest.mark.parametrize(
    ("line", "prefix_length"),
    [
        ("inet 10.0.0.1 netmask 0xfffffe00 broadcast 10.0.1.255", 23),
        ("inet 10.0.0.1 netmask 255.255.255.252 broadcast 10.0.0.3", 30),
        ("inet 10.0.0.1/8 broadcast 10.255.255.255", 8),
        ("inet 10.0.0.1 netmask 0x0", 0),
        ("inet6 2001:db8::1 prefixlen 127 anycast detached", 127),
        ("inet6 2001:db8::1/56", 56),
        ("inet6 fe80::1%gif0 --> fe80::2%gif0 prefixlen 128 duplicated scopeid 0x1f", 128),
    ],
)
def test_a_prefix_in_each_of_its_forms(line: str, prefix_length: int) -> None:
    assert parse_address(line).prefix_length == prefix_length


def test_lifetimes_that_are_printed_with_a_number_after_infty() -> None:
    address = parse_address("inet6 2001:db8::1 prefixlen 64 pltime infty 4294967295 vltime infty 4294967295")
    assert (address.preferred_lifetime, address.valid_lifetime, address.words) == (math.inf, math.inf, ())


def test_a_fresh_jail() -> None:
    (lo0,) = parse_interfaces(read_golden("jail-fresh.txt"))
    assert (lo0.name, lo0.is_up, lo0.is_running, lo0.addresses, lo0.groups) == ("lo0", False, False, (), ("lo",))


def test_nothing_printed_is_no_interface() -> None:
    assert parse_interfaces("") == ()


def test_two_interfaces_of_one_name_are_both_there() -> None:
    assert [each.mac for each in parse_interfaces(read_golden("two-of-one-name.txt"))] == [
        "02:b5:4c:00:be:0b",
        "02:b5:4c:00:bf:0b",
    ]


# Taps and epairs.


def test_a_renamed_tap_that_a_guest_has_open(host14: dict[str, Interface]) -> None:
    tap = host14["tapd3adbeef-01"]
    assert tap.description == "guest 7, port: d3adbeef"
    assert (tap.mac, tap.permanent_mac) == ("fa:16:3e:01:02:03", "58:9c:fc:10:4f:2a")
    assert (tap.groups, tap.driver_name, tap.kind, tap.opened_by) == (("tap", "guests"), "tap0", "tap", (2451,))


def test_a_tap_that_is_not_open(host15: dict[str, Interface]) -> None:
    assert (host15["tap0"].opened_by, host15["tap0"].status, host15["tap0"].is_up) == ((), "no carrier", False)


def test_an_epair_that_is_down_is_running_all_the_same(host14: dict[str, Interface]) -> None:
    half = host14["qg-9c1f-a"]
    assert (half.is_up, half.is_running, half.status, half.kind) == (False, True, "active", "epair")
    assert host14["qg-9c1f-b"].fib == 2


def test_the_halves_of_a_renamed_epair_find_each_other(host14: dict[str, Interface]) -> None:
    everything = list(host14.values())
    first, second = host14["qg-9c1f-a"], host14["qg-9c1f-b"]
    assert find_epair_peer(first, everything) is second
    assert find_epair_peer(second, everything) is first
    assert find_epair_peer(host14["em0"], everything) is None


def test_an_epair_half_whose_peer_is_in_a_jail_has_none_here(host15: dict[str, Interface]) -> None:
    assert find_epair_peer(host15["epair0a"], list(host15.values())) is None


def test_halves_of_different_pairs_under_one_driver_name_are_not_guessed() -> None:
    halves = parse_interfaces(read_golden("two-of-one-name.txt"))
    assert find_epair_peer(halves[0], halves) is None
    lettered = parse_interfaces(
        read_golden("two-of-one-name.txt")
        .replace("drivername: epair0", "drivername: epair0b")
        .replace("epair0b:", "x:", 1)
    )
    assert find_epair_peer(lettered[0], lettered) is None


# Bridges.


def test_a_bridge_of_14(host14: dict[str, Interface]) -> None:
    bridge = host14["brq-public"].bridge
    assert bridge
    assert (bridge.id, bridge.priority, bridge.hello_time, bridge.forward_delay) == ("00:00:00:00:00:00", 32768, 2, 15)
    assert (bridge.max_age, bridge.hold_count, bridge.protocol) == (20, 6, "rstp")
    assert (bridge.max_addresses, bridge.timeout, bridge.flags, bridge.default_untagged) == (2000, 1200, None, None)
    first, second = bridge.members
    assert (first.name, first.max_addresses, first.port, first.path_cost) == ("qg-9c1f-a", 0, 6, 2000)
    assert first.flags == Words(0x943, ("LEARNING", "DISCOVER", "PRIVATE", "AUTOEDGE", "AUTOPTP"))
    assert (second.name, second.max_addresses, second.vlan_protocol) == ("tapd3adbeef-01", 10, None)


def test_a_bridge_of_15_with_spanning_tree_and_vlan_filter(host15: dict[str, Interface]) -> None:
    bridge = host15["bridge0"].bridge
    assert bridge
    assert (bridge.root_id, bridge.root_priority, bridge.root_cost) == ("02:00:00:00:00:01", 4096, 20000)
    assert (bridge.root_port, bridge.flags, bridge.default_untagged) == (7, Words(1, ("VLANFILTER",)), 1)
    root, tap = bridge.members
    assert (root.stp_protocol, root.stp_role, root.stp_state) == ("rstp", "root", "forwarding")
    assert (root.vlan_protocol, root.untagged, root.tagged) == ("802.1q", 10, frozenset())
    assert (tap.max_addresses, tap.port, tap.priority, tap.path_cost) == (5, 6, 64, 2000000)
    assert (tap.stp_role, tap.vlan_protocol, tap.untagged) == (None, "802.1ad", None)
    assert tap.tagged == {10, 20, 100, 101, 102, 103}


def test_a_bridge_without_members(host15: dict[str, Interface]) -> None:
    bridge = host15["bridge1"].bridge
    assert bridge and (bridge.members, bridge.flags, bridge.root_priority) == ((), Words(), 0)


def test_a_role_that_ifconfig_does_not_know() -> None:
    text = (
        read_golden("host-15.txt")
        .replace("role root", "<unknown role 9>")
        .replace("proto rstp\n", "<unknown proto 7>\n")
    )
    bridge = {each.name: each for each in parse_interfaces(text)}["bridge0"].bridge
    assert bridge and bridge.members[0].stp_role is None
    assert (bridge.members[0].stp_state, bridge.members[0].untagged) == ("forwarding", 10)


def test_the_address_table_of_a_bridge() -> None:
    learned, static = parse_bridge_addresses(read_golden("addr.txt"))
    assert (learned.mac, learned.vlan, learned.member, learned.expires) == ("58:9c:fc:10:d0:01", 1, "epair0a", 1187)
    assert (static.vlan, static.flags) == (100, Words(1, ("STATIC",)))
    assert parse_bridge_addresses("") == ()


# Other kinds.


def test_vlans(host14: dict[str, Interface], host15: dict[str, Interface]) -> None:
    assert host14["em0.100"].vlan == Vlan(100, "802.1q", 0, "em0")
    assert host14["em0.100"].kind == "vlan"
    assert host15["vlan0"].vlan == Vlan(0, "802.1q", 0, None)


def test_vxlans(host14: dict[str, Interface], host15: dict[str, Interface]) -> None:
    here = Endpoint(ip_address("192.0.2.10"), 4789)
    assert host14["vxlan-108"].vxlan == Vxlan(108, here, Endpoint(ip_address("192.0.2.20"), 4789), False)
    six = (Endpoint(ip_address("2001:db8::10"), 4789), Endpoint(ip_address("2001:db8::20"), 8472))
    assert host15["vxlan6"].vxlan == Vxlan(4096, *six, False)
    assert host15["vxlanm"].vxlan == Vxlan(77, here, Endpoint(ip_address("239.1.1.1"), 4789), True)


def test_a_tunnel(host15: dict[str, Interface]) -> None:
    gif = host15["gif0"]
    assert (gif.tunnel, gif.tunnel_fib, gif.mac) == (Tunnel("192.0.2.1", "192.0.2.2"), 1, None)
    v4, link_local, v6 = gif.addresses
    assert (v4.interface, v4.destination) == (ip_interface("10.9.0.1/32"), ip_address("10.9.0.2"))
    assert (link_local.words, gif.index) == (("tentative",), 9)
    assert (v6.destination, v6.words) == (ip_address("2001:db8:9::2"), ("deprecated",))


def test_what_is_not_known_is_kept(host15: dict[str, Interface]) -> None:
    lagg = host15["lagg0"]
    assert lagg.other == (
        "laggproto lacp lagghash l2,l3,l4",
        "laggport: em1 flags=1c<ACTIVE,COLLECTING,DISTRIBUTING>",
    )
    assert (lagg.pcp, lagg.mtu) == (3, 9000)


def test_options_that_a_driver_has_no_number_for() -> None:
    text = "mce0: flags=8802<BROADCAST,SIMPLEX,MULTICAST> metric 0 mtu 1500\n\toptions RXCSUM,TXCSUM\n"
    assert parse_interfaces(text)[0].options == Words(0, ("RXCSUM", "TXCSUM"))


def test_a_description_is_never_taken_for_another_line() -> None:
    text = read_golden("tap-closed.txt").replace(
        "\toptions", "\tdescription: inet 10.0.0.1: status: up=<UP>\n\toptions", 1
    )
    (tap,) = parse_interfaces(text)
    assert (tap.description, tap.addresses, tap.status) == ("inet 10.0.0.1: status: up=<UP>", (), "no carrier")


def test_names_and_words() -> None:
    assert parse_names(read_golden("names.txt")) == ("em0", "lo0", "brq-public", "tapd3adbeef-01")
    assert parse_names(read_golden("group-epair.txt")) == ("qg-9c1f-a", "qg-9c1f-b")
    assert parse_names("") == ()
    assert parse_words("0") == parse_words("0<>") == Words()
    assert "UP" in parse_words("1<UP>")
