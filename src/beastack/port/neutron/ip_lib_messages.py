"""N3: interfaces and addresses of FreeBSD as the netlink messages that neutron's agents take apart.

Pure: what the host library read goes in, what pyroute2 would have decoded
comes out, as plain lists and dictionaries. Numbers are Linux's (linux/if.h,
linux/if_addr.h, linux/rtnetlink.h), because the agents compare with those.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Mapping, Sequence
from typing import Any

from beastack.freebsd.interface import Address, Interface, find_epair_peer

#: A netlink message, decoded: ``attrs`` holds pairs of a name and a value.
Message = dict[str, Any]

#: The loopback interface, there and here.
LOOPBACK, HOST_LOOPBACK = "lo", "lo0"

#: Group of the taps that stand for Linux's dummy interfaces.
DUMMY_GROUP = "dummy"

FAMILIES = {4: int(socket.AF_INET), 6: int(socket.AF_INET6)}

_FLAGS = {
    "UP": 0x1, "BROADCAST": 0x2, "LOOPBACK": 0x8, "POINTOPOINT": 0x10, "RUNNING": 0x40, "NOARP": 0x80,
    "PROMISC": 0x100, "ALLMULTI": 0x200, "MULTICAST": 0x1000, "LOWER_UP": 0x10000,
}  # fmt: skip
_TYPE_ETHER, _TYPE_LOOPBACK, _TYPE_NONE = 1, 772, 0xFFFE
_BROADCAST_MAC = "ff:ff:ff:ff:ff:ff"

#: Linux's kinds of link, by the driver here. What is not listed (em0, lo0) has no kind, as hardware has none there.
_KINDS = {"epair": "veth", "tap": "tun", "tun": "tun", "vmnet": "tun", "vlan": "vlan", "vxlan": "vxlan",
          "bridge": "bridge", "gif": "ipip", "gre": "gre"}  # fmt: skip

SCOPE_UNIVERSE, SCOPE_SITE, SCOPE_LINK, SCOPE_HOST = 0, 200, 253, 254

IFA_F_TEMPORARY, IFA_F_DADFAILED, IFA_F_DEPRECATED, IFA_F_TENTATIVE, IFA_F_PERMANENT = 0x01, 0x08, 0x20, 0x40, 0x80

#: What the description says of a half of an epair that was made for a jail: it stays with it through moves.
_DESTINED = re.compile(r"beastack made this for jail (\S+)")


def host_name(device: str) -> str:
    """Return the name an interface has here."""
    return HOST_LOOPBACK if device == LOOPBACK else device


def agent_name(name: str) -> str:
    """Return the name that the agents know an interface by."""
    return LOOPBACK if name == HOST_LOOPBACK else name


def make_destination(jail: str) -> str:
    """Return the description of an interface that is made here and goes to a jail."""
    return f"beastack made this for jail {jail}"


def read_destination(interface: Interface) -> str | None:
    """Return the jail an interface was made for, None when it was made for none."""
    found = _DESTINED.fullmatch(interface.description or "")
    return found.group(1) if found else None


def find_kind(interface: Interface) -> str | None:
    """Return Linux's word for the kind of an interface, None for one that Linux gives none."""
    if DUMMY_GROUP in interface.groups:
        return "dummy"
    return _KINDS.get(interface.kind)


def find_state(interface: Interface) -> str:
    """Return ``UP`` for an interface that is up and can pass frames, else ``DOWN``."""
    return "UP" if interface.is_up and interface.status != "no carrier" else "DOWN"


def find_broadcast(interface: Interface) -> str | None:
    """Return the link's broadcast address."""
    return _BROADCAST_MAC if interface.mac and "BROADCAST" in interface.flags else None


def find_alias(interface: Interface) -> str | None:
    """Return the description, unless it is our own."""
    return None if read_destination(interface) else interface.description


def build_link(interface: Interface, others: Sequence[Interface]) -> Message:
    """Return an interface as the message RTM_NEWLINK.

    :param others: the interfaces of the same reading, among which a vlan's parent and an epair's peer are found
    """
    attributes: list[list[Any]] = [
        ["IFLA_IFNAME", agent_name(interface.name)],
        ["IFLA_OPERSTATE", find_state(interface)],
        ["IFLA_LINKMODE", 0],
        ["IFLA_MTU", interface.mtu],
        ["IFLA_PROMISCUITY", int("PROMISC" in interface.flags)],
    ]
    # A loopback interface has an address of zeros there, and the agents take one without any for not ready.
    mac = interface.mac or ("00:00:00:00:00:00" if "LOOPBACK" in interface.flags else None)
    for name, value in (
        ("IFLA_ADDRESS", mac),
        ("IFLA_BROADCAST", find_broadcast(interface)),
        ("IFLA_IFALIAS", find_alias(interface)),
        ("IFLA_LINK", _find_lower(interface, others)),
    ):
        if value is not None:
            attributes.append([name, value])
    kind = find_kind(interface)
    if kind is not None:
        information: list[list[Any]] = [["IFLA_INFO_KIND", kind]]
        if data := _build_data(interface):
            information.append(["IFLA_INFO_DATA", {"attrs": data}])
        attributes.append(["IFLA_LINKINFO", {"attrs": information}])
    return {
        "family": 0,
        "ifi_type": _find_type(interface),
        "index": interface.index,
        "flags": sum(bit for word, bit in _FLAGS.items() if word in interface.flags),
        "change": 0,
        "state": "up" if interface.is_up else "down",
        "attrs": attributes,
        "event": "RTM_NEWLINK",
    }


