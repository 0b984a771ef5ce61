"""What can be wrong with a network that the DHCP agent serves, told from a picture of the host.

Pure: compares what should be with what was read, and names the first thing
that is missing.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

# neutron_lib.constants.TAP_DEVICE_PREFIX, and what interface_driver puts before a port's name.
DEVICE_PREFIX, PORT_PREFIX = "tap", "e"


@dataclass(frozen=True)
class Host:
    """What there is.

    ``jids``: jails by name; ``interfaces``: names on the host; ``ports``: Open
    vSwitch's number of each port by name, 0 or less if it could not open it,
    None if it has not yet tried to (ovs-vswitchd starts);
    ``process_jids``: the jail of each process, 0 for the host.
    """

    jids: Mapping[str, int]
    interfaces: frozenset[str]
    ports: Mapping[str, int | None]
    process_jids: Mapping[int, int]


@dataclass(frozen=True)
class Expected:
    """What a network should have, and what its process is: ``pid`` None if there is no record of one."""

    jail: str
    devices: tuple[str, ...]
    pid: int | None
    is_active: bool


def find_fault(expected: Expected, host: Host) -> str | None:
    """Return what a network lacks, in words, or None."""
    jid = host.jids.get(expected.jail)
    if jid is None:
        return f"its jail {expected.jail} is not there"
    if not expected.devices:
        return "this agent has no port on it"
    for device in expected.devices:
        port = PORT_PREFIX + device
        if port not in host.interfaces:
            return f"the interface {port} is not on the host"
        if port not in host.ports:
            return f"the port {port} is not in Open vSwitch"
        number = host.ports[port]
        if number is not None and number <= 0:
            return f"Open vSwitch could not open the port {port}"
    if not expected.is_active:
        return "dnsmasq does not run"
    if expected.pid is not None and host.process_jids.get(expected.pid) != jid:
        return f"dnsmasq (process {expected.pid}) does not run in the jail {expected.jail}"
    return None


def find_leftover_jails(jails: Iterable[str], prefix: str, networks: Collection[str]) -> list[str]:
    """Return the jails of a DHCP agent whose network is none of ``networks``."""
    return sorted(name for name in jails if name.startswith(prefix) and name[len(prefix) :] not in networks)


def find_leftover_devices(names: Iterable[str], wanted: Collection[str]) -> set[str]:
    """Return the devices whose port or host half is among ``names``, and that nobody wants."""
    prefix = PORT_PREFIX + DEVICE_PREFIX
    # As upstream names them: the prefix and eleven characters of the port's identifier.
    found = {name[len(PORT_PREFIX) :] for name in names if name.startswith(prefix) and len(name) == 15}
    return found - set(wanted)
