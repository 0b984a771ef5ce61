"""Neighbours: which MAC address stands behind an IP address, ARP for IPv4 and ND for IPv6.

arp(8) and ndp(8) have no option for a jail: they run inside it. Both exit 0
when they are asked for an address that is on no connected network, so that
what was written is read back.
"""

from __future__ import annotations

import ipaddress
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from beastack.freebsd.command import CommandError, Result, run
from beastack.freebsd.errors import (
    InterfaceNotFound,
    InvalidArgument,
    NeighbourNotFound,
    NetworkUnreachable,
    PermissionDenied,
    translate,
)
from beastack.freebsd.jail import run_in_jail

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

# Texts of arp(8) and ndp(8), of both their builds (usr.sbin/arp, usr.sbin/ndp).
_ERRORS: tuple[tuple[str, type[CommandError]], ...] = (
    ("Operation not permitted", PermissionDenied),
    ("-- no entry", NeighbourNotFound),
    ("cannot locate", NetworkUnreachable),
    ("cannot intuit interface", NetworkUnreachable),
    ("cannot configure a new entry", NetworkUnreachable),
    ("RTM_GET(", NetworkUnreachable),
    ("Network is unreachable", NetworkUnreachable),
    ("No such process", NeighbourNotFound),
    ("No such file or directory", NeighbourNotFound),
    ("does not exist", InterfaceNotFound),
    ("not applicable to this operation", InvalidArgument),
    ("invalid Ethernet address", InvalidArgument),
    ("Invalid argument", InvalidArgument),
)
# The letters of ndp(8) (usr.sbin/ndp/ndp_netlink.c).
_STATES = {
    "I": "incomplete",
    "R": "reachable",
    "S": "stale",
    "D": "delay",
    "P": "probe",
    "F": "failed",
    "N": "none",
}
_MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")
_DURATION = re.compile(r"(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?")


@dataclass(frozen=True)
class Neighbour:
    """One entry of the ARP or ND table.

    ``mac`` is in lower case with two digits a byte, None while it is being
    asked for. ``expire`` is in seconds from now, 0 when it has passed, None
    for a permanent entry. ``state`` is the ND state as a word; ARP tells only
    ``incomplete``, else None. ``published`` means that we answer for it.
    """

    address: Address
    mac: str | None
    interface: str
    permanent: bool = False
    expire: int | None = None
    state: str | None = None
    router: bool = False
    published: bool = False


def list_neighbours(
    *, family: Literal[4, 6] | None = None, interface: str | None = None, jail: str | None = None
) -> tuple[Neighbour, ...]:
    """Return the entries of the ARP and the ND table, ARP first.

    :param family: 4 or 6; without it, both
    :param interface: only those of this interface
    :param jail: the jail whose tables are meant; without it, our own
    :raises InterfaceNotFound: there is no such interface (only ARP tells)
    :raises JailNotFound: there is no such jail
    """
    found: list[Neighbour] = []
    if family in (None, 4):
        found += _list_arp(interface, jail)
    if family in (None, 6):
        found += _list_nd(interface, jail)
    return tuple(found)


def get_neighbour(address: Address | str, *, interface: str | None = None, jail: str | None = None) -> Neighbour:
    """Return the entry of one address.

    :param interface: needed for a link-local address without a zone that more than one interface knows
    :raises NeighbourNotFound: there is none
    """
    target, interface = _read_address(address, interface)
    family: Literal[4, 6] = 4 if target.version == 4 else 6
    for one in list_neighbours(family=family, interface=interface, jail=jail):
        if int(one.address) == int(target):
            return one
    program = "arp" if family == 4 else "ndp"
    raise NeighbourNotFound([program, "-an"], 0, "", f"there is no entry for {target}")


