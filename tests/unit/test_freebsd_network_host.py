"""A FreeBSD host with networks: its plan and services by role, what starts its switch, the interface of its tunnels."""

from __future__ import annotations

import ipaddress
import json
from pathlib import Path

import pytest

from beastack.freebsd import interface, process, route
from beastack.freebsd.interface import Address, Interface, Words
from beastack.site import configuration, operate, secrets, services
from beastack.site.configuration import Facts, Site
from beastack.site.description import Description, load_description
from beastack.site.host import freebsd, freebsd_switch, freebsd_underlay, freebsd_vswitchd
from beastack.site.host.freebsd_underlay import Underlay
from beastack.site.layout import Layout
from beastack.site.operate import SiteError
from beastack.site.plan import Found, make_plan
from beastack.site.steps import user_names_of

BOTH = '[host]\nkind = "freebsd"\nrole = "control+network"\n'
NETWORK_ONLY = """\
[host]
kind = "freebsd"
role = "network"
[messaging]
url = "rabbit://beastack:secret0123456789@10.9.0.1:5673/"
[control]
address = "10.9.0.1"
metadata_secret = "0123456789abcdef"
[network]
underlay = "em0"
local_ip = "10.9.0.2"
"""


def describe(tmp_path: Path, text: str) -> Description:
    file = tmp_path / "site.toml"
    file.write_text(text)
    return load_description(file)


def make_site(tmp_path: Path, text: str) -> Site:
    layout = Layout(tmp_path / "site")
    layout.root.mkdir(exist_ok=True)
    facts = Facts(cpus=2, hostname="box", novnc_pages="/x", python="/usr/local/bin/python3.11", helper="/x")
    return Site(layout, describe(tmp_path, text), dict.fromkeys(secrets.NAMES, "0" * 32), facts)


def options(site: Site, service: str) -> dict[str, dict[str, object]]:
    return configuration.FILES[service][1](site)


def test_ports_of_taps_that_are_gone_are_forgotten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, ...]] = []

    def vsctl(site: Site, *arguments: str) -> str:
        asked.append(arguments)
        return "patch-tun\n\ntap1\n\ntap2\n\netap3\n\nbox-int\n" if "list" in arguments else ""

    monkeypatch.setattr(freebsd_switch, "vsctl", vsctl)
    monkeypatch.setattr(interface, "list_names", lambda: ["lo0", "tap2", "box-int"])
    freebsd_switch.forget_dead_taps(make_site(tmp_path, NETWORK_ONLY))
    assert [arguments[-1] for arguments in asked if "del-port" in arguments] == ["tap1"]


# Roles


def test_a_network_host_alone_has_neither_databases_nor_apis(tmp_path: Path) -> None:
    site = make_site(tmp_path, NETWORK_ONLY)
    assert [unit.name for unit in services.units(site.description)] == list(services.NETWORK_AGENTS)
    plan = {step.name: step for step in make_plan(site.description, site.layout, Found())}
    assert set(plan) == {
        "packages", "environment", "users", "files", "supervisor", "preload", "kernel", "switch", "messaging", "agents",
    }  # fmt: skip
    assert set(plan["agents"].after) == {"switch", "messaging", "preload"}
    assert plan["messaging"].title == "Reach RabbitMQ"
    assert {parent.name for parent in services.parents(site)} == {"libraries", "neutron", "neutron-privileged"}
    assert freebsd.packages(site.description)[:3] == ["openvswitch", "dnsmasq", "haproxy"]
    assert site.layout.user("mariadb") not in user_names_of(site.layout, site.description)


def test_what_a_network_host_needs_to_know_is_asked_for(tmp_path: Path) -> None:
    with pytest.raises(
        SiteError, match=r"needs messaging\.url, control\.address, control\.metadata_secret in site\.toml"
    ):
        operate.check_kind(describe(tmp_path, '[host]\nkind = "freebsd"\nrole = "network"\n'))
    operate.check_kind(describe(tmp_path, NETWORK_ONLY))
    with pytest.raises(SiteError, match="a Linux host does all or the control role"):
        operate.check_kind(describe(tmp_path, NETWORK_ONLY.replace('"freebsd"', '"linux"')))


def test_the_tunnels_bridge_comes_before_what_listens_on_its_address(tmp_path: Path) -> None:
    text = BOTH + '[network]\nunderlay = "em0"\nlocal_ip = "10.9.0.1"\n'
    plan = {step.name: step for step in make_plan(describe(tmp_path, text), Layout(tmp_path), Found())}
    assert "switch" in plan["messaging"].after and "switch" in plan["identity"].after
    plain = {step.name: step for step in make_plan(describe(tmp_path, BOTH), Layout(tmp_path), Found())}
    assert "switch" not in plain["messaging"].after
    assert {"networks", "hosts", "agents"} <= set(plain) and not {"compute", "image", "instance"} & set(plain)


