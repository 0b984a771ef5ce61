"""Neighbours: the tables of arp and ndp on 14.x and 15.x, what is asked of them, and what they refuse or forget."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from beastack.freebsd import jail, neighbour
from beastack.freebsd.command import CommandError, CommandNotFound, Result
from beastack.freebsd.errors import (
    InterfaceNotFound,
    InvalidArgument,
    JailNotFound,
    NeighbourNotFound,
    NetworkUnreachable,
    PermissionDenied,
)
from beastack.freebsd.neighbour import Neighbour

GOLDEN = Path(__file__).parent / "golden" / "freebsd" / "neighbour"
ARP = "arp --libxo json -an"
NDP = "ndp --libxo json -an"
MAC = "02:00:00:00:00:0b"

ip = ipaddress.ip_address


def golden(name: str) -> str:
    return (GOLDEN / name).read_text()


def arp(address: str, mac: str = MAC, rest: str = '"permanent":true') -> str:
    entry = f'{{"hostname":"?","ip-address":"{address}","mac-address":"{mac}","interface":"em0",{rest}}}'
    return f'{{"__version": "1", "arp": {{"arp-cache": [{entry}]}}}}\n'


class Host:
    """Plays a host: the commands it expects, in order, and what each of them prints."""

    def __init__(self) -> None:
        self.script: list[tuple[list[str], int, str, str]] = []

    def expect(self, command: str, stdout: str = "", stderr: str = "", status: int = 0) -> None:
        self.script.append((command.split(), status, stdout, stderr))

    def run(self, argv: Sequence[str], *, ok: Sequence[int] = (0,), **options: Any) -> Result:
        assert self.script, f"nothing more was expected, but: {list(argv)}"
        expected, status, stdout, stderr = self.script.pop(0)
        assert list(argv) == expected
        if status not in ok:
            raise CommandError(argv, status, stdout, stderr)
        return Result(tuple(argv), status, stdout, stderr)


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> Iterator[Host]:
    played = Host()
    monkeypatch.setattr(neighbour, "run", played.run)
    monkeypatch.setattr(jail, "run", played.run)
    yield played
    assert played.script == []


# Listing.

ND = (
    Neighbour(ip("2001:db8::1"), "58:9c:fc:10:ff:ab", "em0", permanent=True, state="reachable"),
    Neighbour(ip("fe80::1%em0"), "58:9c:fc:00:00:01", "em0", expire=86398, state="stale", router=True),
    Neighbour(ip("2001:db8::77"), None, "em0", expire=0, state="incomplete"),
)


def test_arp_of_14(host: Host) -> None:
    host.expect(ARP, golden("arp-14.3.json"))
    assert neighbour.list_neighbours(family=4) == (
        Neighbour(ip("10.0.0.2"), "02:00:00:00:00:0b", "epair0b", expire=1180),
        Neighbour(ip("10.0.0.1"), "02:00:00:00:00:0a", "epair0b", permanent=True),
        Neighbour(ip("10.0.0.9"), None, "epair0b", expire=0, state="incomplete"),
    )


def test_arp_of_15(host: Host) -> None:
    host.expect(f"jexec n {ARP} -i bridge0", golden("arp-15.1.json"))
    assert neighbour.list_neighbours(family=4, interface="bridge0", jail="n") == (
        Neighbour(ip("10.0.0.50"), "fa:16:3e:01:02:03", "bridge0", permanent=True, published=True),
        Neighbour(ip("10.0.0.51"), "fa:16:3e:00:0a:0f", "em0.100", expire=3),
    )


def test_nd_as_json(host: Host) -> None:
    host.expect(NDP, golden("ndp-15.1.json"))
    last = Neighbour(ip("fe80::1%epair0b"), "58:9c:fc:00:00:02", "epair0b", True, None, "none", published=True)
    assert neighbour.list_neighbours(family=6) == (*ND, last)


def test_nd_as_columns(host: Host) -> None:
    host.expect(NDP, stderr="ndp: illegal option -- -\nusage: ndp [-nt] hostname\n", status=1)
    host.expect("ndp -an", golden("ndp-14.0.txt"))
    last = Neighbour(
        ip("fe80::1%epair0b"), "58:9c:fc:00:00:02", "epair0b", False, 93784, "delay", router=True, published=True
    )
    assert neighbour.list_neighbours(family=6) == (*ND, last)


def test_nd_as_columns_although_json_was_asked_for(host: Host) -> None:
    host.expect(NDP, golden("ndp-14.0.txt"))
    assert neighbour.list_neighbours(family=6, interface="em0") == ND


def test_both_tables(host: Host) -> None:
    host.expect(f"jexec n {ARP}", golden("arp-empty.json"))
    host.expect(f"jexec n {NDP}", golden("ndp-empty.json"))
    assert neighbour.list_neighbours(jail="n") == ()


@pytest.mark.parametrize(
    ("stderr", "kind"),
    [
        ("arp: interface em9 does not exist\n", InterfaceNotFound),
        ("arp: -i not applicable to this operation\n", InvalidArgument),
        ("arp: something new\n", CommandError),
    ],
)
def test_a_list_that_is_refused(host: Host, stderr: str, kind: type[CommandError]) -> None:
    host.expect(f"{ARP} -i em9", stderr=stderr, status=1)
    with pytest.raises(CommandError) as caught:
        neighbour.list_neighbours(family=4, interface="em9")
    assert type(caught.value) is kind


def test_a_list_in_a_jail_that_is_not_there(host: Host) -> None:
    host.expect(f"jexec n {ARP}", stderr='jexec: jail "n" not found\n', status=1)
    with pytest.raises(JailNotFound):
        neighbour.list_neighbours(jail="n")
    host.expect(f"jexec n {NDP}", stderr="jexec: execvp: ndp: No such file or directory\n", status=1)
    with pytest.raises(CommandNotFound):
        neighbour.list_neighbours(family=6, jail="n")


@pytest.mark.parametrize(
    ("family", "command", "output"),
    [
        (4, ARP, ""),
        (4, ARP, '{"arp": {"arp-cache": [{}]}}'),
        (6, NDP, '{"ndp": 1}'),
        (6, NDP, "too few words\n"),
        (6, NDP, "2001:db8::1 58:9c:fc:10:ff:ab em0 soon R\n"),
    ],
)
def test_output_that_is_not_understood(host: Host, family: Any, command: str, output: str) -> None:
    host.expect(command, output)
    with pytest.raises(CommandError, match="its output is not understood"):
        neighbour.list_neighbours(family=family)


def test_one_neighbour(host: Host) -> None:
    host.expect(ARP, golden("arp-14.3.json"))
    assert neighbour.get_neighbour("10.0.0.1").mac == "02:00:00:00:00:0a"
    host.expect(NDP, golden("ndp-15.1.json"))
    assert neighbour.get_neighbour("fe80::1%epair0b").mac == "58:9c:fc:00:00:02"
    host.expect(NDP, golden("ndp-15.1.json"))
    assert neighbour.get_neighbour("fe80::1", interface="em0").mac == "58:9c:fc:00:00:01"
    host.expect(ARP, golden("arp-empty.json"))
    with pytest.raises(NeighbourNotFound, match=r"there is no entry for 10\.0\.0\.1"):
        neighbour.get_neighbour(ip("10.0.0.1"))


# Adding.


def test_a_permanent_entry(host: Host) -> None:
    host.expect(f"arp -s 10.0.0.2 {MAC}")
    host.expect(ARP, arp("10.0.0.2"))
    neighbour.add_neighbour("10.0.0.2", MAC.upper())


def test_an_entry_that_expires_and_is_published_in_a_jail(host: Host) -> None:
    host.expect(f"jexec n arp -s 10.0.0.2 {MAC} temp pub")
    host.expect(f"jexec n {ARP} -i em0", arp("10.0.0.2", rest='"expires":1200'))
    neighbour.add_neighbour("10.0.0.2", MAC, interface="em0", permanent=False, published=True, jail="n")


def test_v6_entries(host: Host) -> None:
    mac = "58:9c:fc:00:00:01"
    host.expect(f"ndp -n -s fe80::1%em0 {mac} temp")
    host.expect(NDP, golden("ndp-15.1.json"))
    neighbour.add_neighbour("fe80::1", mac, interface="em0", permanent=False)
    mac = "58:9c:fc:10:ff:ab"
    host.expect(f"ndp -n -s 2001:db8::1 {mac} proxy")
    host.expect(NDP, golden("ndp-15.1.json"))
    neighbour.add_neighbour("2001:db8::1", mac, interface="em0", published=True)


@pytest.mark.parametrize(
    ("stderr", "status", "kind"),
    [
        ("arp: set: cannot locate 10.0.0.2\n", 0, NetworkUnreachable),
        ("arp: delete: cannot locate 10.0.0.2\n", 0, NetworkUnreachable),
        ("arp: cannot intuit interface index and type for 10.0.0.2\n", 1, NetworkUnreachable),
        ("arp: set 10.0.0.2: Network is unreachable\n", 1, NetworkUnreachable),
        ("ndp: cannot configure a new entry\n", 1, NetworkUnreachable),
        ("ndp: RTM_GET(2001:db8::1) failed\n", 1, NetworkUnreachable),
        ("arp: set 10.0.0.2: Operation not permitted\n", 1, PermissionDenied),
        ("arp: set 10.0.0.2: Invalid argument\n", 1, InvalidArgument),
        ("arp: invalid Ethernet address 'x'\n", 1, InvalidArgument),
        ("arp: something new\n", 1, CommandError),
    ],
)
def test_what_adding_can_be_refused_for(host: Host, stderr: str, status: int, kind: type[CommandError]) -> None:
    host.expect(f"arp -s 10.0.0.2 {MAC}", stderr=stderr, status=status)
    with pytest.raises(CommandError) as caught:
        neighbour.add_neighbour("10.0.0.2", MAC)
    assert type(caught.value) is kind


def test_an_entry_that_was_not_made(host: Host) -> None:
    host.expect(f"arp -s 10.0.0.2 {MAC}")
    host.expect(ARP, golden("arp-empty.json"))
    with pytest.raises(NetworkUnreachable, match=r"no entry was made for 10\.0\.0\.2"):
        neighbour.add_neighbour("10.0.0.2", MAC)
    host.expect(f"arp -s 10.0.0.2 {MAC}")
    host.expect(ARP, arp("10.0.0.2", "02:00:00:00:00:0c"))
    with pytest.raises(CommandError, match=r"the entry for 10\.0\.0\.2 has 02:00:00:00:00:0c, not 02:00:00:00:00:0b"):
        neighbour.add_neighbour("10.0.0.2", MAC)


def test_what_is_no_entry(host: Host) -> None:
    with pytest.raises(ValueError, match="'02:0:0:0:0:1' is not a MAC address"):
        neighbour.add_neighbour("10.0.0.2", "02:0:0:0:0:1")
    with pytest.raises(ValueError, match="the link-local address fe80::1 needs an interface"):
        neighbour.add_neighbour("fe80::1", MAC)


# Deleting.


def test_an_entry_is_deleted(host: Host) -> None:
    host.expect("jexec n arp -d 10.0.0.2", "10.0.0.2 (10.0.0.2) deleted\n")
    host.expect(f"jexec n {ARP}", golden("arp-empty.json"))
    neighbour.delete_neighbour("10.0.0.2", jail="n")
    host.expect("ndp -n -d fe80::9%em0", "fe80::9%em0 (fe80::9%em0) deleted\n")
    host.expect(NDP, golden("ndp-empty.json"))
    neighbour.delete_neighbour("fe80::9%em0")
    host.expect("ndp -n -d 2001:db8::9", "2001:db8::9 (2001:db8::9) deleted\n")
    host.expect(NDP, golden("ndp-empty.json"))
    neighbour.delete_neighbour("2001:db8::9", interface="em0")


def test_an_entry_that_is_learnt_again_at_once(host: Host) -> None:
    host.expect("arp -d 10.0.0.2", "10.0.0.2 (10.0.0.2) deleted\n")
    host.expect(ARP, arp("10.0.0.2", rest='"expires":1200'))
    neighbour.delete_neighbour("10.0.0.2")


def test_an_entry_that_stays(host: Host) -> None:
    host.expect("arp -d 10.0.0.2")
    host.expect(ARP, arp("10.0.0.2"))
    with pytest.raises(CommandError, match=r"the entry for 10\.0\.0\.2 is still there"):
        neighbour.delete_neighbour("10.0.0.2")


@pytest.mark.parametrize(
    ("stderr", "status", "kind"),
    [
        ("arp: delete: cannot locate 10.0.0.2\n", 0, NeighbourNotFound),
        ("arp: delete: cannot locate 10.0.0.2\n", 1, NeighbourNotFound),
        ("arp: delete 10.0.0.2: No such process\n", 1, NeighbourNotFound),
        ("arp: delete 10.0.0.2: No such file or directory\n", 1, NeighbourNotFound),
        ("arp: 10.0.0.2 (10.0.0.2) -- no entry\n", 1, NeighbourNotFound),
        ("arp: delete 10.0.0.2: Operation not permitted\n", 1, PermissionDenied),
    ],
)
def test_what_deleting_can_be_refused_for(host: Host, stderr: str, status: int, kind: type[CommandError]) -> None:
    host.expect("arp -d 10.0.0.2", stderr=stderr, status=status)
    with pytest.raises(CommandError) as caught:
        neighbour.delete_neighbour("10.0.0.2")
    assert type(caught.value) is kind


def test_the_v6_text_for_no_connected_network(host: Host) -> None:
    host.expect("ndp -n -d 2001:db8:9::9", stderr="ndp: delete: cannot locate 2001:db8:9::9\n")
    with pytest.raises(NeighbourNotFound):
        neighbour.delete_neighbour("2001:db8:9::9")


# Flushing.


def test_the_entries_of_one_interface_go(host: Host) -> None:
    host.expect("jexec n arp -d -i em0 -a", "10.0.0.2 (10.0.0.2) deleted\n")
    host.expect(f"jexec n {NDP}", golden("ndp-15.1.json"))
    # The interface's own address cannot be deleted, another entry has gone meanwhile.
    host.expect("jexec n ndp -n -d 2001:db8::1", stderr="ndp: delete 2001:db8::1: Operation not permitted\n", status=1)
    host.expect("jexec n ndp -n -d fe80::1%em0", "fe80::1%em0 (fe80::1%em0) deleted\n")
    host.expect(f"jexec n {NDP}", golden("ndp-empty.json"))
    host.expect("jexec n ndp -n -d 2001:db8::77", stderr="ndp: delete 2001:db8::77: No such process\n", status=1)
    neighbour.flush_neighbours("em0", jail="n")


def test_one_family_is_flushed(host: Host) -> None:
    host.expect("arp -d -i em0 -a")
    neighbour.flush_neighbours("em0", family=4)
    host.expect(NDP, golden("ndp-empty.json"))
    neighbour.flush_neighbours("em0", family=6)


def test_flushing_is_refused(host: Host) -> None:
    host.expect("arp -d -i em9 -a", stderr="arp: interface em9 does not exist\n", status=1)
    with pytest.raises(InterfaceNotFound):
        neighbour.flush_neighbours("em9")
    host.expect(NDP, golden("ndp-15.1.json"))
    host.expect("ndp -n -d 2001:db8::1", stderr="ndp: delete 2001:db8::1: Operation not permitted\n", status=1)
    host.expect("ndp -n -d fe80::1%em0", stderr="ndp: delete fe80::1%em0: Operation not permitted\n", status=1)
    with pytest.raises(PermissionDenied):
        neighbour.flush_neighbours("em0", family=6)
