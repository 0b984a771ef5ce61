"""Prints interfaces as ifconfig(8) does: order and shape of the lines are those of 14.x to 16."""

from __future__ import annotations

import ipaddress
import time
from dataclasses import dataclass, field

from freebsd_sim.kernel import Kernel, interface_addresses
from freebsd_sim.kernel.interface_model import (
    CAPABILITY_WORDS,
    FLAG_WORDS,
    IFF_UP,
    MEMBER_STP,
    MEMBER_WORDS,
    ND6_WORDS,
    Address,
    Interface,
    Member,
    format_bits,
)
from freebsd_sim.kernel.interface_vxlans import is_group

MEDIA = {
    "epair": "Ethernet 10Gbase-T (10Gbase-T <full-duplex>)",
    "nic": "Ethernet autoselect (10Gbase-T <full-duplex>)",
    "tap": "Ethernet 1000baseT <full-duplex>",
    "vxlan": "Ethernet autoselect (autoselect <full-duplex>)",
}


@dataclass
class Format:
    """What -f and IFCONFIG_FORMAT chose; an empty word is the default."""

    inet: str = ""
    inet6: str = ""
    ether: str = ""
    warnings: list[str] = field(default_factory=list)

    def choose(self, text: str) -> None:
        """Take one list of choices, such as inet:cidr,inet6:cidr."""
        for item in text.split(","):
            category, colon, modifier = item.partition(":")
            if not colon:
                if category == "cidr":
                    self.inet = self.inet6 = "cidr"
                elif category == "default":
                    self.ether = ""
                else:
                    self.warnings.append(f"Skipping invalid format: {category}\n")
            elif category == "inet" and modifier in ("hex", "cidr", "dotted"):
                self.inet = "" if modifier == "hex" else modifier
            elif category == "inet6" and modifier in ("cidr", "numeric"):
                self.inet6 = "" if modifier == "numeric" else modifier
            elif category == "ether":
                self.ether = modifier


@dataclass
class Style:
    """How to print: the format, the address family asked for (None: all), and switches."""

    format: Format
    family: str | None = None
    lifetimes: bool = False
    driver_name: bool = False
    capabilities: bool = False


def format_interface(kernel: Kernel, interface: Interface, style: Style) -> str:
    """Return the block of lines of one interface."""
    flags = interface.flags
    lines = [
        f"{interface.name}: flags={flags:x}{format_bits(flags, FLAG_WORDS)} metric {interface.metric}"
        f" mtu {interface.mtu}"
    ]
    if interface.description:
        lines.append(f"\tdescription: {interface.description}")
    lines.append(f"\toptions={interface.enabled:x}{format_bits(interface.enabled, CAPABILITY_WORDS)}")
    if style.capabilities and interface.capabilities:
        lines.append(
            f"\tcapabilities={interface.capabilities:x}" + format_bits(interface.capabilities, CAPABILITY_WORDS)
        )
    if style.family in (None, "link", "ether", "lladdr"):
        lines += _link_lines(interface, style)
    states = interface_addresses.read_states(kernel.interfaces, interface)
    for family in ("inet", "inet6"):
        if style.family in (None, family):
            lines += [
                _address_line(interface, address, states, style)
                for address in interface.addresses
                if address.family == family
            ]
    if style.family is None:
        lines += _other_lines(kernel, interface)
    elif style.family == "inet6":
        lines.append(_nd6_line(interface))
    if interface.tap is not None and interface.tap.is_open and interface.tap.opener is not None:
        lines.append(f"\tOpened by PID {interface.tap.opener}")
    if style.driver_name:
        lines.append(f"\tdrivername: {interface.driver_name}")
    return "\n".join(lines) + "\n"


def _format_mac(mac: str, style: Style) -> str:
    return mac.replace(":", "-") if style.format.ether == "dash" else mac


def _link_lines(interface: Interface, style: Style) -> list[str]:
    if not interface.is_ether:
        return []
    lines = [f"\tether {_format_mac(interface.mac, style)}"]
    if interface.permanent_mac and interface.permanent_mac != interface.mac:
        lines.append(f"\thwaddr {_format_mac(interface.permanent_mac, style)}")
    return lines


def _address_line(interface: Interface, record: Address, states: dict[str, list[str]], style: Style) -> str:
    if record.family == "inet6":
        return _address6_line(interface, record, states.get(str(record.address), []), style)
    text = f"\tinet {record.address}"
    if record.destination is not None and interface.kind != "lo":
        text += f" --> {record.destination}"
    network = ipaddress.ip_network((int(record.address), record.prefixlen), strict=False)
    if style.format.inet == "cidr":
        text += f"/{record.prefixlen}"
    elif style.format.inet == "dotted":
        text += f" netmask {network.netmask}"
    else:
        text += f" netmask 0x{int(network.netmask):x}"
    if record.broadcast is not None and interface.kind != "lo" and record.prefixlen != 0:
        text += f" broadcast {record.broadcast}"
    return text


