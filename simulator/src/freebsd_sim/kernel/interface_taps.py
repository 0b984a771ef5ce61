"""Taps: the exclusive device node, what the last close does, and leftovers of Linux programs (tap(4)).

A tap is a persistent tun device of Linux. Linux takes its carrier away when
the last descriptor is closed, which is how a close is noticed.
"""

from __future__ import annotations

import contextlib
import os
import time
from typing import TYPE_CHECKING

from freebsd_sim.kernel import interface_addresses, interface_linux
from freebsd_sim.kernel.errors import KernelError
from freebsd_sim.kernel.interface_filter import set_filter
from freebsd_sim.kernel.interface_model import CAP_LINKSTATE, CAP_MEXTPG, IFF_LINK0, Interface, Tap
from freebsd_sim.kernel.link_table import Link

if TYPE_CHECKING:
    from freebsd_sim.kernel.interfaces import Interfaces

NODE_OWNER = (66, 68)  # uucp, dialer
NODE_MODE = 0o600
CLONE_NODE = "tap"  # opening it makes a tap (net.link.tap.devfs_cloning)
POLL_INTERVAL = 0.5  # seconds between looks while a destroy waits, should an event be missed


def make_node(interfaces: Interfaces, name: str) -> None:
    """Make the marker file that is a tap's node in /dev."""
    node = interfaces.kernel.root / "dev" / name
    if "/" in name or not node.parent.is_dir():
        return
    with contextlib.suppress(OSError):
        os.close(os.open(node, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, NODE_MODE))
        os.chmod(node, NODE_MODE)
        os.chown(node, *NODE_OWNER)


def remove_nodes(interfaces: Interfaces, interface: Interface) -> None:
    """Remove the nodes of a tap that is gone."""
    if interface.tap is None:
        return
    for name in (interface.tap.node, interface.tap.alias):
        if name is not None and "/" not in name:
            (interfaces.kernel.root / "dev" / name).unlink(missing_ok=True)
    if interface.tap.held is not None:
        os.close(interface.tap.held)
        interface.tap.held = None


def rename_node(interfaces: Interfaces, interface: Interface) -> None:
    """Give a renamed tap an alias node; the node of its first name stays."""
    if interface.tap is None:
        return
    if interface.tap.alias is not None:
        (interfaces.kernel.root / "dev" / interface.tap.alias).unlink(missing_ok=True)
        interface.tap.alias = None
    if interface.name != interface.tap.node:
        interface.tap.alias = interface.name
        make_node(interfaces, interface.name)


def create_persistent(interface: Interface) -> None:
    """Make a tap's half in Linux, closed."""
    stack = interface.jail.stack
    descriptor = interface_linux.attach_tap(stack, interface.linux_name, interface.index, persist=True)
    os.close(descriptor)
    interface.linux_index = interface_linux.index_of(stack, interface.linux_name)
    if interface.mac:
        interface_linux.set_link(stack, interface.linux_index, address=interface.mac)


def open_node(interfaces: Interfaces, node: str, pid: int) -> int:
    """Open a node for a process; see Interfaces.open_tap."""
    host = interfaces.kernel.jails.host
    if node == CLONE_NODE:
        if not interfaces.read_sysctl(host, "net.link.tap.devfs_cloning", 1):
            raise KernelError("ENOENT")
        node = interfaces.create(host, CLONE_NODE).name
    interface = _find_node(interfaces, node)
    assert interface.tap is not None
    if interface.tap.is_open or interface.tap.held is not None:
        raise KernelError("EBUSY")
    descriptor = interface_linux.attach_tap(interface.jail.stack, interface.linux_name)
    note_opened(interfaces, interface, pid)
    if interfaces.read_sysctl(host, "net.link.tap.up_on_open", 0):
        interfaces.set_up(interface)
    return descriptor


def _find_node(interfaces: Interfaces, node: str) -> Interface:
    for vnet in list(interfaces.vnets.values()):
        interfaces.refresh(vnet)
    for interface in interfaces.everywhere():
        if interface.tap is not None and node in (interface.tap.node, interface.tap.alias):
            return interface
    raise KernelError("ENOENT")


def note_opened(interfaces: Interfaces, interface: Interface, pid: int | None) -> None:
    """Record that a tap is open."""
    assert interface.tap is not None
    interface.tap.is_open, interface.tap.opener = True, pid
    interface.carrier = True
    interfaces.changed.notify_all()


