"""What a host listens on beyond its own loopback, and for whom: for the plan, and for whoever writes firewall rules.

Pure, from the description alone; docs/hosts.md has the same as a table.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

from beastack.site.description import Description

#: Where VXLAN is received (RFC 7348).
VXLAN_PORT = 4789


@dataclass(frozen=True)
class Listener:
    """An address with its ports, by the step of the plan that opens them."""

    step: str
    address: str
    protocol: str
    ports: tuple[int, int]
    what: str
    peers: str

    def __str__(self) -> str:
        first, last = self.ports
        ports = str(first) if first == last else f"{first} to {last}"
        return f"listens on {self.address}, {self.protocol} {ports}: {self.what}, for {self.peers}"


def listeners(description: Description, *, takes_disks: bool) -> list[Listener]:
    """Return what is open beyond loopback, in the order of the plan's steps.

    :param takes_disks: the host has a certificate by which other hosts send it instances' disks
    """
    host, ports, network = description.host, description.ports, description.network
    bind = description.site.bind_address
    own = bind if host.has_control else network.local_ip
    found = []

    def add(step: str, address: str, what: str, peers: str, first: int, last: int = 0, protocol: str = "TCP") -> None:
        if not ipaddress.ip_address(address).is_loopback:
            found.append(Listener(step, address, protocol, (first, last or first), what, peers))

    if host.has_switch and network.project_type == "vxlan":
        add("switch", network.local_ip, "tunnels of project networks", "the other hosts of the cloud", VXLAN_PORT,
            protocol="UDP")  # fmt: skip
    if host.has_guests and takes_disks:
        add("hypervisor", own, "disks of instances", "other hosts, by certificate", ports.migration)
    if host.has_guests and not host.has_control:
        proxies = "the control host's proxies alone: there is no password"
        if description.control.novnc_url is not None:
            add("hypervisor", own, "guests' screens", proxies, ports.vnc_first, ports.vnc_last)
        add("hypervisor", own, "guests' serial lines", proxies, ports.serial_first, ports.serial_last)
    if host.has_control:
        if description.messaging.url is None:
            add("messaging", description.messaging.listen, "RabbitMQ", "the other hosts, by password", ports.messaging)
        for step, what, port in (
            ("identity", "identity API", ports.identity), ("image-service", "image API", ports.image),
            ("placement-service", "placement API", ports.placement), ("network-service", "network API", ports.network),
            ("compute-service", "compute API", ports.compute), ("compute-service", "graphical consoles", ports.novnc),
            ("compute-service", "serial consoles", ports.serial),
        ):  # fmt: skip
            add(step, bind, what, "clients", port)
        add("compute-service", bind, "metadata API", "hosts with the network role, by secret", ports.metadata)
    return found