def test_the_agents_of_freebsd_are_nobody_special(tmp_path: Path) -> None:
    site = make_site(tmp_path, BOTH)
    ours = {unit.name: unit for unit in services.units(site.description)}
    for name in services.NETWORK_AGENTS:
        assert not ours[name].root and services.user(site, ours[name]) == site.layout.user(name)
    assert ours["neutron-dhcp-agent"].target == "beastack.port.neutron.dhcp_agent:main"
    peers = {helper.name: helper.peers for helper in services.helpers(site)}
    assert peers["neutron.privileged.default"] == tuple(map(site.layout.user, services.NETWORK_AGENTS))
    assert not any(name.startswith(("nova", "os_brick", "vif_plug")) for name in peers)
    assert site.layout.user("switch") in user_names_of(site.layout, site.description)


def test_the_metadata_agent_of_a_network_host_asks_the_control_host(tmp_path: Path) -> None:
    site = make_site(tmp_path, NETWORK_ONLY)
    default = options(site, "neutron-metadata-agent")["DEFAULT"]
    assert default["nova_metadata_host"] == "10.9.0.1" and default["metadata_proxy_shared_secret"] == "0123456789abcdef"
    assert default["transport_url"] == site.description.messaging.url


def test_the_responder_needs_no_jails(tmp_path: Path) -> None:
    site = make_site(tmp_path, BOTH + '[network]\ndhcp = "responder"\n')
    names = {unit.name for unit in services.units(site.description)}
    assert names & set(services.NETWORK_AGENTS) == {"neutron-ovs-agent"}
    agent = options(site, "neutron-ovs-agent")
    assert str(agent["AGENT"]["extensions"]).endswith("dhcp,metadata_path")
    assert f"meta:{site.layout.interface('meta')}" in str(agent["OVS"]["bridge_mappings"])
    assert options(site, "neutron-api")["DEFAULT"]["enable_traditional_dhcp"] is False
    assert "enable_traditional_dhcp" not in options(make_site(tmp_path, BOTH), "neutron-api")["DEFAULT"]


def test_no_secret_of_the_control_host_is_shown(tmp_path: Path) -> None:
    assert "0123456789abcdef" not in repr(describe(tmp_path, NETWORK_ONLY))


# The switch


