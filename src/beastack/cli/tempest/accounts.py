"""Accounts without an administrator's rights, for tests that must do without: made before a run, removed after it."""

from __future__ import annotations

import contextlib
import json
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from beastack.cli.tempest.private_files import write_private
from beastack.site import resources
from beastack.site.api import Cloud

#: What the accounts' names begin with; Tempest's own objects begin otherwise, and so are told from them.
PREFIX = "beastack-conformance"

#: Projects for each worker: a test uses one, and another that must not see what is in the first.
PER_WORKER = 2


@dataclass(frozen=True)
class Account:
    """A user in a project of its own or with others, as accounts.yaml has it."""

    user: str
    project: str
    role: str
    password: str = field(repr=False)


def make_accounts(workers: int) -> list[Account]:
    """Return accounts with new passwords: in each project a member and a reader.

    Members come first: Tempest takes the first that is free for a second
    account of any role, and that must not be one of the first one's project.
    """
    projects = [f"{PREFIX}-{number}" for number in range(1, workers * PER_WORKER + 1)]
    return [
        Account(f"{project}-{role}", project, role, secrets.token_hex(16))
        for role in ("member", "reader")
        for project in projects
    ]


def accounts_yaml(accounts: list[Account]) -> str:
    """Return the file that Tempest reads; JSON is YAML."""
    return json.dumps(
        [
            {
                "username": one.user, "user_domain_name": "Default",
                "project_name": one.project, "project_domain_name": "Default",
                "password": one.password, "roles": [one.role],
            }
            for one in accounts
        ],
        indent=1,
    )  # fmt: skip


@contextlib.contextmanager
def provided(cloud: Cloud, workers: int, path: Path) -> Iterator[None]:
    """Have the accounts in the cloud, and in a file of their own, for as long as the block lasts.

    :raises CloudError: a service refuses or does not answer
    """
    accounts = make_accounts(workers)
    try:
        for one in accounts:
            project = resources.ensure_project(cloud, one.project, description="Tempest runs in it").id
            resources.ensure_user(cloud, one.user, one.password, project_id=project, roles=(one.role,))
        write_private(path, accounts_yaml(accounts))
        yield
    finally:
        path.unlink(missing_ok=True)
        remove(cloud)


def remove(cloud: Cloud) -> None:
    """Remove the accounts, and what a project gets without being asked: its default security group."""
    for user in cloud.items("identity", "/users", "users"):
        if user["name"].startswith(f"{PREFIX}-"):
            cloud.delete("identity", f"/users/{user['id']}", ok=(204, 404))
    for project in cloud.items("identity", "/projects", "projects"):
        if project["name"].startswith(f"{PREFIX}-"):
            owner = {"project_id": project["id"]}
            for group in cloud.items("network", "/security-groups", "security_groups", owner):
                if group["name"] == "default":
                    cloud.delete("network", f"/security-groups/{group['id']}", ok=(204, 404, 409))
            cloud.delete("identity", f"/projects/{project['id']}", ok=(204, 404))
