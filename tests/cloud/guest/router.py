"""Router discovery (RFC 4861) and addresses made of what a router says (RFC 4862)."""

from __future__ import annotations

import ipaddress
import socket
import struct
from typing import Any

from guest import link
from guest.dhcp4 import parse_names
from guest.frames import (
    ETH_IP6,
    ICMP6,
    ROUTER_ADVERTISEMENT,
    ROUTER_SOLICITATION,
    Frame,
    build_ethernet,
    build_icmp6,
    link_local,
    multicast_mac,
    pack_mac,
    read_mac,
)
from guest.link import GuestError, Wire

ALL_ROUTERS = "ff02::2"
# Options of router advertisements (RFC 4861, 4191, 8106).
SOURCE_ADDRESS, PREFIX, MTU, ROUTE, DNS, SEARCH = 1, 3, 5, 24, 25, 31
MANAGED, OTHER = 0x80, 0x40
ON_LINK, AUTONOMOUS = 0x80, 0x40


def parse_advertisement(frame: Frame) -> dict[str, Any] | None:
    """Return a router advertisement as tests look at it, None for any other frame.

    :raises GuestError: its checksum is wrong, or it came through a router
    """
    message = frame.payload
    if frame.protocol != ICMP6 or message[:1] != bytes((ROUTER_ADVERTISEMENT,)):
        return None
    if not frame.is_sound:
        raise GuestError(f"bad checksum in a router advertisement from {frame.source} ({frame.source_mac})")
    if frame.hops != 255:
        raise GuestError(f"a router advertisement from {frame.source} with hop limit {frame.hops}")
    hops, flags, lifetime = struct.unpack_from("!BBH", message, 4)
    found: dict[str, Any] = {
        "router": frame.source, "router_mac": frame.source_mac, "managed": bool(flags & MANAGED),
        "other": bool(flags & OTHER), "hop_limit": hops, "lifetime": lifetime, "mtu": None, "prefixes": [],
        "routes": [], "dns": [], "search": [],
    }  # fmt: skip
    position = 16
    while position + 2 <= len(message):
        kind, length = message[position], message[position + 1] * 8
        if length == 0:
            raise GuestError(f"a router advertisement from {frame.source} with an empty option")
        _parse_option(found, kind, message[position : position + length])
        position += length
    return found


def _parse_option(found: dict[str, Any], kind: int, option: bytes) -> None:
    if kind == SOURCE_ADDRESS:
        found["router_mac"] = read_mac(option[2:8])
    elif kind == MTU:
        found["mtu"] = int.from_bytes(option[4:8], "big")
    elif kind == PREFIX:
        length, flags, valid, preferred = struct.unpack_from("!BBII", option, 2)
        found["prefixes"].append(
            {
                "prefix": f"{socket.inet_ntop(socket.AF_INET6, option[16:32])}/{length}",
                "on_link": bool(flags & ON_LINK),
                "autonomous": bool(flags & AUTONOMOUS),
                "valid": valid,
                "preferred": preferred,
            }
        )
    elif kind == ROUTE:
        prefix = socket.inet_ntop(socket.AF_INET6, option[8:].ljust(16, b"\0"))
        found["routes"].append({"prefix": f"{prefix}/{option[2]}", "lifetime": int.from_bytes(option[4:8], "big")})
    elif kind == DNS:
        addresses = [option[start : start + 16] for start in range(8, len(option), 16)]
        found["dns"] += [socket.inet_ntop(socket.AF_INET6, item) for item in addresses]
    elif kind == SEARCH:
        found["search"] += [name for name in parse_names(option[8:]) if name]


def raise_link_local(interface: str) -> tuple[str, str]:
    """Set the interface up with the link-local address of its MAC, and return MAC and address.

    :raises GuestError: somebody else has the address
    """
    # This program does what the kernel would do by itself.
    for name, value in (("disable_ipv6", "0"), ("accept_ra", "0"), ("autoconf", "0"), ("accept_dad", "1")):
        link.write_setting(interface, name, value)
    mac = link.raise_link(interface)
    address = link_local(mac)
    link.run_ip("-6", "address", "replace", f"{address}/64", "dev", interface)
    link.wait_for_address(interface, address)
    return mac, address


def solicit(wire: Wire, mac: str, address: str, limit: float) -> dict[str, Any] | None:
    """Ask for routers and return the first advertisement, None when there is none in time."""
    body = bytes(4) + b"\x01\x01" + pack_mac(mac)
    packet = build_icmp6(address, ALL_ROUTERS, ROUTER_SOLICITATION, body)
    request = build_ethernet(multicast_mac(ALL_ROUTERS), mac, ETH_IP6, packet)
    return wire.ask(lambda _: request, parse_advertisement, limit)


def add_address(interface: str, address: str, length: int, preferred: int, valid: int) -> None:
    """Add an address, without a route to its prefix, and wait until it is known to be nobody else's."""
    infinite = 0xFFFFFFFF
    lifetimes = [
        "valid_lft", "forever" if valid == infinite else str(valid),
        "preferred_lft", "forever" if preferred == infinite else str(preferred),
    ]  # fmt: skip
    link.run_ip("-6", "address", "replace", f"{address}/{length}", "dev", interface, *lifetimes, "noprefixroute")
    link.wait_for_address(interface, address)


def apply_advertisement(interface: str, mac: str, said: dict[str, Any]) -> list[dict[str, Any]]:
    """Set MTU, routes and addresses by an advertisement, and return the addresses."""
    added = []
    if said["mtu"]:
        link.write_setting(interface, "mtu", str(said["mtu"]))
    for item in said["prefixes"]:
        network = ipaddress.IPv6Network(item["prefix"])
        if item["on_link"]:
            link.run_ip("-6", "route", "replace", item["prefix"], "dev", interface)
        if item["autonomous"] and network.prefixlen == 64 and item["valid"]:
            address = link_local(mac, item["prefix"])
            add_address(interface, address, 64, item["preferred"], item["valid"])
            added.append({"address": address, "prefix": 64, "by": "slaac",
                          "preferred": item["preferred"], "valid": item["valid"]})  # fmt: skip
    if said["lifetime"]:
        link.run_ip("-6", "route", "replace", "default", "via", said["router"], "dev", interface)
    for item in said["routes"]:
        if item["lifetime"]:
            link.run_ip("-6", "route", "replace", item["prefix"], "via", said["router"], "dev", interface)
    return added
