"""vxlan interfaces (vxlan(4)). Until one is complete and up, a link that swallows frames stands in for it.

As on FreeBSD nothing is said when the configuration is not enough or the VNI
is taken: the interface is UP and not RUNNING.
"""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING, Any

from freebsd_sim.kernel import interface_addresses, interface_linux, interface_vlans
from freebsd_sim.kernel.errors import KernelError
from freebsd_sim.kernel.interface_model import Interface, IPAddress, Vxlan

if TYPE_CHECKING:
    from freebsd_sim.kernel.interfaces import Interfaces

VNI_LIMIT = 1 << 24
BASE_MTU = 1500
HEADERS = {4: 50, 6: 70}
HEADERS_UNKNOWN = 30  # Ethernet, UDP and VXLAN without any IP


def place(interfaces: Interfaces, interface: Interface) -> None:
    """Put the stand-in where the interface will be."""
    interface_vlans.install(interfaces, interface)
    interface_linux.set_link(interface.jail.stack, interface.linux_index, address=interface.mac)


def configure(interfaces: Interfaces, interface: Interface, parameters: dict[str, Any]) -> None:
    """Set some of the parameters (the fields of Vxlan).

    :raises KernelError: EBUSY while RUNNING, EINVAL for a bad VNI
    """
    vxlan = _vxlan_of(interface)
    if interface.is_running and set(parameters) - {"learning", "ttl"}:
        raise KernelError("EBUSY")
    if not 0 <= parameters.get("vni", 0) < VNI_LIMIT:
        raise KernelError("EINVAL")
    for name, value in parameters.items():
        setattr(vxlan, name, value)
    if not interface.is_running:
        headers = HEADERS_UNKNOWN if vxlan.remote is None else HEADERS[vxlan.remote.version]
        interfaces.apply_mtu(interface, BASE_MTU - headers)


def _vxlan_of(interface: Interface) -> Vxlan:
    if interface.vxlan is None:
        raise KernelError("EINVAL")
    return interface.vxlan


def is_group(address: IPAddress | None) -> bool:
    """Tell whether the remote side is a multicast group."""
    return address is not None and address.is_multicast


def _is_complete(interfaces: Interfaces, interface: Interface) -> bool:
    vxlan = _vxlan_of(interface)
    if vxlan.vni >= VNI_LIMIT or vxlan.remote is None or vxlan.remote.is_unspecified:
        return False
    if vxlan.local is not None and vxlan.local.version != vxlan.remote.version:
        return False
    if is_group(vxlan.remote) and vxlan.device is None:
        return False
    for other in interfaces.everywhere():
        theirs = other.vxlan
        if theirs is None or other is interface or not theirs.installed or other.jail is not interface.jail:
            continue
        if (theirs.vni, theirs.local, theirs.local_port) == (vxlan.vni, vxlan.local, vxlan.local_port):
            return False
    return True


def install(interfaces: Interfaces, interface: Interface) -> None:
    """Put Linux's vxlan in place of the stand-in when the interface goes up and its configuration is complete."""
    vxlan = _vxlan_of(interface)
    if vxlan.installed or not _is_complete(interfaces, interface):
        return
    assert vxlan.remote is not None
    stack, mtu, master = interface.jail.stack, interface.mtu, interface.member_of
    family = "" if vxlan.remote.version == 4 else "6"
    parameters: dict[str, Any] = {
        "vxlan_id": vxlan.vni, "vxlan_port": vxlan.remote_port, "vxlan_ttl": vxlan.ttl,
        "vxlan_learning": int(vxlan.learning), f"vxlan_group{family}": str(vxlan.remote),
    }  # fmt: skip
    if vxlan.local is not None and not ipaddress.ip_address(vxlan.local).is_unspecified:
        parameters[f"vxlan_local{family}"] = str(vxlan.local)
    if vxlan.device is not None:
        parameters["vxlan_link"] = interfaces.get(interface.jail, vxlan.device).linux_index
    interface_linux.delete_link(stack, interface.linux_index)
    try:
        interface.linux_index = interface_linux.add_link(
            stack, "vxlan", interface.linux_name, interface.index, interface.mac, **parameters
        )
    except KernelError:
        place(interfaces, interface)
        return
    vxlan.installed = True
    interface_linux.set_link(stack, interface.linux_index, mtu=mtu)
    if master is not None:
        interface_linux.set_link(stack, interface.linux_index, master=master.linux_index)
    for record in list(interface.addresses):
        interface.addresses.remove(record)
        interface_addresses.add(interfaces, interface, record)
