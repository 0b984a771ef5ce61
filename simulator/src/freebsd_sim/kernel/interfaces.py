"""The network interfaces of a host: which there are, in which vnet, and what changes them (sys/net/if.c)."""

from __future__ import annotations

import itertools
import os
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from freebsd_sim.kernel import (
    interface_addresses,
    interface_bridges,
    interface_cloners,
    interface_linux,
    interface_refresh,
    interface_taps,
    interface_vlans,
    interface_vnets,
    interface_vxlans,
)
from freebsd_sim.kernel.errors import KernelError
from freebsd_sim.kernel.interface_model import (
    CAP_LINKSTATE,
    CAP_RXCSUM,
    CAP_RXCSUM_IPV6,
    CAP_TXCSUM_ALL,
    IFF_LINK0,
    IFF_PPROMISC,
    NAME_LIMIT,
    ND6_AUTO_LINKLOCAL,
    ND6_IFDISABLED,
    ND6_PERFORMNUD,
    ND6_STABLEADDR,
    Interface,
)
from freebsd_sim.kernel.interface_watch import Watcher
from freebsd_sim.kernel.stack import Stack

if TYPE_CHECKING:
    from freebsd_sim.kernel import Kernel
    from freebsd_sim.kernel.jails import Jail

LOOPBACK_CAPABILITIES = CAP_RXCSUM | CAP_TXCSUM_ALL | CAP_RXCSUM_IPV6 | CAP_LINKSTATE
InterfaceList = list[Interface]
Names = list[str]
MTU_RANGE = range(72, 65536)  # IF_MINMTU..IF_MAXMTU of sys/net/if.h


