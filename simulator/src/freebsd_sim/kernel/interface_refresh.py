"""Keeps the records of a vnet's interfaces with what Linux says of its links."""

from __future__ import annotations

from typing import TYPE_CHECKING

from freebsd_sim.kernel import interface_linux, interface_taps
from freebsd_sim.kernel.interface_model import (
    CAP_MEXTPG,
    CAP_VLAN_HWCSUM,
    CAP_VLAN_HWFILTER,
    CAP_VLAN_HWTAGGING,
    CAP_VLAN_MTU,
    IFF_PPROMISC,
    Interface,
)
from freebsd_sim.kernel.link_table import Link
from freebsd_sim.kernel.stack import LOOPBACK_INDEX

if TYPE_CHECKING:
    from freebsd_sim.kernel.interfaces import Interfaces
    from freebsd_sim.kernel.jails import Jail

NIC_CAPABILITIES = CAP_VLAN_MTU | CAP_VLAN_HWTAGGING | 0x20 | CAP_VLAN_HWCSUM | CAP_VLAN_HWFILTER | CAP_MEXTPG


def refresh(interfaces: Interfaces, vnet: Jail) -> None:
    """Bring the records of a vnet up to what Linux has: flags, vanished links, new links."""
    stack = vnet.stack
    if stack.inode not in interfaces.tables:
        interfaces.tables[stack.inode] = []
        interfaces.vnets[stack.inode] = vnet
        # Interfaces begin with IFDISABLED; it is lifted for each (sys/netinet6/nd6.c).
        stack.write_sysctl("net/ipv6/conf/default/disable_ipv6", "1")
        # An address that goes does not take others of its prefix along.
        stack.write_sysctl("net/ipv4/conf/all/promote_secondaries", "1")
        interfaces.watcher.add(stack)
        interfaces.kernel.modules.firewall.follow(vnet)
    table = interfaces.tables[stack.inode]
    for interface in list(table):
        if interface.tap is not None or interface.kind == "nic":
            _look_at_carrier(interfaces, interface)
    changed = stack.links.update()
    if not changed:
        return
    for interface in [item for item in table if item.linux_index in changed]:
        changed.discard(interface.linux_index)
        link = stack.links.links.get(interface.linux_index)
        if link is None:
            interface_taps.link_vanished(interfaces, interface)
        else:
            _follow(interfaces, interface, link)
    for index in sorted(changed):
        link = stack.links.links.get(index)
        if link is not None:
            _adopt(interfaces, vnet, link)


def _look_at_carrier(interfaces: Interfaces, interface: Interface) -> None:
    """Bring a record's carrier up to date at once: it is how the last close of a tap is noticed."""
    link = interface.jail.stack.links.look(interface.linux_index)
    if link is not None:
        interface.carrier = link.carrier
        interface_taps.follow_carrier(interfaces, interface)


def _follow(interfaces: Interfaces, interface: Interface, link: Link) -> None:
    """Bring the record of an interface up to what Linux says of its link."""
    interface.up = link.up
    interface.promiscuous = link.promiscuity > 0
    interface.flags_set = interface.flags_set & ~IFF_PPROMISC | (IFF_PPROMISC if link.promiscuous else 0)
    interface.carrier = link.carrier
    interface.mtu = link.mtu
    interface.mac = link.mac or interface.mac
    if interface.tap is not None and link.persistent:
        interface.tap.foreign = False
    interface_taps.follow_carrier(interfaces, interface)
    interface_taps.follow_filter(interface)


def _adopt(interfaces: Interfaces, vnet: Jail, link: Link) -> None:
    """Take a link that something else made as an interface."""
    loopback = link.index == LOOPBACK_INDEX
    kind = "lo" if loopback else "tap" if link.kind == "tun" else "nic"
    interface = interfaces.record(vnet, link.name, kind, link.index)
    interface.up, interface.mtu, interface.carrier = link.up, link.mtu, link.carrier
    if loopback:
        interface.cloner, interface.unit = "lo", 0
        interface.mtu = 16384
        interface_linux.set_link(vnet.stack, link.index, mtu=16384)
    elif kind == "tap":
        interface_taps.adopt(interfaces, interface, link)
    else:
        interface.capabilities = interface.enabled = NIC_CAPABILITIES
        if link.kind == "veth":
            # A network card computes what it sends.
            interface_linux.set_offloads(vnet.stack, link.name, checksums=False)
    if not loopback:
        interface.mac = interface.permanent_mac = link.mac
        _follow(interfaces, interface, link)
    interfaces.announce("arrive", interface)
