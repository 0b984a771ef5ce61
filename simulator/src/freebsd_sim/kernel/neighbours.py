"""The ARP and neighbour discovery tables of a vnet (sys/netinet/if_ether.c, sys/netinet6/nd6.c).

They are Linux's tables with FreeBSD's additions: own addresses are permanent
entries, and an entry expires a fixed time after it was last confirmed.
"""

from __future__ import annotations

import ipaddress
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pyroute2 import NetlinkError

from freebsd_sim.kernel.errors import KernelError
from freebsd_sim.kernel.interface_model import Interface
from freebsd_sim.kernel.routes import Host

if TYPE_CHECKING:
    from freebsd_sim.kernel import Kernel
    from freebsd_sim.kernel.jails import Jail

# linux/neighbour.h
NUD_INCOMPLETE = 0x01
NUD_REACHABLE = 0x02
NUD_STALE = 0x04
NUD_DELAY = 0x08
NUD_PROBE = 0x10
NUD_FAILED = 0x20
NUD_NOARP = 0x40
NUD_PERMANENT = 0x80
NTF_ROUTER = 0x80

TICKS = 100  # clock ticks of Linux's NDA_CACHEINFO in a second
ARP_MAX_AGE = 1200  # seconds; net.link.ether.inet.max_age
ARP_DOWN = 20  # seconds; how long an unanswered entry stays
ND6_LIFE = {NUD_REACHABLE: 30, NUD_STALE: 86400, NUD_DELAY: 5, NUD_PROBE: 1}  # seconds; nd6.c
STATE_LETTERS = {
    NUD_INCOMPLETE: "I", NUD_REACHABLE: "R", NUD_STALE: "S", NUD_DELAY: "D", NUD_PROBE: "P", NUD_FAILED: "F",
}  # fmt: skip


@dataclass
class Neighbour:
    """One entry. ``mac`` is empty while nobody has answered; ``expires`` is in seconds, None for a permanent one."""

    address: Host
    interface: Interface
    mac: str
    state: str
    expires: int | None
    own: bool = False
    router: bool = False


def list_neighbours(kernel: Kernel, jail: Jail, version: int) -> list[Neighbour]:
    """Return a vnet's table for IPv4 (ARP) or IPv6 by interface and address."""
    with kernel.lock:
        vnet = jail.network
        interfaces = {interface.linux_index: interface for interface in kernel.interfaces.list(vnet)}
        found = []
        for interface in interfaces.values():
            for record in interface.addresses:
                if record.address.version == version and interface.is_ether:
                    found.append(Neighbour(record.address, interface, interface.mac, "R", None, own=True))
        family = socket.AF_INET if version == 4 else socket.AF_INET6
        for message in vnet.stack.ipr.get_neighbours(family=family):
            entry = _read_entry(message, interfaces, version)
            if entry is not None:
                found.append(entry)
    return sorted(found, key=lambda entry: (entry.interface.index, int(entry.address)))


def _read_entry(message: Any, interfaces: dict[int, Interface], version: int) -> Neighbour | None:
    interface = interfaces.get(message["ifindex"])
    state = message["state"]
    text = message.get_attr("NDA_DST")
    if interface is None or not interface.is_ether or text is None or state & NUD_NOARP or not state:
        return None
    address = ipaddress.ip_address(text)
    if address.is_multicast:
        return None
    mac = "" if state & (NUD_INCOMPLETE | NUD_FAILED) else message.get_attr("NDA_LLADDR") or ""
    router = bool(message["flags"] & NTF_ROUTER)
    if state & NUD_PERMANENT:
        return Neighbour(address, interface, mac, "N" if version == 4 else "R", None, router=router)
    cache = message.get_attr("NDA_CACHEINFO") or {}
    if version == 4:
        life, since = (ARP_MAX_AGE, cache.get("ndm_confirmed", 0)) if mac else (ARP_DOWN, cache.get("ndm_updated", 0))
    else:
        since = cache.get("ndm_confirmed" if state == NUD_REACHABLE else "ndm_updated", 0)
        life = ND6_LIFE.get(state, 0)
    expires = life - since // TICKS
    if expires <= 0 and mac:
        return None  # FreeBSD has dropped it by now
    return Neighbour(address, interface, mac, STATE_LETTERS.get(state, "N"), max(expires, 0), router=router)


def find_interface(kernel: Kernel, jail: Jail, address: Host, scope: Interface | None = None) -> Interface | None:
    """Return the Ethernet interface that an address is directly on, or None."""
    if address.version == 6 and address.is_link_local:
        return scope
    if address.is_multicast:
        return None
    try:
        route = kernel.routes.look_up(jail, address)
    except KernelError:
        return None
    if route.gateway is not None:
        return None
    if route.interface.is_ether:
        return route.interface
    for interface in kernel.interfaces.list(jail):
        if interface.is_ether and interface.find(address) is not None:
            return interface
    return None


def set_neighbour(
    kernel: Kernel, jail: Jail, interface: Interface, address: Host, mac: str, *, permanent: bool
) -> None:
    """Make or replace an entry.

    :raises KernelError: EEXIST for an own address
    """
    with kernel.lock:
        if interface.find(address) is not None:
            raise KernelError("EEXIST")
        state = NUD_PERMANENT if permanent else NUD_REACHABLE
        _call(jail, "replace", interface, address, lladdr=mac, state=state)


def delete_neighbour(kernel: Kernel, jail: Jail, interface: Interface, address: Host) -> None:
    """Remove an entry.

    :raises KernelError: ENOENT, EPERM for an own address
    """
    with kernel.lock:
        if interface.find(address) is not None:
            raise KernelError("EPERM")
        present = list_neighbours(kernel, jail, address.version)
        if not any(entry.address == address and entry.interface is interface for entry in present):
            raise KernelError("ENOENT")
        _call(jail, "del", interface, address)


def _call(jail: Jail, verb: str, interface: Interface, address: Host, **more: Any) -> None:
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    try:
        jail.network.stack.ipr.neigh(verb, dst=str(address), ifindex=interface.linux_index, family=family, **more)
    except NetlinkError as error:
        raise KernelError("ENOENT" if error.code == 2 else "EINVAL") from None
