"""Another OpenStack release below a cloud that runs: what stops for it, and what is another process afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from beastack.site import configuration, environment, operate, release, secrets, services
from beastack.site.configuration import Facts, Site
from beastack.site.description import Description, Hosts
from beastack.site.layout import Layout
from beastack.site.plan import Found, make_plan
from beastack.site.steps import Steps

FACTS = Facts(cpus=2, hostname="box", novnc_pages="/x", python="/usr/bin/python3", helper="/x/request.py")
#: What a supervisor runs, by tiers as ``services`` has them.
RUNNING = {
    "mariadb": services.DATA, "ovs-vswitchd": services.SWITCH, "libvirtd": services.HYPERVISOR,
    "keystone": services.IDENTITY, "nova-conductor": services.CONTROL, "nova-compute": services.HOST,
}  # fmt: skip


class Supervisor:
    """Answers as one that runs all of ``RUNNING``; ``asked`` is what it was told to change."""

    def __init__(self) -> None:
        self.pids = {name: 100 + number for number, name in enumerate(RUNNING)}
        self.asked: list[tuple[str, list[str]]] = []
        self.up = True

    def running(self) -> bool:
        return self.up

    def services(self) -> dict[str, dict[str, Any]]:
        return {item["name"]: item for item in self.ask("status")["services"]}

    def ask(self, op: str, names: list[str] | None = None) -> dict[str, Any]:
        if op == "stop":
            for name in names or ():
                self.pids[name] = 0
        if op != "status":
            self.asked.append((op, sorted(names or ())))
        listing = [{"name": name, "tier": tier, "pid": self.pids[name] or None} for name, tier in RUNNING.items()]
        return {"services": listing, "parents": {"libraries": {}, "nova": {}}}


@pytest.fixture
def supervisor(monkeypatch: pytest.MonkeyPatch) -> Supervisor:
    made = Supervisor()
    monkeypatch.setattr(operate, "Client", lambda root: made)
    return made


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    made = Layout(tmp_path)
    made.run().mkdir()
    (made.run() / "up.json").write_text("{}")
    return made


@pytest.fixture
def other_release(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """A release with a list of packages of its own."""
    lock = tmp_path / "openstack-other.txt"
    lock.write_text("nova==99.0.0\n")
    monkeypatch.setattr(release, "lock_file", lambda: lock)
    return iter(())


def have_installed(layout: Layout) -> None:
    layout.venv.mkdir()
    (layout.venv / environment.MARKER).write_text(release.digest())


def test_openstack_stops_before_its_release_is_replaced_and_the_rest_goes_on(
    supervisor: Supervisor, layout: Layout
) -> None:
    have_installed(layout)
    (layout.venv / environment.MARKER).write_text("of another release")
    operate.stop_release(layout)
    assert supervisor.asked == [
        ("stop", ["keystone", "nova-compute", "nova-conductor"]), ("retire", ["libraries", "nova"]),
    ]  # fmt: skip
    # An up that is killed now is not taken for one that came to its end.
    assert not (layout.run() / "up.json").exists()


def test_nothing_stops_where_the_release_is_there(supervisor: Supervisor, layout: Layout) -> None:
    have_installed(layout)
    operate.stop_release(layout)
    assert supervisor.asked == [] and (layout.run() / "up.json").exists()


def test_a_site_that_does_not_run_has_nothing_to_stop(supervisor: Supervisor, layout: Layout) -> None:
    supervisor.up = False
    operate.stop_release(layout)
    assert supervisor.asked == []


def test_the_plan_says_that_the_services_are_away(layout: Layout) -> None:
    def said(**found: bool) -> str:
        plan = {step.name: step for step in make_plan(Description(), layout, Found(**found))}
        return " ".join(plan["environment"].changes)

    assert "services are stopped" in said(supervisor_running=True)
    assert "services are stopped" not in said()
    assert said(supervisor_running=True, environment_ready=True) == ""


def site_in(tmp_path: Path) -> Site:
    description = Description(host=Hosts(kind="freebsd"))
    return Site(Layout(tmp_path), description, dict.fromkeys(secrets.NAMES, "0" * 32), FACTS)


def test_another_release_makes_other_processes_and_parents(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    site = site_in(tmp_path)
    before = {spec.name: spec.digest() for spec in services.openstack_services(site)}
    base = services.parents(site)[0]
    request.getfixturevalue("other_release")
    after = {spec.name: spec.digest() for spec in services.openstack_services(site)}
    assert [name for name in before if before[name] == after[name]] == []
    # All others are forked from it, or from one that is.
    assert base.base is None and services.parents(site)[0] != base


@pytest.mark.parametrize("project", ["keystone", "glance", "placement", "nova", "neutron"])
def test_another_release_brings_each_schema_to_its_own(
    tmp_path: Path, project: str, request: pytest.FixtureRequest
) -> None:
    assert project in configuration.DATABASES
    steps = Steps(site_in(tmp_path))
    before = steps.schema_version(project)
    request.getfixturevalue("other_release")
    assert steps.schema_version(project) != before


def test_what_starts_before_the_release_is_there_needs_nothing_of_it(tmp_path: Path) -> None:
    site = site_in(tmp_path)
    openstack = {spec.name for spec in services.openstack_services(site)}
    others = [spec for spec in Steps(site).all_services() if spec.name not in openstack]
    parents = {parent.name: parent for parent in services.parents(site)}
    assert {"libvirtd", "console", "ovs-vswitchd", "mariadb"} <= {spec.name for spec in others}
    needed = [*others, *(parents[spec.parent] for spec in others if spec.parent is not None)]
    assert [one.name for one in needed if str(site.layout.venv) in str(one)] == []
