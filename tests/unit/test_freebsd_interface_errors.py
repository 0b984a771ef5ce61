"""Each text of ifconfig's standard error is one class of error."""

from __future__ import annotations

import pytest

from beastack.freebsd import errors, interface, interface_run
from beastack.freebsd.command import CommandError, CommandTimeout, Result
from fake_ifconfig import FakeIfconfig


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> FakeIfconfig:
    return FakeIfconfig(monkeypatch)


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        ("interface tap9 does not exist", errors.InterfaceNotFound),
        ("interface lo1 already exists", errors.InterfaceExists),
        ("SIOCIFCREATE2 (tapx): Invalid argument", errors.InvalidArgument),
        ("SIOCIFCREATE2 (tap): Operation not permitted", errors.PermissionDenied),
        ("tapd3adbeef-0123: cloning name too long", errors.InvalidArgument),
        ("tapd3adbeef-0123: interface name too long", errors.InvalidArgument),
        ("SIOCIFDESTROY: Invalid argument", errors.InvalidArgument),
        ("SIOCIFDESTROY: Operation not permitted", errors.PermissionDenied),
        ("SIOCIFDESTROY: Device not configured", errors.InterfaceNotFound),
        ("ioctl SIOCSIFNAME (set name): File exists", errors.InterfaceExists),
        ("ioctl SIOCSIFNAME (set name): File name too long", errors.InvalidArgument),
        ("ioctl SIOCSIFMTU (set mtu): Invalid argument", errors.InvalidArgument),
        ("ioctl SIOCSIFMTU (set mtu): Operation not permitted", errors.PermissionDenied),
        ("ioctl SIOCSIFMTU (set mtu): Operation not supported", errors.InterfaceBusy),
        ("up: permission denied", errors.PermissionDenied),
        ("down: permission denied", errors.PermissionDenied),
        ("up: no such interface", errors.InterfaceNotFound),
        ("ioctl (SIOCAIFADDR): Operation not permitted", errors.PermissionDenied),
        ("ioctl (SIOCAIFADDR): permission denied", errors.PermissionDenied),
        ("ioctl (SIOCAIFADDR): File exists", errors.AddressExists),
        ("ioctl (SIOCAIFADDR): Invalid argument", errors.InvalidArgument),
        ("ioctl (SIOCDIFADDR): Can't assign requested address", errors.AddressNotFound),
        ("10.0.0.300: bad value", errors.InvalidArgument),
        ("10.0.0.1/40: bad value (width too large)", errors.InvalidArgument),
        ("'mtu' requires argument", errors.InvalidArgument),
        ("'tunnel' requires 2 arguments", errors.InvalidArgument),
        ("Address family 'inet7' unknown.", errors.InvalidArgument),
        ("untagged: Name does not resolve", errors.InvalidArgument),
        ('jail "qrouter-1" not found', errors.JailNotFound),
        ("jail 99 not found", errors.JailNotFound),
        ('jail "qrouter-1" is dying', errors.JailDying),
        ("SIOCSIFVNET: File exists", errors.InterfaceExists),
        ("SIOCSIFVNET: Device busy", errors.JailDying),
        ("SIOCSIFVNET: Device not configured", errors.JailNotFound),
        ("SIOCSIFVNET: Operation not permitted", errors.PermissionDenied),
        ("SIOCSIFRVNET(7, epair0b): Device not configured", errors.InterfaceNotFound),
        ("jail not found: No such file or directory", errors.JailNotFound),
        ("cannot attach to jail: permission denied", errors.PermissionDenied),
        ("BRDGADD tap9: No such file or directory", errors.InterfaceNotFound),
        ("BRDGADD tap0: File exists", errors.MemberExists),
        ("BRDGADD tap0: Device busy", errors.InterfaceBusy),
        ("BRDGADD tap0: Invalid argument", errors.InvalidArgument),
        ("BRDGADD tap0: Operation not permitted", errors.PermissionDenied),
        ("BRDGDEL tap0: No such file or directory", errors.MemberNotFound),
        ("unable to get bridge flags: No such file or directory", errors.MemberNotFound),
        ("BRDGSIFPVID 10: No such file or directory", errors.MemberNotFound),
        ("BRDGSIFPVID 5000: Invalid argument", errors.InvalidArgument),
        ("BRDGSIFVLANSET 1-9: Invalid argument", errors.InvalidArgument),
        ("BRDGSIFCOST 2000: No such file or directory", errors.MemberNotFound),
        ("BRDGSADDR tap0: No such file or directory", errors.MemberNotFound),
        ("BRDGSADDR: No such file or directory", errors.MemberNotFound),
        ("BRDGDADDR 02:00:00:00:00:01: No such file or directory", errors.AddressNotFound),
        ("BRDGDADDR: No such file or directory", errors.AddressNotFound),
        ("invalid VLAN identifier: x", errors.InvalidArgument),
        ("invalid vlan set: x", errors.InvalidArgument),
        ("setifgroup: group names may not end in a digit", errors.InvalidArgument),
        ("setifgroup: group name too long", errors.InvalidArgument),
        ("must specify a tag for vlan create", errors.InvalidArgument),
        ("both vlan and vlandev must be specified", errors.InvalidArgument),
        ("SIOCSETVLAN: Device busy", errors.InterfaceBusy),
        ("malformed link-level address", errors.InvalidArgument),
    ],
)
def test_what_each_text_means(fake: FakeIfconfig, said: str, kind: type[CommandError]) -> None:
    fake.answer("em0 up", ("", said))
    with pytest.raises(CommandError) as raised:
        interface.set_up("em0")
    assert type(raised.value) is kind
    assert raised.value.argv == ("ifconfig", "em0", "up")
    assert (raised.value.status, raised.value.stderr) == (1, f"ifconfig: {said}\n")


def test_a_text_that_is_not_known_stays_as_it_is(fake: FakeIfconfig) -> None:
    fake.answer("em0 up", ("", "something else"), CommandTimeout(["ifconfig"], None, "", "was still running"))
    with pytest.raises(CommandError) as raised:
        interface.set_up("em0")
    assert type(raised.value) is CommandError
    with pytest.raises(CommandTimeout):
        interface.set_up("em0")


def test_a_fib_that_is_refused_is_an_error_in_spite_of_the_exit_status(monkeypatch: pytest.MonkeyPatch) -> None:
    said = "ifconfig: ioctl (SIOCSIFFIB): Invalid argument\n"
    monkeypatch.setattr(interface_run, "run", lambda argv, timeout: Result(tuple(argv), 0, "", said))
    with pytest.raises(errors.InvalidArgument):
        interface.change_interface("em0", interface.Settings(fib=9))
