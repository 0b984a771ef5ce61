"""What doctor finds on a FreeBSD host that takes the network from guests: each cause, and its remedy."""

from __future__ import annotations

import ipaddress
from pathlib import Path

import pytest

from beastack.freebsd import interface, kld, process, sysctl
from beastack.freebsd.errors import JailNotFound, SysctlNotFound
from beastack.freebsd.interface import Address, Interface, Words
from beastack.site import secrets
from beastack.site.configuration import Facts, Site
from beastack.site.description import load_description
from beastack.site.host import freebsd_look, freebsd_switch
from beastack.site.layout import Layout


class Host:
    """A host on which everything is well, until a test says otherwise."""

    def __init__(self) -> None:
        self.modules = {"if_tuntap", "if_epair"}
        self.values: dict[str, int] = {}
        self.interfaces = [
            Interface("em0", Words(1, ("UP",)), 1500),
            Interface("tap1", Words(1, ("UP",)), 1450, options=Words(), groups=("epair",), driver_name="epair1a"),
            Interface("und", Words(1, ("UP",)), 1500, addresses=(Address(ipaddress.ip_address("10.9.0.2"), 24),)),
        ]

    def read(self, name: str) -> int:
        if name not in self.values:
            raise SysctlNotFound(["sysctl", name], 1, "", "unknown oid")
        return self.values[name]

    def change(self, name: str, **fields: object) -> None:
        self.interfaces = [Interface(**{**vars(one), **fields}) if one.name == name else one for one in self.interfaces]


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> Host:
    made = Host()
    monkeypatch.setattr(kld, "is_loaded", lambda name: name in made.modules)
    monkeypatch.setattr(sysctl, "read_integer", made.read)
    monkeypatch.setattr(interface, "list_interfaces", lambda: tuple(made.interfaces))
    monkeypatch.setattr(
        interface, "find_interface", lambda name: next((one for one in made.interfaces if one.name == name), None)
    )
    monkeypatch.setattr(freebsd_switch, "vsctl", lambda site, *words: "tap1\nem0\n")
    return made


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    file = tmp_path / "site.toml"
    file.write_text('[host]\nkind = "freebsd"\n[network]\nunderlay = "em0"\nlocal_ip = "10.9.0.2"\n')
    layout = Layout(tmp_path)
    monkeypatch.setattr(Layout, "interface", lambda self, suffix: suffix)
    facts = Facts(cpus=2, hostname="box", novnc_pages="/x", python="/x", helper="/x")
    return Site(layout, load_description(file), dict.fromkeys(secrets.NAMES, "0" * 32), facts)


def wrong(site: Site) -> dict[str, tuple[str, str]]:
    """Return what is wrong, with what was seen and the remedy."""
    return {what: (seen, remedy) for what, ok, seen, remedy in freebsd_look.examine(site) if not ok}


def test_nothing_is_wrong_where_all_is_well(host: Host, site: Site) -> None:
    assert wrong(site) == {}


def test_a_module_that_is_missing(host: Host, site: Site) -> None:
    host.modules = {"if_tuntap"}
    assert wrong(site) == {"modules": ("if_epair is not loaded: no epair can be made", "kldload if_epair")}


def test_a_jail_that_may_have_no_jails(host: Host, site: Site) -> None:
    host.values = {"security.jail.jailed": 1, "security.jail.children.max": 0}
    assert "may have no jails of its own" in wrong(site)["jails"][0]
    host.values["security.jail.children.max"] = 10
    assert wrong(site) == {}


def test_a_firewall_that_denies_everything_in_each_new_jail(host: Host, site: Site) -> None:
    host.modules.add("ipfw")
    host.values["net.inet.ip.fw.default_to_accept"] = 0
    assert "denies everything" in wrong(site)["ipfw"][0]
    host.values["net.inet.ip.fw.default_to_accept"] = 1
    assert wrong(site) == {}


def test_checksums_that_are_left_to_somebody_else(host: Host, site: Site) -> None:
    host.change("tap1", options=Words(2, ("TXCSUM",)))
    assert wrong(site)["checksums"][1] == "ifconfig tap1 -txcsum -txcsum6"
    # An interface that is not in the switch is nobody's business here, and a card computes them itself.
    host.change("tap1", options=Words())
    host.change("em0", options=Words(2, ("TXCSUM",)))
    assert wrong(site) == {}


def test_frames_longer_than_the_switch_reads(host: Host, site: Site) -> None:
    host.change("em0", mtu=9000)
    assert wrong(site)["frames"] == ("em0 has MTU 9000: the switch cuts frames at 2048 bytes", "ifconfig em0 mtu 2030")


def test_tunnels_without_their_address(host: Host, site: Site) -> None:
    host.change("und", addresses=())
    assert wrong(site)["tunnels"][1] == "ifconfig und inet 10.9.0.2/24 up"


def test_interfaces_and_programs_as_doctor_wants_them(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    host.change("tap1", status="no carrier")
    links = {name: (flags, addresses) for name, flags, addresses in freebsd_look.list_links()}
    assert links["tap1"] == (frozenset({"UP"}), ()) and links["und"][1] == ("10.9.0.2/24",)
    assert "LOWER_UP" in links["em0"][0]
    found = [process.Process(9, 1, 4, 0, "S", 1, 1, 0.0, "/usr/local/sbin/dnsmasq --no-hosts")]
    monkeypatch.setattr(process, "list_jailed", lambda name: tuple(found))
    assert freebsd_look.programs_in("qdhcp-x") == ["dnsmasq"]

    def gone(name: str) -> tuple[process.Process, ...]:
        raise JailNotFound(["ps", "-J", name], 1, "", "not found")

    monkeypatch.setattr(process, "list_jailed", gone)
    assert freebsd_look.programs_in("qdhcp-x") == []
