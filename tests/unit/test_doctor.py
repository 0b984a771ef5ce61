"""The doctor: each thing that can be wrong is found, with a remedy; nothing it meets stops it."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from beastack.freebsd.command import CommandError, Result
from beastack.site import clients, configuration, data_services, records, secrets
from beastack.site.api import ApiUnreachable
from beastack.site.configuration import Facts, Site
from beastack.site.description import Compute, Database, Description, Hosts
from beastack.site.doctor import (
    agents,
    answers,
    apis,
    checks,
    data,
    files,
    guests,
    host,
    kvm,
    machine,
    networks,
    processes,
    switch,
)
from beastack.site.doctor import view as view_module
from beastack.site.doctor.checks import CHECKS, Check
from beastack.site.doctor.finding import Finding
from beastack.site.doctor.host import Link, Process
from beastack.site.doctor.view import View
from beastack.site.host import linux, linux_switch
from beastack.site.layout import Layout
from beastack.site.resources import HostService, HostsUp

LINUX = Hosts(kind="linux")

NETWORK = "c563c011-1834-4d09-9ce9-750528a3d9fd"
PORT = "f0a45662-76af-4c4f-b971-a19fe0e96a02"
DHCP_PORT = "218c58ee-b6fd-42f3-85e1-e5b9d3c2668d"
TAP, DHCP_TAP = f"tap{PORT[:11]}", f"tap{DHCP_PORT[:11]}"
SERVER = "0af3f4db-8ecf-46dd-a135-1fa06a38f5ca"
UP = frozenset({"BROADCAST", "UP", "LOWER_UP"})


def make_site(root: Path, description: Description | None = None) -> Site:
    """Return a site in a directory of the test's own."""
    facts = Facts(cpus=2, hostname="box", novnc_pages="/x", python="/usr/bin/python3", helper="/x/request.py")
    return Site(Layout(root), description or Description(host=LINUX), dict.fromkeys(secrets.NAMES, "5ecre7" * 5), facts)


@pytest.fixture
def site(tmp_path: Path) -> Site:
    site = make_site(tmp_path / "site")
    (site.layout.root / "log").mkdir(parents=True)
    site.layout.run().mkdir()
    return site


class FakeCloud:
    """Answers with collections, by their key."""

    def __init__(self, **collections: list[dict[str, Any]]) -> None:
        self.collections = collections

    def items(self, service: str, path: str, key: str, *query: Any, **options: Any) -> list[dict[str, Any]]:
        return self.collections[key]


def server(**changes: Any) -> dict[str, Any]:
    """Return an instance as nova shows it, running on this host."""
    return {
        "id": SERVER, "name": "first", "status": "ACTIVE", "OS-EXT-SRV-ATTR:host": "box",
        "OS-EXT-SRV-ATTR:instance_name": "instance-1", "OS-EXT-STS:task_state": None,
        "OS-SRV-USG:launched_at": "2026-11-22T19:43:20.000000", "updated": "2026-11-22T19:43:20Z",
    } | changes  # fmt: skip


