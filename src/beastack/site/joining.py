"""Joining a cloud that runs elsewhere: what another host is told, and a look at the cloud before anything is changed.

What a host is told is a description like any other (``site.toml``), so that
one that ``beastack host add`` wrote and one written by hand for a cloud of
somebody else's are the same thing.
"""

from __future__ import annotations

import ipaddress
import json
import socket
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.parse import urlsplit

from beastack.site import data_services
from beastack.site.api import ApiError, Cloud, CloudError
from beastack.site.configuration import Site
from beastack.site.description import Description, Migration, load_description
from beastack.site.resources import hosts_up

#: What every file for another host begins with.
HEADER = "# A host of a cloud, for: beastack join FILE. It holds credentials: keep it to root, and delete copies of it."

#: Mechanism drivers of neutron that a host of ours cannot serve, by what their agents are called.
OTHER_AGENTS = ("ovn-controller", "neutron-linuxbridge-agent")
SWITCH_AGENT = "neutron-openvswitch-agent"

TIMEOUT = 10.0


class JoinError(Exception):
    """The cloud cannot be joined; one line says why and what to do."""


@dataclass(frozen=True)
class NewHost:
    """Another host of this site's cloud, and the credentials that were made for it.

    ``address`` is the host's own, with the length of its prefix; ``interface``
    the one that has it. ``account`` is the user and password of nova-compute.
    """

    name: str
    role: str
    address: ipaddress.IPv4Interface | ipaddress.IPv6Interface
    interface: str | None
    broker_url: str
    account: tuple[str, str] | None
    migration: Migration

    @property
    def roles(self) -> frozenset[str]:
        """The roles, one by one."""
        return frozenset(self.role.split("+"))


Table = dict[str, object]


def describe_host(site: Site, host: NewHost) -> str:
    """Return the description of another host of a site's cloud; it holds what that host's roles need, and no more."""
    network = site.description.network
    tables: dict[str, Table] = {
        "site": {"region": site.description.site.region},
        "host": {"kind": "freebsd", "role": host.role, "name": host.name},
        "messaging": {"url": host.broker_url},
        "control": _control(site, host),
        "ports": {"metadata": site.ports.metadata, "migration": site.ports.migration},
        "network": {
            "project_type": network.project_type, "vlan_range": network.vlan_range, "mtu": network.mtu,
            "dhcp": network.dhcp, "dns": list(network.dns), "provider_cidr": network.provider_cidr,
            "local_ip": str(host.address.ip), "underlay_prefix": host.address.network.prefixlen,
            **({"underlay": host.interface} if host.interface else {}),
        },
    }  # fmt: skip
    if host.migration.is_set:
        tables["migration"] = asdict(host.migration)
    return render(tables)


def _control(site: Site, host: NewHost) -> Table:
    control: Table = {}
    if "network" in host.roles or site.description.network.dhcp == "responder":
        control |= {"address": site.address, "metadata_secret": site.secrets["metadata-proxy"]}
    if host.account is not None:
        control |= {
            "identity_url": site.auth_url, "compute_user": host.account[0], "compute_password": host.account[1],
            "novnc_url": site.novnc_url, "serial_url": site.serial_url,
        }  # fmt: skip
    return control


def render(tables: Mapping[str, Table]) -> str:
    """Return a description's text."""
    lines = [HEADER]
    for name, content in tables.items():
        # JSON's strings, numbers and lists are TOML's as well.
        lines += ["", f"[{name}]", *(f"{key} = {json.dumps(value)}" for key, value in content.items())]
    return "\n".join(lines) + "\n"


def template() -> str:
    """Return a description to be filled in, of a compute host of a cloud that beastack did not make."""
    return render({
        "site": {"region": "RegionOne"},
        "host": {"kind": "freebsd", "role": "compute", "name": "NAME"},
        "messaging": {"url": "rabbit://USER:PASSWORD@BROKER:5672/"},
        "control": {
            "identity_url": "http://ADDRESS:5000/v3",
            "compute_user": "nova", "compute_password": "PASSWORD",
            "network_user": "neutron", "network_password": "PASSWORD",
            "placement_user": "placement", "placement_password": "PASSWORD",
            "project": "service", "domain": "Default",
            "novnc_url": "http://ADDRESS:6080/vnc_lite.html", "serial_url": "ws://ADDRESS:6083/",
        },
        "network": {"local_ip": "ADDRESS-OF-THIS-HOST", "underlay_prefix": 24, "underlay": "em0", "mtu": 1500},
    })  # fmt: skip


