"""A DHCPv6 client as a guest has one (RFC 8415): one address, or other settings alone."""

from __future__ import annotations

import os
import socket
import struct
import time
from dataclasses import dataclass
from typing import Any

from guest.dhcp4 import parse_names
from guest.frames import ETH_IP6, UDP, Frame, build_ethernet, build_udp, multicast_mac, pack_mac
from guest.link import GuestError, Wire

CLIENT_PORT, SERVER_PORT = 546, 547
SERVERS = "ff02::1:2"
SOLICIT, ADVERTISE, REQUEST, REPLY, RELEASE, INFORMATION = 1, 2, 3, 7, 8, 11
NAMES = {SOLICIT: "SOLICIT", REQUEST: "REQUEST", RELEASE: "RELEASE", INFORMATION: "INFORMATION-REQUEST"}
CLIENT_ID, SERVER_ID, IA_NA, IA_ADDRESS, ASKED_FOR, ELAPSED, STATUS, DNS, SEARCH, CLIENT_NAME = (
    1, 2, 3, 5, 6, 8, 13, 23, 24, 39,
)  # fmt: skip


def build_option(code: int, value: bytes) -> bytes:
    """Return an option of DHCPv6."""
    return struct.pack("!HH", code, len(value)) + value


def parse_options(data: bytes) -> list[tuple[int, bytes]]:
    """Return the options in their order; a code may occur more than once."""
    found = []
    position = 0
    while position + 4 <= len(data):
        code, length = struct.unpack_from("!HH", data, position)
        found.append((code, data[position + 4 : position + 4 + length]))
        position += 4 + length
    return found


@dataclass
class Reply:
    """A server's message."""

    kind: int
    options: list[tuple[int, bytes]]
    server: str
    server_mac: str

    def get(self, code: int) -> bytes:
        """Return the value of an option, empty if it is not there."""
        return next((value for found, value in self.options if found == code), b"")

    def check_status(self, options: list[tuple[int, bytes]]) -> None:
        """Raise what a status option among others says, if that is not success."""
        for code, value in options:
            if code == STATUS and value[:2] != b"\0\0":
                text = value[2:].decode(errors="replace")
                raise GuestError(f"DHCPv6 status {int.from_bytes(value[:2], 'big')} from {self.server}: {text}")

    def addresses(self) -> list[dict[str, Any]]:
        """Return the addresses that were given.

        :raises GuestError: the server gives none, and why
        """
        found = []
        self.check_status(self.options)
        for code, value in self.options:
            if code != IA_NA:
                continue
            inner = parse_options(value[12:])
            self.check_status(inner)
            for kind, item in inner:
                if kind == IA_ADDRESS:
                    self.check_status(parse_options(item[24:]))
                    preferred, valid = struct.unpack_from("!II", item, 16)
                    address = socket.inet_ntop(socket.AF_INET6, item[:16])
                    found.append({"address": address, "prefix": 128, "by": "dhcp",
                                  "preferred": preferred, "valid": valid})  # fmt: skip
        return found

    def settings(self) -> dict[str, Any]:
        """Return what else the server says."""
        servers = self.get(DNS)
        return {
            "server": self.server,
            "server_mac": self.server_mac,
            "server_id": self.get(SERVER_ID).hex(),
            "dns": [socket.inet_ntop(socket.AF_INET6, servers[at : at + 16]) for at in range(0, len(servers), 16)],
            "search": parse_names(self.get(SEARCH)),
            # One octet of flags, then labels that need not end with an empty one.
            "fqdn": ".".join(parse_names(self.get(CLIENT_NAME)[1:])[:1]) or None,
        }


class Client:
    """One exchange with whatever servers there are."""

    def __init__(self, wire: Wire, mac: str, address: str, limit: float) -> None:
        self.wire, self.mac, self.address = wire, mac, address
        self.deadline = time.monotonic() + limit
        self.identity = b"\0\x03\0\x01" + pack_mac(mac)  # DUID-LL
        self.association = pack_mac(mac)[2:]
        self.sent: list[str] = []

    def _build(self, kind: int, number: bytes, options: bytes, seconds: float) -> bytes:
        asked = struct.pack("!3H", DNS, SEARCH, CLIENT_NAME)
        message = bytes((kind,)) + number + build_option(CLIENT_ID, self.identity) + options
        message += build_option(ELAPSED, struct.pack("!H", min(int(seconds * 100), 0xFFFF)))
        if kind != RELEASE:
            message += build_option(ASKED_FOR, asked)
        packet = build_udp(self.address, CLIENT_PORT, SERVERS, SERVER_PORT, message, hops=1)
        return build_ethernet(multicast_mac(SERVERS), self.mac, ETH_IP6, packet)

    def ask(self, kind: int, options: bytes, accepted: int) -> Reply:
        """Send a message until it is answered.

        :raises GuestError: no answer in time
        """
        number = os.urandom(3)

        def build(seconds: float) -> bytes:
            self.sent.append(NAMES[kind])
            return self._build(kind, number, options, seconds)

        def recognise(frame: Frame) -> Reply | None:
            data = frame.payload
            if frame.protocol != UDP or frame.target_port != CLIENT_PORT or data[1:4] != number:
                return None
            reply = Reply(data[0], parse_options(data[4:]), frame.source, frame.source_mac)
            if reply.get(CLIENT_ID) != self.identity:
                return None
            if not frame.is_sound:
                raise GuestError(f"bad checksum in DHCPv6 message {data[0]} from {frame.source} ({frame.source_mac})")
            return reply if reply.kind == accepted else None

        reply = self.wire.ask(build, recognise, self.deadline - time.monotonic())
        if reply is None:
            raise GuestError(f"no answer to DHCPv6 {NAMES[kind]}, sent {self.sent.count(NAMES[kind])} times")
        return reply

    def obtain(self, hostname: str | None = None) -> tuple[Reply, list[dict[str, Any]]]:
        """Obtain an address: SOLICIT, ADVERTISE, REQUEST, REPLY."""
        named = b""
        if hostname:
            labels = b"".join(bytes((len(label),)) + label.encode() for label in hostname.split("."))
            named = build_option(CLIENT_NAME, b"\x01" + labels)
        wanted = build_option(IA_NA, self.association + bytes(8)) + named
        offer = self.ask(SOLICIT, wanted, ADVERTISE)
        if not offer.addresses():
            raise GuestError(f"DHCPv6 ADVERTISE from {offer.server} without an address")
        chosen = build_option(SERVER_ID, offer.get(SERVER_ID)) + build_option(IA_NA, offer.get(IA_NA)) + named
        reply = self.ask(REQUEST, chosen, REPLY)
        return reply, reply.addresses()

    def release(self, reply: Reply) -> None:
        """Give the addresses of an earlier reply back.

        :raises GuestError: the server does not say that it took them
        """
        given = build_option(SERVER_ID, reply.get(SERVER_ID)) + build_option(IA_NA, reply.get(IA_NA))
        answer = self.ask(RELEASE, given, REPLY)
        answer.check_status(answer.options)

    def ask_settings(self) -> Reply:
        """Ask for other settings than addresses."""
        return self.ask(INFORMATION, b"", REPLY)
