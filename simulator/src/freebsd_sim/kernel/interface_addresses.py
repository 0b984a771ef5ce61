"""Protocol addresses: adding, replacing, deleting, and IPv6's automatic ones (sys/netinet/in.c, netinet6/in6.c).

The records are the truth; Linux is made to follow, because Linux drops IPv6
addresses on occasions when FreeBSD keeps them.
"""

from __future__ import annotations

import contextlib
import ipaddress
import socket
from typing import TYPE_CHECKING, Any

from pyroute2 import NetlinkError

from freebsd_sim.kernel.errors import KernelError
from freebsd_sim.kernel.interface_linux import translate_errors
from freebsd_sim.kernel.interface_model import (
    ND6_AUTO_LINKLOCAL,
    ND6_IFDISABLED,
    ND6_NO_DAD,
    Address,
    Interface,
    IPAddress,
)

if TYPE_CHECKING:
    from freebsd_sim.kernel.interfaces import Interfaces

# linux/if_addr.h
IFA_F_NODAD = 0x02
IFA_F_DADFAILED = 0x08
IFA_F_DEPRECATED = 0x20
IFA_F_TENTATIVE = 0x40
IFA_F_NOPREFIXROUTE = 0x200

HOST_LENGTHS = {4: 32, 6: 128}
STATE_WORDS = ("tentative", "duplicated")


def make_address(
    address: IPAddress,
    prefixlen: int,
    broadcast: ipaddress.IPv4Address | None = None,
    destination: IPAddress | None = None,
) -> Address:
    """Return the record of an address, with the broadcast address that the kernel would choose."""
    record = Address(address, prefixlen, broadcast, destination)
    if address.version == 4 and broadcast is None:
        if prefixlen == 31:
            record.broadcast = ipaddress.IPv4Address("255.255.255.255")
        else:
            record.broadcast = ipaddress.IPv4Network((int(address), prefixlen), strict=False).broadcast_address
    return record


def add(interfaces: Interfaces, interface: Interface, record: Address) -> None:
    """Give an interface an address, which also raises it.

    :raises KernelError: EINVAL for a member of a bridge (15.0), EEXIST when another interface has the prefix
    """
    with interfaces.kernel.lock:
        _check_member(interfaces, interface)
        old = interface.find(record.address)
        if record.address.version == 4:
            _check_prefix(interfaces, interface, record)
        if old is not None:
            if old.prefixlen == record.prefixlen and record.address.version == 6:
                old.words, old.pltime, old.vltime = record.words, record.pltime, record.vltime
                return
            _remove(interface, old)
        was_up = interface.up
        if record.address.version == 6:
            set_nd6(interfaces, interface, interface.nd6 & ~ND6_IFDISABLED)
        if not was_up:
            interfaces.set_up(interface)
        if interface.find(record.address) is None:
            _install(interface, record)
            interface.addresses.append(record)
        interfaces.announce("address", interface)


def _check_member(interfaces: Interfaces, interface: Interface) -> None:
    if interface.member_of is None or not interfaces.kernel.release.at_least(15):
        return
    if not interfaces.read_sysctl(interface.jail, "net.link.bridge.member_ifaddrs", 0):
        raise KernelError("EINVAL")


def _check_prefix(interfaces: Interfaces, interface: Interface, record: Address) -> None:
    if record.destination is not None:
        return
    for other in interfaces.tables[interface.jail.stack.inode]:
        if other is interface or other.fib != interface.fib:
            continue
        for address in other.addresses:
            if address.family == record.family and address.network == record.network:
                raise KernelError("EEXIST")


def delete(interfaces: Interfaces, interface: Interface, address: IPAddress) -> None:
    """Take an address away.

    :raises KernelError: EADDRNOTAVAIL
    """
    with interfaces.kernel.lock:
        record = interface.find(address)
        if record is None:
            raise KernelError("EADDRNOTAVAIL")
        _remove(interface, record)
        interfaces.announce("address", interface)


def delete_first(interfaces: Interfaces, interface: Interface, family: str) -> None:
    """Take the first address of a family away, if there is one."""
    for record in interface.addresses:
        if record.family == family:
            delete(interfaces, interface, record.address)
            return


def purge(interfaces: Interfaces, interface: Interface) -> None:
    """Take all addresses away."""
    for record in list(interface.addresses):
        _remove(interface, record)
    interfaces.announce("address", interface)


