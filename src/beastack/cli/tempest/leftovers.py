"""What Tempest leaves in the cloud, and its removal."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from beastack.site.api import ApiError, Cloud
from beastack.site.wait import WaitTimeout, wait_until

#: What every object that Tempest makes has at the beginning of its name.
PREFIX = "tempest-"

#: Seconds for instances to be gone.
LIMIT = 120


@dataclass(frozen=True)
class Collection:
    """Objects of one kind: where they are, and what has to be asked to see all of them."""

    service: str
    path: str
    key: str
    query: tuple[tuple[str, str], ...] = ()

    @property
    def kind(self) -> str:
        """What one of them is called."""
        return self.key[:-1].replace("_", " ")


#: In the order in which they can be removed: what uses others goes first.
COLLECTIONS = (
    Collection("compute", "/servers", "servers", (("all_tenants", "1"),)),
    Collection("compute", "/flavors", "flavors", (("is_public", "None"),)),
    Collection("compute", "/os-aggregates", "aggregates"),
    Collection("image", "/images", "images", (("limit", "1000"),)),
    Collection("network", "/ports", "ports"),
    Collection("network", "/subnets", "subnets"),
    Collection("network", "/networks", "networks"),
    Collection("network", "/subnetpools", "subnetpools"),
    Collection("network", "/security-groups", "security_groups"),
    Collection("identity", "/users", "users"),
    Collection("identity", "/groups", "groups"),
    Collection("identity", "/roles", "roles"),
    Collection("identity", "/projects", "projects"),
    Collection("identity", "/domains", "domains"),
)

#: Kinds that are there for a project; Tempest does not name all of them.
OWNED = ("ports", "networks", "security_groups")


@dataclass(frozen=True)
class Leftover:
    """One object that should not be there."""

    collection: Collection
    id: str
    text: str


def leftovers(cloud: Cloud) -> list[Leftover]:
    """Return what bears a name of Tempest's in the cloud, or belongs to a project that is gone.

    :raises CloudError: a service refuses or does not answer
    """
    projects = {item["id"] for item in cloud.items("identity", "/projects", "projects")}
    found: list[Leftover] = []
    for collection in COLLECTIONS:
        for item in cloud.items(collection.service, collection.path, collection.key, dict(collection.query)):
            name, owner = str(item.get("name") or ""), item.get("project_id")
            if name.startswith(PREFIX):
                text = f"{collection.kind} {name}"
            elif collection.key in OWNED and owner and owner not in projects:
                text = f"{collection.kind} {name or item['id']} of a project that is gone"
            else:
                continue
            found.append(Leftover(collection, str(item["id"]), text))
    return found


def remove(cloud: Cloud, left: Iterable[Leftover]) -> list[str]:
    """Remove what is left, and return what could not be removed, each with the reason.

    :raises ApiUnreachable: a service does not answer
    """
    left = list(left)
    problems = []
    servers = [one for one in left if one.collection.key == "servers"]
    for one in servers:
        problems += _delete(cloud, one)
    try:
        wait_until(lambda: _gone(cloud, servers), what="Tempest's instances to be gone", timeout=LIMIT)
    except WaitTimeout as error:
        problems.append(str(error))
    for one in left:
        if one not in servers:
            problems += _delete(cloud, one)
    return problems


def _gone(cloud: Cloud, servers: list[Leftover]) -> tuple[bool, str]:
    query = {"all_tenants": "1"}
    there = {item["id"] for item in cloud.items("compute", "/servers", "servers", query)} if servers else set()
    kept = [one.text for one in servers if one.id in there]
    return not kept, ", ".join(kept)


def _delete(cloud: Cloud, one: Leftover) -> list[str]:
    path = f"{one.collection.path}/{one.id}"
    try:
        if one.collection.key == "domains":
            # Only a domain that is disabled can be deleted.
            cloud.patch("identity", path, {"domain": {"enabled": False}})
        cloud.delete(one.collection.service, path, ok=(202, 204, 404))
    except ApiError as error:
        return [f"{one.text}: {error}"]
    return []
