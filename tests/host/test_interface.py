"""Interfaces: what the library makes and reads, against what ifconfig(8) prints, on the host and in a jail."""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Callable

import pytest

from beastack.freebsd import errors, interface
from beastack.freebsd.command import run
from beastack.freebsd.interface import MemberSettings, Settings
from conftest import eventually
from network_lab import RELEASE, Lab, as_nobody, new_name, print_interface, print_names, run_at, skip_if_not_simulated

NOWHERE = "btnowhere"
MAC = "02:b7:00:00:00:01"


def test_the_same_interfaces_are_listed(lab: Lab, place: str | None) -> None:
    lab.add_epair(place=place)
    lab.add_bridge(place=place)
    listed = interface.list_interfaces(place)
    assert [each.name for each in listed] == print_names(place) == list(interface.list_names(place))
    printed = run_at(place, "ifconfig", "-a")
    headers = re.findall(r"^(\S+): flags=([0-9a-f]+)<(\S*)> metric (\d+) mtu (\d+)$", printed, re.MULTILINE)
    assert [(each.name, each.flags.value, ",".join(each.flags.names), each.metric, each.mtu) for each in listed] == [
        (name, int(flags, 16), words, int(metric), int(mtu)) for name, flags, words, metric, mtu in headers
    ]
    assert interface.parse_interfaces(run_at(place, "ifconfig", "-D", "-a")) == tuple(
        each if place else interface.parse_interfaces(print_interface(each.name))[0] for each in listed
    )
    for each in listed:
        assert interface.read_interface(each.name, place) == each


def test_groups_list_their_members(lab: Lab, place: str | None) -> None:
    one, other = lab.add_epair(place=place)
    assert {one, other} <= set(interface.list_names(place, group="epair"))
    assert set(interface.list_names(place, group="epair")) == set(run_at(place, "ifconfig", "-g", "epair").split())
    interface.change_interface(one, Settings(groups_add=["btblue", "btred"]), jail=place)
    assert interface.list_names(place, group="btblue") == (one,)
    interface.change_interface(one, Settings(groups_remove=["btred"]), jail=place)
    assert interface.list_names(place, group="btred") == ()
    assert set(interface.read_interface(one, place).groups) == {"epair", "btblue"}
    assert interface.list_names(place, group="btnobody") == ()


def test_a_fresh_epair(lab: Lab, place: str | None) -> None:
    one, other = lab.add_epair(place=place)
    first, second = (interface.read_interface(name, place) for name in (one, other))
    for each in (first, second):
        printed = print_interface(each.name, place)
        assert f"\tether {each.mac}\n" in printed
        assert not each.is_up and each.is_running
        assert each.kind == "epair" and "epair" in each.groups and each.status == "active"
        assert each.addresses == () and each.description is None and each.bridge is None
        assert each.driver_name and f"drivername: {each.driver_name}\n" in printed
        if place is None:
            assert each.index
    assert first.mac != second.mac
    listed = interface.list_interfaces(place)
    found = interface.find_epair_peer(first, listed)
    assert found is not None and found.name == other
    back = interface.find_epair_peer(found, listed)
    assert back is not None and back.name == one
    assert interface.find_epair_peer(next(each for each in listed if each.name == "lo0"), listed) is None


def test_names_that_are_not_there(place: str | None) -> None:
    assert interface.find_interface(NOWHERE, place) is None
    with pytest.raises(errors.InterfaceNotFound):
        interface.read_interface(NOWHERE, place)
    changes: tuple[Callable[[], object], ...] = (
        lambda: interface.set_up(NOWHERE, jail=place),
        lambda: interface.set_down(NOWHERE, jail=place),
        lambda: interface.change_interface(NOWHERE, Settings(mtu=1400), jail=place),
        lambda: interface.rename_interface(NOWHERE, "btelse", jail=place),
        lambda: interface.add_address(NOWHERE, "192.0.2.1/24", jail=place),
        lambda: interface.remove_address(NOWHERE, "192.0.2.1/24", jail=place),
        lambda: interface.destroy_interface(NOWHERE, jail=place),
        lambda: interface.add_member(NOWHERE, "lo0", jail=place),
        lambda: interface.list_bridge_addresses(NOWHERE, place),
    )
    for change in changes:
        with pytest.raises(errors.InterfaceNotFound):
            change()
    interface.destroy_interface(NOWHERE, jail=place, missing_ok=True)


