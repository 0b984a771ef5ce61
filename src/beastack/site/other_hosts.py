"""The other hosts of this site's cloud: credentials and a description for each, a list of them, and an end.

Runs on the control host.  Each host with guests gets a service user of its
own and, on the site's own broker, a broker user of its own; with them a host
that was removed can do nothing any more.
"""

from __future__ import annotations

import contextlib
import ipaddress
import json
import os
import re
import secrets as random_source
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from beastack.site import certificates, data_services, joining, resources, secrets
from beastack.site import host as hosts
from beastack.site.api import Cloud
from beastack.site.certificates import Certificate
from beastack.site.configuration import Site
from beastack.site.description import Migration
from beastack.site.joining import NewHost
from beastack.site.layout import Layout
from beastack.site.members import Member, OtherHostError, read_members, registry
from beastack.site.resources import COMPUTE_API, HostService
from beastack.site.wait import wait_until

#: What a host that is added may do: the control plane is on this one.
ROLES = ("compute", "network", "network+compute")

#: Seconds until the APIs call a service dead that stopped reporting (service_down_time, agent_down_time), and some.
SILENT_AFTER = 90.0


@dataclass(frozen=True)
class Seen:
    """A host as the cloud sees it: how many of its services there are and report, and how many instances it has."""

    name: str
    role: str
    address: str
    state: str
    services: int
    alive: int
    instances: int


def description_file(layout: Layout, name: str) -> Path:
    """Return where a host's description is written unless told otherwise."""
    return layout.root / "hosts" / f"{name}.toml"


def _write_members(layout: Layout, members: dict[str, Member]) -> None:
    text = json.dumps({name: asdict(member) for name, member in members.items()}, indent=1) + "\n"
    write_private(registry(layout), text)


def write_private(file: Path, text: str) -> None:
    """Write a file that only its owner reads, whole or not at all."""
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    temporary = file.with_name(f".{file.name}.new")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as stream:
        stream.write(text)
    temporary.chmod(0o600)
    temporary.replace(file)


# Adding


def add(site: Site, cloud: Cloud, name: str, role: str, address: str, interface: str | None, file: Path) -> Path:
    """Make what another host needs, and write its description; return the file.

    :param address: the other host's, with the length of its prefix
    :param interface: what it calls the interface that has the address
    :raises OtherHostError: something of that is wrong, or this host is not reached by others
    :raises CloudError, CommandError: an API or the broker refused
    """
    _check_name(name)
    if role not in ROLES:
        raise OtherHostError(
            f"another host cannot have the role {role}, as the control plane is here: choose {', '.join(ROLES)}"
        )
    own = _read_address(address)
    members = read_members(site.layout)
    check_listening(site)
    _check_free(site, cloud, members, name, own)
    account, broker_password = _make_credentials(site, cloud, name, role)
    broker_url = _broker_url(site, name, broker_password)
    shown = _make_certificate(site, name, str(own.ip)) if account else Migration()
    text = joining.describe_host(site, NewHost(name, role, own, interface, broker_url, account, shown))
    try:
        write_private(file, text)
    except OSError as error:
        raise OtherHostError(f"{file} cannot be written: {error.strerror or error} (--output)") from error
    _write_members(site.layout, {**members, name: Member(role, str(own), int(time.time()), broker_password)})
    return file


def _check_name(name: str) -> None:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9.-]{0,62}", name):
        raise OtherHostError(
            f"{name!r} cannot be a host's name: letters, digits, dots and dashes, at most 63, a letter or digit first"
        )


def _read_address(text: str) -> ipaddress.IPv4Interface | ipaddress.IPv6Interface:
    try:
        address = ipaddress.ip_interface(text)
    except ValueError:
        raise OtherHostError(f"{text!r} is no address with a prefix, as in 10.0.0.2/24") from None
    if "/" not in text:
        raise OtherHostError(f"{text} lacks the length of its prefix, as in {text}/24")
    if address.is_loopback or address.is_multicast or address.is_unspecified:
        raise OtherHostError(f"{address.ip} is not an address that other hosts reach: give the host's own")
    return address


