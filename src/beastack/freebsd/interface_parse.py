"""What ifconfig(8) prints about network interfaces, as data.

Pure: text in, frozen dataclasses out, no command is run. The order of the
lines in a block differs between releases, so each line is told by its first
words; what is not known is kept in ``Interface.other``. Formats are those of
sbin/ifconfig of FreeBSD 14 and 15.
"""

from __future__ import annotations

import ipaddress
import math
import re
from collections.abc import Sequence

from beastack.freebsd.interface_data import (
    Address,
    Bridge,
    BridgeAddress,
    BridgeMember,
    Endpoint,
    Interface,
    Tunnel,
    Vlan,
    Vxlan,
    Words,
)

_HEADER = re.compile(r"^(.+?): flags=([0-9a-f]+)(?:<([^>]*)>)? metric (\d+) mtu (\d+)$")
_EPAIR = re.compile(r"(epair\d+)[ab]?")

#: How the lines of a block begin, the part after the tab; the rest is the value.
_BEGINNINGS = (
    "description: ", "options=", "options ", "ether ", "lladdr ", "hwaddr ", "inet ", "inet6 ", "groups: ", "media: ",
    "status: ", "nd6 options=", "Opened by PID ", "fib: ", "tunnelfib: ", "tunnel ", "pcp ", "drivername: ",
    "id ", "maxage ", "root id ", "bridge flags=", "member: ", "vlan: ", "vxlan vni ",
)  # fmt: skip

Line = tuple[str, str]


def parse_interfaces(text: str) -> tuple[Interface, ...]:
    """Return the interfaces of an ``ifconfig -a`` or ``ifconfig NAME`` output, in its order.

    Two interfaces may have one name: an interface that comes home from a
    removed jail is not checked against those that are there.

    :raises ValueError: a known line does not have its known form
    """
    interfaces: list[Interface] = []
    header: re.Match[str] | None = None
    lines: list[Line] = []
    for raw in text.split("\n"):
        if raw.startswith("\t"):
            if header and raw[1:2].isspace() and lines:
                # Indented twice: the line before goes on.
                lines[-1] = (lines[-1][0], f"{lines[-1][1]} {raw.strip()}")
            elif header:
                lines.append(_split_line(raw[1:]))
        elif found := _HEADER.match(raw):
            if header:
                interfaces.append(_build_interface(header, lines))
            header, lines = found, []
    if header:
        interfaces.append(_build_interface(header, lines))
    return tuple(interfaces)


def parse_names(text: str) -> tuple[str, ...]:
    """Return the names of an ``ifconfig -l`` or ``ifconfig -g GROUP`` output."""
    return tuple(text.split())


def parse_bridge_addresses(text: str) -> tuple[BridgeAddress, ...]:
    """Return the table that ``ifconfig BRIDGE addr`` prints."""
    entries = []
    for line in text.splitlines():
        if line.strip():
            mac, vlan, member, expires, flags = line.split()
            words = parse_words(flags.removeprefix("flags="))
            entries.append(BridgeAddress(mac, int(vlan.removeprefix("Vlan")), member, int(expires), words))
    return tuple(entries)


def parse_words(text: str) -> Words:
    """Return ``8843<UP,BROADCAST>`` (hexadecimal, the words optional) as Words."""
    value, _, names = text.strip().partition("<")
    return Words(int(value, 16), tuple(name for name in names.rstrip(">").split(",") if name))


def parse_address(line: str) -> Address:
    """Return a line that begins with ``inet`` or ``inet6``.

    Both forms of the prefix are read: ``/24`` (ifconfig -f inet:cidr,inet6:cidr)
    and ``netmask 0xffffff00``, ``netmask 255.255.255.0`` or ``prefixlen 64``.
    """
    family, local, *rest = line.split()
    local, prefix = _cut_prefix(local)
    local, _, scope = local.partition("%")
    destination = None
    words: list[str] = []
    values: dict[str, str] = {}
    tokens = iter(rest)
    for token in tokens:
        if token == "-->":
            destination, far_prefix = _cut_prefix(next(tokens))
            destination = destination.partition("%")[0]
            prefix = prefix if far_prefix is None else far_prefix
        elif token in ("netmask", "prefixlen", "broadcast", "vhid", "scopeid", "pltime", "vltime"):
            values[token] = next(tokens)
        elif not token.isdigit():  # a number follows "infty" in some builds
            words.append(token)
    if prefix is None:
        prefix = int(values["prefixlen"]) if family == "inet6" else _count_mask(values["netmask"])
    return Address(
        address=ipaddress.ip_address(local),
        prefix_length=prefix,
        broadcast=ipaddress.IPv4Address(values["broadcast"]) if "broadcast" in values else None,
        destination=ipaddress.ip_address(destination) if destination else None,
        vhid=int(values["vhid"]) if "vhid" in values else None,
        scope=scope or None,
        scope_id=int(values["scopeid"], 16) if "scopeid" in values else None,
        words=tuple(words),
        preferred_lifetime=_read_lifetime(values.get("pltime")),
        valid_lifetime=_read_lifetime(values.get("vltime")),
    )