def test_a_jail_that_is_not_there() -> None:
    for call in (
        lambda: interface.list_interfaces("btnojail"),
        lambda: interface.list_names("99999"),
        lambda: interface.create_tap("bttap", jail="btnojail"),
        lambda: interface.return_from_jail("bttap", "btnojail"),
    ):
        with pytest.raises(errors.JailNotFound):
            call()


def test_one_batch_of_settings(lab: Lab, place: str | None) -> None:
    one, _ = lab.add_epair(place=place)
    born = interface.read_interface(one, place)
    wanted = Settings(
        up=True, mtu=1400, mac=MAC, description="what it is for, in words", groups_add=["btset"], fib=0,
        words=["-txcsum", "-txcsum6", "promisc", "link0"],
    )  # fmt: skip
    interface.change_interface(one, wanted, jail=place)
    found = interface.read_interface(one, place)
    printed = print_interface(one, place)
    assert found.is_up and found.mtu == 1400 and found.mac == MAC and "btset" in found.groups
    assert found.permanent_mac in (None, born.mac)
    assert found.description == "what it is for, in words"
    assert {"PROMISC", "LINK0"} <= set(found.flags.names)
    assert not {"TXCSUM", "TXCSUM_IPV6"} & set(found.options.names)
    assert f"\tether {MAC}\n" in printed and "mtu 1400\n" in printed
    assert "\tdescription: what it is for, in words\n" in printed
    interface.change_interface(one, Settings(up=False, description="", words=["-promisc", "-link0"]), jail=place)
    found = interface.read_interface(one, place)
    assert not found.is_up and found.description is None and not {"PROMISC", "LINK0"} & set(found.flags.names)
    assert "description" not in print_interface(one, place)
    interface.change_interface(one, Settings(mac="random"), jail=place)
    assert interface.read_interface(one, place).mac not in (MAC, born.mac)


def test_state(lab: Lab, place: str | None) -> None:
    one, other = lab.add_epair(place=place)
    interface.set_up(one, jail=place)
    assert "<UP," in print_interface(one, place) and "<UP," not in print_interface(other, place)
    interface.set_down(one, jail=place)
    assert "<UP," not in print_interface(one, place)
    assert not interface.read_interface(one, place).is_up


def test_words_for_ipv6(lab: Lab, place: str | None) -> None:
    one, _ = lab.add_epair(place=place)
    interface.change_interface(one, Settings(inet6_words=["-ifdisabled", "auto_linklocal", "no_dad"]), jail=place)
    found = interface.read_interface(one, place)
    assert found.nd6_options is not None
    assert "IFDISABLED" not in found.nd6_options and {"AUTO_LINKLOCAL", "NO_DAD"} <= set(found.nd6_options.names)
    assert f"nd6 options={found.nd6_options.value:x}<" in print_interface(one, place)
    interface.set_up(one, jail=place)
    local = eventually(
        lambda: [each for each in interface.read_interface(one, place).addresses if each.address.is_link_local],
        "a link-local address",
        limit=10,
    )
    assert local[0].scope == one and local[0].prefix_length == 64
    assert f"inet6 {local[0].address}%{one} prefixlen 64" in print_interface(one, place)
    index = interface.read_interface(one, place).index
    assert index is not None and local[0].scope_id == index
    interface.change_interface(one, Settings(inet6_words=["ifdisabled"]), jail=place)
    disabled = interface.read_interface(one, place).nd6_options
    assert disabled is not None and "IFDISABLED" in disabled


