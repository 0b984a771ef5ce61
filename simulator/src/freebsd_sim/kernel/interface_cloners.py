"""Makes interfaces: the cloners, their names and units (sys/net/if_clone.c and the drivers' clone functions)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from freebsd_sim.call import NotSimulated
from freebsd_sim.kernel import (
    interface_bridges,
    interface_linux,
    interface_macs,
    interface_taps,
    interface_vlans,
    interface_vxlans,
)
from freebsd_sim.kernel.errors import KernelError
from freebsd_sim.kernel.interface_model import (
    CAP_EPAIR_OFFLOADS,
    CAP_JUMBO_MTU,
    CAP_LINKSTATE,
    CAP_TXCSUM_ALL,
    CAP_VLAN_HWTAGGING,
    CAP_VLAN_MTU,
    Bridge,
    Interface,
    Tap,
    Vlan,
    Vxlan,
)

if TYPE_CHECKING:
    from freebsd_sim.kernel.interfaces import Interfaces
    from freebsd_sim.kernel.jails import Jail

CLONERS = ("epair", "bridge", "vxlan", "vlan", "lo", "tap", "vmnet")
# FreeBSD has them; here they are refused loudly.
REFUSED_CLONERS = ("tun", "gif", "gre", "lagg", "wlan", "wg", "stf", "enc", "pflog", "pfsync", "carp", "geneve", "me",
                   "ipsec", "edsc", "disc", "ovpn", "usbus", "qinq", "svlan")  # fmt: skip
SYSTEM_WIDE = ("tap", "vmnet")
UNIT_LIMIT = 0x7FFF


def split_name(name: str) -> tuple[str, int | None]:
    """Split "tap3" into cloner and unit, and "tap" into cloner and None.

    :raises KernelError: EINVAL for an unknown cloner or a bad unit
    """
    prefix = name.rstrip("0123456789")
    digits = name[len(prefix) :]
    if prefix in REFUSED_CLONERS:
        raise NotSimulated(f"{prefix} interfaces")
    if prefix not in CLONERS or (len(digits) > 1 and digits[0] == "0"):
        raise KernelError("EINVAL")
    unit = int(digits) if digits else None
    if unit is not None and unit > UNIT_LIMIT:
        raise KernelError("EINVAL")
    return prefix, unit


def create(interfaces: Interfaces, vnet: Jail, name: str, **parameters: Any) -> Interface:
    """Make an interface; see Interfaces.create."""
    present = interfaces.list(vnet)
    if "." in name:
        return _create_dotted(interfaces, vnet, name, present)
    cloner, wanted = split_name(name)
    unit = _choose_unit(interfaces, vnet, cloner, wanted, {interface.name for interface in present})
    makers = {
        "epair": _make_epair, "bridge": _make_bridge, "tap": _make_tap, "vmnet": _make_tap, "lo": _make_lo,
        "vlan": _make_vlan, "vxlan": _make_vxlan,
    }  # fmt: skip
    try:
        return makers[cloner](interfaces, vnet, cloner, unit, parameters)
    finally:
        # Records that got no half in Linux.
        table = interfaces.tables[vnet.stack.inode]
        table[:] = [interface for interface in table if interface.linux_index]


def _choose_unit(interfaces: Interfaces, vnet: Jail, cloner: str, wanted: int | None, names: set[str]) -> int:
    used = {
        interface.unit
        for interface in interfaces.everywhere()
        if interface.cloner == cloner and (cloner in SYSTEM_WIDE or interface.home is vnet)
    }
    if wanted is not None:
        if wanted in used or f"{cloner}{wanted}" in names:
            raise KernelError("EEXIST")
        return wanted
    unit = 0
    while unit in used or f"{cloner}{unit}" in names:
        unit += 1
    return unit


def _record(interfaces: Interfaces, vnet: Jail, name: str, cloner: str, unit: int, kind: str = "") -> Interface:
    """Make a record whose Linux half is still to be made."""
    interface = interfaces.record(vnet, name, kind or cloner, 0)
    interface.cloner, interface.unit = cloner, unit
    interface.groups = [cloner]
    interface.linux_name = interfaces.linux_name(vnet, name, interface.index)
    return interface


def _make_epair(interfaces: Interfaces, vnet: Jail, cloner: str, unit: int, parameters: dict[str, Any]) -> Interface:
    offloads = interfaces.kernel.release.at_least(14, 4)
    first = _record(interfaces, vnet, f"epair{unit}a", cloner, unit)
    second = _record(interfaces, vnet, f"epair{unit}b", cloner, unit)
    first.peer, second.peer = second, first
    generated = int(interfaces.kernel.release.at_least(15))
    if offloads:
        generated = interfaces.read_sysctl(vnet, "net.link.epair.ether_gen_addr", generated)
    if generated:
        macs = [
            interface_macs.make_stable(interfaces, vnet, first.name),
            interface_macs.make_stable(interfaces, vnet, second.name),
        ]
    else:
        macs = [*interface_macs.make_pair(interfaces, first.index)]
    first.linux_index = interface_linux.add_link(
        vnet.stack, "veth", first.linux_name, first.index, macs[0],
        peer={"ifname": second.linux_name, "address": macs[1]},
    )  # fmt: skip
    second.linux_index = interface_linux.index_of(vnet.stack, second.linux_name)
    for half, mac in ((first, macs[0]), (second, macs[1])):
        half.mac = half.permanent_mac = mac
        half.capabilities = half.enabled = CAP_VLAN_MTU | (CAP_EPAIR_OFFLOADS if offloads else 0)
        checksums = half.enabled & CAP_TXCSUM_ALL == CAP_TXCSUM_ALL
        interface_linux.set_offloads(vnet.stack, half.linux_name, checksums)
        interfaces.announce("arrive", half)
    return first


def _make_bridge(interfaces: Interfaces, vnet: Jail, cloner: str, unit: int, parameters: dict[str, Any]) -> Interface:
    interface = _record(interfaces, vnet, f"bridge{unit}", cloner, unit)
    interface.bridge = Bridge()
    interface.mac = interface.permanent_mac = interface_macs.make_stable(interfaces, vnet, interface.name)
    interface_bridges.install(interface, vnet.stack)
    if interfaces.kernel.release.at_least(15):
        interface.capabilities = interface.enabled = CAP_VLAN_HWTAGGING
    interfaces.announce("arrive", interface)
    return interface


def _make_tap(interfaces: Interfaces, vnet: Jail, cloner: str, unit: int, parameters: dict[str, Any]) -> Interface:
    name = f"{cloner}{unit}"
    interface = _record(interfaces, vnet, name, cloner, unit, "tap")
    interface.tap = Tap(node=name)
    interface.mac = interface.permanent_mac = interface_macs.make_stable(interfaces, vnet, name)
    interface.capabilities = interface.enabled = interface_taps.tap_capabilities(interfaces)
    interface_taps.create_persistent(interface)
    interface_taps.make_node(interfaces, name)
    interfaces.announce("arrive", interface)
    return interface


def _make_lo(interfaces: Interfaces, vnet: Jail, cloner: str, unit: int, parameters: dict[str, Any]) -> Interface:
    interface = _record(interfaces, vnet, f"lo{unit}", cloner, unit)
    interface.linux_index = interface_linux.add_loopback(vnet.stack, interface.linux_name, interface.index)
    interface_linux.set_link(vnet.stack, interface.linux_index, mtu=16384)
    interface.mtu = 16384
    interfaces.announce("arrive", interface)
    return interface


def _make_vlan(interfaces: Interfaces, vnet: Jail, cloner: str, unit: int, parameters: dict[str, Any]) -> Interface:
    interface = _record(interfaces, vnet, f"vlan{unit}", cloner, unit)
    return _finish_vlan(interfaces, interface, parameters)


def _create_dotted(interfaces: Interfaces, vnet: Jail, name: str, present: list[Interface]) -> Interface:
    parent_name, _, digits = name.rpartition(".")
    parent = next((item for item in present if item.name == parent_name), None)
    if parent is None or not digits.isdigit() or not 1 <= int(digits) <= 4094 or digits[0] == "0":
        raise KernelError("EINVAL")
    if any(item.name == name for item in present):
        raise KernelError("EEXIST")
    interface = _record(interfaces, vnet, name, "vlan", -1)
    interface.unit = None
    return _finish_vlan(interfaces, interface, {"parent": parent, "tag": int(digits)})


def _finish_vlan(interfaces: Interfaces, interface: Interface, parameters: dict[str, Any]) -> Interface:
    interface.vlan = Vlan()
    interface.capabilities = interface.enabled = CAP_LINKSTATE
    interface_vlans.install(interfaces, interface)
    interfaces.announce("arrive", interface)
    if parameters.get("parent") is not None:
        try:
            interface_vlans.attach(
                interfaces, interface, parameters["parent"], parameters["tag"], parameters.get("protocol", "802.1q")
            )
        except KernelError:
            interface_linux.delete_link(interface.jail.stack, interface.linux_index)
            interfaces.forget(interface)
            raise
    return interface


def _make_vxlan(interfaces: Interfaces, vnet: Jail, cloner: str, unit: int, parameters: dict[str, Any]) -> Interface:
    interface = _record(interfaces, vnet, f"vxlan{unit}", cloner, unit)
    interface.vxlan = Vxlan()
    interface.mac = interface.permanent_mac = interface_macs.make_stable(interfaces, vnet, interface.name)
    interface.capabilities = interface.enabled = CAP_JUMBO_MTU | CAP_LINKSTATE
    interface_vxlans.place(interfaces, interface)
    interface_vxlans.configure(interfaces, interface, parameters)
    interfaces.announce("arrive", interface)
    return interface