class Host:
    """Interfaces and routes of a host, in memory."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.addresses: dict[str, list[str]] = {"em0": ["10.9.0.2/24"], "und": []}
        self.routes = [("0.0.0.0/0", "10.9.0.254", "em0")]
        self.words: list[tuple[str, tuple[str, ...]]] = []
        self.destroyed: list[str] = []
        monkeypatch.setattr(
            interface, "find_interface", lambda name: self.read(name) if name in self.addresses else None
        )
        monkeypatch.setattr(interface, "read_interface", self.read)
        monkeypatch.setattr(interface, "add_address", lambda name, one: self.addresses[name].append(one))
        monkeypatch.setattr(interface, "remove_address", self.remove_address)
        monkeypatch.setattr(
            interface, "change_interface", lambda name, settings: self.words.append((name, tuple(settings.words)))
        )
        monkeypatch.setattr(interface, "list_names", lambda: tuple(self.addresses))
        monkeypatch.setattr(interface, "destroy_interface", lambda name, missing_ok: self.destroyed.append(name))
        monkeypatch.setattr(route, "list_routes", lambda family: tuple(map(self.as_route, self.routes)))
        monkeypatch.setattr(route, "replace_route", lambda to, via: self.routes.append((to, via, "?")))

    def read(self, name: str) -> Interface:
        addresses = tuple(
            Address(ipaddress.ip_interface(one).ip, int(one.partition("/")[2])) for one in self.addresses[name]
        )
        return Interface(
            name, Words(1, ("UP",)), 1500, addresses=addresses, options=Words(3, ("TXCSUM", "LRO")), driver_name=name
        )

    def remove_address(self, name: str, address: str) -> None:
        self.addresses[name].remove(address)
        self.routes = [one for one in self.routes if one[2] != name]

    @staticmethod
    def as_route(one: tuple[str, str, str]) -> route.Route:
        return route.Route(
            ipaddress.ip_network(one[0]), ipaddress.ip_address(one[1]), frozenset({"up", "gateway"}), one[2]
        )


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> Host:
    return Host(monkeypatch)


@pytest.fixture
def underlay(tmp_path: Path) -> Underlay:
    return Underlay("em0", "und", "10.9.0.2/24", 1500, str(tmp_path / "underlay.json"))


def test_the_interface_of_the_tunnels_gets_everything_back(host: Host, underlay: Underlay) -> None:
    freebsd_underlay.take(underlay)
    assert host.addresses["em0"] == [] and host.routes == []
    assert ("em0", ("-txcsum", "-lro")) in host.words
    freebsd_underlay.give_to_bridge(underlay)
    freebsd_underlay.give_to_bridge(underlay)
    assert host.addresses["und"] == ["10.9.0.2/24"] and ("0.0.0.0/0", "10.9.0.254", "?") in host.routes
    # A second start finds nothing to note, and does not forget what was noted.
    freebsd_underlay.take(underlay)
    host.routes.clear()
    freebsd_underlay.give_back(underlay)
    assert host.addresses["em0"] == ["10.9.0.2/24"] and host.routes == [("0.0.0.0/0", "10.9.0.254", "?")]
    assert host.words[-1] == ("em0", ("txcsum", "lro"))
    freebsd_underlay.give_back(underlay)
    assert host.addresses["em0"] == ["10.9.0.2/24"]


def test_leftovers_are_removed_only_while_no_switch_runs(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(freebsd_vswitchd, "find_running", lambda: [12])
    freebsd_vswitchd.remove_leftovers(["und", "ovs-netdev"])
    assert host.destroyed == []
    monkeypatch.setattr(freebsd_vswitchd, "find_running", lambda: [])
    freebsd_vswitchd.remove_leftovers(["und", "ovs-netdev"])
    assert host.destroyed == ["und"]


def test_a_bridge_that_never_comes_is_told_of(host: Host, underlay: Underlay) -> None:
    del host.addresses["und"]
    with pytest.raises(TimeoutError, match="ovs-vswitchd did not make und"):
        freebsd_vswitchd.restore_underlay(underlay, limit=0.0)


def test_the_switch_is_started_by_the_program_that_cleans_up(tmp_path: Path) -> None:
    site = make_site(tmp_path, NETWORK_ONLY)
    server, switch = freebsd_switch.services(site)
    assert server.argv[0] == "/usr/local/sbin/ovsdb-server"
    assert switch.argv[1:3] == ("-m", "beastack.site.host.freebsd_vswitchd")
    settings = json.loads(switch.env["BEASTACK_SWITCH"])
    assert settings["argv"][0] == "/usr/local/sbin/ovs-vswitchd"
    assert "ovs-netdev" in settings["leftovers"] and site.layout.interface("und") in settings["leftovers"]
    assert settings["underlay"]["address"] == "10.9.0.2/24"
    assert len(set(settings["leftovers"])) == len(settings["leftovers"])


def test_every_switch_is_found_by_its_program(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = {3: "/usr/local/sbin/ovs-vswitchd unix:/x", 4: "ovs-vswitchd: monitoring", 5: "vi ovs-vswitchd"}
    found = [process.Process(pid, 1, 0, 0, "S", 1, 1, 0.0, line) for pid, line in lines.items()]
    monkeypatch.setattr(process, "list_processes", lambda: tuple(found))
    assert freebsd_vswitchd.find_running() == [3, 4]


def test_a_bridge_keeps_an_address_of_its_own() -> None:
    mac = freebsd_switch.bridge_mac("bs123456-int")
    assert mac == freebsd_switch.bridge_mac("bs123456-int") != freebsd_switch.bridge_mac("bs123456-ext")
    assert len(mac) == 17 and int(mac[:2], 16) & 3 == 2  # locally administered, of one host


def test_what_the_agents_started_is_ended_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    site = make_site(tmp_path, BOTH)
    data = site.layout.data("neutron-dhcp-agent")
    lines = {
        3: f"/usr/local/sbin/dnsmasq --no-hosts --pid-file={data}/dhcp/n/pid",
        4: f"haproxy -f {data}/ns-metadata-proxy/n.conf",
        5: "/usr/local/sbin/dnsmasq --pid-file=/var/run/dnsmasq.pid",
        6: f"tail -f {data}/x",
    }
    found = [process.Process(pid, 1, 0, 0, "S", 1, 1, 0.0, line) for pid, line in lines.items()]
    monkeypatch.setattr(process, "list_processes", lambda: tuple(found))
    ended: list[int] = []
    monkeypatch.setattr(process, "stop", lambda pid, grace: ended.append(pid))
    freebsd_switch.end_daemons(site)
    assert ended == [3, 4]