def test_values_that_the_host_refuses(lab: Lab, place: str | None) -> None:
    one, _ = lab.add_epair(place=place)
    for settings in (
        Settings(mtu=10),
        Settings(groups_add=["btgroup9"]),
        Settings(fib=65000),
    ):
        with pytest.raises(errors.InvalidArgument):
            interface.change_interface(one, settings, jail=place)
    for settings in (
        Settings(words=["uppp"]),
        Settings(mac="02:00"),
        Settings(description="two\nlines"),
        Settings(mac=MAC, address="192.0.2.1/24"),
    ):
        with pytest.raises(ValueError):
            interface.change_interface(one, settings, jail=place)
    assert interface.read_interface(one, place).mtu == 1500


def test_addresses(lab: Lab, place: str | None) -> None:
    one, other = lab.add_epair(place=place)
    interface.add_address(one, "192.0.2.1/24", jail=place)
    interface.add_address(one, "192.0.2.129/25", jail=place, broadcast="192.0.2.254")
    interface.change_interface(
        one, Settings(address="2001:db8:1::1/64", inet6_words=["no_dad", "-ifdisabled"]), jail=place
    )
    interface.add_address(one, "2001:db8:1::2/64", jail=place, words=["no_dad", "anycast"])
    found = {str(each.interface): each for each in interface.read_interface(one, place).addresses}
    assert set(found) - {name for name in found if name.startswith("fe80")} == {
        "192.0.2.1/24", "192.0.2.129/25", "2001:db8:1::1/64", "2001:db8:1::2/64",
    }  # fmt: skip
    assert found["192.0.2.1/24"].broadcast == ipaddress.IPv4Address("192.0.2.255")
    assert found["192.0.2.129/25"].broadcast == ipaddress.IPv4Address("192.0.2.254")
    assert "anycast" in found["2001:db8:1::2/64"].words and found["2001:db8:1::1/64"].version == 6
    printed = print_interface(one, place)
    assert "\tinet 192.0.2.1 netmask 0xffffff00 broadcast 192.0.2.255\n" in printed
    assert "\tinet 192.0.2.129 netmask 0xffffff80 broadcast 192.0.2.254\n" in printed
    assert "\tinet6 2001:db8:1::1 prefixlen 64" in printed
    cidr = run_at(place, "ifconfig", "-f", "inet:cidr,inet6:cidr", one)
    assert interface.parse_interfaces(cidr)[0].addresses == interface.read_interface(one, place).addresses
    interface.add_address(one, "192.0.2.1/24", jail=place)  # again: it is replaced
    with pytest.raises(errors.AddressExists):
        interface.add_address(other, "192.0.2.2/24", jail=place)
    for address in ("192.0.2.1/24", "192.0.2.129/25", "2001:db8:1::1/64", "2001:db8:1::2/64"):
        interface.remove_address(one, address, jail=place)
        with pytest.raises(errors.AddressNotFound):
            interface.remove_address(one, address, jail=place)
    assert not re.search(r"inet |2001:", print_interface(one, place))


def test_address_values(lab: Lab) -> None:
    one, _ = lab.add_epair()
    calls: tuple[Callable[[], None], ...] = (
        lambda: interface.add_address(one, "192.0.2.1/33"),
        lambda: interface.add_address(one, "2001:db8::1/64", broadcast="192.0.2.1"),
        lambda: interface.add_address(one, "192.0.2.1/24", words=["no_dad"]),
        lambda: interface.add_address(one, "2001:db8::1/64", words=["nothing"]),
    )
    for call in calls:
        with pytest.raises(ValueError):
            call()


def test_renaming(lab: Lab, place: str | None) -> None:
    one, other = lab.add_epair(place=place)
    new = lab.track(new_name("new-"), place)
    unit = interface.read_interface(one, place).driver_name
    interface.rename_interface(one, new, jail=place)
    assert new in print_names(place) and one not in print_names(place)
    found = interface.read_interface(new, place)
    assert found.driver_name == unit and "epair" in found.groups and found.kind == "epair"
    interface.rename_interface(new, new, jail=place)
    with pytest.raises(errors.InterfaceExists):
        interface.rename_interface(new, other, jail=place)
    for wrong in ("sixteen-bytes-xx", "", "two words", "tap", "a/b", "-x"):
        with pytest.raises(ValueError):
            interface.rename_interface(new, wrong, jail=place)
    longest = lab.track("bt" + "x" * (interface.NAME_LIMIT - 2), place)
    interface.rename_interface(new, interface.check_new_name(longest), jail=place)
    assert interface.check_name(longest) in print_names(place)


