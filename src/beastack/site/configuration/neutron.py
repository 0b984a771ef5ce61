"""Configuration of neutron's services and agents."""

from __future__ import annotations

from pathlib import Path

from beastack.site.configuration import shared
from beastack.site.configuration.shared import Sections
from beastack.site.configuration.site import Site

#: Agents that keep files of their own; on FreeBSD each runs as a user of its own.
NEUTRON_AGENTS = ("neutron-ovs-agent", "neutron-dhcp-agent", "neutron-metadata-agent")


def state_directory(site: Site, service: str) -> Path:
    """Return the directory that a service of neutron keeps its state in."""
    return site.layout.data(service if site.is_freebsd and service in NEUTRON_AGENTS else "neutron")


def _neutron(site: Site, service: str) -> Sections:
    network = site.description.network
    return shared.merge(
        shared.common(site, service),
        shared.messaging(site),
        {
            "DEFAULT": {
                "host": site.hostname,
                "state_path": state_directory(site, service),
                "core_plugin": "ml2",
                "service_plugins": "",
                "global_physnet_mtu": network.mtu,
                "dns_domain": "cloud.internal.",
                "api_workers": 1,
                "rpc_workers": 1,
                "rpc_state_report_workers": 0,
                "agent_down_time": 45,
                # Names are given out by dnsmasq; nova is told of ports as they come up.
                "notify_nova_on_port_status_changes": True,
                "notify_nova_on_port_data_changes": True,
            },
            "AGENT": {"root_helper": "", "report_interval": 10},
            "ml2": {
                "type_drivers": "flat,vlan,vxlan",
                "project_network_types": network.project_type,
                "mechanism_drivers": "openvswitch_netdev",
                "extension_drivers": "port_security",
                "path_mtu": network.mtu,
            },
            "ml2_type_flat": {"flat_networks": "provider"},
            "ml2_type_vlan": {"network_vlan_ranges": f"provider:{network.vlan_range}"},
            "ml2_type_vxlan": {"vni_ranges": "1:65535"},
            "securitygroup": {"firewall_driver": "openvswitch", "enable_ipset": False, "enable_security_group": True},
        },
        # The agent in the switch answers instead: nothing is scheduled, and nothing waits for it.
        {"DEFAULT": {"enable_traditional_dhcp": False}} if _has_responder(site) else {},
    )


def _has_responder(site: Site) -> bool:
    return site.is_freebsd and site.description.network.dhcp == "responder"


def _neutron_server(site: Site, service: str) -> Sections:
    return shared.merge(
        _neutron(site, service),
        shared.database(site, "neutron", "neutron"),
        shared.token_check(site, "neutron"),
        {
            "DEFAULT": {"api_paste_config": site.layout.venv / "etc/neutron/api-paste.ini"},
            "nova": shared.credentials(site, "nova"),
            "placement": shared.credentials(site, "neutron"),
        },
    )


def api(site: Site) -> Sections:
    """Return neutron.conf of the API."""
    return _neutron_server(site, "neutron-api")


def rpc(site: Site) -> Sections:
    """Return neutron.conf of the RPC server (neutron-db-manage uses it too)."""
    return _neutron_server(site, "neutron-rpc")


def periodic(site: Site) -> Sections:
    """Return neutron.conf of the periodic workers."""
    return _neutron_server(site, "neutron-periodic")


def bridge_mappings(site: Site) -> dict[str, str]:
    """Return the bridges behind the physical networks' names."""
    mappings = {"provider": site.layout.interface("ext")} if site.has_provider else {}
    if _has_responder(site):
        # Upstream's name for the bridge that requests for metadata leave by.
        mappings["meta"] = site.layout.interface("meta")
    return mappings


def _ovs(site: Site) -> Sections:
    return {
        "OVS": {
            "datapath_type": "netdev",
            "integration_bridge": site.layout.interface("int"),
            "tunnel_bridge": site.layout.interface("tun"),
            "int_peer_patch_port": "patch-tun",
            "tun_peer_patch_port": "patch-int",
            "bridge_mappings": ",".join(f"{name}:{bridge}" for name, bridge in bridge_mappings(site).items()),
            "ovsdb_connection": site.ovsdb,
            "of_listen_address": "127.0.0.1",
            "of_listen_port": site.ports.openflow,
            "local_ip": site.description.network.local_ip,
        }
    }


