"""Ethernet addresses that the kernel makes up (ether_gen_addr(9), epair(4))."""

from __future__ import annotations

import hashlib
import itertools
import random
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from freebsd_sim.kernel.interfaces import Interfaces
    from freebsd_sim.kernel.jails import Jail


def make_stable(interfaces: Interfaces, vnet: Jail, name: str) -> str:
    """Return an address of FreeBSD's OUI made from host, jail and interface name."""
    text = f"{interfaces.kernel.hostuuid}-{name}-{vnet.name if vnet.jid else '0'}"
    taken = {interface.permanent_mac for interface in interfaces.everywhere()}
    for attempt in itertools.count():
        digest = hashlib.sha1(f"{text}{attempt or ''}".encode(), usedforsecurity=False).digest()
        mac = f"58:9c:fc:{digest[0] & 0x10:02x}:{digest[1]:02x}:{digest[2]:02x}"
        if mac not in taken:
            return mac
    raise AssertionError


def make_pair(interfaces: Interfaces, index: int) -> tuple[str, str]:
    """Return the addresses of an epair as they are without net.link.epair.ether_gen_addr."""
    body = hashlib.sha1(f"{interfaces.kernel.hostuuid}{index}".encode(), usedforsecurity=False).digest()
    common = "02:" + ":".join(f"{value:02x}" for value in body[:4])
    return f"{common}:0a", f"{common}:0b"


def make_random() -> str:
    """Return a random locally administered address."""
    return ":".join(f"{value:02x}" for value in [random.randrange(256) & 0xFC | 2, *random.randbytes(5)])
