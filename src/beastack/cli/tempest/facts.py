"""What Tempest is told of a cloud, asked from the cloud."""

from __future__ import annotations

import ipaddress
import re
import socket
from dataclasses import dataclass, field
from typing import Any

from beastack.site.api import Cloud
from beastack.site.configuration import Site
from beastack.site.host import ovs
from beastack.site.operate import SiteError
from beastack.site.steps import FLAVORS, IMAGE_NAME


class TempestFailed(SiteError):
    """Tempest cannot be run; one line says why and what to do."""


@dataclass(frozen=True)
class Facts:
    """What the configuration says of the cloud; asked from it, not assumed.

    ``services`` are the types in the catalogue. ``network`` is the network
    that every project sees, ``external`` its id if it is external,
    ``reachable`` whether this machine is on it. ``hypervisors`` are the kinds
    there are, in small letters, and ``traits`` what all hosts have.
    """

    auth_url: str
    region: str
    password: str = field(repr=False)
    services: frozenset[str]
    image: str
    flavor: str
    other_flavor: str
    network: str
    external: str
    reachable: bool
    extensions: tuple[str, ...]
    compute_version: str
    placement_version: str
    disk_formats: tuple[str, ...]
    container_formats: tuple[str, ...]
    hypervisors: frozenset[str]
    traits: frozenset[str]
    hosts: int


def ask(site: Site, cloud: Cloud) -> Facts:
    """Return the facts of a running cloud.

    :raises TempestFailed: the first image, a flavor or the provider network is gone, or no host runs guests
    :raises CloudError: a service refuses or does not answer
    """
    provider = site.description.network.provider_name
    flavors = [name for name, *_ in FLAVORS][:2]
    found = {
        f"the image {IMAGE_NAME}": cloud.find("image", "/images", "images", IMAGE_NAME),
        **{f"the flavor {name}": cloud.find("compute", "/flavors", "flavors", name) for name in flavors},
        f"the network {provider}": cloud.find("network", "/networks", "networks", provider),
    }
    gone = [what for what, one in found.items() if one is None]
    if gone:
        raise TempestFailed(f"{gone[0]} is gone, and Tempest needs it: make it again, or destroy the site and up")
    image, flavor, other, network = (one for one in found.values() if one is not None)
    schema = cloud.get("image", "/schemas/image")["properties"]
    hypervisors = [
        one for one in cloud.items("compute", "/os-hypervisors/detail", "hypervisors")
        if (one["state"], one["status"]) == ("up", "enabled")
    ]  # fmt: skip
    if not hypervisors:
        raise TempestFailed("no host runs guests, and Tempest's tests make some: bring a host with guests up")
    return Facts(
        auth_url=site.auth_url,
        region=site.description.site.region,
        password=site.secrets["admin"],
        services=frozenset(one["type"] for one in cloud.items("identity", "/services", "services")),
        image=image["id"],
        flavor=flavor["id"],
        other_flavor=other["id"],
        network=provider,
        external=network["id"] if network.get("router:external") else "",
        reachable=has_address(str(ipaddress.ip_interface(ovs.provider_gateway(site)).ip)),
        extensions=tuple(sorted(one["alias"] for one in cloud.items("network", "/extensions", "extensions"))),
        compute_version=_newest(cloud.get("compute", "/")["version"]["version"]),
        placement_version=_newest(cloud.get("placement", "/")["versions"][0]["max_version"]),
        disk_formats=_choices(schema, "disk_format", "raw"),
        container_formats=_choices(schema, "container_format", "bare"),
        hypervisors=frozenset(str(one["hypervisor_type"]).lower() for one in hypervisors),
        traits=_common_traits(cloud, hypervisors),
        hosts=len(hypervisors),
    )


def has_address(address: str) -> bool:
    """Return whether this machine has an address: only then can it be bound to."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((address, 0))
        except OSError:
            return False
    return True


def _common_traits(cloud: Cloud, hypervisors: list[dict[str, Any]]) -> frozenset[str]:
    """Return the traits that every host has; a host's resource provider bears its name."""
    found = cloud.items("placement", "/resource_providers", "resource_providers")
    providers = {one["name"]: one["uuid"] for one in found}
    each = []
    for name in (one["hypervisor_hostname"] for one in hypervisors):
        answer = cloud.get("placement", f"/resource_providers/{providers[name]}/traits", microversion="1.6")
        each.append(frozenset(answer["traits"]))
    return frozenset.intersection(*each)


def _newest(version: str) -> str:
    if re.fullmatch(r"\d+\.\d+", version) is None:
        raise TempestFailed(f"a service names {version!r} as its newest microversion, which is none")
    return version


def _choices(schema: dict[str, dict[str, list[str | None]]], name: str, common: str) -> tuple[str, ...]:
    """Return what a property may be, the common choice first: Tempest makes its images of the first."""
    choices = [choice for choice in schema[name]["enum"] if choice is not None]
    return tuple(sorted(choices, key=lambda choice: choice != common))
