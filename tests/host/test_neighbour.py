"""Neighbours: the ARP and ND tables of the host and of jails, against arp(8) and ndp(8)."""

from __future__ import annotations

import pytest

from beastack.freebsd import errors, interface, neighbour
from conftest import eventually
from network_lab import Lab, as_nobody, run_at, skip_if_not_simulated

MAC = "02:b7:00:00:00:42"
Places = tuple[str | None, str, str, str]


@pytest.fixture
def joined(lab: Lab, place: str | None) -> Places:
    """A place and a further jail that are joined: place, its interface, the jail, its interface."""
    far = lab.add_jail()
    one, other = lab.connect((place, "192.0.2.1/24"), (far, "192.0.2.2/24"))
    interface.add_address(one, "2001:db8:1::1/64", jail=place, words=["no_dad", "-ifdisabled"])
    interface.add_address(other, "2001:db8:1::2/64", jail=far, words=["no_dad", "-ifdisabled"])
    return place, one, far, other


def test_learned(joined: Places) -> None:
    place, one, far, other = joined
    mac = interface.read_interface(other, far).mac
    own = interface.read_interface(one, place).mac
    run_at(place, "ping", "-c", "1", "-t", "5", "192.0.2.2")
    run_at(place, "ping", "-6", "-c", "1", "-t", "5", "2001:db8:1::2")
    for address in ("192.0.2.2", "2001:db8:1::2"):
        found = neighbour.get_neighbour(address, jail=place)
        assert (str(found.address), found.mac, found.interface, found.permanent) == (address, mac, one, False)
    listed = neighbour.list_neighbours(interface=one, jail=place)
    own_entry = next(each for each in listed if str(each.address) == "192.0.2.1")
    assert own_entry.mac == own and own_entry.permanent and own_entry.expire is None
    assert {each.address.version for each in listed} == {4, 6}
    assert [each.address for each in listed] == [
        each.address
        for each in (
            *neighbour.list_neighbours(family=4, interface=one, jail=place),
            *neighbour.list_neighbours(family=6, interface=one, jail=place),
        )
    ]
    arp = run_at(place, "arp", "-an")
    assert f"? (192.0.2.2) at {mac} on {one} expires in " in arp and f"? (192.0.2.1) at {own} on {one} permanent" in arp
    nd = [line.split() for line in run_at(place, "ndp", "-an").splitlines()]
    assert [words[1:3] for words in nd if words[0] == "2001:db8:1::2"] == [[mac, one]]


def test_nobody_answers(joined: Places) -> None:
    place, one, _, _ = joined
    run_at(place, "sh", "-c", "ping -c 1 -t 1 192.0.2.99 || true")
    found = neighbour.get_neighbour("192.0.2.99", jail=place)
    assert found.mac is None and found.interface == one and found.state == "incomplete"


@pytest.mark.parametrize("address", ["192.0.2.7", "2001:db8:1::7"])
def test_written(joined: Places, address: str) -> None:
    place, one, _, _ = joined
    with pytest.raises(errors.NeighbourNotFound):
        neighbour.get_neighbour(address, jail=place)
    neighbour.add_neighbour(address, MAC.upper(), jail=place)
    found = neighbour.get_neighbour(address, jail=place)
    assert (found.mac, found.interface, found.permanent, found.expire) == (MAC, one, True, None)
    neighbour.add_neighbour(address, "02:b7:00:00:00:43", jail=place)
    assert neighbour.get_neighbour(address, jail=place).mac == "02:b7:00:00:00:43"
    neighbour.delete_neighbour(address, jail=place)
    with pytest.raises(errors.NeighbourNotFound):
        neighbour.get_neighbour(address, jail=place)
    with pytest.raises(errors.NeighbourNotFound):
        neighbour.delete_neighbour(address, jail=place)


def test_written_for_a_while(joined: Places) -> None:
    place, _, _, _ = joined
    neighbour.add_neighbour("192.0.2.7", MAC, permanent=False, jail=place)
    found = neighbour.get_neighbour("192.0.2.7", jail=place)
    assert found.mac == MAC and not found.permanent and found.expire


def test_answered_for_others(joined: Places) -> None:
    place, _, far, _ = joined
    with skip_if_not_simulated():
        neighbour.add_neighbour("192.0.2.50", MAC, published=True, jail=place)
    found = next(each for each in neighbour.list_neighbours(family=4, jail=place) if str(each.address) == "192.0.2.50")
    assert found.published and found.mac == MAC
    run_at(far, "sh", "-c", "ping -c 1 -t 1 192.0.2.50 || true")
    assert neighbour.get_neighbour("192.0.2.50", jail=far).mac == MAC
    neighbour.delete_neighbour("192.0.2.50", jail=place)


def test_link_local(joined: Places) -> None:
    place, one, _, _ = joined
    neighbour.add_neighbour("fe80::77", MAC, interface=one, jail=place)
    assert neighbour.get_neighbour(f"fe80::77%{one}", jail=place).mac == MAC
    neighbour.delete_neighbour(f"fe80::77%{one}", jail=place)
    with pytest.raises(ValueError):
        neighbour.add_neighbour("fe80::77", MAC, jail=place)


def test_flushed(joined: Places) -> None:
    place, one, _, _ = joined
    for address in ("192.0.2.7", "192.0.2.8", "2001:db8:1::7"):
        neighbour.add_neighbour(address, MAC, jail=place)
    neighbour.flush_neighbours(one, family=6, jail=place)
    assert {str(each.address) for each in neighbour.list_neighbours(interface=one, jail=place) if each.mac == MAC} == {
        "192.0.2.7", "192.0.2.8",
    }  # fmt: skip
    neighbour.flush_neighbours(one, jail=place)
    left = neighbour.list_neighbours(interface=one, jail=place)
    assert not [each for each in left if each.mac == MAC]
    assert eventually(
        lambda: any(str(each.address) == "192.0.2.1" for each in neighbour.list_neighbours(family=4, jail=place)),
        "the interface's own entry",
        limit=5,
    )


def test_what_the_host_refuses(joined: Places) -> None:
    place, _, _, _ = joined
    for address in ("198.51.100.9", "2001:db8:ffff::9"):
        with pytest.raises(errors.NetworkUnreachable):
            neighbour.add_neighbour(address, MAC, jail=place)
        with pytest.raises(errors.NeighbourNotFound):
            neighbour.delete_neighbour(address, jail=place)
    with pytest.raises(ValueError):
        neighbour.add_neighbour("192.0.2.7", "02:b7", jail=place)
    with pytest.raises(errors.InterfaceNotFound):
        neighbour.list_neighbours(interface="btnowhere", jail=place)
    with pytest.raises(errors.InterfaceNotFound):
        neighbour.flush_neighbours("btnowhere", jail=place)
    with pytest.raises(errors.JailNotFound):
        neighbour.list_neighbours(jail="btnojail")


def test_without_privilege(lab: Lab) -> None:
    lab.connect((None, "192.0.2.1/24"), (None, None))
    with as_nobody():
        neighbour.list_neighbours()
        with pytest.raises(errors.PermissionDenied):
            neighbour.add_neighbour("192.0.2.7", MAC)
