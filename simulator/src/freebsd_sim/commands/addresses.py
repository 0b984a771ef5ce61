"""Addresses as FreeBSD's network programs read and print them: inet_aton(3), and IPv6 with a scope."""

from __future__ import annotations

import ipaddress
import socket

from freebsd_sim.call import Call, CommandExit
from freebsd_sim.kernel.errors import KernelError
from freebsd_sim.kernel.interface_model import Interface
from freebsd_sim.kernel.jails import Jail
from freebsd_sim.kernel.routes import Host


def parse_ipv4(text: str) -> ipaddress.IPv4Address | None:
    """Return the address in any form of inet_aton(3) ("10.1" is 10.0.0.1), or None."""
    try:
        return ipaddress.IPv4Address(socket.inet_aton(text))
    except (OSError, UnicodeEncodeError):
        return None


def parse_ipv6(call: Call, jail: Jail, text: str) -> tuple[ipaddress.IPv6Address, Interface | None] | None:
    """Return the address and the interface after "%" of a numeric IPv6 address, or None."""
    head, mark, name = text.partition("%")
    try:
        address = ipaddress.IPv6Address(head)
    except ValueError:
        return None
    if not mark:
        return address, None
    try:
        return address, call.kernel.interfaces.get(jail, name)
    except KernelError:
        return None


def format_scoped(address: Host, scope: Interface | None) -> str:
    """Return an address with "%IF" when it belongs to one interface."""
    return str(address) if scope is None else f"{address}%{scope.name}"


def enter_jail(call: Call, name: str | None) -> Jail:
    """Return the jail that -j names, or the caller's (route(8), netstat(1)).

    :raises CommandExit: it does not exist, or the caller is not root
    """
    if name is None:
        return call.jail
    program = call.argv[0]
    try:
        jail = call.kernel.jails.get(name, call.jail)
    except KernelError:
        raise CommandExit(1, f"{program}: Jail not found") from None
    if not call.is_root or jail is call.jail:
        raise CommandExit(1, f"{program}: Cannot attach to jail")
    return jail


def count_fibs(call: Call) -> int:
    """Return net.fibs."""
    return call.kernel.sysctls.read_int("net.fibs")
