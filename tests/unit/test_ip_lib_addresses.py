"""N3: addresses added, deleted and listed; neighbours."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator

import pytest

from beastack.freebsd.command import CommandError
from beastack.freebsd.errors import InterfaceNotFound
from beastack.port.neutron import ip_lib_addresses, ip_lib_neighbours
from beastack.port.neutron.ip_lib_addresses import AddressPresent
from ip_lib_host import JAIL, LINKS, LIST, LOOPBACK, NETSTAT, PORT, READ, play_all
from recorded_commands import Commands

NAME = "tap12345678-9a"
CHANGE = f"ifconfig -j {JAIL} {NAME}"


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> Iterator[Commands]:
    yield from play_all(monkeypatch)


def add(address: str, broadcast: str | None = None) -> None:
    ip_lib_addresses.add_addresses([(ipaddress.ip_interface(address), broadcast)], NAME, JAIL)


def test_an_address_is_added_beside_others(host: Commands) -> None:
    host.expect(READ, PORT)
    host.expect(f"{CHANGE} inet 10.1.0.2/24 broadcast 10.1.0.255 alias")
    add("10.1.0.2/24", "10.1.0.255")


def test_ipv6_is_enabled_with_the_first_address(host: Commands) -> None:
    host.expect(READ, PORT)
    host.expect(f"{CHANGE} inet6 2001:db8:5::1/64 -ifdisabled alias")
    add("2001:db8:5::1/64")
    host.expect(READ, PORT.replace("options=29<PERFORMNUD,IFDISABLED,", "options=21<PERFORMNUD,"))
    host.expect(f"{CHANGE} inet6 2001:db8:5::1/64 alias")
    add("2001:db8:5::1/64")


def test_an_address_that_is_there_is_refused(host: Commands) -> None:
    host.expect(READ, PORT)
    with pytest.raises(AddressPresent, match=r"10\.0\.0\.2"):
        add("10.0.0.2/24")


def test_the_network_of_another_interface_is_another_error(host: Commands) -> None:
    host.expect(READ, PORT)
    host.expect(f"{CHANGE} inet 10.1.0.2/24 alias", "", "ifconfig: ioctl (SIOCAIFADDR): File exists\n", 1)
    with pytest.raises(CommandError, match="another interface"):
        add("10.1.0.2/24")


def test_one_that_is_twice_among_the_wanted_is_refused_the_second_time(host: Commands) -> None:
    host.expect(READ, PORT)
    host.expect(f"{CHANGE} inet 10.1.0.2/24 alias")
    twice = [(ipaddress.ip_interface("10.1.0.2/24"), None)] * 2
    with pytest.raises(AddressPresent):
        ip_lib_addresses.add_addresses(twice, NAME, JAIL)


def test_an_address_that_is_not_there_is_deleted_in_silence(host: Commands) -> None:
    said = "ifconfig: ioctl (SIOCDIFADDR): Can't assign requested address\n"
    host.expect(f"{CHANGE} inet 10.9.9.9 -alias", "", said, 1)
    ip_lib_addresses.delete_address("10.9.9.9/24", NAME, JAIL)


def test_an_interface_that_is_not_there_is_not(host: Commands) -> None:
    host.expect(f"{CHANGE} inet 10.9.9.9 -alias", "", f"ifconfig: interface {NAME} does not exist\n", 1)
    with pytest.raises(InterfaceNotFound):
        ip_lib_addresses.delete_address("10.9.9.9/24", NAME, JAIL)


def test_a_flush_takes_one_family(host: Commands) -> None:
    host.expect(READ, PORT)
    host.expect(f"{CHANGE} inet 10.0.0.2 -alias")
    host.expect(f"{CHANGE} inet 169.254.169.254 -alias")
    ip_lib_addresses.flush_addresses(4, NAME, JAIL)


def test_a_listing_with_filters(host: Commands) -> None:
    host.expect(LIST, LOOPBACK + PORT)
    host.expect(NETSTAT, LINKS)
    found = ip_lib_addresses.list_addresses(JAIL, {"index": 17, "address": "10.0.0.2"})
    assert [(message["index"], message["prefixlen"]) for message in found] == [(17, 24)]


def test_neighbours_without_the_interfaces_own_addresses(host: Commands) -> None:
    host.expect(READ, PORT)
    host.expect(
        ["jexec", JAIL, "arp", "--libxo", "json", "-an", "-i", NAME],
        '{"__version":"1","arp":{"arp-cache":['
        f'{{"hostname":"?","ip-address":"10.0.0.2","mac-address":"fa:16:3e:00:00:01","interface":"{NAME}",'
        '"permanent":true,"type":"ethernet"},'
        f'{{"hostname":"?","ip-address":"10.0.0.9","mac-address":"02:00:00:00:00:09","interface":"{NAME}",'
        '"expires":1180,"type":"ethernet"}]}}',
    )
    assert ip_lib_neighbours.list_entries(4, NAME, JAIL, {}) == [
        {"dst": "10.0.0.9", "lladdr": "02:00:00:00:00:09", "device": NAME, "state": "reachable"}
    ]


def test_a_state_that_cannot_be_given(host: Commands) -> None:
    with pytest.raises(ValueError, match="incomplete"):
        ip_lib_neighbours.set_entry(4, "10.0.0.9", "02:00:00:00:00:09", NAME, JAIL, "incomplete")
