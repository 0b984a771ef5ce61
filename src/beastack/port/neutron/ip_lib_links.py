"""N3: links: list, read, change, move and destroy interfaces, with ifconfig(8)."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from beastack.freebsd.errors import InterfaceNotFound, JailDying, JailNotFound
from beastack.freebsd.interface import (
    Interface,
    Settings,
    add_member,
    change_interface,
    delete_member,
    destroy_interface,
    list_interfaces,
    move_to_jail,
    read_interface,
    rename_interface,
    return_from_jail,
)
from beastack.port.neutron import ip_lib_indexes
from beastack.port.neutron.ip_lib_messages import (
    HOST_LOOPBACK,
    Message,
    build_link,
    find_alias,
    find_broadcast,
    find_kind,
    find_state,
    host_name,
)

#: Flags of linux/if.h that ifconfig(8) can raise.
_RAISED = {0x1: "up", 0x100: "promisc"}


class Unsupported(Exception):
    """FreeBSD has nothing like it; the text says what."""


def list_all(namespace: str | None) -> tuple[Interface, ...]:
    """Return all interfaces of a jail, or of the host, each with its index.

    :raises JailNotFound: there is no such jail
    """
    found = list_interfaces(namespace)
    if namespace is not None:
        return ip_lib_indexes.add_indexes(namespace, found)
    return tuple(each for each in found if each.index is not None)


def read_one(device: str, namespace: str | None) -> Interface:
    """Return one interface, with its index.

    :raises InterfaceNotFound: it is not there
    :raises JailNotFound: there is no such jail
    """
    found = read_interface(host_name(device), namespace)
    if namespace is not None and found.index is None:
        found = replace(found, index=ip_lib_indexes.recall_index(namespace, found))
    if namespace is not None and found.index is None:
        # By way of all: what is known of a jail is the last listing of it.
        found = next((each for each in list_all(namespace) if each.name == found.name), found)
    if found.index is None:
        raise InterfaceNotFound(["ifconfig", device], None, "", f"{device} is gone")
    return found


def choose(namespace: str | None, *, index: int | None = None, name: str | None = None) -> tuple[Interface, ...]:
    """Return the interfaces that have an index or a name, or all; none when there is no such.

    :raises JailNotFound: there is no such jail
    """
    if namespace is None and index is not None:
        # A host may have hundreds; of a jail all are read at once.
        try:
            name = name or socket.if_indextoname(index)
        except OSError:
            return ()
    try:
        found = list_all(namespace) if name is None else (read_one(name, namespace),)
    except (InterfaceNotFound, ValueError):
        return ()
    return tuple(each for each in found if index in (None, each.index))


def list_links(
    namespace: str | None, *, index: int | None = None, name: str | None = None, kind: str | None = None
) -> list[Message]:
    """Return links as messages, of an index, a name or a kind if one is given."""
    found = choose(namespace, index=index, name=name)
    return [build_link(each, found) for each in found if kind in (None, find_kind(each))]


def read_attributes(device: str, namespace: str | None) -> dict[str, Any]:
    """Return what the agents call a link's attributes.

    :raises InterfaceNotFound: it is not there
    """
    found = read_interface(host_name(device), namespace)
    return {
        "mtu": found.mtu,
        "qlen": None,
        "state": find_state(found),
        "qdisc": None,
        "brd": find_broadcast(found),
        "link/ether": found.mac or ("00:00:00:00:00:00" if "LOOPBACK" in found.flags else None),
        "alias": find_alias(found),
        "allmulticast": "ALLMULTI" in found.flags,
        "link_kind": find_kind(found),
    }


def exists(device: str, namespace: str | None) -> bool:
    """Tell whether an interface is there; without its jail it is not."""
    try:
        read_interface(host_name(device), namespace)
    except (InterfaceNotFound, JailNotFound, JailDying, ValueError):
        return False
    return True


def delete_link(device: str, namespace: str | None) -> None:
    """Destroy an interface, and with a half of an epair the other.

    :raises InterfaceNotFound: it is not there
    :raises InterfaceBusy: a program has it open
    """
    destroy_interface(host_name(device), jail=namespace)


def change_link(device: str, namespace: str | None, attributes: Mapping[str, Any]) -> None:
    """Change a link: settings first, in one invocation, then its name, then where it is.

    :raises InterfaceNotFound: it is not there
    :raises JailNotFound: its jail, or the one it is to go to, is not there
    :raises InterfaceExists: the new name is taken, here or there
    :raises Unsupported: there is no such attribute
    """
    name = host_name(device)
    settings = make_settings(attributes)
    if name == HOST_LOOPBACK and namespace is not None and settings.up:
        # Linux's lo has its address as soon as it is up; ::1 the kernel here gives by itself, too.
        settings = replace(settings, address="127.0.0.1/8")
    change_interface(name, settings, jail=namespace)
    if (new_name := attributes.get("ifname")) and new_name != device:
        rename_interface(name, str(new_name), jail=namespace)
        name = str(new_name)
    if "net_ns_fd" in attributes:
        _move(name, namespace, attributes["net_ns_fd"] or None)


def make_settings(attributes: Mapping[str, Any]) -> Settings:
    """Return what one invocation of ifconfig changes.

    :raises Unsupported: there is no such attribute
    """
    unknown = set(attributes) - {"address", "mtu", "state", "ifalias", "ifname", "net_ns_fd"}
    if unknown:
        raise Unsupported(f"a link has no {', '.join(sorted(unknown))} to change")
    state, mtu = attributes.get("state"), attributes.get("mtu")
    return Settings(
        mac=attributes.get("address"),
        mtu=None if mtu is None else int(mtu),
        up=None if state is None else str(state).lower() == "up",
        description=attributes.get("ifalias"),
    )


def _move(name: str, source: str | None, target: str | None) -> None:
    if source == target:
        return
    # A jail sees no other jail: the way leads over the host.
    if source is not None:
        return_from_jail(name, source)
    if target is not None:
        move_to_jail(name, target)


def raise_flags(device: str, namespace: str | None, flags: int) -> None:
    """Raise flags (linux/if.h) of a link; those that it has need not be possible.

    :raises Unsupported: ifconfig(8) cannot raise one of them
    """
    words = [word for bit, word in _RAISED.items() if flags & bit]
    left = flags & ~sum(_RAISED)
    if left:
        raise Unsupported(f"the flags {left:#x} of a link cannot be set by hand")
    change_interface(
        host_name(device),
        Settings(up=True if "up" in words else None, words=[word for word in words if word != "up"]),
        jail=namespace,
    )


def set_bridge(device: str, bridge: str | None, namespace: str | None) -> None:
    """Put an interface into a bridge, or take it out of the one it is in.

    :raises InterfaceNotFound: one of them is not there
    :raises InterfaceBusy: it is in another bridge
    """
    if bridge:
        add_member(bridge, host_name(device), jail=namespace)
        return
    for each in list_interfaces(namespace):
        if each.bridge and any(member.name == device for member in each.bridge.members):
            delete_member(each.name, device, jail=namespace)