def _arguments(interface: Interface, record: Address) -> dict[str, Any]:
    arguments: dict[str, Any] = {
        "index": interface.linux_index,
        "address": str(record.address),
        "prefixlen": record.prefixlen,
        "family": socket.AF_INET if record.address.version == 4 else socket.AF_INET6,
    }
    if record.broadcast is not None and interface.kind != "lo" and record.prefixlen < 31:
        arguments["broadcast"] = str(record.broadcast)
    if record.destination is not None:
        arguments["address"] = str(record.destination)
        arguments["local"] = str(record.address)
    flags = 0
    if record.address.version == 6 and (record.no_dad or interface.nd6 & ND6_NO_DAD or interface.kind == "lo"):
        flags |= IFA_F_NODAD
    if flags:
        arguments["flags"] = flags
    return arguments


def _install(interface: Interface, record: Address) -> None:
    if record.address.version == 6 and interface.nd6 & ND6_IFDISABLED:
        return
    try:
        with translate_errors():
            interface.jail.stack.ipr.addr("add", **_arguments(interface, record))
    except KernelError as error:
        # Linux gives lo some addresses by itself.
        if error.name != "EEXIST":
            raise


def _remove(interface: Interface, record: Address) -> None:
    interface.addresses.remove(record)
    arguments = _arguments(interface, record)
    arguments.pop("flags", None)
    arguments.pop("broadcast", None)
    with contextlib.suppress(NetlinkError):
        interface.jail.stack.ipr.addr("del", **arguments)


def restore(interfaces: Interfaces, interface: Interface) -> None:
    """Put back into Linux what it dropped when the link went down."""
    for record in interface.addresses:
        if record.address.version == 6 or interface.kind == "lo":
            _install(interface, record)


def set_nd6(interfaces: Interfaces, interface: Interface, value: int) -> None:
    """Set the nd6 options. Lifting IFDISABLED lets IPv6 in and makes the link-local address."""
    with interfaces.kernel.lock:
        changed = interface.nd6 ^ value
        interface.nd6 = value
        if changed & ND6_IFDISABLED:
            disabled = "1" if value & ND6_IFDISABLED else "0"
            with contextlib.suppress(OSError):
                path = f"net/ipv6/conf/{interface.linux_name.replace('/', '.')}/disable_ipv6"
                interface.jail.stack.write_sysctl(path, disabled)
        if interface.up and changed & (ND6_IFDISABLED | ND6_AUTO_LINKLOCAL):
            interface_up(interfaces, interface)


def interface_up(interfaces: Interfaces, interface: Interface) -> None:
    """Do what IPv6 does when an interface goes up."""
    restore(interfaces, interface)
    if interface.nd6 & ND6_IFDISABLED:
        return
    if interface.kind == "lo":
        if interface.unit == 0:
            _add_automatic(interface, Address(ipaddress.IPv6Address("::1"), 128))
        if interface.nd6 & ND6_AUTO_LINKLOCAL:
            # The loopback interfaces count their link-local addresses from the interface name's place.
            _add_automatic(interface, Address(ipaddress.IPv6Address("fe80::1"), 64))
        return
    has_link_local = any(record.is_link_local for record in interface.addresses)
    if interface.nd6 & ND6_AUTO_LINKLOCAL and not has_link_local and interface.mac:
        _add_automatic(interface, Address(link_local_of(interface.mac), 64))


def _add_automatic(interface: Interface, record: Address) -> None:
    if interface.find(record.address) is not None:
        return
    try:
        _install(interface, record)
    except KernelError:
        return
    interface.addresses.append(record)


def link_local_of(mac: str) -> ipaddress.IPv6Address:
    """Return the EUI-64 link-local address of an Ethernet address."""
    octets = [int(part, 16) for part in mac.split(":")]
    octets[0] ^= 2
    identifier = bytes([*octets[:3], 0xFF, 0xFE, *octets[3:]])
    return ipaddress.IPv6Address(b"\xfe\x80" + bytes(6) + identifier)


def read_states(interfaces: Interfaces, interface: Interface) -> dict[str, list[str]]:
    """Return for each IPv6 address (as text) the words of duplicate address detection that Linux reports."""
    states: dict[str, list[str]] = {}
    if not any(record.address.version == 6 for record in interface.addresses):
        return states
    link = interface.jail.stack.links.look(interface.linux_index)
    carrier = link is not None and link.carrier
    for message in interface.jail.stack.ipr.get_addr(family=socket.AF_INET6, index=interface.linux_index):
        flags = message.get_attr("IFA_FLAGS") or message["flags"]
        text = str(ipaddress.IPv6Address(message.get_attr("IFA_LOCAL") or message.get_attr("IFA_ADDRESS")))
        words = []
        # Linux leaves addresses tentative while there is no carrier.
        if flags & IFA_F_DADFAILED:
            words.append("duplicated")
        elif flags & IFA_F_TENTATIVE and interface.up and carrier:
            words.append("tentative")
        states[text] = words
    return states
