"""Interfaces between vnets: moving in, going home, and the end of a vnet (sys/net/if.c)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from freebsd_sim.kernel import interface_addresses, interface_bridges, interface_linux
from freebsd_sim.kernel.errors import KernelError
from freebsd_sim.kernel.interface_model import Interface

if TYPE_CHECKING:
    from freebsd_sim.kernel.interfaces import Interfaces
    from freebsd_sim.kernel.jails import Jail


def move(interfaces: Interfaces, interface: Interface, jail: Jail, check: bool) -> None:
    """Move an interface; see Interfaces.move."""
    target, source = interfaces.vnet_of(jail), interface.jail
    present = interfaces.list(target)
    if check and (target is source or any(other.name == interface.name for other in present)):
        raise KernelError("EEXIST")
    if target is source:
        return
    interfaces.detach(interface)
    interface_addresses.purge(interfaces, interface)
    interfaces.set_down(interface)
    interfaces.announce("depart", interface)
    linux_name = interfaces.linux_name(target, interface.name, interface.index)
    if interface.bridge is not None:
        # Linux does not move a bridge: it is made anew.
        interface_linux.delete_link(source.stack, interface.linux_index)
        interface.linux_name = linux_name
        interface_bridges.install(interface, target.stack)
        interface_linux.set_link(target.stack, interface.linux_index, mtu=interface.mtu)
    else:
        interface_linux.set_link(source.stack, interface.linux_index, net_ns_fd=target.stack.fd, ifname=linux_name)
        interface.linux_index = interface_linux.index_of(target.stack, linux_name)
    interfaces.tables[source.stack.inode].remove(interface)
    interface.linux_name, interface.jail = linux_name, target
    interface.groups = [] if interface.cloner is None else [interface.cloner]
    interface.nd6 = interfaces.fresh_nd6(interface.kind)
    interfaces.tables[target.stack.inode].append(interface)
    interfaces.announce("arrive", interface)


def leave(interfaces: Interfaces, jail: Jail) -> None:
    """End a vnet; see Interfaces.leave_jail."""
    inode = jail.stack.inode
    if not jail.vnet or inode not in interfaces.tables:
        return
    interfaces.wait_for_departures()
    interfaces.refresh(jail)
    for interface in list(interfaces.tables[inode]):
        if interface.gone or interface.jail is not jail:
            continue
        if interface.home is not jail:
            is_known = interface.home.stack.inode in interfaces.tables
            home = interface.home if is_known else interfaces.kernel.jails.host
            interfaces.move(interface, home, check=False)
        elif interface.cloner is not None and not (interface.cloner == "lo" and interface.unit == 0):
            interfaces.destroy(interface)
        else:
            interfaces.forget(interface)
    for interface in interfaces.everywhere():
        if interface.home is jail:
            interface.home = interface.jail
    interfaces.watcher.remove(jail.stack)
    interfaces.tables.pop(inode, None)
    interfaces.vnets.pop(inode, None)
