"""Guests' ports of Open vSwitch on FreeBSD (entry point ``ovs_freebsd``).

Upstream's plugin, for taps that libvirt makes and adds to the switch itself.
What is left to do is around that: libvirt never takes a port out again, and
a port whose tap was made anew is dead until it has been taken out and added
(ovs-vswitchd keeps what it had open of the first one). So there must be no
port, and no tap, when a guest starts; and none when it is gone.
"""

from __future__ import annotations

from typing import Any

from oslo_log import log as logging
from vif_plug_ovs import ovs  # type: ignore[import-not-found]
from vif_plug_ovs.ovsdb import ovsdb_lib  # type: ignore[import-not-found]

from beastack.freebsd.errors import InterfaceBusy
from beastack.freebsd.interface_read import find_interface
from beastack.port.nova.bhyve import privileged

LOG = logging.getLogger(__name__)


class Database(ovsdb_lib.BaseOVS):
    """The switch's database; upstream's methods that also touch the interface leave it alone."""

    def update_device_mtu(self, *arguments: Any, **named: Any) -> None:
        """Do nothing: the tap has the bridge's MTU from libvirt."""

    def delete_ovs_vif_port(
        self, bridge: str, dev: str, delete_netdev: bool = True, qos_type: str | None = None
    ) -> None:
        """Take a port out of the switch, and wait until the switch has let go of its interface."""
        super().delete_ovs_vif_port(bridge, dev, delete_netdev=False, qos_type=qos_type)


class OvsFreeBSDPlugin(ovs.OvsPlugin):
    """Ports of guests of bhyve."""

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.ovsdb = Database(self.config)

    def supports_tc_qdisc(self, vif: Any) -> bool:
        """Say no: there is no such thing."""
        return False

    def plug(self, vif: Any, instance_info: Any) -> None:
        """Make ready for the guest's start, or, if it runs, see that its port is there.

        nova-compute plugs every interface of a running guest when it starts itself.
        """
        super().plug(vif, instance_info)
        tap = find_interface(vif.vif_name)
        if tap is None or not tap.opened_by:
            self._clear(vif)
        elif not self.ovsdb.port_exists(vif.vif_name, vif.network.bridge):
            LOG.warning("The port %s of a running guest was missing, and is added", vif.vif_name)
            self._create_vif_port(vif, vif.vif_name, instance_info)

    def unplug(self, vif: Any, instance_info: Any) -> None:
        """Take the port out. A tap that the guest has open stays, without a network, until the guest stops."""
        self._clear(vif)

    def _clear(self, vif: Any) -> None:
        # The port first: ovs-vswitchd has the tap open.
        self.ovsdb.delete_ovs_vif_port(vif.network.bridge, vif.vif_name)
        if find_interface(vif.vif_name) is None:
            return
        try:
            privileged.destroy_tap(vif.vif_name)
        except InterfaceBusy as error:
            LOG.info("The tap %s stays until its guest stops: %s", vif.vif_name, error)
