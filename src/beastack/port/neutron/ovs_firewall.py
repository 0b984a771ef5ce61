"""The firewall driver of FreeBSD hosts: upstream's OpenFlow driver over ovs-vswitchd's own connection tracker.

Set in ``[securitygroup] firewall_driver`` by its class path. All flows are
upstream's. What differs is where connections are forgotten (``conntrack``), and
that those of a port that goes are forgotten too: its addresses, or the local
VLAN that is the zone's number, may be another's soon.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from neutron.agent.linux.openvswitch_firewall import firewall
from neutron_lib import constants
from oslo_config import cfg
from oslo_log import log as logging

from beastack.port.neutron.conjunctions import KeptConjIds
from beastack.port.neutron.conntrack import (
    UserspaceConntrackManager,
    list_addresses,
    protocol_number,
    read_networks,
)
from beastack.port.neutron.conntrack_entries import ICMP, ICMP6, Connection

LOG = logging.getLogger(__name__)


class FreeBSDOVSFirewallDriver(firewall.OVSFirewallDriver):
    """Upstream's driver; connections are tracked by ovs-vswitchd."""

    def __init__(self, integration_bridge: Any) -> None:
        self._departed: list[tuple[int, list[str]]] = []
        super().__init__(integration_bridge)
        # Every agent has the option; upstream's map has given no number yet.
        if "state_path" in cfg.CONF:
            self.conj_ip_manager.conj_id_map = KeptConjIds(self.int_br.br, Path(cfg.CONF.state_path))
        # Upstream's manager, made a moment ago, stays without work.
        self.ipconntrack = UserspaceConntrackManager(self.is_allowed)

    def remove_port_filter(self, port: Any) -> None:
        """Remove a port from the firewall, and what it had open from the tracker."""
        of_port = self.get_ofport(port)
        super().remove_port_filter(port)
        if of_port is None or not of_port.vlan_tag:
            return
        device = {**of_port.neutron_port_dict, "of_port": of_port}
        self._departed.append((of_port.vlan_tag, list_addresses(device)))
        if not self._deferred:
            self._forget_departed()

    def filter_defer_apply_off(self) -> None:
        """Apply what was put off; connections go when the flows that made them have gone."""
        super().filter_defer_apply_off()
        self._forget_departed()

    def _forget_departed(self) -> None:
        departed, self._departed = self._departed, []
        for zone, addresses in departed:
            self.ipconntrack.forget_addresses(zone, addresses)

    def is_allowed(self, connection: Connection) -> bool:
        """Tell whether the rules of each port here that is an end of a connection allow it now.

        Called from the tracker's thread while rules change: what is looked
        at is copied first.
        """
        for of_port in list(self.sg_port_map.ports.values()):
            if of_port.vlan_tag != connection.zone:
                continue
            networks = read_networks(list_addresses({**of_port.neutron_port_dict, "of_port": of_port}))
            for direction, address in (
                (constants.EGRESS_DIRECTION, connection.source),
                (constants.INGRESS_DIRECTION, connection.destination),
            ):
                here = any(address in network for network in networks)
                if here and not self._has_rule(of_port, direction, connection):
                    return False
        return True

    def _has_rule(self, of_port: Any, direction: str, connection: Connection) -> bool:
        for group in list(of_port.sec_groups):
            if any(rule_allows(rule, direction, connection) for rule in list(group.raw_rules)):
                return True
            for rule in list(group.remote_rules):
                remote = self.sg_port_map.get_sg(rule.get("remote_group_id") or rule.get("remote_address_group_id"))
                if remote is None or not rule_allows(rule, direction, connection):
                    continue
                members = remote.get_ethertype_filtered_addresses(rule["ethertype"])
                if is_member(members, direction, connection):
                    return True
        return False


def rule_allows(rule: Any, direction: str, connection: Connection) -> bool:
    """Tell whether a rule, with its protocol as a number as the firewall keeps it, lets a connection be opened.

    Members of remote groups are not looked at.
    """
    version = connection.source.version
    if rule["direction"] != direction or rule["ethertype"] != f"IPv{version}":
        return False
    try:
        protocol = protocol_number(rule.get("protocol"), version)
    except ValueError:
        return False
    if protocol not in (None, connection.protocol):
        return False
    for prefix, address in (
        (rule.get("source_ip_prefix"), connection.source),
        (rule.get("dest_ip_prefix"), connection.destination),
    ):
        if prefix and address not in ipaddress.ip_network(prefix, strict=False):
            return False
    if protocol in (ICMP, ICMP6):
        return rule.get("port_range_min") in (None, connection.icmp_type) and rule.get("port_range_max") in (
            None,
            connection.icmp_code,
        )
    if protocol is None:
        return True
    return _in_range(rule, "port_range", connection.destination_port) and _in_range(
        rule, "source_port_range", connection.source_port
    )


def _in_range(rule: Any, name: str, port: int | None) -> bool:
    first, last = rule.get(f"{name}_min"), rule.get(f"{name}_max")
    # As upstream's flows: half a range is none.
    return not (first and last) or (port is not None and int(first) <= port <= int(last))


def is_member(members: Iterable[Any], direction: str, connection: Connection) -> bool:
    """Tell whether the far end of a connection is among a group's addresses, each alone or with its MAC address."""
    remote = connection.source if direction == constants.INGRESS_DIRECTION else connection.destination
    texts = (member if isinstance(member, str) else member[0] for member in members)
    return any(remote in ipaddress.ip_network(str(text), strict=False) for text in texts)
