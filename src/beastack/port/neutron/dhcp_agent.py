"""The DHCP agent of FreeBSD hosts: upstream's, which also looks whether what it made is still there.

Upstream makes a network's namespace, device and processes when it is told of
the network, and afterwards restarts a process that has ended; that somebody
removed the jail, destroyed an interface or deleted the port from Open vSwitch
it never learns. This agent looks every ``CHECK_INTERVAL`` seconds and has the
network configured again, with the reason in the log. Once, after its first
complete synchronization, it also removes what an agent that ended badly has
left of networks that are no longer this host's.
"""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Iterable, Iterator
from typing import Any

from neutron import service as neutron_service
from neutron.agent import dhcp_agent as upstream_main
from neutron.agent.common import ovs_lib
from neutron.agent.common import utils as agent_utils
from neutron.agent.dhcp import agent as upstream
from neutron.agent.linux import dhcp, ip_lib
from neutron.common import config as common_config
from neutron.common import ipv6_utils
from neutron.common import utils as common_utils
from neutron.conf.agent import common as agent_config
from neutron_lib import constants
from neutron_lib.agent import topics
from oslo_config import cfg
from oslo_log import log as logging
from oslo_service import service

from beastack.freebsd.command import CommandError
from beastack.freebsd.interface_read import list_names
from beastack.freebsd.process import list_processes
from beastack.port.neutron.dhcp_faults import Expected, Host, find_fault, find_leftover_devices, find_leftover_jails
from beastack.port.neutron.ip_lib_namespaces import list_jids

LOG = logging.getLogger(__name__)

#: Seconds between two looks at everything.
CHECK_INTERVAL = 15.0


