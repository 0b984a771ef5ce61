"""Routes: list, look up, add, change, delete and replace, in each table and each jail.

netstat(1) lists them as JSON. route(8) reports failures on standard output,
on standard error or on both, by release; all its texts are turned into typed
errors here, and a look-up is judged by what it prints, not by its status.
"""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from beastack.freebsd.command import CommandError, Result, run
from beastack.freebsd.errors import (
    InterfaceNotFound,
    InvalidArgument,
    JailNotFound,
    NetworkUnreachable,
    PermissionDenied,
    RouteExists,
    RouteNotFound,
    translate,
)

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network
#: ``blackhole`` drops silently, ``reject`` answers that the destination cannot be reached.
Kind = Literal["unicast", "blackhole", "reject"]

# Texts of route(8), of both its builds, and of netstat(1) (sbin/route/route.c, route_netlink.c).
_ERRORS: tuple[tuple[str, type[CommandError]], ...] = (
    ("must be root to alter routing table", PermissionDenied),
    ("Operation not permitted", PermissionDenied),
    ("Cannot attach to jail", PermissionDenied),
    ("cannot attach to jail", PermissionDenied),
    ("Jail not found", JailNotFound),
    ("jail not found", JailNotFound),
    ("route already in table", RouteExists),
    ("File exists", RouteExists),
    ("route has not been found", RouteNotFound),
    (": not in table", RouteNotFound),
    ("No such process", RouteNotFound),
    ("Network is unreachable", NetworkUnreachable),
    ("gateway uses the same route", InvalidArgument),
    ("entry in use", InvalidArgument),
    ("' does not exist", InterfaceNotFound),
    ("invalid fib", InvalidArgument),
    ("bad address", InvalidArgument),
    ("bad mask length", InvalidArgument),
    ("malformed address", InvalidArgument),
    ("invalid prefixlen", InvalidArgument),
    ("bad keyword", InvalidArgument),
    ("destination parameter required", InvalidArgument),
    ("Invalid argument", InvalidArgument),
)
# What netstat(1) calls its flags (usr.bin/netstat/route.c).
_FLAG_WORDS = {
    "U": "up",
    "G": "gateway",
    "H": "host",
    "R": "reject",
    "D": "dynamic",
    "M": "modified",
    "d": "done",
    "X": "xresolve",
    "S": "static",
    "1": "proto1",
    "2": "proto2",
    "3": "proto3",
    "B": "blackhole",
    "b": "broadcast",
    "L": "llinfo",
}


@dataclass(frozen=True)
class Route:
    """One path to a destination; a destination with several paths is several routes.

    ``gateway`` is an address, ``link#N`` for a route straight to an interface,
    or None when the listing names none. ``flags`` are words in lower case
    (``up gateway host static blackhole reject pinned`` ...). ``interface`` is
    empty when the kernel shows none. ``mtu`` is in bytes and None where not
    shown; ``expire`` is in seconds from now and None for a route that stays.
    """

    destination: Network
    gateway: Address | str | None
    flags: frozenset[str]
    interface: str
    mtu: int | None = None
    expire: int | None = None


def list_routes(
    *, family: Literal[4, 6] | None = None, fib: int | None = None, jail: str | None = None
) -> tuple[Route, ...]:
    """Return the routes of one table, in the order of netstat(1).

    :param family: 4 or 6; without it, both
    :param fib: number of the table; without it, that of this process
    :param jail: the jail whose network stack is meant; without it, our own
    :raises JailNotFound: there is no such jail
    :raises InvalidArgument: there is no table of that number
    """
    argv = ["netstat", "--libxo", "json", "-rn"]
    if family is not None:
        argv.append(f"-{family}")
    if fib is not None:
        argv += ["-F", str(fib)]
    if jail is not None:
        argv += ["-j", jail]
    result = _run(argv)
    try:
        families = json.loads(result.stdout)["statistics"]["route-information"]["route-table"]["rt-family"]
        return tuple(
            _parse_entry(entry, str(group["address-family"]))
            for group in families
            if group["address-family"] in ("Internet", "Internet6")
            for entry in group.get("rt-entry", [])
        )
    except (ValueError, KeyError, TypeError) as error:
        raise CommandError(argv, result.status, result.stdout, f"its output is not understood: {error!r}") from error


