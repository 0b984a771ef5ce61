"""Other hosts: what each role runs, what a host is told, and how one is added, looked at, joined and removed."""

from __future__ import annotations

import json
import stat
from argparse import Namespace
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from beastack.cli import other_hosts as commands
from beastack.cli.main import main
from beastack.site import configuration, data_services, joining, operate, other_hosts, renewal, secrets, services
from beastack.site.api import Cloud, CloudError
from beastack.site.configuration import Facts, Site
from beastack.site.description import (
    Control,
    Description,
    DescriptionError,
    Hosts,
    Messaging,
    Migration,
    load_description,
)
from beastack.site.host import freebsd
from beastack.site.joining import JoinError
from beastack.site.layout import Layout
from beastack.site.members import OtherHostError, count_guest_hosts, read_members, registry
from beastack.site.operate import SiteError
from beastack.site.plan import Found, make_plan
from beastack.site.steps import Steps, user_names_of
from beastack.transfer import protocol
from beastack.transfer.client import Client, TransferError
from beastack.transfer.files import Files
from fake_cloud import ADMIN_PASSWORD, REGION, FakeCloud
from test_transfer import UUID, listening, no_instance

FACTS = Facts(cpus=2, hostname="machine", novnc_pages="/x", python="/usr/local/bin/python3.11", helper="/x")
CONTROL = f"""\
[site]
region = "{REGION}"
bind_address = "10.9.0.1"
[host]
kind = "freebsd"
role = "control+network"
name = "control"
[messaging]
listen = "10.9.0.1"
[network]
underlay = "em0"
local_ip = "10.9.0.1"
mtu = 1400
"""


def control_site(tmp_path: Path, text: str = CONTROL, **changes: str) -> Site:
    file = tmp_path / "site.toml"
    for before, after in changes.items():
        text = text.replace(before, after)
    file.write_text(text)
    layout = Layout(tmp_path / "site")
    layout.root.mkdir(exist_ok=True)
    return Site(layout, load_description(file), secrets.load_or_make(layout.secrets), FACTS)


def other_site(tmp_path: Path, file: Path) -> Site:
    return Site(Layout(tmp_path / "other"), joining.read_file(file), dict.fromkeys(secrets.NAMES, "0" * 32), FACTS)


@pytest.fixture
def fake() -> Iterator[FakeCloud]:
    made = FakeCloud()
    yield made
    made.stop()


@pytest.fixture
def cloud(fake: FakeCloud) -> Iterator[Cloud]:
    with closing(Cloud(fake.auth_url, "admin", ADMIN_PASSWORD, "admin", region=REGION)) as client:
        yield client


