"""Ethernet frames, byte by byte: built, and taken apart with every checksum looked at.

A checksum is judged as it stands in the frame. Where an interface would
compute it later, what a guest's wire carries is wrong, and so is the verdict.
"""

from __future__ import annotations

import ipaddress
import socket
import struct
from dataclasses import dataclass

BROADCAST = "ff:ff:ff:ff:ff:ff"
ETH_IP, ETH_ARP, ETH_IP6 = 0x0800, 0x0806, 0x86DD
ICMP, TCP, UDP, ICMP6 = 1, 6, 17, 58
#: IPv6 headers that may stand before the payload: hop-by-hop, routing, destination options.
EXTENSIONS = (0, 43, 60)
# Types of ICMPv6 (RFC 4861).
ROUTER_SOLICITATION, ROUTER_ADVERTISEMENT, NEIGHBOUR_SOLICITATION, NEIGHBOUR_ADVERTISEMENT = 133, 134, 135, 136


class FrameError(Exception):
    """A frame is cut short or contradicts itself."""


def pack_mac(mac: str) -> bytes:
    """Return the six octets of a MAC address."""
    return bytes(int(part, 16) for part in mac.split(":"))


def read_mac(octets: bytes) -> str:
    """Return a MAC address as text."""
    return ":".join(f"{octet:02x}" for octet in octets)


def pack_address(address: str) -> bytes:
    """Return the octets of an IPv4 or IPv6 address."""
    return ipaddress.ip_address(address.partition("%")[0]).packed


def multicast_mac(address: str) -> str:
    """Return where an IPv6 multicast address is sent on Ethernet (RFC 2464)."""
    return read_mac(b"\x33\x33" + pack_address(address)[12:])


def link_local(mac: str, prefix: str = "fe80::/64") -> str:
    """Return the address that a MAC gives below a prefix of 64 bits: modified EUI-64 (RFC 4291)."""
    octets = pack_mac(mac)
    identifier = bytes([octets[0] ^ 2]) + octets[1:3] + b"\xff\xfe" + octets[3:]
    return str(ipaddress.IPv6Address(ipaddress.IPv6Network(prefix).network_address.packed[:8] + identifier))


def compute_checksum(data: bytes) -> int:
    """Return the Internet checksum (RFC 1071); over data with a right checksum in it the answer is 0."""
    if len(data) % 2:
        data += b"\0"
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def pseudo_header(source: bytes, target: bytes, protocol: int, length: int) -> bytes:
    """Return what a transport checksum covers beyond the segment."""
    if len(source) == 4:
        return source + target + struct.pack("!BBH", 0, protocol, length)
    return source + target + struct.pack("!IHBB", length, 0, 0, protocol)


def build_ethernet(target: str, source: str, kind: int, payload: bytes) -> bytes:
    """Return a frame, padded to Ethernet's minimum."""
    return (pack_mac(target) + pack_mac(source) + struct.pack("!H", kind) + payload).ljust(60, b"\0")


def build_arp(operation: int, source_mac: str, source: str, target_mac: str, target: str) -> bytes:
    """Return an ARP packet: operation 1 asks, 2 answers."""
    head = struct.pack("!HHBBH", 1, ETH_IP, 6, 4, operation)
    return head + pack_mac(source_mac) + pack_address(source) + pack_mac(target_mac) + pack_address(target)


def build_ip(source: str, target: str, protocol: int, payload: bytes, hops: int = 64) -> bytes:
    """Return an IPv4 or IPv6 packet, by the kind of its addresses."""
    near, far = pack_address(source), pack_address(target)
    if len(near) == 16:
        return struct.pack("!IHBB", 6 << 28, len(payload), protocol, hops) + near + far + payload
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(payload), 0, 0, hops, protocol, 0) + near + far
    return head[:10] + struct.pack("!H", compute_checksum(head)) + head[12:] + payload


def build_udp(source: str, source_port: int, target: str, target_port: int, payload: bytes, hops: int = 64) -> bytes:
    """Return an IP packet with a UDP datagram in it."""
    length = 8 + len(payload)
    datagram = struct.pack("!HHHH", source_port, target_port, length, 0) + payload
    covered = pseudo_header(pack_address(source), pack_address(target), UDP, length) + datagram
    checksum = compute_checksum(covered) or 0xFFFF
    return build_ip(source, target, UDP, datagram[:6] + struct.pack("!H", checksum) + payload, hops)


