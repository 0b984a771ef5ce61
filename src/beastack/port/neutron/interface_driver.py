"""The interface driver of agents whose namespaces are vnet jails (``interface_driver`` in their configuration).

Upstream moves an internal port of Open vSwitch into the namespace. Here that
port would be a tap that ovs-vswitchd holds and asks about by name in its own
network stack, so it has to stay there: a port is an epair instead. One half
is a plain (system) port of the integration bridge; the other half, which has
upstream's name, is in the jail.

What a crash or a hand may leave (a pair without its port, a half that came
home from a removed jail, a port without its pair) is not mended but removed,
and all of it made anew. The port is always deleted before the pair is: after
an interface was destroyed, ovs-vswitchd keeps what it had open of it, and
would pass nothing for another of the same name (lib/netdev-bsd.c). It is
added last, so that a port with the right identifiers means a whole pair.
"""

from __future__ import annotations

from typing import Any

from neutron.agent.common import ovs_lib
from neutron.agent.linux import interface, ip_lib
from neutron.privileged.agent.linux import ip_lib as privileged
from neutron_lib.api import converters
from oslo_log import log as logging
from oslo_utils import excutils, netutils

LOG = logging.getLogger(__name__)

#: Bytes. What a port of the userspace datapath takes is cut after 2048 with the headers (lib/netdev-bsd.c).
LARGEST_MTU = 2030
_PORT_PREFIX = "e"


def get_port_name(device_name: str) -> str:
    """Return the name of the half that is a port of the bridge, for the name of the half in the jail.

    Another name for each: the half in the jail comes home to the host when
    the jail is removed. Upstream's names have 14 bytes, and this one 15, the
    longest there may be.
    """
    return _PORT_PREFIX + device_name


class EpairInterfaceDriver(interface.OVSInterfaceDriver):
    """Makes epairs between the integration bridge and vnet jails."""

    def _get_tap_name(self, dev_name: str, prefix: str | None = None) -> str:
        """Return what upstream calls the port of a device."""
        return get_port_name(dev_name)

    def plug_new(
        self,
        network_id: str,
        port_id: str,
        device_name: str,
        mac_address: str,
        bridge: str | None = None,
        namespace: str | None = None,
        prefix: str | None = None,
        mtu: int | None = None,
    ) -> None:
        """Make the pair of a port, in place of whatever there is of it.

        :param mtu: bytes
        :raises RuntimeError: some part could not be made; nothing of it is left
        """
        bridge = bridge or self.conf.OVS.integration_bridge
        self.check_bridge_exists(bridge)
        self._remove(device_name, bridge, namespace)
        try:
            port, device = ip_lib.IPWrapper().add_veth(get_port_name(device_name), device_name, namespace2=namespace)
            # What comes in at the port goes up the host's stack as well, which must not answer.
            port.disable_ipv6()
            # Before there is a link-local address, which is made of it.
            self._ensure_device_address(device, mac_address)
            if mtu:
                self.set_mtu(device_name, mtu, namespace=namespace)
            if netutils.is_ipv6_enabled():
                ip_lib.sysctl([f"net.ipv6.conf.{device_name}.disable_ipv6=0"], namespace=namespace)
            device.link.set_up()
            # Before the port is added, as ovs-vswitchd writes back the flags that it read while opening.
            port.link.set_up()
            self._ovs_add_port(bridge, port.name, port_id, mac_address, internal=False)
        except Exception:
            with excutils.save_and_reraise_exception():
                self._remove(device_name, bridge, namespace)

    def unplug(
        self, device_name: str, bridge: str | None = None, namespace: str | None = None, prefix: str | None = None
    ) -> None:
        """Remove the port and the pair; what is not there is no error. A failure is logged, as upstream does."""
        try:
            self._remove(device_name, bridge or self.conf.OVS.integration_bridge, namespace)
        except RuntimeError as error:
            LOG.error("Failed unplugging interface '%s': %s", device_name, error)

    def set_mtu(self, device_name: str, mtu: int, namespace: str | None = None, prefix: str | None = None) -> None:
        """Set the MTU (bytes) of both halves.

        :raises NetworkInterfaceNotFound: one of them is not there
        """
        if mtu > LARGEST_MTU:
            LOG.warning(
                "Frames to and from %s will be cut: its MTU is %d, and may be %d", device_name, mtu, LARGEST_MTU
            )
        ip_lib.IPDevice(get_port_name(device_name)).link.set_mtu(mtu)
        ip_lib.IPDevice(device_name, namespace=namespace).link.set_mtu(mtu)

    def discard_broken(
        self,
        device_name: str,
        port_id: str,
        mac_address: str,
        bridge: str | None = None,
        namespace: str | None = None,
    ) -> bool:
        """Remove a device that is not (any more) what ``plug_new`` makes, so that it is plugged anew.

        :returns: whether there was one, and it was removed
        """
        bridge = bridge or self.conf.OVS.integration_bridge
        if not ip_lib.device_exists(device_name, namespace=namespace):
            return False
        wrong = self._find_defect(device_name, port_id, mac_address, bridge, namespace)
        if wrong is None:
            return False
        LOG.warning("Interface %s in namespace %s is made anew: %s", device_name, namespace, wrong)
        self._remove(device_name, bridge, namespace)
        return True

    def _find_defect(
        self, device_name: str, port_id: str, mac_address: str, bridge: str, namespace: str | None
    ) -> str | None:
        port_name = get_port_name(device_name)
        wanted_mac = converters.convert_to_sanitized_mac_address(mac_address)
        found_mac = ip_lib.IPDevice(device_name, namespace=namespace).link.address
        if converters.convert_to_sanitized_mac_address(found_mac) != wanted_mac:
            return f"its MAC is {found_mac}, not {mac_address}"
        if not ip_lib.device_exists(port_name):
            return f"its other half {port_name} is not on the host"
        switch = ovs_lib.OVSBridge(bridge)
        if port_name not in switch.get_port_name_list():
            return f"{port_name} is not a port of {bridge}"
        identifiers: Any = switch.db_get_val("Interface", port_name, "external_ids", log_errors=False) or {}
        if identifiers.get("iface-id") != port_id or identifiers.get("attached-mac") != mac_address:
            return f"its port {port_name} belongs to {identifiers.get('iface-id')}, {identifiers.get('attached-mac')}"
        return None

    def _remove(self, device_name: str, bridge: str, namespace: str | None) -> None:
        """Remove the port first, then the pair, by whichever half can be found.

        :raises RuntimeError: something is there and could not be removed
        """
        port_name = get_port_name(device_name)
        ovs_lib.OVSBridge(bridge).ovsdb.del_port(port_name).execute(check_error=True)
        # The half that belongs in the jail is on the host when the jail was removed.
        for name, where in dict.fromkeys(((port_name, None), (device_name, namespace), (device_name, None))):
            try:
                privileged.delete_interface(name, where)
            except (privileged.NetworkInterfaceNotFound, privileged.NetworkNamespaceNotFound):
                pass
