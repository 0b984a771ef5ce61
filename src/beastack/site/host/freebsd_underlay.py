"""The interface that carries the tunnels of a FreeBSD host, and the bridge of the switch that it becomes a port of.

Open vSwitch's userspace datapath sends a tunnelled packet by a bridge of its
own only: the bridge owns the interface, and the bridge's local port has the
address (Documentation/howto/userspace-tunneling.rst). What the interface had
goes to the bridge, and back to the interface when the site goes down.
"""

from __future__ import annotations

import contextlib
import ipaddress
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from beastack.freebsd import interface, route
from beastack.freebsd.errors import AddressNotFound, InterfaceNotFound

#: Offloads that readers of raw frames must not meet: capability as ifconfig(8) prints it, and the word for it.
OFFLOADS = {
    "TXCSUM": "txcsum", "TXCSUM_IPV6": "txcsum6", "RXCSUM": "rxcsum", "RXCSUM_IPV6": "rxcsum6",
    "TSO4": "tso4", "TSO6": "tso6", "LRO": "lro", "VLAN_HWTAGGING": "vlanhwtag",
}  # fmt: skip


@dataclass(frozen=True)
class Underlay:
    """The interface, the bridge, the address with its prefix, the MTU in bytes, and the file of what was taken."""

    interface: str
    bridge: str
    address: str
    mtu: int
    record: str

    def to_json(self) -> dict[str, Any]:
        """Return it as plain data."""
        return asdict(self)


def take(underlay: Underlay) -> None:
    """Note what the interface has, then take it away: addresses of that family, routes through it, offloads.

    What was noted before, and not given back, stays noted.

    :raises InterfaceNotFound: there is no such interface
    """
    found = interface.read_interface(underlay.interface)
    version = ipaddress.ip_interface(underlay.address).version
    addresses = [
        _with_prefix(item) for item in found.addresses if item.version == version and not item.address.is_link_local
    ]
    offloads = [word for capability, word in OFFLOADS.items() if capability in found.options]
    if not Path(underlay.record).exists():
        routes = [
            {"destination": str(item.destination), "gateway": str(item.gateway)}
            for item in route.list_routes(family=4 if version == 4 else 6)
            if item.interface == underlay.interface and "gateway" in item.flags
        ]
        _write(underlay, {"addresses": addresses, "routes": routes, "offloads": offloads})
    for address in addresses:
        with contextlib.suppress(AddressNotFound):
            interface.remove_address(underlay.interface, address)
    words = tuple(f"-{word}" for word in offloads)
    interface.change_interface(underlay.interface, interface.Settings(words=words, up=True))


def has_address(underlay: Underlay) -> bool:
    """Return whether the bridge has the address, and is up."""
    found = interface.find_interface(underlay.bridge)
    return found is not None and found.is_up and underlay.address in map(_with_prefix, found.addresses)


def give_to_bridge(underlay: Underlay) -> None:
    """Set the bridge up with the address, and the routes that were taken.

    :raises InterfaceNotFound: the switch has not made the bridge
    """
    interface.change_interface(underlay.bridge, interface.Settings(mtu=underlay.mtu, up=True))
    if not has_address(underlay):
        interface.add_address(underlay.bridge, underlay.address)
    for item in _read(underlay).get("routes", []):
        route.replace_route(item["destination"], item["gateway"])


def give_back(underlay: Underlay) -> None:
    """Give the interface back what was taken; call when the bridge is gone. Nothing noted is nothing to do."""
    noted = _read(underlay)
    if not noted:
        return
    with contextlib.suppress(InterfaceNotFound):
        interface.change_interface(underlay.interface, interface.Settings(words=tuple(noted["offloads"])))
        have = {_with_prefix(item) for item in interface.read_interface(underlay.interface).addresses}
        for address in noted["addresses"]:
            if address not in have:
                interface.add_address(underlay.interface, address)
        for item in noted["routes"]:
            route.replace_route(item["destination"], item["gateway"])
    Path(underlay.record).unlink(missing_ok=True)


def _with_prefix(address: interface.Address) -> str:
    return f"{address.address}/{address.prefix_length}"


def _write(underlay: Underlay, noted: dict[str, Any]) -> None:
    record = Path(underlay.record)
    temporary = record.with_suffix(".new")
    temporary.write_text(json.dumps(noted) + "\n")
    os.replace(temporary, record)


def _read(underlay: Underlay) -> dict[str, Any]:
    try:
        noted: dict[str, Any] = json.loads(Path(underlay.record).read_text())
    except FileNotFoundError:
        return {}
    return noted