def build_icmp6(source: str, target: str, kind: int, body: bytes, hops: int = 255) -> bytes:
    """Return an IPv6 packet with an ICMPv6 message in it; ``body`` is what follows the checksum."""
    message = struct.pack("!BBH", kind, 0, 0) + body
    covered = pseudo_header(pack_address(source), pack_address(target), ICMP6, len(message)) + message
    return build_ip(source, target, ICMP6, message[:2] + struct.pack("!H", compute_checksum(covered)) + body, hops)


@dataclass
class Frame:
    """A frame taken apart.

    ``payload`` is what the transport carries (UDP's data, ICMP's message from
    its type on); ``is_sound`` is False when a checksum in it is wrong.
    """

    target_mac: str
    source_mac: str
    kind: int
    source: str = ""
    target: str = ""
    protocol: int | None = None
    hops: int = 0
    source_port: int = 0
    target_port: int = 0
    payload: bytes = b""
    is_sound: bool = True
    operation: int = 0  # of ARP


def parse_frame(data: bytes) -> Frame:
    """Take a frame apart.

    :raises FrameError: it is shorter than it says
    """
    if len(data) < 14:
        raise FrameError("no Ethernet header")
    frame = Frame(read_mac(data[:6]), read_mac(data[6:12]), int.from_bytes(data[12:14], "big"))
    try:
        if frame.kind == ETH_ARP:
            frame.operation = int.from_bytes(data[20:22], "big")
            frame.source = socket.inet_ntop(socket.AF_INET, data[28:32])
            frame.target = socket.inet_ntop(socket.AF_INET, data[38:42])
            frame.payload = data[14:42]
        elif frame.kind == ETH_IP:
            _parse_ip4(frame, data[14:])
        elif frame.kind == ETH_IP6:
            _parse_ip6(frame, data[14:])
    except (ValueError, IndexError, struct.error) as error:
        raise FrameError(str(error)) from None
    return frame


def _parse_ip4(frame: Frame, packet: bytes) -> None:
    header = (packet[0] & 15) * 4
    length, fragment = struct.unpack_from("!HxxH", packet, 2)
    frame.source = socket.inet_ntop(socket.AF_INET, packet[12:16])
    frame.target = socket.inet_ntop(socket.AF_INET, packet[16:20])
    frame.hops, frame.protocol = packet[8], packet[9]
    frame.is_sound = compute_checksum(packet[:header]) == 0
    frame.payload = packet[header:length]
    if fragment & 0x3FFF == 0:
        _parse_transport(frame, packet[12:16], packet[16:20])


def _parse_ip6(frame: Frame, packet: bytes) -> None:
    length, following, frame.hops = struct.unpack_from("!HBB", packet, 4)
    frame.source = socket.inet_ntop(socket.AF_INET6, packet[8:24])
    frame.target = socket.inet_ntop(socket.AF_INET6, packet[24:40])
    start = 40
    while following in EXTENSIONS:
        following, start = packet[start], start + 8 + packet[start + 1] * 8
    frame.protocol = following
    frame.payload = packet[start : 40 + length]
    _parse_transport(frame, packet[8:24], packet[24:40])


def _parse_transport(frame: Frame, source: bytes, target: bytes) -> None:
    segment = frame.payload
    if frame.protocol == ICMP:
        frame.is_sound &= compute_checksum(segment) == 0
        return
    if frame.protocol not in (TCP, UDP, ICMP6):
        return
    unchecked = frame.protocol == UDP and len(source) == 4 and segment[6:8] == b"\0\0"
    if not unchecked:
        covered = pseudo_header(source, target, frame.protocol, len(segment)) + segment
        frame.is_sound &= compute_checksum(covered) == 0
    if frame.protocol != ICMP6:
        frame.source_port, frame.target_port = struct.unpack_from("!HH", segment)
    if frame.protocol == UDP:
        frame.payload = segment[8:]
