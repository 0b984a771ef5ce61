"""N3: addresses of interfaces: list, add, delete, flush, with ifconfig(8)."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping
from typing import Any

from beastack.freebsd.command import CommandError
from beastack.freebsd.errors import AddressExists, AddressNotFound
from beastack.freebsd.interface import Interface, add_address, read_interface, remove_address
from beastack.port.neutron.ip_lib_links import choose
from beastack.port.neutron.ip_lib_messages import Message, build_address, host_name, match_address

#: An address with its prefix length and, for IPv4, the broadcast address (None: the prefix's).
Wanted = tuple[ipaddress.IPv4Interface | ipaddress.IPv6Interface, str | None]


class AddressPresent(Exception):
    """The interface has the address already; the text is the address."""


def list_addresses(namespace: str | None, filters: Mapping[str, Any]) -> list[Message]:
    """Return the addresses of a jail, or of the host, as messages.

    :param filters: as pyroute2's ``get_addr`` takes them; see ``match_address``
    :raises JailNotFound: there is no such jail
    :raises ValueError: there is no such filter
    """
    index = filters.get("index")
    messages = (
        build_address(interface, address)
        for interface in choose(namespace, index=index)
        for address in interface.addresses
    )
    return [message for message in messages if match_address(message, filters)]


def add_addresses(wanted: Iterable[Wanted], device: str, namespace: str | None) -> None:
    """Add addresses to an interface, one after the other.

    FreeBSD takes an IPv4 address that is there already for a change of it,
    Linux refuses it: so the interface is read first.

    :raises AddressPresent: it has that address; those before it were added
    :raises InterfaceNotFound: it is not there
    """
    name = host_name(device)
    found = read_interface(name, namespace)
    there = {each.address for each in found.addresses}
    for address, broadcast in wanted:
        if address.ip in there:
            raise AddressPresent(str(address.ip))
        try:
            add_address(
                name, address, jail=namespace, broadcast=broadcast if address.version == 4 else None,
                words=choose_words(found, address.version),
            )  # fmt: skip
        except AddressExists as error:
            raise CommandError(
                error.argv, error.status, error.stdout, f"the network of {address} is another interface's here"
            ) from error
        there.add(address.ip)


def choose_words(interface: Interface, version: int) -> tuple[str, ...]:
    """Return what is said with a new address: IPv6 is disabled on a new interface until it has one."""
    disabled = interface.nd6_options is not None and "IFDISABLED" in interface.nd6_options
    return ("-ifdisabled",) if version == 6 and disabled else ()


def delete_address(cidr: str, device: str, namespace: str | None) -> None:
    """Delete an address; one that is not there is no error.

    :raises InterfaceNotFound: the interface is not there
    """
    try:
        remove_address(host_name(device), cidr, jail=namespace)
    except AddressNotFound:
        pass


def flush_addresses(version: int, device: str, namespace: str | None) -> None:
    """Delete all addresses of a family from an interface, IPv6's link-local ones too.

    :raises InterfaceNotFound: the interface is not there
    """
    name = host_name(device)
    for address in read_interface(name, namespace).addresses:
        if address.version == version:
            delete_address(str(address.interface), name, namespace)
