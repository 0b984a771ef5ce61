"""Making interfaces: one invocation each, nothing left of a failure, and what a crash leaves is found."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from beastack.freebsd import errors, interface
from beastack.freebsd.command import CommandError
from beastack.freebsd.interface import EpairPair, Settings
from fake_ifconfig import FakeIfconfig, block, read_golden


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> FakeIfconfig:
    return FakeIfconfig(monkeypatch)


MARK = "descr|beastack is making"


@pytest.mark.parametrize(
    ("create", "words"),
    [
        (lambda: interface.create_tap("tapX"), f"tap|create|{MARK} tapX|name|tapX|-descr"),
        (lambda: interface.create_bridge("brX"), f"bridge|create|{MARK} brX|name|brX|-descr"),
        (lambda: interface.create_loopback("loX", jail="j"), f"-j|j|lo|create|{MARK} loX|name|loX|-descr"),
        (
            lambda: interface.create_tap(
                "tapX", Settings(mac="02:00:00:00:00:01", mtu=1450, description="g 7", up=True)
            ),
            f"tap|create|ether|02:00:00:00:00:01|{MARK} tapX|mtu|1450|up|name|tapX|descr|g 7",
        ),
        (
            lambda: interface.create_tap("tapX", Settings(inet6_words=["-ifdisabled"])),
            f"tap|create|inet6|-ifdisabled|{MARK} tapX|name|tapX|-descr",
        ),
        (
            lambda: interface.create_vlan("em0.7", "em0", 7),
            f"vlan|create|vlandev|em0|vlan|7|{MARK} em0.7|name|em0.7|-descr",
        ),
        (
            lambda: interface.create_vlan("v7", "em0", 7, Settings(mac="random"), protocol="802.1ad"),
            f"vlan|create|vlandev|em0|vlan|7|vlanproto|802.1ad|ether|random|{MARK} v7|name|v7|-descr",
        ),
        (
            lambda: interface.create_vxlan("vx", 9, local="192.0.2.1", remote="192.0.2.2"),
            f"vxlan|create|vxlanid|9|vxlanlocal|192.0.2.1|vxlanremote|192.0.2.2|{MARK} vx|name|vx|-descr",
        ),
        (
            lambda: interface.create_vxlan(
                "vx",
                9,
                local="2001:db8::1",
                group="ff05::9",
                device="em0",
                local_port=4790,
                remote_port=4791,
                ttl=5,
                learn=False,
            ),
            "vxlan|create|vxlanid|9|vxlanlocal|2001:db8::1|vxlangroup|ff05::9|vxlandev|em0|vxlanlocalport|4790|"
            f"vxlanremoteport|4791|vxlanttl|5|-vxlanlearn|{MARK} vx|name|vx|-descr",
        ),
    ],
)
def test_making_and_naming_is_one_invocation(fake: FakeIfconfig, create: Callable[[], None], words: str) -> None:
    create()
    assert fake.calls == [words]


def test_what_cannot_be_made(fake: FakeIfconfig) -> None:
    for arguments in ({}, {"remote": "192.0.2.2", "group": "239.1.1.1", "device": "em0"}, {"group": "239.1.1.1"}):
        with pytest.raises(ValueError):
            interface.create_vxlan("vx", 9, local="192.0.2.1", **arguments)  # type: ignore[arg-type]
    with pytest.raises(ValueError):
        interface.create_tap("tapX", Settings(address="10.0.0.1/24"))
    with pytest.raises(ValueError):
        interface.create_epair("one", "one")
    assert fake.calls == []


def test_what_was_made_before_a_word_failed_is_destroyed(fake: FakeIfconfig) -> None:
    made = f"tap|create|{MARK} tapX|name|tapX|-descr"
    fake.answer(made, ("tap7\n", "ioctl SIOCSIFNAME (set name): File exists"))
    fake.answer("-D tap7", block("tap7"))
    with pytest.raises(errors.InterfaceExists):
        interface.create_tap("tapX")
    assert fake.calls == [made, "-D tap7", "tap7 destroy"]


def test_nothing_is_destroyed_when_nothing_was_made(fake: FakeIfconfig) -> None:
    made = f"tap|create|{MARK} tapX|name|tapX|-descr"
    fake.answer(made, ("", "SIOCIFCREATE2 (tap): Operation not permitted"))
    with pytest.raises(errors.PermissionDenied):
        interface.create_tap("tapX")
    assert fake.calls == [made]


def test_a_failed_undoing_does_not_hide_the_failure(fake: FakeIfconfig) -> None:
    made = f"tap|create|{MARK} tapX|mtu|70000|name|tapX|-descr"
    fake.answer(made, ("tap7\n", "ioctl SIOCSIFMTU (set mtu): Invalid argument"))
    fake.answer("-D tap7", ("", "interface tap7 does not exist"))
    with pytest.raises(errors.InvalidArgument, match="set mtu"):
        interface.create_tap("tapX", Settings(mtu=70000))


def test_a_vxlan_that_does_not_run_is_no_success(fake: FakeIfconfig) -> None:
    fake.answer("-D vx", block("vx", flags="8803<UP,BROADCAST,SIMPLEX,MULTICAST>"))
    with pytest.raises(errors.InvalidArgument, match="vx does not run"):
        interface.create_vxlan("vx", 9, Settings(up=True), local="192.0.2.1", remote="192.0.2.2")
    assert fake.calls[-1] == "vx destroy"


def test_a_vxlan_that_runs(fake: FakeIfconfig) -> None:
    fake.answer("-D vx", block("vx", flags="1008843<UP,BROADCAST,RUNNING,SIMPLEX,MULTICAST,LOWER_UP>"))
    interface.create_vxlan("vx", 9, Settings(up=True), local="192.0.2.1", remote="192.0.2.2")
    assert fake.calls[-1] == "-D vx"


# Epairs.

PAIR = f"epair|create|{MARK} qr-1 and qr-1-p"


def test_an_epair_is_named_second_half_first(fake: FakeIfconfig) -> None:
    fake.answer(PAIR, "epair3a\n")
    both = Settings(mtu=1450, words=["-txcsum", "-txcsum6"])
    assert interface.create_epair("qr-1", "qr-1-p", both, both) == EpairPair("qr-1", "qr-1-p", "epair3")
    assert fake.calls == [
        PAIR,
        "epair3b mtu 1450 -txcsum -txcsum6 name qr-1-p",
        "epair3a mtu 1450 -txcsum -txcsum6 name qr-1 -descr",
    ]


def test_each_half_has_settings_of_its_own(fake: FakeIfconfig) -> None:
    fake.answer(f"-j|j|{PAIR}", "epair0a\n")
    one = Settings(mac="02:00:00:00:00:01", description="one", up=True)
    other = Settings(mac="02:00:00:00:00:02", description="other", up=True)
    interface.create_epair("qr-1", "qr-1-p", one, other, jail="j")
    assert fake.calls == [
        f"-j|j|{PAIR}",
        "-j j epair0b ether 02:00:00:00:00:02 descr other up name qr-1-p",
        "-j j epair0a ether 02:00:00:00:00:01 up name qr-1 descr one",
    ]


def test_the_pair_goes_when_the_second_half_cannot_be_named(fake: FakeIfconfig) -> None:
    fake.answer(PAIR, "epair3a\n")
    fake.answer("epair3b name qr-1-p", ("", "ioctl SIOCSIFNAME (set name): File exists"))
    fake.answer("-D epair3a", block("epair3a"))
    fake.answer("-D -a", read_golden("host-14.txt"))
    with pytest.raises(errors.InterfaceExists):
        interface.create_epair("qr-1", "qr-1-p")
    assert fake.calls == [PAIR, "epair3b name qr-1-p", "-D epair3a", "epair3a destroy", "-D -a"]


@pytest.mark.parametrize(("printed", "goes"), [("", "epair3a"), ("qr-1\n", "qr-1")])
def test_the_pair_goes_when_the_first_half_fails(fake: FakeIfconfig, printed: str, goes: str) -> None:
    fake.answer(PAIR, "epair3a\n")
    fake.answer("epair3a name qr-1 -descr", (printed, "ioctl SIOCSIFDESCR (set descr): Operation not permitted"))
    fake.answer(f"-D {goes}", block(goes))
    with pytest.raises(errors.PermissionDenied):
        interface.create_epair("qr-1", "qr-1-p")
    assert fake.calls[-1] == f"{goes} destroy"


def test_a_pair_of_another_name_is_an_error(fake: FakeIfconfig) -> None:
    fake.answer(PAIR, "")
    with pytest.raises(CommandError, match="not epairNa"):
        interface.create_epair("qr-1", "qr-1-p")


# After a crash.


def test_what_a_crash_left_is_found_by_its_mark(fake: FakeIfconfig) -> None:
    fake.answer("-j j -D -a", read_golden("unfinished.txt"))
    for name in ("tap4", "epair2a"):
        fake.answer(f"-j j -D {name}", block(name))
    assert interface.remove_unfinished(jail="j") == ("tap4", "epair2a")
    assert fake.calls == ["-j j -D -a", "-j j -D tap4", "-j j tap4 destroy", "-j j -D epair2a", "-j j epair2a destroy"]


def test_only_what_was_to_have_the_callers_names_is_removed(fake: FakeIfconfig) -> None:
    fake.answer("-D -a", read_golden("unfinished.txt"))
    fake.answer("-D epair2a", block("epair2a"))
    assert interface.remove_unfinished({"qr-1-p"}) == ("epair2a",)
    assert interface.remove_unfinished({"tap4"}) == ()


def test_a_pair_that_a_crash_left_half_named_is_made_anew(fake: FakeIfconfig) -> None:
    """Killed after the second half's name: qr-1-p is taken, epair2a carries the mark."""
    fake.answer(PAIR, "epair3a\n")
    fake.answer("epair3b name qr-1-p", ("", "ioctl SIOCSIFNAME (set name): File exists"), "")
    fake.answer("-D epair3a", block("epair3a"))
    fake.answer("-D -a", read_golden("unfinished.txt"))
    fake.answer("-D epair2a", block("epair2a"))
    assert interface.create_epair("qr-1", "qr-1-p").pair == "epair3"
    assert fake.calls == [
        *(PAIR, "epair3b name qr-1-p", "-D epair3a", "epair3a destroy"),
        *("-D -a", "-D epair2a", "epair2a destroy"),
        *(PAIR, "epair3b name qr-1-p", "epair3a name qr-1 -descr"),
    ]
