"""N3: new links. Linux's kinds, made of what FreeBSD has.

| asked for | made |
|---|---|
| veth | an epair; its halves are made on the host and moved to their jails |
| dummy | a tap that nobody opens, in the group ``dummy`` |
| tuntap (mode tap) | a tap |
| vlan, vxlan, bridge | the same |

A half of a pair that is to go to a jail carries that in its description from
its first moment. One that is found on the host was stranded there, by a crash
before its move or by the end of its jail, and gives way to a new one.
"""

from __future__ import annotations

import ipaddress
import threading
from collections.abc import Callable, Collection, Mapping
from typing import Any

from beastack.freebsd import kld
from beastack.freebsd.command import CommandError
from beastack.freebsd.errors import InterfaceExists, InvalidArgument
from beastack.freebsd.interface import (
    Settings,
    create_bridge,
    create_epair,
    create_tap,
    create_vlan,
    create_vxlan,
    destroy_interface,
    list_interfaces,
    move_to_jail,
)
from beastack.port.neutron.ip_lib_links import Unsupported
from beastack.port.neutron.ip_lib_messages import DUMMY_GROUP, host_name, make_destination, read_destination

#: Both halves: readers of raw frames, as Open vSwitch is one, see checksums that nobody has computed otherwise.
OFFLOADS_OFF = ("-txcsum", "-txcsum6")

#: One pair at a time: what is stranded can be told from what is being made.
_making = threading.Lock()


def create_link(name: str, namespace: str | None, kind: str, arguments: Mapping[str, Any]) -> None:
    """Make a link of one of Linux's kinds.

    :param arguments: as upstream hands them to pyroute2, with ``physical_interface`` as a name
    :raises InterfaceExists: the name, or that of the peer, is taken
    :raises InterfaceNotFound: the physical interface is not there
    :raises JailNotFound: the jail, or that of the peer, is not there
    :raises Unsupported: there is no such kind here, or it cannot be made in this way
    """
    values = dict(arguments)
    if kind == "veth":
        make = _plan_veth(name, namespace, values)
    elif kind in ("dummy", "tuntap"):
        make = _plan_tap(name, namespace, kind, values)
    elif kind == "vlan":
        make = _plan_vlan(name, namespace, values)
    elif kind == "vxlan":
        make = _plan_vxlan(name, namespace, values)
    elif kind == "bridge":
        make = lambda: create_bridge(name, jail=namespace)  # noqa: E731
    else:
        raise Unsupported(f"there are no links of kind {kind}")
    if values:
        raise Unsupported(f"a link of kind {kind} cannot be made with {', '.join(sorted(values))}")
    _create_with_module(make, {"vxlan": "if_vxlan", "bridge": "if_bridge", "vlan": "if_vlan"}.get(kind), namespace)


def _create_with_module(make: Callable[[], None], module: str | None, namespace: str | None) -> None:
    try:
        make()
    except InvalidArgument:
        # ifconfig loads a driver by itself, but no module can be loaded from inside a jail.
        if module is None or namespace is None or kld.is_loaded(module):
            raise
        kld.load(module)
        make()


def _plan_tap(name: str, namespace: str | None, kind: str, values: dict[str, Any]) -> Callable[[], None]:
    mode = values.pop("mode", "tap")
    if mode != "tap":
        raise Unsupported(f"a tuntap link of mode {mode} cannot be made")
    if kind == "tuntap":
        # What is on it is a guest's or another program's, which the host need not be a neighbour of.
        return lambda: create_tap(name, Settings(inet6_words=["-auto_linklocal"]), jail=namespace)
    # Nobody opens it, so that it never runs, and its IPv6 addresses would stay tentative for ever.
    settings = Settings(groups_add=[DUMMY_GROUP], inet6_words=["-ifdisabled", "no_dad"])
    return lambda: create_tap(name, settings, jail=namespace)


def _plan_vlan(name: str, namespace: str | None, values: dict[str, Any]) -> Callable[[], None]:
    parent, tag = host_name(str(values.pop("physical_interface", ""))), int(values.pop("vlan_id"))
    return lambda: create_vlan(name, parent, tag, jail=namespace)


def _plan_vxlan(name: str, namespace: str | None, values: dict[str, Any]) -> Callable[[], None]:
    vni, device = int(values.pop("vxlan_id")), values.pop("physical_interface", None)
    group = values.pop("vxlan_group", None) or values.pop("vxlan_group6", None)
    local = values.pop("vxlan_local", None) or values.pop("vxlan_local6", None)
    if group is None or device is None:
        raise Unsupported("vxlan(4) needs a remote address, or a multicast group and its device")
    far = ipaddress.ip_address(group)
    ttl, port = values.pop("vxlan_ttl", None), values.pop("vxlan_port", None)
    return lambda: create_vxlan(
        name, vni,
        local=local or ("0.0.0.0" if far.version == 4 else "::"),
        group=far, device=host_name(str(device)), ttl=ttl, local_port=port, remote_port=port, jail=namespace,
    )  # fmt: skip


def _plan_veth(name: str, namespace: str | None, values: dict[str, Any]) -> Callable[[], None]:
    peer = dict(values.pop("peer"))
    peer_name = str(peer.pop("ifname"))
    # Upstream's own: the peer stays where the first half is unless it is said otherwise.
    peer_namespace = peer.pop("net_ns_fd", namespace)
    if peer:
        raise Unsupported(f"a peer cannot be made with {', '.join(sorted(peer))}")
    return lambda: create_pair(name, namespace, peer_name, peer_namespace)


def create_pair(name: str, namespace: str | None, peer: str, peer_namespace: str | None) -> None:
    """Make an epair, each half in its jail (None: on the host), without transmit checksum offload.

    :raises InterfaceExists: one of the names is taken, on the host or where it is to go
    :raises JailNotFound: a jail is not there; nothing is left behind
    """
    with _making:
        settings = (_settings_for(namespace), _settings_for(peer_namespace))
        try:
            create_epair(name, peer, *settings)
        except InterfaceExists:
            if not remove_stranded({name, peer}):
                raise
            create_epair(name, peer, *settings)
        try:
            for half, target in ((peer, peer_namespace), (name, namespace)):
                if target is not None:
                    move_to_jail(half, target)
        except CommandError:
            # The half that was to move first is on the host still, or else the one that was to move last.
            for half in (name, peer):
                destroy_interface(half, missing_ok=True)
            raise


def _settings_for(namespace: str | None) -> Settings:
    return Settings(words=OFFLOADS_OFF, description=None if namespace is None else make_destination(namespace))


def remove_stranded(names: Collection[str]) -> tuple[str, ...]:
    """Destroy halves of pairs that are on the host and were made for a jail, and return their names.

    :param names: only of these
    """
    stranded = [each.name for each in list_interfaces() if each.name in names and read_destination(each)]
    for name in stranded:
        destroy_interface(name, missing_ok=True)
    return tuple(stranded)