def healthy(site: Site) -> dict[str, Any]:
    """Return what a view of a healthy cloud with one instance sees."""
    bridges = [site.layout.interface(suffix) for suffix in ("int", "ext", "tun")]
    near, far = site.layout.interface("host"), site.layout.interface("exth")
    ports = [
        {"id": PORT, "network_id": NETWORK, "device_owner": "compute:nova", "device_id": SERVER, "status": "ACTIVE",
         "binding:host_id": "box", "binding:vif_type": "ovs"},
        {"id": DHCP_PORT, "network_id": NETWORK, "device_owner": "network:dhcp", "device_id": "d", "status": "ACTIVE",
         "binding:host_id": "box", "binding:vif_type": "ovs"},
    ]  # fmt: skip
    networks = [{"id": NETWORK, "name": "private"}]
    ids = {TAP: {"iface-id": PORT, "vm-uuid": SERVER}, DHCP_TAP: {"iface-id": DHCP_PORT}}
    agents = ("neutron-openvswitch-agent", "neutron-dhcp-agent", "neutron-metadata-agent")
    reported = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S")
    return {
        "supervisor": (True, "it answers"),
        "services": {
            name: {"name": name, "state": "running", "pid": 100 + number, "wanted": True, "restarts": 0,
                   "failures": 0, "last_exit": "", "log": str(site.layout.log(name))}
            for number, name in enumerate(("ovs-vswitchd", "neutron-dhcp-agent", "neutron-ovs-agent", "nova-compute"))
        },
        "token": (True, "for project p"),
        "apis": {name: (True, "HTTP 200") for name in ("keystone", "glance", "placement", "neutron-api", "nova-api")},
        "switch": (True, "it answers"),
        "hypervisor": (True, "1 guest"),
        "database": (True, "it answers"),
        "messaging": (True, "it answers"),
        "own_pids": {100, 101, 102, 103},
        "processes": [Process(7, 1, ("dnsmasq", "-x"), 4026532184), Process(8, 1, ("/sbin/haproxy",), 4026532184)],
        "namespaces": {f"qdhcp-{NETWORK}": 4026532184},
        "links": {
            **{name: Link(name, UP) for name in (*bridges, far, TAP, DHCP_TAP)},
            near: Link(near, UP, ("172.30.0.1/24",)),
        },
        "bridges": {name: {"name": name, "datapath_type": "netdev"} for name in bridges},
        "interfaces": {
            name: {"name": name, "type": "", "error": None, "external_ids": ids.get(name, {}), "ofport": 1}
            for name in (*bridges, far, TAP, DHCP_TAP)
        },
        "integration_ports": [TAP, DHCP_TAP],
        "guests": {"instance-1": 1},
        "servers": [server()],
        "ports": ports,
        "networks": {one["id"]: one for one in networks},
        "subnets": [{"network_id": NETWORK, "enable_dhcp": True}],
        "hosts": HostsUp(
            tuple(HostService("box", name, True, True, reported)
                  for name in ("nova-compute", "nova-conductor", "nova-scheduler")),
            tuple(HostService("box", name, True, True, reported) for name in agents),
        ),
        "admin": FakeCloud(
            ports=ports, networks=networks, resource_providers=[{"name": "box"}],
            hypervisors=[{"hypervisor_hostname": "box"}], images=[],
        ),
    }  # fmt: skip


@pytest.fixture
def view(site: Site) -> View:
    view = View(site)
    vars(view).update(healthy(site))
    return view


def given(view: View, **facts: Any) -> None:
    """Let the view have seen something else."""
    vars(view).update(facts)


def bad(findings: Iterable[Finding]) -> list[Finding]:
    """Return the findings that are not right, each of which has a remedy."""
    wrong = [finding for finding in findings if not finding.ok]
    assert all(finding.remedy for finding in wrong)
    return wrong


def the_bad(findings: Iterable[Finding]) -> Finding:
    (finding,) = bad(findings)
    return finding


FROM_FACTS = (
    processes.check_supervisor, apis.check_apis, apis.check_token, data.check_database, data.check_messaging,
    switch.check_switch, switch.check_bridges, switch.check_host_pair, switch.check_interfaces, switch.check_taps,
    guests.check_hypervisor, guests.check_guests, guests.check_instances, agents.check_agents, networks.check_bindings,
    networks.check_dhcp, apis.check_images, apis.check_resource_provider,
)  # fmt: skip


