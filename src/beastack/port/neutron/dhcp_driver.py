"""The DHCP driver of agents whose namespaces are vnet jails (``dhcp_driver`` in the DHCP agent's configuration).

Upstream's dnsmasq, with what is Linux's in its command line and around it
replaced. Beyond upstream, dnsmasq also sends router advertisements on
networks whose IPv6 subnets have them from OpenStack and that no router is
connected to: the guests of an isolated network get IPv6 addresses too, and no
default route.
"""

from __future__ import annotations

import grp
import ipaddress
import os
import pwd
import sys
from pathlib import Path
from typing import Any

from neutron.agent.linux import dhcp, ip_lib
from neutron.common import utils as common_utils
from neutron_lib import constants
from oslo_log import log as logging

from beastack.port.neutron.interface_driver import EpairInterfaceDriver

LOG = logging.getLogger(__name__)

_RELEASE_PROGRAM = Path(__file__).with_name("dhcp_release.py")

#: Seconds between unsolicited advertisements, and for how long their sender is a router: not at all.
ADVERTISEMENT_INTERVAL, ROUTER_LIFETIME = 30, 0
#: Seconds to wait for the end of duplicate address detection.
ADDRESS_LIMIT = 10

#: Modes of ``--dhcp-range``, by the mode of a subnet's advertisements (dnsmasq(8)).
_RANGE_MODES = {
    constants.IPV6_SLAAC: "ra-only",
    constants.DHCPV6_STATELESS: "ra-stateless",
    constants.DHCPV6_STATEFUL: "static",
}


def find_advertised(network: Any) -> dict[str, str]:
    """Return the subnets of a network that dnsmasq advertises, as identifiers, each with its range's mode.

    None where a router is connected with IPv6: it advertises them itself.
    Of a subnet whose addresses OpenStack does not hand out, only SLAAC can be.
    """
    subnets = [subnet for subnet in network.subnets if subnet.ip_version == constants.IP_VERSION_6]
    numbers = {subnet.id for subnet in subnets}
    for port in network.ports:
        is_router = getattr(port, "device_owner", None) in constants.ROUTER_INTERFACE_OWNERS
        if is_router and any(address.subnet_id in numbers for address in port.fixed_ips):
            return {}
    advertised = {}
    for subnet in subnets:
        ra_mode = getattr(subnet, "ipv6_ra_mode", None)
        address_mode = getattr(subnet, "ipv6_address_mode", None)
        fits = address_mode == ra_mode or (ra_mode == constants.IPV6_SLAAC and not address_mode)
        if subnet.enable_dhcp and ra_mode in _RANGE_MODES and fits:
            advertised[subnet.id] = _RANGE_MODES[ra_mode]
    return advertised


def make_range(tag: str, cidr: str, mode: str, lease: str) -> str:
    """Return the option for a range of IPv6 addresses; ``lease`` is a time as dnsmasq takes it."""
    net = ipaddress.IPv6Network(cidr)
    return f"--dhcp-range=set:{tag},{net.network_address},{mode},{net.prefixlen},{lease}"


def make_advertisement_options(interface: str, mtu: int) -> list[str]:
    """Return the options that have dnsmasq advertise; an MTU (bytes) of 0 is not told."""
    told = f"mtu:{mtu}," if mtu else ""
    return ["--enable-ra", f"--ra-param={interface},{told}{ADVERTISEMENT_INTERVAL},{ROUTER_LIFETIME}"]


class DeviceManager(dhcp.DeviceManager):
    """Upstream's, over epairs."""

    def setup_dhcp_port(self, network: Any, segment: Any = None) -> Any:
        """Return the agent's port on a network, made if need be.

        Upstream goes on with a device that is there as it is, so here is the
        place to take one away that does not work.
        """
        port = super().setup_dhcp_port(network, segment)
        if isinstance(self.driver, EpairInterfaceDriver):
            self.driver.discard_broken(
                self.get_interface_name(network, port), port.id, port.mac_address, namespace=network.namespace
            )
        return port

    def fill_dhcp_udp_checksums(self, namespace: str) -> None:
        """Do nothing: an epair's checksums are computed, as its offload is off."""


