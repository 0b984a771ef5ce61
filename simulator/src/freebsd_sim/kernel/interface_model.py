"""What a network interface of the simulated kernel is: its record, its flags and the words that name them.

Values are those of sys/net/if.h, sys/netinet6/nd6.h and sys/net/if_bridgevar.h.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from freebsd_sim.kernel.jails import Jail

NAME_LIMIT = 15  # IFNAMSIZ less the NUL

IFF_UP = 0x1
IFF_BROADCAST = 0x2
IFF_DEBUG = 0x4
IFF_LOOPBACK = 0x8
IFF_POINTOPOINT = 0x10
IFF_RUNNING = 0x40
IFF_NOARP = 0x80
IFF_PROMISC = 0x100
IFF_ALLMULTI = 0x200
IFF_SIMPLEX = 0x800
IFF_LINK0 = 0x1000
IFF_LINK1 = 0x2000
IFF_LINK2 = 0x4000
IFF_MULTICAST = 0x8000
IFF_PPROMISC = 0x20000
IFF_MONITOR = 0x40000
IFF_STATICARP = 0x80000
IFF_STICKYARP = 0x100000
IFF_LOWER_UP = 0x1000000  # only in what netlink(4) reports

FLAG_WORDS: dict[int, str] = {
    0: "UP", 1: "BROADCAST", 2: "DEBUG", 3: "LOOPBACK", 4: "POINTOPOINT", 6: "RUNNING", 7: "NOARP", 8: "PROMISC",
    9: "ALLMULTI", 10: "DRV_OACTIVE", 11: "SIMPLEX", 12: "LINK0", 13: "LINK1", 14: "LINK2", 15: "MULTICAST",
    17: "PPROMISC", 18: "MONITOR", 19: "STATICARP", 20: "STICKYARP", 24: "LOWER_UP",
}  # fmt: skip

CAP_RXCSUM = 0x1
CAP_TXCSUM = 0x2
CAP_VLAN_MTU = 0x8
CAP_VLAN_HWTAGGING = 0x10
CAP_JUMBO_MTU = 0x20
CAP_VLAN_HWCSUM = 0x80
CAP_VLAN_HWFILTER = 0x10000
CAP_LINKSTATE = 0x80000
CAP_RXCSUM_IPV6 = 0x200000
CAP_TXCSUM_IPV6 = 0x400000
CAP_MEXTPG = 0x4000000
CAP_TXCSUM_ALL = CAP_TXCSUM | CAP_TXCSUM_IPV6
CAP_EPAIR_OFFLOADS = CAP_RXCSUM | CAP_RXCSUM_IPV6 | CAP_TXCSUM_ALL

CAPABILITY_WORDS: dict[int, str] = {
    0: "RXCSUM", 1: "TXCSUM", 2: "NETCONS", 3: "VLAN_MTU", 4: "VLAN_HWTAGGING", 5: "JUMBO_MTU", 6: "POLLING",
    7: "VLAN_HWCSUM", 8: "TSO4", 9: "TSO6", 10: "LRO", 11: "WOL_UCAST", 12: "WOL_MCAST", 13: "WOL_MAGIC", 14: "TOE4",
    15: "TOE6", 16: "VLAN_HWFILTER", 18: "VLAN_HWTSO", 19: "LINKSTATE", 20: "NETMAP", 21: "RXCSUM_IPV6",
    22: "TXCSUM_IPV6", 23: "HWSTATS", 24: "TXRTLMT", 25: "HWRXTSTMP", 26: "MEXTPG", 27: "TXTLS4", 28: "TXTLS6",
    29: "VXLAN_HWCSUM", 30: "VXLAN_HWTSO", 31: "TXTLS_RTLMT",
}  # fmt: skip

ND6_PERFORMNUD = 0x1
ND6_ACCEPT_RTADV = 0x2
ND6_PREFER_SOURCE = 0x4
ND6_IFDISABLED = 0x8
ND6_AUTO_LINKLOCAL = 0x20
ND6_NO_RADR = 0x40
ND6_NO_PREFER_IFACE = 0x80
ND6_NO_DAD = 0x100
ND6_DEFAULTIF = 0x8000
ND6_STABLEADDR = 0x800

ND6_WORDS: dict[int, str] = {
    0: "PERFORMNUD", 1: "ACCEPT_RTADV", 2: "PREFER_SOURCE", 3: "IFDISABLED", 4: "DONT_SET_IFROUTE",
    5: "AUTO_LINKLOCAL", 6: "NO_RADR", 7: "NO_PREFER_IFACE", 8: "NO_DAD", 9: "IPV6_ONLY", 10: "IPV6_ONLY_MANUAL",
    11: "STABLEADDR", 15: "DEFAULTIF",
}  # fmt: skip

MEMBER_LEARNING = 0x1
MEMBER_DISCOVER = 0x2
MEMBER_STP = 0x4
MEMBER_SPAN = 0x8
MEMBER_STICKY = 0x10
MEMBER_EDGE = 0x20
MEMBER_AUTOEDGE = 0x40
MEMBER_PTP = 0x80
MEMBER_AUTOPTP = 0x100
MEMBER_PRIVATE = 0x800
# In the order in which ifconfig(8) prints them, which is not that of the bits.
MEMBER_WORDS: dict[int, str] = {
    0: "LEARNING", 1: "DISCOVER", 2: "STP", 3: "SPAN", 4: "STICKY", 11: "PRIVATE", 5: "EDGE", 6: "AUTOEDGE",
    7: "PTP", 8: "AUTOPTP",
}  # fmt: skip

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address


def format_bits(value: int, words: dict[int, str], empty: str = "") -> str:
    """Return the words of a value's bits as <A,B>; ``empty`` when none is set."""
    names = [word for bit, word in words.items() if value & (1 << bit)]
    return f"<{','.join(names)}>" if names else empty