def _find_type(interface: Interface) -> int:
    if "LOOPBACK" in interface.flags:
        return _TYPE_LOOPBACK
    return _TYPE_ETHER if interface.mac else _TYPE_NONE


def _find_lower(interface: Interface, others: Sequence[Interface]) -> int | None:
    """Return the index of a vlan's parent, or of an epair's other half in the same jail."""
    if interface.vlan is not None:
        return next((each.index for each in others if each.name == interface.vlan.parent), None)
    peer = find_epair_peer(interface, others)
    return peer.index if peer else None


def _build_data(interface: Interface) -> list[list[Any]]:
    if interface.vlan is not None:
        return [["IFLA_VLAN_ID", interface.vlan.tag]]
    if interface.vxlan is not None:
        data: list[list[Any]] = [["IFLA_VXLAN_ID", interface.vxlan.vni]]
        if interface.vxlan.remote is not None:
            data.append([f"IFLA_VXLAN_GROUP{_suffix(interface.vxlan.remote.address)}",
                         str(interface.vxlan.remote.address)])  # fmt: skip
        if interface.vxlan.local is not None:
            data.append([f"IFLA_VXLAN_LOCAL{_suffix(interface.vxlan.local.address)}",
                         str(interface.vxlan.local.address)])  # fmt: skip
        return data
    if interface.bridge is not None:
        # Hundredths of a second there.
        return [["IFLA_BR_FORWARD_DELAY", interface.bridge.forward_delay * 100], ["IFLA_BR_STP_STATE", 0]]
    return []


def _suffix(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> str:
    return "" if address.version == 4 else "6"


def build_address(interface: Interface, address: Address) -> Message:
    """Return one address of an interface as the message RTM_NEWADDR."""
    flags = find_address_flags(address)
    attributes: list[list[Any]] = [["IFA_ADDRESS", str(address.address)]]
    if address.version == 4:
        attributes.append(["IFA_LOCAL", str(address.address)])
    if address.broadcast is not None:
        attributes.append(["IFA_BROADCAST", str(address.broadcast)])
    # Linux labels IPv4 only; with the name here, the agents need not ask for it by the index.
    attributes += [["IFA_LABEL", agent_name(interface.name)], ["IFA_FLAGS", flags]]
    return {
        "family": FAMILIES[address.version],
        "prefixlen": address.prefix_length,
        "flags": flags & 0xFF,
        "scope": find_scope(address.address),
        "index": interface.index,
        "attrs": attributes,
        "event": "RTM_NEWADDR",
    }


def find_address_flags(address: Address) -> int:
    """Return the flags of an address.

    One that was set by hand is permanent: the agents take others for what a
    router's advertisements brought, and remove them.
    """
    flags = 0 if "autoconf" in address.words else IFA_F_PERMANENT
    if "tentative" in address.words:
        flags |= IFA_F_TENTATIVE
    if "duplicated" in address.words:
        flags |= IFA_F_TENTATIVE | IFA_F_DADFAILED
    if "deprecated" in address.words:
        flags |= IFA_F_DEPRECATED
    if "temporary" in address.words:
        flags |= IFA_F_TEMPORARY
    return flags


def find_scope(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> int:
    """Return the scope that Linux gives an address by itself; FreeBSD keeps none with IPv4."""
    if address.is_loopback:
        return SCOPE_HOST
    if isinstance(address, ipaddress.IPv6Address):
        if address.is_link_local:
            return SCOPE_LINK
        if address.is_site_local:
            return SCOPE_SITE
    return SCOPE_UNIVERSE


def match_address(message: Mapping[str, Any], filters: Mapping[str, Any]) -> bool:
    """Tell whether an address fits what an agent asks for; a filter that is None fits all.

    :raises ValueError: there is no such filter
    """
    attributes = dict(message["attrs"])
    for name, wanted in filters.items():
        if name in ("index", "family", "scope", "prefixlen", "mask"):
            found = message["prefixlen" if name == "mask" else name]
        elif name in ("address", "local", "broadcast", "label"):
            found = attributes.get("IFA_ADDRESS" if name == "local" else f"IFA_{name.upper()}")
            if name in ("address", "local") and wanted is not None:
                wanted = str(ipaddress.ip_address(wanted))
        else:
            raise ValueError(f"addresses cannot be chosen by {name!r}")
        if wanted is not None and found != wanted:
            return False
    return True
