"""Gives an address back to the DHCP server in a network stack, on behalf of a guest that is gone.

Usage, in the jail of the server:

    python -IS dhcp_release.py 4 SUBNET ADDRESS MAC [CLIENT_ID]
    python -IS dhcp_release.py 6 INTERFACE ADDRESS CLIENT_DUID SERVER_DUID IAID

Exits 0 when the request was sent: the server answers no DHCPRELEASE, and its
file of leases tells what came of it. Standard library only.

The server has to see the request come in on the guests' interface. What is
sent to its own address comes in on lo0, so it is sent to everybody: a
broadcast, or a multicast, is heard on the interface that it leaves by
(sys/net/if_ethersubr.c, sys/netinet6/ip6_output.c).
"""

from __future__ import annotations

import ipaddress
import random
import re
import socket
import struct
import sys
from collections.abc import Sequence

SERVER_PORT, SERVER_PORT_6 = 67, 547
ALL_SERVERS = "ff02::1:2"  # All_DHCP_Relay_Agents_and_Servers, RFC 8415

_COOKIE = bytes((99, 130, 83, 99))
_MESSAGE_TYPE, _SERVER_ID, _CLIENT_ID, _END = 53, 54, 61, 255  # RFC 2132
_DHCPRELEASE = 7

_RELEASE_6 = 8  # RFC 8415
_CLIENT_DUID, _SERVER_DUID, _IA_NA, _IA_TA, _IA_ADDRESS, _ELAPSED_TIME = 1, 2, 3, 4, 5, 8


def make_release(address: str, mac: str, server: str, client_id: str | None, transaction: int) -> bytes:
    """Return a DHCPRELEASE (RFC 2131).

    :param server: the server's address on the guests' network
    :param client_id: bytes in hexadecimal with colons between, or text
    """
    hardware = bytes.fromhex(mac.replace(":", ""))
    head = struct.pack("!4BIHH", 1, 1, len(hardware), 0, transaction, 0, 0)
    addresses = ipaddress.IPv4Address(address).packed + bytes(12)
    names = bytes(64 + 128)
    options = bytes((_MESSAGE_TYPE, 1, _DHCPRELEASE, _SERVER_ID, 4)) + ipaddress.IPv4Address(server).packed
    if client_id:
        text = read_bytes(client_id)
        options += bytes((_CLIENT_ID, len(text))) + text
    return head + addresses + hardware.ljust(16, b"\0") + names + _COOKIE + options + bytes((_END,))


def make_release_6(address: str, client: str, server: str, association: str, transaction: int) -> bytes:
    """Return a RELEASE of DHCPv6 (RFC 8415).

    :param client: DUID, bytes in hexadecimal with colons between
    :param association: IAID, a decimal number, after a T that of temporary addresses
    """
    temporary = association.startswith("T")
    identifier = struct.pack("!I", int(association.removeprefix("T")))
    lease = _option(_IA_ADDRESS, ipaddress.IPv6Address(address).packed + bytes(8))
    return (
        struct.pack("!I", _RELEASE_6 << 24 | transaction & 0xFFFFFF)
        + _option(_CLIENT_DUID, read_bytes(client))
        + _option(_SERVER_DUID, read_bytes(server))
        + _option(_ELAPSED_TIME, bytes(2))
        + (_option(_IA_TA, identifier + lease) if temporary else _option(_IA_NA, identifier + bytes(8) + lease))
    )


def read_bytes(text: str) -> bytes:
    """Return the bytes of an identifier: hexadecimal with colons between, or else the text's own."""
    if re.fullmatch(r"[0-9A-Fa-f]{2}(:[0-9A-Fa-f]{2})+", text):
        return bytes.fromhex(text.replace(":", ""))
    return text.encode()


def _option(code: int, value: bytes) -> bytes:
    return struct.pack("!HH", code, len(value)) + value


def send_release(subnet: str, address: str, mac: str, client_id: str | None = None) -> None:
    """Send a DHCPRELEASE from our address on the subnet.

    :raises OSError: we have no address there, or it cannot be sent
    """
    everybody = str(ipaddress.IPv4Network(subnet).broadcast_address)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        sock.connect((everybody, SERVER_PORT))
        server = sock.getsockname()[0]
        sock.send(make_release(address, mac, server, client_id, random.getrandbits(32)))


def send_release_6(interface: str, address: str, client: str, server: str, association: str) -> None:
    """Send a RELEASE of DHCPv6 on an interface.

    :raises OSError: there is no such interface, or it cannot be sent
    """
    index = socket.if_nametoindex(interface)
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sock:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, index)
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_LOOP, 1)
        message = make_release_6(address, client, server, association, random.getrandbits(24))
        sock.sendto(message, (ALL_SERVERS, SERVER_PORT_6, 0, index))


def main(arguments: Sequence[str]) -> int:
    """Return 0 when the request was sent, 1 when it could not be, 2 for wrong arguments."""
    version, rest = arguments[:1], arguments[1:]
    try:
        if list(version) == ["4"] and len(rest) in (3, 4):
            send_release(*rest)
        elif list(version) == ["6"] and len(rest) == 5:
            send_release_6(*rest)
        else:
            sys.stderr.write(f"{__doc__}\n")
            return 2
    except (OSError, ValueError) as error:
        sys.stderr.write(f"dhcp_release: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