def _parse_entry(entry: dict[str, Any], family: str) -> Route:
    words = entry.get("flags_pretty")
    if words is None:
        words = [_FLAG_WORDS.get(letter, letter) for letter in entry.get("flags", "")]
    interface = entry.get("interface-name", "")
    return Route(
        destination=_parse_destination(entry["destination"], 6 if family == "Internet6" else 4),
        gateway=_parse_gateway(entry.get("gateway")),
        flags=frozenset(words),
        interface="" if interface == "---" else interface,
        mtu=_parse_number(entry.get("mtu")),
        expire=_parse_number(entry.get("expire-time")),
    )


def _parse_destination(text: str, version: int) -> Network:
    if text == "default":
        return ipaddress.ip_network("0.0.0.0/0" if version == 4 else "::/0")
    # A zone stands before the length (fe80::%lo0/64) and repeats the interface.
    address, _, length = text.partition("/")
    return ipaddress.ip_network(f"{address.partition('%')[0]}/{length or (32 if version == 4 else 128)}", strict=False)


def _parse_gateway(text: str | None) -> Address | str | None:
    if text is None or text == "null":
        return None
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return text


def _parse_number(value: str | int | None) -> int | None:
    # A lock on a metric is printed as an L behind it.
    number = 0 if value is None else int(str(value).rstrip("L"))
    return number or None


def get_route(address: Address | str, *, fib: int | None = None, jail: str | None = None) -> Route:
    """Return the route that a packet to this address takes.

    Its exit status says nothing reliable: 0, 3 or 255 for a missing route, by
    release; only what is printed counts.

    :raises RouteNotFound: none leads there
    :raises JailNotFound: there is no such jail
    """
    target = ipaddress.ip_address(address) if isinstance(address, str) else address
    argv = [*_begin(target.version, jail), "get", str(target), *_choose_fib(fib)]
    result = _run(argv, ok=range(256))
    found = _parse_get(result.stdout, target.version)
    if found is not None:
        return found
    failure = CommandError(argv, result.status, result.stdout, result.stderr)
    typed = translate(failure, _ERRORS)
    if typed is failure and not result.stdout.strip() and not result.stderr.strip():
        raise RouteNotFound(argv, result.status, result.stdout, f"there is no route to {target}")
    raise typed


def _parse_get(text: str, version: int) -> Route | None:
    fields: dict[str, str] = {}
    metrics: dict[str, str] = {}
    lines = text.splitlines()
    for number, line in enumerate(lines):
        if line.split()[:1] == ["recvpipe"] and number + 1 < len(lines):
            metrics = dict(zip(line.split(), lines[number + 1].split(), strict=False))
        name, colon, value = line.partition(": ")
        if colon:
            fields[name.strip()] = value.strip()
    if "destination" not in fields:
        return None
    network = fields["destination"]
    if network != "default" and "mask" in fields:
        network = f"{network.partition('/')[0]}/{_count_bits(fields['mask'])}"
    return Route(
        destination=_parse_destination(network, version),
        gateway=_parse_gateway(fields.get("gateway")),
        flags=frozenset(word.lower() for word in fields.get("flags", "").strip("<>").split(",") if word),
        interface=fields.get("interface", ""),
        mtu=_parse_number(metrics.get("mtu")),
        expire=_parse_number(metrics.get("expire")),
    )


def _count_bits(mask: str) -> int:
    # With -n the mask of a default route is printed as an address, without it as a word.
    return 0 if mask == "default" else int(ipaddress.ip_address(mask)).bit_count()