def add_neighbour(
    address: Address | str,
    mac: str,
    *,
    interface: str | None = None,
    permanent: bool = True,
    published: bool = False,
    jail: str | None = None,
) -> None:
    """Set the MAC address of a neighbour, over an entry that may be there.

    :param interface: the zone of a link-local address; otherwise FreeBSD finds the interface by its routes
    :param permanent: false lets the entry expire; ndp(8) over netlink makes it permanent all the same
    :param published: answer for this address (proxy)
    :raises NetworkUnreachable: the address is on no connected network
    :raises PermissionDenied: the caller is not root
    :raises ValueError: that is no MAC address
    """
    target, interface = _read_address(address, interface)
    mac = mac.lower()
    if not _MAC.fullmatch(mac):
        raise ValueError(f"{mac!r} is not a MAC address")
    options = [] if permanent else ["temp"]
    if target.version == 4:
        argv = ["arp", "-s", str(target), mac, *options, *(["pub"] if published else [])]
    else:
        argv = ["ndp", "-n", "-s", _write_zone(target, interface), mac, *options, *(["proxy"] if published else [])]
    result = _run(argv, jail)
    _refuse_silent_failure(result)
    try:
        found = get_neighbour(target, interface=interface, jail=jail)
    except NeighbourNotFound as error:
        raise NetworkUnreachable(argv, result.status, result.stdout, f"no entry was made for {target}") from error
    if found.mac != mac:
        raise CommandError(argv, result.status, result.stdout, f"the entry for {target} has {found.mac}, not {mac}")


def delete_neighbour(address: Address | str, *, interface: str | None = None, jail: str | None = None) -> None:
    """Delete the entry of an address; if it is still in use, the kernel may learn it again at once.

    :param interface: the zone of a link-local address
    :raises NeighbourNotFound: there is none, or the address is on no connected network
    :raises PermissionDenied: not root, or it is the entry of an interface's own address
    """
    target, interface = _read_address(address, interface)
    if target.version == 4:
        argv = ["arp", "-d", str(target)]
    else:
        argv = ["ndp", "-n", "-d", _write_zone(target, interface)]
    try:
        result = _run(argv, jail)
        _refuse_silent_failure(result)
    except NetworkUnreachable as error:
        raise NeighbourNotFound(error.argv, error.status, error.stdout, error.stderr) from error
    try:
        found = get_neighbour(target, interface=interface, jail=jail)
    except NeighbourNotFound:
        return
    if found.permanent:
        raise CommandError(argv, result.status, result.stdout, f"the entry for {target} is still there")


def flush_neighbours(interface: str, *, family: Literal[4, 6] | None = None, jail: str | None = None) -> None:
    """Delete all entries of one interface but those of its own addresses.

    :raises InterfaceNotFound: there is no such interface (only ARP tells)
    :raises PermissionDenied: the caller is not root
    """
    if family in (None, 4):
        _run(["arp", "-d", "-i", interface, "-a"], jail)
    if family not in (None, 6):
        return
    # ndp -c knows no interface.
    for one in _list_nd(interface, jail):
        try:
            delete_neighbour(one.address, interface=interface, jail=jail)
        except NeighbourNotFound:
            continue
        except PermissionDenied:
            # The interface's own addresses are in the table too, and cannot be deleted.
            if not one.permanent:
                raise


def _list_arp(interface: str | None, jail: str | None) -> list[Neighbour]:
    argv = ["arp", "--libxo", "json", "-an", *(["-i", interface] if interface is not None else [])]
    result = _run(argv, jail)
    try:
        return [_parse_arp(entry) for entry in json.loads(result.stdout)["arp"]["arp-cache"]]
    except (ValueError, KeyError, TypeError) as error:
        raise CommandError(argv, result.status, result.stdout, f"its output is not understood: {error!r}") from error


def _parse_arp(entry: dict[str, Any]) -> Neighbour:
    permanent = bool(entry.get("permanent", False))
    expire = int(entry["expires"]) if "expires" in entry else 0
    return Neighbour(
        address=ipaddress.ip_address(entry["ip-address"]),
        mac=_parse_mac(entry.get("mac-address")),
        interface=entry["interface"],
        permanent=permanent,
        expire=None if permanent else expire,
        state="incomplete" if entry.get("incomplete", False) else None,
        published=bool(entry.get("published", False)),
    )


