"""Reading, changing, moving and destroying interfaces: what is run for each."""

from __future__ import annotations

from ipaddress import ip_interface

import pytest

from beastack.freebsd import errors, interface, interface_change
from beastack.freebsd.interface import MemberSettings, Settings
from fake_ifconfig import FakeIfconfig, block, read_golden


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> FakeIfconfig:
    return FakeIfconfig(monkeypatch)


# Reading.


def test_a_host_is_read_in_one_invocation_with_indexes(fake: FakeIfconfig) -> None:
    fake.answer("-D -a", read_golden("host-14.txt") + block("twice") * 2)
    found = interface.list_interfaces()
    assert fake.calls == ["-D -a"]
    assert [(each.name, each.index) for each in found][:3] == [("em0", 1), ("lo0", 2), ("brq-public", None)]
    assert [each.index for each in found if each.name == "twice"] == [None, None]


def test_a_jail_is_read_from_outside(fake: FakeIfconfig) -> None:
    fake.answer("-j qrouter-1 -D -a", read_golden("host-15.txt"))
    found = {each.name: each for each in interface.list_interfaces("qrouter-1")}
    assert fake.calls == ["-j qrouter-1 -D -a"]
    assert (found["em0"].index, found["gif0"].index, found["tap0"].index) == (1, 9, None)


def test_one_interface(fake: FakeIfconfig) -> None:
    fake.answer("-D tap3", read_golden("tap-opened.txt"))
    fake.answer("-j j -D tap3", read_golden("tap-closed.txt"))
    assert (interface.read_interface("tap3").index, interface.read_interface("tap3").opened_by) == (11, (991,))
    assert interface.read_interface("tap3", "j").index is None


def test_an_interface_that_is_not_there(fake: FakeIfconfig) -> None:
    fake.answer("-D tap9", ("", "interface tap9 does not exist"))
    assert interface.find_interface("tap9") is None
    with pytest.raises(errors.InterfaceNotFound):
        interface.read_interface("tap9")


def test_names(fake: FakeIfconfig) -> None:
    fake.answer("-j j -l", read_golden("names.txt"))
    fake.answer("-g epair", read_golden("group-epair.txt"))
    assert interface.list_names("j") == ("em0", "lo0", "brq-public", "tapd3adbeef-01")
    assert interface.list_names(group="epair") == ("qg-9c1f-a", "qg-9c1f-b")
    assert interface.list_names("j", "nobody") == ()
    assert fake.calls == ["-j j -l", "-g epair", "-j j -g nobody"]


def test_the_address_table(fake: FakeIfconfig) -> None:
    fake.answer("-j j bridge0 addr", read_golden("addr.txt"))
    assert [each.member for each in interface.list_bridge_addresses("bridge0", "j")] == ["epair0a", "tap0"]


# Changing.


def test_a_batch_is_one_invocation_and_the_state_comes_last(fake: FakeIfconfig) -> None:
    settings = Settings(
        up=True,
        mtu=1450,
        mac="02:00:00:00:00:01",
        description="port-7",
        groups_add=["guests"],
        groups_remove=["spare"],
        fib=2,
        words=["-txcsum", "-txcsum6", "promisc"],
    )
    interface.change_interface("tap0", settings, jail="j")
    assert fake.calls == [
        "-j j tap0 ether 02:00:00:00:00:01 descr port-7 group guests -group spare fib 2 mtu 1450 "
        "-txcsum -txcsum6 promisc up"
    ]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (Settings(up=False), "down"),
        (Settings(description=""), "-descr"),
        (Settings(mac="random", up=True), "ether random up"),
        (Settings(address="10.0.0.1/24", mtu=1400, up=True), "inet 10.0.0.1/24 alias mtu 1400 up"),
        (Settings(address="2001:db8::1/64", up=True), "inet6 2001:db8::1/64 alias up"),
        (
            Settings(address=ip_interface("2001:db8::1/64"), inet6_words=["-ifdisabled", "no_dad"]),
            "inet6 2001:db8::1/64 -ifdisabled no_dad alias",
        ),
        (Settings(inet6_words=["-ifdisabled", "auto_linklocal"], up=True), "inet6 -ifdisabled auto_linklocal up"),
    ],
)
def test_each_setting_in_words(fake: FakeIfconfig, settings: Settings, words: str) -> None:
    interface.change_interface("em0", settings)
    assert fake.calls == [f"em0 {words}"]


