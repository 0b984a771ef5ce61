"""N3: neighbours: list, add, delete, with arp(8) and ndp(8)."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from typing import Any

from beastack.freebsd.errors import InterfaceNotFound, NeighbourNotFound
from beastack.freebsd.interface import list_names, read_interface
from beastack.freebsd.neighbour import Neighbour, add_neighbour, delete_neighbour, list_neighbours
from beastack.port.neutron.ip_lib_messages import host_name

#: Linux's words for states that a caller may give to a new entry: whether it stays.
_STAYS = {"permanent": True, "noarp": True, "reachable": False, "stale": False, "delay": False, "probe": False}


def list_entries(
    version: int, device: str | None, namespace: str | None, filters: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """Return the entries of an interface as the agents take them.

    :param filters: ``dst`` and ``lladdr``
    :raises InterfaceNotFound: there is no such interface
    :raises JailNotFound: there is no such jail
    :raises ValueError: there is no such filter
    """
    if unknown := set(filters) - {"dst", "lladdr"}:
        raise ValueError(f"neighbours cannot be chosen by {', '.join(sorted(unknown))}")
    if not device:
        list_names(namespace)
        raise InterfaceNotFound(["arp", "-an"], None, "", "neighbours are those of one interface")
    interface = read_interface(host_name(device), namespace)
    # The interface's own addresses are in FreeBSD's tables too.
    own = {each.address for each in interface.addresses}
    entries = [
        {"dst": str(each.address).partition("%")[0], "lladdr": each.mac, "device": device, "state": find_state(each)}
        for each in list_neighbours(family=4 if version == 4 else 6, interface=interface.name, jail=namespace)
        if ipaddress.ip_address(str(each.address).partition("%")[0]) not in own
    ]
    return [entry for entry in entries if all(entry[name] == wanted for name, wanted in filters.items())]


def find_state(neighbour: Neighbour) -> str:
    """Return Linux's word for the state of an entry."""
    if neighbour.permanent:
        return "permanent"
    return neighbour.state or "reachable"


def set_entry(version: int, address: str, mac: str, device: str, namespace: str | None, state: str) -> None:
    """Add an entry, over one that may be there.

    :raises NetworkUnreachable: the address is on no connected network
    :raises ValueError: there is no such state to give
    """
    if state not in _STAYS:
        raise ValueError(f"a neighbour cannot be made {state}")
    add_neighbour(address, mac, interface=_zone(address, device), permanent=_STAYS[state], jail=namespace)


def remove_entry(address: str, device: str, namespace: str | None) -> None:
    """Delete an entry; one that is not there is no error."""
    try:
        delete_neighbour(address, interface=_zone(address, device), jail=namespace)
    except NeighbourNotFound:
        pass


def _zone(address: str, device: str) -> str | None:
    return host_name(device) if ipaddress.ip_address(address).is_link_local else None