@pytest.fixture(autouse=True)
def no_commands(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep tests off this machine: a command that is run is a fault."""

    def refuse(argv: Sequence[str], **options: Any) -> Result:
        raise AssertionError(f"{argv[0]} was run")

    for module in (view_module, data):
        monkeypatch.setattr(module, "run", refuse)


@pytest.mark.parametrize("check", FROM_FACTS, ids=lambda check: str(check.__name__))
def test_a_healthy_cloud_has_no_findings(view: View, check: Any) -> None:
    findings = list(check(view))
    assert findings and not bad(findings)


def test_nothing_is_left_over_on_a_healthy_cloud(view: View, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(linux_switch, "dhcp_namespaces", lambda site: [f"qdhcp-{NETWORK}"])
    assert not bad(networks.check_leftovers(view))


# All together


def test_what_a_check_raises_is_a_finding(view: View) -> None:
    def broken(view: View) -> Iterable[Finding]:
        yield Finding("first", True, "fine", "")
        raise CommandError(["virsh"], 1, "", "no\nanswer 5ecre75ecre75ecre75ecre75ecre7")

    first, second = checks.carry_out(Check("broken", broken), view)
    assert first.ok and not second.ok
    assert "virsh exited with status 1" in second.seen and "[hidden]" in second.seen and "5ecre7" not in second.seen
    assert second.remedy


def test_a_check_without_what_it_needs_is_left_out(view: View) -> None:
    given(view, token=(False, "no"))
    check = next(one for one in CHECKS if one.look is agents.check_agents)
    assert checks.carry_out(check, view) == []


def test_a_fact_that_failed_is_not_asked_for_again(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def silent(argv: Sequence[str], **options: Any) -> Result:
        asked.append(argv)
        raise CommandError(argv, 1, "", "no answer")

    monkeypatch.setattr(view_module, "run", silent)
    view = View(site)
    for _ in range(2):
        with pytest.raises(CommandError):
            view.guests  # noqa: B018
    assert len(asked) == 1
    assert not view.has("hypervisor")


def test_a_site_that_is_down_is_examined_without_a_cloud(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(view_module, "run", lambda argv, **options: Result(tuple(argv), 0, "[]", ""))
    findings = checks.examine(site)
    (supervisor,) = [finding for finding in findings if finding.what == "supervisor"]
    assert not supervisor.ok and supervisor.remedy.endswith("up")
    names = [finding.what for finding in findings]
    assert "disk" in names and "agents" not in names and "token" not in names
    # The checks' order is kept, however long each took.
    order = [check.what for check in CHECKS]
    assert [name for name in order if name in names] == [name for name in dict.fromkeys(names) if name in order]


def test_processes_without_a_supervisor_are_told_of(view: View) -> None:
    given(view, supervisor=(False, "it does not answer"))
    assert "4 processes" in the_bad(processes.check_supervisor(view)).seen


def test_remedies_name_another_root(view: View) -> None:
    assert view.command("up") == f"beastack --root {view.layout.root} up"
    assert str(view.layout.clouds_yaml) in view.openstack("server list")


# Reading what programs say


def test_rows_of_the_switch_are_read() -> None:
    text = json.dumps({
        "headings": ["name", "error", "external_ids", "tag", "trunks"],
        "data": [["tap1", ["set", []], ["map", [["vm-uuid", "u"]]], 4095, ["set", [1, 2]]],
                 ["tap2", "no such device", ["map", []], ["set", [7]], ["uuid", "x"]]],
    })  # fmt: skip
    assert answers.rows_of(text) == [
        {"name": "tap1", "error": None, "external_ids": {"vm-uuid": "u"}, "tag": 4095, "trunks": [1, 2]},
        {"name": "tap2", "error": "no such device", "external_ids": {}, "tag": 7, "trunks": "x"},
    ]


def test_states_of_guests_are_read() -> None:
    text = "Domain: 'instance-1'\n  state.state=1\n  state.reason=5\n\nDomain: 'it's'\n  state.state=5\n\n"
    assert answers.states_of(text) == {"instance-1": 1, "it's": 5}


def test_links_and_namespaces_are_read(site: Site, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    answers = {
        "address": [
            {"ifname": "bs-host", "flags": ["UP"], "addr_info": [{"local": "172.30.0.1", "prefixlen": 24}, {}]},
        ],
        "netns": [{"name": "here", "id": 1}, {"name": "dead"}],
    }
    monkeypatch.setattr(view_module, "run", lambda argv, **options: Result((), 0, json.dumps(answers[argv[2]]), ""))
    monkeypatch.setattr(view_module, "_NAMESPACES", tmp_path)
    (tmp_path / "here").touch()
    view = View(site)
    link = view.links["bs-host"]
    assert (link.up, link.carrier, link.addresses) == (True, False, ("172.30.0.1/24",))
    assert view.namespaces == {"here": (tmp_path / "here").stat().st_ino, "dead": None}


def test_descendants_are_all_below() -> None:
    tree = [Process(pid, parent, (), None) for pid, parent in ((2, 1), (3, 2), (4, 3), (5, 1))]
    assert host.descendants(tree, {2}) == {3, 4}


# The machine and the files


def test_a_full_disk(view: View, monkeypatch: pytest.MonkeyPatch) -> None:
    full = type("Usage", (), {"free": 5 << 20})
    monkeypatch.setattr(shutil, "disk_usage", lambda path: full)
    assert "5 MiB free" in the_bad(machine.check_disk(view)).seen


def test_files_from_the_future(view: View) -> None:
    later = time.time() + 3600
    view.layout.marker.touch()
    os.utime(view.layout.marker, (later, later))
    assert "set back" in the_bad(machine.check_clock(view)).seen


def test_secrets_that_others_can_read(view: View) -> None:
    view.layout.secrets.write_text("{}")
    view.layout.secrets.chmod(0o644)
    view.layout.clouds_yaml.write_text("")
    view.layout.clouds_yaml.chmod(0o600)
    finding = the_bad(files.check_secrets(view))
    assert finding.remedy == f"chmod 0600 {view.layout.secrets}" and "0644" in finding.seen
    view.layout.secrets.chmod(0o600)
    assert not bad(files.check_secrets(view))
    etc = view.layout.etc("nova-api")
    etc.mkdir(parents=True)
    (etc / "nova.conf").write_text("")
    (etc / "nova.conf").chmod(0o644)
    assert the_bad(files.check_secrets(view)).remedy == f"chmod 0640 {etc}/nova.conf"


@pytest.mark.parametrize(
    ("mark", "remedy"), [("rotation", "up"), ("restore", "up"), ("restore.new", "restore FILE")]
)
def test_what_was_cut_short(view: View, mark: str, remedy: str) -> None:
    assert list(files.check_unfinished(view)) == []
    (view.layout.root / mark).mkdir()
    assert the_bad(files.check_unfinished(view)).remedy.endswith(remedy)


def test_configuration_that_was_edited(view: View) -> None:
    for service in configuration.FILES:
        view.layout.etc(service).mkdir(parents=True)
        for name, text in configuration.render_files(view.site, service).items():
            (view.layout.etc(service) / name).write_text(text)
    assert not bad(files.check_configuration(view))
    (view.layout.etc("nova-api") / "api-paste.ini").unlink()
    assert the_bad(files.check_configuration(view)).seen.endswith(": nova-api")
    (view.layout.etc("nova-api") / "api-paste.ini").write_text(configuration.nova.pipeline(view.site))
    (view.layout.etc("glance") / "glance-api.conf").write_text("[DEFAULT]\n")
    assert the_bad(files.check_configuration(view)).seen.endswith(": glance")


def test_a_clouds_yaml_that_is_not_as_written(view: View) -> None:
    assert bad(files.check_clients(view))
    view.layout.clouds_yaml.write_text(clients.own_text(view.site))
    assert not bad(files.check_clients(view))


def test_damaged_records(view: View) -> None:
    records.add(view.layout.records, records.Record("directory", "/run/libvirt"))
    assert not bad(files.check_records(view))
    text = view.layout.records.read_text()
    view.layout.records.write_text(text + '{"half')
    assert not bad(files.check_records(view))
    view.layout.records.write_text('{"half\n' + text)
    assert "line 1 is damaged" in the_bad(files.check_records(view)).seen


def test_a_user_that_destroy_would_leave(view: View, monkeypatch: pytest.MonkeyPatch) -> None:
    name = view.layout.user("keystone")
    monkeypatch.setattr(linux, "user_exists", lambda user: user == name)
    assert f"userdel {name}" in the_bad(files.check_records(view)).remedy
    records.add(view.layout.records, records.Record("user", name))
    assert not bad(files.check_records(view))


def test_kvm_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    view = View(make_site(tmp_path, Description(host=LINUX, compute=Compute(virt_type="kvm"))))
    monkeypatch.setattr(kvm, "_KVM", tmp_path / "kvm")
    assert 'virt_type = "qemu"' in the_bad(kvm.check_kvm(view)).remedy
    (tmp_path / "kvm").touch()
    assert "cannot be used" in the_bad(kvm.check_kvm(view)).seen


def test_guests_emulated_need_no_kvm(view: View, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kvm, "_KVM", Path("/nonexistent"))
    assert not bad(kvm.check_kvm(view))


@pytest.mark.parametrize(("mode", "expected"), [(0o600, False), (0o660, False), (0o666, True)])
def test_who_may_open_a_device(tmp_path: Path, mode: int, expected: bool) -> None:
    status = os.stat_result((0o20000 | mode, 0, 0, 1, 0, 0, 0, 0, 0, 0))
    assert kvm.may_write(status, "nobody") is expected


# Processes


def service(view: View, name: str, **changes: Any) -> None:
    """Let the supervisor say something else of a service."""
    view.services[name] = {**view.services[name], **changes}


@pytest.fixture
def known_services(view: View, monkeypatch: pytest.MonkeyPatch) -> View:
    specs = [type("Spec", (), {"name": name}) for name in view.services]
    monkeypatch.setattr(view.steps, "all_services", lambda: specs)
    return view


def test_services_that_run(known_services: View) -> None:
    view = known_services
    service(view, "nova-compute", restarts=1, last_exit="killed by SIGKILL")
    (finding,) = processes.check_services(view)
    assert finding.ok and "nova-compute (1, last: killed by SIGKILL)" in finding.seen


def test_a_service_that_keeps_ending_tells_its_last_words(known_services: View) -> None:
    view = known_services
    service(view, "nova-compute", state="backoff", failures=3, restarts=3, last_exit="exit status 1")
    view.layout.log("nova-compute").write_text("libvirtError: Cannot connect\nsome: 5ecre75ecre75ecre75ecre75ecre7\n\n")
    finding = the_bad(processes.check_services(view))
    assert finding.what == "nova-compute" and "ended 3 times" in finding.seen
    assert finding.seen.endswith("libvirtError: Cannot connect")
    assert "logs nova-compute" in finding.remedy


def test_a_service_that_was_stopped(known_services: View) -> None:
    for name in ("nova-compute", "neutron-ovs-agent"):
        service(known_services, name, state="stopped", wanted=False, pid=None)
    finding = the_bad(processes.check_services(known_services))
    assert finding.seen.endswith("neutron-ovs-agent, nova-compute") and finding.remedy.endswith(" up")


def test_a_service_that_the_supervisor_does_not_know(known_services: View) -> None:
    del known_services.services["nova-compute"]
    assert "nova-compute" in the_bad(processes.check_services(known_services)).seen


def test_last_words_without_an_error_are_the_last_line(tmp_path: Path) -> None:
    log = tmp_path / "x.log"
    assert processes.last_words(log) == ""
    log.write_text("starting\nERROR stevedore.extension Could not load x\nlistening\n")
    assert processes.last_words(log) == "listening"
    log.write_text("E" * 1000 + " error\n")
    assert len(processes.last_words(log)) == processes.WORDS_MAX


def test_a_port_taken_by_another_program(view: View, monkeypatch: pytest.MonkeyPatch) -> None:
    port = view.site.ports.identity
    holders = {port: "nginx (pid 4711)", view.site.ports.image: "beastack (pid 100)"}
    monkeypatch.setattr(linux, "port_holder", holders.get)
    finding = the_bad(processes.check_shared_ports(view))
    assert str(port) in finding.seen and "nginx (pid 4711)" in finding.seen and "ports.identity" in finding.remedy


def test_tracebacks_are_counted_from_a_time_on() -> None:
    lines = [
        "2026-11-22 19:00:00.100 1 ERROR nova Traceback (most recent call last):",
        "2026-11-22 19:10:00.100 1 INFO nova fine",
        "Traceback (most recent call last):",
        "2026-11-22 19:11:00.100 1 ERROR nova Traceback (most recent call last):",
    ]
    assert processes.recent_tracebacks(lines, datetime(2026, 11, 22, 19, 5)) == 2


# Data services


def test_a_database_that_does_not_answer(view: View) -> None:
    given(view, database=(False, "ERROR 2002"))
    assert "logs mariadb" in the_bad(data.check_database(view)).remedy


def test_an_existing_database_is_named_without_its_password(tmp_path: Path) -> None:
    url = "mysql+pymysql://root:topsecret@db.example:3306"
    view = View(make_site(tmp_path, Description(host=LINUX, database=Database(url=url))))
    given(view, database=(False, f"refused {url}"), supervisor=(True, ""))
    check = next(one for one in CHECKS if one.look is data.check_database)
    (finding,) = checks.carry_out(check, view)
    assert "db.example" in finding.seen and "topsecret" not in finding.seen
    assert "database.url" in finding.remedy


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ("database keystone\nused 3\nlimit 500\n", "gone: glance"),
        ("{all}used 480\nlimit 500\n", "480 of 500"),
    ],
)
def test_databases_gone_or_full(view: View, monkeypatch: pytest.MonkeyPatch, answer: str, said: str) -> None:
    names = "".join(f"database {name}\n" for group in configuration.DATABASES.values() for name in group)
    monkeypatch.setattr(data_services, "sql", lambda *args, **options: answer.replace("{all}", names))
    assert said in the_bad(data.check_connections(view)).seen


def test_a_queue_that_nobody_reads(view: View, monkeypatch: pytest.MonkeyPatch) -> None:
    def unread(argv: Sequence[str], **options: Any) -> Result:
        raise CommandError(argv, 1, "", "no reader yet: compute.box\n")

    monkeypatch.setattr(data, "run", unread)
    finding = the_bad(data.check_queues(view))
    assert finding.seen == "nobody reads: compute.box" and finding.remedy.startswith("kill 103 ")


# APIs and agents


def test_an_api_that_does_not_answer(view: View) -> None:
    given(view, apis={**view.apis, "nova-api": (False, "Connection refused")})
    assert the_bad(apis.check_apis(view)).what == "nova-api"
    assert not view.has("compute") and view.has("network")


def test_a_token_that_is_not_given(site: Site) -> None:
    view = View(site)
    error = ApiUnreachable("identity", "POST", "/auth/tokens", "127.0.0.1:5000", "reset")

    class Unreachable(FakeCloud):
        def refresh(self) -> None:
            raise error

    given(view, apis={"keystone": (True, "")}, admin=Unreachable())
    assert "did not answer" in the_bad(apis.check_token(view)).seen


def given_agent(view: View, binary: str, **changes: Any) -> None:
    """Let one service of this host report something else."""

    def changed(listing: tuple[HostService, ...]) -> tuple[HostService, ...]:
        return tuple(HostService(**{**vars(one), **changes}) if one.binary == binary else one for one in listing)

    given(view, hosts=HostsUp(changed(view.hosts.compute), changed(view.hosts.network)))


@pytest.mark.parametrize(
    ("binary", "changes", "said", "remedy"),
    [
        ("neutron-openvswitch-agent", {"alive": False}, "does not report", "kill 102"),
        ("nova-compute", {"enabled": False}, "is disabled", "service set --enable box nova-compute"),
        ("neutron-dhcp-agent", {"enabled": False}, "is disabled", "network agent set --enable"),
    ],
)
def test_agents(view: View, binary: str, changes: Mapping[str, Any], said: str, remedy: str) -> None:
    given_agent(view, binary, **changes)
    finding = the_bad(agents.check_agents(view))
    assert said in finding.seen and remedy in finding.remedy


def test_an_agent_with_another_clock(view: View) -> None:
    later = (datetime.now(UTC) + timedelta(hours=1)).strftime("%Y-%m-%d %H:%M:%S")
    given_agent(view, "nova-compute", reported=later)
    assert "from the future" in the_bad(agents.check_agents(view)).seen


def test_an_agent_that_never_reported(view: View) -> None:
    given(view, hosts=HostsUp(view.hosts.compute, view.hosts.network[1:]))
    assert "neutron-openvswitch-agent never reported" in the_bad(agents.check_agents(view)).seen


def test_a_host_that_gets_no_instances(view: View) -> None:
    given(view, admin=FakeCloud(resource_providers=[], hypervisors=[]))
    assert "placement does not know box" in the_bad(apis.check_resource_provider(view)).seen


# The switch


def test_bridges_missing_or_in_the_kernel(view: View) -> None:
    integration = view.layout.interface("int")
    given(view, bridges={**view.bridges, integration: {"name": integration, "datapath_type": ""}})
    assert "datapath_type=netdev" in the_bad(switch.check_bridges(view)).remedy
    given(view, bridges={}, links={})
    assert len(bad(switch.check_bridges(view))) == 3


def test_a_switch_without_its_agent(view: View, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(view, "table", lambda *columns: [{"target": "tcp:127.0.0.1", "is_connected": False}])
    assert the_bad(switch.check_controllers(view)).remedy.startswith("kill 102")


@pytest.mark.parametrize(
    ("suffix", "link", "remedy"),
    [
        ("host", None, "up.json"),
        ("exth", Link("x", frozenset()), "ip link set dev"),
        ("host", Link("x", UP, ("10.0.0.1/24",)), "ip address replace 172.30.0.1/24"),
    ],
)
def test_the_host_is_off_the_provider_network(view: View, suffix: str, link: Link | None, remedy: str) -> None:
    name = view.layout.interface(suffix)
    others = {key: value for key, value in view.links.items() if key != name}
    given(view, links=others if link is None else {**others, name: link})
    assert remedy in the_bad(switch.check_host_pair(view)).remedy


def test_an_interface_in_error(view: View) -> None:
    view.interfaces[TAP]["error"] = "could not open network device (No such device)"
    view.links.pop(TAP)
    finding = the_bad(switch.check_interfaces(view))
    assert "instance first" in finding.seen and f"reboot --hard {SERVER}" in finding.remedy
    # What is not there is told of once.
    assert not bad(switch.check_taps(view))


def test_a_tap_that_is_down_names_its_instance(view: View) -> None:
    view.links[TAP] = Link(TAP, frozenset({"BROADCAST"}))
    finding = the_bad(switch.check_taps(view))
    assert "instance first" in finding.seen and finding.remedy == f"ip link set dev {TAP} up"
    given(view, servers=[server(status="SHUTOFF")])
    assert not bad(switch.check_taps(view))


def test_a_tap_without_a_guest(view: View) -> None:
    view.links[TAP] = Link(TAP, frozenset({"UP"}))
    assert "connected to no guest" in the_bad(switch.check_taps(view)).seen


def test_a_tap_of_an_instance_is_told_of_without_nova(view: View) -> None:
    view.links[TAP] = Link(TAP, frozenset())
    given(view, token=(False, "no"))
    assert SERVER in the_bad(switch.check_taps(view)).seen


def test_a_port_that_the_agent_could_not_bind(view: View, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(view, "table", lambda *columns: [{"name": TAP, "tag": 4095}, {"name": DHCP_TAP, "tag": 1}])
    assert "first is cut off" in the_bad(switch.check_tags(view)).seen


# Guests


@pytest.mark.parametrize(
    ("status", "state", "said"),
    [
        ("ACTIVE", 5, "nova says first is ACTIVE, libvirt says it is shut off"),
        ("ACTIVE", None, "libvirt says it is not there"),
        ("SHUTOFF", 1, "nova says first is SHUTOFF, libvirt says it is running"),
    ],
)
def test_nova_and_libvirt_disagree(view: View, status: str, state: int | None, said: str) -> None:
    given(view, servers=[server(status=status)], guests={} if state is None else {"instance-1": state})
    assert said in the_bad(guests.check_guests(view)).seen
    # While something is under way they may.
    given(view, servers=[server(status=status, **{"OS-EXT-STS:task_state": "powering-off"})])
    assert not bad(guests.check_guests(view))


def test_instances_of_other_hosts_are_theirs(view: View) -> None:
    given(view, servers=[server(**{"OS-EXT-SRV-ATTR:host": "other"})], guests={})
    assert not bad(guests.check_guests(view))


def test_a_guest_that_nova_does_not_know(view: View) -> None:
    given(view, guests={"instance-1": 1, "instance-9": 5})
    assert "undefine --nvram instance-9" in the_bad(guests.check_guests(view)).remedy


def test_an_instance_in_error_tells_its_fault(view: View) -> None:
    fault = {"message": "No valid host\nwas found."}
    given(view, servers=[server(status="ERROR", fault=fault, **{"OS-SRV-USG:launched_at": None})])
    finding = the_bad(guests.check_instances(view))
    assert "No valid host was found." in finding.seen and f"server delete {SERVER}" in finding.remedy


def test_an_instance_that_stopped_half_way(view: View) -> None:
    now = datetime.now(UTC)
    task = {"OS-EXT-STS:task_state": "spawning"}
    given(view, servers=[server(status="BUILD", updated=(now - timedelta(hours=1)).isoformat(), **task)])
    assert "BUILD (spawning)" in the_bad(guests.check_instances(view)).seen
    given(view, servers=[server(status="BUILD", updated=now.isoformat(), **task)])
    assert not bad(guests.check_instances(view))


# Networks


def test_a_port_that_failed_to_be_bound(view: View) -> None:
    given(view, ports=[{**view.ports[0], "binding:vif_type": "binding_failed"}])
    finding = the_bad(networks.check_bindings(view))
    assert "of first" in finding.seen and PORT in finding.remedy


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        ({"ports": []}, "no DHCP agent serves it"),
        ({"namespaces": {}}, "is gone"),
        ({"processes": [Process(8, 1, ("haproxy",), 4026532184)]}, "no dnsmasq"),
        ({"processes": [Process(7, 1, ("dnsmasq",), 4026532184), Process(8, 1, ("haproxy",), 1)]}, "no haproxy"),
    ],
)
def test_a_network_that_is_not_served(view: View, facts: dict[str, Any], said: str) -> None:
    given(view, **facts)
    finding = the_bad(networks.check_dhcp(view))
    assert said in finding.seen and "network private" in finding.seen


def test_a_network_served_elsewhere_or_without_dhcp(view: View) -> None:
    given(view, namespaces={}, ports=[{**view.ports[1], "binding:host_id": "other"}])
    assert not bad(networks.check_dhcp(view))
    given(view, ports=[], subnets=[{"network_id": NETWORK, "enable_dhcp": False}])
    assert not bad(networks.check_dhcp(view))


@pytest.fixture
def no_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(linux_switch, "dhcp_namespaces", lambda site: [])
    monkeypatch.setattr(linux_switch, "link_exists", lambda name: True)


def test_taps_and_namespaces_of_nothing(view: View, no_files: None) -> None:
    ours, foreign, used = "tap00000000-01", "tap00000000-02", "tap00000000-03"
    for name, flags in ((ours, UP), (foreign, frozenset({"UP"})), (used, UP)):
        view.links[name] = Link(name, flags)
    view.integration_ports.append(ours)
    view.namespaces["qdhcp-gone"] = 5
    findings = bad(networks.check_leftovers(view))
    assert [finding.seen.split()[2] for finding in findings] == [ours, foreign, "qdhcp-gone"]
    assert f"del-port {ours}" in findings[0].remedy
    assert findings[1].remedy.startswith("unless another cloud")


def test_what_was_made_meanwhile_is_not_left_over(view: View, no_files: None) -> None:
    new = "00000000-0100-4000-8000-000000000000"
    view.links[f"tap{new[:11]}"] = Link(f"tap{new[:11]}", UP)
    view.integration_ports.append(f"tap{new[:11]}")
    given(view, admin=FakeCloud(ports=[*view.ports, {"id": new}], networks=list(view.networks.values())))
    assert not bad(networks.check_leftovers(view))