@dataclass
class Address:
    """One protocol address of an interface. ``words`` are those that follow it in ifconfig's output."""

    address: IPAddress
    prefixlen: int
    broadcast: ipaddress.IPv4Address | None = None
    destination: IPAddress | None = None
    words: list[str] = field(default_factory=list)
    no_dad: bool = False
    pltime: int | None = None
    vltime: int | None = None

    @property
    def family(self) -> str:
        """Either inet or inet6."""
        return "inet" if self.address.version == 4 else "inet6"

    @property
    def network(self) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
        """The prefix that the address is in."""
        return ipaddress.ip_network((self.address, self.prefixlen), strict=False)

    @property
    def is_link_local(self) -> bool:
        """Whether it is an IPv6 link-local address."""
        return self.address.version == 6 and self.address.is_link_local


@dataclass
class Member:
    """An interface's place in a bridge."""

    interface: Interface
    flags: int = MEMBER_LEARNING | MEMBER_DISCOVER | MEMBER_AUTOEDGE | MEMBER_AUTOPTP
    priority: int = 128
    path_cost: int = 2000000
    max_addresses: int = 0
    saved: int = 0  # the offloads it had when it joined


@dataclass
class Bridge:
    """What a bridge has beyond an interface; members are newest first, as the kernel lists them."""

    members: list[Member] = field(default_factory=list)
    spans: list[Member] = field(default_factory=list)
    had_member: bool = False
    priority: int = 32768
    hellotime: int = 2
    fwddelay: int = 15
    maxage: int = 20
    holdcount: int = 6
    protocol: str = "rstp"
    max_addresses: int = 2000
    timeout: int = 1200  # seconds
    statics: dict[str, Interface] = field(default_factory=dict)


@dataclass
class Tap:
    """What a tap has beyond an interface: its device node and who holds it open."""

    node: str
    alias: str | None = None
    is_open: bool = False
    opener: int | None = None  # process id
    held: int | None = None  # descriptor of a leftover that nobody else may attach
    foreign: bool = False  # a Linux program made it
    filtered: str | None = None  # only unicast for this address comes in from the opener