@pytest.mark.parametrize("kind", ["tap", "bridge", "lo"])
def test_making_and_destroying(lab: Lab, place: str | None, kind: str) -> None:
    makers: dict[str, Callable[..., None]] = {
        "tap": interface.create_tap, "bridge": interface.create_bridge, "lo": interface.create_loopback,
    }  # fmt: skip
    make = makers[kind]
    name = lab.track(new_name(kind), place)
    make(name, Settings(up=True, description="made"), jail=place)
    found = interface.read_interface(name, place)
    assert found.is_up and found.description == "made" and found.kind == kind and kind in found.groups
    before = print_names(place)
    with pytest.raises(errors.InterfaceExists):
        make(name, jail=place)
    assert print_names(place) == before
    with pytest.raises(ValueError):
        make(new_name(kind), Settings(address="192.0.2.1/24"), jail=place)
    interface.destroy_interface(name, jail=place)
    assert name not in print_names(place)
    make(name, jail=place)
    again = interface.read_interface(name, place)
    assert again.description is None and again.driver_name == found.driver_name


def test_a_mac_from_the_start(lab: Lab, place: str | None) -> None:
    name = lab.add_tap(Settings(mac=MAC, description="with a MAC"), place=place)
    assert f"\tether {MAC}\n" in print_interface(name, place)
    one, other = lab.add_epair(Settings(mac="02:b7:00:00:00:0a"), Settings(mac="02:b7:00:00:00:0b"), place=place)
    assert interface.read_interface(one, place).mac == "02:b7:00:00:00:0a"
    assert interface.read_interface(other, place).mac == "02:b7:00:00:00:0b"


def test_what_a_jail_must_not_lose(lab: Lab) -> None:
    place = lab.add_jail()
    with pytest.raises(errors.InvalidArgument):
        interface.destroy_interface("lo0", jail=place)
    assert print_names(place) == ["lo0"]


def test_an_epair_goes_as_a_whole(lab: Lab) -> None:
    place = lab.add_jail()
    one, other = lab.add_epair()
    with pytest.raises(ValueError):
        interface.create_epair("btsame", "btsame")
    with pytest.raises(errors.InterfaceExists):
        interface.create_epair(one, new_name("ep"))
    with pytest.raises(errors.InterfaceExists):
        interface.create_epair(new_name("ep"), other)
    assert set(interface.list_names(group="epair")) >= {one, other}
    interface.move_to_jail(other, place)
    interface.destroy_interface(one)
    assert print_names(place) == ["lo0"] and one not in print_names()


def test_what_a_crash_leaves_is_found(lab: Lab, place: str | None) -> None:
    wanted = new_name("crash")
    left = lab.track(run_at(place, "ifconfig", "tap", "create", "descr", f"beastack is making {wanted}").strip(), place)
    found = interface.find_unfinished(interface.list_interfaces(place))
    assert [each.name for each in found] == [left]
    assert interface.remove_unfinished({"btanother"}, jail=place) == ()
    assert interface.remove_unfinished({wanted}, jail=place) == (left,)
    assert left not in print_names(place)


def test_half_an_epair_is_made_anew(lab: Lab, place: str | None) -> None:
    one, other = new_name("half"), new_name("half")
    first = run_at(place, "ifconfig", "epair", "create", "descr", f"beastack is making {one} and {other}").strip()
    run_at(place, "ifconfig", f"{first[:-1]}b", "name", other)
    lab.track(first, place)
    pair = interface.create_epair(lab.track(one, place), lab.track(other, place), jail=place)
    assert (pair.name, pair.peer) == (one, other) and re.fullmatch(r"epair\d+", pair.pair)
    assert {one, other} <= set(print_names(place))
    assert interface.remove_unfinished(jail=place) == ()


