"""Accounts without an administrator's rights, for as long as a run lasts."""

from __future__ import annotations

import json
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from beastack.cli.tempest import accounts
from beastack.site.api import Cloud
from fake_cloud import ADMIN_PASSWORD, REGION, FakeCloud


@pytest.fixture
def fake() -> Iterator[FakeCloud]:
    """A cloud with an administrator."""
    cloud = FakeCloud()
    yield cloud
    cloud.stop()


def administrator(fake: FakeCloud) -> Cloud:
    """Return the cloud as its administrator sees it."""
    return Cloud(fake.auth_url, "admin", ADMIN_PASSWORD, "admin", region=REGION)


def names(fake: FakeCloud, collection: str) -> set[str]:
    """Return the names of what is in the identity service."""
    return {one["name"] for one in fake.all("identity", collection)}


def test_members_come_before_readers_and_each_project_has_both() -> None:
    made = accounts.make_accounts(2)
    assert [one.role for one in made] == ["member"] * 4 + ["reader"] * 4
    assert [one.project for one in made[:4]] == [one.project for one in made[4:]]
    assert len({one.project for one in made}) == 4
    assert len({one.password for one in made}) == 8


def test_no_account_is_an_administrators() -> None:
    assert {one.role for one in accounts.make_accounts(3)} == {"member", "reader"}


def test_the_file_is_what_tempest_reads() -> None:
    (first, *_) = made = accounts.make_accounts(1)
    read = json.loads(accounts.accounts_yaml(made))
    assert len(read) == len(made)
    assert read[0] == {
        "username": first.user, "project_name": first.project, "password": first.password, "roles": ["member"],
        "user_domain_name": "Default", "project_domain_name": "Default",
    }  # fmt: skip


def test_a_password_is_not_shown() -> None:
    (one, *_) = accounts.make_accounts(1)
    assert one.password not in repr(one)


def test_they_are_there_during_the_run_and_gone_after_it(fake: FakeCloud, tmp_path: Path) -> None:
    path = tmp_path / "accounts.yaml"
    with accounts.provided(administrator(fake), 1, path):
        written = json.loads(path.read_text())
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert {one["username"] for one in written} < names(fake, "users")
        for one in written:
            assert fake.passwords[one["username"]] == one["password"]
        # Neutron makes it when a project is first heard of.
        projects = fake.all("identity", "projects")
        for project in projects:
            fake.add("network", "security-groups", name="default", project_id=project["id"])
    assert not path.exists()
    assert names(fake, "users") == {"admin"}
    assert names(fake, "projects") == {"admin"}
    assert [one["project_id"] for one in fake.all("network", "security-groups")] == ["p-admin"]


def test_they_are_gone_after_a_run_that_was_ended(fake: FakeCloud, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), accounts.provided(administrator(fake), 1, tmp_path / "accounts.yaml"):
        raise KeyboardInterrupt
    assert names(fake, "users") == {"admin"}
    assert not (tmp_path / "accounts.yaml").exists()


def test_those_of_a_run_that_was_killed_are_taken_over_with_new_passwords(fake: FakeCloud, tmp_path: Path) -> None:
    left = accounts.make_accounts(1)[0]
    project = fake.add("identity", "projects", name=left.project, domain_id="default")
    fake.add("identity", "users", name=left.user, domain_id="default", default_project_id=project["id"])
    fake.passwords[left.user] = left.password
    path = tmp_path / "accounts.yaml"
    with accounts.provided(administrator(fake), 1, path):
        mine = next(one for one in json.loads(path.read_text()) if one["username"] == left.user)
        assert fake.passwords[left.user] == mine["password"] != left.password
    assert names(fake, "users") == {"admin"}