def add_route(
    destination: Network | str,
    gateway: Address | str | None = None,
    *,
    interface: str | None = None,
    kind: Kind = "unicast",
    mtu: int | None = None,
    fib: int | None = None,
    jail: str | None = None,
) -> None:
    """Add a route.

    The kernel takes a further gateway for a destination that has one as a
    second path (multipath); ``replace_route`` is for the one path wanted.

    :param destination: a network; a single address as /32 or /128
    :param gateway: where to send packets; FreeBSD finds its interface itself
    :param interface: without a gateway, the interface the destination is
        directly on; with a link-local gateway, its zone
    :param mtu: bytes
    :raises RouteExists: it is there already
    :raises NetworkUnreachable: the gateway is not on a connected network
    :raises InterfaceNotFound: there is no such interface
    :raises JailNotFound: there is no such jail
    :raises InvalidArgument: route(8) or the kernel refuse a value
    :raises PermissionDenied: not root
    :raises ValueError: the arguments do not make a route
    """
    _write("add", destination, gateway, interface, kind, mtu, fib, jail)


def change_route(
    destination: Network | str,
    gateway: Address | str | None = None,
    *,
    interface: str | None = None,
    kind: Kind = "unicast",
    mtu: int | None = None,
    fib: int | None = None,
    jail: str | None = None,
) -> None:
    """Let an existing destination be reached another way, in one step of the kernel.

    :raises RouteNotFound: the destination has no route
    :raises RouteExists: it is the route that an interface's own address brings, which cannot be changed
    :raises CommandError: otherwise as for ``add_route``
    """
    _write("change", destination, gateway, interface, kind, mtu, fib, jail)


def delete_route(
    destination: Network | str,
    gateway: Address | str | None = None,
    *,
    interface: str | None = None,
    fib: int | None = None,
    jail: str | None = None,
) -> None:
    """Delete a route.

    :param gateway: delete only the path over this gateway, which a destination with several paths needs
    :param interface: delete only the path straight to this interface, or the zone of a link-local gateway
    :raises RouteNotFound: it is not there
    :raises CommandError: otherwise as for ``add_route``
    """
    network = _read_network(destination)
    way: list[str] = []
    if gateway is not None or interface is not None:
        way = _choose_way(network, gateway, interface, "unicast")
    _run([*_begin(network.version, jail), "delete", *_choose_destination(network), *way, *_choose_fib(fib)])


def replace_route(
    destination: Network | str,
    gateway: Address | str | None = None,
    *,
    interface: str | None = None,
    kind: Kind = "unicast",
    mtu: int | None = None,
    fib: int | None = None,
    jail: str | None = None,
) -> None:
    """Make this the only path to the destination, whatever was there before.

    The kernel exchanges the path in one step; where a release refuses that,
    the wanted path joins before the others leave. Only a destination that can
    have one path (on-link or blackhole) is without a route for a moment, and
    only if the kernel refuses the change.

    :raises RouteExists: the destination is the network of an interface's own address, over another interface
    :raises CommandError: otherwise as for ``add_route``
    """
    network = _read_network(destination)
    wanted = Route(network, _read_gateway(network, gateway), frozenset({kind}), interface or "")
    arguments = (network, gateway, interface, kind, mtu, fib, jail)
    paths = _list_paths(network, fib, jail)
    if mtu is None and len(paths) == 1 and _is_same_path(paths[0], wanted):
        return
    # Never add first: a second gateway would become a second path without an error.
    if not paths:
        try:
            _write("add", *arguments)
            return
        except RouteExists:
            pass
    try:
        _write("change", *arguments)
    except RouteNotFound:
        # It has gone meanwhile, or the routing-socket build looks for a path over the new gateway.
        pass
    paths = _list_paths(network, fib, jail)
    if not any(_is_same_path(path, wanted) for path in paths):
        try:
            _write("add", *arguments)
        except RouteExists:
            for path in paths:
                _delete_path(path, fib, jail)
            _write("add", *arguments)
            return
    for path in paths:
        if not _is_same_path(path, wanted):
            _delete_path(path, fib, jail)


def _list_paths(network: Network, fib: int | None, jail: str | None) -> list[Route]:
    family: Literal[4, 6] = 4 if network.version == 4 else 6
    return [route for route in list_routes(family=family, fib=fib, jail=jail) if route.destination == network]


