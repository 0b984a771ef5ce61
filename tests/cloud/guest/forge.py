"""Frames that a guest must not get away with.

Each kind is built from four addresses. What is not given is taken from the
guest itself (its own MAC and addresses), except for the one thing that the
kind forges, which then has to be given or has a default that nobody owns.
"""

from __future__ import annotations

import ipaddress
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from guest import link
from guest.dhcp4 import KIND, MAGIC, MASK, OFFER, ROUTER, SERVER
from guest.dhcp6 import ADVERTISE, SERVER_ID, build_option
from guest.frames import (
    BROADCAST,
    ETH_ARP,
    ETH_IP,
    ETH_IP6,
    NEIGHBOUR_ADVERTISEMENT,
    ROUTER_ADVERTISEMENT,
    build_arp,
    build_ethernet,
    build_icmp6,
    build_udp,
    link_local,
    multicast_mac,
    pack_address,
    pack_mac,
)
from guest.link import GuestError, Wire

#: What forged datagrams carry, so that a sniffer knows them.
MARK = b"network guest, forged"
FALSE_MAC = "02:0b:ad:0b:ad:01"
FALSE_PREFIX = "2001:db8:bad::"
ALL_NODES = "ff02::1"
PORT = 9  # discard


@dataclass
class Lie:
    """Who sends to whom, as the frame says it."""

    source_mac: str
    source: str
    target_mac: str
    target: str


def forge_datagram(lie: Lie) -> bytes:
    """Return a UDP datagram, IPv4 or IPv6."""
    kind = ETH_IP6 if ":" in lie.source else ETH_IP
    packet = build_udp(lie.source, PORT, lie.target, PORT, MARK)
    return build_ethernet(lie.target_mac, lie.source_mac, kind, packet)


def forge_arp(lie: Lie) -> bytes:
    """Return an ARP answer: the source address is at the source MAC."""
    packet = build_arp(2, lie.source_mac, lie.source, lie.target_mac, lie.target)
    return build_ethernet(lie.target_mac, lie.source_mac, ETH_ARP, packet)


def forge_neighbour(lie: Lie) -> bytes:
    """Return an unsolicited neighbour advertisement: the source address is at the source MAC."""
    override = struct.pack("!I", 0x20000000)
    body = override + pack_address(lie.source) + b"\x02\x01" + pack_mac(lie.source_mac)
    packet = build_icmp6(lie.source, lie.target, NEIGHBOUR_ADVERTISEMENT, body)
    return build_ethernet(lie.target_mac, lie.source_mac, ETH_IP6, packet)


def forge_router(lie: Lie) -> bytes:
    """Return a router advertisement with a default route and a prefix of nobody's."""
    body = struct.pack("!BBHII", 64, 0, 1800, 0, 0)
    body += struct.pack("!BBBBIII", 3, 4, 64, 0xC0, 3600, 3600, 0) + pack_address(FALSE_PREFIX)
    body += b"\x01\x01" + pack_mac(lie.source_mac)
    packet = build_icmp6(lie.source, lie.target, ROUTER_ADVERTISEMENT, body)
    return build_ethernet(lie.target_mac, lie.source_mac, ETH_IP6, packet)


def forge_dhcp(lie: Lie) -> bytes:
    """Return a DHCP server's offer to whoever listens."""
    message = struct.pack("!BBBBIHH", 2, 1, 6, 0, 0x0BAD0BAD, 0, 0x8000)
    message += bytes(4) + pack_address("192.0.2.66") + pack_address(lie.source) + bytes(4) + pack_mac(lie.target_mac)
    options = {KIND: bytes((OFFER,)), SERVER: pack_address(lie.source), MASK: pack_address("255.255.255.0"),
               ROUTER: pack_address(lie.source)}  # fmt: skip
    message = message.ljust(236, b"\0") + MAGIC
    message += b"".join(bytes((code, len(value))) + value for code, value in options.items()) + b"\xff"
    packet = build_udp(lie.source, 67, lie.target, 68, message)
    return build_ethernet(lie.target_mac, lie.source_mac, ETH_IP, packet)


def forge_dhcp6(lie: Lie) -> bytes:
    """Return a DHCPv6 server's ADVERTISE to whoever listens."""
    message = bytes((ADVERTISE, 0x0B, 0xAD, 0x0B)) + build_option(SERVER_ID, b"\0\x03\0\x01" + pack_mac(lie.source_mac))
    packet = build_udp(lie.source, 547, lie.target, 546, message)
    return build_ethernet(lie.target_mac, lie.source_mac, ETH_IP6, packet)


#: For each kind: what builds it, whether it is IPv6, the usual target address and MAC.
KINDS: dict[str, tuple[Callable[[Lie], bytes], bool, str, str]] = {
    "mac": (forge_datagram, False, "255.255.255.255", BROADCAST),
    "mac6": (forge_datagram, True, ALL_NODES, multicast_mac(ALL_NODES)),
    "ip": (forge_datagram, False, "255.255.255.255", BROADCAST),
    "ip6": (forge_datagram, True, ALL_NODES, multicast_mac(ALL_NODES)),
    "arp": (forge_arp, False, "255.255.255.255", BROADCAST),
    "nd": (forge_neighbour, True, ALL_NODES, multicast_mac(ALL_NODES)),
    "ra": (forge_router, True, ALL_NODES, multicast_mac(ALL_NODES)),
    "dhcp-server": (forge_dhcp, False, "255.255.255.255", BROADCAST),
    "dhcp6-server": (forge_dhcp6, True, ALL_NODES, multicast_mac(ALL_NODES)),
}
#: Kinds whose lie is the source address.
CLAIMS = ("ip", "ip6", "arp", "nd")


def choose_addresses(
    interface: str, kind: str, source_mac: str | None, source: str | None, target_mac: str | None, target: str | None
) -> Lie:
    """Fill in what is not given.

    :raises GuestError: the kind needs a source address and none is given, or the guest has none
    """
    _, is_ip6, usual_target, usual_mac = KINDS[kind]
    own_mac = link.raise_link(interface)
    if source is None and kind in CLAIMS:
        raise GuestError(f"kind {kind}: say which address to claim: --source-ip")
    if source is None:
        family = "inet6" if is_ip6 else "inet"
        present = [item["local"] for item in link.read_link(interface)["addr_info"] if item["family"] == family]
        if not present and not is_ip6:
            raise GuestError(f"kind {kind}: {interface} has no address to send from: --source-ip")
        linked = [item for item in present if ipaddress.ip_address(item).is_link_local]
        source = (linked or present or [link_local(own_mac)])[0] if is_ip6 else present[0]
    if source_mac is None:
        source_mac = FALSE_MAC if kind in ("mac", "mac6") else own_mac
    return Lie(source_mac, source, target_mac or usual_mac, target or usual_target)


def run(
    interface: str, kind: str, *, source_mac: str | None = None, source: str | None = None,
    target_mac: str | None = None, target: str | None = None, count: int = 3, interval: float = 0.1,
) -> dict[str, Any]:  # fmt: skip
    """Send forged frames of one kind, and return what they said."""
    lie = choose_addresses(interface, kind, source_mac, source, target_mac, target)
    frame = KINDS[kind][0](lie)
    with Wire(interface) as wire:
        for number in range(count):
            if number:
                time.sleep(interval)
            wire.send(frame)
    return {"kind": kind, "sent": count, "source_mac": lie.source_mac, "source_ip": lie.source,
            "target_mac": lie.target_mac, "target_ip": lie.target}  # fmt: skip
