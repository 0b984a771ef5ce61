"""What Tempest leaves in the cloud, and its removal."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from beastack.cli.tempest import leftovers
from beastack.site.api import Cloud
from fake_cloud import ADMIN_PASSWORD, REGION, FakeCloud


@pytest.fixture
def fake() -> Iterator[FakeCloud]:
    """A cloud with an administrator."""
    cloud = FakeCloud()
    yield cloud
    cloud.stop()


@pytest.fixture
def admin(fake: FakeCloud) -> Cloud:
    """The cloud as its administrator sees it."""
    return Cloud(fake.auth_url, "admin", ADMIN_PASSWORD, "admin", region=REGION)


def texts(cloud: Cloud) -> list[str]:
    """Return what is left, in words."""
    return [one.text for one in leftovers.leftovers(cloud)]


def test_what_bears_a_name_of_tempests_is_left_over(fake: FakeCloud, admin: Cloud) -> None:
    fake.add("compute", "servers", name="tempest-server-1")
    fake.add("compute", "servers", name="first")
    fake.add("network", "subnetpools", name="tempest-pool-1", project_id="p-admin")
    fake.add("identity", "users", name="tempest-user-1")
    assert texts(admin) == ["server tempest-server-1", "subnetpool tempest-pool-1", "user tempest-user-1"]


def test_what_belongs_to_a_project_that_is_gone_is_left_over(fake: FakeCloud, admin: Cloud) -> None:
    fake.add("network", "security-groups", name="default", project_id="gone")
    fake.add("network", "security-groups", name="default", project_id="p-admin")
    fake.add("network", "ports", id="port-1", name="", project_id="gone")
    fake.add("network", "ports", name="", project_id="")
    assert texts(admin) == [
        "port port-1 of a project that is gone", "security group default of a project that is gone",
    ]  # fmt: skip


def test_removal_goes_from_what_uses_to_what_is_used(fake: FakeCloud, admin: Cloud) -> None:
    for service, collection in (
        ("identity", "domains"), ("identity", "projects"), ("network", "networks"), ("network", "ports"),
        ("compute", "servers"),
    ):  # fmt: skip
        fake.add(service, collection, id="x", name="tempest-x")
    assert leftovers.remove(admin, leftovers.leftovers(admin)) == []
    assert texts(admin) == []
    assert fake.changes() == [
        "DELETE compute /servers/x", "DELETE network /ports/x", "DELETE network /networks/x",
        "DELETE identity /projects/x", "PATCH identity /domains/x", "DELETE identity /domains/x",
    ]  # fmt: skip


def test_what_cannot_be_removed_is_said_and_the_rest_goes(fake: FakeCloud, admin: Cloud) -> None:
    fake.add("network", "networks", id="n", name="tempest-network")
    fake.add("identity", "users", id="u", name="tempest-user")
    fake.refuse("DELETE network /networks/n", 409, {"NeutronError": {"message": "it is in use"}})
    (problem,) = leftovers.remove(admin, leftovers.leftovers(admin))
    assert problem.startswith("network tempest-network: ") and "it is in use" in problem
    assert texts(admin) == ["network tempest-network"]