def _is_same_path(path: Route, wanted: Route) -> bool:
    (kind,) = wanted.flags
    if path.flags & {"blackhole", "reject"} or kind != "unicast":
        return kind in path.flags
    if wanted.gateway is None:
        return "gateway" not in path.flags and path.interface == wanted.interface
    if not isinstance(path.gateway, ipaddress.IPv4Address | ipaddress.IPv6Address):
        return False
    # The zone is compared as the interface: a listing may leave it out.
    if int(path.gateway) != int(ipaddress.ip_address(str(wanted.gateway))):
        return False
    zone = getattr(wanted.gateway, "scope_id", None) or (wanted.interface if path.gateway.is_link_local else "")
    return not zone or path.interface == zone


def _delete_path(path: Route, fib: int | None, jail: str | None) -> None:
    through = path.gateway if "gateway" in path.flags and not isinstance(path.gateway, str) else None
    try:
        delete_route(path.destination, through, interface=path.interface if through else None, fib=fib, jail=jail)
    except RouteNotFound:
        pass


def _write(
    verb: str,
    destination: Network | str,
    gateway: Address | str | None,
    interface: str | None,
    kind: Kind,
    mtu: int | None,
    fib: int | None,
    jail: str | None,
) -> None:
    network = _read_network(destination)
    options = [*_choose_fib(fib), *(["-mtu", str(mtu)] if mtu is not None else [])]
    if kind != "unicast":
        options.append(f"-{kind}")
    way = _choose_way(network, gateway, interface, kind)
    argv = [*_begin(network.version, jail), verb, *_choose_destination(network), *way, *options]
    try:
        _run(argv)
    except InvalidArgument as error:
        # The netlink kernel says no more than this of a gateway that is not on a connected network.
        through = _read_gateway(network, gateway)
        if through is None or "Invalid argument" not in error.stderr + error.stdout:
            raise
        if _is_connected(through, fib, jail):
            raise
        raise NetworkUnreachable(error.argv, error.status, error.stdout, error.stderr) from error


def _is_connected(gateway: Address, fib: int | None, jail: str | None) -> bool:
    try:
        return "gateway" not in get_route(gateway, fib=fib, jail=jail).flags
    except RouteNotFound:
        return False


def _read_network(destination: Network | str) -> Network:
    return ipaddress.ip_network(destination) if isinstance(destination, str) else destination


def _read_gateway(network: Network, gateway: Address | str | None) -> Address | None:
    address = ipaddress.ip_address(gateway) if isinstance(gateway, str) else gateway
    if address is not None and address.version != network.version:
        raise ValueError(f"the gateway {address} of {network} is of another address family")
    return address


def _begin(version: int, jail: str | None) -> list[str]:
    return ["route", *(["-j", jail] if jail is not None else []), "-n", f"-{version}"]


def _choose_fib(fib: int | None) -> list[str]:
    return ["-fib", str(fib)] if fib is not None else []


def _choose_destination(network: Network) -> list[str]:
    if network.prefixlen == 0:
        return ["default"]
    if network.prefixlen == network.max_prefixlen:
        return ["-host", str(network.network_address)]
    return ["-net", str(network)]


def _choose_way(network: Network, gateway: Address | str | None, interface: str | None, kind: Kind) -> list[str]:
    """Return gateway or interface as route(8) wants them: -iface counts only for what stands behind it."""
    address = _read_gateway(network, gateway)
    if kind != "unicast":
        if address is not None or interface is not None:
            raise ValueError(f"a {kind} route to {network} has neither gateway nor interface")
        return ["127.0.0.1" if network.version == 4 else "::1"]
    if address is None:
        if interface is None:
            raise ValueError(f"a route to {network} needs a gateway or an interface")
        return ["-iface", interface]
    if isinstance(address, ipaddress.IPv6Address) and address.is_link_local and address.scope_id is None:
        if interface is None:
            raise ValueError(f"the link-local gateway {address} of {network} needs an interface")
        return [f"{address}%{interface}"]
    return [str(address)]


def _run(argv: Sequence[str], ok: Sequence[int] = (0,)) -> Result:
    try:
        return run(argv, ok=ok)
    except CommandError as error:
        # It never ended: what Python says of a missing program is not a refusal of the host.
        if error.status is None:
            raise
        raise translate(error, _ERRORS) from error
