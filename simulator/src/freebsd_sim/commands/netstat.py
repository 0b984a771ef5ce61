"""netstat(1): routing tables and interface counters; everything else is refused."""

from __future__ import annotations

from typing import Any

from freebsd_sim.call import Call, CommandExit, NotSimulated
from freebsd_sim.commands import netstat_interfaces
from freebsd_sim.commands.addresses import count_fibs, enter_jail, format_scoped
from freebsd_sim.commands.bsd_options import parse_options
from freebsd_sim.commands.libxo import format_document, take_style
from freebsd_sim.kernel.jails import Jail
from freebsd_sim.kernel.routes import FLAGS, Route

EX_USAGE = 64
USAGE = "usage: netstat [-j jail] [-46AaCLnPRSTWx] [-f protocol_family | -p protocol]"
LETTERS = "46AaBbCdF:f:ghI:ij:LlM:mN:nOoPp:QqRrSTsuWw:xz"
FAMILIES = {4: "Internet", 6: "Internet6"}


def main(call: Call) -> int:
    """Run netstat."""
    as_json = take_style(call)
    letters, operands = parse_options(call, LETTERS, USAGE)
    chosen = dict(letters)
    if operands:
        raise NotSimulated("netstat: operands")
    jail = enter_jail(call, chosen.get("j"))
    family = _take_family(letters)
    if "r" in chosen and not chosen.keys() & set("AsoOi"):
        return _show_routes(call, jail, family, chosen, as_json)
    if chosen.keys() & {"i", "I"} and not chosen.keys() & set("awshqg"):
        text = netstat_interfaces.show(call, jail, family, chosen, as_json)
        call.out(text)
        return 0
    raise NotSimulated("netstat: other than -r and -i")


def _take_family(letters: list[tuple[str, str]]) -> int:
    family = 0
    for letter, argument in letters:
        if letter in "46":
            family = int(letter)
        elif letter == "f":
            if argument not in ("inet", "inet6", "link"):
                raise CommandExit(1, f"netstat: {argument}: unknown address family")
            if argument == "link":
                raise NotSimulated("netstat: -f link")
            family = 4 if argument == "inet" else 6
    return family


def _show_routes(call: Call, jail: Jail, family: int, chosen: dict[str, str], as_json: bool) -> int:
    fib = chosen.get("F", "0")
    if not fib.isdigit() or int(fib) >= count_fibs(call):
        raise CommandExit(EX_USAGE, f"netstat: {fib}: invalid fib")
    if fib != "0":
        raise NotSimulated("netstat: a FIB other than 0")
    tables = {version: call.kernel.routes.table(jail, version) for version in FAMILIES if family in (0, version)}
    tables = {version: routes for version, routes in tables.items() if routes}
    wide, numeric = "W" in chosen, "n" in chosen
    if as_json:
        families = [
            {"address-family": FAMILIES[version], "rt-entry": [_describe(call, jail, route, wide) for route in routes]}
            for version, routes in tables.items()
        ]
        inside = {"route-information": {"route-table": {"rt-family": families}}}
        call.out(format_document({"statistics": inside}))
        return 0
    call.out("Routing tables\n")
    for version, routes in tables.items():
        call.out(f"\n{FAMILIES[version]}:\n{_format_heading(version, wide, numeric)}\n")
        for route in routes:
            call.out(f"{_format_route(call, jail, route, wide, numeric)}\n")
    return 0


def name_destination(route: Route, numeric: bool = True) -> str:
    """Return a destination as netstat prints it."""
    address, length = route.destination.network_address, route.destination.prefixlen
    if route.host:
        if not numeric and route.scope is None and (str(address) == "::1" or str(address) == "127.0.0.1"):
            return "localhost"
        return format_scoped(address, route.scope)
    if length == 0:
        return "default"
    return f"{format_scoped(address, route.scope)}/{length}"


def name_gateway(route: Route) -> str:
    """Return a gateway as netstat prints it; a route on the link has the interface's number."""
    if route.gateway is None:
        return f"link#{route.interface.index}"
    scope = route.interface if route.gateway.version == 6 and route.gateway.is_link_local else None
    return format_scoped(route.gateway, scope)


def _letters_of(route: Route) -> str:
    return "".join(FLAGS[name][0] for name in route.flags)


def _describe(call: Call, jail: Jail, route: Route, wide: bool) -> dict[str, Any]:
    number = call.kernel.routes.nexthop_number(jail, route)
    entry: dict[str, Any] = {
        "destination": name_destination(route),
        "gateway": name_gateway(route),
        "flags": _letters_of(route),
        "flags_pretty": route.flags,
        "weight": route.weight,
        "nhop-kidx": number,
    }
    if wide:
        entry |= {"nhop": number, "mtu": route.mtu or route.interface.mtu}
    return entry | {"interface-name": route.interface.name}


# Text


def _widths(version: int, wide: bool, numeric: bool) -> tuple[int, int, int]:
    if version == 6:
        return (33, 29, 8) if numeric else (18, 18, 8)
    return 18, 18, 10 if wide else 8


def _format_heading(version: int, wide: bool, numeric: bool) -> str:
    destination, gateway, name = _widths(version, wide, numeric)
    words = [f"{'Destination':<{destination}}", f"{'Gateway':<{gateway}}", f"{'Flags':<6}"]
    if wide:
        words += [f"{'Nhop#':>6}", f"{'Mtu':>6}"]
    return " ".join([*words, f"{'Netif':>{name}}", f"{'Expire':>6}"])


def _format_route(call: Call, jail: Jail, route: Route, wide: bool, numeric: bool) -> str:
    first, second, name_width = _widths(route.destination.version, wide, numeric)
    destination, gateway = name_destination(route, numeric), name_gateway(route)
    # What is too long pushes the next column, which gives way as far as it can.
    too_long = 0
    if wide or numeric:
        too_long = max(len(destination) - first, 0)
    else:
        destination = destination[:first]
    second_width = max(second - too_long, 0)
    text = f"{destination:<{first}} {gateway:<{second_width}} "
    too_long = max(len(gateway) - second_width, 0)
    text += f"{_letters_of(route):<{max(6 - too_long, 0)}} "
    name = route.interface.name
    if wide:
        number = call.kernel.routes.nexthop_number(jail, route)
        return text + f"{number:>6} {route.mtu or route.interface.mtu:>6} {name:>{name_width}}"
    return text + f"{name[:name_width]:>{name_width}}"
