"""N3: which jails are namespaces, and that no other is ever taken for one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from beastack.freebsd.command import CommandError
from beastack.freebsd.errors import JailNotFound
from beastack.port.neutron import ip_lib_namespaces as namespaces
from beastack.port.neutron.ip_lib_namespaces import ForeignJail, Markers
from ip_lib_host import JAIL, LOOPBACK, PORT, play_all
from recorded_commands import Commands

MAKE = f"jail -i -c name={JAIL} path=/ vnet persist host=inherit children.max=0 allow.raw_sockets=1 enforce_statfs=1"
IDS = "jls --libxo json jid name"
EXISTS = f'jail: "{JAIL}" already exists\n'


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> Iterator[Commands]:
    yield from play_all(monkeypatch)


@pytest.fixture
def markers(tmp_path: Path) -> Markers:
    return Markers(tmp_path / "netns", tmp_path / "unfinished")


def jails(**jids: int) -> str:
    rows = ",".join(f'{{"jid":"{jid}","name":"{name}","path":"/","vnet":"new"}}' for name, jid in jids.items())
    return f'{{"__version": "2", "jail-information": {{"jail": [{rows}]}}}}\n'


def ours(jid: int) -> str:
    return jails(**{JAIL: jid})


def make(host: Commands, markers: Markers, jid: int = 7) -> None:
    host.expect(MAKE, f"{jid}\n")
    namespaces.create_namespace(JAIL, markers)


def leftovers(markers: Markers) -> list[str]:
    return sorted(path.name for path in markers.unfinished.iterdir())


def test_one_command_makes_a_jail_and_a_file_says_that_it_is_ours(host: Commands, markers: Markers) -> None:
    make(host, markers)
    assert markers.read(JAIL) == 7
    assert (markers.directory / JAIL).read_text() == "7\n"
    assert leftovers(markers) == []


def test_ours_that_is_there_already_is_fine(host: Commands, markers: Markers) -> None:
    make(host, markers)
    host.expect(MAKE, "", EXISTS, 1)
    host.expect(IDS, ours(7))
    namespaces.create_namespace(JAIL, markers)
    assert markers.read(JAIL) == 7
    assert leftovers(markers) == []


@pytest.mark.parametrize("marked", [False, True])
def test_someone_elses_is_not(host: Commands, markers: Markers, marked: bool) -> None:
    if marked:
        make(host, markers, 6)
    host.expect(MAKE, "", EXISTS, 1)
    host.expect(IDS, ours(7))
    with pytest.raises(ForeignJail):
        namespaces.create_namespace(JAIL, markers)
    assert leftovers(markers) == []
    host.expect(IDS, ours(7))
    with pytest.raises(ForeignJail):
        namespaces.remove_namespace(JAIL, markers)


def test_a_crash_before_the_file_is_made_up_for(host: Commands, markers: Markers) -> None:
    with markers.lock():
        markers.begin(JAIL)
    host.expect(IDS, ours(7))
    assert namespaces.list_namespaces(markers) == [JAIL]
    host.expect(MAKE, "", EXISTS, 1)
    host.expect(IDS, ours(7))
    namespaces.create_namespace(JAIL, markers)
    assert markers.read(JAIL) == 7


def test_one_that_goes_as_it_is_found_is_made_anew(host: Commands, markers: Markers) -> None:
    host.expect(MAKE, "", EXISTS, 1)
    host.expect(IDS, jails())
    make(host, markers, 8)
    assert markers.read(JAIL) == 8


def test_a_jail_that_cannot_be_made_leaves_nothing(host: Commands, markers: Markers) -> None:
    host.expect(MAKE, "", "jail: jail_set: Operation not permitted\n", 1)
    with pytest.raises(CommandError):
        namespaces.create_namespace(JAIL, markers)
    assert leftovers(markers) == []
    assert markers.names() == []


def test_a_jail_of_which_nobody_knows_whether_it_was_made_stays_ours(host: Commands, markers: Markers) -> None:
    host.expect(MAKE, status=None)
    with pytest.raises(CommandError):
        namespaces.create_namespace(JAIL, markers)
    assert leftovers(markers) == [JAIL]
    host.expect(IDS, jails())
    host.expect(IDS, jails())
    assert namespaces.list_namespaces(markers) == []
    assert leftovers(markers) == []


def test_only_ours_are_listed_and_stale_files_go(host: Commands, markers: Markers) -> None:
    make(host, markers)
    (markers.directory / "qdhcp-gone").write_text("3\n")
    (markers.directory / "qdhcp-again").write_text("4\n")
    everything = jails(**{JAIL: 7, "www": 1, "qdhcp-again": 9})
    host.expect(IDS, everything)
    host.expect(IDS, everything)
    assert namespaces.list_namespaces(markers) == [JAIL]
    assert markers.names() == [JAIL, "qdhcp-again"]


def test_removal_takes_interfaces_and_the_file(host: Commands, markers: Markers) -> None:
    make(host, markers)
    host.expect(IDS, ours(7))
    host.expect(f"ifconfig -j {JAIL} -D -a", LOOPBACK + PORT)
    host.expect(f"ifconfig -j {JAIL} -D tap12345678-9a", PORT)
    host.expect(f"ifconfig -j {JAIL} tap12345678-9a destroy")
    host.expect(f"jail -R {JAIL}")
    namespaces.remove_namespace(JAIL, markers)
    assert markers.names() == []


def test_hardware_comes_back_to_the_host(host: Commands, markers: Markers) -> None:
    make(host, markers)
    card = "em1: flags=8802<BROADCAST> metric 0 mtu 1500\n"
    host.expect(IDS, ours(7))
    host.expect(f"ifconfig -j {JAIL} -D -a", LOOPBACK + card)
    host.expect(f"ifconfig -j {JAIL} -D em1", card)
    host.expect(f"ifconfig -j {JAIL} em1 destroy", "", "ifconfig: SIOCIFDESTROY: Invalid argument\n", 1)
    host.expect("ifconfig -l", "lo0 em0\n")
    host.expect(f"ifconfig em1 -vnet {JAIL}")
    host.expect(f"jail -R {JAIL}")
    namespaces.remove_namespace(JAIL, markers)


def test_a_jail_that_goes_while_it_is_removed(host: Commands, markers: Markers) -> None:
    make(host, markers)
    host.expect(IDS, ours(7))
    host.expect(f"ifconfig -j {JAIL} -D -a", "", "ifconfig: jail not found: No such file or directory\n", 1)
    host.expect(f"jail -R {JAIL}", "", f'jail: "{JAIL}" not found\n', 1)
    namespaces.remove_namespace(JAIL, markers)
    assert markers.names() == []


def test_removal_of_what_is_not_there(host: Commands, markers: Markers) -> None:
    make(host, markers)
    host.expect(IDS, jails(www=1))
    namespaces.remove_namespace(JAIL, markers)
    assert markers.names() == []


def test_whether_a_namespace_is_there(host: Commands, markers: Markers) -> None:
    with pytest.raises(JailNotFound):
        namespaces.check_namespace(JAIL, markers)
    make(host, markers)
    host.expect(IDS, ours(7))
    namespaces.check_namespace(JAIL, markers)
    host.expect(IDS, jails())
    with pytest.raises(JailNotFound):
        namespaces.check_namespace(JAIL, markers)


def test_no_processes_where_there_is_no_namespace(host: Commands, markers: Markers) -> None:
    assert namespaces.list_pids(JAIL, markers) == []


def test_a_name_that_would_leave_the_directory(host: Commands, markers: Markers) -> None:
    for name in ("../x", "a/b", "a.b", "12", ""):
        with pytest.raises(ValueError):
            namespaces.create_namespace(name, markers)
        with pytest.raises(ValueError):
            namespaces.remove_namespace(name, markers)