def _address6_line(interface: Interface, record: Address, state: list[str], style: Style) -> str:
    zone = f"%{interface.name}" if record.is_link_local else ""
    text = f"\tinet6 {record.address}{zone}"
    text += f"/{record.prefixlen}" if style.format.inet6 == "cidr" else f" prefixlen {record.prefixlen}"
    order = ["anycast", "tentative", "duplicated", "detached", "deprecated", "autoconf", "temporary", "prefer_source"]
    words = [word for word in order if word in record.words or word in state]
    text += "".join(f" {word}" for word in words)
    if zone:
        text += f" scopeid 0x{interface.index:x}"
    if style.lifetimes and (record.pltime is not None or record.vltime is not None):
        text += f" pltime {_remaining(record.pltime)} vltime {_remaining(record.vltime)}"
    return text


def _remaining(expires: int | None) -> str:
    return "infty" if expires is None else str(max(expires - int(time.time()), 0))


def _nd6_line(interface: Interface) -> str:
    return f"\tnd6 options={interface.nd6:x}{format_bits(interface.nd6, ND6_WORDS)}"


def _other_lines(kernel: Kernel, interface: Interface) -> list[str]:
    lines = []
    if interface.bridge is not None:
        lines += _bridge_lines(kernel, interface)
    if interface.vlan is not None:
        parent = interface.vlan.parent.name if interface.vlan.parent is not None else "<none>"
        lines.append(
            f"\tvlan: {interface.vlan.tag} vlanproto: {interface.vlan.protocol} vlanpcp: {interface.vlan.pcp}"
            f" parent interface: {parent}"
        )
    if interface.vxlan is not None:
        lines.append(_vxlan_line(interface))
    if interface.groups:
        lines.append(f"\tgroups: {' '.join(interface.groups)}")
    if interface.fib:
        lines.append(f"\tfib: {interface.fib}")
    if interface.tunnel_fib:
        lines.append(f"\ttunnelfib: {interface.tunnel_fib}")
    source = interface
    while source.vlan is not None and source.vlan.parent is not None:
        source = source.vlan.parent
    if source.kind in MEDIA:
        lines.append(f"\tmedia: {MEDIA[source.kind]}")
        lines.append(f"\tstatus: {'active' if interface.is_active else 'no carrier'}")
    lines.append(_nd6_line(interface))
    return lines


def _bridge_lines(kernel: Kernel, interface: Interface) -> list[str]:
    bridge = interface.bridge
    assert bridge is not None
    none = "00:00:00:00:00:00"
    root_priority = bridge.priority if bridge.had_member else 0
    lines = [
        f"\tid {none} priority {bridge.priority} hellotime {bridge.hellotime} fwddelay {bridge.fwddelay}",
        f"\tmaxage {bridge.maxage} holdcnt {bridge.holdcount} proto {bridge.protocol} maxaddr {bridge.max_addresses}"
        f" timeout {bridge.timeout}",
        f"\troot id {none} priority {root_priority} ifcost 0 port 0",
    ]
    recent = kernel.release.at_least(15)
    if recent:
        lines.append("\tbridge flags=0<>")
    for member in [*bridge.members, *bridge.spans]:
        lines += _member_lines(member, recent)
    return lines


def _member_lines(member: Member, recent: bool) -> list[str]:
    flags = format_bits(member.flags, MEMBER_WORDS, "<>")
    text = f"port {member.interface.index & 0xFFF} priority {member.priority} path cost {member.path_cost}"
    if not recent or member.max_addresses:
        text = f"ifmaxaddr {member.max_addresses} {text}"
    pad = "\t        "
    lines = [f"\tmember: {member.interface.name} flags={member.flags:x}{flags}"]
    if member.flags & MEMBER_STP:
        up = member.interface.flags & IFF_UP
        lines.append(f"{pad}{text} proto rstp")
        text = "role designated state forwarding" if up else "role disabled state discarding"
    if recent:
        text += " vlan protocol 802.1q"
    lines.append(pad + text)
    return lines


def _vxlan_line(interface: Interface) -> str:
    vxlan = interface.vxlan
    assert vxlan is not None
    ipv6 = vxlan.remote is not None and vxlan.remote.version == 6
    unset = "::" if ipv6 else "0.0.0.0"

    def show(address: object, port: int) -> str:
        return f"[{address}]:{port}" if ipv6 else f"{address}:{port}"

    local = show(vxlan.local or unset, vxlan.local_port)
    remote = show(vxlan.remote or unset, vxlan.remote_port)
    word = "group" if is_group(vxlan.remote) else "remote"
    return f"\tvxlan vni {vxlan.vni} local {local} {word} {remote}"
