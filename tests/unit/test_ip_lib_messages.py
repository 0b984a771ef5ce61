"""N3: interfaces and addresses as netlink messages."""

from __future__ import annotations

from typing import Any

import pytest

from beastack.freebsd.interface import parse_interfaces
from beastack.port.neutron import ip_lib_messages as messages
from ip_lib_host import JAIL, LOOPBACK, PORT

LO, TAP = parse_interfaces(LOOPBACK + PORT)


def block(name: str, *lines: str, flags: str = "8843<UP,BROADCAST,RUNNING,SIMPLEX,MULTICAST>") -> str:
    return "".join([f"{name}: flags={flags} metric 0 mtu 1500\n", *(f"\t{line}\n" for line in lines)])


def attributes(message: dict[str, Any]) -> dict[str, Any]:
    return dict(message["attrs"])


def test_the_loopback_interface_is_lo_and_of_no_kind() -> None:
    message = messages.build_link(LO, [LO])
    found = attributes(message)
    assert (found["IFLA_IFNAME"], found["IFLA_OPERSTATE"], found["IFLA_MTU"]) == ("lo", "UP", 16384)
    assert found["IFLA_ADDRESS"] == "00:00:00:00:00:00"
    assert "IFLA_LINKINFO" not in found
    assert (message["index"], message["state"], message["ifi_type"]) == (4, "up", 772)
    assert message["flags"] & 0x9 == 0x9


def test_a_half_of_an_epair_is_a_veth() -> None:
    found = attributes(messages.build_link(TAP, [TAP]))
    assert found["IFLA_ADDRESS"] == "fa:16:3e:00:00:01"
    assert found["IFLA_BROADCAST"] == "ff:ff:ff:ff:ff:ff"
    assert found["IFLA_LINKINFO"] == {"attrs": [["IFLA_INFO_KIND", "veth"]]}
    assert "IFLA_LINK" not in found  # the other half is elsewhere
    assert "IFLA_IFALIAS" not in found  # the description is ours
    assert messages.read_destination(TAP) == JAIL


def test_both_halves_of_an_epair_name_each_other() -> None:
    first, second = parse_interfaces(
        block("one", "inet6 fe80::1%one prefixlen 64 scopeid 0x8", "drivername: epair3a")
        + block("two", "inet6 fe80::1%two prefixlen 64 scopeid 0x9", "drivername: epair3b")
    )
    assert attributes(messages.build_link(first, [first, second]))["IFLA_LINK"] == 9
    assert attributes(messages.build_link(second, [first, second]))["IFLA_LINK"] == 8


def test_a_vlan_tells_its_tag_and_parent() -> None:
    parent, vlan = parse_interfaces(
        block("p", "inet6 fe80::1%p prefixlen 64 scopeid 0x8", "drivername: tap1")
        + block("v", "vlan: 100 vlanproto: 802.1q vlanpcp: 0 parent interface: p", "drivername: vlan0")
    )
    found = attributes(messages.build_link(vlan, [parent, vlan]))
    assert found["IFLA_LINK"] == 8
    assert dict(found["IFLA_LINKINFO"]["attrs"])["IFLA_INFO_DATA"] == {"attrs": [["IFLA_VLAN_ID", 100]]}


def test_a_vxlan_tells_its_number_and_group() -> None:
    (found,) = parse_interfaces(
        block("x", "vxlan vni 9999 local [fd00::1]:4789 group [ff00::1]:4789", "drivername: vxlan0")
    )
    information = dict(attributes(messages.build_link(found, [found]))["IFLA_LINKINFO"]["attrs"])
    assert information["IFLA_INFO_KIND"] == "vxlan"
    assert dict(information["IFLA_INFO_DATA"]["attrs"]) == {
        "IFLA_VXLAN_ID": 9999, "IFLA_VXLAN_GROUP6": "ff00::1", "IFLA_VXLAN_LOCAL6": "fd00::1",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "kind", "state"),
    [
        (block("t", "groups: tap", "status: no carrier", "drivername: tap4"), "tun", "DOWN"),
        (block("t", "groups: tap dummy", "status: active", "drivername: tap4"), "dummy", "UP"),
        (block("em0", "status: active"), None, "UP"),
        (block("e", "drivername: epair0", flags="8842<BROADCAST,RUNNING,SIMPLEX,MULTICAST>"), "veth", "DOWN"),
    ],
)
def test_kinds_and_states(text: str, kind: str | None, state: str) -> None:
    (found,) = parse_interfaces(text)
    assert (messages.find_kind(found), messages.find_state(found)) == (kind, state)


def test_addresses() -> None:
    built = [messages.build_address(TAP, each) for each in TAP.addresses]
    first = built[0]
    assert attributes(first) == {
        "IFA_ADDRESS": "10.0.0.2", "IFA_LOCAL": "10.0.0.2", "IFA_BROADCAST": "10.0.0.255",
        "IFA_LABEL": "tap12345678-9a", "IFA_FLAGS": messages.IFA_F_PERMANENT,
    }  # fmt: skip
    assert (first["prefixlen"], first["scope"], first["family"]) == (24, 0, messages.FAMILIES[4])
    assert attributes(built[2])["IFA_FLAGS"] == messages.IFA_F_PERMANENT | messages.IFA_F_TENTATIVE
    failed = messages.IFA_F_PERMANENT | messages.IFA_F_TENTATIVE | messages.IFA_F_DADFAILED
    assert attributes(built[3])["IFA_FLAGS"] == failed
    assert attributes(built[4])["IFA_FLAGS"] == 0  # a router's advertisement brought it


def test_scopes() -> None:
    built = [messages.build_address(LO, each) for each in LO.addresses]
    assert [message["scope"] for message in built] == [254, 254, 253]
    assert attributes(built[0])["IFA_LABEL"] == "lo"


@pytest.mark.parametrize(
    ("filters", "fits"),
    [
        ({}, True),
        ({"address": "10.0.0.2"}, True),
        ({"address": "10.0.0.2", "mask": 24, "scope": 0, "label": None}, True),
        ({"address": "10.0.0.2", "mask": 25}, False),
        ({"broadcast": "10.0.0.255"}, True),
        ({"family": messages.FAMILIES[6]}, False),
    ],
)
def test_filters(filters: dict[str, Any], fits: bool) -> None:
    assert messages.match_address(messages.build_address(TAP, TAP.addresses[0]), filters) is fits


def test_an_unknown_filter_is_refused() -> None:
    with pytest.raises(ValueError, match="by 'colour'"):
        messages.match_address(messages.build_address(TAP, TAP.addresses[0]), {"colour": 1})


def test_names() -> None:
    assert [messages.host_name(name) for name in ("lo", "tap0")] == ["lo0", "tap0"]
    assert [messages.agent_name(name) for name in ("lo0", "lo1")] == ["lo", "lo1"]
