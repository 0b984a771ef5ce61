"""The site's own Open vSwitch on Linux, with the userspace datapath, and what hangs on it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
from collections.abc import Sequence
from pathlib import Path

from beastack.freebsd.command import CommandError, run
from beastack.site.configuration import Site
from beastack.site.host import ovs
from beastack.site.host.ovs import (
    DATAPATH_PORT,
    bridges,
    database_answers,
    forget_controllers,
    host_pair,
    provider_gateway,
    vsctl,
)
from beastack.site.layout import Layout
from beastack.site.wait import wait_until
from beastack.supervisor.spec import Service

__all__ = [
    "bridges", "database_answers", "ensure_bridges", "foreign_datapath", "forget_controllers", "guest_taps",
    "host_is_joined", "host_pair", "initialize", "link_exists", "prepare_database", "provider_gateway",
    "remove_leftovers", "remove_links", "remove_networks", "services", "vsctl",
]  # fmt: skip


def services(site: Site) -> list[Service]:
    """Return what runs the switch: its database server, then the switch itself."""
    return ovs.make_services(
        site, ovs.server_argv(site, "/usr/sbin/ovsdb-server"), ovs.switch_argv(site, "/usr/sbin/ovs-vswitchd")
    )


def prepare_database(site: Site) -> None:
    """Make the switch's database if there is none. Raises CommandError."""
    ovs.prepare_database(site, "/usr/share/openvswitch/vswitch.ovsschema")


def initialize(site: Site) -> None:
    """Set what must stand before the switch starts.

    Guests hand over checksums half done; with userspace TSO the datapath
    completes them, without it it drops their TCP as invalid.
    """
    ovs.initialize(site, "other_config:userspace-tso-enable=true")


def ensure_bridges(site: Site) -> None:
    """Make the bridges and the host's own port on the provider network; what is there stays.

    :raises CommandError: a command failed
    """
    for bridge in bridges(site):
        vsctl(site, "--may-exist", "add-br", bridge, "--", "set", "Bridge", bridge, "datapath_type=netdev")
    wait_until(
        lambda: (all(link_exists(bridge) for bridge in bridges(site)), "a bridge has no interface yet"),
        what="ovs-vswitchd to make the bridges", timeout=30, interval=0.05,
    )  # fmt: skip
    near, far = host_pair(site)
    if not link_exists(near):
        run(["ip", "link", "add", "dev", near, "type", "veth", "peer", "name", far])
    for link in (near, far):
        run(["sysctl", "-q", "-w", f"net.ipv6.conf.{link}.accept_ra=0"], ok=(0, 1, 255))
    run(["ethtool", "-K", near, "tx", "off"], ok=(0, 1))
    network = site.description.network
    run(["ip", "address", "replace", provider_gateway(site), "dev", near])
    run(["ip", "link", "set", "dev", near, "mtu", str(network.mtu), "up"])
    run(["ip", "link", "set", "dev", far, "mtu", str(network.mtu), "up"])
    vsctl(site, "--may-exist", "add-port", bridges(site)[1], far)


def host_is_joined(site: Site) -> bool:
    """Return whether the host has its address on the provider network."""
    near, _ = host_pair(site)
    listing = run(["ip", "-json", "address", "show", "dev", near], ok=(0, 1)).stdout
    addresses = json.loads(listing or "[]")
    have = {f"{item['local']}/{item['prefixlen']}" for link in addresses for item in link.get("addr_info", [])}
    return provider_gateway(site) in have


def link_exists(name: str) -> bool:
    """Return whether the host has an interface of this name."""
    return Path(f"/sys/class/net/{name}").exists()


def foreign_datapath(layout: Layout) -> str | None:
    """Return what another userspace datapath on this host belongs to, or None.

    There can be one in a network namespace: its port has a fixed name.
    """
    if not link_exists(DATAPATH_PORT):
        return None
    here = Path("/proc/self/ns/net").stat().st_ino
    for process in Path("/proc").iterdir():
        if process.name.isdigit():
            with contextlib.suppress(OSError):
                if (process / "ns/net").stat().st_ino != here:
                    continue
                argv = (process / "cmdline").read_bytes().decode(errors="replace").split("\0")
                if argv[0].endswith("ovs-vswitchd") and f"unix:{ovs.socket(layout)}" not in argv:
                    return f"ovs-vswitchd (pid {process.name}) with {argv[1] if len(argv) > 1 else 'its defaults'}"
    return None


def guest_taps(site: Site) -> list[str]:
    """Return the taps on the integration bridge; os-vif made them, and only deleting an instance removes them.

    :raises CommandError: the switch's database does not answer
    """
    ports = vsctl(site, "--no-wait", "list-ports", bridges(site)[0], timeout=5).split()
    return [port for port in ports if port.startswith("tap") and link_exists(port)]


def remove_links(names: Sequence[str]) -> None:
    """Remove interfaces; those that are gone already are no error."""
    for name in names:
        if link_exists(name):
            try:
                run(["ip", "link", "delete", "dev", name])
            except CommandError:
                # A switch or a guest that is just ending takes its own away.
                if link_exists(name):
                    raise


def remove_leftovers(site: Site) -> None:
    """Remove taps of a switch that ended without removing them; call only while it does not run."""
    names = [site.layout.interface(suffix) for suffix in ("int", "tun", "ext")]
    if foreign_datapath(site.layout) is None:
        names.append(DATAPATH_PORT)
    remove_links(names)


# Network namespaces of the DHCP agent


def dhcp_namespaces(site: Site) -> list[str]:
    """Return this site's DHCP namespaces: those of networks that its DHCP agent keeps files of."""
    listing = json.loads(run(["ip", "-json", "netns", "list"]).stdout or "[]")
    names = {item["name"] for item in listing}
    known = site.layout.data("neutron") / "dhcp"
    networks = [path.name for path in known.iterdir()] if known.exists() else []
    return [f"qdhcp-{network}" for network in networks if f"qdhcp-{network}" in names]


def remove_dhcp_namespaces(site: Site) -> None:
    """End what runs in this site's DHCP namespaces and remove them with their interfaces."""
    for name in dhcp_namespaces(site):
        for pid in run(["ip", "netns", "pids", name], ok=(0, 1)).stdout.split():
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGTERM)
        run(["ip", "netns", "delete", name], ok=(0, 1))


def remove_host_pair(site: Site) -> None:
    """Remove the host's own port on the provider network."""
    near, _ = host_pair(site)
    remove_links([near])


def remove_networks(site: Site, taps: Sequence[str]) -> None:
    """Remove what hangs on the switch, once nothing runs: DHCP's namespaces, guests' taps, the host's own port."""
    remove_dhcp_namespaces(site)
    remove_links(taps)
    remove_host_pair(site)
    remove_leftovers(site)