def test_a_description_is_one_argument(fake: FakeIfconfig) -> None:
    interface.change_interface("em0", Settings(description="two words; and more"))
    assert fake.calls == ["em0|descr|two words; and more"]


def test_an_empty_batch_runs_nothing(fake: FakeIfconfig) -> None:
    interface.change_interface("em0", Settings())
    interface.change_member("bridge0", "em0", MemberSettings())
    interface.change_bridge("bridge0")
    assert fake.calls == []


@pytest.mark.parametrize(
    "settings",
    [
        Settings(mac="02:00:00:00:00:01", address="10.0.0.1/24"),
        Settings(mac="random", inet6_words=["no_dad"]),
        Settings(address="10.0.0.1/24", inet6_words=["no_dad"]),
        Settings(address="10.0.0.300/24"),
        Settings(mac="not-a-mac"),
        Settings(words=["-txsum"]),
        Settings(inet6_words=["mtu"]),
        Settings(description="two\nlines"),
    ],
)
def test_what_ifconfig_would_misunderstand_is_refused_before(fake: FakeIfconfig, settings: Settings) -> None:
    with pytest.raises(ValueError):
        interface.change_interface("em0", settings)
    assert fake.calls == []


@pytest.mark.parametrize("name", ["", "a-name-of-16-byte", "sixteen-bytes-ab", "-a", "tab\t", "schön-schön-ab"])
def test_names_that_no_interface_has(fake: FakeIfconfig, name: str) -> None:
    with pytest.raises(ValueError):
        interface.set_up(name)
    assert fake.calls == []


@pytest.mark.parametrize("name", ["", "sixteen-bytes-ab", "-a", "two words", "a/b", "tap", "epair", "fe80%em0"])
def test_names_that_no_interface_is_given(fake: FakeIfconfig, name: str) -> None:
    for give in (interface.create_tap, interface.create_bridge, lambda new: interface.rename_interface("tap0", new)):
        with pytest.raises(ValueError):
            give(name)
    assert fake.calls == []


def test_fifteen_bytes_are_a_name() -> None:
    assert interface.check_new_name("tapd3adbeef-01a") == "tapd3adbeef-01a"


def test_state_and_name(fake: FakeIfconfig) -> None:
    interface.set_up("em0")
    interface.set_down("em0", jail="j")
    interface.rename_interface("tap0", "tapd3adbeef-01", jail="j")
    assert fake.calls == ["em0 up", "-j j em0 down", "-j j tap0 name tapd3adbeef-01"]


def test_addresses(fake: FakeIfconfig) -> None:
    interface.add_address("em0", "10.0.0.1/24")
    interface.add_address("em0", "10.0.0.1/24", broadcast="10.0.0.254", jail="j")
    interface.add_address("gif0", "10.0.0.1/32", destination="10.0.0.2")
    interface.add_address("em0", ip_interface("2001:db8::1/64"), words=["-ifdisabled", "no_dad"])
    interface.add_address("gif0", "2001:db8::1/128", destination="2001:db8::2")
    interface.remove_address("em0", "10.0.0.1/24", jail="j")
    interface.remove_address("em0", "2001:db8::1/64")
    assert fake.calls == [
        "em0 inet 10.0.0.1/24 alias",
        "-j j em0 inet 10.0.0.1/24 broadcast 10.0.0.254 alias",
        "gif0 inet 10.0.0.1/32 10.0.0.2 alias",
        "em0 inet6 2001:db8::1/64 -ifdisabled no_dad alias",
        "gif0 inet6 2001:db8::1/128 2001:db8::2 alias",
        "-j j em0 inet 10.0.0.1 -alias",
        "em0 inet6 2001:db8::1/64 -alias",
    ]
    with pytest.raises(ValueError):
        interface.add_address("em0", "10.0.0.1/24", words=["no_dad"])
    with pytest.raises(ValueError):
        interface.add_address("em0", "2001:db8::1/64", broadcast="10.0.0.255")