@dataclass
class Vlan:
    """What a vlan interface has beyond an interface."""

    tag: int = 0
    parent: Interface | None = None
    protocol: str = "802.1q"
    pcp: int = 0


@dataclass
class Vxlan:
    """What a vxlan interface has beyond an interface."""

    vni: int = 1 << 24  # VXLAN_VNI_MAX: none
    local: IPAddress | None = None
    remote: IPAddress | None = None
    local_port: int = 4789
    remote_port: int = 4789
    device: str | None = None
    learning: bool = True
    ttl: int = 64
    installed: bool = False  # Linux has its half


@dataclass(eq=False)
class Interface:
    """One network interface. ``jail`` is where it is, ``home`` where it was made.

    ``linux_name`` and ``linux_index`` name it in Linux's namespace; they
    differ from ``name`` and ``index`` only where Linux cannot have them.
    ``flags_set`` holds the flags that somebody set (IFF_LINK0, IFF_PPROMISC).
    """

    name: str
    driver_name: str
    kind: str  # epair, bridge, tap, lo, vlan, vxlan, nic
    cloner: str | None
    unit: int | None
    index: int
    jail: Jail
    home: Jail
    linux_name: str
    linux_index: int
    mac: str = ""
    permanent_mac: str = ""
    mtu: int = 1500
    up: bool = False
    carrier: bool = True
    promiscuous: bool = False
    metric: int = 0
    fib: int = 0
    tunnel_fib: int = 0
    description: str = ""
    flags_set: int = 0
    capabilities: int = 0
    enabled: int = 0
    nd6: int = ND6_PERFORMNUD | ND6_IFDISABLED | ND6_AUTO_LINKLOCAL
    groups: list[str] = field(default_factory=list)
    addresses: list[Address] = field(default_factory=list)
    peer: Interface | None = None
    bridge: Bridge | None = None
    member_of: Interface | None = None
    tap: Tap | None = None
    vlan: Vlan | None = None
    vxlan: Vxlan | None = None
    gone: bool = False

    @property
    def flags(self) -> int:
        """IFF_* as netlink(4) reports them, by the rules of each driver."""
        value = self.flags_set
        value |= IFF_LOOPBACK | IFF_MULTICAST if self.kind == "lo" else IFF_BROADCAST | IFF_SIMPLEX | IFF_MULTICAST
        if self.up:
            value |= IFF_UP
        if self.is_running:
            value |= IFF_RUNNING
        if self.promiscuous or self.member_of is not None or self.flags_set & IFF_PPROMISC:
            value |= IFF_PROMISC
        if self.is_lower_up:
            value |= IFF_LOWER_UP
        return value

    @property
    def is_running(self) -> bool:
        """Whether the driver says RUNNING."""
        if self.kind == "epair":
            return True
        if self.tap is not None:
            return self.tap.is_open
        if self.vxlan is not None:
            return self.up and self.vxlan.installed
        if self.vlan is not None:
            return self.up and self.vlan.parent is not None
        return self.up

    @property
    def is_active(self) -> bool:
        """Whether the medium has a carrier (``status: active``)."""
        if self.tap is not None:
            return self.tap.is_open
        if self.vlan is not None:
            return self.vlan.parent is not None and self.vlan.parent.is_active
        if self.vxlan is not None:
            return self.vxlan.installed
        return self.kind == "epair" or self.carrier

    @property
    def is_lower_up(self) -> bool:
        """Whether LOWER_UP is reported: the medium for Ethernet, the administrative state for the rest."""
        return self.up if self.kind in ("lo", "bridge") else self.is_active

    @property
    def is_ether(self) -> bool:
        """Whether it has an Ethernet address."""
        return self.kind != "lo"

    def find(self, address: IPAddress) -> Address | None:
        """Return the record of one of its addresses."""
        return next((item for item in self.addresses if item.address == address), None)
