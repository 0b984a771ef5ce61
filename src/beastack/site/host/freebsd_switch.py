"""The site's own Open vSwitch on FreeBSD, and what hangs on it: epairs, the jails of DHCP, the tunnels' interface.

FreeBSD's Open vSwitch has the userspace datapath alone; its ports are read
and written through BPF. Names and places are those of the package.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path

from beastack.freebsd import interface, jail, process
from beastack.freebsd.errors import ProcessNotFound
from beastack.site.configuration import NEUTRON_AGENTS, Site, bridge_mappings, state_directory
from beastack.site.host import HostError, freebsd_underlay, freebsd_vswitchd, ovs
from beastack.site.host.freebsd_underlay import Underlay
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
from beastack.site.services import tool_environment
from beastack.site.wait import wait_until
from beastack.supervisor.spec import Service

__all__ = [
    "bridges", "database_answers", "ensure_bridges", "foreign_datapath", "forget_controllers", "guest_taps",
    "host_is_joined", "host_pair", "initialize", "link_exists", "prepare_database", "provider_gateway",
    "remove_leftovers", "remove_links", "remove_networks", "services", "vsctl",
]  # fmt: skip

#: What the agents start for each network.
DAEMONS = ("dnsmasq", "haproxy")

SCHEMA = "/usr/local/share/openvswitch/vswitch.ovsschema"
#: Kernel modules of the interfaces that are used (if_tuntap(4), if_epair(4)).
MODULES = ("if_tuntap", "if_epair")
#: Without it an epair hands over frames whose checksums were never computed (epair(4), FreeBSD 14.4 and later).
NO_CHECKSUM_OFFLOAD = interface.Settings(words=("-txcsum", "-txcsum6"))


def services(site: Site) -> list[Service]:
    """Return what runs the switch: its database server, then the switch itself."""
    switch = (site.facts.python, "-m", "beastack.site.host.freebsd_vswitchd", str(_settings_file(site)))
    return ovs.make_services(
        site, ovs.server_argv(site, "/usr/local/sbin/ovsdb-server"), switch,
        PYTHONPATH=tool_environment(site)["PYTHONPATH"],
        # Read by nothing: other settings make another process of it.
        BEASTACK_SWITCH=json.dumps(_settings(site), sort_keys=True),
    )  # fmt: skip


def _settings_file(site: Site) -> Path:
    return site.layout.run("openvswitch") / "switch.json"


def _settings(site: Site) -> dict[str, object]:
    underlay = read_underlay(site)
    return {
        "argv": ovs.switch_argv(site, "/usr/local/sbin/ovs-vswitchd"),
        "leftovers": [DATAPATH_PORT, *all_bridges(site)],
        "underlay": None if underlay is None else underlay.to_json(),
    }


def read_underlay(site: Site) -> Underlay | None:
    """Return what carries the tunnels, or None."""
    network = site.description.network
    if network.underlay is None:
        return None
    return Underlay(
        network.underlay, site.layout.interface("und"), f"{network.local_ip}/{network.underlay_prefix}", network.mtu,
        str(site.layout.data("openvswitch") / "underlay.json"),
    )  # fmt: skip


def all_bridges(site: Site) -> list[str]:
    """Return every bridge of the site, those that the agent makes included."""
    names = [*bridges(site), site.layout.interface("tun"), *bridge_mappings(site).values()]
    underlay = read_underlay(site)
    return list(dict.fromkeys([*names, *([] if underlay is None else [underlay.bridge])]))


def prepare_database(site: Site) -> None:
    """Make the switch's database if there is none. Raises CommandError."""
    ovs.prepare_database(site, SCHEMA)
    _settings_file(site).write_text(json.dumps(_settings(site), indent=1) + "\n")


def initialize(site: Site) -> None:
    """Set what must stand before the switch starts; in-band control is not there on FreeBSD."""
    ovs.initialize(site)
    forget_dead_taps(site)


def forget_dead_taps(site: Site) -> None:
    """Take ports of guests whose tap is gone out of the switch: a power cut leaves them there.

    libvirt adds a guest's port when it makes the tap; nobody removes that of a
    guest which is on another host by now.
    """
    present = set(interface.list_names())
    for port in vsctl(site, "--no-wait", "--bare", "--columns=name", "list", "Port").split():
        if port.startswith("tap") and port not in present:
            vsctl(site, "--no-wait", "--if-exists", "del-port", port)


def ensure_bridges(site: Site) -> None:
    """Make the bridges, the host's own port on the provider network and the tunnels' bridge; what is there stays.

    :raises CommandError: a command failed
    :raises HostError: the tunnels' interface is not there
    """
    underlay = read_underlay(site)
    made = [*bridges(site), *(name for name in bridge_mappings(site).values() if name not in bridges(site))]
    if underlay is not None:
        if interface.find_interface(underlay.interface) is None:
            raise HostError(f"there is no interface {underlay.interface}: correct network.underlay in site.toml")
        made.append(underlay.bridge)
    for bridge in made:
        vsctl(
            site, "--may-exist", "add-br", bridge, "--", "set", "Bridge", bridge, "datapath_type=netdev",
            "other_config:disable-in-band=true", f'other_config:hwaddr="{bridge_mac(bridge)}"',
        )  # fmt: skip
    wait_until(
        lambda: (set(made) <= set(interface.list_names()), "a bridge has no interface yet"),
        what="ovs-vswitchd to make the bridges", timeout=30, interval=0.05,
    )  # fmt: skip
    if site.has_host_pair:
        _join_host(site)
    if underlay is not None and not _carries(site, underlay):
        freebsd_underlay.take(underlay)
        vsctl(site, "--may-exist", "add-port", underlay.bridge, underlay.interface)
        freebsd_underlay.give_to_bridge(underlay)


