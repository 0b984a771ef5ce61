"""What doctor looks at on a FreeBSD host: interfaces, and jails with their programs."""

from __future__ import annotations

from pathlib import Path

from beastack.freebsd import interface, jail, process
from beastack.freebsd.errors import JailNotFound


def list_links() -> list[tuple[str, frozenset[str], tuple[str, ...]]]:
    """Return name, flags as ip(8) would name them, and addresses with prefix of every interface of the host."""
    links = []
    for found in interface.list_interfaces():
        flags = {name for name in ("UP",) if found.is_up}
        # A tap that nothing has open, and half of a pair whose other half is down, have no carrier.
        if found.status != "no carrier":
            flags.add("LOWER_UP")
        addresses = tuple(f"{item.address}/{item.prefix_length}" for item in found.addresses)
        links.append((found.name, frozenset(flags), addresses))
    return links


def list_jails() -> dict[str, int | None]:
    """Return the number of each jail with a network stack, by its name."""
    return {found.name: found.jid for found in jail.list_jails()}


def programs_in(name: str) -> list[str]:
    """Return the names of the programs that run in a jail; none if it is gone."""
    try:
        found = process.list_jailed(name)
    except JailNotFound:
        return []
    return [Path(each.arguments.split()[0].rstrip(":")).name for each in found if each.arguments.split()]