class DhcpAgent(upstream.DhcpAgentWithStateReport):
    """Upstream's agent; what was removed by hand comes back."""

    def __init__(self, host: Any = None, conf: Any = None) -> None:
        super().__init__(host=host, conf=conf)
        self._is_complete = False
        self._has_cleaned = False

    def run(self) -> None:
        """Start the agent's threads."""
        super().run()
        thread = threading.Thread(target=self._check_periodically, name="check-networks")
        thread.start()
        self._threads.append(thread)

    def sync_state(self, networks: Any = None) -> None:
        """Synchronize with the server; note when that has worked for all networks."""
        with upstream._SYNC_STATE_LOCK:
            if not networks or None in networks:
                self._is_complete = True
            # A failure is scheduled to be tried again, and is not raised.
            super().sync_state(networks)

    def schedule_resync(self, reason: Any, network_id: Any = None) -> None:
        """Have a network, or all, synchronized again."""
        if network_id is None:
            self._is_complete = False
        super().schedule_resync(reason, network_id)

    def configure_dhcp_for_network(self, network: Any) -> None:
        """Configure a network; if that fails it is synchronized again.

        Upstream does this in a pool of threads that keeps an exception to
        itself, and forgets the network. So it goes for instance when a subnet
        for IPv6 is added while the network's first one is being configured:
        the metadata proxy then waits for an address that is yet to be set.
        """
        with self._synchronizing_again(network.id):
            super().configure_dhcp_for_network(network)

    def refresh_dhcp_helper(self, network_id: Any) -> None:
        """Bring a network up to date; if that fails it is synchronized again."""
        with self._synchronizing_again(network_id):
            super().refresh_dhcp_helper(network_id)

    @contextlib.contextmanager
    def _synchronizing_again(self, network_id: Any) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            LOG.exception("Network %s could not be configured", network_id)
            self.schedule_resync(error, network_id)

    def _check_periodically(self) -> None:
        while not self._stopping_event.wait(CHECK_INTERVAL):
            try:
                # Nothing is looked at while it is being made.
                with upstream._SYNC_STATE_LOCK:
                    self.check_networks()
                    if self._is_complete and not self._has_cleaned:
                        self.remove_leftovers()
                        self._has_cleaned = True
            except Exception:
                LOG.exception("The networks could not be looked at; trying again in %g s", CHECK_INTERVAL)

    def check_networks(self) -> None:
        """Look at each network that this agent serves, and schedule those that are damaged."""
        pending = set(self.needs_resync_reasons)
        networks = [
            network
            for network in map(self.cache.get_network_by_id, self.cache.get_network_ids())
            if network is not None and network.id not in pending and is_served(network)
        ]
        if not networks:
            return
        host = self._read_host()
        for network in networks:
            driver = self._make_driver(network)
            fault = find_fault(self._describe(network, driver), host) or self._find_address_fault(network, driver)
            if fault:
                LOG.warning("Network %s is configured again: %s", network.id, fault)
                self.schedule_resync(fault, network.id)

    def _read_host(self) -> Host:
        rows = (
            self._bridge()
            .ovsdb.db_list("Interface", columns=["name", "ofport"], if_exists=True)
            .execute(check_error=True)
        )
        return Host(
            jids=list_jids(),
            interfaces=frozenset(list_names()),
            ports={row["name"]: row["ofport"] if isinstance(row["ofport"], int) else None for row in rows},
            process_jids={process.pid: process.jid for process in list_processes() if not process.is_zombie},
        )

    def _bridge(self) -> Any:
        return ovs_lib.OVSBridge(self.conf.OVS.integration_bridge)

    def _own_ports(self, network: Any) -> list[Any]:
        return [
            port
            for port in network.ports
            if port.device_owner == constants.DEVICE_OWNER_DHCP and self._is_port_on_this_agent(port)
        ]

    def _describe(self, network: Any, driver: Any) -> Expected:
        devices = tuple(driver.device_manager.get_interface_name(network, port) for port in self._own_ports(network))
        manager = driver._get_process_manager()
        return Expected(network.namespace, devices, pid=manager.pid, is_active=bool(manager.active))

    def _make_driver(self, network: Any) -> Any:
        return self.dhcp_driver_cls(self.conf, network, self._process_monitor, self.dhcp_version, self.plugin_rpc, None)

    def _find_address_fault(self, network: Any, driver: Any) -> str | None:
        """Return what the devices in the jail lack."""
        subnets = {subnet.id: subnet for subnet in network.subnets}
        try:
            found = ip_lib.get_devices_with_ip(network.namespace)
        except (RuntimeError, CommandError) as error:
            return f"the interfaces of its jail cannot be read: {error}"
        present = {(item["name"], item["cidr"].partition("/")[0]) for item in found}
        for port in self._own_ports(network):
            name = driver.device_manager.get_interface_name(network, port)
            for fixed in port.fixed_ips:
                subnet = subnets.get(fixed.subnet_id)
                if subnet is None or not subnet.enable_dhcp or ipv6_utils.is_auto_address_subnet(subnet):
                    continue
                if (name, str(fixed.ip_address)) not in present:
                    return f"the interface {name} in its jail has no address {fixed.ip_address}"
        return None

    def remove_leftovers(self) -> None:
        """Remove jails, pairs and ports that an agent has left of networks that are not this host's any more.

        Only what such an agent makes is looked at: its own jails by their
        marks, and devices by their names.
        """
        known = set(self.cache.get_network_ids())
        jails = find_leftover_jails(ip_lib.list_network_namespaces(), dhcp.NS_PREFIX, known)
        wanted = self._list_devices(map(self.cache.get_network_by_id, known))
        devices = find_leftover_devices({*list_names(), *self._bridge().get_port_name_list()}, wanted)
        if not jails and not devices:
            return
        # What the cache does not hold yet (it could not be configured) is the server's to say.
        active = self.plugin_rpc.get_active_networks_info(enable_dhcp_filter=False)
        jails = find_leftover_jails(jails, dhcp.NS_PREFIX, {network.id for network in active})
        devices -= self._list_devices(active)
        interface_driver = agent_utils.load_interface_driver(
            self.conf, get_networks_callback=self.plugin_rpc.get_networks
        )
        for device in sorted(devices):
            LOG.warning("Removing the device %s, which no network of this host has", device)
            interface_driver.unplug(device)
        for name in jails:
            LOG.warning("Removing the jail %s, whose network is not this host's", name)
            ip_lib.delete_network_namespace(name)

    def _list_devices(self, networks: Iterable[Any]) -> set[str]:
        manager = dhcp.DeviceManager(self.conf, self.plugin_rpc)
        return {
            manager.get_interface_name(network, port)
            for network in networks
            if network is not None
            # Also those of segments, whose owner's name goes on with the segment's number.
            for port in network.ports
            if port.device_id.startswith(common_utils.get_dhcp_agent_device_id(network.id, self.conf.host))
        }


def is_served(network: Any) -> bool:
    """Tell whether there should be something of a network: upstream's cache also holds bare identifiers.

    Routed networks are left to upstream: each segment has a port and a process of its own.
    """
    if any(subnet.get("segment_id") for subnet in network.subnets):
        return False
    return bool(network.get("admin_state_up")) and any(subnet.enable_dhcp for subnet in network.subnets)


def main() -> None:
    """Run the agent: upstream's own ``main``, which names its class in the code, with ours."""
    upstream_main.register_options(cfg.CONF)
    common_config.init(sys.argv[1:])
    agent_config.setup_logging()
    common_config.setup_gmr()
    agent_config.setup_privsep()
    server = neutron_service.Service.create(
        binary=constants.AGENT_PROCESS_DHCP,
        topic=topics.DHCP_AGENT,
        report_interval=cfg.CONF.AGENT.report_interval,
        manager=f"{__name__}.DhcpAgent",
    )
    service.launch(cfg.CONF, server, restart_method="mutate").wait()
