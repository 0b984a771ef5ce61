"""Specs of the services: as whom, from what and in which environment each runs."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from beastack.site import description as descriptions
from beastack.site import secrets, services
from beastack.site.configuration import FILES, Facts, Site, render_service
from beastack.site.description import Description
from beastack.site.layout import Layout
from beastack.site.services import CONTEXTS, UNITS, helpers, openstack_services, parents, task
from beastack.supervisor.spec import (
    Service,
    helper_from_json,
    parent_from_json,
    service_from_json,
    to_json,
)

LINUX = descriptions.Hosts(kind="linux")

ROOT = Path("/srv/cloud")

HOST_SERVICES = {"nova-compute", "neutron-ovs-agent", "neutron-dhcp-agent", "neutron-metadata-agent"}
SPREAD = {"neutron-api", "nova-api"}


def make_site(workers: int = 1, **site: Any) -> Site:
    facts = Facts(cpus=4, hostname="box", novnc_pages="/x", python="/usr/bin/python3", helper="/x/request.py")
    description = Description(host=LINUX, site=descriptions.Site(workers=workers, **site))
    return Site(Layout(ROOT), description, dict.fromkeys(secrets.NAMES, "0" * 32), facts)


def specs(site: Site | None = None) -> dict[str, Service]:
    return {spec.name: spec for spec in openstack_services(site or make_site())}


# As whom.


def test_only_a_hosts_services_run_as_root() -> None:
    assert {name for name, spec in specs().items() if spec.user == "root"} == HOST_SERVICES


def test_every_other_service_has_a_user_of_its_own() -> None:
    users = {name: spec.user for name, spec in specs().items() if spec.user != "root"}
    prefix = Layout(ROOT).prefix
    assert users == {name: f"{prefix}-{name}" for name in specs() if name not in HOST_SERVICES}
    assert len(set(users.values())) == len(users)


def test_what_unprivileged_services_write_is_theirs_alone() -> None:
    assert {spec.umask for name, spec in specs().items() if name not in HOST_SERVICES} == {0o027}


# Workers.


@pytest.mark.parametrize("count", [1, 2, 3])
def test_apis_that_many_ask_have_several_workers(count: int) -> None:
    names = [spec.name for spec in openstack_services(make_site(count))]
    expected = []
    for unit in UNITS:
        if unit.name in SPREAD and count > 1:
            expected += [f"{unit.name}:{number}" for number in range(1, count + 1)]
        else:
            expected.append(unit.name)
    assert names == expected


def test_workers_differ_in_nothing_but_their_names() -> None:
    found = specs(make_site(2))
    for name in SPREAD:
        one, other = found[f"{name}:1"], found[f"{name}:2"]
        assert dataclasses.replace(one, name=other.name) == other


# In what.


def test_each_service_has_an_environment_of_its_own() -> None:
    for name, spec in specs().items():
        project = name.partition("-")[0].upper()
        assert spec.env["HOME"] == spec.env["TMPDIR"] == f"/srv/cloud/run/{name}"
        assert spec.env[f"OS_{project}_CONFIG_DIR"] == f"/srv/cloud/etc/{name}"
        assert spec.env["PATH"].startswith("/srv/cloud/venv/bin:/sbin:")
        assert spec.env["BEASTACK_ROOT"] == "/srv/cloud"
        configured = {key for key in spec.env if key.endswith(("_CONFIG_DIR", "_CONFIG_FILES"))}
        assert {key.split("_")[1] for key in configured} == {project}
        assert spec.log == f"/srv/cloud/log/{name}.log"


def test_one_specs_environment_is_not_anothers() -> None:
    for name in ("keystone", "nova-compute"):
        first, second = specs()[name], specs()[name]
        assert isinstance(first.env, dict)
        first.env["CHANGED"] = "1"
        assert "CHANGED" not in second.env
        assert "CHANGED" not in specs()[name].env


def test_the_files_that_apis_read() -> None:
    found = specs()
    assert found["keystone"].env["OS_KEYSTONE_CONFIG_FILES"] == "/srv/cloud/etc/keystone/keystone.conf"
    assert found["neutron-api"].env["OS_NEUTRON_CONFIG_FILES"] == "neutron.conf"
    # nova's API has pipelines of the site's own.
    assert found["nova-api"].env["OS_NOVA_CONFIG_FILES"] == "/srv/cloud/etc/nova-api/api-paste.ini;nova.conf"
    nova = "/srv/cloud/venv/etc/nova/api-paste.ini;nova.conf"
    assert found["nova-metadata"].env["OS_NOVA_CONFIG_FILES"] == nova


def test_an_api_is_served_by_our_server_and_gets_no_arguments() -> None:
    ports = {"keystone": 5000, "glance": 9292, "placement": 8778, "neutron-api": 9696, "nova-api": 8774,
             "nova-metadata": 8775}  # fmt: skip
    found = specs(make_site(bind_address="192.0.2.7"))
    served = {name: spec for name, spec in found.items() if "BEASTACK_WSGI" in spec.env}
    assert set(served) == set(ports)
    for name, spec in served.items():
        assert spec.argv == (name,)
        assert spec.target == "beastack.supervisor.wsgi:serve"
        assert spec.env["BEASTACK_LISTEN"] == f"192.0.2.7 {ports[name]}"
    assert served["keystone"].env["BEASTACK_WSGI"] == "keystone.wsgi.api:application"


def test_every_other_service_is_upstreams_main_with_its_configuration() -> None:
    others = {name: spec for name, spec in specs().items() if "BEASTACK_WSGI" not in spec.env}
    for name, spec in others.items():
        assert spec.argv == (name, f"--config-file=/srv/cloud/etc/{name}/{FILES[name][0]}")
        assert spec.target.partition(":")[0].startswith(f"{name.partition('-')[0]}.cmd.")
    assert others["nova-compute"].target == "nova.cmd.compute:main"
    assert others["neutron-rpc"].target == "neutron.cmd.server:main_rpc"


def test_what_is_below_stops_last() -> None:
    order = [services.DATA, services.SWITCH, services.HYPERVISOR, services.IDENTITY, services.CONTROL, services.HOST]
    assert order == sorted(set(order))
    tiers = {name: spec.tier for name, spec in specs().items()}
    assert {name for name, tier in tiers.items() if tier == services.HOST} == HOST_SERVICES
    assert {name for name, tier in tiers.items() if tier == services.IDENTITY} == {"keystone"}
    rest = set(tiers) - HOST_SERVICES - {"keystone"}
    assert {tiers[name] for name in rest} == {services.CONTROL}


# Parents and privileged daemons.


def test_every_service_is_forked_from_its_projects_parent() -> None:
    known = [parent.name for parent in parents(make_site())]
    for name, spec in specs().items():
        assert spec.parent == name.partition("-")[0]
        assert spec.parent in known


def test_one_parent_is_an_interpreter_and_the_others_are_forked_from_it() -> None:
    first, *others = [parent for parent in parents(make_site()) if not parent.prepare]
    assert (first.name, first.base, first.python) == ("libraries", None, "/srv/cloud/venv/bin/python")
    assert {(parent.base, parent.python, tuple(parent.env)) for parent in others} == {("libraries", "", ())}
    assert not any(name.endswith(("CONFIG_DIR", "CONFIG_FILES")) for name in first.env)
    assert "HOME" not in first.env


def test_the_closed_list_of_privileged_daemons() -> None:
    found = {helper.name: helper for helper in helpers(make_site())}
    ours = [context for context in CONTEXTS if "linux" in context.hosts]
    assert list(found) == [context.name for context in ours]
    for context in ours:
        helper = found[context.name]
        assert helper.target == "beastack.port.oslo.privsep:serve"
        assert helper.log == "/srv/cloud/log/privsep.log"
        assert helper.parent == f"{context.project}-privileged"
        assert context.name.startswith((f"{context.project}.", "vif_plug_ovs.", "os_brick."))


def test_privileged_daemons_trust_nothing_that_a_service_may_write() -> None:
    for helper in helpers(make_site()):
        assert not [key for key in helper.env if key.startswith("OS_")]
        assert helper.env["HOME"] == "/"
        assert "TMPDIR" not in helper.env
        assert not any("/srv/cloud/run/n" in value for value in helper.env.values())


def test_privileged_daemons_are_for_the_services_that_are_configured_to_ask() -> None:
    site = make_site()
    for unit in UNITS:
        text = render_service(site, unit.name)[1]
        asks = {section for section, context in SECTIONS.items() if f"[{section}]\nhelper_command" in text}
        ours = [context for context in CONTEXTS if "linux" in context.hosts]
        allowed = {context.name for context in ours if unit.name in context.asked_by}
        assert {SECTIONS[section] for section in asks} == allowed, unit.name


#: The configuration section of each context (upstream's PrivContext, cfg_section).
SECTIONS = {
    "nova_sys_admin": "nova.privsep.sys_admin_pctxt",
    "vif_plug_ovs_privileged": "vif_plug_ovs.privsep.vif_plug",
    "privsep_osbrick": "os_brick.privileged.default",
    "privsep": "neutron.privileged.default",
    "privsep_dhcp_release": "neutron.privileged.dhcp_release_cmd",
    "privsep_ovs_vsctl": "neutron.privileged.ovs_vsctl_cmd",
    "privsep_namespace": "neutron.privileged.namespace_cmd",
    "privsep_conntrack": "neutron.privileged.conntrack_cmd",
    "privsep_link": "neutron.privileged.link_cmd",
}


def test_their_peers_are_the_users_of_these_services(monkeypatch: pytest.MonkeyPatch) -> None:
    assert {helper.peers for helper in helpers(make_site())} == {("root",)}, "as long as the host's services are root's"
    units = tuple(dataclasses.replace(unit, root=False) for unit in UNITS)
    monkeypatch.setattr(services, "UNITS", units)
    found = {helper.name: helper.peers for helper in helpers(make_site())}
    prefix = Layout(ROOT).prefix
    assert found["nova.privsep.sys_admin_pctxt"] == (f"{prefix}-nova-compute",)
    assert found["neutron.privileged.dhcp_release_cmd"] == (f"{prefix}-neutron-dhcp-agent",)
    assert len(found["neutron.privileged.default"]) == 3


def test_a_parent_of_privileged_daemons_changes_with_their_configuration() -> None:
    def privileged(site: Site) -> dict[str, tuple[str, ...]]:
        return {parent.name: parent.argv for parent in parents(site) if parent.prepare}

    site = make_site()
    other = dataclasses.replace(site, facts=dataclasses.replace(site.facts, helper="/y/request.py"))
    assert privileged(site) == privileged(make_site())
    assert privileged(site).keys() == {"nova-privileged", "neutron-privileged"}
    assert all(privileged(site)[name] != privileged(other)[name] for name in privileged(site))


@pytest.mark.parametrize("platform", ["linux", "freebsd15"])
def test_what_holds_them_depends_on_the_kernel(platform: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("beastack.site.services.sys.platform", platform)
    found = helpers(make_site())
    if platform == "linux":
        assert not any(helper.as_asker for helper in found)
        assert {helper.name for helper in found if not helper.new_privileges} == {
            "vif_plug_ovs.privsep.vif_plug", "neutron.privileged.ovs_vsctl_cmd", "neutron.privileged.namespace_cmd",
            "neutron.privileged.conntrack_cmd", "neutron.privileged.link_cmd",
        }  # fmt: skip
    else:
        assert not any(helper.new_privileges for helper in found)
        assert {helper.name for helper in found if helper.as_asker} == {
            "os_brick.privileged.default", "neutron.privileged.dhcp_release_cmd", "neutron.privileged.conntrack_cmd",
        }  # fmt: skip
    seams = "beastack.port.oslo.freebsd_seams"
    assert all(
        (parent.modules[0] == seams) == (platform != "linux") for parent in parents(make_site()) if parent.prepare
    )


def test_a_task_runs_as_the_service_it_prepares() -> None:
    made = task(make_site(), "schema", "glance", "glance", "glance.cmd.manage:main", ["db", "sync"], {"MORE": "1"})
    assert made.name == "task-schema"
    assert made.argv == ("schema", "--config-file=/srv/cloud/etc/glance/glance-api.conf", "db", "sync")
    assert made.user == specs()["glance"].user
    assert made.env == {**specs_environment("glance"), "MORE": "1"}
    assert made.log == "/srv/cloud/log/setup-schema.log"


def specs_environment(service: str) -> dict[str, str]:
    return {name: value for name, value in specs()[service].env.items() if name not in
            ("BEASTACK_WSGI", "BEASTACK_LISTEN", "BEASTACK_THREADS", "BEASTACK_WARM")}  # fmt: skip


@pytest.mark.parametrize("workers", [1, 8])
def test_keystone_is_one_process(workers: int) -> None:
    # What one knows of tokens that were revoked, another would not hear of.
    found = [spec for spec in openstack_services(make_site(workers)) if spec.name.startswith("keystone")]
    assert [spec.name for spec in found] == ["keystone"]


# On their way to the supervisor.


def test_all_specs_are_what_the_supervisor_takes() -> None:
    site = make_site(3)
    for service in openstack_services(site):
        assert service_from_json(to_json(service)) == service
    for parent in parents(site):
        assert parent_from_json(to_json(parent)) == parent
    for helper in helpers(site):
        assert helper_from_json(to_json(helper)) == helper


CHANGES: dict[str, Any] = {
    "confined": True, "new_privileges": True,
    "name": "other", "argv": ("other",), "parent": "other", "target": "other:main", "env": {"OTHER": "1"},
    "user": "other", "cwd": "/other", "umask": 0o077, "log": "/other", "tier": 99, "stop_signal": 2,
    "stop_timeout": 99.0, "before_drop": "other:prepare",
}  # fmt: skip


@pytest.mark.parametrize("field", [field.name for field in dataclasses.fields(Service)])
def test_a_digest_changes_with_anything(field: str) -> None:
    spec = specs()["nova-api"]
    changed = dataclasses.replace(spec, **{field: CHANGES[field]})
    assert changed.digest() != spec.digest()


def test_a_digest_is_the_same_for_the_same() -> None:
    assert {name: spec.digest() for name, spec in specs().items()} == {
        name: service_from_json(to_json(spec)).digest() for name, spec in specs().items()
    }
    assert len({spec.digest() for spec in specs(make_site(2)).values()}) == len(specs(make_site(2)))


def test_a_digest_does_not_hang_on_the_order_of_the_environment() -> None:
    spec = specs()["glance"]
    turned = dataclasses.replace(spec, env=dict(reversed(list(spec.env.items()))))
    assert turned.digest() == spec.digest()


def test_another_configuration_makes_other_processes_of_those_that_read_it() -> None:
    before = specs()
    site = make_site()
    secret = {**site.secrets, "db-glance": "1" * 32}
    after = specs(dataclasses.replace(site, secrets=secret))
    assert {name for name in before if before[name].digest() != after[name].digest()} == {"glance"}


def test_parents_hang_on_no_services_configuration() -> None:
    names = ("libraries", "nova", "keystone")
    site = make_site()
    other = dataclasses.replace(site, secrets=dict.fromkeys(secrets.NAMES, "1" * 32))
    assert [one for one in parents(site) if one.name in names] == [one for one in parents(other) if one.name in names]
