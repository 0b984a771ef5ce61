"""An extension of the openvswitch agent that has dead ports opened again (entry point ``beastack_reopen_port``).

On FreeBSD ovs-vswitchd opens a port's interface once. If that is destroyed,
and another of its name is made (a guest's tap at each reboot, an epair by
hand), ovs-vswitchd keeps what it had open of the first: the new one has no
traffic, and the open remains are asked without end (lib/netdev-bsd.c). The
switch's own data look healthy, and the kernel hands out interface numbers
again. But when it opens an interface ovs-vswitchd sets its permanent
promiscuous flag, which a new one does not have: a port that is open in the
switch, whose interface is missing or is without the flag, is dead.

The cure is to delete the port and to add it again. Not in one transaction:
ovs-vswitchd compares ports by name (vswitchd/bridge.c) and would see no change.
In between all that is needed to add it is kept in the bridge's row, so that an
agent that is killed there loses no port.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from neutron.agent.common import ovs_lib
from neutron_lib.agent import l2_extension
from neutron_lib.plugins.ml2 import ovs_constants
from oslo_log import log as logging
from ovsdbapp.backend.ovs_idl import command, idlutils  # type: ignore[import-not-found]

from beastack.freebsd.interface_read import list_interfaces

LOG = logging.getLogger(__name__)

#: Seconds between two looks, and the longest between two attempts at one port.
INTERVAL = 3.0
LONGEST_PAUSE = 300.0

FLAG = "PPROMISC"
#: Keys in a bridge's external_ids, followed by the port's name.
KEPT = "beastack-reopen:"

#: What is set by whoever adds a port, and is added again.
INTERFACE_COLUMNS = ("type", "external_ids", "options", "other_config", "mac", "mtu_request", "lldp")
PORT_COLUMNS = ("external_ids", "other_config", "tag", "trunks", "vlan_mode")


@dataclass(frozen=True)
class OpenPort:
    """An interface that ovs-vswitchd says it has open: its row and name."""

    uuid: Any
    name: str


def find_open_ports(rows: Iterable[Mapping[str, Any]]) -> list[OpenPort]:
    """Return the ports over the kernel's interfaces that are open, from rows of the table Interface."""
    return [
        OpenPort(row["_uuid"], row["name"])
        for row in rows
        # One that could not be opened has -1, and ovs-vswitchd tries again by itself; a new one has none yet.
        if row["type"] in ("", "system") and isinstance(row["ofport"], int) and row["ofport"] > 0
    ]


def find_dead_ports(ports: Iterable[OpenPort], flags: Mapping[str, Iterable[str]]) -> dict[OpenPort, str]:
    """Return the dead ones among ports that were open before the flags of all interfaces were read, each with why."""
    dead = {}
    for port in ports:
        if port.name not in flags:
            dead[port] = "its interface is gone"
        elif FLAG not in flags[port.name]:
            dead[port] = "its interface was made again"
    return dead


@dataclass
class Pauses:
    """When what did not help may be tried again: later each time."""

    tried: dict[str, tuple[float, float]] = field(default_factory=dict)

    def may_try(self, name: str, now: float) -> bool:
        """Tell whether a port's time has come, and note the attempt; times are seconds."""
        due, pause = self.tried.get(name, (0.0, INTERVAL))
        if now < due:
            return False
        self.tried[name] = (now + pause, min(2 * pause, LONGEST_PAUSE))
        return True

    def forget(self, healthy: Iterable[str]) -> None:
        """Start anew with ports that are well."""
        for name in healthy:
            self.tried.pop(name, None)


class TakeOutCommand(command.BaseCommand):
    """Deletes a port if its interface's row is still the one that was seen, and keeps what it was.

    ``result`` is the bridge's name, None if the port has changed.
    """

    def __init__(self, api: Any, seen: OpenPort) -> None:
        super().__init__(api)
        self.seen = seen

    def run_idl(self, txn: Any) -> None:
        """Write the changes into a transaction."""
        self.result = None
        interface = self.api.idl.tables["Interface"].rows.get(self.seen.uuid)
        port = idlutils.row_by_value(self.api.idl, "Port", "name", self.seen.name, None)
        if interface is None or port is None or list(port.interfaces) != [interface]:
            return
        bridge = next((row for row in self.api.idl.tables["Bridge"].rows.values() if port in row.ports), None)
        if bridge is None:
            return
        # Deleted by somebody else meanwhile, it must not come back.
        port.verify("name")
        interface.verify("name")
        kept = {
            "port": {name: getattr(port, name) for name in PORT_COLUMNS},
            "interface": {name: getattr(interface, name) for name in INTERFACE_COLUMNS},
        }
        bridge.setkey("external_ids", KEPT + self.seen.name, json.dumps(kept))
        bridge.delvalue("ports", port)
        port.delete()
        interface.delete()
        self.result = bridge.name


