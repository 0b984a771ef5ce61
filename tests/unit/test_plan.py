"""The plan of up: its order, and what it says it would change."""

from __future__ import annotations

from pathlib import Path

import pytest

from beastack.site import secrets
from beastack.site.configuration import Facts, Site
from beastack.site.description import Database, Description, Hosts, Instance, Messaging
from beastack.site.layout import Layout, default_root
from beastack.site.plan import Found, PlanError, Step, make_plan, order
from beastack.site.steps import Steps

LAYOUT = Layout(Path("/srv/cloud"))
DEFAULT = Layout(default_root())

EXTERNAL = Description(
    database=Database(url="mysql+pymysql://cloud:pw@db.example/"),
    messaging=Messaging(url="rabbit://cloud:pw@mq.example/"),
)


def by_name(plan: list[Step]) -> dict[str, Step]:
    return {step.name: step for step in plan}


def names(steps: list[Step]) -> list[str]:
    return [step.name for step in steps]


# Order.


@pytest.mark.parametrize(
    ("description", "found"),
    [
        (Description(), Found()),
        (Description(), Found(venv_works=False)),
        (EXTERNAL, Found()),
        (Description(instance=Instance(boot=False)), Found()),
    ],
)
def test_each_step_stands_after_those_it_waits_for(description: Description, found: Found) -> None:
    plan = make_plan(description, LAYOUT, found)
    assert len(by_name(plan)) == len(plan)
    seen: set[str] = set()
    for step in plan:
        assert set(step.after) <= seen, step.name
        seen.add(step.name)


def test_every_step_can_be_carried_out() -> None:
    facts = Facts(cpus=2, hostname="box", novnc_pages="/x", python="/usr/bin/python3", helper="/x/request.py")
    site = Site(LAYOUT, Description(), dict.fromkeys(secrets.NAMES, "0" * 32), facts)
    assert set(names(make_plan(Description(), LAYOUT, Found()))) == set(Steps(site).actions())


def test_steps_otherwise_stay_in_the_order_given() -> None:
    steps = [Step("c", "C", ("a",)), Step("a", "A"), Step("d", "D"), Step("b", "B", ("d",))]
    assert names(order(steps)) == ["a", "c", "d", "b"]
    assert order([]) == []


def test_a_circle_is_refused_with_the_names_in_it() -> None:
    steps = [Step("a", "A"), Step("b", "B", ("c",)), Step("c", "C", ("b", "a"))]
    with pytest.raises(PlanError) as caught:
        order(steps)
    assert str(caught.value) == "these steps wait for one another: b, c"


def test_a_step_that_waits_for_none_that_exists_is_refused() -> None:
    with pytest.raises(PlanError) as caught:
        order([Step("a", "A", ("missing",)), Step("b", "B")])
    assert str(caught.value) == "these steps wait for one another: a"


def test_the_release_waits_for_packages_where_they_bring_part_of_it_or_the_venv_module() -> None:
    def after(kind: str, *, works: bool) -> tuple[str, ...]:
        plan = by_name(make_plan(Description(host=Hosts(kind=kind)), LAYOUT, Found(venv_works=works)))
        return plan["environment"].after

    assert after("linux", works=True) == ()
    assert after("linux", works=False) == after("freebsd", works=True) == ("packages",)


def test_the_first_instance_is_last_and_can_be_left_out() -> None:
    plan = make_plan(Description(), LAYOUT, Found())
    assert plan[-1].name == "instance"
    without = make_plan(Description(instance=Instance(boot=False)), LAYOUT, Found())
    assert names(without) == names(plan)[:-1]


# What is said of them.


def test_changes_to_the_machine_are_listed() -> None:
    found = Found(missing_packages=("haproxy", "ovmf"), missing_users=("beastack-glance", "beastack-nova-api"))
    steps = by_name(make_plan(Description(), LAYOUT, found))
    assert steps["packages"].changes == ("system packages: haproxy ovmf",)
    assert steps["users"].changes == ("system users: beastack-glance beastack-nova-api",)
    assert steps["environment"].changes == ("Python packages in /srv/cloud/venv",)
    assert steps["files"].changes == ("files below /srv/cloud",)
    prefix = LAYOUT.prefix
    interfaces = f"network interfaces: {prefix}-int {prefix}-tun {prefix}-ext {prefix}-host"
    assert steps["switch"].changes == (interfaces,)
    assert steps["clients"].changes == ("/srv/cloud/clouds.yaml",)


def test_what_is_there_is_no_change() -> None:
    steps = by_name(make_plan(Description(), LAYOUT, Found(environment_ready=True)))
    assert [steps[name].changes for name in ("packages", "users", "environment")] == [(), (), ()]


def test_the_machines_own_site_changes_the_users_files() -> None:
    entry = "the entry beastack in ~/.config/openstack/clouds.yaml"
    with_command = by_name(make_plan(Description(), DEFAULT, Found(openstack_command=True)))
    without = by_name(make_plan(Description(), DEFAULT, Found(openstack_command=False)))
    assert with_command["clients"].changes == (entry,)
    assert without["clients"].changes == (entry, "the link /usr/local/bin/openstack")


def test_existing_servers_are_reached_and_not_started() -> None:
    own = by_name(make_plan(Description(), LAYOUT, Found()))
    existing = by_name(make_plan(EXTERNAL, LAYOUT, Found()))
    assert (own["database"].title, own["messaging"].title) == ("Start MariaDB", "Start RabbitMQ")
    assert (existing["database"].title, existing["messaging"].title) == ("Reach the database", "Reach RabbitMQ")
    assert list(own) == list(existing)
