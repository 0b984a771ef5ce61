"""Making network interfaces, so that a crash leaves nothing that cannot be told.

The kernel chooses the first name of a cloned interface (``tap3``), and a
rename follows. Both are done in one invocation, which goes on to its end when
the program that started it is killed. Until the last name is given the
interface carries a description that says what it is to become; what a killed
ifconfig, or a crash between the two halves of an epair, leaves behind is
found by that description: ``remove_unfinished``, at the start of whoever
makes interfaces. Descriptions are used because groups are lost in a move
between jails and descriptions are not. Only an ifconfig that is itself killed
between making the interface and its next word leaves one without a mark.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from beastack.freebsd.command import CommandError, Result
from beastack.freebsd.errors import InterfaceExists, InvalidArgument
from beastack.freebsd.interface_change import NO_SETTINGS, AnyAddress, Settings, destroy_interface
from beastack.freebsd.interface_data import Interface
from beastack.freebsd.interface_read import list_interfaces, read_interface
from beastack.freebsd.interface_run import check_name, check_new_name, ifconfig

_UNFINISHED = re.compile(r"beastack is making (\S+)(?: and (\S+))?")
_FIRST_HALF = re.compile(r"(epair\d+)a")


@dataclass(frozen=True)
class EpairPair:
    """The names of both halves, and of the pair itself (``epair3``)."""

    name: str
    peer: str
    pair: str


def create_tap(name: str, settings: Settings = NO_SETTINGS, *, jail: str | None = None) -> None:
    """Make a tap; it stays until it is destroyed. Its node is /dev/tapN, N as in its driver name.

    :raises InterfaceExists: the name is taken
    :raises ValueError: the name or a setting is not usable
    """
    _create("tap", (), name, settings, jail)


def create_bridge(name: str, settings: Settings = NO_SETTINGS, *, jail: str | None = None) -> None:
    """Make a bridge. An MTU set now is lost to the first member's: set it after that.

    :raises InterfaceExists: the name is taken
    """
    _create("bridge", (), name, settings, jail)


def create_loopback(name: str, settings: Settings = NO_SETTINGS, *, jail: str | None = None) -> None:
    """Make a loopback interface.

    :raises InterfaceExists: the name is taken
    """
    _create("lo", (), name, settings, jail)


def create_vlan(
    name: str,
    parent: str,
    tag: int,
    settings: Settings = NO_SETTINGS,
    *,
    protocol: str | None = None,
    jail: str | None = None,
) -> None:
    """Make a vlan interface on a parent.

    :param protocol: ``802.1q`` (the default) or ``802.1ad``
    :raises InterfaceExists: the name is taken
    :raises InterfaceNotFound: there is no such parent
    """
    arguments = ["vlandev", check_name(parent), "vlan", str(tag)]
    if protocol is not None:
        arguments += ["vlanproto", protocol]
    _create("vlan", arguments, name, settings, jail)


def create_vxlan(
    name: str,
    vni: int,
    settings: Settings = NO_SETTINGS,
    *,
    local: AnyAddress,
    remote: AnyAddress | None = None,
    group: AnyAddress | None = None,
    device: str | None = None,
    local_port: int | None = None,
    remote_port: int | None = None,
    ttl: int | None = None,
    learn: bool | None = None,
    jail: str | None = None,
) -> None:
    """Make a vxlan interface with one remote, or with a multicast group on a device.

    ifconfig reports success also for a network identifier that is in use; the
    interface then does not run. So one that is brought up is looked at, and
    destroyed when it does not run.

    :raises ValueError: not exactly one of a remote and a group with its device
    :raises InterfaceExists: the name is taken
    :raises InvalidArgument: it does not run
    """
    if (remote is None) == (group is None) or (group is None) != (device is None):
        raise ValueError("a vxlan interface has either a remote or a group and its device")
    arguments = ["vxlanid", str(vni), "vxlanlocal", str(ipaddress.ip_address(local))]
    if remote is not None:
        arguments += ["vxlanremote", str(ipaddress.ip_address(remote))]
    if group is not None and device is not None:
        arguments += ["vxlangroup", str(ipaddress.ip_address(group)), "vxlandev", check_name(device)]
    for word, number in (("vxlanlocalport", local_port), ("vxlanremoteport", remote_port), ("vxlanttl", ttl)):
        if number is not None:
            arguments += [word, str(number)]
    if learn is not None:
        arguments.append("vxlanlearn" if learn else "-vxlanlearn")
    result = _create("vxlan", arguments, name, settings, jail)
    if settings.up and not read_interface(name, jail).is_running:
        destroy_interface(name, jail=jail, missing_ok=True)
        said = f"{name} does not run: its network identifier {vni} is in use, or an address is not usable"
        raise InvalidArgument(result.argv, result.status, result.stdout, said)


def create_epair(
    name: str,
    peer: str,
    settings: Settings = NO_SETTINGS,
    peer_settings: Settings = NO_SETTINGS,
    *,
    jail: str | None = None,
) -> EpairPair:
    """Make an epair and name both halves; an interface called ``name`` means a whole pair.

    The order is: the pair, with the marking description; the second half's
    settings and name; the first half's settings and name, which takes the
    marking away. Before the last step, destroying the first half undoes all,
    and when the names are taken by such a leftover, it is removed and the
    pair made anew.

    Make pairs on the host and move a half into the jail: a pair made inside
    counts its units anew and may clash when it comes out. Checksum offloads
    of FreeBSD 14.4 and later go off with the words ``-txcsum -txcsum6`` in the
    settings, before a half joins a bridge.

    :raises InterfaceExists: one of the names is taken
    :raises ValueError: the names are equal, or a name or setting is not usable
    """
    if name == peer:
        raise ValueError(f"both halves cannot be called {name}")
    try:
        return _create_pair(name, peer, settings, peer_settings, jail)
    except InterfaceExists:
        if not remove_unfinished({name, peer}, jail=jail):
            raise
        return _create_pair(name, peer, settings, peer_settings, jail)


def find_unfinished(interfaces: Iterable[Interface]) -> tuple[Interface, ...]:
    """Return the interfaces whose making was cut short: marked, and not called as the mark says."""
    return tuple(each for each in interfaces if (names := _read_mark(each)) and each.name not in names)


def remove_unfinished(names: Collection[str] | None = None, *, jail: str | None = None) -> tuple[str, ...]:
    """Destroy what a crash left while it made interfaces, and return the names these had.

    Whoever makes an interface of such a name at this moment loses it: give the
    names that are the caller's alone, or call this before anything is made.

    :param names: only what was to become one of these; None is all
    """
    leftovers = [
        each
        for each in find_unfinished(list_interfaces(jail))
        if names is None or any(name in names for name in _read_mark(each))
    ]
    for leftover in leftovers:
        destroy_interface(leftover.name, jail=jail, missing_ok=True)
    return tuple(leftover.name for leftover in leftovers)


def _make_mark(*names: str) -> str:
    return f"beastack is making {' and '.join(names)}"


def _read_mark(interface: Interface) -> tuple[str, ...]:
    found = _UNFINISHED.fullmatch(interface.description or "")
    return tuple(name for name in found.groups() if name) if found else ()


def _create(cloner: str, arguments: Sequence[str], name: str, settings: Settings, jail: str | None) -> Result:
    check_new_name(name)
    _refuse_address(settings)
    # The cloner's own words come first, then the address family: ifconfig makes
    # the interface at the first word that is not the cloner's.
    return _run_create(
        cloner,
        [
            *arguments,
            *settings.family_arguments(),
            *("descr", _make_mark(name)),
            *_finish_arguments(name, settings),
        ],
        jail,
    )


def _create_pair(name: str, peer: str, settings: Settings, peer_settings: Settings, jail: str | None) -> EpairPair:
    for each in (name, peer):
        check_new_name(each)
    for each_settings in (settings, peer_settings):
        _refuse_address(each_settings)
    first_arguments = [*settings.family_arguments(), *_finish_arguments(name, settings)]
    peer_arguments = [
        *peer_settings.family_arguments(),
        *peer_settings.description_arguments(),
        *peer_settings.plain_arguments(),
        *("name", peer),
    ]
    made = _run_create("epair", ["descr", _make_mark(name, peer)], jail)
    first = _read_printed_name(made.stdout)
    unit = _FIRST_HALF.fullmatch(first)
    if not unit:
        raise CommandError(made.argv, made.status, made.stdout, f"the new epair is called {first!r}, not epairNa")
    pair = unit.group(1)
    try:
        ifconfig(f"{pair}b", *peer_arguments, jail=jail)
    except CommandError:
        _destroy_quietly(first, jail)
        raise
    try:
        ifconfig(first, *first_arguments, jail=jail)
    except CommandError as error:
        _destroy_quietly(_read_printed_name(error.stdout) or first, jail)
        raise
    return EpairPair(name, peer, pair)


def _finish_arguments(name: str, settings: Settings) -> list[str]:
    """Return the settings, the name, and last what replaces the marking description."""
    return [*settings.plain_arguments(), "name", name, *(settings.description_arguments() or ["-descr"])]


def _run_create(cloner: str, arguments: Sequence[str], jail: str | None) -> Result:
    try:
        return ifconfig(cloner, "create", *arguments, jail=jail)
    except CommandError as error:
        if made := _read_printed_name(error.stdout):
            _destroy_quietly(made, jail)
        raise


def _read_printed_name(stdout: str) -> str:
    """Return the last name ifconfig gave, empty when it made and named nothing.

    It is printed also when a later word on the line fails, and then says what
    is to be undone.
    """
    return stdout.strip()


def _destroy_quietly(name: str, jail: str | None) -> None:
    """Undo a making that failed; what cannot be undone keeps its mark for ``remove_unfinished``."""
    try:
        destroy_interface(name, jail=jail, wait=0)
    except CommandError:
        pass


def _refuse_address(settings: Settings) -> None:
    if settings.address is not None:
        raise ValueError("an address is added to an interface that is there: add_address")