class PutBackCommand(command.BaseCommand):
    """Adds what ``TakeOutCommand`` kept; a port that somebody added meanwhile stays as it is."""

    def __init__(self, api: Any, bridge: str, name: str) -> None:
        super().__init__(api)
        self.bridge = bridge
        self.name = name

    def run_idl(self, txn: Any) -> None:
        """Write the changes into a transaction."""
        bridge = idlutils.row_by_value(self.api.idl, "Bridge", "name", self.bridge, None)
        text = bridge.external_ids.get(KEPT + self.name) if bridge is not None else None
        if text is None:
            return
        bridge.delkey("external_ids", KEPT + self.name)
        if idlutils.row_by_value(self.api.idl, "Port", "name", self.name, None) is not None:
            return
        kept = json.loads(text)
        port, interface = txn.insert(self.api.idl.tables["Port"]), txn.insert(self.api.idl.tables["Interface"])
        port.name = interface.name = self.name
        for column, value in kept["interface"].items():
            setattr(interface, column, value)
        for column, value in prepare_port(kept).items():
            setattr(port, column, value)
        port.interfaces = [interface]
        bridge.addvalue("ports", port)


def prepare_port(kept: Mapping[str, Any]) -> dict[str, Any]:
    """Return the columns with which a kept port is added.

    One of neutron's is added as upstream adds it: without a network, until
    the agent has put the firewall's flows before it under its new number.
    """
    if "iface-id" not in kept["interface"]["external_ids"]:
        return dict(kept["port"])
    dead = ovs_constants.DEAD_VLAN_TAG
    return {"external_ids": kept["port"]["external_ids"], "tag": dead, "vlan_mode": "trunk", "trunks": dead}


class ReopenPort(l2_extension.L2AgentExtension):
    """Looks for dead ports for as long as the agent runs."""

    def initialize(self, connection: Any, driver_type: str) -> None:
        """Start looking."""
        self._api = ovs_lib.BaseOVS().ovsdb
        self._pauses = Pauses()
        threading.Thread(target=self._run, name="reopen-ports", daemon=True).start()

    def handle_port(self, context: Any, data: dict[str, Any]) -> None:
        """Do nothing: ports die long after they were wired."""

    def delete_port(self, context: Any, data: dict[str, Any]) -> None:
        """Do nothing."""

    def _run(self) -> None:
        while True:
            try:
                self.put_back()
                self.look()
            except Exception:
                LOG.exception("Dead ports could not be looked for; trying again in %g s", INTERVAL)
            time.sleep(INTERVAL)

    def put_back(self) -> None:
        """Finish what an agent that was killed began."""
        for row in self._api.db_list("Bridge", columns=["name", "external_ids"]).execute(check_error=True):
            for key in row["external_ids"]:
                if key.startswith(KEPT):
                    PutBackCommand(self._api, row["name"], key[len(KEPT) :]).execute(check_error=True)

    def look(self) -> None:
        """Have each dead port opened again."""
        # In this order: what was open before the flags were read, and is without them, is dead.
        rows = self._api.db_list("Interface", columns=["_uuid", "name", "type", "ofport"], if_exists=True)
        ports = find_open_ports(rows.execute(check_error=True))
        if not ports:
            return
        dead = find_dead_ports(ports, {each.name: each.flags.names for each in list_interfaces()})
        self._pauses.forget(port.name for port in ports if port not in dead)
        for port, why in dead.items():
            if self._pauses.may_try(port.name, time.monotonic()):
                self.reopen(port, why)

    def reopen(self, port: OpenPort, why: str) -> None:
        """Have one port opened again.

        :raises RuntimeError: the database refused, or ovs-vswitchd did not follow
        """
        # Both transactions wait until ovs-vswitchd has done what they say.
        taken = TakeOutCommand(self._api, port).execute(check_error=True)
        if taken is None:
            return
        LOG.warning("The port %s of %s is opened again: %s", port.name, taken, why)
        PutBackCommand(self._api, taken, port.name).execute(check_error=True)
