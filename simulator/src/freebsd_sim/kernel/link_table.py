"""The links of one Linux network namespace, kept up to date by Linux's own notifications.

A look costs what has changed since the last one, not the number of links:
Linux sends a message for each change before the change's caller returns.
Only the carrier may be told late, and is asked for where it matters.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass

LINUX_UP = 0x1
LINUX_PROMISC = 0x100

# linux/netlink.h, linux/rtnetlink.h, linux/if_link.h
RTMGRP_LINK = 1
NLMSG_ERROR, NLMSG_DONE = 2, 3
RTM_NEWLINK, RTM_DELLINK, RTM_GETLINK = 16, 17, 18
NLM_F_REQUEST, NLM_F_DUMP = 0x1, 0x300
IFLA_ADDRESS, IFLA_IFNAME, IFLA_MTU, IFLA_LINKINFO, IFLA_EXT_MASK, IFLA_PROMISCUITY, IFLA_CARRIER = (
    1, 3, 4, 18, 29, 30, 33,
)  # fmt: skip
IFLA_INFO_KIND, IFLA_INFO_DATA = 1, 2
IFLA_TUN_PERSIST = 6
SKIP_STATISTICS = 0x8
NESTED_MASK = 0x7FFF

HEADER = struct.Struct("=IHHII")
LINK = struct.Struct("=BxHiII")
ATTRIBUTE = struct.Struct("=HH")
WORD = struct.Struct("=I")
RECEIVE_SIZE = 1 << 17
QUEUE_SIZE = 4 << 20  # bytes of notifications that wait; more than that and all links are read again


@dataclass(frozen=True, slots=True)
class Link:
    """What Linux says of one link."""

    index: int
    name: str
    up: bool
    promiscuous: bool  # somebody set the flag
    promiscuity: int  # how many users want it
    mac: str
    mtu: int
    carrier: bool
    kind: str | None
    persistent: bool


def _attributes(data: bytes, start: int, end: int) -> Iterator[tuple[int, int, int]]:
    while start + 4 <= end:
        length, kind = ATTRIBUTE.unpack_from(data, start)
        if length < 4:
            return
        yield kind & NESTED_MASK, start + 4, start + length
        start += (length + 3) & ~3


def read_link(data: bytes, start: int, end: int) -> Link:
    """Return the link of a message whose body is at ``start``."""
    _, _, index, flags, _ = LINK.unpack_from(data, start)
    name, mac, kind = "", "", None
    mtu = promiscuity = carrier = 0
    persistent = True
    for attribute, first, last in _attributes(data, start + LINK.size, end):
        if attribute == IFLA_IFNAME:
            name = os.fsdecode(data[first : last - 1])
        elif attribute == IFLA_ADDRESS:
            mac = data[first:last].hex(":")
        elif attribute == IFLA_MTU:
            (mtu,) = WORD.unpack_from(data, first)
        elif attribute == IFLA_PROMISCUITY:
            (promiscuity,) = WORD.unpack_from(data, first)
        elif attribute == IFLA_CARRIER:
            carrier = data[first]
        elif attribute == IFLA_LINKINFO:
            for part, at, to in _attributes(data, first, last):
                if part == IFLA_INFO_KIND:
                    kind = data[at:to].rstrip(b"\0").decode()
                elif part == IFLA_INFO_DATA and kind == "tun":
                    settings = {setting: data[where] for setting, where, _ in _attributes(data, at, to)}
                    persistent = bool(settings.get(IFLA_TUN_PERSIST, 1))
    return Link(index, name, bool(flags & LINUX_UP), bool(flags & LINUX_PROMISC), promiscuity, mac, mtu,
                bool(carrier), kind, persistent)  # fmt: skip


def _messages(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Yield type, start and end of the body of each message."""
    start = 0
    while start + HEADER.size <= len(data):
        length, kind, *_ = HEADER.unpack_from(data, start)
        if length < HEADER.size:
            return
        yield kind, start + HEADER.size, start + length
        start += (length + 3) & ~3


class LinkTable:
    """The links of the network namespace that this is made in. Use it with the kernel's lock held.

    ``links`` are by index, as of the last ``update``; ``events`` is readable when there is something new.
    """

    def __init__(self) -> None:
        self.links: dict[int, Link] = {}
        self.events = _open_socket(RTMGRP_LINK)
        self.events.setblocking(False)
        self.events.setsockopt(socket.SOL_SOCKET, 33, QUEUE_SIZE)  # SO_RCVBUFFORCE
        self._requests = _open_socket(0)
        self._stale = True

    def update(self) -> set[int]:
        """Take in what has changed, and return the indexes of the links that are new, changed or gone."""
        changed: set[int] = set()
        while True:
            try:
                data = self.events.recv(RECEIVE_SIZE)
            except BlockingIOError:
                break
            except OSError:
                self._stale = True  # ENOBUFS: notifications were lost
                continue
            for kind, start, end in _messages(data):
                # Bridges speak of their ports in messages of another family.
                if kind in (RTM_NEWLINK, RTM_DELLINK) and data[start] == socket.AF_UNSPEC:
                    self._take(kind, data, start, end, changed)
        if self._stale:
            self._stale = False
            changed |= self.links.keys()
            self.links = {link.index: link for link in self._ask(NLM_F_DUMP, 0, "")}
            changed |= self.links.keys()
        return changed

    def _take(self, kind: int, data: bytes, start: int, end: int, changed: set[int]) -> None:
        if kind == RTM_NEWLINK:
            link = read_link(data, start, end)
            if self.links.get(link.index) == link:
                return
            self.links[link.index] = link
            changed.add(link.index)
        else:
            (index,) = struct.unpack_from("=i", data, start + 4)
            self.links.pop(index, None)
            changed.add(index)

    def look(self, index: int) -> Link | None:
        """Ask Linux for one link; True carrier is only known so."""
        return next(iter(self._ask(0, index, "")), None)

    def find(self, name: str) -> Link | None:
        """Ask Linux for one link by name."""
        return next(iter(self._ask(0, 0, name)), None)

    def _ask(self, flags: int, index: int, name: str) -> list[Link]:
        attributes = ATTRIBUTE.pack(8, IFLA_EXT_MASK) + WORD.pack(SKIP_STATISTICS)
        if name:
            text = os.fsencode(name) + b"\0"
            attributes += ATTRIBUTE.pack(4 + len(text), IFLA_IFNAME) + text + bytes(-len(text) % 4)
        body = LINK.pack(socket.AF_UNSPEC, 0, index, 0, 0) + attributes
        self._requests.send(HEADER.pack(HEADER.size + len(body), RTM_GETLINK, NLM_F_REQUEST | flags, 0, 0) + body)
        found: list[Link] = []
        while True:
            data = self._requests.recv(RECEIVE_SIZE)
            for kind, start, end in _messages(data):
                if kind in (NLMSG_DONE, NLMSG_ERROR):
                    return found
                found.append(read_link(data, start, end))
            if not flags:
                return found

    def close(self) -> None:
        """Close the sockets; an open one would keep the namespace alive."""
        self.events.close()
        self._requests.close()


def _open_socket(groups: int) -> socket.socket:
    opened = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE)
    opened.bind((0, groups))
    return opened
