"""N3: routes: list, add with replace semantics, delete, with netstat(1) and route(8).

FreeBSD has one table for each FIB and nothing that says which: what agents
put into Linux's main table is in the table of the host or jail, and other
tables are empty and refuse. A route has no metric and no scope here; what a
listing says of these is what Linux gives such a route by itself.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from beastack.freebsd.errors import InterfaceNotFound, InvalidArgument, RouteNotFound
from beastack.freebsd.interface import Interface, read_interface
from beastack.freebsd.route import Network, Route, delete_route, list_routes, replace_route
from beastack.port.neutron import ip_lib_multipath
from beastack.port.neutron.ip_lib_links import Unsupported, list_all
from beastack.port.neutron.ip_lib_messages import (
    FAMILIES,
    HOST_LOOPBACK,
    SCOPE_LINK,
    SCOPE_UNIVERSE,
    Message,
    host_name,
)

#: Linux's main table, and its protocols (linux/rtnetlink.h).
MAIN_TABLE = 254
PROTO_REDIRECT, PROTO_KERNEL, PROTO_STATIC = 1, 2, 4
_UNICAST = 1
#: Metrics that IPv6 routes have on Linux unless told otherwise: a connected one, any other.
_METRIC_KERNEL, _METRIC_USER = 256, 1024

_ANYWHERE: dict[int, Network] = {4: ipaddress.ip_network("0.0.0.0/0"), 6: ipaddress.ip_network("::/0")}


@dataclass(frozen=True)
class Choice:
    """Which routes an agent speaks of: one destination, and how it is reached."""

    destination: Network
    gateway: str | None
    interface: str | None


def list_messages(
    namespace: str | None, version: int, *, device: str | None = None, table: int | None = None
) -> list[Message]:
    """Return the routes of a jail, or of the host, as messages.

    :param device: only routes over this interface
    :param table: only those of this table; None is all
    :raises InterfaceNotFound: there is no such interface
    :raises JailNotFound: there is no such jail
    """
    interfaces = list_all(namespace)
    wanted = None if device is None else host_name(device)
    if wanted is not None and all(each.name != wanted for each in interfaces):
        raise InterfaceNotFound(["netstat", "-rn"], None, "", f"interface {device} does not exist")
    if table not in (None, 0, MAIN_TABLE):
        return []
    routes = list_routes(family=4 if version == 4 else 6, jail=namespace)
    shown = find_shown(routes, interfaces)
    several = group_gateways(shown)
    weights = ip_lib_multipath.read_weights(namespace, version) if several else {}
    messages = [
        build_route(route, via)
        for route, via in shown
        if wanted in (None, via.name) and route.destination not in several
    ]
    for group in several.values():
        if any(wanted in (None, via.name) for _, via in group):
            message = build_route(*group[0])
            message["attrs"] = [pair for pair in message["attrs"] if pair[0] not in ("RTA_GATEWAY", "RTA_OIF")]
            message["attrs"].append(["RTA_MULTIPATH", ip_lib_multipath.join_hops(group, weights)])
            messages.append(message)
    return messages


def group_gateways(shown: Iterable[tuple[Route, Interface]]) -> dict[Network, list[tuple[Route, Interface]]]:
    """Return the routes of each destination that is reached over more than one gateway."""
    groups: dict[Network, list[tuple[Route, Interface]]] = {}
    for route, interface in shown:
        if "gateway" in route.flags:
            groups.setdefault(route.destination, []).append((route, interface))
    return {destination: group for destination, group in groups.items() if len(group) > 1}


def find_shown(routes: Iterable[Route], interfaces: Sequence[Interface]) -> list[tuple[Route, Interface]]:
    """Return the routes that Linux has in its main table, each with its interface.

    Left out are the routes to addresses of this system's own, which Linux has
    in another table, multicast, and what leads nowhere.
    """
    shown = []
    for route in routes:
        interface = find_interface(route, interfaces)
        if (
            interface is not None
            and not route.flags & {"blackhole", "reject"}
            and not route.destination.is_multicast
            and ("gateway" in route.flags or interface.name != HOST_LOOPBACK)
        ):
            shown.append((route, interface))
    return shown


def find_interface(route: Route, interfaces: Sequence[Interface]) -> Interface | None:
    """Return the interface that Linux names with a route.

    A gateway that is an address of this system's own is reached over lo0
    here, and over the interface that has the address there.
    """
    if route.interface == HOST_LOOPBACK and "gateway" in route.flags:
        for each in interfaces:
            if any(address.address == route.gateway for address in each.addresses):
                return each
    return next((each for each in interfaces if each.name == route.interface), None)


def build_route(route: Route, interface: Interface) -> Message:
    """Return a route as the message RTM_NEWROUTE."""
    version = route.destination.version
    source = find_source(route, interface)
    connected = "gateway" not in route.flags and (source is not None or "static" not in route.flags)
    proto = PROTO_KERNEL if connected else PROTO_REDIRECT if "dynamic" in route.flags else PROTO_STATIC
    attributes: list[list[Any]] = [["RTA_TABLE", MAIN_TABLE]]
    if route.destination.prefixlen:
        attributes.append(["RTA_DST", str(route.destination.network_address)])
    if "gateway" in route.flags and route.gateway is not None:
        attributes.append(["RTA_GATEWAY", str(route.gateway).partition("%")[0]])
    if version == 6:
        attributes.append(["RTA_PRIORITY", _METRIC_KERNEL if connected else _METRIC_USER])
    elif source is not None:
        # Routes without it are the agents' own on-link ones, which they remove.
        attributes.append(["RTA_PREFSRC", source])
    attributes.append(["RTA_OIF", interface.index])
    return {
        "family": FAMILIES[version],
        "dst_len": route.destination.prefixlen,
        "src_len": 0,
        "tos": 0,
        "table": MAIN_TABLE,
        "proto": proto,
        "scope": SCOPE_LINK if version == 4 and "gateway" not in route.flags else SCOPE_UNIVERSE,
        "type": _UNICAST,
        "flags": 0,
        "attrs": attributes,
        "event": "RTM_NEWROUTE",
    }


def find_source(route: Route, interface: Interface) -> str | None:
    """Return the address of the interface that brought a connected route, None for any other route."""
    if "gateway" in route.flags:
        return None
    return next(
        (str(each.address) for each in interface.addresses if each.interface.network == route.destination), None
    )


def choose_route(version: int, cidr: str | None, device: str | None, via: str | None) -> Choice:
    """Return what an agent means.

    :raises ValueError: that is no network, or no address
    """
    destination = find_destination(version, cidr)
    gateway = None if via is None else str(via)
    interface = None if device is None else host_name(device)
    if gateway is not None and not ipaddress.ip_address(gateway).is_link_local:
        # The kernel finds the interface by the gateway; naming both is for the zone of a link-local one.
        interface = None
    return Choice(destination, gateway, interface)


def find_destination(version: int, cidr: str | None) -> Network:
    """Return a destination; None is everywhere."""
    return ipaddress.ip_network(cidr, strict=False) if cidr else _ANYWHERE[version]


def set_route(
    namespace: str | None, version: int, cidr: str | None, *, device: str | None, via: Any, table: int | None
) -> None:
    """Make this the only route to a destination (None: to everywhere), whatever there was.

    :raises InterfaceNotFound: there is no such interface
    :raises NetworkUnreachable: the gateway is not on a connected network
    :raises Unsupported: another table than the main one
    """
    if table not in (None, 0, MAIN_TABLE):
        raise Unsupported(f"there is no routing table {table}")
    if isinstance(via, list | tuple):
        hops = ip_lib_multipath.read_hops(via)
        ip_lib_multipath.set_hops(namespace, find_destination(version, cidr), hops)
        return
    choice = choose_route(version, cidr, device, via)
    replace_route(choice.destination, choice.gateway, interface=choice.interface, jail=namespace)


def remove_route(
    namespace: str | None, version: int, cidr: str | None, *, device: str | None, via: Any, table: int | None
) -> None:
    """Delete a route; one that is not there is no error.

    :raises InterfaceNotFound: there is no such interface
    :raises JailNotFound: there is no such jail
    """
    if table not in (None, 0, MAIN_TABLE):
        return
    if isinstance(via, list | tuple):
        hops = ip_lib_multipath.read_hops(via)
        ip_lib_multipath.remove_hops(namespace, find_destination(version, cidr), hops)
        return
    choice = choose_route(version, cidr, device, via)
    gateway, interface = choice.gateway, choice.interface
    if gateway is None and interface is not None and not choice.destination.prefixlen:
        # The agents name the interface of a default route and not its gateway.
        interface = None
    try:
        delete_route(choice.destination, gateway, interface=interface, jail=namespace)
    except RouteNotFound:
        pass
    except InvalidArgument:
        # The route that an interface's own address brings goes with the address, and cannot go before it.
        if interface is None or not _is_connected(choice.destination, interface, namespace):
            raise


def _is_connected(destination: Network, name: str, namespace: str | None) -> bool:
    return any(each.interface.network == destination for each in read_interface(name, namespace).addresses)
