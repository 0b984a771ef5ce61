"""A DHCP client as a guest has one (RFC 2131), without the broadcast flag; the interface is set by what it is told."""

from __future__ import annotations

import ipaddress
import os
import socket
import struct
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from guest import link
from guest.frames import BROADCAST, ETH_IP, UDP, Frame, build_ethernet, build_udp, pack_address, pack_mac
from guest.link import GuestError, Wire

SERVER_PORT, CLIENT_PORT = 67, 68
MAGIC = b"\x63\x82\x53\x63"
FIXED = 236  # octets before the magic number
SMALLEST = 300  # octets; what BOOTP relays insist on

DISCOVER, OFFER, REQUEST, ACK, NAK, RELEASE = 1, 2, 3, 5, 6, 7
NAMES = {OFFER: "OFFER", ACK: "ACK", NAK: "NAK"}
# Options of RFC 2132, 3397 (119) and 3442 (121).
MASK, ROUTER, DNS, HOSTNAME, DOMAIN, MTU, BROADCAST_ADDRESS = 1, 3, 6, 12, 15, 26, 28
ADDRESS, LEASE, OVERLOAD, KIND, SERVER, WANTED, MESSAGE, RENEWAL, REBINDING, CLIENT = (
    50,
    51,
    52,
    53,
    54,
    55,
    56,
    58,
    59,
    61,
)
SEARCH, ROUTES = 119, 121
ASKED_FOR = bytes(
    (MASK, ROUTER, DNS, HOSTNAME, DOMAIN, MTU, BROADCAST_ADDRESS, LEASE, RENEWAL, REBINDING, SEARCH, ROUTES)
)


@dataclass
class Reply:
    """A server's message."""

    kind: int
    address: str
    options: Mapping[int, bytes]
    server_mac: str

    @property
    def server(self) -> str:
        """The server's address, as it names itself."""
        return socket.inet_ntoa(self.options[SERVER])


def build_message(kind: int, mac: str, number: int, options: Mapping[int, bytes], seconds: float = 0,
                  current: str = "0.0.0.0") -> bytes:  # fmt: skip
    """Return a client's message; ``current`` is the address that it has and may use."""
    head = struct.pack("!BBBBIHH", 1, 1, 6, 0, number, int(seconds), 0) + pack_address(current)
    body = MAGIC + bytes((KIND, 1, kind, CLIENT, 7, 1)) + pack_mac(mac)
    for code, value in options.items():
        body += bytes((code, len(value))) + value
    return ((head + bytes(12) + pack_mac(mac)).ljust(FIXED, b"\0") + body + b"\xff").ljust(SMALLEST, b"\0")


def parse_options(data: bytes) -> dict[int, bytes]:
    """Return the options by code; one that occurs several times is put together (RFC 3396)."""
    found: dict[int, bytes] = {}
    position = 0
    while position < len(data) and data[position] != 255:
        if data[position] == 0:
            position += 1
            continue
        code, length = data[position], data[position + 1]
        found[code] = found.get(code, b"") + data[position + 2 : position + 2 + length]
        position += 2 + length
    return found


def parse_reply(frame: Frame, mac: str, number: int) -> Reply | None:
    """Return the server's message that answers ours, None for any other frame.

    :raises GuestError: it is for us and its checksum is wrong
    """
    data = frame.payload
    if frame.protocol != UDP or frame.target_port != CLIENT_PORT or len(data) < FIXED + 4:
        return None
    if data[0] != 2 or data[4:8] != struct.pack("!I", number) or data[28:34] != pack_mac(mac):
        return None
    options = parse_options(data[FIXED + 4 :])
    overload = options.get(OVERLOAD, b"\0")[0]
    for bit, part in ((1, data[108:236]), (2, data[44:108])):
        if overload & bit:
            options |= parse_options(part)
    kind = options.get(KIND, b"\0")[0]
    if not frame.is_sound:
        raise GuestError(f"bad checksum in DHCP {NAMES.get(kind, kind)} from {frame.source} ({frame.source_mac})")
    return Reply(kind, socket.inet_ntoa(data[16:20]), options, frame.source_mac)


def parse_addresses(value: bytes) -> list[str]:
    """Return a list of IPv4 addresses."""
    return [socket.inet_ntoa(value[start : start + 4]) for start in range(0, len(value) - 3, 4)]


def parse_routes(value: bytes) -> list[tuple[str, str]]:
    """Return destinations and gateways of option 121."""
    found = []
    position = 0
    while position < len(value):
        length = value[position]
        octets = (length + 7) // 8
        network = value[position + 1 : position + 1 + octets].ljust(4, b"\0")
        position += 1 + octets
        found.append((f"{socket.inet_ntoa(network)}/{length}", socket.inet_ntoa(value[position : position + 4])))
        position += 4
    return found


def parse_names(value: bytes) -> list[str]:
    """Return domain names as DNS writes them, with its references to earlier ones (RFC 1035)."""
    found: list[str] = []
    position = 0
    while position < len(value):
        labels: list[str] = []
        at, after, jumps = position, 0, 0
        while at < len(value) and value[at]:
            if value[at] >= 0xC0:
                after = after or at + 2
                at = int.from_bytes(value[at : at + 2], "big") & 0x3FFF
                jumps += 1
                if jumps > len(value):
                    raise GuestError("a domain name that never ends")
                continue
            labels.append(value[at + 1 : at + 1 + value[at]].decode())
            at += 1 + value[at]
        position = after or at + 1
        found.append(".".join(labels))
    return found


