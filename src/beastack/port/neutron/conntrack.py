"""Deletes tracked connections from Open vSwitch's own tracker, as upstream deletes them from Linux's.

With the userspace datapath ovs-vswitchd tracks connections itself, and
conntrack(8), which upstream runs, knows nothing of them. Upstream's manager
stays: its queue, and what its callers tell it. What it would make of that in
words for conntrack(8) is here a question to ovs-vswitchd and a deletion of
each connection that fits.

One thing is stricter. Upstream's flows mark the connection of a revoked rule
as invalid and drop all of its packets; with the next change of the port it has
the marked connections forgotten, so that they work again if a rule allows
them again. But a packet in the middle of a TCP connection that nobody knows
is taken for the beginning of one (lib/conntrack-tcp.c, ``tcp_valid_new``), from
either end: what a guest still had to send would open the revoked connection
again, as an outgoing one. So a marked connection is forgotten only when it is
allowed now, at each end that this host filters.

Connections of ICMPv6 are left to their time-out (a minute after the last
packet, lib/conntrack-tp.c), see ``conntrack_entries.is_deletable``.
"""

from __future__ import annotations

import ipaddress
import queue
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from neutron.agent.linux import ip_conntrack
from neutron_lib import constants
from oslo_log import log as logging

from beastack.port.neutron.conntrack_entries import Connection, format_tuple, is_deletable, parse_connections
from beastack.port.neutron.vswitch_control import Control, ControlError

LOG = logging.getLogger(__name__)

AnyNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True)
class Request:
    """Connections to delete in one zone; None stands for any.

    ``outward`` tells at which end ``addresses`` have to be: True for the
    source, False for the destination, None for either.
    """

    zone: int
    addresses: tuple[AnyNetwork, ...]
    outward: bool | None = None
    version: int | None = None
    protocol: int | None = None
    remote: AnyNetwork | None = None
    mark: int | None = None
    if_allowed: bool = False

    def fits(self, connection: Connection) -> bool:
        """Tell whether a connection is one of those meant."""
        if connection.zone != self.zone or self.version not in (None, connection.source.version):
            return False
        if self.protocol not in (None, connection.protocol) or self.mark not in (None, connection.mark):
            return False
        here, there = connection.source, connection.destination
        return (self.outward is not False and self._is_between(here, there)) or (
            self.outward is not True and self._is_between(there, here)
        )

    def _is_between(self, here: Any, there: Any) -> bool:
        # An address is never in a network of the other version.
        return (self.remote is None or there in self.remote) and any(here in network for network in self.addresses)


def read_networks(addresses: Iterable[str]) -> tuple[AnyNetwork, ...]:
    """Return addresses and prefixes as networks."""
    return tuple(ipaddress.ip_network(address, strict=False) for address in addresses)


def protocol_number(protocol: Any, version: int | None = None) -> int | None:
    """Return the number of a rule's protocol; None for any.

    :raises ValueError: there is no such protocol
    """
    if protocol is None or str(protocol) in ("0", "ip", "any"):
        return None
    if str(protocol).isdigit():
        return int(protocol)
    if version == 6 and str(protocol) == constants.PROTO_NAME_ICMP:
        return int(constants.PROTO_NUM_IPV6_ICMP)
    try:
        return int(constants.IP_PROTOCOL_MAP[protocol])
    except KeyError:
        raise ValueError(f"there is no protocol {protocol!r:.40}") from None


