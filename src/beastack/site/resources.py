"""What a fresh cloud needs in it before it is of use, made sure of one by one.

Every ``ensure_`` function looks first, makes only what is missing, and says
what it did; run again, it changes nothing. What exists but differs is
corrected where the site owns it (the service catalogue, service passwords),
and otherwise left alone with a note: an operator may have meant it.

All of them raise what ``Cloud.request`` raises; further errors are named.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from beastack.site.api import ApiError, ApiUnreachable, Cloud, CloudError, Progress
from beastack.site.wait import wait_until

# One version for all calls to nova: the answers keep their form across its
# upgrades. Every release the site supports has it.
COMPUTE_API = "2.96"
ENDPOINT_INTERFACES = ("admin", "internal", "public")
HASH_PROPERTY = "beastack_sha256"
JSON_PATCH = "application/openstack-images-v2.1-json-patch"
# More than glance's default page of 25, and its upper limit by default.
IMAGE_PAGE = "1000"
# States in which an image has no data and, once its upload is dead, never will.
UNFINISHED_IMAGE = frozenset({"queued", "saving", "uploading", "importing", "killed"})
# Bytes of a file that are read at a time to hash it.
HASH_BLOCK = 1024 * 1024

Object = dict[str, Any]


class ResourceError(Exception):
    """A resource of the cloud is in a state that more waiting or asking will not mend."""


@dataclass(frozen=True)
class Ensured:
    """What an ensure function found or made.

    ``created`` is true when the object did not exist before; ``changed``
    when an existing one was corrected or completed. ``note`` says in one
    line what was corrected, or what differs and was left as it is.
    """

    id: str
    created: bool
    changed: bool = False
    note: str = ""


@dataclass(frozen=True)
class CatalogService:
    """A service as the catalogue should have it; ``url`` serves all interfaces."""

    name: str
    type: str
    description: str
    url: str


@dataclass(frozen=True)
class SecurityRule:
    """Traffic a security group lets in, from anywhere. Ports are inclusive."""

    ethertype: str
    protocol: str
    port_min: int | None = None
    port_max: int | None = None


PING_AND_SSH = (
    SecurityRule("IPv4", "icmp"),
    SecurityRule("IPv6", "ipv6-icmp"),
    SecurityRule("IPv4", "tcp", 22, 22),
    SecurityRule("IPv6", "tcp", 22, 22),
)


@dataclass(frozen=True)
class HostService:
    """One service of one host, as its controller sees it."""

    host: str
    binary: str
    alive: bool
    enabled: bool
    #: When it last reported: UTC, as YYYY-MM-DD HH:MM:SS; empty when never.
    reported: str = ""


@dataclass(frozen=True)
class HostsUp:
    """Nova's services and neutron's agents, for knowing when hosts are ready."""

    compute: tuple[HostService, ...]
    network: tuple[HostService, ...]

    def missing(self, wanted: Sequence[tuple[str, str]], since: str = "") -> list[tuple[str, str]]:
        """Return those of the wanted (host, binary) pairs that are not alive, or have not reported since.

        A service counts as alive for a while after its last report: one that
        was stopped and is only starting again looks alive. ``since`` is UTC,
        as YYYY-MM-DD HH:MM:SS.
        """
        alive = {
            (one.host, one.binary) for one in (*self.compute, *self.network) if one.alive and one.reported >= since
        }
        return [pair for pair in wanted if pair not in alive]


# Identity.


def ensure_catalog(cloud: Cloud, services: Sequence[CatalogService]) -> dict[str, Ensured]:
    """Make the catalogue name these services at these URLs in the cloud's region.

    Endpoints of another URL are corrected, services of other types and
    endpoints of other regions are left alone.

    :returns: for each service type, the service
    """
    _ensure_region(cloud)
    known = cloud.items("identity", "/services", "services")
    endpoints = cloud.items("identity", "/endpoints", "endpoints", {"region_id": cloud.region})
    done = {wanted.type: _ensure_catalog_service(cloud, wanted, known, endpoints) for wanted in services}
    if any(one.created or one.changed for one in done.values()):
        # The catalogue came with the token, and is now the old one.
        cloud.refresh()
    return done


def _ensure_region(cloud: Cloud) -> None:
    path = f"/regions/{quote(cloud.region, safe='')}"
    if cloud.get("identity", path, ok=(200, 404)) is None:
        cloud.post("identity", "/regions", {"region": {"id": cloud.region}})


def _ensure_catalog_service(
    cloud: Cloud, wanted: CatalogService, known: Sequence[Object], endpoints: Sequence[Object]
) -> Ensured:
    service = next((one for one in known if one["type"] == wanted.type), None)
    created = service is None
    if service is None:
        body = {"name": wanted.name, "type": wanted.type, "description": wanted.description}
        service = _made(cloud, "identity", "/services", "service", body)
    corrected = []
    for interface in ENDPOINT_INTERFACES:
        existing = [
            one
            for one in endpoints
            if (one["service_id"], one["interface"], one.get("region_id")) == (service["id"], interface, cloud.region)
        ]
        if not existing:
            body = {"service_id": service["id"], "interface": interface, "region_id": cloud.region}
            _made(cloud, "identity", "/endpoints", "endpoint", {**body, "url": wanted.url})
            corrected.append(f"{interface} endpoint added")
        # Should there be two, clients may take either: both are corrected.
        for one in existing:
            if one["url"] != wanted.url or not one.get("enabled", True):
                change = {"endpoint": {"url": wanted.url, "enabled": True}}
                cloud.patch("identity", f"/endpoints/{one['id']}", change)
                corrected.append(f"{interface} endpoint was {one['url']}")
    if created:
        return Ensured(service["id"], True)
    return Ensured(service["id"], False, bool(corrected), "; ".join(corrected))


def ensure_project(cloud: Cloud, name: str, *, description: str = "", domain_id: str = "default") -> Ensured:
    """Make a project of this name exist in the domain.

    :raises AmbiguousName: never in a healthy cloud; names are unique in a domain
    """
    found = cloud.find("identity", "/projects", "projects", name, domain_id=domain_id)
    if found is not None:
        return Ensured(found["id"], False)
    body = {"name": name, "description": description, "domain_id": domain_id}
    return Ensured(_made(cloud, "identity", "/projects", "project", body)["id"], True)


def ensure_role(cloud: Cloud, name: str) -> Ensured:
    """Make a role of this name exist, in no domain."""
    found = cloud.find("identity", "/roles", "roles", name)
    if found is not None:
        return Ensured(found["id"], False)
    return Ensured(_made(cloud, "identity", "/roles", "role", {"name": name})["id"], True)


def ensure_user(
    cloud: Cloud,
    name: str,
    password: str,
    *,
    project_id: str,
    roles: Sequence[str] = ("member",),
    domain_id: str = "default",
) -> Ensured:
    """Make a user exist with this password and these roles in the project.

    An existing user whose password does not authenticate gets this one, and
    is enabled. Roles the user has beyond these stay.
    """
    found = cloud.find("identity", "/users", "users", name, domain_id=domain_id)
    corrected = []
    if found is None:
        body = {"name": name, "password": password, "domain_id": domain_id, "enabled": True}
        user_id = _made(cloud, "identity", "/users", "user", body)["id"]
    else:
        user_id = found["id"]
        if not cloud.password_works(name, password):
            change = {"user": {"password": password, "enabled": True}}
            cloud.patch("identity", f"/users/{user_id}", change)
            corrected.append("password set")
    query = {"user.id": user_id, "scope.project.id": project_id}
    assigned = cloud.items("identity", "/role_assignments", "role_assignments", query)
    held = {one["role"]["id"] for one in assigned}
    for role in roles:
        role_id = ensure_role(cloud, role).id
        if role_id not in held:
            cloud.put("identity", f"/projects/{project_id}/users/{user_id}/roles/{role_id}")
            corrected.append(f"role {role} given")
    if found is None:
        return Ensured(user_id, True)
    return Ensured(user_id, False, bool(corrected), "; ".join(corrected))


def ensure_service_user(
    cloud: Cloud,
    name: str,
    password: str,
    roles: Sequence[str] = ("admin", "service"),
    project: str = "service",
) -> Ensured:
    """Make a service's own user exist, with its roles in the services' project."""
    project_id = ensure_project(cloud, project, description="the services' own users").id
    return ensure_user(cloud, name, password, project_id=project_id, roles=roles)


# Compute: what servers are made of.


def ensure_flavor(cloud: Cloud, name: str, vcpus: int, ram_mb: int, disk_gb: int) -> Ensured:
    """Make a public flavor of this name exist.

    One that exists with other sizes is left as it is, with a note: servers
    were made with it.

    :param ram_mb: memory in MiB
    :param disk_gb: root disk in GiB; 0 is the image's own size
    """
    wanted = {"vcpus": vcpus, "ram": ram_mb, "disk": disk_gb}
    flavors = cloud.items("compute", "/flavors/detail", "flavors", {"is_public": "None"}, COMPUTE_API)
    found = next((one for one in flavors if one["name"] == name), None)
    if found is not None:
        return Ensured(found["id"], False, note=_differences(found, wanted))
    made = _made(cloud, "compute", "/flavors", "flavor", {"name": name, **wanted}, COMPUTE_API)
    return Ensured(made["id"], True)


def ensure_keypair(cloud: Cloud, name: str, public_key: str) -> Ensured:
    """Make the cloud's user have this public key under this name.

    A key pair belongs to a user: the cloud must be that user's. Another key
    of the same name is replaced; servers keep the key they were made with.

    :returns: with the name as the id, as nova has it
    """
    path = f"/os-keypairs/{quote(name, safe='')}"
    answer = cloud.get("compute", path, ok=(200, 404), microversion=COMPUTE_API)
    if answer is not None:
        if _key_material(answer["keypair"]["public_key"]) == _key_material(public_key):
            return Ensured(name, False)
        cloud.delete("compute", path, microversion=COMPUTE_API)
    body = {"name": name, "public_key": public_key}
    _made(cloud, "compute", "/os-keypairs", "keypair", body, COMPUTE_API)
    if answer is not None:
        return Ensured(name, False, True, "the public key was another one")
    return Ensured(name, True)


def _key_material(public_key: str) -> list[str]:
    """Return a public key without its comment, which means nothing."""
    return public_key.split()[:2]


# Network.


def ensure_network(
    cloud: Cloud,
    name: str,
    *,
    project_id: str | None = None,
    network_type: str,
    physical_network: str | None = None,
    segmentation_id: int | None = None,
    shared: bool = False,
    external: bool = False,
    port_security: bool = True,
) -> Ensured:
    """Make a network of this name exist in a project (the cloud's own by default).

    One that exists and differs is left as it is, with a note.

    :param network_type: flat, vlan, vxlan, ...
    :param segmentation_id: the VLAN or VXLAN id; None lets neutron choose
    :raises AmbiguousName: the project has several networks of the name
    """
    wanted: Object = {"provider:network_type": network_type}
    if physical_network is not None:
        wanted["provider:physical_network"] = physical_network
    if segmentation_id is not None:
        wanted["provider:segmentation_id"] = segmentation_id
    # The rest is sent only where it is not neutron's default: a neutron
    # without the extension refuses the attribute, whatever its value.
    if shared:
        wanted["shared"] = True
    if external:
        wanted["router:external"] = True
    if not port_security:
        wanted["port_security_enabled"] = False
    owner = project_id or cloud.project_id
    found = cloud.find("network", "/networks", "networks", name, project_id=owner)
    if found is not None:
        return Ensured(found["id"], False, note=_differences(found, wanted))
    body = {"name": name, "project_id": owner, "admin_state_up": True, **wanted}
    return Ensured(_made(cloud, "network", "/networks", "network", body)["id"], True)


def ensure_subnet(
    cloud: Cloud,
    network_id: str,
    name: str,
    cidr: str,
    *,
    gateway: str | None,
    dhcp: bool = True,
    dns: Sequence[str] = (),
    allocation_pool: tuple[str, str] | None = None,
    ip_version: int = 4,
    ipv6_ra_mode: str | None = None,
    ipv6_address_mode: str | None = None,
    project_id: str | None = None,
) -> Ensured:
    """Make a subnet of this name exist on a network.

    One that exists and differs is left as it is, with a note.

    :param gateway: the gateway's address; None for a subnet without one
    :param dns: addresses of the name servers DHCP hands out
    :param allocation_pool: first and last address for ports; None for all
    :param ipv6_ra_mode: slaac, dhcpv6-stateful or dhcpv6-stateless, with
        ``ipv6_address_mode`` alike; both only for IP version 6
    :param project_id: the owner; the cloud's own project by default
    :raises AmbiguousName: the network has several subnets of the name
    """
    wanted: Object = {
        "cidr": cidr,
        "ip_version": ip_version,
        "gateway_ip": gateway,
        "enable_dhcp": dhcp,
        "dns_nameservers": list(dns),
    }
    if allocation_pool is not None:
        wanted["allocation_pools"] = [{"start": allocation_pool[0], "end": allocation_pool[1]}]
    if ipv6_ra_mode is not None:
        wanted["ipv6_ra_mode"] = ipv6_ra_mode
    if ipv6_address_mode is not None:
        wanted["ipv6_address_mode"] = ipv6_address_mode
    found = cloud.find("network", "/subnets", "subnets", name, network_id=network_id)
    if found is not None:
        return Ensured(found["id"], False, note=_differences(found, wanted))
    body = {"name": name, "network_id": network_id, **wanted}
    if project_id is not None:
        body["project_id"] = project_id
    return Ensured(_made(cloud, "network", "/subnets", "subnet", body)["id"], True)


def ensure_dhcp_agent(cloud: Cloud, network_id: str) -> Ensured:
    """Make a network be served by a DHCP agent.

    Neutron chooses one when a subnet is made, and does not come back to it
    when none was alive just then.

    :raises ResourceError: no DHCP agent is alive
    """
    serving = cloud.items("network", f"/networks/{network_id}/dhcp-agents", "agents")
    if serving:
        return Ensured(serving[0]["id"], False)
    agents = cloud.items("network", "/agents", "agents", {"binary": "neutron-dhcp-agent"})
    alive = [agent for agent in agents if agent["alive"] and agent["admin_state_up"]]
    if not alive:
        raise ResourceError("no DHCP agent is alive: see the log of neutron-dhcp-agent")
    cloud.post("network", f"/agents/{alive[0]['id']}/dhcp-networks", {"network_id": network_id}, ok=(201, 409))
    return Ensured(alive[0]["id"], True)


def ensure_security_group_rules(
    cloud: Cloud,
    project_id: str,
    rules: Sequence[SecurityRule] = PING_AND_SSH,
    *,
    group: str = "default",
) -> Ensured:
    """Make a project's security group let this traffic in from anywhere.

    Only missing rules are added; all others stay.

    :raises ResourceError: the project has no such group
    """
    # Asking for a project's groups makes neutron create its default one.
    found = cloud.find("network", "/security-groups", "security_groups", group, project_id=project_id)
    if found is None:
        raise ResourceError(f"project {project_id} has no security group named {group}")
    query = {"security_group_id": found["id"], "direction": "ingress"}
    existing = cloud.items("network", "/security-group-rules", "security_group_rules", query)
    present = {_rule_of(one) for one in existing if _is_from_anywhere(one)}
    added = []
    for rule in rules:
        if rule in present:
            continue
        body = {
            "security_group_id": found["id"],
            "direction": "ingress",
            "ethertype": rule.ethertype,
            "protocol": rule.protocol,
            "port_range_min": rule.port_min,
            "port_range_max": rule.port_max,
        }
        _made(cloud, "network", "/security-group-rules", "security_group_rule", body)
        added.append(f"{rule.ethertype} {rule.protocol}")
    note = f"rules added: {', '.join(added)}" if added else ""
    return Ensured(found["id"], False, bool(added), note)


def _rule_of(described: Mapping[str, Any]) -> SecurityRule:
    protocol = str(described.get("protocol"))
    if described.get("ethertype") == "IPv6" and protocol in ("icmp", "icmpv6"):
        # Older names, which neutron still lists as they were given.
        protocol = "ipv6-icmp"
    return SecurityRule(
        str(described.get("ethertype")),
        protocol,
        described.get("port_range_min"),
        described.get("port_range_max"),
    )


def _is_from_anywhere(described: Mapping[str, Any]) -> bool:
    if described.get("remote_group_id") or described.get("remote_address_group_id"):
        return False
    return described.get("remote_ip_prefix") in (None, "0.0.0.0/0", "::/0")


# Images.


def ensure_image(
    cloud: Cloud,
    name: str,
    path: Path,
    disk_format: str,
    container_format: str = "bare",
    properties: Mapping[str, str] | None = None,
    *,
    sha256: str,
    progress: Progress | None = None,
) -> Ensured:
    """Make a public image of this name with this content exist.

    Name and content together say which image is meant. What a killed run
    left without data is deleted. Older content that the site uploaded under
    the name is hidden from lists: servers may still be made of it.

    :param sha256: the file's SHA-256 in hex
    :param progress: called with the bytes sent so far and the total
    :raises ResourceError: the file's content is not what ``sha256`` says, or
        the image did not become active
    :raises UploadError: the file could not be read to its end
    """
    # Only the own project's: another's image of the name is not ours to judge.
    query = {"name": name, "owner": cloud.project_id, "limit": IMAGE_PAGE}
    namesakes = [one for one in cloud.items("image", "/images", "images", query) if one["name"] == name]
    for image in namesakes:
        if image["status"] == "active" and _has_content(image, path, sha256):
            return Ensured(image["id"], False, note=_differences(image, properties or {}))
    for image in namesakes:
        # With our mark only: without it, someone may be uploading it just now.
        if image["status"] in UNFINISHED_IMAGE and HASH_PROPERTY in image:
            cloud.delete("image", f"/images/{image['id']}", ok=(204, 404))
    body = {
        "name": name,
        "disk_format": disk_format,
        "container_format": container_format,
        "visibility": "public",
        **(properties or {}),
        HASH_PROPERTY: sha256,
    }
    made = cloud.post("image", "/images", body)
    with _deleted_on_failure(cloud, made["id"]):
        _fill_image(cloud, made["id"], path, sha256, progress)
    for image in namesakes:
        if image["status"] == "active" and HASH_PROPERTY in image:
            _hide_image(cloud, image["id"])
    return Ensured(made["id"], True)


def _fill_image(cloud: Cloud, image_id: str, path: Path, sha256: str, progress: Progress | None) -> None:
    sent = cloud.upload("image", f"/images/{image_id}/file", path, progress=progress)
    if sent != sha256:
        raise ResourceError(f"{path} is not the file it should be: its SHA-256 is {sent}, not {sha256}")
    status = cloud.get("image", f"/images/{image_id}")["status"]
    if status != "active":
        raise ResourceError(f"image {image_id} is {status} after its upload: see beastack logs glance-api")


@contextlib.contextmanager
def _deleted_on_failure(cloud: Cloud, image_id: str) -> Iterator[None]:
    try:
        yield
    except BaseException:
        # If this fails too, the next run finds the image by our mark.
        with contextlib.suppress(CloudError):
            cloud.delete("image", f"/images/{image_id}", ok=(204, 404))
        raise


def _hide_image(cloud: Cloud, image_id: str) -> None:
    change = [{"op": "replace", "path": "/os_hidden", "value": True}]
    cloud.patch("image", f"/images/{image_id}", change, headers={"Content-Type": JSON_PATCH})


def _has_content(image: Mapping[str, Any], path: Path, sha256: str) -> bool:
    """Say whether an active image holds the file's content."""
    if HASH_PROPERTY in image:
        return bool(image[HASH_PROPERTY] == sha256)
    algorithm, value = str(image.get("os_hash_algo")), image.get("os_hash_value")
    if algorithm == "sha256":
        return bool(value == sha256)
    if algorithm not in hashlib.algorithms_guaranteed or image.get("size") != path.stat().st_size:
        return False
    # Uploaded by other means; worth reading the file to save an upload.
    digest = hashlib.new(algorithm)
    with path.open("rb") as file:
        while block := file.read(HASH_BLOCK):
            digest.update(block)
    return digest.hexdigest() == value


# Servers.


def ensure_server(
    cloud: Cloud,
    name: str,
    flavor_id: str,
    image_id: str,
    network_ids: Sequence[str],
    key_name: str | None,
    user_data: str | bytes | None = None,
    config_drive: bool = False,
) -> Ensured:
    """Make a server of this name exist in the cloud's project; see wait_for_server.

    One that exists is left as it is, whatever its state.

    :raises ResourceError: there are several of the name
    """
    # Nova takes the name for a pattern.
    query = {"name": f"^{re.escape(name)}$"}
    servers = cloud.items("compute", "/servers", "servers", query, COMPUTE_API)
    namesakes = [one for one in servers if one["name"] == name]
    if len(namesakes) > 1:
        raise ResourceError(f"there are {len(namesakes)} servers named {name}; expected one at most")
    if namesakes:
        return Ensured(namesakes[0]["id"], False)
    body: Object = {
        "name": name,
        "flavorRef": flavor_id,
        "imageRef": image_id,
        "networks": [{"uuid": network_id} for network_id in network_ids],
        "config_drive": config_drive,
    }
    if key_name is not None:
        body["key_name"] = key_name
    if user_data is not None:
        raw = user_data.encode() if isinstance(user_data, str) else user_data
        body["user_data"] = base64.b64encode(raw).decode()
    return Ensured(_made(cloud, "compute", "/servers", "server", body, COMPUTE_API)["id"], True)


def remove_stillborn_server(cloud: Cloud, name: str) -> bool:
    """Delete a server of this name that failed before it ever ran; return whether there was one.

    :raises WaitTimeout: it is still there after a minute
    """
    servers = cloud.items("compute", "/servers/detail", "servers", microversion=COMPUTE_API)
    failed = [
        str(server["id"])
        for server in servers
        if server["name"] == name and server["status"] == "ERROR" and not server["OS-SRV-USG:launched_at"]
    ]
    for server_id in failed:
        cloud.delete("compute", f"/servers/{server_id}", ok=(204, 404))
    wait_until(
        lambda: (all(_read_server(cloud, one)["status"] == "DELETED" for one in failed), "it is still there"),
        what=f"the failed server {name} to be deleted",
        timeout=60,
    )
    return bool(failed)


def wait_for_server(
    cloud: Cloud,
    server_id: str,
    wanted: Sequence[str] = ("ACTIVE",),
    *,
    timeout: float,
    progress: Callable[[str], None] | None = None,
) -> Object:
    """Wait until a server has one of the wanted states, and return it as nova shows it.

    A server that no longer exists counts as DELETED; if that is wanted, the
    dict returned has its id and status alone. A nova that restarts
    meanwhile is waited for.

    :param timeout: the limit in seconds
    :param progress: called with the state in a few words when it changes
    :raises ResourceError: the server is in ERROR, or gone, and that was not wanted
    :raises WaitTimeout: the limit passed
    """
    server: Object = {}
    told = ""

    def reached() -> tuple[bool, str]:
        nonlocal server, told
        try:
            server = _read_server(cloud, server_id)
        except (ApiError, ApiUnreachable) as error:
            if isinstance(error, ApiError) and error.status < 500:
                raise
            return False, str(error)
        task = server.get("OS-EXT-STS:task_state")
        seen = f"{server['status']} ({task})" if task else str(server["status"])
        if progress is not None and seen != told:
            progress(seen)
        told = seen
        if server["status"] not in wanted and server["status"] in ("ERROR", "DELETED"):
            raise ResourceError(_server_failure(server))
        return server["status"] in wanted, seen

    wait_until(reached, what=f"server {server_id} to be {' or '.join(wanted)}", timeout=timeout)
    return server


def _read_server(cloud: Cloud, server_id: str) -> Object:
    answer = cloud.get("compute", f"/servers/{server_id}", ok=(200, 404), microversion=COMPUTE_API)
    server: Object = {"id": server_id, "status": "DELETED"} if answer is None else answer["server"]
    return server


def _server_failure(server: Mapping[str, Any]) -> str:
    label = f"server {server.get('name', server['id'])}"
    if server["status"] == "DELETED":
        return f"{label} no longer exists"
    fault = server.get("fault", {}).get("message") or "nova gives no reason"
    host = server.get("OS-EXT-SRV-ATTR:host")
    # Without a host it never left the scheduler, or the conductor gave up on it.
    logs = f"beastack logs nova-compute (host {host})" if host else "beastack logs nova-scheduler"
    return f"{label} is in ERROR: {' '.join(fault.split())}; see {logs} and openstack server event list {server['id']}"


def get_console_url(cloud: Cloud, server_id: str, kind: str) -> str:
    """Return a URL for a server's console. It lets whoever has it in: not for logs.

    :param kind: ``novnc`` or ``serial``
    """
    protocol = {"novnc": "vnc", "serial": "serial"}[kind]
    body = {"remote_console": {"protocol": protocol, "type": kind}}
    path = f"/servers/{server_id}/remote-consoles"
    answer = cloud.post("compute", path, body, microversion=COMPUTE_API)
    return str(answer["remote_console"]["url"])


def get_console_output(cloud: Cloud, server_id: str, lines: int | None = None) -> str:
    """Return what a server wrote on its serial console.

    :param lines: how many lines from the end; None for all there is
    """
    options = {} if lines is None else {"length": lines}
    body = {"os-getConsoleOutput": options}
    answer = cloud.post("compute", f"/servers/{server_id}/action", body, microversion=COMPUTE_API)
    return str(answer["output"] or "")


# Hosts.


def hosts_up(cloud: Cloud, *, projects: Collection[str] = ("compute", "network")) -> HostsUp:
    """Return nova's services and neutron's agents, and which are alive.

    :param projects: whose API is asked; the other's list is empty
    """
    asked = "compute" in projects
    services = cloud.items("compute", "/os-services", "services", microversion=COMPUTE_API) if asked else []
    agents = cloud.items("network", "/agents", "agents") if "network" in projects else []
    return HostsUp(
        compute=tuple(
            HostService(
                one["host"], one["binary"], one["state"] == "up", one["status"] == "enabled",
                _second(one.get("updated_at")),
            )
            for one in services
        ),
        network=tuple(
            HostService(
                one["host"], one["binary"], bool(one["alive"]), bool(one["admin_state_up"]),
                _second(one.get("heartbeat_timestamp")),
            )
            for one in agents
        ),
    )  # fmt: skip


def _second(stamp: str | None) -> str:
    """Return a time stamp of either project in one form, to the second."""
    return (stamp or "").replace("T", " ").partition(".")[0]


# Shared by all of the above.


def _made(cloud: Cloud, service: str, path: str, key: str, body: Object, microversion: str | None = None) -> Object:
    """Create an object and return it; both ways it is wrapped in its key."""
    answer = cloud.post(service, path, {key: body}, microversion=microversion)
    made: Object = answer[key]
    return made


def _differences(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> str:
    """Say in what an existing object differs from what was wanted; empty if in nothing."""
    different = [
        f"{name} is {found.get(name)}, not {value}" for name, value in wanted.items() if found.get(name) != value
    ]
    return f"left as it is, though {'; '.join(different)}" if different else ""