def describe(reply: Reply) -> dict[str, Any]:
    """Return an ACK as tests look at it. Without option 121 the routes are what option 3 says (RFC 3442)."""
    options = reply.options

    def text(code: int) -> str | None:
        return options[code].rstrip(b"\0").decode() if code in options else None

    def number(code: int) -> int | None:
        return int.from_bytes(options[code], "big") if code in options else None

    routers = parse_addresses(options.get(ROUTER, b""))
    mask = socket.inet_ntoa(options[MASK])
    return {
        "address": reply.address,
        "prefix": ipaddress.ip_network(f"0.0.0.0/{mask}").prefixlen,
        "mtu": number(MTU),
        "routers": routers,
        "routes": parse_routes(options[ROUTES]) if ROUTES in options else [("0.0.0.0/0", item) for item in routers[:1]],
        "dns": parse_addresses(options.get(DNS, b"")),
        "domain": text(DOMAIN),
        "search": parse_names(options.get(SEARCH, b"")),
        "hostname": text(HOSTNAME),
        "lease": number(LEASE),
        "renewal": number(RENEWAL),
        "server": reply.server,
        "server_mac": reply.server_mac,
    }


class Client:
    """One exchange with whatever servers there are."""

    def __init__(self, wire: Wire, mac: str, limit: float) -> None:
        self.wire, self.mac = wire, mac
        self.deadline = time.monotonic() + limit
        self.number = int.from_bytes(os.urandom(4), "big")
        self.sent: list[str] = []

    def ask(self, name: str, kind: int, options: Mapping[int, bytes], accepted: tuple[int, ...]) -> Reply:
        """Broadcast a message until it is answered.

        :raises GuestError: no answer in time, or the server said no
        """

        def build(seconds: float) -> bytes:
            self.sent.append(name)
            message = build_message(kind, self.mac, self.number, {**options, WANTED: ASKED_FOR}, seconds)
            packet = build_udp("0.0.0.0", CLIENT_PORT, "255.255.255.255", SERVER_PORT, message)
            return build_ethernet(BROADCAST, self.mac, ETH_IP, packet)

        def recognise(frame: Frame) -> Reply | None:
            reply = parse_reply(frame, self.mac, self.number)
            return reply if reply is not None and reply.kind in (*accepted, NAK) else None

        reply = self.wire.ask(build, recognise, self.deadline - time.monotonic())
        if reply is None:
            raise GuestError(f"no answer to DHCP {name}, sent {self.sent.count(name)} times")
        if reply.kind == NAK:
            text = reply.options.get(MESSAGE, b"").decode(errors="replace")
            raise GuestError(f"DHCP {name} refused by {reply.server}: {text}")
        return reply

    def obtain(self, options: Mapping[int, bytes]) -> Reply:
        """Obtain a lease: DISCOVER, OFFER, REQUEST, ACK."""
        offer = self.ask("DISCOVER", DISCOVER, options, (OFFER,))
        chosen = {SERVER: offer.options[SERVER], ADDRESS: socket.inet_aton(offer.address)}
        return self.ask("REQUEST", REQUEST, {**options, **chosen}, (ACK,))

    def confirm(self, address: str, options: Mapping[int, bytes]) -> Reply:
        """Ask for an address that was leased before, as after a reboot."""
        return self.ask("REQUEST", REQUEST, {**options, ADDRESS: socket.inet_aton(address)}, (ACK,))

    def release(self, lease: Reply) -> None:
        """Give a lease back; a server does not answer that."""
        message = build_message(RELEASE, self.mac, self.number, {SERVER: lease.options[SERVER]}, current=lease.address)
        packet = build_udp(lease.address, CLIENT_PORT, lease.server, SERVER_PORT, message)
        self.wire.send(build_ethernet(lease.server_mac, self.mac, ETH_IP, packet))


def apply_lease(interface: str, lease: Mapping[str, Any]) -> None:
    """Set address, MTU and routes; what an earlier lease had set goes."""
    link.run_ip("-4", "address", "flush", "dev", interface, "scope", "global")
    if lease["mtu"]:
        link.run_ip("link", "set", "dev", interface, "mtu", str(lease["mtu"]))
    link.run_ip("address", "add", f"{lease['address']}/{lease['prefix']}", "broadcast", "+", "dev", interface)
    # A gateway has to be reachable before a route may name it.
    for target, gateway in sorted(lease["routes"], key=lambda route: route[1] != "0.0.0.0"):
        via = [] if gateway == "0.0.0.0" else ["via", gateway, "onlink"]
        link.run_ip("route", "replace", target, *via, "dev", interface)


def run(
    interface: str, limit: float, *, hostname: str | None = None, earlier: str | None = None, release: bool = False,
    apply: bool = True,
) -> dict[str, Any]:  # fmt: skip
    """Obtain a lease, and set the interface by it.

    :param limit: seconds for the whole exchange
    :param earlier: an address that is asked for again instead of looking for servers
    :param release: give the lease back, that of the interface's present address if it has one, and clear it
    :raises GuestError: there is no lease to be had
    """
    mac = link.raise_link(interface)
    began = time.monotonic()
    options = {HOSTNAME: hostname.encode()} if hostname else {}
    if release and earlier is None:
        present = [item["local"] for item in link.read_link(interface)["addr_info"] if item["family"] == "inet"]
        earlier = present[0] if present else None
    # With nobody on the port, Linux would answer a server's unicast with "port unreachable".
    with Wire(interface, ETH_IP) as wire, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as quiet:
        quiet.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, interface.encode())
        quiet.bind(("", CLIENT_PORT))
        client = Client(wire, mac, limit)
        reply = client.confirm(earlier, options) if earlier else client.obtain(options)
        lease = describe(reply)
        if release:
            client.release(reply)
            link.run_ip("-4", "address", "flush", "dev", interface, "scope", "global")
        elif apply:
            apply_lease(interface, lease)
    return {**lease, "mac": mac, "sent": client.sent, "seconds": round(time.monotonic() - began, 3)}
