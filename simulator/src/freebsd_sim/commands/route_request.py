"""The words of a route(8) command line: destination, gateway, mask and modifiers."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field

from freebsd_sim.call import Call, CommandExit, NotSimulated
from freebsd_sim.commands.addresses import count_fibs, parse_ipv4, parse_ipv6
from freebsd_sim.kernel.errors import KernelError, strerror
from freebsd_sim.kernel.interface_model import Interface
from freebsd_sim.kernel.jails import Jail
from freebsd_sim.kernel.routes import Host, Network

# sysexits(3)
EX_USAGE = 64
EX_DATAERR = 65
EX_NOHOST = 68
EX_OSERR = 71

USAGE = "route: usage: route [-j jail] [-46dnqtv] command [[modifiers] args]"
PLAIN_METRICS = ("mtu", "weight")
OTHER_METRICS = ("hopcount", "expire", "recvpipe", "sendpipe", "ssthresh", "rtt", "rttvar")
REFUSED = (
    "link", "sa", "nostatic", "lock", "lockrest", "proxy", "xresolve", "sticky", "nostick", "ifa", "ifp", "genmask",
)  # fmt: skip


@dataclass
class Request:
    """What the words after the options say."""

    call: Call
    jail: Jail
    command: str
    family: int = 0
    numeric: bool = False
    quiet: bool = False
    on_link: bool = False
    force_net: bool = False
    force_host: bool = False
    is_host: bool = False
    destination: Host | None = None
    destination_text: str = ""
    destination_scope: Interface | None = None
    prefixlen: int | None = None
    gateway: Host | None = None
    gateway_text: str = ""
    interface: Interface | None = None
    words: set[str] = field(default_factory=set)
    metrics: dict[str, int] = field(default_factory=dict)
    fibs: list[int] = field(default_factory=list)

    @property
    def network(self) -> Network:
        """The destination as a prefix; without a mask it is a single address."""
        assert self.destination is not None
        whole = self.destination.max_prefixlen
        length = whole if self.is_host or self.prefixlen is None else self.prefixlen
        return ipaddress.ip_network((self.destination, length), strict=False)

    @property
    def scope(self) -> Interface | None:
        """The interface that a link-local destination belongs to."""
        assert self.destination is not None
        link_local = self.destination.version == 6 and self.destination.is_link_local
        return (self.destination_scope or self.interface) if link_local else None


def bad_keyword(word: str) -> CommandExit:
    """Return what a word that is no keyword ends the program with."""
    return CommandExit(EX_USAGE, f"route: bad keyword: {word}\n{USAGE}")


def parse_words(request: Request, words: list[str]) -> None:
    """Read the words after the command into a request.

    :raises CommandExit: with the program's text and sysexits(3) status
    """
    rest = list(words)

    def take() -> str:
        if not rest:
            raise CommandExit(EX_USAGE, USAGE)
        return rest.pop(0)

    while rest:
        word = rest.pop(0)
        if not word.startswith("-"):
            if request.destination is None:
                _take_destination(request, word)
            elif not request.gateway_text:
                _take_gateway(request, word)
            else:
                _take_netmask(request, word)
            continue
        key = word[1:]
        if key in ("4", "inet"):
            request.family = 4
        elif key in ("6", "inet6"):
            request.family = 6
        elif key in ("iface", "interface"):
            request.on_link = True
        elif key in ("net", "host"):
            request.force_net |= key == "net"
            request.force_host |= key == "host"
        elif key in ("reject", "blackhole", "static", "proto1", "proto2"):
            request.words.add(key)
        elif key == "fib":
            request.fibs = parse_fibs(request.call, take())
        elif key == "gateway":
            _take_gateway(request, take())
        elif key == "dst":
            _take_destination(request, take())
        elif key == "netmask":
            _take_netmask(request, take())
        elif key == "prefixlen":
            _take_prefixlen(request, take())
        elif key in PLAIN_METRICS:
            request.metrics[key] = _parse_metric(take())
        elif key in OTHER_METRICS:
            if _parse_metric(take()):
                raise NotSimulated(f"route: -{key}")
        elif key in REFUSED:
            raise NotSimulated(f"route: -{key}")
        else:
            raise bad_keyword(key)
    if request.destination is None:
        raise CommandExit(EX_USAGE, f"route: destination parameter required\n{USAGE}")
    if request.force_host:
        request.is_host = True
    if request.force_net:
        request.is_host = False
    request.fibs = request.fibs or [0]


def _parse_metric(text: str) -> int:
    try:
        return int(text, 0)
    except ValueError:
        raise CommandExit(EX_USAGE, f"route: {text}: {strerror('EINVAL')}") from None


def parse_fibs(call: Call, text: str) -> list[int]:
    """Return the tables that -fib names: N, A-B, A,B, all, default."""
    count = count_fibs(call)
    wanted: list[int] = []
    if text == "all":
        wanted = list(range(count))
    elif text == "default":
        wanted = [0]
    else:
        for part in text.split(","):
            first, dash, last = part.partition("-")
            if not first.isdigit() or (dash and (not last.isdigit() or int(first) >= int(last))):
                raise CommandExit(EX_USAGE, f"route: invalid fib number: {text}")
            wanted += range(int(first), int(last if dash else first) + 1)
    if any(fib >= count for fib in wanted):
        raise CommandExit(EX_USAGE, f"route: invalid fib number: {text}")
    if any(wanted):
        raise NotSimulated("route: a FIB other than 0")
    return wanted


def _take_destination(request: Request, text: str) -> None:
    request.family = request.family or 4
    # The program cuts the length off an IPv4 destination and prints what is left.
    request.destination_text = text.partition("/")[0] if request.family == 4 else text
    head, slash, length = text.partition("/")
    if text == "default":
        request.destination = ipaddress.ip_address("0.0.0.0" if request.family == 4 else "::")
        request.prefixlen = 0
        return
    if request.family == 4:
        address = _parse_inet(head)
        request.destination = address
        if not slash:
            request.is_host = True
            return
        number = int(length) if length.isdigit() else 0
        if not 0 <= number <= 32 or length.startswith("-"):
            raise CommandExit(EX_NOHOST, f"route: bad mask length: {length}")
        if "." not in head and int(address) & ((1 << (32 - number)) - 1):
            text = f"malformed address, bits set after mask; {head} means {address}"
            raise CommandExit(EX_NOHOST, f"route: {text}")
        request.prefixlen = number
        return
    found = _parse_inet6(request, head)
    request.destination, request.destination_scope = found
    if not slash and int(found[0]) == 0:
        length = "0"
    if not length or length == "128":
        request.is_host = True
    else:
        _take_prefixlen(request, length, force=False)


def _parse_inet(text: str) -> ipaddress.IPv4Address:
    address = parse_ipv4(text)
    if address is None:
        raise CommandExit(EX_NOHOST, f"route: bad address: {text}")
    return address


def _parse_inet6(request: Request, text: str) -> tuple[ipaddress.IPv6Address, Interface | None]:
    found = parse_ipv6(request.call, request.jail, text)
    if found is None:
        raise CommandExit(EX_OSERR, f"route: {text}: Name does not resolve")
    return found


def _take_gateway(request: Request, text: str) -> None:
    request.family = request.family or 4
    request.gateway_text = text
    if request.on_link:
        try:
            request.interface = request.call.kernel.interfaces.get(request.jail, text)
        except KernelError:
            raise CommandExit(EX_DATAERR, f"route: interface '{text}' does not exist") from None
        return
    if text == "default":
        request.gateway = ipaddress.ip_address("0.0.0.0" if request.family == 4 else "::")
    elif request.family == 4:
        request.gateway = _parse_inet(text)
    else:
        request.gateway, request.interface = _parse_inet6(request, text)


def _take_netmask(request: Request, text: str) -> None:
    request.force_net = True
    try:
        if request.family == 6:
            bits = int(ipaddress.IPv6Address(text))
            request.prefixlen = bits.bit_count()
        else:
            request.prefixlen = int(_parse_inet(text)).bit_count()
    except ValueError:
        raise CommandExit(EX_OSERR, f"route: {text}: Name does not resolve") from None


def _take_prefixlen(request: Request, text: str, force: bool = True) -> None:
    most = 128 if request.family == 6 else 32
    number = int(text) if text.isdigit() else 0
    if text.startswith("-") or number > most:
        raise CommandExit(EX_USAGE, f"route: {text}: invalid prefixlen")
    request.prefixlen = number
    if number == most:
        request.force_net, request.is_host = False, True
    else:
        request.force_net, request.is_host = request.force_net or force, False