class UserspaceConntrackManager(ip_conntrack.OvsIpConntrackManager):
    """Upstream's manager over the connections that ovs-vswitchd tracks.

    ``is_allowed`` tells whether a connection is allowed by today's rules.
    """

    def __init__(self, is_allowed: Callable[[Connection], bool] = lambda connection: True) -> None:
        # First: the constructor of upstream starts a thread that calls us.
        self._is_allowed = is_allowed
        super().__init__()

    def forget_addresses(self, zone: int, addresses: Collection[str]) -> None:
        """Have every connection from and to these addresses deleted, as their port is gone from here."""
        self._queue.put(Request(zone, read_networks(addresses), if_allowed=True))

    def _process_queue(self) -> None:
        """Wait for a request, and fulfil it with all that wait behind it: a dump of a zone serves them all."""
        waiting = [self._queue.get()]
        try:
            while True:
                waiting.append(self._queue.get_nowait())
        except queue.Empty:
            pass
        requests: list[Request] = []
        for item in waiting:
            try:
                requests += [item] if isinstance(item, Request) else self._list_requests(item)
            except Exception:
                LOG.exception("What connections to delete is not understood: %s", item)
        try:
            self._delete(requests)
        except Exception:
            LOG.exception("Tracked connections could not be deleted: %s", requests)

    def _list_requests(self, update: Any) -> list[Request]:
        """Return what upstream's update means."""
        requests = []
        for remote in update.remote_ips or (None,):
            requests += self._build_requests(update.device_info_list, update.rule, remote)
        return requests

    def _delete_conntrack_state(self, device_info_list: Sequence[Any], rule: Any, remote_ip: Any = None) -> None:
        self._delete(self._build_requests(device_info_list, rule, remote_ip))

    def _build_requests(self, devices: Sequence[Any], rule: Any, remote_ip: Any) -> list[Request]:
        version = {"ipv4": 4, "ipv6": 6}.get(str(rule.get("ethertype")).lower())
        remote = None
        if remote_ip:
            # A member of a remote group may come with its MAC address.
            text = remote_ip if isinstance(remote_ip, str) else remote_ip[0]
            remote = ipaddress.ip_network(text, strict=False)
            if version is not None and remote.version != version:
                remote = None  # As upstream: it is not looked at.
        mark = rule.get("mark")
        found = []
        for device in devices:
            zone = self.get_device_zone(device, create=False)
            if not zone:
                LOG.debug("No zone for device %s; its connections are left", device.get("device"))
                continue
            found.append(
                Request(
                    zone=int(zone),
                    addresses=read_networks(list_addresses(device)),
                    outward=rule.get("direction") == constants.EGRESS_DIRECTION,
                    version=version,
                    protocol=protocol_number(rule.get("protocol"), version),
                    remote=remote,
                    # As upstream gives it: text, in any base.
                    mark=None if mark is None else int(str(mark), 0),
                    if_allowed=mark is not None,
                )
            )
        return found

    def _delete(self, requests: Iterable[Request]) -> None:
        """Delete the connections that are meant; those of one zone are asked for once."""
        zones: dict[int, list[Request]] = defaultdict(list)
        for request in requests:
            zones[request.zone].append(request)
        if not zones:
            return
        try:
            with Control() as control:
                for zone, wanted in zones.items():
                    self._delete_in_zone(control, zone, wanted)
        except ControlError as error:
            LOG.error("Tracked connections of the zones %s are left: %s", sorted(zones), error)

    def _delete_in_zone(self, control: Control, zone: int, requests: Sequence[Request]) -> None:
        count = 0
        # No datapath is named: there is one, and 3.1 takes a name before other words for a tuple.
        for connection in parse_connections(control.ask("dpctl/dump-conntrack", f"zone={zone}")):
            if not is_deletable(connection):
                continue
            fitting = [request for request in requests if request.fits(connection)]
            if all(request.if_allowed for request in fitting) and not (fitting and self._is_allowed(connection)):
                continue
            try:
                control.ask("dpctl/flush-conntrack", f"zone={zone}", format_tuple(connection))
                count += 1
            except ControlError as error:
                # It may have ended meanwhile, which 2.17 calls a failure.
                LOG.debug("A connection was not deleted: %s: %s", connection, error)
        if count:
            LOG.info("Deleted %d tracked connections of zone %d", count, zone)


def list_addresses(device: Any) -> list[str]:
    """Return the addresses that a port may use, from the agent's view of it."""
    addresses = [str(address) for address in device.get("fixed_ips") or ()]
    addresses += [str(pair["ip_address"]) for pair in device.get("allowed_address_pairs") or ()]
    of_port = device.get("of_port")
    if of_port is not None and getattr(of_port, "lla_address", None):
        addresses.append(str(of_port.lla_address))
    return list(dict.fromkeys(addresses))