def read_file(file: Path) -> Description:
    """Return what a file for another host says.

    :raises DescriptionError: it is no description
    :raises JoinError: it describes something else
    """
    description = load_description(file)
    if description.host.has_control:
        raise JoinError(
            f"{file} describes a host of role {description.host.role}, not one of a cloud elsewhere: join takes a file"
            " that beastack host add wrote, or one like beastack join --template prints"
        )
    return description


# The cloud, as it is seen from here


def service_cloud(site: Site, project: str = "nova") -> Cloud:
    """Return the cloud as nova-compute of this host sees it with the account that it has for a project's API."""
    user, password = site.service_account(project)
    control = site.description.control
    return Cloud(
        site.auth_url, user, password, control.project, control.domain, control.domain,
        region=site.description.site.region, interface="internal", timeout=TIMEOUT,
    )  # fmt: skip


def check_cloud(site: Site, *, joined: bool) -> Iterator[str]:
    """Look whether a host can join a cloud, and tell what was seen, line by line. Changes nothing.

    :param joined: this host has been a part of the cloud before
    :raises JoinError: it cannot
    """
    yield _check_broker(site)
    if site.description.host.has_network:
        yield _check_metadata(site)
    if not site.description.host.has_guests:
        return
    try:
        yield _check_accounts(site)
        yield from _check_hosts(site, joined=joined)
    except CloudError as error:
        raise JoinError(f"the cloud at {site.auth_url} cannot be joined: {error}") from error


def _check_broker(site: Site) -> str:
    answers, seen = data_services.messaging_answers(site)
    url = site.description.messaging.masked_url
    if not answers:
        raise JoinError(
            f"the message broker {url} is not reached: {seen}"
            " (here: messaging.url; on the control host: messaging.listen)"
        )
    return f"the message broker answers: {url}"


def _check_metadata(site: Site) -> str:
    place = (site.metadata_address, site.ports.metadata)
    try:
        socket.create_connection(place, timeout=TIMEOUT).close()
    except OSError as error:
        raise JoinError(
            f"the metadata API at {place[0]} port {place[1]} is not reached: {error.strerror or error}"
            " (control.address, ports.metadata)"
        ) from error
    return f"the metadata API listens at {place[0]} port {place[1]}"


def _check_accounts(site: Site) -> str:
    asked = (
        ("nova", "compute", "/os-services"), ("nova", "image", "/images"), ("neutron", "network", "/agents"),
        ("placement", "placement", "/resource_providers"),
    )  # fmt: skip
    for project, service, path in asked:
        cloud = service_cloud(site, project)
        try:
            cloud.get(service, path, query={"limit": "1"} if service == "image" else None)
        except ApiError as error:
            if error.status != 403:
                raise
            raise JoinError(
                f"the user {cloud.username} may not use {urlsplit(cloud.endpoint(service)).netloc} ({service}):"
                f" give it the roles admin and service in project {cloud.project}"
            ) from error
    return f"the APIs in region {site.description.site.region} answer, and take the credentials"


def _check_hosts(site: Site, *, joined: bool) -> Iterator[str]:
    hosts = hosts_up(service_cloud(site), projects=("compute",))
    taken = [one.binary for one in hosts.compute if one.host == site.hostname and one.alive]
    if taken and not joined:
        raise JoinError(
            f"the cloud has a host {site.hostname} already, which runs {taken[0]}: choose another host.name"
        )
    agents = hosts_up(service_cloud(site, "neutron"), projects=("network",)).network
    alive = {one.binary for one in agents if one.alive}
    if SWITCH_AGENT in alive:
        yield "its networks are Open vSwitch's"
        return
    foreign = next((name for name in OTHER_AGENTS if name in alive), None)
    if foreign is not None:
        raise JoinError(
            f"the cloud's networks are made by {foreign}: a FreeBSD host needs the mechanism driver openvswitch"
            " in neutron's ml2_conf.ini"
        )
    yield "no network agent reports yet: neutron has to have the mechanism driver openvswitch (or openvswitch_netdev)"


def is_mapped(site: Site) -> bool:
    """Return whether a cell of nova has this host, without which no instance is sent here. Raises CloudError."""
    found = service_cloud(site).items("compute", "/os-hypervisors/detail", "hypervisors")
    return any(one["service"]["host"] == site.hostname for one in found)