def ovs_agent(site: Site) -> Sections:
    """Return neutron.conf of the Open vSwitch agent."""
    return shared.merge(
        _neutron(site, "neutron-ovs-agent"),
        _ovs(site),
        {
            "AGENT": {
                "tunnel_types": "vxlan",
                "arp_responder": False,
                "l2_population": False,
                "extensions": ",".join(_agent_extensions(site)),
            }
        },
        _freebsd_ovs_agent(site) if site.is_freebsd else {},
        shared.privsep(
            site,
            ("privsep", "privsep_ovs_vsctl", "privsep_namespace", "privsep_conntrack", "privsep_link"),
        ),
    )


def _agent_extensions(site: Site) -> tuple[str, ...]:
    if not site.is_freebsd:
        return ("beastack_raise_tap",)
    responder = ("dhcp", "metadata_path") if _has_responder(site) else ()
    return ("beastack_reopen_port", *responder)


def _freebsd_ovs_agent(site: Site) -> Sections:
    """Return what the Open vSwitch agent needs otherwise on FreeBSD."""
    return {
        "securitygroup": {"firewall_driver": "beastack_openvswitch"},
        # Only the extension for metadata reads this section.
        "METADATA": {
            "nova_metadata_host": site.metadata_address,
            "nova_metadata_port": site.ports.metadata,
            "metadata_proxy_shared_secret": site.metadata_secret,
        } if _has_responder(site) else {},
    }  # fmt: skip


def dhcp_agent(site: Site) -> Sections:
    """Return neutron.conf of the DHCP agent."""
    return shared.merge(
        _neutron(site, "neutron-dhcp-agent"),
        _ovs(site),
        {
            "DEFAULT": {
                "interface_driver": "openvswitch",
                "dhcp_driver": "neutron.agent.linux.dhcp.Dnsmasq",
                "enable_isolated_metadata": True,
                "force_metadata": True,
                "dnsmasq_dns_servers": ",".join(site.description.network.dns),
                "dhcp_confs": state_directory(site, "neutron-dhcp-agent") / "dhcp",
                "metadata_proxy_socket": site.layout.run("neutron-metadata-agent") / "metadata.sock",
                "kill_scripts_path": site.layout.etc("neutron-dhcp-agent") / "kill-scripts",
                # A veth pair outlives a restart of ovs-vswitchd; an internal port of the
                # userspace datapath is made anew, outside the namespace it was moved to.
                "ovs_use_veth": True,
                "resync_interval": 5,
            }
        },
        {
            "DEFAULT": {
                "interface_driver": "beastack_epair",
                "dhcp_driver": "beastack.port.neutron.dhcp_driver.Dnsmasq",
                "ovs_use_veth": False,
            },
            # How soon a dnsmasq or haproxy that ended is started again.
            "AGENT": {"check_child_processes_interval": 10},
        }
        if site.is_freebsd
        else {},
        shared.privsep(
            site,
            ("privsep", "privsep_dhcp_release", "privsep_ovs_vsctl", "privsep_namespace", "privsep_conntrack",
             "privsep_link"),
        ),
    )  # fmt: skip


def metadata_agent(site: Site) -> Sections:
    """Return neutron.conf of the metadata agent."""
    return shared.merge(
        _neutron(site, "neutron-metadata-agent"),
        {
            "DEFAULT": {
                "nova_metadata_host": site.metadata_address,
                "nova_metadata_port": site.ports.metadata,
                "metadata_proxy_shared_secret": site.metadata_secret,
                "metadata_proxy_socket": site.layout.run("neutron-metadata-agent") / "metadata.sock",
                "metadata_proxy_socket_mode": "all",
                "metadata_workers": 0,
            }
        },
        shared.privsep(site, ("privsep",)),
    )
