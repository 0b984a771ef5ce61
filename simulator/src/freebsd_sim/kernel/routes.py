"""Routing tables: what is in them, and what changes them (sys/net/route.c, sys/net/route/route_ctl.c).

Interface routes and the host routes of own addresses follow from the
addresses of the interfaces. Other routes are kept here and put into Linux's
main table; Linux forgets them when a link goes down, so they are put back when
it comes up again.
"""

from __future__ import annotations

import contextlib
import ipaddress
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pyroute2 import NetlinkError

from freebsd_sim.kernel.errors import KernelError

if TYPE_CHECKING:
    from freebsd_sim.kernel import Kernel
    from freebsd_sim.kernel.interface_model import Interface
    from freebsd_sim.kernel.jails import Jail

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Host = ipaddress.IPv4Address | ipaddress.IPv6Address

# linux/rtnetlink.h
RTN_UNICAST = 1
RTN_BLACKHOLE = 6
RTN_UNREACHABLE = 7
RTPROT_STATIC = 4
RT_SCOPE_UNIVERSE = 0
RT_SCOPE_LINK = 253
RTNH_F_ONLINK = 4
MAIN_TABLE = 254

# RTF_*: word in libxo's flags_pretty, letter of netstat, word of route get; in netstat's order.
FLAGS: dict[str, tuple[str, str]] = {
    "up": ("U", "UP"), "gateway": ("G", "GATEWAY"), "host": ("H", "HOST"), "reject": ("R", "REJECT"),
    "static": ("S", "STATIC"), "proto1": ("1", "PROTO1"), "proto2": ("2", "PROTO2"), "blackhole": ("B", "BLACKHOLE"),
}  # fmt: skip


@dataclass(eq=False)
class Route:
    """One way to a destination. ``gateway`` is None when the destination is on the link.

    ``scope`` is the interface that a link-local destination belongs to, and
    ``pinned`` marks a route that the kernel keeps itself.
    """

    destination: Network
    interface: Interface
    gateway: Host | None = None
    host: bool = False
    static: bool = False
    reject: bool = False
    blackhole: bool = False
    proto1: bool = False
    proto2: bool = False
    pinned: bool = False
    mtu: int = 0
    weight: int = 1
    scope: Interface | None = None

    @property
    def flags(self) -> list[str]:
        """The names of the flags that are set, as in FLAGS."""
        present = {
            "up": True, "gateway": self.gateway is not None, "host": self.host, "reject": self.reject,
            "static": self.static, "proto1": self.proto1, "proto2": self.proto2, "blackhole": self.blackhole,
        }  # fmt: skip
        return [name for name in FLAGS if present[name]]

    @property
    def is_dead_end(self) -> bool:
        """Whether packets end here."""
        return self.reject or self.blackhole

    def covers(self, address: Host, scope: Interface | None) -> bool:
        """Tell whether an address matches the destination."""
        if address.version != self.destination.version or (self.scope is not None and self.scope is not scope):
            return False
        return address in self.destination

    @property
    def order(self) -> tuple[int, int]:
        """The place in the table: by address with the scope inside, longer masks first."""
        number = int(self.destination.network_address)
        if self.scope is not None:
            number |= self.scope.index << 96
        return number, -self.destination.prefixlen


