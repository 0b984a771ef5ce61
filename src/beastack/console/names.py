"""What a console may be named and where its line may lead; both are built by rule, never taken from a request.

A console is one serial port of one instance. Its nmdm pair is named after
the instance, ``/dev/nmdm<UUID>A`` and ``B`` as libvirt does for the first
port, with ``.1`` to ``.3`` after the identifier for further ones. So who may
talk to the daemon cannot make it open a line that is not an instance's.
"""

from __future__ import annotations

import re
from collections.abc import Container
from dataclasses import dataclass

from beastack.freebsd import nmdm

#: What is in the daemon's directory for others.
CONTROL = "control.sock"
LOGS = "log"

#: bhyve has four serial ports (bhyve(8), -l).
PORTS = 4
LOOPBACK = ("127.0.0.1", "::1")

_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_KEY = re.compile(r"([0-9a-f-]{36})(?:\.([0-3]))?")
_TCP = re.compile(r"tcp:(?:\[([0-9a-f:]+)\]|([0-9.]+)):([1-9][0-9]{3,4})")


@dataclass(frozen=True, order=True)
class Key:
    """One serial port of one instance, counted from 0."""

    uuid: str
    index: int = 0

    def __str__(self) -> str:
        return self.uuid if self.index == 0 else f"{self.uuid}.{self.index}"

    @property
    def pair(self) -> nmdm.Pair:
        """The two nodes of its nmdm pair: side A is the guest's, side B the daemon's."""
        return nmdm.name_pair(str(self))


@dataclass(frozen=True)
class Nmdm:
    """Side B of a console's pair."""

    key: Key

    def __str__(self) -> str:
        return self.key.pair.b


@dataclass(frozen=True)
class Tcp:
    """A TCP console: bhyve listens at this loopback address (bhyve(8), -l comN,tcp=ADDRESS:PORT)."""

    address: str
    port: int

    def __str__(self) -> str:
        address = f"[{self.address}]" if ":" in self.address else self.address
        return f"tcp:{address}:{self.port}"


def check_uuid(uuid: object) -> str:
    """Return an instance's identifier.

    :raises ValueError: it is not one in its usual form
    """
    if not isinstance(uuid, str) or not _UUID.fullmatch(uuid):
        raise ValueError(f"{uuid!r:.60} is no instance's identifier")
    return uuid


def make_key(uuid: object, index: object = 0) -> Key:
    """Return a console's name.

    :raises ValueError: it cannot be one
    """
    if type(index) is not int or not 0 <= index < PORTS:
        raise ValueError(f"a serial port is numbered from 0 to {PORTS - 1}, not {index!r:.20}")
    return Key(check_uuid(uuid), index)


def parse_key(text: str) -> Key:
    """Return the console's name in its written form (``UUID`` or ``UUID.INDEX``).

    :raises ValueError: it is not one
    """
    match = _KEY.fullmatch(text)
    if match is None or match[2] == "0":
        raise ValueError(f"{text!r:.60} names no console")
    return make_key(match[1], int(match[2] or 0))


def parse_line(line: object, key: Key, tcp_ports: Container[int]) -> Nmdm | Tcp:
    """Return where a console's line leads.

    :param line: side B of the console's own nmdm pair, or ``tcp:ADDRESS:PORT`` on loopback
    :param tcp_ports: the ports that guests' TCP consoles may have
    :raises ValueError: it is neither
    """
    if not isinstance(line, str):
        raise ValueError("a line is a text")
    if match := _TCP.fullmatch(line):
        found = Tcp(match[1] or match[2], int(match[3]))
        if found.address not in LOOPBACK:
            raise ValueError("a TCP console is on loopback")
        if found.port not in tcp_ports:
            raise ValueError(f"port {found.port} is not one of the guests'")
        return found
    nmdm.split_side(line)
    if line != key.pair.b:
        raise ValueError(f"the line of this console is {key.pair.b}, not {line!r:.80}")
    return Nmdm(key)