def test_vlans(lab: Lab, place: str | None) -> None:
    one, _ = lab.add_epair(place=place)
    name = lab.track(new_name("vlan"), place)
    interface.create_vlan(name, one, 100, Settings(up=True), jail=place)
    found = interface.read_interface(name, place).vlan
    assert found is not None and (found.tag, found.protocol, found.parent) == (100, "802.1q", one)
    assert f"\tvlan: 100 vlanproto: 802.1q vlanpcp: 0 parent interface: {one}\n" in print_interface(name, place)
    assert interface.read_interface(name, place).kind == "vlan"
    outer = lab.track(new_name("vlan"), place)
    interface.create_vlan(outer, one, 200, protocol="802.1ad", jail=place)
    found = interface.read_interface(outer, place).vlan
    assert found is not None and (found.tag, found.protocol) == (200, "802.1ad")
    before = print_names(place)
    with pytest.raises(errors.InterfaceNotFound):
        interface.create_vlan(new_name("vlan"), NOWHERE, 100, jail=place)
    with pytest.raises(errors.InvalidArgument):
        interface.create_vlan(new_name("vlan"), one, 5000, jail=place)
    assert print_names(place) == before


def test_vxlans(lab: Lab) -> None:
    place = lab.add_jail()
    lab.connect((place, "192.0.2.1/24"), (None, None))
    name = lab.track(new_name("vx"), place)
    interface.create_vxlan(
        name, 108, Settings(up=True), local="192.0.2.1", remote="192.0.2.2", local_port=4790, remote_port=4791,
        ttl=32, learn=False, jail=place,
    )  # fmt: skip
    found = interface.read_interface(name, place)
    assert found.vxlan is not None and found.is_running and found.kind == "vxlan" and not found.vxlan.multicast
    assert (found.vxlan.vni, str(found.vxlan.local), str(found.vxlan.remote)) == (
        108, str(interface.Endpoint(ipaddress.ip_address("192.0.2.1"), 4790)),
        str(interface.Endpoint(ipaddress.ip_address("192.0.2.2"), 4791)),
    )  # fmt: skip
    assert "\tvxlan vni 108 local 192.0.2.1:4790 remote 192.0.2.2:4791\n" in print_interface(name, place)
    second = lab.track(new_name("vx"), place)
    with pytest.raises(errors.InvalidArgument):
        interface.create_vxlan(
            second, 108, Settings(up=True), local="192.0.2.1", remote="192.0.2.3", local_port=4790, jail=place
        )
    assert second not in print_names(place)
    for remote, group, device in ((None, None, None), ("192.0.2.2", "239.1.1.1", "lo0"), (None, "239.1.1.1", None)):
        with pytest.raises(ValueError):
            interface.create_vxlan(
                second, 109, local="192.0.2.1", remote=remote, group=group, device=device, jail=place
            )


def test_a_vxlan_with_a_group(lab: Lab) -> None:
    place = lab.add_jail()
    one, _ = lab.connect((place, "192.0.2.1/24"), (None, None))
    name = lab.track(new_name("vx"), place)
    interface.create_vxlan(name, 110, local="192.0.2.1", group="239.1.1.1", device=one, jail=place)
    found = interface.read_interface(name, place).vxlan
    assert found is not None and found.multicast and found.remote is not None
    assert str(found.remote.address) == "239.1.1.1"
    assert "group 239.1.1.1:4789" in print_interface(name, place)