# Jails.


def test_an_interface_goes_into_a_jail_and_comes_back(fake: FakeIfconfig) -> None:
    interface.move_to_jail("epair0b", "qrouter-1")
    interface.move_to_jail("epair0b", "child", jail="parent")
    fake.answer("-l", "em0 lo0\n")
    interface.return_from_jail("epair0b", "qrouter-1")
    fake.answer("-j parent -l", "lo0\n")
    interface.return_from_jail("epair0b", "child", jail="parent")
    assert fake.calls == [
        "epair0b vnet qrouter-1",
        "-j parent epair0b vnet child",
        "-l",
        "epair0b -vnet qrouter-1",
        "-j parent -l",
        "-j parent epair0b -vnet child",
    ]


def test_an_interface_does_not_come_back_to_a_name_that_is_taken(fake: FakeIfconfig) -> None:
    fake.answer("-l", "em0 lo0 epair0b\n")
    with pytest.raises(errors.InterfaceExists, match="epair0b of jail j cannot come back"):
        interface.return_from_jail("epair0b", "j")
    assert fake.calls == ["-l"]


def test_name_clashes_are_found_before_a_jail_is_removed(fake: FakeIfconfig) -> None:
    fake.answer("-l", "em0 lo0 epair0b tap0\n")
    fake.answer("-j j -l", "lo0 epair0b qr-1\n")
    assert interface.find_name_clashes("j") == ("epair0b",)


# Destroying.


def test_an_interface_is_looked_at_before_it_is_destroyed(fake: FakeIfconfig) -> None:
    fake.answer("-j j -D tap3", read_golden("tap-closed.txt"))
    interface.destroy_interface("tap3", jail="j")
    assert fake.calls == ["-j j -D tap3", "-j j tap3 destroy"]
    assert fake.timeouts[-1] == interface_change.DESTROY_TIMEOUT


def test_destroying_waits_until_a_tap_is_closed(fake: FakeIfconfig) -> None:
    opened = read_golden("tap-opened.txt")
    fake.answer("-D tap3", opened, opened, read_golden("tap-closed.txt"))
    interface.destroy_interface("tap3")
    assert fake.calls == ["-D tap3", "-D tap3", "-D tap3", "tap3 destroy"]


def test_a_tap_that_stays_open_is_never_destroyed(fake: FakeIfconfig) -> None:
    fake.answer("-D tap3", read_golden("tap-opened.txt"))
    with pytest.raises(errors.InterfaceBusy, match="process 991 still had it open"):
        interface.destroy_interface("tap3", wait=0)
    assert fake.calls == ["-D tap3"]


def test_destroying_what_is_not_there(fake: FakeIfconfig) -> None:
    fake.answer("-D tap3", ("", "interface tap3 does not exist"))
    interface.destroy_interface("tap3", missing_ok=True)
    with pytest.raises(errors.InterfaceNotFound):
        interface.destroy_interface("tap3")
    assert fake.calls == ["-D tap3"] * 2


def test_it_may_go_while_it_is_looked_at(fake: FakeIfconfig) -> None:
    fake.answer("-D tap3", read_golden("tap-closed.txt"))
    fake.answer("tap3 destroy", ("", "interface tap3 does not exist"))
    interface.destroy_interface("tap3", missing_ok=True)