class Interfaces:
    """All interfaces of the host, in all of its vnets.

    ``listeners`` are called with "arrive", "depart", "up", "down", "address"
    and the interface, with the kernel's lock held, after the fact.
    """

    def __init__(self, kernel: Kernel) -> None:
        self.kernel = kernel
        self.tables: dict[int, InterfaceList] = {}  # by the stack's inode, in the kernel's order
        self.vnets: dict[int, Jail] = {}
        self.listeners: list[Callable[[str, Interface], None]] = []
        self.changed = threading.Condition(kernel.lock)
        self.detaching: int | None = None  # thread that holds the lock of interface departures
        self.indexes = itertools.count(1)
        self.back_room: Stack | None = None  # where the outer halves of emulated links are
        self.pumps: dict[Interface, interface_vlans.Pump] = {}
        self.watcher = Watcher(self)

    def start(self) -> None:
        """Find the host's first interfaces and begin to watch for those that Linux programs make."""
        with self.kernel.lock:
            self.list(self.kernel.jails.host)
        self.watcher.start()

    # Looking.

    def vnet_of(self, jail: Jail) -> Jail:
        """Return the jail (or host) whose stack a jail uses."""
        while not jail.vnet and jail.parent is not None:
            jail = jail.parent
        return jail

    def list(self, jail: Jail) -> InterfaceList:
        """Return the interfaces of a jail's vnet in the kernel's order, as they are now."""
        with self.kernel.lock:
            vnet = self.vnet_of(jail)
            self.refresh(vnet)
            return list(self.tables[vnet.stack.inode])

    def get(self, jail: Jail, name: str) -> Interface:
        """Return the first interface of that name.

        :raises KernelError: ENXIO
        """
        for interface in self.list(jail):
            if interface.name == name:
                return interface
        raise KernelError("ENXIO")

    def everywhere(self) -> InterfaceList:
        """Return all known interfaces of the host without looking again."""
        return [interface for table in self.tables.values() for interface in table]

    def groups(self, jail: Jail) -> dict[str, Names]:
        """Return the members of each group of a jail's vnet, by group."""
        found: dict[str, Names] = {}
        for interface in self.list(jail):
            for group in ["all", *interface.groups]:
                found.setdefault(group, []).append(interface.name)
        return found

    def read_sysctl(self, jail: Jail, name: str, default: int) -> int:
        """Return an integer sysctl as a vnet sees it; ``default`` when there is none."""
        try:
            return self.kernel.sysctls.read_int(name, jail)
        except KernelError:
            return default

    def refresh(self, vnet: Jail) -> None:
        """Bring the records of a vnet up to what Linux has: flags, vanished links, new links."""
        interface_refresh.refresh(self, vnet)

    def record(self, vnet: Jail, name: str, kind: str, linux_index: int, linux_name: str = "") -> Interface:
        """Make the record of a new interface and put it at the end of its vnet's list."""
        index = next(self.indexes)
        interface = Interface(
            name=name, driver_name=name, kind=kind, cloner=None, unit=None, index=index, jail=vnet, home=vnet,
            linux_name=linux_name or name, linux_index=linux_index, nd6=self.fresh_nd6(kind),
        )  # fmt: skip
        if kind == "lo":
            interface.capabilities = interface.enabled = LOOPBACK_CAPABILITIES
        interface.groups = [] if kind == "nic" else [kind]
        self.tables[vnet.stack.inode].append(interface)
        return interface

    def fresh_nd6(self, kind: str) -> int:
        """Return the nd6 options of an interface that just came into a vnet."""
        value = ND6_PERFORMNUD
        if kind != "bridge":
            value |= ND6_AUTO_LINKLOCAL
        if kind != "lo":
            value |= ND6_IFDISABLED
        return value | ND6_STABLEADDR if self.kernel.release.at_least(15, 1) else value

    def announce(self, event: str, interface: Interface) -> None:
        """Tell those who asked, and wake those who wait."""
        for listener in self.listeners:
            listener(event, interface)
        self.changed.notify_all()

    # Making and removing.

    def create(self, jail: Jail, name: str, **parameters: Any) -> Interface:
        """Make an interface of a cloner ("tap", "tap3", "em0.100") and return it (for epair, the a half).

        :raises KernelError: EINVAL for an unknown cloner or a bad unit, EEXIST, ENOSPC
        """
        with self.kernel.lock:
            return interface_cloners.create(self, self.vnet_of(jail), name, **parameters)

    def destroy(self, interface: Interface) -> None:
        """Remove a cloned interface. An open tap makes this wait, and every later call wait behind it.

        :raises KernelError: EINVAL for an interface that no cloner made, ENXIO when it went meanwhile
        """
        with self.kernel.lock:
            if interface.cloner is None or (interface.cloner == "lo" and interface.unit == 0):
                raise KernelError("EINVAL")
            self.wait_for_departures()
            owner = self.detaching is None
            self.detaching = threading.get_ident()
            try:
                self._destroy(interface)
            finally:
                if owner:
                    self.detaching = None
                self.changed.notify_all()

    def wait_for_departures(self) -> None:
        """Wait until no other thread is taking an interface away (the kernel's ifnet_detach_sxlock)."""
        while self.detaching not in (None, threading.get_ident()):
            self.changed.wait()

    def _destroy(self, interface: Interface) -> None:
        if interface.tap is not None:
            interface_taps.wait_closed(self, interface)
        if interface.gone:
            raise KernelError("ENXIO")
        halves = [interface] if interface.peer is None else [interface, interface.peer]
        for half in halves:
            self.detach(half)
        interface_linux.delete_link(interface.jail.stack, interface.linux_index)
        for half in halves:
            self.forget(half)

    def detach(self, interface: Interface) -> None:
        """Take an interface out of bridges, and everything that hangs on it off it."""
        interface_bridges.leave(self, interface)
        if interface.bridge is not None:
            interface_bridges.drop_all(self, interface)
        for vlan in self.everywhere():
            if vlan.vlan is not None and vlan.vlan.parent is interface:
                interface_vlans.detach(self, vlan)
        if interface.vlan is not None:
            interface_vlans.detach(self, interface)

    def forget(self, interface: Interface) -> None:
        """Drop the record of an interface that is no more."""
        if interface.gone:
            return
        interface.gone = True
        self.tables.get(interface.jail.stack.inode, [interface]).remove(interface)
        interface.addresses.clear()
        interface_taps.remove_nodes(self, interface)
        self.announce("depart", interface)

    # Changing.

    def rename(self, interface: Interface, name: str) -> None:
        """Give an interface another name.

        :raises KernelError: EINVAL (empty), ENAMETOOLONG, EEXIST
        """
        with self.kernel.lock:
            if not name:
                raise KernelError("EINVAL")
            if len(os.fsencode(name)) > NAME_LIMIT:
                raise KernelError("ENAMETOOLONG")
            if name == interface.name:
                return
            if any(other.name == name for other in self.list(interface.jail)):
                raise KernelError("EEXIST")
            self.announce("depart", interface)
            linux_name = self.linux_name(interface.jail, name, interface.index)
            try:
                interface_linux.set_link(interface.jail.stack, interface.linux_index, ifname=linux_name)
            except KernelError:
                # Linux before 6.2 renames only what is down.
                stack, index = interface.jail.stack, interface.linux_index
                interface_linux.set_link(stack, index, state="down")
                interface_linux.set_link(stack, index, ifname=linux_name)
                if interface.up:
                    interface_linux.set_link(stack, index, state="up")
                    interface_addresses.restore(self, interface)
            interface.name, interface.linux_name = name, linux_name
            interface_taps.rename_node(self, interface)
            self.announce("arrive", interface)

    def linux_name(self, vnet: Jail, name: str, index: int) -> str:
        """Return the name that Linux can give: the same unless it is taken there or not allowed."""
        bad = name in (".", "..") or any(letter in "/:" or letter.isspace() for letter in name)
        if bad or vnet.stack.links.find(name) is not None:
            return f"bsd.{index}"
        return name

    def set_up(self, interface: Interface) -> None:
        """Raise an interface (IFF_UP)."""
        with self.kernel.lock:
            if interface.vxlan is not None:
                interface_vxlans.install(self, interface)
            interface_linux.set_link(interface.jail.stack, interface.linux_index, state="up")
            interface.up = True
            interface_addresses.interface_up(self, interface)
            self.announce("up", interface)

    def set_down(self, interface: Interface) -> None:
        """Lower an interface; it keeps its addresses."""
        with self.kernel.lock:
            interface_linux.set_link(interface.jail.stack, interface.linux_index, state="down")
            interface.up = False
            self.announce("down", interface)

    def set_flag(self, interface: Interface, flag: int, value: bool) -> None:
        """Set or clear a flag other than IFF_UP. IFF_PPROMISC and IFF_NOARP reach Linux."""
        with self.kernel.lock:
            interface.flags_set = interface.flags_set | flag if value else interface.flags_set & ~flag
            if flag == IFF_PPROMISC:
                mask = interface_linux.LINUX_PROMISC
                interface_linux.set_link(
                    interface.jail.stack, interface.linux_index, flags=mask if value else 0, change=mask
                )
            elif flag & 0x80:
                interface_linux.set_link(interface.jail.stack, interface.linux_index, arp=not value)

    def set_mtu(self, interface: Interface, mtu: int) -> None:
        """Set the MTU in bytes.

        :raises KernelError: EINVAL out of range, EOPNOTSUPP for a member of a bridge
        """
        with self.kernel.lock:
            if mtu not in MTU_RANGE:
                raise KernelError("EINVAL")
            if interface.member_of is not None:
                raise KernelError("EOPNOTSUPP")
            if interface.bridge is not None:
                interface_bridges.set_mtu(self, interface, mtu)
            else:
                self.apply_mtu(interface, mtu)

    def apply_mtu(self, interface: Interface, mtu: int) -> None:
        """Set the MTU of an interface whatever it is a member of.

        :raises KernelError: EINVAL when the driver refuses
        """
        if interface.vlan is not None and (interface.vlan.parent is None or mtu > interface.vlan.parent.mtu):
            raise KernelError("EINVAL")
        interface_linux.set_link(interface.jail.stack, interface.linux_index, mtu=mtu)
        interface.mtu = mtu

    def set_mac(self, interface: Interface, mac: str) -> None:
        """Set the Ethernet address.

        :raises KernelError: EINVAL for an interface without one, or a multicast address
        """
        with self.kernel.lock:
            if not interface.is_ether or int(mac[:2], 16) & 1:
                raise KernelError("EINVAL")
            interface_linux.set_link(interface.jail.stack, interface.linux_index, address=mac)
            interface.mac = mac
            self.announce("address", interface)

    def set_capabilities(self, interface: Interface, enabled: int) -> None:
        """Switch offloads. The halves of an epair keep their transmit checksums equal (epair(4))."""
        with self.kernel.lock:
            halves = [interface] if interface.peer is None else [interface, interface.peer]
            for half in halves:
                value = half.enabled & ~CAP_TXCSUM_ALL | enabled & CAP_TXCSUM_ALL
                half.enabled = enabled if half is interface else value
            if interface.kind == "epair":
                checksums = interface.enabled & CAP_TXCSUM_ALL == CAP_TXCSUM_ALL
                for half in halves:
                    interface_linux.set_offloads(half.jail.stack, half.linux_name, checksums)

    # Vnets.

    def move(self, interface: Interface, jail: Jail, check: bool = True) -> None:
        """Move an interface into a jail's vnet. It arrives down, without addresses, groups and bridge.

        :param check: refuse a name that is there already; coming home is not checked (sys/net/if.c)
        :raises KernelError: EEXIST
        """
        with self.kernel.lock:
            interface_vnets.move(self, interface, jail, check)

    def leave_jail(self, jail: Jail) -> None:
        """End a vnet: what was moved in goes home, what was made inside is destroyed.

        An open tap made inside makes this wait. Call it before the stack is closed.
        """
        with self.kernel.lock:
            interface_vnets.leave(self, jail)

    # Taps.

    def open_tap(self, node: str, pid: int) -> int:
        """Open a tap's device node for a process and return a descriptor of Linux's tun device.

        :param node: a name in /dev: tapN, an alias, or tap, which makes a new one
        :raises KernelError: ENOENT no such node, EBUSY open already, ENXIO
        """
        with self.kernel.lock:
            return interface_taps.open_node(self, node, pid)

    def tap_opened(self, name: str, pid: int) -> None:
        """Note that a process holds a tap that it attached by itself."""
        with self.kernel.lock:
            interface_taps.note_opened(self, self.find_tap(name), pid)

    def tap_closed(self, name: str) -> None:
        """Note that a tap's holder is gone: the interface goes down and loses its addresses."""
        with self.kernel.lock:
            interface_taps.note_closed(self, self.find_tap(name))

    def find_tap(self, name: str) -> Interface:
        """Return a tap by interface name or node, wherever it is.

        :raises KernelError: ENXIO
        """
        for vnet in list(self.vnets.values()):
            self.refresh(vnet)
        for interface in self.everywhere():
            if interface.tap is not None and name in (interface.name, interface.tap.node, interface.tap.alias):
                return interface
        raise KernelError("ENXIO")


