"""The connections that Open vSwitch's userspace datapath tracks, as it prints and takes them.

Pure: text to data and back. ``dpctl/dump-conntrack`` prints one connection a
line (lib/ct-dpif.c, ``ct_dpif_format_entry``)::

    tcp,orig=(src=10.0.0.5,dst=10.0.0.9,sport=40000,dport=22),reply=(...),zone=3,mark=1,protoinfo=(state=ESTABLISHED)

``dpctl/flush-conntrack`` of 2.17, which FreeBSD's package is, deletes by zone
and the whole tuple of the first direction, and by nothing less
(``ct_dpif_parse_tuple``); later releases take that too.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator
from dataclasses import dataclass

AnyAddress = ipaddress.IPv4Address | ipaddress.IPv6Address

ICMP, ICMP6 = 1, 58

#: How protocols are printed; others are printed as numbers.
PROTOCOLS = {"icmp": ICMP, "igmp": 2, "tcp": 6, "udp": 17, "dccp": 33, "icmpv6": ICMP6, "sctp": 132, "udplite": 136}

_LINE = re.compile(r"(?P<protocol>[a-z0-9]+),orig=\((?P<orig>[^)]*)\),reply=\([^)]*\)(?P<rest>.*)")


@dataclass(frozen=True)
class Connection:
    """One tracked connection, by its first direction.

    ``protocol`` is the IP protocol's number. Ports are None for ICMP, which
    has ``icmp_id``, ``icmp_type`` and ``icmp_code`` instead.
    """

    protocol: int
    source: AnyAddress
    destination: AnyAddress
    source_port: int | None = None
    destination_port: int | None = None
    icmp_id: int | None = None
    icmp_type: int | None = None
    icmp_code: int | None = None
    zone: int = 0
    mark: int = 0


def parse_connections(text: str) -> Iterator[Connection]:
    """Give the connections of a dump; lines that are something else are passed over."""
    for line in text.splitlines():
        match = _LINE.fullmatch(line.strip())
        if match is None:
            continue
        try:
            yield _build_connection(match)
        except (KeyError, ValueError):
            continue


def _build_connection(match: re.Match[str]) -> Connection:
    protocol = PROTOCOLS.get(match["protocol"])
    fields = dict(pair.split("=", 1) for pair in match["orig"].split(","))
    rest = dict(re.findall(r",(zone|mark)=([0-9a-fx]+)", match["rest"]))

    def number(name: str) -> int | None:
        return int(fields[name]) if name in fields else None

    return Connection(
        protocol=int(match["protocol"]) if protocol is None else protocol,
        source=ipaddress.ip_address(fields["src"]),
        destination=ipaddress.ip_address(fields["dst"]),
        source_port=number("sport"),
        destination_port=number("dport"),
        icmp_id=number("id"),
        icmp_type=number("type"),
        icmp_code=number("code"),
        zone=int(rest.get("zone", "0"), 0),
        mark=int(rest.get("mark", "0"), 0),
    )


def is_deletable(connection: Connection) -> bool:
    """Tell whether ovs-vswitchd survives being told to delete this connection.

    Told to delete one of ICMPv6, it looks for the opposite of the message's
    type among those of ICMP, finds none, and aborts (lib/conntrack.c,
    ``tuple_to_conn_key``; 2.17 to 3.1 at least).
    """
    return connection.protocol != ICMP6


def format_tuple(connection: Connection) -> str:
    """Return the tuple by which ``dpctl/flush-conntrack`` finds this connection.

    :raises ValueError: it must not be deleted so
    """
    if not is_deletable(connection):
        raise ValueError(f"ovs-vswitchd would abort: {connection}")
    family = "ipv6" if connection.source.version == 6 else "nw"
    words = [
        f"ct_{family}_src={connection.source}",
        f"ct_{family}_dst={connection.destination}",
        f"ct_nw_proto={connection.protocol}",
    ]
    if connection.protocol == ICMP:
        words += [
            f"icmp_id={connection.icmp_id or 0}",
            f"icmp_type={connection.icmp_type or 0}",
            f"icmp_code={connection.icmp_code or 0}",
        ]
    else:
        words += [f"ct_tp_src={connection.source_port or 0}", f"ct_tp_dst={connection.destination_port or 0}"]
    return ",".join(words)