def _list_nd(interface: str | None, jail: str | None) -> list[Neighbour]:
    argv = ["ndp", "--libxo", "json", "-an"]
    try:
        result = _run(argv, jail)
    except CommandError as error:
        # A program without libxo takes that for a wrong option.
        if error.status is None or "usage:" not in error.stderr:
            raise
        argv = ["ndp", "-an"]
        result = _run(argv, jail)
    try:
        if result.stdout.lstrip().startswith("{"):
            found = [_parse_nd(entry) for entry in json.loads(result.stdout)["ndp"]["neighbor-cache"]]
        else:
            found = [_parse_nd_line(line) for line in result.stdout.splitlines() if not _is_heading(line)]
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise CommandError(argv, result.status, result.stdout, f"its output is not understood: {error!r}") from error
    return [one for one in found if interface in (None, one.interface)]


def _parse_nd(entry: dict[str, Any]) -> Neighbour:
    permanent = bool(entry.get("permanent", False))
    flags = entry.get("nd-flags", "")
    return Neighbour(
        address=ipaddress.ip_address(entry["address"]),
        mac=_parse_mac(entry.get("mac-address")),
        interface=entry["interface"],
        permanent=permanent,
        expire=None if permanent else max(0, int(entry.get("expires_sec", 0))),
        state=_STATES.get(entry.get("neighbor-state", "")),
        router="R" in flags,
        published="p" in flags,
    )


def _is_heading(line: str) -> bool:
    return not line.strip() or line.startswith("Neighbor ")


def _parse_nd_line(line: str) -> Neighbour:
    address, mac, interface, expire, *rest = line.split()
    # What follows the state is flags, a count of probes, both or nothing.
    flags = rest[1] if len(rest) > 1 and rest[1].isalpha() else ""
    return Neighbour(
        address=ipaddress.ip_address(address),
        mac=_parse_mac(mac),
        interface=interface,
        permanent=expire == "permanent",
        expire=None if expire == "permanent" else _parse_duration(expire),
        state=_STATES.get(rest[0]) if rest else None,
        router="R" in flags,
        published="p" in flags,
    )


def _parse_duration(text: str) -> int:
    if text == "expired":
        return 0
    match = _DURATION.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is not a time")
    days, hours, minutes, seconds = (int(part or 0) for part in match.groups())
    return ((days * 24 + hours) * 60 + minutes) * 60 + seconds


def _parse_mac(text: str | None) -> str | None:
    if text is None or not re.fullmatch(r"[0-9A-Fa-f]{1,2}(:[0-9A-Fa-f]{1,2}){5}", text):
        return None
    # Some builds print a byte below 16 as one digit.
    return ":".join(f"{int(byte, 16):02x}" for byte in text.split(":"))


def _read_address(address: Address | str, interface: str | None) -> tuple[Address, str | None]:
    """Return an address without its zone, and the interface: that zone, or the one given."""
    read = ipaddress.ip_address(address) if isinstance(address, str) else address
    if isinstance(read, ipaddress.IPv6Address) and read.scope_id is not None:
        return ipaddress.IPv6Address(int(read)), interface or read.scope_id
    return read, interface


def _write_zone(address: Address, interface: str | None) -> str:
    # Only a link-local address may have a zone: getaddrinfo(3) refuses the name of an interface elsewhere.
    if not address.is_link_local:
        return str(address)
    if interface is None:
        raise ValueError(f"the link-local address {address} needs an interface")
    return f"{address}%{interface}"


def _refuse_silent_failure(result: Result) -> None:
    failure = CommandError(result.argv, result.status, result.stdout, result.stderr)
    typed = translate(failure, _ERRORS) if result.stderr.strip() else failure
    if typed is not failure:
        raise typed


def _run(argv: Sequence[str], jail: str | None) -> Result:
    try:
        return run(argv) if jail is None else run_in_jail(jail, argv)
    except CommandError as error:
        # It never ended, or jexec(8) has refused it: that is typed already.
        if error.status is None or type(error) is not CommandError:
            raise
        raise translate(error, _ERRORS) from error
