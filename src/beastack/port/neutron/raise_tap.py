"""An extension of the openvswitch agent that raises guests' taps once more (entry point ``beastack_raise_tap``).

os-vif adds the port to the switch first, then makes the tap, then sets it up.
ovs-vswitchd opens the tap in between; when it adds the promiscuous flag it
writes back the flags it read while opening (lib/netdev-linux.c,
``update_flags``). If "up" was set meanwhile, it is lost, and the guest never
has a network (seen once in four hundred). By the time the agent wires a port,
the switch has given it an OpenFlow number and so has written its flags: what
is set now stays. The agent reports the port as wired, and nova starts the
guest, only afterwards.
"""

from __future__ import annotations

from typing import Any

from neutron.agent.linux import ip_lib
from neutron_lib.agent import l2_extension

TAP_PREFIX = "tap"  # neutron_lib.constants.TAP_DEVICE_PREFIX
COMPUTE_OWNER = "compute:"  # neutron_lib.constants.DEVICE_OWNER_COMPUTE_PREFIX


class RaiseTap(l2_extension.L2AgentExtension):
    """Sets each guest's tap up when its port is wired."""

    def handle_port(self, context: Any, data: dict[str, Any]) -> None:
        """Raise the tap of a port that was added or updated; ``data`` is the agent's view of the port."""
        name = data["vif_port"].port_name
        if name.startswith(TAP_PREFIX) and str(data.get("device_owner", "")).startswith(COMPUTE_OWNER):
            ip_lib.IPDevice(name).link.set_up()

    def delete_port(self, context: Any, data: dict[str, Any]) -> None:
        """Do nothing: a tap that goes needs no flag."""