def check_listening(site: Site) -> None:
    """Check that what other hosts need of this one listens where they reach it.

    :raises OtherHostError: it does not
    """
    description = site.description
    wanted = []
    if ipaddress.ip_address(description.site.bind_address).is_loopback:
        wanted.append("site.bind_address")
    if description.messaging.url is None and ipaddress.ip_address(description.messaging.listen).is_loopback:
        wanted.append("messaging.listen")
    if description.host.has_switch and ipaddress.ip_address(description.network.local_ip).is_loopback:
        wanted.append("network.local_ip (with network.underlay)")
    if wanted:
        raise OtherHostError(
            "other hosts do not reach this one: set"
            f" {', '.join(wanted)} to this host's address in {description.source or site.layout.root / 'site.toml'},"
            " run beastack up, then try again"
        )


def _check_free(
    site: Site, cloud: Cloud, members: dict[str, Member], name: str,
    address: ipaddress.IPv4Interface | ipaddress.IPv6Interface,
) -> None:  # fmt: skip
    if name in members:
        raise OtherHostError(f"there is a host {name} already: choose another name, or beastack host remove {name}")
    if name == site.hostname or any(one.host == name for one in _services_of(cloud)):
        raise OtherHostError(f"the cloud has a host {name} already: choose another name")
    own = {site.address, site.description.network.local_ip}
    users = {str(ipaddress.ip_interface(member.address).ip): other for other, member in members.items()}
    if str(address.ip) in own:
        raise OtherHostError(f"{address.ip} is this host's own address: give the other host's")
    if str(address.ip) in users:
        raise OtherHostError(f"{address.ip} is the address of {users[str(address.ip)]}: give another")


def _make_credentials(site: Site, cloud: Cloud, name: str, role: str) -> tuple[tuple[str, str] | None, str | None]:
    """Return the account of the host's nova-compute, if it has one, and its password at the site's own broker."""
    account = None
    if "compute" in role.split("+"):
        account = (_service_user(name), random_source.token_hex(16))
        resources.ensure_service_user(cloud, *account)
    if site.description.messaging.url is not None:
        return account, None
    password = random_source.token_hex(16)
    data_services.ensure_broker_user(site, _programs(site), name, password)
    return account, password


def _broker_url(site: Site, name: str, password: str | None) -> str:
    if password is None:
        return site.transport_url
    return f"rabbit://{quote(name)}:{password}@{site.broker_host}:{site.ports.messaging}/"


def give_broker_users(site: Site) -> None:
    """Let the hosts that were added use the site's own broker, which is a new one. Raises CommandError."""
    for name, member in read_members(site.layout).items():
        if member.broker_password is not None:
            data_services.ensure_broker_user(site, _programs(site), name, member.broker_password)


def _make_certificate(site: Site, name: str, address: str) -> Migration:
    """Return what a host with guests shows to the others, making the authority, and this host's own, if need be."""
    known = secrets.load_or_make(site.layout.secrets)
    if "migration-authority-key" not in known:
        made = certificates.make_authority()
        secrets.add(site.layout.secrets, {"migration-authority": made.certificate, "migration-authority-key": made.key})
        known = secrets.load_or_make(site.layout.secrets)
    authority = Certificate(known["migration-authority"], known["migration-authority-key"])
    if site.description.host.has_guests and "migration-key" not in known:
        own = certificates.issue(authority, site.hostname, site.host_address)
        secrets.add(site.layout.secrets, {"migration-certificate": own.certificate, "migration-key": own.key})
    issued = certificates.issue(authority, name, address)
    return Migration(authority.certificate, issued.certificate, issued.key)


def _service_user(name: str) -> str:
    return f"nova-{name}"


def _programs(site: Site) -> data_services.Programs:
    programs: data_services.Programs = hosts.module(site.description.host.kind).programs()
    return programs


# Listing


def list_hosts(site: Site, cloud: Cloud) -> list[Seen]:
    """Return this host and those that were added, as the cloud sees them. Raises CloudError."""
    members = read_members(site.layout)
    services = _services_of(cloud)
    instances = [one.get("OS-EXT-SRV-ATTR:host") for one in _all_instances(cloud)]
    rows = [(site.hostname, site.description.host.role, site.host_address)]
    rows += [(name, member.role, member.address.partition("/")[0]) for name, member in members.items()]
    found = []
    for name, role, address in rows:
        own = [one for one in services if one.host == name]
        alive = sum(one.alive for one in own)
        state = (
            "up" if own and alive == len(own) else "down" if own and not alive else "partly up" if own else "awaited"
        )
        found.append(Seen(name, role, address, state, len(own), alive, instances.count(name)))
    return found


