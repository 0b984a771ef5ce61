"""ICMP echo: a number of requests, or on and on to measure an outage."""

from __future__ import annotations

import errno
import os
import socket
import struct
import time
from pathlib import Path
from typing import Any

from guest.ending import Ending, say_ready
from guest.frames import compute_checksum
from guest.gaps import Answers

#: Type of the request and of the reply (RFC 792, 4443).
ECHO = {socket.AF_INET: (8, 0), socket.AF_INET6: (128, 129)}
# linux/in.h, linux/in6.h: never fragment.
IP_MTU_DISCOVER, IPV6_MTU_DISCOVER, IPV6_DONTFRAG, DO = 10, 23, 62, 2
LAST_WAIT = 1.0  # seconds for the reply to the last request
HEADER = 8


def find_address(interface: str, address: str) -> tuple[socket.AddressFamily, tuple[Any, ...]]:
    """Return family and socket address of an address; a link-local one is on the interface."""
    if ":" not in address:
        return socket.AF_INET, (address, 0)
    bare = address.partition("%")[0]
    scope = socket.if_nametoindex(interface) if bare.lower().startswith(("fe8", "fe9", "fea", "feb", "ff")) else 0
    return socket.AF_INET6, (bare, 0, 0, scope)


def open_socket(interface: str, family: socket.AddressFamily, *, whole: bool) -> socket.socket:
    """Return a raw ICMP socket on an interface; ``whole`` forbids fragments."""
    protocol = socket.IPPROTO_ICMP if family == socket.AF_INET else socket.IPPROTO_ICMPV6
    raw = socket.socket(family, socket.SOCK_RAW, protocol)
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, interface.encode())
    if whole and family == socket.AF_INET:
        raw.setsockopt(socket.IPPROTO_IP, IP_MTU_DISCOVER, DO)
    elif whole:
        raw.setsockopt(socket.IPPROTO_IPV6, IPV6_MTU_DISCOVER, DO)
        raw.setsockopt(socket.IPPROTO_IPV6, IPV6_DONTFRAG, 1)
    return raw


class Echo:
    """Requests sent to one address and the replies to them."""

    def __init__(self, interface: str, address: str, size: int, *, whole: bool, file: Path | None) -> None:
        self.family, self.target = find_address(interface, address)
        self.raw = open_socket(interface, self.family, whole=whole)
        self.identity = os.getpid() & 0xFFFF
        self.filling = bytes(index & 0xFF for index in range(size))
        self.sent: dict[int, float] = {}
        self.trips: dict[int, float] = {}
        self.duplicates = self.damaged = 0
        self.errors: dict[str, int] = {}
        self.answers = Answers(file)

    def send(self) -> None:
        """Send the next request."""
        number = len(self.sent) + 1
        kind = ECHO[self.family][0]
        message = struct.pack("!BBHHH", kind, 0, 0, self.identity, number & 0xFFFF) + self.filling
        if self.family == socket.AF_INET:
            message = message[:2] + struct.pack("!H", compute_checksum(message)) + message[4:]
        self.sent[number] = time.monotonic()
        try:
            self.raw.sendto(message, self.target)
        except OSError as error:
            name = errno.errorcode.get(error.errno or 0, str(error))
            self.errors[name] = self.errors.get(name, 0) + 1

    def receive(self, until: float) -> None:
        """Take in one packet, if one comes before a time of the monotonic clock."""
        self.raw.settimeout(max(until - time.monotonic(), 0.001))
        try:
            data, _ = self.raw.recvfrom(65535)
        except (TimeoutError, InterruptedError):
            return
        except OSError:
            return  # an ICMP error, or the interface is gone: no reply
        if self.family == socket.AF_INET:
            data = data[(data[0] & 15) * 4 :]
        if len(data) < HEADER:
            return
        kind, _, _, identity, low = struct.unpack_from("!BBHHH", data)
        if (kind, identity) != (ECHO[self.family][1], self.identity):
            return
        # The number on the wire has 16 bits: it is that of the latest request it fits.
        number = len(self.sent) - ((len(self.sent) - low) & 0xFFFF)
        if number not in self.sent:
            return
        if data[HEADER:] != self.filling:
            self.damaged += 1
        elif number in self.trips:
            self.duplicates += 1
        else:
            self.trips[number] = time.monotonic() - self.sent[number]
            self.answers.note(number, self.trips[number])

    def describe(self) -> dict[str, Any]:
        """Return counts, and round trips in milliseconds."""
        trips = [trip * 1000 for trip in self.trips.values()]
        return {
            "sent": len(self.sent), "received": len(trips), "lost": len(self.sent) - len(trips),
            "duplicates": self.duplicates, "damaged": self.damaged, "errors": self.errors,
            "milliseconds": {"least": round(min(trips), 3), "mean": round(sum(trips) / len(trips), 3),
                             "most": round(max(trips), 3)} if trips else None,
            **self.answers.describe(),
        }  # fmt: skip


def run(
    interface: str, address: str, *, count: int | None, interval: float, deadline: float | None, size: int = 56,
    whole: bool = False, watch: Path | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Send requests and count replies.

    :param count: how many; None until it is told to end
    :param interval: seconds from one request to the next
    :param deadline: seconds after which it ends in any case
    :param size: octets in a request after its header
    :param watch: a file to which each reply is added as it comes
    """
    ending = Ending(deadline)
    echo = Echo(interface, address, size, whole=whole, file=watch)
    due = time.monotonic()
    while not ending.is_near and (count is None or len(echo.sent) < count):
        echo.send()
        if len(echo.sent) == 1:
            say_ready()
        due = max(due + interval, time.monotonic())
        while not ending.told and time.monotonic() < due:
            if count is not None and len(echo.sent) == count and len(echo.trips) == count:
                break
            echo.receive(due)
    patience = time.monotonic() + LAST_WAIT
    while len(echo.sent) not in echo.trips and time.monotonic() < patience:
        echo.receive(patience)
    return echo.describe()
