"""What is known about a network interface, as frozen dataclasses.

``interface_parse`` makes them out of what ifconfig(8) prints.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Words:
    """A set of bits as ifconfig prints it: the number, and the names of the bits."""

    value: int = 0
    names: tuple[str, ...] = ()

    def __contains__(self, name: object) -> bool:
        return name in self.names


@dataclass(frozen=True)
class Address:
    """One IPv4 or IPv6 address of an interface.

    ``scope`` is what stands after the ``%`` and ``scope_id`` the interface
    index it stands for. Lifetimes are seconds, ``math.inf`` for ever, None
    when not printed.
    """

    address: ipaddress.IPv4Address | ipaddress.IPv6Address
    prefix_length: int
    broadcast: ipaddress.IPv4Address | None = None
    destination: ipaddress.IPv4Address | ipaddress.IPv6Address | None = None
    vhid: int | None = None
    scope: str | None = None
    scope_id: int | None = None
    words: tuple[str, ...] = ()
    preferred_lifetime: float | None = None
    valid_lifetime: float | None = None

    @property
    def version(self) -> int:
        """4 or 6."""
        return self.address.version

    @property
    def interface(self) -> ipaddress.IPv4Interface | ipaddress.IPv6Interface:
        """Address and prefix length in one, as ``add_address`` and ``remove_address`` take it."""
        return ipaddress.ip_interface(f"{self.address}/{self.prefix_length}")


@dataclass(frozen=True)
class BridgeMember:
    """A member of a bridge.

    ``max_addresses`` 0 is no limit. The STP fields are None without STP. The
    last three are of FreeBSD 15's VLAN filter.
    """

    name: str
    flags: Words
    port: int | None = None
    priority: int | None = None
    path_cost: int | None = None
    max_addresses: int = 0
    stp_protocol: str | None = None
    stp_role: str | None = None
    stp_state: str | None = None
    vlan_protocol: str | None = None
    untagged: int | None = None
    tagged: frozenset[int] = frozenset()


@dataclass(frozen=True)
class Bridge:
    """The parameters and members of a bridge; times are seconds.

    ``flags`` is None on FreeBSD 14, which does not print them. Members stand
    in the kernel's order, the newest first.
    """

    id: str
    priority: int
    hello_time: int
    forward_delay: int
    max_age: int
    hold_count: int
    protocol: str
    max_addresses: int
    timeout: int
    root_id: str
    root_priority: int
    root_cost: int
    root_port: int
    flags: Words | None = None
    default_untagged: int | None = None
    members: tuple[BridgeMember, ...] = ()


@dataclass(frozen=True)
class BridgeAddress:
    """A line of a bridge's address table; ``expires`` is seconds, 0 for a static one."""

    mac: str
    vlan: int
    member: str
    expires: int
    flags: Words


@dataclass(frozen=True)
class Vlan:
    """Tag, protocol and parent of a vlan interface; the parent is None when unattached."""

    tag: int
    protocol: str
    pcp: int
    parent: str | None


@dataclass(frozen=True)
class Endpoint:
    """An address and a UDP port."""

    address: ipaddress.IPv4Address | ipaddress.IPv6Address
    port: int


@dataclass(frozen=True)
class Vxlan:
    """Network identifier and ends of a vxlan interface; ``multicast`` when the far end is a group."""

    vni: int
    local: Endpoint | None
    remote: Endpoint | None
    multicast: bool


@dataclass(frozen=True)
class Tunnel:
    """The outer addresses of a gif or gre interface."""

    local: str
    remote: str


@dataclass(frozen=True)
class Interface:
    """One interface as ifconfig shows it.

    ``permanent_mac`` is the address the driver came with, printed only when
    another is set. ``driver_name`` is what the interface was called when it
    was made (asked for with -D); for a half of an epair it may be the name of
    the pair. ``opened_by`` holds the process that has a tap or tun open.
    ``index`` is not printed: see ``list_interfaces``.
    """

    name: str
    flags: Words
    mtu: int
    metric: int = 0
    index: int | None = None
    description: str | None = None
    options: Words = Words()
    mac: str | None = None
    permanent_mac: str | None = None
    addresses: tuple[Address, ...] = ()
    groups: tuple[str, ...] = ()
    media: str | None = None
    status: str | None = None
    fib: int = 0
    tunnel_fib: int = 0
    pcp: int | None = None
    driver_name: str | None = None
    nd6_options: Words | None = None
    opened_by: tuple[int, ...] = ()
    bridge: Bridge | None = None
    vlan: Vlan | None = None
    vxlan: Vxlan | None = None
    tunnel: Tunnel | None = None
    other: tuple[str, ...] = ()

    @property
    def is_up(self) -> bool:
        """The administrative state. RUNNING says nothing of it: a fresh epair has RUNNING and is down."""
        return "UP" in self.flags

    @property
    def is_running(self) -> bool:
        return "RUNNING" in self.flags

    @property
    def kind(self) -> str:
        """The driver's name without unit: ``em``, ``epair``, ``tap``, ``vlan``."""
        if self.vlan:
            return "vlan"
        letters = re.match(r"[A-Za-z_]+", self.driver_name or self.name)
        return letters.group() if letters else ""