class Dnsmasq(dhcp.Dnsmasq):
    """Upstream's dnsmasq in a vnet jail."""

    # Since dnsmasq 2.81; upstream looks for the program in Linux's directories.
    _IS_HOST_TAG_SUPPORTED = True
    # By our own program.
    _IS_DHCP_RELEASE6_SUPPORTED = True

    def __init__(
        self,
        conf: Any,
        network: Any,
        process_monitor: Any,
        version: Any = None,
        plugin: Any = None,
        segment: Any = None,
    ) -> None:
        super().__init__(conf, network, process_monitor, version, plugin, segment)
        self.device_manager = DeviceManager(conf, plugin)

    def _build_cmdline_callback(self, pid_file: str) -> list[str]:
        # FreeBSD cannot tell a program of new addresses as --bind-dynamic needs (dnsmasq(8)).
        words = ["--bind-interfaces" if word == "--bind-dynamic" else word
                 for word in super()._build_cmdline_callback(pid_file) if word]  # fmt: skip
        words += [
            # It gives up root's rights when it has bound its ports, and must read the agent's files after that.
            f"--user={pwd.getpwuid(os.geteuid()).pw_name}",
            f"--group={grp.getgrgid(os.getegid()).gr_name}",
        ]
        return self._add_advertisements(words)

    def _add_advertisements(self, words: list[str]) -> list[str]:
        advertised = find_advertised(self.network)
        if not advertised:
            return words
        duration = self.conf.dhcp_lease_duration
        lease = "infinite" if duration == -1 else f"{duration}s"
        for subnet in self.network.subnets:
            if subnet.id in advertised:
                tag = self._SUBNET_TAG_PREFIX % subnet.id
                words = [word for word in words if not word.startswith(f"--dhcp-range=set:{tag},")]
                words.append(make_range(tag, subnet.cidr, advertised[subnet.id], lease))
        return words + make_advertisement_options(self.interface_name, getattr(self.network, "mtu", 0) or 0)

    def _generate_opts_per_subnet(self) -> Any:
        """Return upstream's options, and the name servers that advertisements for SLAAC tell of."""
        options, without_servers = super()._generate_opts_per_subnet()
        advertised = find_advertised(self.network)
        for subnet in self.network.subnets:
            servers = subnet.dns_nameservers
            if advertised.get(subnet.id) == _RANGE_MODES[constants.IPV6_SLAAC] and servers:
                # The unspecified address means: tell of none.
                none = common_utils.is_dns_servers_any_address(servers, subnet.ip_version)
                told = [] if none else [",".join(self._convert_to_literal_addrs(subnet.ip_version, servers))]
                tag = self._SUBNET_TAG_PREFIX % subnet.id
                options.append(self._format_option(subnet.ip_version, tag, "dns-server", *told))
        return options, without_servers

    def spawn_process(self) -> None:
        """Spawn dnsmasq, once the interface's addresses can be bound.

        dnsmasq binds an address that is still being checked for duplicates
        later; by then it has no right to ports below 1024. Without IPv6
        subnets only the link-local address is of that kind, and unused.
        """
        if any(subnet.ip_version == constants.IP_VERSION_6 for subnet in self.network.subnets):
            self._await_addresses()
        super().spawn_process()

    def _await_addresses(self) -> None:
        device = ip_lib.IPDevice(self.interface_name, namespace=self.network.namespace)
        for address in device.addr.list():
            if address["tentative"] and not address["dadfailed"]:
                try:
                    device.addr.wait_until_address_ready(address["cidr"].partition("/")[0], wait_time=ADDRESS_LIMIT)
                except ip_lib.AddressNotReady as error:
                    LOG.warning("Network %s: %s", self.network.id, error)

    def reload_allocations(self) -> None:
        """Have dnsmasq read its files again, or start it anew when a router came or went.

        Whether it advertises is said on the command line only.
        """
        running = self._get_process_manager().cmdline if self.active else None
        advertises = bool(find_advertised(self.network))
        if running and self._enable_dhcp() and ("--enable-ra" in running) != advertises:
            LOG.info("dnsmasq of network %s is started anew: it shall %ssend router advertisements",
                     self.network.id, "" if advertises else "not ")  # fmt: skip
            self.restart()
            return
        super().reload_allocations()

    def _release_lease(
        self,
        mac_address: str,
        ip: str,
        ip_version: int,
        client_id: str | None = None,
        server_id: str | None = None,
        iaid: str | None = None,
    ) -> None:
        """Release a lease; that it could not be is logged, and upstream tries again."""
        words = self._describe_release(mac_address, ip, ip_version, client_id, server_id, iaid)
        if words is None:
            LOG.warning("The lease of %s on network %s cannot be released: too little is known of it",
                        ip, self.network.id)  # fmt: skip
            return
        try:
            ip_lib.IPWrapper(namespace=self.network.namespace).netns.execute(
                [sys.executable, "-IS", str(_RELEASE_PROGRAM), *words], run_as_root=True, privsep_exec=True
            )
        except (RuntimeError, OSError) as error:
            LOG.warning("DHCP release failed for %s: %s", words, error)

    def _describe_release(
        self, mac: str, ip: str, version: int, client: str | None, server: str | None, iaid: str | None
    ) -> list[str] | None:
        """Return the arguments of the program that releases a lease, None if they are not known."""
        if version == constants.IP_VERSION_6:
            if not client or client == "*" or not server or not iaid:
                return None
            return ["6", self.interface_name, ip, client, server, iaid]
        address = ipaddress.IPv4Address(ip)
        subnets = [one.cidr for one in self.network.subnets if one.ip_version == constants.IP_VERSION_4]
        subnet = next((cidr for cidr in subnets if address in ipaddress.IPv4Network(cidr)), None)
        if subnet is None:
            return None
        return ["4", subnet, ip, mac, *([client] if client else ())]