def find_epair_peer(interface: Interface, interfaces: Sequence[Interface]) -> Interface | None:
    """Return the other half of an epair among the interfaces of the same reading.

    Both halves keep the pair's name as driver name (``epair3``, or ``epair3a``
    and ``epair3b``). None when the other half is elsewhere, or cannot be told
    because more than one may be it. A pair that was made inside a jail counts
    from epair0 again: its half, brought out, can be mistaken for one made here.
    """
    pair = _read_pair(interface)
    if pair is None:
        return None
    mates = [
        other
        for other in interfaces
        if _read_pair(other) == pair and other.name != interface.name and not _is_same_half(other, interface)
    ]
    return mates[0] if len(mates) == 1 else None


def _read_pair(interface: Interface) -> str | None:
    found = _EPAIR.fullmatch(interface.driver_name or interface.name)
    return found.group(1) if found else None


def _is_same_half(one: Interface, other: Interface) -> bool:
    """Whether both driver names say which half they are, and the same."""
    return one.driver_name == other.driver_name and (one.driver_name or "").endswith(("a", "b"))


def _split_line(line: str) -> Line:
    for beginning in _BEGINNINGS:
        if line.startswith(beginning):
            return beginning, line[len(beginning) :]
    return "", line.rstrip()


def _build_interface(header: re.Match[str], lines: Sequence[Line]) -> Interface:
    name, flags, words, metric, mtu = header.groups()

    def read_all(*beginnings: str) -> list[str]:
        return [value for beginning, value in lines if beginning in beginnings]

    def read_text(*beginnings: str) -> str | None:
        found = read_all(*beginnings)
        return found[0].strip() if found else None

    addresses = tuple(parse_address(b + value) for b, value in lines if b in ("inet ", "inet6 "))
    description = read_all("description: ")
    options = read_text("options=")
    unnumbered = read_text("options ")
    nd6_options = read_text("nd6 options=")
    pcp = read_text("pcp ")
    vlan = read_text("vlan: ")
    vxlan = read_text("vxlan vni ")
    tunnel = read_text("tunnel ")
    return Interface(
        name=name,
        flags=parse_words(f"{flags}<{words or ''}>"),
        mtu=int(mtu),
        metric=int(metric),
        index=next((a.scope_id for a in addresses if a.address.is_link_local and a.scope_id), None),
        description=description[0] if description else None,
        options=parse_words(options)
        if options
        else Words(0, tuple((unnumbered or "").split(",")) if unnumbered else ()),
        mac=read_text("ether ", "lladdr "),
        permanent_mac=read_text("hwaddr "),
        addresses=addresses,
        groups=tuple((read_text("groups: ") or "").split()),
        media=read_text("media: "),
        status=read_text("status: "),
        fib=int(read_text("fib: ") or 0),
        tunnel_fib=int(read_text("tunnelfib: ") or 0),
        pcp=int(pcp) if pcp else None,
        driver_name=read_text("drivername: "),
        nd6_options=parse_words(nd6_options) if nd6_options else None,
        opened_by=tuple(int(pid) for pid in read_all("Opened by PID ")),
        bridge=_build_bridge(lines),
        vlan=_parse_vlan(vlan) if vlan else None,
        vxlan=_parse_vxlan(vxlan) if vxlan else None,
        tunnel=_parse_tunnel(tunnel) if tunnel else None,
        other=tuple(value for beginning, value in lines if not beginning),
    )


