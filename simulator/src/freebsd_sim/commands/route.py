"""route(8): change and show routing tables, as the program that talks netlink (14.0 and later)."""

from __future__ import annotations

from freebsd_sim.call import Call, CommandExit, NotSimulated
from freebsd_sim.commands.addresses import count_fibs, enter_jail, format_scoped
from freebsd_sim.commands.bsd_options import parse_options
from freebsd_sim.commands.route_request import EX_USAGE, USAGE, Request, bad_keyword, parse_fibs, parse_words
from freebsd_sim.kernel.errors import ERRORS, KernelError
from freebsd_sim.kernel.interface_model import Interface
from freebsd_sim.kernel.routes import FLAGS, Host, Route

EX_NOPERM = 77  # sysexits(3)

TEXTS = {
    "ESRCH": "not in table",
    "EBUSY": "entry in use",
    "ENOBUFS": "not enough memory",
    "EADDRINUSE": "gateway uses the same route",
    "EEXIST": "route already in table",
}


def main(call: Call) -> int:
    """Run route."""
    if len(call.argv) < 2:
        raise CommandExit(EX_USAGE, USAGE)
    letters, words = parse_options(call, "46nqdtvj:", USAGE, EX_USAGE)
    chosen = dict(letters)
    for letter in "dt":
        if letter in chosen:
            raise NotSimulated(f"route: -{letter}")
    jail = enter_jail(call, chosen.get("j"))
    if not words:
        raise CommandExit(EX_USAGE, USAGE)
    command = words.pop(0)
    family = next((int(letter) for letter, _ in reversed(letters) if letter in "46"), 0)
    request = Request(call, jail, command, family, "n" in chosen, "q" in chosen)
    if command in ("get", "show"):
        parse_words(request, words)
        return _get(request)
    if command in ("add", "change", "del", "delete"):
        _check_root(call)
        parse_words(request, words)
        return _alter(request)
    if command == "flush":
        _check_root(call)
        return _flush(request, words)
    if command == "monitor":
        raise NotSimulated("route: monitor")
    raise bad_keyword(command)


def _check_root(call: Call) -> None:
    if not call.is_root:
        raise CommandExit(EX_NOPERM, "route: must be root to alter routing table")


# Doing


def _alter(request: Request) -> int:
    kernel = request.call.kernel
    refused = None
    try:
        with kernel.lock:
            if request.command in ("del", "delete"):
                by_interface = request.interface if request.on_link else None
                kernel.routes.delete(request.jail, request.network, request.gateway, by_interface, request.scope)
            else:
                _add_or_change(request)
    except KernelError as error:
        refused = error
    kind = "host" if request.is_host else "net"
    line = f"{request.command} {kind} {request.destination_text}"
    if request.gateway_text:
        line += f": gateway {request.gateway_text}"
    if refused is None:
        if not request.quiet:
            request.call.out(f"{line}{' fib 0' if count_fibs(request.call) > 1 else ''}\n")
        return 0
    if refused.name == "ESRCH":
        request.call.err("route: route has not been found\n")
    else:
        request.call.err(f"route: message indicates error: {refused.text}\n")
    if not request.quiet:
        request.call.out(f"{line} fib 0: {TEXTS.get(refused.name, refused.text)}\n")
    return 1


def _add_or_change(request: Request) -> None:
    kernel = request.call.kernel
    if request.gateway is None and not request.on_link:
        raise KernelError("EINVAL")
    loopback = kernel.interfaces.get(request.jail, "lo0")
    route = Route(
        request.network,
        request.interface or loopback,
        gateway=request.gateway,
        host=request.is_host,
        static=True,
        reject="reject" in request.words,
        blackhole="blackhole" in request.words,
        proto1="proto1" in request.words,
        proto2="proto2" in request.words,
        mtu=request.metrics.get("mtu", 0),
        weight=request.metrics.get("weight", 1) or 1,
        scope=request.scope,
    )
    change = kernel.routes.add if request.command == "add" else kernel.routes.change
    change(request.jail, route, on_link=request.on_link)


def _get(request: Request) -> int:
    routes = request.call.kernel.routes
    assert request.destination is not None
    try:
        if request.prefixlen is None or request.is_host:
            route = routes.look_up(request.jail, request.destination, request.scope)
        else:
            found = routes.find(request.jail, request.network, request.scope)
            if not found:
                raise KernelError("ESRCH")
            route = found[0]
    except KernelError as error:
        request.call.err(
            "route: route has not been found\n"
            if error.name == "ESRCH"
            else f"route: message indicates error: {error.text}\n"
        )
        return ERRORS[error.name][0] if request.call.kernel.release.at_least(15) else 0
    request.call.out(_describe(request, route))
    return 0


def _name_address(request: Request, address: Host, scope: Interface | None = None) -> str:
    """Return what routename() of the program makes of an address: the zero address is "default" only without -n."""
    if int(address) == 0 and not request.numeric:
        return "default"
    return format_scoped(address, scope)


def _describe(request: Request, route: Route) -> str:
    assert request.destination is not None
    lines = [f"   route to: {_name_address(request, request.destination, request.scope)}"]
    lines.append(f"destination: {_name_address(request, route.destination.network_address, route.scope)}")
    if route.destination.prefixlen != route.destination.max_prefixlen:
        lines.append(f"       mask: {_name_address(request, route.destination.netmask)}")
    if route.gateway is not None:
        scope = route.interface if route.gateway.version == 6 and route.gateway.is_link_local else None
        lines.append(f"    gateway: {_name_address(request, route.gateway, scope)}")
    lines.append("        fib: 0")
    lines.append(f"  interface: {route.interface.name}")
    words = [FLAGS[name][1] for name in ("up", "gateway", "host", "reject") if name in route.flags]
    words.append("DONE")
    words += [FLAGS[name][1] for name in ("static", "blackhole", "proto2", "proto1") if name in route.flags]
    if route.pinned:
        words.append("PINNED")
    lines.append(f"      flags: <{','.join(words)}>")
    heads = ("recvpipe", "sendpipe", "ssthresh", "rtt,msec", "mtu   ")
    lines.append(" ".join([*(f"{head:>9}" for head in heads), f"{'weight':>10}", f"{'expire':>9}"]))
    numbers = (0, 0, 0, 0, route.mtu or route.interface.mtu, route.weight)
    lines.append("".join(f"{number:8d}  " for number in numbers) + f"{0:8d} ")
    return "".join(f"{line}\n" for line in lines)


def _flush(request: Request, words: list[str]) -> int:
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if word in ("-4", "-inet"):
            request.family = 4
        elif word in ("-6", "-inet6"):
            request.family = 6
        elif word == "-fib":
            if not rest:
                raise bad_keyword(word)
            parse_fibs(request.call, rest.pop(0))
        else:
            raise bad_keyword(word)
    routes = request.call.kernel.routes
    with request.call.kernel.lock:
        for version in (4, 6) if request.family == 0 else (request.family,):
            for route in routes.table(request.jail, version):
                if route.gateway is None:
                    continue
                routes.delete(request.jail, route.destination, route.gateway, scope=route.scope)
                if not request.quiet:
                    request.call.out(f"{_name_flushed(route):<20.20} {route.gateway!s:<20.20} -fib {0:<3d} done\n")
    return 0


def _name_flushed(route: Route) -> str:
    address = route.destination.network_address
    if route.host or address.version == 6:
        return str(address)
    if int(address) == 0:
        return "default"
    parts = str(address).split(".")
    while len(parts) > 1 and parts[-1] == "0":
        parts.pop()
    return ".".join(parts)