def test_a_bridge_and_its_members(lab: Lab, place: str | None) -> None:
    bridge = lab.add_bridge(place=place)
    one, other = lab.add_epair(place=place)
    interface.add_member(bridge, one, jail=place)
    interface.add_member(bridge, other, MemberSettings(private=True), jail=place)
    found = interface.read_interface(bridge, place).bridge
    assert found is not None and [member.name for member in found.members] == [other, one]
    assert "PRIVATE" in found.members[0].flags and {"LEARNING", "DISCOVER"} <= set(found.members[1].flags.names)
    assert re.findall(r"\tmember: (\S+) flags=", print_interface(bridge, place)) == [other, one]
    assert "PROMISC" in interface.read_interface(one, place).flags
    with pytest.raises(errors.MemberExists):
        interface.add_member(bridge, one, jail=place)
    second = lab.add_bridge(place=place)
    with pytest.raises(errors.InterfaceBusy):
        interface.add_member(second, one, jail=place)
    with pytest.raises(errors.InterfaceNotFound):
        interface.add_member(second, NOWHERE, jail=place)
    with pytest.raises(errors.MemberNotFound):
        interface.delete_member(second, one, jail=place)
    with pytest.raises(errors.MemberNotFound):
        interface.change_member(second, one, MemberSettings(private=True), jail=place)
    with pytest.raises(errors.InterfaceBusy):
        interface.change_interface(one, Settings(mtu=1400), jail=place)
    interface.change_interface(bridge, Settings(mtu=1400), jail=place)
    assert interface.read_interface(one, place).mtu == interface.read_interface(other, place).mtu == 1400
    interface.delete_member(bridge, other, jail=place)
    interface.add_member(second, other, jail=place)
    assert f"member: {other} " in print_interface(second, place)
    interface.destroy_interface(one, jail=place)
    for name in (bridge, second):
        left = interface.read_interface(name, place).bridge
        assert left is not None and left.members == ()


def test_a_bridge_and_its_members_have_one_mtu(lab: Lab, place: str | None) -> None:
    bridge = lab.add_bridge(Settings(up=True, mtu=1300), place=place)
    one, other = lab.add_epair(Settings(mtu=1400), Settings(mtu=1450), place=place)
    interface.add_member(bridge, one, jail=place)
    assert interface.read_interface(bridge, place).mtu == 1400  # the first member's; what was said before is lost
    interface.add_member(bridge, other, jail=place)
    assert "mtu 1400\n" in print_interface(other, place)
    interface.change_interface(bridge, Settings(mtu=1350), jail=place)
    assert [interface.read_interface(name, place).mtu for name in (bridge, one, other)] == [1350] * 3


def test_what_a_member_may_do(lab: Lab, place: str | None) -> None:
    bridge = lab.add_bridge(place=place)
    one, _ = lab.add_epair(place=place)
    interface.add_member(bridge, one, jail=place)
    interface.change_member(
        bridge, one,
        MemberSettings(
            private=True, discover=False, learn=False, sticky=True, edge=True, auto_edge=False, point_to_point=True,
            auto_point_to_point=False, max_addresses=7, path_cost=5555, priority=64,
        ),
        jail=place,
    )  # fmt: skip
    found = interface.read_interface(bridge, place).bridge
    assert found is not None
    member = found.members[0]
    assert {"PRIVATE", "STICKY"} <= set(member.flags.names)
    assert not {"DISCOVER", "LEARNING", "AUTOEDGE", "AUTOPTP"} & set(member.flags.names)
    assert (member.max_addresses, member.path_cost, member.priority) == (7, 5555, 64)
    printed = print_interface(bridge, place)
    assert "ifmaxaddr 7" in printed and "priority 64" in printed and "path cost 5555" in printed
    interface.change_member(
        bridge, one, MemberSettings(private=False, discover=True, learn=True, sticky=False), jail=place
    )
    found = interface.read_interface(bridge, place).bridge
    assert found is not None and {"DISCOVER", "LEARNING"} <= set(found.members[0].flags.names)
    interface.change_member(bridge, one, MemberSettings(), jail=place)


def test_the_bridge_itself(lab: Lab, place: str | None) -> None:
    bridge = lab.add_bridge(place=place)
    interface.change_bridge(bridge, max_addresses=99, timeout=77, jail=place)
    found = interface.read_interface(bridge, place).bridge
    assert found is not None and (found.max_addresses, found.timeout) == (99, 77)
    assert "maxaddr 99 timeout 77\n" in print_interface(bridge, place)
    interface.change_bridge(bridge, jail=place)
    with pytest.raises(errors.InterfaceNotFound):
        interface.change_bridge(NOWHERE, timeout=1, jail=place)