def _build_bridge(lines: Sequence[Line]) -> Bridge | None:
    values = {b: v.split() for b, v in lines if b in ("id ", "maxage ", "root id ", "bridge flags=")}
    if "id " not in values or "maxage " not in values or "root id " not in values:
        return None
    first = _pair_words(["id", *values["id "]])
    second = _pair_words(["maxage", *values["maxage "]])
    root = _pair_words(["id", *values["root id "]])
    flags, *more = values.get("bridge flags=", [""])
    untagged = [word.removeprefix("defuntagged=") for word in more if word.startswith("defuntagged=")]
    return Bridge(
        id=first["id"],
        priority=int(first["priority"]),
        hello_time=int(first["hellotime"]),
        forward_delay=int(first["fwddelay"]),
        max_age=int(second["maxage"]),
        hold_count=int(second["holdcnt"]),
        protocol=second["proto"],
        max_addresses=int(second["maxaddr"]),
        timeout=int(second["timeout"]),
        root_id=root["id"],
        root_priority=int(root["priority"]),
        root_cost=int(root["ifcost"]),
        root_port=int(root["port"]),
        flags=parse_words(flags) if flags else None,
        default_untagged=int(untagged[0]) if untagged else None,
        members=tuple(_parse_member(value) for beginning, value in lines if beginning == "member: "),
    )


def _parse_member(text: str) -> BridgeMember:
    name, _, rest = text.partition(" flags=")
    rest = re.sub(r"<unknown [^>]*>", "", rest)
    flags, *words = rest.replace("path cost", "path-cost").replace("vlan protocol", "vlan-protocol").split()
    values = _pair_words(words)

    def read_number(key: str) -> int | None:
        return int(values[key]) if key in values else None

    return BridgeMember(
        name=name,
        flags=parse_words(flags),
        port=read_number("port"),
        priority=read_number("priority"),
        path_cost=read_number("path-cost"),
        max_addresses=read_number("ifmaxaddr") or 0,
        stp_protocol=values.get("proto"),
        stp_role=values.get("role"),
        stp_state=values.get("state"),
        vlan_protocol=values.get("vlan-protocol"),
        untagged=read_number("untagged"),
        tagged=parse_vlan_set(values.get("tagged", "")),
    )


def parse_vlan_set(text: str) -> frozenset[int]:
    """Return ``10,20,100-199`` as VLAN identifiers."""
    tags: set[int] = set()
    for part in text.split(","):
        if part:
            first, _, last = part.partition("-")
            tags.update(range(int(first), int(last or first) + 1))
    return frozenset(tags)


def _pair_words(words: Sequence[str]) -> dict[str, str]:
    return dict(zip(words[::2], words[1::2], strict=False))


def _parse_vlan(text: str) -> Vlan:
    found = re.fullmatch(r"(\d+) vlanproto: (\S+) vlanpcp: (\d+) parent interface: (.+)", text)
    if not found:
        raise ValueError(f"not the vlan line of ifconfig: {text!r}")
    tag, protocol, pcp, parent = found.groups()
    return Vlan(int(tag), protocol, int(pcp), None if parent == "<none>" else parent)


def _parse_vxlan(text: str) -> Vxlan:
    found = re.match(r"(\d+) local (\S+) (remote|group) (\S+)", text)
    if not found:
        raise ValueError(f"not the vxlan line of ifconfig: {text!r}")
    vni, local, far, remote = found.groups()
    return Vxlan(int(vni), _parse_endpoint(local), _parse_endpoint(remote), far == "group")


def _parse_endpoint(text: str) -> Endpoint | None:
    address, _, port = text.rpartition(":")
    address = address.strip("[]").partition("%")[0]
    return Endpoint(ipaddress.ip_address(address), int(port)) if address and port else None


def _parse_tunnel(text: str) -> Tunnel:
    _family, _, ends = text.partition(" ")
    local, _, remote = ends.partition(" --> ")
    return Tunnel(local.strip(), remote.strip())


def _cut_prefix(text: str) -> tuple[str, int | None]:
    address, _, prefix = text.partition("/")
    return address, int(prefix) if prefix else None


def _count_mask(text: str) -> int:
    mask = int(text, 16) if text.startswith("0x") else int(ipaddress.IPv4Address(text))
    return mask.bit_count()


def _read_lifetime(text: str | None) -> float | None:
    if text is None:
        return None
    return math.inf if text == "infty" else float(text)
