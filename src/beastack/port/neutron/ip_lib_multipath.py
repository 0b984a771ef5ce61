"""N3: routes over several gateways, each with a weight (RTA_MULTIPATH), as several routes to one destination here.

route(8) takes one gateway at a time, so that such a route is not exchanged in
one step: what differs is deleted first, and then made.
"""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from beastack.freebsd import command
from beastack.freebsd.command import CommandError
from beastack.freebsd.errors import JailNotFound, NetworkUnreachable, RouteNotFound, translate
from beastack.freebsd.interface import Interface
from beastack.freebsd.route import Address, Network, Route, delete_route, list_routes

_ERRORS: tuple[tuple[str, type[CommandError]], ...] = (
    ("ail not found", JailNotFound),
    ("Network is unreachable", NetworkUnreachable),
)


@dataclass(frozen=True)
class Hop:
    """One gateway of a route, and its share of the packets."""

    gateway: Address
    weight: int = 1


def read_hops(via: Iterable[Mapping[str, Any]]) -> tuple[Hop, ...]:
    """Return gateways as the agents give them; their interfaces the kernel finds by itself.

    :raises ValueError: one has no address
    """
    return tuple(Hop(ipaddress.ip_address(each["via"] or ""), int(each.get("weight") or 1)) for each in via)


def set_hops(namespace: str | None, destination: Network, hops: Sequence[Hop]) -> None:
    """Make these the only ways to a destination.

    :raises NetworkUnreachable: a gateway is not on a connected network
    """
    wanted, present = set(hops), set()
    weights = read_weights(namespace, destination.version)
    for route in list_routes(family=4 if destination.version == 4 else 6, jail=namespace):
        if route.destination != destination:
            continue
        if not isinstance(route.gateway, str | None):
            hop = Hop(route.gateway, weights.get((destination, route.gateway), 1))
            if hop in wanted:
                present.add(hop)
                continue
        gateway = None if isinstance(route.gateway, str) else route.gateway
        delete_route(destination, gateway, jail=namespace)
    for hop in hops:
        if hop not in present:
            _add_hop(namespace, destination, hop)


def _add_hop(namespace: str | None, destination: Network, hop: Hop) -> None:
    where = [] if namespace is None else ["-j", namespace]
    what = ["default"] if not destination.prefixlen else ["-net", str(destination)]
    argv = ["route", *where, "-n", f"-{destination.version}", "add", *what, str(hop.gateway)]
    try:
        command.run([*argv, "-weight", str(hop.weight)])
    except CommandError as error:
        raise translate(error, _ERRORS) from None


def remove_hops(namespace: str | None, destination: Network, hops: Iterable[Hop]) -> None:
    """Delete ways to a destination; one that is not there is no error."""
    for hop in hops:
        try:
            delete_route(destination, hop.gateway, jail=namespace)
        except RouteNotFound:
            continue


def read_weights(namespace: str | None, version: int) -> dict[tuple[Network, Address], int]:
    """Return the weights of routes over gateways, by destination and gateway; releases that print none have none.

    :raises JailNotFound: there is no such jail
    """
    where = [] if namespace is None else ["-j", namespace]
    argv = ["netstat", "--libxo", "json", "-rn", f"-{version}", *where]
    try:
        result = command.run(argv)
    except CommandError as error:
        raise translate(error, _ERRORS) from None
    try:
        return parse_weights(result.stdout, version)
    except (ValueError, KeyError, TypeError) as error:
        raise CommandError(argv, result.status, result.stdout, f"its output is not understood: {error!r}") from error


def parse_weights(text: str, version: int) -> dict[tuple[Network, Address], int]:
    """Take ``netstat --libxo json -rn`` apart for weights.

    :raises ValueError, KeyError, TypeError: it has another form
    """
    weights = {}
    for family in json.loads(text)["statistics"]["route-information"]["route-table"]["rt-family"]:
        for entry in family.get("rt-entry", []):
            destination, gateway = str(entry["destination"]), str(entry.get("gateway", ""))
            if "weight" not in entry or gateway.startswith("link#") or "%" in destination:
                continue
            if destination == "default":
                destination = "0.0.0.0/0" if version == 4 else "::/0"
            weights[ipaddress.ip_network(destination, strict=False), ipaddress.ip_address(gateway)] = int(
                entry["weight"]
            )
    return weights


def join_hops(
    routes: Sequence[tuple[Route, Interface]], weights: Mapping[tuple[Network, Address], int]
) -> list[dict[str, Any]]:
    """Return the value of RTA_MULTIPATH for the routes to one destination."""
    hops = []
    for route, interface in routes:
        weight = 1
        if not isinstance(route.gateway, str | None):
            weight = weights.get((route.destination, route.gateway), 1)
        attributes = [["RTA_GATEWAY", str(route.gateway).partition("%")[0]]]
        hops.append({"oif": interface.index, "hops": weight - 1, "flags": 0, "attrs": attributes})
    return hops
