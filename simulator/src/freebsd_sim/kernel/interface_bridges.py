"""Bridges: members, their rules and what they do to MTU and offloads (bridge(4), sys/net/if_bridge.c)."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

from pyroute2 import NetlinkError

from freebsd_sim.kernel import interface_linux
from freebsd_sim.kernel.errors import KernelError
from freebsd_sim.kernel.interface_model import (
    CAP_TXCSUM_ALL,
    MEMBER_DISCOVER,
    MEMBER_LEARNING,
    MEMBER_PRIVATE,
    MEMBER_SPAN,
    Bridge,
    Interface,
    Member,
)
from freebsd_sim.kernel.stack import Stack

if TYPE_CHECKING:
    from freebsd_sim.kernel.interfaces import Interfaces

# Spanning tree costs by what the driver says of its speed.
PATH_COSTS = {"epair": 2000, "nic": 20000}
DEFAULT_PATH_COST = 2000000
TICKS = 100  # USER_HZ, in which Linux gives ages


def install(interface: Interface, stack: Stack) -> None:
    """Make the Linux half of a bridge that has no members."""
    interface.linux_index = interface_linux.add_link(
        stack, "bridge", interface.linux_name, interface.index, interface.mac, br_stp_state=0,
        br_forward_delay=0, br_mcast_snooping=0, br_ageing_time=bridge_of(interface).timeout * 100,
    )  # fmt: skip


def bridge_of(interface: Interface) -> Bridge:
    """Return what an interface has as a bridge.

    :raises KernelError: EINVAL when it is none
    """
    if interface.bridge is None:
        raise KernelError("EINVAL")
    return interface.bridge


def find_member(interface: Interface, name: str) -> Member:
    """Return a member by name.

    :raises KernelError: ENOENT
    """
    for member in bridge_of(interface).members:
        if member.interface.name == name:
            return member
    raise KernelError("ENOENT")


def add_member(interfaces: Interfaces, interface: Interface, name: str) -> None:
    """Make an interface a member.

    :raises KernelError: ENOENT no such interface, EEXIST a member already, EBUSY a member elsewhere,
        EINVAL unsuitable, or it has addresses (15.0)
    """
    with interfaces.kernel.lock:
        bridge = bridge_of(interface)
        try:
            joining = interfaces.get(interface.jail, name)
        except KernelError:
            raise KernelError("ENOENT") from None
        if joining.member_of is interface:
            raise KernelError("EEXIST")
        if joining.member_of is not None:
            raise KernelError("EBUSY")
        if joining.kind in ("lo", "bridge"):
            raise KernelError("EINVAL")
        if any(span.interface is joining for span in bridge.spans):
            raise KernelError("EBUSY")
        if joining.addresses and not may_have_addresses(interfaces, interface):
            raise KernelError("EINVAL")
        if not bridge.members:
            interfaces.apply_mtu(interface, joining.mtu)
        elif joining.mtu != interface.mtu:
            interfaces.apply_mtu(joining, interface.mtu)
        stack = interface.jail.stack
        interface_linux.set_link(stack, joining.linux_index, master=interface.linux_index)
        # Linux lowers a bridge's MTU to that of its least member unless it was set.
        interface_linux.set_link(stack, interface.linux_index, mtu=interface.mtu)
        interface_linux.set_link(stack, interface.linux_index, address=interface.mac)
        joining.member_of = interface
        cost = PATH_COSTS.get(joining.kind, DEFAULT_PATH_COST)
        bridge.members.insert(0, Member(joining, path_cost=cost, saved=joining.enabled))
        bridge.had_member = True
        if interfaces.read_sysctl(interface.jail, "net.link.bridge.inherit_mac", 0) and len(bridge.members) == 1:
            interfaces.set_mac(interface, joining.mac)
        level_offloads(interfaces, interface)
        interfaces.changed.notify_all()


def may_have_addresses(interfaces: Interfaces, interface: Interface) -> bool:
    """Tell whether members may have addresses: not from 15.0 on, unless net.link.bridge.member_ifaddrs says so."""
    if not interfaces.kernel.release.at_least(15):
        return True
    return bool(interfaces.read_sysctl(interface.jail, "net.link.bridge.member_ifaddrs", 0))


def delete_member(interfaces: Interfaces, interface: Interface, name: str) -> None:
    """End a membership.

    :raises KernelError: ENOENT
    """
    with interfaces.kernel.lock:
        member = find_member(interface, name)
        _drop(interfaces, interface, member)
        level_offloads(interfaces, interface)


def _drop(interfaces: Interfaces, interface: Interface, member: Member) -> None:
    bridge = bridge_of(interface)
    bridge.members.remove(member)
    bridge.statics = {mac: at for mac, at in bridge.statics.items() if at is not member.interface}
    member.interface.member_of = None
    try:
        interface_linux.set_link(interface.jail.stack, member.interface.linux_index, master=0)
    except KernelError:
        pass  # the link is gone
    if interface.member_of is None:
        try:
            interface_linux.set_link(interface.jail.stack, interface.linux_index, address=interface.mac)
        except KernelError:
            pass
    if member.interface.kind == "epair":
        # The bridge gives back what it took away.
        interfaces.set_capabilities(member.interface, member.saved)


def leave(interfaces: Interfaces, interface: Interface) -> None:
    """Take an interface out of the bridge that it is in, if any."""
    bridge = interface.member_of
    if bridge is None:
        return
    for member in bridge_of(bridge).members:
        if member.interface is interface:
            _drop(interfaces, bridge, member)
            level_offloads(interfaces, bridge)
            return


def drop_all(interfaces: Interfaces, interface: Interface) -> None:
    """End all memberships of a bridge."""
    for member in list(bridge_of(interface).members):
        _drop(interfaces, interface, member)


def level_offloads(interfaces: Interfaces, interface: Interface) -> None:
    """Make the transmit checksums of all members the same: off unless every member had them when it joined."""
    members = [member.interface for member in bridge_of(interface).members]
    common = CAP_TXCSUM_ALL
    for place in bridge_of(interface).members:
        common &= place.saved
    for member in members:
        wanted = member.enabled & ~CAP_TXCSUM_ALL | common
        if wanted != member.enabled:
            interfaces.set_capabilities(member, wanted)


def set_mtu(interfaces: Interfaces, interface: Interface, mtu: int) -> None:
    """Set the MTU of a bridge and of all members; when one refuses, none is changed.

    :raises KernelError: what the member refused with
    """
    done: list[tuple[Interface, int]] = []
    try:
        for member in bridge_of(interface).members:
            done.append((member.interface, member.interface.mtu))
            interfaces.apply_mtu(member.interface, mtu)
        interfaces.apply_mtu(interface, mtu)
    except KernelError:
        for changed, old in done:
            interfaces.apply_mtu(changed, old)
        raise


def set_member_flags(interfaces: Interfaces, interface: Interface, name: str, flag: int, value: bool) -> None:
    """Set or clear a flag of a member.

    :raises KernelError: ENOENT; EINVAL for SPAN
    """
    with interfaces.kernel.lock:
        member = find_member(interface, name)
        if flag == MEMBER_SPAN:
            raise KernelError("EINVAL")
        member.flags = member.flags | flag if value else member.flags & ~flag
        parameters = {
            MEMBER_PRIVATE: {"isolated": int(value)},
            MEMBER_LEARNING: {"learning": int(value)},
            MEMBER_DISCOVER: {"unicast_flood": int(value)},
        }.get(flag)
        if parameters is not None:
            with interface_linux.translate_errors():
                interface.jail.stack.ipr.brport("set", index=member.interface.linux_index, **parameters)


def add_static(interfaces: Interfaces, interface: Interface, name: str, mac: str) -> None:
    """Add a static address; ENOENT when the interface is no member."""
    with interfaces.kernel.lock:
        member = find_member(interface, name)
        with interface_linux.translate_errors():
            interface.jail.stack.ipr.fdb(
                "replace", ifindex=member.interface.linux_index, lladdr=mac, state=0x40, flags=0x04
            )
        bridge_of(interface).statics[mac] = member.interface


def delete_address(interfaces: Interfaces, interface: Interface, mac: str) -> None:
    """Delete an address of the table; ENOENT when it is not there."""
    with interfaces.kernel.lock:
        for found, member, _, _ in list_addresses(interfaces, interface):
            if found == mac:
                with interface_linux.translate_errors():
                    interface.jail.stack.ipr.fdb("del", ifindex=member.linux_index, lladdr=mac, flags=0x04)
                bridge_of(interface).statics.pop(mac, None)
                return
        raise KernelError("ENOENT")


def flush(interfaces: Interfaces, interface: Interface, everything: bool) -> None:
    """Forget the learned addresses, and the static ones too when ``everything``."""
    with interfaces.kernel.lock:
        bridge = bridge_of(interface)
        for mac, _, _, static in list_addresses(interfaces, interface):
            if everything or not static:
                delete_address(interfaces, interface, mac)
        if everything:
            bridge.statics.clear()


def list_addresses(interfaces: Interfaces, interface: Interface) -> list[tuple[str, Interface, int, bool]]:
    """Return the address table: address, member, seconds until it expires (0 when static), whether it is static."""
    bridge = bridge_of(interface)
    members = {member.interface.linux_index: member.interface for member in bridge.members}
    found: dict[str, tuple[str, Interface, int, bool]] = {}
    try:
        messages = list(interface.jail.stack.ipr.get_neighbours(family=socket.AF_BRIDGE))
    except NetlinkError as error:
        raise KernelError("EINVAL") from error
    for message in messages:
        member = members.get(message["ifindex"])
        mac = message.get_attr("NDA_LLADDR")
        permanent = bool(message["state"] & 0x80)
        if member is None or mac is None or permanent or message.get_attr("NDA_MASTER") != interface.linux_index:
            continue
        static = bool(message["state"] & 0x40)
        age = (message.get_attr("NDA_CACHEINFO") or {}).get("ndm_updated", 0) // TICKS
        expire = 0 if static else max(bridge.timeout - age, 0)
        found[mac] = (mac, member, expire, static)
    return list(found.values())


def set_timeout(interfaces: Interfaces, interface: Interface, seconds: int) -> None:
    """Set how long a learned address stays; 0 is for ever on FreeBSD."""
    with interfaces.kernel.lock:
        bridge_of(interface).timeout = seconds
        ageing = (seconds or 10_000_000) * 100
        interface_linux.set_link(
            interface.jail.stack, interface.linux_index, kind="bridge", br_ageing_time=min(ageing, 2**31)
        )