class Routes:
    """The routing tables of all vnets. There is one per vnet (net.fibs is 1)."""

    def __init__(self, kernel: Kernel) -> None:
        self.kernel = kernel
        self._routes: dict[int, list[Route]] = {}  # by the stack's inode, those that somebody added
        self._nexthops: dict[int, dict[tuple[Any, ...], int]] = {}

    def start(self) -> None:
        """Follow what happens to interfaces."""
        self.kernel.interfaces.listeners.append(self._follow)

    # Looking

    def table(self, jail: Jail, version: int) -> list[Route]:
        """Return all routes of one family (4 or 6) in the order that the kernel lists them."""
        with self.kernel.lock:
            vnet = jail.network
            interfaces = self.kernel.interfaces.list(vnet)
            found = self._interface_routes(interfaces, version)
            found += [route for route in self._added(vnet) if route.destination.version == version]
            return sorted(found, key=lambda route: route.order)

    def look_up(self, jail: Jail, address: Host, scope: Interface | None = None) -> Route:
        """Return the route that a packet to an address takes.

        :raises KernelError: ESRCH
        """
        matching = [route for route in self.table(jail, address.version) if route.covers(address, scope)]
        if not matching:
            raise KernelError("ESRCH")
        return max(matching, key=lambda route: route.destination.prefixlen)

    def find(self, jail: Jail, destination: Network, scope: Interface | None = None) -> list[Route]:
        """Return the ways to exactly this destination; several when it has several gateways."""
        return [
            route
            for route in self.table(jail, destination.version)
            if route.destination == destination and (not destination.is_link_local or route.scope is scope)
        ]

    def nexthop_number(self, jail: Jail, route: Route) -> int:
        """Return the kernel's number of the next hop of a route (nhop-kidx); equal next hops have one number."""
        numbers = self._nexthops.setdefault(jail.network.stack.inode, {})
        key = (route.destination.version, route.gateway, route.interface.index, tuple(route.flags))
        return numbers.setdefault(key, len(numbers) + 1)

    def forget(self, jail: Jail) -> None:
        """Drop the table of a vnet that is no more; Linux may give its number to another one."""
        self._routes.pop(jail.stack.inode, None)
        self._nexthops.pop(jail.stack.inode, None)

    def _added(self, vnet: Jail) -> list[Route]:
        return self._routes.setdefault(vnet.stack.inode, [])

    def _interface_routes(self, interfaces: list[Interface], version: int) -> list[Route]:
        loopback = next((interface for interface in interfaces if interface.kind == "lo" and interface.unit == 0), None)
        found: dict[tuple[Any, ...], Route] = {}
        for interface in interfaces:
            for record in interface.addresses if interface.up else ():
                if record.address.version != version:
                    continue
                scope = interface if record.is_link_local else None
                single = ipaddress.ip_network(record.address)
                prefix = record.network if record.destination is None else ipaddress.ip_network(record.destination)
                if interface.kind != "lo" or (version == 6 and prefix != single):
                    route = Route(
                        prefix, interface, host=prefix.prefixlen == single.prefixlen, pinned=True, scope=scope
                    )
                    if prefix != single:
                        found.setdefault((prefix, scope), route)
                # An own address is reached through the loopback; the one on the loopback itself is not "static".
                static = interface.kind != "lo" or version == 6
                own = Route(single, loopback or interface, host=True, static=static, pinned=True, scope=scope)
                found.setdefault((single, scope), own)
        return list(found.values())

    # Changing

    def add(self, jail: Jail, route: Route, *, on_link: bool) -> None:
        """Add a route; a second gateway to the same destination is one more way (net.route.multipath).

        :param on_link: the interface is given and there is no gateway
        :raises KernelError: EEXIST, ENETUNREACH (the gateway is not on a link)
        """
        with self.kernel.lock:
            vnet = jail.network
            self._resolve(vnet, route, on_link)
            present = self.find(vnet, route.destination, route.scope)
            for other in present:
                if other.gateway is None or route.gateway is None or other.gateway == route.gateway:
                    raise KernelError("EEXIST")
            self._added(vnet).append(route)
            try:
                self._install(vnet, [*present, route])
            except KernelError:
                self._added(vnet).remove(route)
                raise

    def change(self, jail: Jail, route: Route, *, on_link: bool) -> None:
        """Replace the route to a destination.

        :raises KernelError: ESRCH, EEXIST (the kernel's own route), ENETUNREACH
        """
        with self.kernel.lock:
            vnet = jail.network
            present = self.find(vnet, route.destination, route.scope)
            if not present:
                raise KernelError("ESRCH")
            if any(other.pinned for other in present):
                raise KernelError("EEXIST")
            self._resolve(vnet, route, on_link)
            self._install(vnet, [route])
            added = self._added(vnet)
            added[:] = [other for other in added if other not in present] + [route]

    def delete(
        self,
        jail: Jail,
        destination: Network,
        gateway: Host | None = None,
        interface: Interface | None = None,
        scope: Interface | None = None,
    ) -> Route:
        """Remove the route to a destination; the gateway or interface, if given, must be the route's.

        :raises KernelError: ESRCH, EADDRINUSE (the kernel's own route)
        """
        with self.kernel.lock:
            vnet = jail.network
            present = self.find(vnet, destination, scope)
            matching = [
                route
                for route in present
                if (gateway is None or route.gateway == gateway)
                and (interface is None or (route.interface is interface and route.gateway is None))
            ]
            # Of several ways one must be named.
            if not matching or (len(present) > 1 and gateway is None):
                raise KernelError("ESRCH")
            (route, *_) = matching
            if route.pinned:
                raise KernelError("EADDRINUSE")
            self._added(vnet).remove(route)
            rest = [other for other in present if other is not route]
            if rest:
                self._install(vnet, rest)
            else:
                self._uninstall(vnet, route)
            return route

    def _resolve(self, vnet: Jail, route: Route, on_link: bool) -> None:
        """Find the interface of a route's gateway."""
        if on_link:
            route.gateway = None
        if route.is_dead_end:
            route.gateway = None
            route.interface = self.kernel.interfaces.get(vnet, "lo0")
        elif route.gateway is not None:
            scope = route.interface if route.gateway.is_link_local and route.gateway.version == 6 else None
            try:
                way = self.look_up(vnet, route.gateway, scope)
            except KernelError:
                raise KernelError("ENETUNREACH") from None
            if way.gateway is not None or way.is_dead_end:
                raise KernelError("ENETUNREACH")
            route.interface = way.interface

    def _follow(self, event: str, interface: Interface) -> None:
        vnet = interface.jail
        added = self._routes.get(vnet.stack.inode, [])
        if event == "depart":
            added[:] = [route for route in added if route.interface is not interface]
        elif event in ("up", "address"):
            for route in added:
                if route.interface is interface:
                    with contextlib.suppress(KernelError):
                        self._install(vnet, [other for other in added if other.destination == route.destination])

    # Linux

    def _install(self, vnet: Jail, ways: list[Route]) -> None:
        first = ways[0]
        arguments = _arguments(first)
        if first.is_dead_end:
            arguments |= {"type": RTN_BLACKHOLE if first.blackhole else RTN_UNREACHABLE}
        elif len(ways) > 1:
            arguments["multipath"] = [
                {
                    "gateway": str(way.gateway),
                    "oif": way.interface.linux_index,
                    "hops": way.weight - 1,
                    "flags": RTNH_F_ONLINK,
                }
                for way in ways
            ]
        else:
            arguments["oif"] = first.interface.linux_index
            if first.gateway is None or first.interface.kind == "lo":
                arguments["scope"] = RT_SCOPE_LINK if first.destination.version == 4 else RT_SCOPE_UNIVERSE
            else:
                arguments |= {"gateway": str(first.gateway), "flags": RTNH_F_ONLINK}
        if first.mtu:
            arguments["metrics"] = {"mtu": first.mtu}
        try:
            vnet.stack.ipr.route("replace", **arguments)
        except NetlinkError as error:
            # A link that is down cannot have routes in Linux; this one is put back when it comes up.
            if error.code not in (100, 101):  # ENETDOWN, ENETUNREACH
                raise KernelError("EINVAL", f"Linux refused the route: {error}") from None

    def _uninstall(self, vnet: Jail, route: Route) -> None:
        arguments = _arguments(route)
        if route.is_dead_end:
            arguments["type"] = RTN_BLACKHOLE if route.blackhole else RTN_UNREACHABLE
        else:
            arguments["scope"] = RT_SCOPE_LINK if route.gateway is None and route.destination.version == 4 else 0
        with contextlib.suppress(NetlinkError):
            vnet.stack.ipr.route("del", **arguments)


def _arguments(route: Route) -> dict[str, Any]:
    return {
        "dst": str(route.destination),
        "family": socket.AF_INET if route.destination.version == 4 else socket.AF_INET6,
        "table": MAIN_TABLE,
        "proto": RTPROT_STATIC,
    }