def test_the_address_table_of_a_bridge(lab: Lab, place: str | None) -> None:
    bridge = lab.add_bridge(place=place)
    one, other = lab.add_epair(place=place)
    interface.add_member(bridge, one, jail=place)
    assert interface.list_bridge_addresses(bridge, place) == ()
    interface.add_bridge_address(bridge, one, MAC, jail=place)
    (found,) = interface.list_bridge_addresses(bridge, place)
    assert (found.mac, found.member, found.expires) == (MAC, one, 0) and "STATIC" in found.flags
    assert run_at(place, "ifconfig", bridge, "addr").split()[:3] == [MAC, f"Vlan{found.vlan}", one]
    interface.flush_bridge(bridge, jail=place)
    assert len(interface.list_bridge_addresses(bridge, place)) == 1
    with pytest.raises(errors.MemberNotFound):
        interface.add_bridge_address(bridge, other, "02:b7:00:00:00:02", jail=place)
    interface.delete_bridge_address(bridge, MAC, jail=place)
    with pytest.raises(errors.AddressNotFound):
        interface.delete_bridge_address(bridge, MAC, jail=place)
    interface.add_bridge_address(bridge, one, MAC, jail=place)
    interface.flush_bridge(bridge, static=True, jail=place)
    assert interface.list_bridge_addresses(bridge, place) == ()


@pytest.mark.skipif(RELEASE < (15, 0), reason="bridges filter VLANs from FreeBSD 15.0 on")
def test_a_bridge_that_filters_vlans(lab: Lab, place: str | None) -> None:
    bridge = lab.add_bridge(place=place)
    one, other = lab.add_epair(place=place)
    with skip_if_not_simulated():
        interface.change_bridge(bridge, vlan_filter=True, default_untagged=7, jail=place)
    interface.add_member(bridge, one, MemberSettings(untagged=10, tagged=[20, 30, 31, 32]), jail=place)
    interface.add_member(bridge, other, jail=place)
    found = interface.read_interface(bridge, place).bridge
    assert found is not None and found.flags is not None and "VLANFILTER" in found.flags
    assert found.default_untagged == 7
    members = {member.name: member for member in found.members}
    assert members[one].untagged == 10 and members[one].tagged == {20, 30, 31, 32}
    assert members[other].untagged == 7
    assert "untagged 10 tagged 20,30-32" in print_interface(bridge, place)
    interface.change_member(bridge, one, MemberSettings(untagged=11, tagged=[]), jail=place)
    interface.change_bridge(bridge, vlan_filter=False, default_untagged=0, jail=place)
    found = interface.read_interface(bridge, place).bridge
    assert found is not None and found.flags is not None and "VLANFILTER" not in found.flags
    assert found.default_untagged is None
    assert {member.untagged for member in found.members if member.name == one} == {11}
    with pytest.raises(errors.InvalidArgument):
        interface.change_member(bridge, one, MemberSettings(untagged=5000), jail=place)


@pytest.mark.skipif(RELEASE < (15, 0), reason="members may have addresses before FreeBSD 15.0")
def test_members_have_no_addresses(lab: Lab, place: str | None) -> None:
    bridge = lab.add_bridge(place=place)
    one, other = lab.add_epair(place=place)
    interface.add_member(bridge, one, jail=place)
    with pytest.raises(errors.InvalidArgument):
        interface.add_address(one, "192.0.2.1/24", jail=place)
    interface.add_address(other, "192.0.2.1/24", jail=place)
    with pytest.raises(errors.InvalidArgument):
        interface.add_member(bridge, other, jail=place)