def note_closed(interfaces: Interfaces, interface: Interface) -> None:
    """Do what the last close does: down and without addresses, except for vmnet and with link0."""
    assert interface.tap is not None
    interface.tap.is_open, interface.tap.opener = False, None
    if interface.cloner != "vmnet" and not interface.flags_set & IFF_LINK0:
        interface_addresses.purge(interfaces, interface)
        if interface.up:
            interfaces.set_down(interface)
    interfaces.changed.notify_all()


def follow_carrier(interfaces: Interfaces, interface: Interface) -> None:
    """Notice by Linux's carrier that a tap was opened or closed."""
    tap = interface.tap
    if tap is None or tap.held is not None:
        return
    if tap.is_open and not interface.carrier and not _is_waiting_carrier(interface):
        note_closed(interfaces, interface)
    elif not tap.is_open and interface.carrier:
        note_opened(interfaces, interface, interface_linux.find_opener(interface.jail.stack, interface.linux_name))


def _is_waiting_carrier(interface: Interface) -> bool:
    """Tell whether Linux shows no carrier though the device is held: a link that was never up may."""
    tap = interface.tap
    if tap is None or tap.opener is None or interface.up:
        return False
    return interface_linux.find_opener(interface.jail.stack, interface.linux_name) is not None


def follow_filter(interface: Interface) -> None:
    """Drop the opener's unicast frames for others unless the tap is promiscuous."""
    tap = interface.tap
    if tap is None:
        return
    wanted = None if interface.promiscuous or interface.member_of is not None else interface.mac
    if wanted != tap.filtered:
        set_filter(interface.jail.stack, interface.linux_index, wanted)
        tap.filtered = wanted


def adopt(interfaces: Interfaces, interface: Interface, link: Link) -> None:
    """Take a tun device that a Linux program made: FreeBSD's program would have opened /dev/tap and renamed it."""
    used = {item.unit for item in interfaces.everywhere() if item.cloner == "tap"}
    unit = next(number for number in range(len(used) + 1) if number not in used)
    interface.cloner, interface.unit = "tap", unit
    interface.driver_name = f"tap{unit}"
    interface.tap = Tap(node=f"tap{unit}", foreign=not link.persistent)
    interface.capabilities = interface.enabled = tap_capabilities(interfaces)
    make_node(interfaces, interface.tap.node)
    rename_node(interfaces, interface)
    interface.tap.opener = interface_linux.find_opener(interface.jail.stack, link.name)
    interface.tap.is_open = interface.tap.opener is not None or link.carrier
    if interface.tap.foreign and not interface.up:
        # Open vSwitch raises the taps that it opens on FreeBSD (its lib/netdev-bsd.c), and on Linux does not.
        interfaces.set_up(interface)


def tap_capabilities(interfaces: Interfaces) -> int:
    """Return the capabilities that a tap has on this release."""
    return CAP_LINKSTATE | (CAP_MEXTPG if interfaces.kernel.release.at_least(15) else 0)


def link_vanished(interfaces: Interfaces, interface: Interface) -> None:
    """Deal with a link that Linux no longer has.

    A tap whose opener lives was destroyed by it; one whose opener died stays
    on FreeBSD, closed, and keeps its name from the opener's successor.
    """
    tap = interface.tap
    if tap is None or not tap.foreign or _opener_lives(tap):
        for half in (interface, interface.peer):
            if half is not None:
                interfaces.detach(half)
                interfaces.forget(half)
        return
    tap.is_open, tap.opener, tap.foreign, tap.filtered = False, None, False, None
    interface.addresses.clear()
    interface.member_of = None
    stack = interface.jail.stack
    try:
        tap.held = interface_linux.attach_tap(stack, interface.linux_name, interface.index, persist=True)
    except KernelError:
        # The successor was faster.
        interfaces.forget(interface)
        return
    interface.linux_index = interface_linux.index_of(stack, interface.linux_name)
    interface_linux.set_link(stack, interface.linux_index, address=interface.mac, mtu=interface.mtu)
    interface.up = False
    interfaces.announce("down", interface)


def _opener_lives(tap: Tap) -> bool:
    if tap.opener is None or not interface_linux.is_alive(tap.opener):
        return False
    # A process that ends closes its descriptors a moment before it is seen to end.
    time.sleep(0.03)
    return interface_linux.is_alive(tap.opener)


def wait_closed(interfaces: Interfaces, interface: Interface) -> None:
    """Wait until a tap is closed, the kernel's lock let go meanwhile (tap(4): destroy blocks while it is open)."""
    assert interface.tap is not None
    while interface.tap.is_open and not interface.gone:
        interfaces.changed.wait(POLL_INTERVAL)
        if not interface.gone and interface.tap.is_open:
            interfaces.refresh(interface.jail)
    if interface.tap.held is not None:
        os.close(interface.tap.held)
        interface.tap.held = None
