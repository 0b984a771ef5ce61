"""Which files each service reads, and their texts."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from beastack.site.configuration import control, neutron, nova, shared
from beastack.site.configuration.shared import PIPELINE, Sections
from beastack.site.configuration.site import Site

#: Each service's configuration file and what renders it.
FILES: Mapping[str, tuple[str, Callable[[Site], Sections]]] = {
    "keystone": ("keystone.conf", control.keystone),
    "glance": ("glance-api.conf", control.glance),
    "placement": ("placement.conf", control.placement),
    "nova-api": ("nova.conf", nova.api),
    "nova-metadata": ("nova.conf", nova.metadata),
    "nova-conductor": ("nova.conf", nova.conductor),
    "nova-scheduler": ("nova.conf", nova.scheduler),
    "nova-compute": ("nova.conf", nova.compute),
    "nova-novncproxy": ("nova.conf", nova.novncproxy),
    "nova-serialproxy": ("nova.conf", nova.serialproxy),
    "neutron-api": ("neutron.conf", neutron.api),
    "neutron-rpc": ("neutron.conf", neutron.rpc),
    "neutron-periodic": ("neutron.conf", neutron.periodic),
    "neutron-ovs-agent": ("neutron.conf", neutron.ovs_agent),
    "neutron-dhcp-agent": ("neutron.conf", neutron.dhcp_agent),
    "neutron-metadata-agent": ("neutron.conf", neutron.metadata_agent),
}


def render_service(site: Site, service: str) -> tuple[str, str]:
    """Return the file name and text of a service's configuration."""
    name, sections = FILES[service]
    return name, shared.render(sections(site))


def render_files(site: Site, service: str) -> dict[str, str]:
    """Return the name and text of every file of a service."""
    files = dict([render_service(site, service)])
    if service == "nova-api":
        files[PIPELINE] = nova.pipeline(site)
    return files
