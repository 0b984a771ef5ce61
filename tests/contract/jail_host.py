"""A FreeBSD host in memory: jails, epairs and a switch, behind the calls that upstream's agents make.

As far as the interface driver can see: a half that leaves its jail comes
home, and a port that was opened on an interface that is gone stays dead.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from unittest import mock

BRIDGE = "br-int"


class Crash(BaseException):
    """The process ends here; nothing of it is cleaned up."""


@dataclass
class Half:
    """Half of an epair."""

    pair: int
    mac: str
    mtu: int = 1500
    up: bool = False
    inet6: bool = False


@dataclass
class Port:
    """A port of the switch, and the pair that it has open."""

    pair: int | None
    identifiers: dict[str, str]


@dataclass
class Host:
    """The host; ``crash_after`` is the number of changes that are still made before a crash."""

    jails: set[str] = field(default_factory=set)
    halves: dict[tuple[str | None, str], Half] = field(default_factory=dict)
    ports: dict[str, Port] = field(default_factory=dict)
    crash_after: int | None = None
    units: Iterator[int] = field(default_factory=itertools.count)

    def change(self) -> None:
        """Count a change.

        :raises Crash: it is one too many
        """
        if self.crash_after == 0:
            raise Crash
        if self.crash_after is not None:
            self.crash_after -= 1

    def find(self, name: str, namespace: str | None) -> Half:
        from neutron.privileged.agent.linux import ip_lib

        if namespace is not None and namespace not in self.jails:
            raise ip_lib.NetworkNamespaceNotFound(namespace)
        if (namespace, name) not in self.halves:
            raise ip_lib.NetworkInterfaceNotFound(device=name, namespace=namespace)
        return self.halves[namespace, name]

    def create_interface(self, name: str, namespace: str | None, kind: str, peer: dict[str, Any]) -> None:
        from neutron.privileged.agent.linux import ip_lib

        assert kind == "veth"
        target = peer.get("net_ns_fd")
        if {(namespace, name), (None, peer["ifname"]), (target, peer["ifname"])} & set(self.halves):
            raise ip_lib.InterfaceAlreadyExists(device=name)
        self.change()
        unit = next(self.units)
        self.halves[namespace, name] = Half(unit, f"02:00:00:00:00:{unit:02x}")
        self.halves[target, peer["ifname"]] = Half(unit, f"02:00:00:00:01:{unit:02x}")

    def delete_interface(self, name: str, namespace: str | None) -> None:
        unit = self.find(name, namespace).pair
        self.change()
        self.halves = {key: half for key, half in self.halves.items() if half.pair != unit}

    def interface_exists(self, name: str, namespace: str | None) -> bool:
        return (namespace, name) in self.halves or name == BRIDGE

    def get_link_attributes(self, name: str, namespace: str | None) -> dict[str, Any]:
        half = self.find(name, namespace)
        return {"link/ether": half.mac, "mtu": half.mtu, "state": "UP" if half.up else "DOWN"}

    def set_link_attribute(self, name: str, namespace: str | None, **attributes: Any) -> None:
        if name == "lo":
            return
        half = self.find(name, namespace)
        self.change()
        half.mac = attributes.get("address", half.mac)
        half.mtu = attributes.get("mtu", half.mtu)
        half.up = attributes.get("state", "up" if half.up else "down") == "up"

    def create_netns(self, name: str) -> None:
        self.change()
        self.jails.add(name)

    def remove_jail(self, name: str) -> None:
        """Remove a jail by hand: what is in it comes home, down."""
        self.jails.remove(name)
        for key in [key for key in self.halves if key[0] == name]:
            half = self.halves.pop(key)
            self.halves[None, key[1]] = Half(half.pair, half.mac, half.mtu)

    def run_privileged(self, command: list[str], text: Any, variables: Any) -> tuple[str, str, int]:
        """Answer the commands by which settings are made."""
        words = list(command)
        namespace = None
        if words[0] == "jexec":
            namespace, words = words[1], words[2:]
        if words[0] == "ifconfig":
            half = self.find(words[1], namespace)
            self.change()
            half.inet6 = words[3] == "-ifdisabled"
        return "", "", 0

    def make_switch(self, bridge: str) -> Any:
        """Return what stands for upstream's OVSBridge."""
        assert bridge == BRIDGE

        def del_port(name: str) -> Any:
            def execute(check_error: bool = False) -> None:
                if name in self.ports:
                    self.change()
                    del self.ports[name]

            return mock.Mock(execute=execute)

        def replace_port(name: str, *attributes: tuple[str, Any]) -> None:
            del_port(name).execute()
            self.change()
            half = self.halves.get((None, name))
            values = dict(attributes)
            assert set(values) == {"external_ids"}
            self.ports[name] = Port(half.pair if half and half.up else None, values["external_ids"])

        def db_get_val(table: str, name: str, column: str, **rest: Any) -> Any:
            assert (table, column) == ("Interface", "external_ids")
            return self.ports[name].identifiers

        return mock.Mock(
            ovsdb=mock.Mock(del_port=del_port), replace_port=replace_port, db_get_val=db_get_val,
            get_port_name_list=lambda: list(self.ports),
        )  # fmt: skip

    @contextlib.contextmanager
    def stand_in(self) -> Iterator[None]:
        """Answer for the privileged daemon and the switch."""
        from neutron.agent.common import ovs_lib
        from neutron.privileged.agent.linux import ip_lib, utils

        from beastack.port.neutron import namespace_jail

        names = (
            "create_interface", "delete_interface", "interface_exists", "get_link_attributes", "set_link_attribute",
            "create_netns",
        )  # fmt: skip
        with (
            mock.patch.multiple(ip_lib, **{name: getattr(self, name) for name in names}),
            mock.patch.object(utils, "execute_process", self.run_privileged),
            mock.patch.object(ovs_lib, "OVSBridge", self.make_switch),
            mock.patch.object(namespace_jail, "is_there", lambda name: name in self.jails),
            mock.patch("oslo_utils.netutils._IS_IPV6_ENABLED", True),
        ):
            yield
