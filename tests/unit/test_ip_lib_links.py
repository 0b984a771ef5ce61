"""N3: links read, changed, made and moved; indexes in jails."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from beastack.freebsd.errors import InterfaceExists, InterfaceNotFound, JailNotFound
from beastack.port.neutron import ip_lib_create, ip_lib_indexes, ip_lib_links
from beastack.port.neutron.ip_lib_links import Unsupported
from ip_lib_host import JAIL, LINKS, LIST, LOOPBACK, NETSTAT, PORT, READ, play_all
from recorded_commands import Commands

NO_JAIL = "ifconfig: jail not found: No such file or directory\n"


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> Iterator[Commands]:
    yield from play_all(monkeypatch)


def test_an_index_costs_a_second_command_once(host: Commands) -> None:
    host.expect(LIST, LOOPBACK + PORT)
    host.expect(NETSTAT, LINKS)
    assert [each.index for each in ip_lib_links.list_all(JAIL)] == [4, 17]
    host.expect(LIST, LOOPBACK + PORT)
    assert [each.index for each in ip_lib_links.list_all(JAIL)] == [4, 17]


def test_a_kept_index_that_another_has_now_is_asked_for_again(host: Commands) -> None:
    host.expect(LIST, LOOPBACK + PORT)
    host.expect(NETSTAT, LINKS)
    ip_lib_links.list_all(JAIL)
    host.expect(LIST, LOOPBACK.replace("0x4", "0x11") + PORT)
    host.expect(NETSTAT, LINKS.replace("Link#4", "Link#17x").replace("Link#17>", "Link#20>").replace("17x", "17"))
    assert [each.index for each in ip_lib_links.list_all(JAIL)] == [17, 20]


def test_an_interface_that_went_between_two_commands_is_left_out(host: Commands) -> None:
    host.expect(LIST, LOOPBACK + PORT)
    host.expect(NETSTAT, LINKS.replace("tap12345678-9a", "other"))
    assert [each.name for each in ip_lib_links.list_all(JAIL)] == ["lo0"]


def test_a_jail_that_went_between_two_commands(host: Commands) -> None:
    host.expect(LIST, LOOPBACK + PORT)
    host.expect(NETSTAT, "", "netstat: Jail not found\n", 1)
    with pytest.raises(JailNotFound):
        ip_lib_links.list_all(JAIL)


def test_one_interface_that_goes_meanwhile_is_not_there(host: Commands) -> None:
    host.expect(READ, PORT)
    host.expect(LIST, LOOPBACK)
    with pytest.raises(InterfaceNotFound):
        ip_lib_links.read_one("tap12345678-9a", JAIL)


def test_the_index_of_one_is_recalled(host: Commands) -> None:
    host.expect(READ, PORT)
    host.expect(LIST, LOOPBACK + PORT)
    host.expect(NETSTAT, LINKS)
    assert ip_lib_links.read_one("tap12345678-9a", JAIL).index == 17
    host.expect(READ, PORT)
    assert ip_lib_links.read_one("tap12345678-9a", JAIL).index == 17


def test_links_by_name_and_index(host: Commands) -> None:
    host.expect(f"ifconfig -j {JAIL} -D lo0", LOOPBACK)
    assert [link["index"] for link in ip_lib_links.list_links(JAIL, name="lo")] == [4]
    host.expect(f"ifconfig -j {JAIL} -D absent", "", "ifconfig: interface absent does not exist\n", 1)
    assert ip_lib_links.list_links(JAIL, name="absent") == []
    host.expect(LIST, LOOPBACK)
    assert ip_lib_links.list_links(JAIL, index=5) == []


def test_attributes(host: Commands) -> None:
    host.expect(READ, PORT)
    assert ip_lib_links.read_attributes("tap12345678-9a", JAIL) == {
        "mtu": 1450, "qlen": None, "state": "UP", "qdisc": None, "brd": "ff:ff:ff:ff:ff:ff",
        "link/ether": "fa:16:3e:00:00:01", "alias": None, "allmulticast": False, "link_kind": "veth",
    }  # fmt: skip


def test_without_its_jail_an_interface_does_not_exist(host: Commands) -> None:
    host.expect(READ, "", NO_JAIL, 1)
    assert not ip_lib_links.exists("tap12345678-9a", JAIL)


def test_one_command_changes_all_that_is_asked_for(host: Commands) -> None:
    host.expect(f"ifconfig -j {JAIL} t ether fa:16:3e:00:00:02 mtu 1400 up")
    ip_lib_links.change_link("t", JAIL, {"address": "fa:16:3e:00:00:02", "mtu": 1400, "state": "up"})


def test_lo_is_up_with_its_address(host: Commands) -> None:
    host.expect(f"ifconfig -j {JAIL} lo0 inet 127.0.0.1/8 alias up")
    ip_lib_links.change_link("lo", JAIL, {"state": "up"})
    host.expect("ifconfig lo0 up")
    ip_lib_links.change_link("lo", None, {"state": "up"})


def test_a_link_goes_to_another_jail_over_the_host(host: Commands) -> None:
    host.expect("ifconfig -l", "lo0\n")
    host.expect(f"ifconfig t -vnet {JAIL}")
    host.expect("ifconfig t vnet other")
    ip_lib_links.change_link("t", JAIL, {"net_ns_fd": "other"})


def test_what_cannot_be_changed_is_refused_before_anything_runs(host: Commands) -> None:
    with pytest.raises(Unsupported, match="qdisc"):
        ip_lib_links.change_link("t", JAIL, {"mtu": 1400, "qdisc": "x"})
    with pytest.raises(Unsupported, match="0x200"):
        ip_lib_links.raise_flags("t", JAIL, 0x200)


def test_flags(host: Commands) -> None:
    host.expect(f"ifconfig -j {JAIL} t promisc up")
    ip_lib_links.raise_flags("t", JAIL, 0x101)


PAIR = ["ifconfig", "epair", "create", "descr", "beastack is making host and inside"]
SECOND = [
    "ifconfig",
    "epair3b",
    "descr",
    f"beastack made this for jail {JAIL}",
    "-txcsum",
    "-txcsum6",
    "name",
    "inside",
]
FIRST = ["ifconfig", "epair3a", "-txcsum", "-txcsum6", "name", "host", "-descr"]


def test_a_pair_without_offloads_of_which_one_half_goes_to_a_jail(host: Commands) -> None:
    host.expect(PAIR, "epair3a\n")
    host.expect(SECOND, "inside\n")
    host.expect(FIRST, "host\n")
    host.expect(f"ifconfig inside vnet {JAIL}")
    ip_lib_create.create_link("host", None, "veth", {"peer": {"ifname": "inside", "net_ns_fd": JAIL}})


def test_a_pair_whose_jail_is_gone_is_destroyed(host: Commands) -> None:
    host.expect(PAIR, "epair3a\n")
    host.expect(SECOND, "inside\n")
    host.expect(FIRST, "host\n")
    host.expect(f"ifconfig inside vnet {JAIL}", "", f'ifconfig: jail "{JAIL}" not found\n', 1)
    host.expect("ifconfig -D host", "host: flags=8802<BROADCAST> metric 0 mtu 1500\n")
    host.expect("ifconfig host destroy")
    host.expect("ifconfig -D inside", "", "ifconfig: interface inside does not exist\n", 1)
    with pytest.raises(JailNotFound):
        ip_lib_create.create_link("host", None, "veth", {"peer": {"ifname": "inside", "net_ns_fd": JAIL}})


def stranded(description: str) -> str:
    return f"inside: flags=8802<BROADCAST> metric 0 mtu 1500\n\tdescription: {description}\n\tdrivername: epair3\n"


def expect_clash(host: Commands) -> None:
    host.expect(PAIR, "epair4a\n")
    words = ["ifconfig", "epair4b", *SECOND[2:]]
    host.expect(words, "", "ifconfig: ioctl SIOCSIFNAME (set name): File exists\n", 1)
    host.expect("ifconfig -D epair4a", "epair4a: flags=8802<BROADCAST> metric 0 mtu 1500\n")
    host.expect("ifconfig epair4a destroy")


def test_a_half_that_never_reached_its_jail_gives_way(host: Commands) -> None:
    listing = stranded(f"beastack made this for jail {JAIL}")
    expect_clash(host)
    host.expect("ifconfig -D -a", listing)  # the host library looks for its own unfinished ones
    host.expect("ifconfig -D -a", listing)
    host.expect("ifconfig -D inside", listing)
    host.expect("ifconfig inside destroy")
    host.expect(PAIR, "epair3a\n")
    host.expect(SECOND, "inside\n")
    host.expect(FIRST, "host\n")
    host.expect(f"ifconfig inside vnet {JAIL}")
    ip_lib_create.create_pair("host", None, "inside", JAIL)


def test_an_interface_of_someone_else_does_not(host: Commands) -> None:
    listing = stranded("the office")
    expect_clash(host)
    host.expect("ifconfig -D -a", listing)
    host.expect("ifconfig -D -a", listing)
    with pytest.raises(InterfaceExists):
        ip_lib_create.create_pair("host", None, "inside", JAIL)


@pytest.mark.parametrize(
    ("kind", "arguments"),
    [
        ("macvtap", {"physical_interface": "em0"}),
        ("dummy", {"index": 20}),
        ("tuntap", {"mode": "tun"}),
        ("vxlan", {"vxlan_id": 1, "physical_interface": "em0"}),
        ("veth", {"peer": {"ifname": "x", "mtu": 9}}),
    ],
)
def test_what_cannot_be_made_is_refused_before_anything_runs(
    host: Commands, kind: str, arguments: dict[str, object]
) -> None:
    with pytest.raises(Unsupported):
        ip_lib_create.create_link("t", JAIL, kind, arguments)


def test_a_module_is_loaded_from_outside_the_jail(host: Commands, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded: list[str] = []
    monkeypatch.setattr("beastack.freebsd.kld.is_loaded", lambda name: False)
    monkeypatch.setattr("beastack.freebsd.kld.load", loaded.append)
    words = ["ifconfig", "-j", JAIL, "bridge", "create", "descr", "beastack is making br", "name", "br", "-descr"]
    host.expect(words, "", "ifconfig: SIOCIFCREATE2 (bridge): Invalid argument\n", 1)
    host.expect(words, "br\n")
    ip_lib_create.create_link("br", JAIL, "bridge", {})
    assert loaded == ["if_bridge"]


def test_indexes_are_read_by_name() -> None:
    assert ip_lib_indexes.parse_indexes(LINKS) == {"lo0": 4, "tap12345678-9a": 17}