def _open_tap(kernel: Kernel, pid: int, uid: int, arguments: dict[str, Any]) -> tuple[Any, list[int]]:
    node = str(arguments["node"])
    if "/" in node:
        raise KernelError("ENOENT")
    if uid != 0:
        _check_node(kernel, node, uid)
    if uid != 0 and not kernel.interfaces.read_sysctl(kernel.jails.host, "net.link.tap.user_open", 0):
        raise KernelError("EPERM")
    descriptor = kernel.interfaces.open_tap(node, pid)
    return None, [descriptor]


def _check_node(kernel: Kernel, node: str, uid: int) -> None:
    """Refuse who may not read and write a node of /dev by its mode; groups are not looked at."""
    try:
        found = (kernel.root / "dev" / node).stat()
    except OSError:
        return  # the clone node has no file, and a missing one is refused later
    allowed = found.st_mode >> 6 if found.st_uid == uid else found.st_mode
    if allowed & 6 != 6:
        raise KernelError("EACCES")


def _name_indexes(kernel: Kernel, pid: int, uid: int, arguments: dict[str, Any]) -> tuple[Any, list[int]]:
    del uid, arguments
    jail = kernel.jails.of_process(pid)
    return [[interface.index, interface.name] for interface in kernel.interfaces.list(jail)], []


SYSCALLS = {"open_tap": _open_tap, "if_nameindex": _name_indexes}

__all__ = ["IFF_LINK0", "SYSCALLS", "Interfaces"]