def _services_of(cloud: Cloud) -> list[HostService]:
    found = resources.hosts_up(cloud)
    return [*found.compute, *found.network]


def _all_instances(cloud: Cloud, **query: str) -> list[dict[str, Any]]:
    return cloud.items(
        "compute", "/servers/detail", "servers", {"all_tenants": "1", "limit": "1000", **query}, COMPUTE_API
    )


# Removing


def remove(site: Site, cloud: Cloud, name: str, progress: Callable[[str], None]) -> None:
    """Take a host out of the cloud: its services, its agents, its inventory, its credentials.

    :raises OtherHostError: it has instances, or still runs
    :raises CloudError, CommandError: an API or the broker refused
    """
    members = read_members(site.layout)
    if name not in members:
        if name == site.hostname:
            raise OtherHostError(f"{name} is this host: beastack destroy removes the whole cloud")
        known = f"there are: {', '.join(members)}" if members else "none was added"
        raise OtherHostError(f"there is no host {name}; {known}")
    left = _all_instances(cloud, host=name)
    if left:
        raise OtherHostError(
            f"{name} has {len(left)} instance{'s' if len(left) > 1 else ''} ({left[0]['name']}): migrate or delete them"
            f" first; if {name} is lost: openstack server evacuate"
        )
    _await_silence(cloud, name, progress)
    for service in cloud.items("compute", "/os-services", "services", {"host": name}, COMPUTE_API):
        cloud.delete("compute", f"/os-services/{service['id']}", microversion=COMPUTE_API, ok=(204, 404))
    for agent in cloud.items("network", "/agents", "agents", {"host": name}):
        cloud.delete("network", f"/agents/{agent['id']}", ok=(204, 404))
    _remove_provider(cloud, name)
    user = cloud.find("identity", "/users", "users", _service_user(name), domain_id="default")
    if user is not None:
        cloud.delete("identity", f"/users/{user['id']}", ok=(204, 404))
    if site.description.messaging.url is None:
        data_services.remove_broker_user(site, _programs(site), name)
    with contextlib.suppress(FileNotFoundError):
        description_file(site.layout, name).unlink()
    del members[name]
    _write_members(site.layout, members)


def _await_silence(cloud: Cloud, name: str, progress: Callable[[str], None]) -> None:
    """Wait until no service of a host reports any more: one that does would come back."""

    def silent() -> tuple[bool, str]:
        alive = [one.binary for one in _services_of(cloud) if one.host == name and one.alive]
        return not alive, f"{alive[0]} reports" if alive else ""

    if silent()[0]:
        return
    progress(f"waiting for the services of {name} to fall silent")
    reported = {one.binary: one.reported for one in _services_of(cloud) if one.host == name}

    def silent_or_active() -> tuple[bool, str]:
        again = [
            one.binary for one in _services_of(cloud)
            if one.host == name and one.alive and one.reported > reported.get(one.binary, "")
        ]  # fmt: skip
        if again:
            raise OtherHostError(f"{name} still runs ({again[0]} reports): run beastack destroy there first")
        return silent()

    wait_until(silent_or_active, what=f"the services of {name} to fall silent", timeout=SILENT_AFTER, interval=1.0)


def _remove_provider(cloud: Cloud, name: str) -> None:
    """Remove what placement keeps of a host, if nova has left it: instances that were evacuated keep a claim on it."""
    for provider in cloud.items("placement", "/resource_providers", "resource_providers", {"name": name}):
        uuid = provider["uuid"]
        claims = cloud.get("placement", f"/resource_providers/{uuid}/allocations")["allocations"]
        for consumer in claims:
            _drop_claim(cloud, consumer, uuid)
        cloud.delete("placement", f"/resource_providers/{uuid}", ok=(204, 404))


#: A version in which a claim has the generation and the type of its consumer (placement's REST history).
PLACEMENT_API = "1.38"


def _drop_claim(cloud: Cloud, consumer: str, provider: str) -> None:
    path = f"/allocations/{consumer}"
    held = cloud.get("placement", path, microversion=PLACEMENT_API)
    held["allocations"] = {
        other: {"resources": claim["resources"]} for other, claim in held["allocations"].items() if other != provider
    }
    cloud.put("placement", path, held, microversion=PLACEMENT_API)
