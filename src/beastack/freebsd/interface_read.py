"""Reading network interfaces: one ifconfig for a whole host or jail."""

from __future__ import annotations

import socket
from dataclasses import replace

from beastack.freebsd.errors import InterfaceNotFound
from beastack.freebsd.interface_data import BridgeAddress, Interface
from beastack.freebsd.interface_parse import parse_bridge_addresses, parse_interfaces, parse_names
from beastack.freebsd.interface_run import check_name, ifconfig


def list_interfaces(jail: str | None = None) -> tuple[Interface, ...]:
    """Return every interface of this host, or of a jail, with everything about it.

    ``index`` is not printed by ifconfig(8). Here it is asked of the system;
    in a jail it is taken from the scope of a link-local address, None without
    one. From 14.0 an index is system-wide and is kept through moves
    (sys/net/if.c), so what was read before a move holds after it.

    :raises JailNotFound: there is no such jail
    """
    interfaces = parse_interfaces(ifconfig("-D", "-a", jail=jail).stdout)
    if jail is not None:
        return interfaces
    indexes: dict[str, int | None] = {}
    for index, name in socket.if_nameindex():
        # Two of one name: which is which cannot be told.
        indexes[name] = None if name in indexes else index
    return tuple(replace(each, index=indexes.get(each.name) or each.index) for each in interfaces)


def read_interface(name: str, jail: str | None = None) -> Interface:
    """Return one interface; of two with one name, the one that commands reach.

    :raises InterfaceNotFound: it is not there
    :raises JailNotFound: there is no such jail
    """
    result = ifconfig("-D", check_name(name), jail=jail)
    found = parse_interfaces(result.stdout)
    if not found:
        raise InterfaceNotFound(result.argv, result.status, result.stdout, f"nothing was printed about {name}")
    if jail is not None:
        return found[0]
    try:
        return replace(found[0], index=socket.if_nametoindex(name))
    except OSError:
        return found[0]


def find_interface(name: str, jail: str | None = None) -> Interface | None:
    """Return one interface, or None when it is not there."""
    try:
        return read_interface(name, jail)
    except InterfaceNotFound:
        return None


def list_names(jail: str | None = None, group: str | None = None) -> tuple[str, ...]:
    """Return the names of all interfaces, or of those in a group (none for an unknown group)."""
    arguments = ("-l",) if group is None else ("-g", group)
    return parse_names(ifconfig(*arguments, jail=jail).stdout)


def list_bridge_addresses(bridge: str, jail: str | None = None) -> tuple[BridgeAddress, ...]:
    """Return the addresses a bridge has learned or was given.

    :raises InterfaceNotFound: there is no such bridge
    """
    return parse_bridge_addresses(ifconfig(check_name(bridge), "addr", jail=jail).stdout)
