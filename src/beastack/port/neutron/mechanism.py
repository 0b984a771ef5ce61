"""The ML2 mechanism driver of hosts with the userspace datapath (entry point ``openvswitch_netdev``).

With the userspace datapath, ovs-vswitchd opens a guest's tap the moment it
appears, and sets the promiscuous flag by reading all flags and writing them
back. When libvirt makes the tap, it sets the device up in the same moment:
now and then its flag is lost, and the guest's network stays down. Upstream
can have os-vif make the tap, long before libvirt touches it, but asks for
that with the kernel datapath only.
"""

from __future__ import annotations

from typing import Any

from neutron.plugins.ml2.drivers.openvswitch.mech_driver import mech_openvswitch
from neutron_lib.api.definitions import portbindings
from neutron_lib.plugins.ml2 import ovs_constants

CREATE_TAP = "ovs_create_tap"  # nova.network.model.VIF_DETAILS_OVS_CREATE_TAP


class NetdevMechanismDriver(mech_openvswitch.OpenvswitchMechanismDriver):
    """Upstream's driver, asking os-vif to make the taps of the userspace datapath too."""

    def get_vif_details(self, context: Any, agent: dict[str, Any], segment: dict[str, Any]) -> dict[str, Any]:
        """Return the binding details of a port on an agent's host."""
        details: dict[str, Any] = super().get_vif_details(context, agent, segment)
        plain = context.current.get(portbindings.VNIC_TYPE, portbindings.VNIC_NORMAL) == portbindings.VNIC_NORMAL
        netdev = details.get(portbindings.OVS_DATAPATH_TYPE) == ovs_constants.OVS_DATAPATH_NETDEV
        if plain and netdev and portbindings.VHOST_USER_SOCKET not in details:
            details[CREATE_TAP] = True
        return details