def bridge_mac(bridge: str) -> str:
    """Return the MAC address that a bridge keeps: locally administered, and made from its name and the host's.

    Left to itself a bridge takes the lowest universally administered address
    among its ports (vswitchd/bridge.c), such as FreeBSD gives to epairs and
    taps. With every port that comes or goes it would change, the bridge's
    OpenFlow identity with it, and the agent would wait for a switch that is
    no more.
    """
    digest = hashlib.sha256(f"{os.uname().nodename} {bridge}".encode()).hexdigest()
    return ":".join(["02", *(digest[at : at + 2] for at in range(0, 10, 2))])


def _carries(site: Site, underlay: Underlay) -> bool:
    ports = vsctl(site, "list-ports", underlay.bridge).split()
    return underlay.interface in ports and freebsd_underlay.has_address(underlay)


def _join_host(site: Site) -> None:
    near, far = host_pair(site)
    if near in interface.list_names() and far not in interface.list_names():
        # Half of a pair that was torn apart by hand.
        interface.destroy_interface(near, missing_ok=True)
    if near not in interface.list_names():
        vsctl(site, "--if-exists", "del-port", far)
        interface.create_epair(near, far, NO_CHECKSUM_OFFLOAD, NO_CHECKSUM_OFFLOAD)
    mtu = site.description.network.mtu
    for name in (near, far):
        interface.change_interface(name, interface.Settings(mtu=mtu, up=True))
    if not host_is_joined(site):
        interface.add_address(near, provider_gateway(site))
    vsctl(site, "--may-exist", "add-port", bridges(site)[1], far)


def host_is_joined(site: Site) -> bool:
    """Return whether the host has its address on the provider network."""
    found = interface.find_interface(host_pair(site)[0])
    wanted = provider_gateway(site)
    return found is not None and any(f"{item.address}/{item.prefix_length}" == wanted for item in found.addresses)


def link_exists(name: str) -> bool:
    """Return whether the host has an interface of this name."""
    return name in interface.list_names()


def foreign_datapath(layout: Layout) -> str | None:
    """Return what another userspace datapath on this host belongs to, or None."""
    for pid in freebsd_vswitchd.find_running():
        with contextlib.suppress(ProcessNotFound):
            arguments = process.read_arguments(pid)
            if f"unix:{ovs.socket(layout)}" not in arguments:
                return f"ovs-vswitchd (pid {pid}) with {arguments[1] if len(arguments) > 1 else 'its defaults'}"
    return None


def guest_taps(site: Site) -> list[str]:
    """Return the ports of guests and of DHCP on the integration bridge that the host has.

    :raises CommandError: the switch's database does not answer
    """
    ports = vsctl(site, "--no-wait", "list-ports", bridges(site)[0], timeout=5).split()
    present = set(interface.list_names())
    return [port for port in ports if port.startswith("tap") and port in present]


def remove_links(names: Sequence[str]) -> None:
    """Remove interfaces; those that are gone already are no error. With one half of an epair goes the other."""
    for name in names:
        interface.destroy_interface(name, missing_ok=True)


def remove_leftovers(site: Site) -> None:
    """Do nothing: what starts ovs-vswitchd removes them, at every start."""


def dhcp_namespaces(site: Site) -> list[str]:
    """Return this site's jails of networks: those that its DHCP agent keeps files of."""
    known = state_directory(site, "neutron-dhcp-agent") / "dhcp"
    networks = [path.name for path in known.iterdir()] if known.exists() else []
    present = {found.name for found in jail.list_jails()}
    return [f"qdhcp-{network}" for network in networks if f"qdhcp-{network}" in present]


def end_daemons(site: Site) -> None:
    """End dnsmasq and haproxy of this site's networks: they outlive the agents that started them.

    :raises CommandError: one cannot be ended
    """
    places = tuple(f"{state_directory(site, name)}/" for name in NEUTRON_AGENTS)
    for found in process.list_processes():
        program, *words = found.arguments.split() or [""]
        # Some of the words are options with the path behind an equals sign.
        if Path(program).name in DAEMONS and any(word.rpartition("=")[2].startswith(places) for word in words):
            process.stop(found.pid, grace=5.0)


def remove_networks(site: Site, taps: Sequence[str]) -> None:
    """Remove what hangs on the switch, once nothing runs, and give the tunnels' interface back what it had.

    :raises CommandError: something cannot be removed
    """
    end_daemons(site)
    for name in dhcp_namespaces(site):
        remove_links(jail.remove_jail(name))
        with contextlib.suppress(FileNotFoundError):
            Path("/var/run/netns", name).unlink()
    remove_links([*taps, host_pair(site)[0]])
    leftovers = all_bridges(site)
    if foreign_datapath(site.layout) is None:
        leftovers.append(DATAPATH_PORT)
    remove_links(leftovers)
    underlay = read_underlay(site)
    if underlay is not None:
        freebsd_underlay.give_back(underlay)