@pytest.fixture(autouse=True)
def broker(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The users of the site's own broker."""
    users: dict[str, str] = {}
    monkeypatch.setattr(
        data_services, "ensure_broker_user", lambda site, programs, name, password: users.update({name: password})
    )
    monkeypatch.setattr(data_services, "remove_broker_user", lambda site, programs, name: users.pop(name, None))
    return users


def add(site: Site, cloud: Cloud, name: str = "left", role: str = "compute", address: str = "10.9.0.2/24") -> Path:
    return other_hosts.add(site, cloud, name, role, address, "em0", other_hosts.description_file(site.layout, name))


def attempts(site: Site) -> set[object]:
    """Return on how many hosts nova's services try to start an instance, when the site is opened again."""
    again = replace(site, added_guest_hosts=count_guest_hosts(site.layout))
    return {
        sections(again)["scheduler"]["max_attempts"]
        for sections in (configuration.nova.conductor, configuration.nova.scheduler)
    }


@pytest.mark.parametrize(("role", "counts"), [("all", [1, 1, 2, 3, 3]), ("control+network", [1, 1, 1, 2, 3])])
def test_an_instance_is_tried_once_on_each_host(tmp_path: Path, cloud: Cloud, role: str, counts: list[int]) -> None:
    site = control_site(tmp_path, CONTROL.replace("control+network", role))
    assert attempts(site) == {counts[0]}
    for number, role_of_other in enumerate(("network", "compute", "network+compute", "compute"), 1):
        add(site, cloud, f"node{number}", role_of_other, f"10.9.0.{number + 1}/24")
        assert attempts(site) == {counts[number]}


# Roles


@pytest.mark.parametrize(
    ("role", "control", "network", "guests", "switch"),
    [
        ("all", True, True, True, True), ("control", True, False, False, False), ("network", False, True, False, True),
        ("compute", False, False, True, True), ("control+network", True, True, False, True),
        ("control+compute", True, False, True, True), ("network+compute", False, True, True, True),
    ],
)  # fmt: skip
def test_a_role_is_a_set_of_three(role: str, control: bool, network: bool, guests: bool, switch: bool) -> None:
    host = Hosts(role=role)
    assert (host.has_control, host.has_network, host.has_guests, host.has_switch) == (control, network, guests, switch)


def test_a_compute_host_runs_guests_and_their_switch_and_nothing_else(tmp_path: Path, cloud: Cloud) -> None:
    site = other_site(tmp_path, add(control_site(tmp_path), cloud))
    assert [unit.name for unit in services.units(site.description)] == ["nova-compute", "neutron-ovs-agent"]
    assert {spec.name for spec in Steps(site).all_services()} == {
        "ovsdb-server", "ovs-vswitchd", "libvirtd", "console", "transfer", "nova-compute", "neutron-ovs-agent",
    }  # fmt: skip
    plan = {step.name: step for step in make_plan(site.description, site.layout, Found())}
    assert set(plan) == {
        "packages", "environment", "users", "kernel", "files", "supervisor", "preload", "switch", "hypervisor",
        "messaging", "agents", "compute", "hosts",
    }  # fmt: skip
    assert set(plan["compute"].after) == {"hypervisor", "switch", "messaging", "preload"}
    assert set(plan["hosts"].after) == {"agents", "compute"}
    packages = set(freebsd.packages(site.description))
    assert packages >= {"openvswitch", "libvirt", "edk2-bhyve", "qemu-tools"}
    assert not packages & {"dnsmasq", "haproxy", "rabbitmq", "mariadb118-server"}
    users = user_names_of(site.layout, site.description)
    assert {name.partition("-")[2] for name in users} == {
        "nova-compute", "neutron-ovs-agent", "switch", "libvirt", "console",
    }  # fmt: skip
    modules = {name for parent in services.parents(site) for name in parent.modules}
    assert "neutron.cmd.agents.dhcp" not in modules and "neutron.cmd.server" not in modules


def opened(site: Site, *, takes_disks: bool) -> dict[str, list[str]]:
    """Return what the plan says that a host listens on, by the steps that say it."""
    plan = make_plan(site.description, site.layout, Found(takes_disks=takes_disks))
    said = {step.name: [line for line in step.changes if line.startswith("listens on ")] for step in plan}
    return {name: lines for name, lines in said.items() if lines}


def test_the_plan_says_what_a_compute_host_listens_on_and_for_whom(tmp_path: Path, cloud: Cloud) -> None:
    site = other_site(tmp_path, add(control_site(tmp_path), cloud))
    assert operate.find_facts(site.layout, site.description).takes_disks
    proxies = "for the control host's proxies alone: there is no password"
    assert opened(site, takes_disks=True) == {
        "switch": ["listens on 10.9.0.2, UDP 4789: tunnels of project networks, for the other hosts of the cloud"],
        "hypervisor": [
            "listens on 10.9.0.2, TCP 16636: disks of instances, for other hosts, by certificate",
            f"listens on 10.9.0.2, TCP 5900 to 5999: guests' screens, {proxies}",
            f"listens on 10.9.0.2, TCP 10000 to 10999: guests' serial lines, {proxies}",
        ],
    }
    # What it says is where the services are told to listen.
    transfer, console = services.transfer_service(site).argv, services.console_service(site).argv
    assert transfer[transfer.index("--listen") + 1] == console[console.index("--listen") + 1] == "10.9.0.2"
    assert (transfer[transfer.index("--port") + 1], console[console.index("--ports") + 1]) == ("16636", "10000:10999")


def test_the_plan_says_what_becomes_of_a_compute_hosts_interfaces(tmp_path: Path, cloud: Cloud) -> None:
    site = other_site(tmp_path, add(control_site(tmp_path), cloud))
    plan = {step.name: step for step in make_plan(site.description, site.layout, Found())}
    prefix = site.layout.prefix
    assert plan["switch"].changes[:2] == (
        f"network interfaces: {prefix}-int {prefix}-tun",
        f"the addresses and routes of em0 go to {prefix}-und: a session over it is interrupted",
    )


def test_the_plan_says_what_a_control_host_listens_on(tmp_path: Path, cloud: Cloud) -> None:
    site = control_site(tmp_path, **{"control+network": "all"})
    before = opened(site, takes_disks=operate.find_facts(site.layout, site.description).takes_disks)
    assert "hypervisor" not in before
    assert before["identity"] == ["listens on 10.9.0.1, TCP 5000: identity API, for clients"]
    assert before["messaging"] == ["listens on 10.9.0.1, TCP 5673: RabbitMQ, for the other hosts, by password"]
    assert len(before["compute-service"]) == 4
    add(site, cloud)
    after = opened(site, takes_disks=operate.find_facts(site.layout, site.description).takes_disks)
    assert after == {
        **before, "hypervisor": ["listens on 10.9.0.1, TCP 16636: disks of instances, for other hosts, by certificate"],
    }  # fmt: skip


def test_a_host_that_is_alone_listens_on_nothing_beyond_loopback(tmp_path: Path) -> None:
    site = Site(Layout(tmp_path), Description(host=Hosts(kind="freebsd")), {}, FACTS)
    assert opened(site, takes_disks=False) == {}


def test_a_control_host_with_guests_but_no_networks_boots_nothing_first(tmp_path: Path) -> None:
    description = Description(host=Hosts(kind="freebsd", role="control+compute"))
    names = [step.name for step in make_plan(description, Layout(tmp_path), Found())]
    assert "networks" not in names and "instance" not in names
    assert {"image", "compute", "agents", "hosts"} <= set(names)


# What a host is told


def test_a_compute_host_is_told_no_more_than_it_needs(tmp_path: Path, cloud: Cloud, broker: dict[str, str]) -> None:
    site = control_site(tmp_path)
    file = add(site, cloud)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    text = file.read_text()
    kept = [value for value in site.secrets.values() if value in text]
    assert kept == [] and "mysql" not in text
    assert "admin" not in text.replace("administrator", "")
    described = load_description(file)
    assert (described.host.role, described.host.name, described.network.mtu) == ("compute", "left", 1400)
    assert described.messaging.url == f"rabbit://left:{broker['left']}@10.9.0.1:5673/"
    assert described.control.metadata_secret is None


def test_a_network_host_is_told_the_metadata_secret_and_has_no_account(
    tmp_path: Path, cloud: Cloud, fake: FakeCloud
) -> None:
    site = control_site(tmp_path)
    described = load_description(add(site, cloud, "net", "network"))
    assert described.control == Control(address="10.9.0.1", metadata_secret=site.secrets["metadata-proxy"])
    assert not described.migration.is_set
    assert [user["name"] for user in fake.all("identity", "users")] == ["admin"]
    operate.check_kind(described)


def test_the_services_of_another_host_are_configured_for_the_control_host(tmp_path: Path, cloud: Cloud) -> None:
    site = other_site(tmp_path, add(control_site(tmp_path), cloud))
    nova = configuration.FILES["nova-compute"][1](site)
    assert (nova["DEFAULT"]["host"], nova["DEFAULT"]["my_ip"]) == ("left", "10.9.0.2")
    for section in ("placement", "neutron", "glance", "service_user", "keystone_authtoken"):
        assert nova[section]["auth_url"] == "http://10.9.0.1:5000/v3"
        assert nova[section]["username"] == "nova-left"
    # The proxies are on the control host: they have to reach the consoles, and users the proxies.
    assert nova["vnc"] == {
        "enabled": True, "novncproxy_base_url": "http://10.9.0.1:6080/vnc_lite.html", "server_listen": "10.9.0.2",
        "server_proxyclient_address": "10.9.0.2",
    }  # fmt: skip
    assert nova["serial_console"]["proxyclient_address"] == "10.9.0.2"
    assert nova["serial_console"]["base_url"] == "ws://10.9.0.1:6083/"
    argv = services.console_service(site).argv
    assert argv[argv.index("--listen") + 1] == "10.9.0.2"
    # No provider network reaches it.
    assert configuration.FILES["neutron-ovs-agent"][1](site)["OVS"]["bridge_mappings"] == ""
    assert nova["libvirt"]["migration_inbound_addr"] == "10.9.0.2"
    assert not any("connection" in options for options in nova.values() if "mysql" in str(options))


def test_consoles_stay_on_loopback_on_the_control_host(tmp_path: Path) -> None:
    site = control_site(tmp_path, **{"control+network": "all"})
    nova = configuration.FILES["nova-compute"][1](site)
    assert (nova["vnc"]["server_listen"], nova["serial_console"]["proxyclient_address"]) == ("127.0.0.1", "127.0.0.1")
    assert "transfer" not in {spec.name for spec in Steps(site).all_services()}


def test_a_control_host_with_guests_takes_disks_once_there_is_another(tmp_path: Path, cloud: Cloud) -> None:
    site = control_site(tmp_path, **{"control+network": "all"})
    add(site, cloud)
    site = replace(site, secrets=secrets.load_or_make(site.layout.secrets))
    (spec,) = [spec for spec in Steps(site).all_services() if spec.name == "transfer"]
    assert spec.argv[spec.argv.index("--listen") + 1] == "10.9.0.1"
    assert spec.user == site.layout.user("nova-compute")


def test_hosts_trust_one_authority_and_have_keys_of_their_own(tmp_path: Path, cloud: Cloud) -> None:
    site = control_site(tmp_path)
    left, right = (
        load_description(add(site, cloud, name, address=address)).migration
        for name, address in (("left", "10.9.0.2/24"), ("right", "10.9.0.3/24"))
    )
    assert left.authority == right.authority
    assert left.key != right.key
    assert secrets.load_or_make(site.layout.secrets)["migration-authority-key"] not in (left.key, right.key)


@pytest.mark.parametrize(("left_out", "named"), [("network_user", "nova-left"), ("", "neutron-elsewhere")])
def test_another_cloud_may_have_other_users_for_its_networks(tmp_path: Path, left_out: str, named: str) -> None:
    control = Control(
        identity_url="http://10.0.0.9:5000/v3", compute_user="nova-left", compute_password="x",
        network_user=None if left_out else "neutron-elsewhere", network_password="y", project="services", domain="Ops",
    )  # fmt: skip
    messaging = Messaging(url="rabbit://left:x@10.0.0.9/")
    description = Description(host=Hosts(kind="freebsd", role="compute"), control=control, messaging=messaging)
    nova = configuration.FILES["nova-compute"][1](Site(Layout(tmp_path), description, {}, FACTS))
    assert nova["neutron"]["username"] == named
    assert nova["placement"]["username"] == "nova-left"
    assert (nova["neutron"]["project_name"], nova["neutron"]["user_domain_name"]) == ("services", "Ops")
    assert nova["vnc"] == {"enabled": False}


# Adding


def test_what_others_do_not_reach_is_named_with_its_key(tmp_path: Path, cloud: Cloud, fake: FakeCloud) -> None:
    site = control_site(tmp_path, **{"10.9.0.1": "127.0.0.1"})
    with pytest.raises(OtherHostError) as raised:
        add(site, cloud)
    said = str(raised.value)
    assert "site.bind_address, messaging.listen, network.local_ip" in said and "site.toml" in said
    assert fake.changes() == []


@pytest.mark.parametrize(
    ("name", "role", "address", "said"),
    [
        ("control", "compute", "10.9.0.2/24", "the cloud has a host control already"),
        ("-x", "compute", "10.9.0.2/24", "cannot be a host's name"), ("a b", "compute", "10.9.0.2/24", "name"),
        ("left", "control", "10.9.0.2/24", "cannot have the role control"),
        ("left", "all", "10.9.0.2/24", "cannot have the role all"),
        ("left", "compute", "10.9.0.2", "lacks the length of its prefix"),
        ("left", "compute", "10.9.0/24", "is no address"), ("left", "compute", "127.0.0.1/8", "not an address that"),
        ("left", "compute", "10.9.0.1/24", "this host's own address"),
        ("running", "compute", "10.9.0.2/24", "has a host running already"),
    ],
)  # fmt: skip
def test_what_cannot_be_added_is_said_in_one_line(
    tmp_path: Path, cloud: Cloud, fake: FakeCloud, name: str, role: str, address: str, said: str
) -> None:
    fake.add("compute", "os-services", host="running", binary="nova-compute", state="up", status="enabled")
    with pytest.raises(OtherHostError, match=said):
        add(control_site(tmp_path), cloud, name, role, address)
    assert fake.changes() == []
    assert not registry(Layout(tmp_path / "site")).exists()


def test_a_name_and_an_address_are_taken_once(tmp_path: Path, cloud: Cloud) -> None:
    site = control_site(tmp_path)
    add(site, cloud)
    with pytest.raises(OtherHostError, match="there is a host left already"):
        add(site, cloud, address="10.9.0.3/24")
    with pytest.raises(OtherHostError, match=r"10.9.0.2 is the address of left"):
        add(site, cloud, "right")


def test_a_damaged_list_is_said(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    registry(layout).write_text("[1]")
    with pytest.raises(OtherHostError, match="is damaged"):
        read_members(layout)


# Looking, and removing


def give_services(fake: FakeCloud, host: str, state: str = "up") -> None:
    fake.add("compute", "os-services", host=host, binary="nova-compute", state=state, status="enabled")
    alive = state == "up"
    fake.add(
        "network", "agents", host=host, binary="neutron-openvswitch-agent", alive=alive, admin_state_up=True,
        heartbeat_timestamp="2026-01-01 00:00:00",
    )  # fmt: skip


def give_instance(fake: FakeCloud, host: str) -> None:
    fake.add("compute", "servers", name="web", host=host, **{"OS-EXT-SRV-ATTR:host": host})


def test_hosts_are_listed_as_the_cloud_sees_them(tmp_path: Path, cloud: Cloud, fake: FakeCloud) -> None:
    site = control_site(tmp_path)
    for number, name in enumerate(("left", "right", "late"), 2):
        add(site, cloud, name, address=f"10.9.0.{number}/24")
    give_services(fake, "left")
    give_services(fake, "right", "down")
    give_instance(fake, "left")
    found = {row.name: row for row in other_hosts.list_hosts(site, cloud)}
    assert list(found) == ["control", "left", "right", "late"]
    assert [found[name].state for name in ("left", "right", "late")] == ["up", "down", "awaited"]
    assert (found["left"].services, found["left"].alive, found["left"].instances) == (2, 2, 1)
    assert (found["left"].address, found["left"].role) == ("10.9.0.2", "compute")


def test_a_host_with_instances_is_not_removed(tmp_path: Path, cloud: Cloud, fake: FakeCloud) -> None:
    site = control_site(tmp_path)
    add(site, cloud)
    give_instance(fake, "left")
    before = fake.changes()
    with pytest.raises(OtherHostError, match=r"left has 1 instance \(web\)"):
        other_hosts.remove(site, cloud, "left", print)
    assert fake.changes() == before


def test_nothing_is_left_of_a_removed_host(
    tmp_path: Path, cloud: Cloud, fake: FakeCloud, broker: dict[str, str]
) -> None:
    site = control_site(tmp_path)
    file = add(site, cloud)
    give_services(fake, "left", "down")
    give_services(fake, "other")
    other_hosts.remove(site, cloud, "left", print)
    assert [one["host"] for one in fake.all("compute", "os-services")] == ["other"]
    assert [one["host"] for one in fake.all("network", "agents")] == ["other"]
    assert [user["name"] for user in fake.all("identity", "users")] == ["admin"]
    assert broker == {} and not file.exists()
    assert read_members(site.layout) == {}
    with pytest.raises(OtherHostError, match="there is no host left; none was added"):
        other_hosts.remove(site, cloud, "left", print)


def test_a_host_that_runs_is_not_removed(tmp_path: Path, cloud: Cloud, fake: FakeCloud) -> None:
    site = control_site(tmp_path)
    add(site, cloud)
    give_services(fake, "left")
    asked = []

    def report(text: str) -> None:
        asked.append(text)

    real = other_hosts._services_of

    def reporting(cloud: Cloud) -> list[Any]:
        # It goes on reporting while it is waited for.
        for agent in fake.all("network", "agents"):
            if asked:
                agent["heartbeat_timestamp"] = f"2026-01-01 00:00:{10 + len(asked):02}"
                asked.append("")
        return real(cloud)

    other_hosts._services_of = reporting
    try:
        with pytest.raises(OtherHostError, match="left still runs"):
            other_hosts.remove(site, cloud, "left", report)
    finally:
        other_hosts._services_of = real
    assert len(fake.all("network", "agents")) == 1


def test_this_host_is_not_removed(tmp_path: Path, cloud: Cloud) -> None:
    with pytest.raises(OtherHostError, match="destroy removes the whole cloud"):
        other_hosts.remove(control_site(tmp_path), cloud, "control", print)


# Renewing certificates


def files_of(directory: Path, migration: Migration) -> Path:
    """Return where a host's certificate lies as its services read it."""
    directory.mkdir()
    for name, text in (
        ("authority", migration.authority), ("certificate", migration.certificate), ("key", migration.key),
    ):  # fmt: skip
        assert text is not None
        (directory / f"{name}.pem").write_text(text)
    return directory


def test_the_certificate_of_a_removed_host_ends_with_a_renewal(
    tmp_path: Path, cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The one that takes disks is reached on loopback here; hosts are not added with such an address otherwise.
    monkeypatch.setattr(other_hosts, "_read_address", renewal.ipaddress.ip_interface)
    site = control_site(tmp_path)
    kept = add(site, cloud, "kept", address="127.0.0.1/8")
    gone = load_description(add(site, cloud, "gone")).migration
    other_hosts.remove(site, cloud, "gone", lambda text: None)
    removed, path = files_of(tmp_path / "removed", gone), f"/x/{UUID}"
    instances = tmp_path / "instances"
    instances.mkdir()
    before = files_of(tmp_path / "before", load_description(kept).migration)
    with listening(before, Files(instances, no_instance)) as port:
        Client(removed, port).ask("127.0.0.1", protocol.MAKE_DIRECTORY, path)
        Client(removed, port).ask("127.0.0.1", protocol.REMOVE_DIRECTORY, path)
    assert renewal.renew(site) == {"kept": kept}
    after = files_of(tmp_path / "after", load_description(kept).migration)
    with listening(after, Files(instances, no_instance)) as port:
        for certificate in (removed, before):
            with pytest.raises(TransferError):
                Client(certificate, port).ask("127.0.0.1", protocol.MAKE_DIRECTORY, path)
        assert list(instances.iterdir()) == []
        Client(after, port).ask("127.0.0.1", protocol.MAKE_DIRECTORY, path)
    assert [entry.name for entry in instances.iterdir()] == [UUID]


def test_a_renewal_changes_certificates_and_nothing_else(tmp_path: Path, cloud: Cloud) -> None:
    site = control_site(tmp_path, **{"control+network": "all"})
    files = [add(site, cloud), add(site, cloud, "net", "network", "10.9.0.3/24")]
    before = [load_description(file) for file in files]
    known = secrets.load_or_make(site.layout.secrets)
    renewal.renew(site)
    after = [load_description(file) for file in files]
    for was, now in zip(before, after, strict=True):
        assert replace(now, migration=Migration()) == replace(was, migration=Migration())
    assert not {after[0].migration.certificate, after[0].migration.key} & {
        before[0].migration.certificate, before[0].migration.key,
    }  # fmt: skip
    assert stat.S_IMODE(files[0].stat().st_mode) == 0o600
    changed = secrets.load_or_make(site.layout.secrets)
    assert changed["migration-authority"] == after[0].migration.authority
    assert {name for name in known if known[name] != changed[name]} == {
        "migration-authority", "migration-authority-key", "migration-certificate", "migration-key",
    }  # fmt: skip
    # Its transfer daemon is another process then.
    (old, new) = (services.transfer_service(replace(site, secrets=one)).digest() for one in (known, changed))
    assert old != new


def test_a_renewal_says_what_to_run_where(tmp_path: Path, cloud: Cloud, capsys: pytest.CaptureFixture[str]) -> None:
    site = control_site(tmp_path)
    file = add(site, cloud)
    assert commands.VERBS["renew"](site, Namespace(json=False)) == 0
    said = capsys.readouterr().out
    assert "    beastack up\n" in said and f"Copy {file} to left" in said and "    beastack join left.toml\n" in said
    assert commands.VERBS["renew"](site, Namespace(json=True)) == 0
    assert json.loads(capsys.readouterr().out) == [
        {"name": "left", "file": str(file), "command": "beastack join left.toml"}
    ]


def test_nothing_is_renewed_without_every_description(tmp_path: Path, cloud: Cloud) -> None:
    site = control_site(tmp_path)
    with pytest.raises(OtherHostError, match="no other host with guests"):
        renewal.renew(site)
    kept, lost = add(site, cloud, "kept"), add(site, cloud, "lost", address="10.9.0.3/24")
    before, known = kept.read_text(), site.layout.secrets.read_text()
    lost.unlink()
    with pytest.raises(OtherHostError, match="the description of lost"):
        renewal.renew(site)
    lost.write_text("[migration]\n")
    with pytest.raises(OtherHostError, match="no certificate of lost"):
        renewal.renew(site)
    assert (kept.read_text(), site.layout.secrets.read_text()) == (before, known)


# Joining


def joining_site(tmp_path: Path, fake: FakeCloud, monkeypatch: pytest.MonkeyPatch, role: str = "compute") -> Site:
    monkeypatch.setattr(data_services, "messaging_answers", lambda site: (True, "it answers"))
    fake.passwords["nova"] = "secret"
    control = Control(identity_url=fake.auth_url, compute_password="secret", project="admin")
    described = Description(host=Hosts(kind="freebsd", role=role, name="left"), control=control)
    described = replace(described, site=replace(described.site, region=REGION))
    fake.add("image", "images", name="x", status="active")
    return Site(Layout(tmp_path), described, {}, FACTS)


def test_a_cloud_of_open_vswitch_can_be_joined(
    tmp_path: Path, fake: FakeCloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = joining_site(tmp_path, fake, monkeypatch)
    give_services(fake, "elsewhere")
    assert "its networks are Open vSwitch's" in list(joining.check_cloud(site, joined=False))
    assert fake.changes() == []


def test_a_cloud_of_ovn_cannot_be_joined(tmp_path: Path, fake: FakeCloud, monkeypatch: pytest.MonkeyPatch) -> None:
    site = joining_site(tmp_path, fake, monkeypatch)
    fake.add("network", "agents", host="x", binary="ovn-controller", alive=True, admin_state_up=True)
    with pytest.raises(JoinError, match="needs the mechanism driver openvswitch"):
        list(joining.check_cloud(site, joined=False))


def test_a_name_that_lives_is_refused_but_not_its_own(
    tmp_path: Path, fake: FakeCloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = joining_site(tmp_path, fake, monkeypatch)
    give_services(fake, "left")
    with pytest.raises(JoinError, match="has a host left already"):
        list(joining.check_cloud(site, joined=False))
    assert list(joining.check_cloud(site, joined=True))


def test_wrong_credentials_and_roles_are_said(tmp_path: Path, fake: FakeCloud, monkeypatch: pytest.MonkeyPatch) -> None:
    site = joining_site(tmp_path, fake, monkeypatch)
    fake.refuse("GET network /agents", 403, {"message": "forbidden"})
    with pytest.raises(JoinError, match="give it the roles admin and service in project admin"):
        list(joining.check_cloud(site, joined=False))
    fake.passwords["nova"] = "another"
    with pytest.raises(JoinError, match="user nova was not accepted"):
        list(joining.check_cloud(site, joined=False))


def test_an_endpoint_that_is_not_reached_is_said(
    tmp_path: Path, fake: FakeCloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = joining_site(tmp_path, fake, monkeypatch)
    fake.stop()
    with pytest.raises(JoinError, match="cannot be joined: identity at"):
        list(joining.check_cloud(site, joined=False))


def test_a_broker_that_is_not_reached_is_said_without_its_password(
    tmp_path: Path, fake: FakeCloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = joining_site(tmp_path, fake, monkeypatch)
    url = "rabbit://left:very-secret@127.0.0.1:1/"
    described = replace(site.description, messaging=replace(site.description.messaging, url=url))
    monkeypatch.undo()
    with pytest.raises(JoinError, match=r"message broker rabbit://left:\*\*\*@127.0.0.1:1/ is not reached") as raised:
        list(joining.check_cloud(replace(site, description=described), joined=False))
    assert "very-secret" not in str(raised.value)


def test_is_mapped_asks_for_this_host(tmp_path: Path, fake: FakeCloud, monkeypatch: pytest.MonkeyPatch) -> None:
    site = joining_site(tmp_path, fake, monkeypatch)
    assert not joining.is_mapped(site)
    fake.add("compute", "os-hypervisors")["service"] = {"host": "left"}
    assert joining.is_mapped(site)
    fake.stop()
    with pytest.raises(CloudError):
        joining.is_mapped(site)


def test_a_description_of_something_else_is_not_joined(tmp_path: Path) -> None:
    file = tmp_path / "x.toml"
    file.write_text(CONTROL)
    with pytest.raises(JoinError, match="role control\\+network, not one of a cloud elsewhere"):
        joining.read_file(file)
    file.write_text('{"a": 1}')
    with pytest.raises(DescriptionError):
        joining.read_file(file)


def test_the_template_is_a_description_once_it_is_filled_in(tmp_path: Path) -> None:
    file = tmp_path / "x.toml"
    file.write_text(joining.template().replace("ADDRESS-OF-THIS-HOST", "10.0.0.2").replace("ADDRESS", "10.0.0.1"))
    operate.check_kind(joining.read_file(file))


def test_what_a_compute_host_lacks_is_named() -> None:
    described = Description(host=Hosts(kind="freebsd", role="compute"))
    with pytest.raises(
        SiteError, match=r"messaging.url, control.identity_url, control.compute_password, network.local_ip"
    ):
        operate.check_kind(described)


def test_a_file_becomes_the_sites_own_description(tmp_path: Path, cloud: Cloud) -> None:
    file = add(control_site(tmp_path), cloud)
    layout = Layout(tmp_path / "other")
    operate.keep_description(layout, operate.read_joining(layout, file))
    own = layout.root / "site.toml"
    assert own.read_text() == file.read_text() and stat.S_IMODE(own.stat().st_mode) == 0o600
    assert operate.read_description(layout, None).host.name == "left"
    operate.keep_description(layout, operate.read_joining(layout, file))
    file.write_text(file.read_text().replace("left", "right"))
    with pytest.raises(SiteError, match="describes another site"):
        operate.read_joining(layout, file)


def test_a_host_takes_its_new_certificate_and_nothing_else(tmp_path: Path, cloud: Cloud) -> None:
    site = control_site(tmp_path)
    file = add(site, cloud)
    layout = Layout(tmp_path / "other")
    operate.keep_description(layout, operate.read_joining(layout, file))
    held = operate.read_description(layout, None)
    renewal.renew(site)
    operate.keep_description(layout, operate.read_joining(layout, file))
    renewed = operate.read_description(layout, None)
    assert renewed.migration != held.migration and replace(renewed, migration=held.migration) == held
    assert (layout.root / "site.toml").read_text() == file.read_text()
    # What was changed there would be lost.
    own = layout.root / "site.toml"
    own.write_text(own.read_text() + "\n[logs]\nkeep = 9\n")
    renewal.renew(site)
    with pytest.raises(SiteError, match="describes another site"):
        operate.read_joining(layout, file)


# The command line


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        (["join"], 2), (["join", "x", "--template"], 2), (["host"], 2), (["host", "add", "x"], 2),
        (["host", "add", "x", "--role", "king", "--address", "10.0.0.2/24"], 2), (["host", "remove"], 2),
    ],
)  # fmt: skip
def test_wrong_arguments_have_their_status(arguments: list[str], status: int) -> None:
    with pytest.raises(SystemExit) as raised:
        main(arguments)
    assert raised.value.code == status


def test_a_file_that_is_not_there_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--root", str(tmp_path), "join", str(tmp_path / "none.toml")]) == 1
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "none.toml" in said


def test_the_template_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["join", "--template"]) == 0
    assert "[control]" in capsys.readouterr().out


def test_hosts_need_a_site(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--root", str(tmp_path), "host", "list"]) == 3
    assert json.dumps(capsys.readouterr().err).count("\\n") == 1