def test_moving(lab: Lab) -> None:
    place = lab.add_jail()
    one, other = lab.add_epair(Settings(mtu=1400, description="goes along", groups_add=["btgroup"]))
    bridge = lab.add_bridge()
    interface.add_member(bridge, one)
    interface.set_up(one)
    before = interface.read_interface(one)
    interface.move_to_jail(one, place)
    assert one not in print_names() and print_names(place) == ["lo0", one]
    found = interface.read_interface(one, place)
    assert (found.mac, found.mtu, found.description) == (before.mac, 1400, "goes along")
    assert found.driver_name == before.driver_name and found.groups == ("epair",) and not found.is_up
    emptied = interface.read_interface(bridge).bridge
    assert emptied is not None and emptied.members == ()
    interface.add_address(one, "192.0.2.1/24", jail=place)
    interface.set_up(one, jail=place)
    interface.return_from_jail(one, place)
    found = interface.read_interface(one)
    assert not found.is_up and found.addresses == () and found.index == before.index
    assert print_names(place) == ["lo0"]
    calls: tuple[Callable[[], None], ...] = (
        lambda: interface.move_to_jail(one, "btnojail"),
        lambda: interface.move_to_jail(one, "99999"),
        lambda: interface.return_from_jail(new_name("x"), "btnojail"),
    )
    for call in calls:
        with pytest.raises(errors.JailNotFound):
            call()
    with pytest.raises(errors.InterfaceNotFound):
        interface.return_from_jail(new_name("x"), place)
    with pytest.raises(errors.InterfaceNotFound):
        interface.move_to_jail(NOWHERE, place)
    assert {one, other} <= set(print_names())


def test_two_of_one_name(lab: Lab) -> None:
    place = lab.add_jail()
    one = lab.add_tap()
    inside = lab.add_tap(place=place)
    assert interface.find_name_clashes(place) == ()
    interface.rename_interface(inside, one, jail=place)
    lab.track(one, place)
    assert interface.find_name_clashes(place) == (one,)
    with pytest.raises(errors.InterfaceExists):
        interface.move_to_jail(one, place)
    with pytest.raises(errors.InterfaceExists):
        interface.return_from_jail(one, place)
    assert print_names().count(one) == 1 and print_names(place) == ["lo0", one]


def test_a_tap_that_is_open(lab: Lab) -> None:
    name = lab.add_tap()
    node = f"/dev/{interface.read_interface(name).driver_name}"
    assert interface.read_interface(name).opened_by == ()
    tap = os.open(node, os.O_RDWR)
    try:
        interface.add_address(name, "192.0.2.1/24")
        interface.set_up(name)
        found = interface.read_interface(name)
        assert found.opened_by == (os.getpid(),) and found.is_running
        assert f"\tOpened by PID {os.getpid()}\n" in print_interface(name)
        with pytest.raises(errors.InterfaceBusy, match=str(os.getpid())):
            interface.destroy_interface(name, wait=0.2)
        with pytest.raises(OSError):
            os.open(node, os.O_RDWR)
    finally:
        os.close(tap)
    closed = eventually(lambda: not (each := interface.read_interface(name)).opened_by and each, "the tap's close")
    assert not closed.is_up and closed.addresses == () and closed.status == "no carrier"
    interface.destroy_interface(name)
    assert not os.path.exists(node)


def test_without_privilege(lab: Lab) -> None:
    one, _ = lab.add_epair()
    bridge = lab.add_bridge()
    place = lab.add_jail()
    with as_nobody():
        assert interface.read_interface(one).name == one
        for call in (
            lambda: interface.set_up(one),
            lambda: interface.change_interface(one, Settings(mtu=1400)),
            lambda: interface.change_interface(one, Settings(description="no")),
            lambda: interface.rename_interface(one, new_name("x")),
            lambda: interface.add_address(one, "192.0.2.1/24"),
            lambda: interface.create_tap(new_name("x")),
            lambda: interface.create_epair(new_name("x"), new_name("x")),
            lambda: interface.destroy_interface(one),
            lambda: interface.add_member(bridge, one),
            lambda: interface.move_to_jail(one, place),
            lambda: interface.list_names(place),
        ):
            with pytest.raises(errors.PermissionDenied):
                call()
    assert run(["ifconfig", "-l"]).stdout.split().count(one) == 1
