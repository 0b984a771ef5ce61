"""A site on a host of kind freebsd: its packages, users and programs, its plan, and the way there from Linux."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from beastack.cli import main, simulated
from beastack.site import configuration, operate, secrets, services
from beastack.site import description as descriptions
from beastack.site.configuration import Facts, Site
from beastack.site.description import Description
from beastack.site.host import freebsd
from beastack.site.layout import Layout
from beastack.site.plan import GUEST_STEPS, Found, make_plan
from beastack.site.steps import user_names_of
from recorded_commands import Commands, play

CONTROL = Description(host=descriptions.Hosts(kind="freebsd", role="control"))
SOCKSTAT = """\
USER     COMMAND    PID   FD  PROTO  LOCAL ADDRESS         FOREIGN ADDRESS      
root     sshd        812  3   tcp6   *:22                  *:*
rabbit   beam.smp   2041  18  tcp4   127.0.0.1:5672        *:*
"""  # noqa: W291 - sockstat pads its heading


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch) -> Iterator[Commands]:
    for played in play(monkeypatch):
        monkeypatch.setattr(freebsd, "run", played.run)
        yield played


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    (tmp_path / "site").mkdir()
    return Layout(tmp_path / "site")


def test_who_holds_a_port(commands: Commands) -> None:
    for port, holder in ((5672, "beam.smp (pid 2041)"), (22, "sshd (pid 812)"), (567, None)):
        commands.expect("sockstat -46ln -P tcp", SOCKSTAT)
        assert freebsd.port_holder(port) == holder


def test_the_newest_erlang_and_broker_are_taken(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("erlang9/bin", "erlang27/bin", "rabbitmq_server-4.3.1/sbin"):
        (tmp_path / name).mkdir(parents=True)
    for name in ("erlang9/bin/epmd", "erlang27/bin/epmd"):
        (tmp_path / name).touch()
    monkeypatch.setattr(freebsd, "ERLANG_PROGRAMS", tmp_path)
    programs = freebsd.programs()
    assert programs.epmd == f"{tmp_path}/erlang27/bin/epmd" and programs.path == f"{tmp_path}/erlang27/bin"
    assert programs.rabbitmq_server == f"{tmp_path}/rabbitmq_server-4.3.1/sbin/rabbitmq-server"


# The control role


def test_a_host_without_guests_has_no_step_that_needs_one(layout: Layout) -> None:
    names = [step.name for step in make_plan(CONTROL, layout, Found())]
    assert not set(names) & {*GUEST_STEPS, "instance"}
    assert {"identity", "compute-service", "network-service", "messaging", "clients"} <= set(names)


def test_it_runs_every_service_but_the_hosts(layout: Layout) -> None:
    units = {unit.name for unit in services.units(CONTROL)}
    assert {unit.name for unit in services.UNITS} - units == {
        "nova-compute", "neutron-ovs-agent", "neutron-dhcp-agent", "neutron-metadata-agent",
    }  # fmt: skip
    users = user_names_of(layout, CONTROL)
    assert layout.user("keystone") in users and layout.user("qemu") not in users


def test_its_parents_install_freebsds_seams_and_fork_no_privileged_daemon(layout: Layout) -> None:
    facts = Facts(cpus=2, hostname="box", novnc_pages="/x", python="/usr/local/bin/python3.11", helper="/x")
    site = Site(layout, CONTROL, dict.fromkeys(secrets.NAMES, "0" * 32), facts)
    parents = {parent.name: parent for parent in services.parents(site)}
    assert set(parents) == {"libraries", "keystone", "glance", "placement", "nova", "neutron"}
    assert parents["nova"].modules[0] == "beastack.port.nova.freebsd_seams"
    assert parents["neutron"].modules[0] == "beastack.port.neutron.freebsd_seams"
    assert "nova.virt.libvirt.driver" not in parents["nova"].modules
    assert services.helpers(site) == []


def test_a_host_with_guests_has_bhyve_s_driver_and_a_console_daemon(layout: Layout) -> None:
    everything = Description(host=descriptions.Hosts(kind="freebsd"))
    operate.check_kind(everything)
    facts = Facts(cpus=2, hostname="box", novnc_pages="/x", python="/usr/local/bin/python3.11", helper="/x")
    site = Site(layout, everything, dict.fromkeys(secrets.NAMES, "0" * 32), facts)
    compute = configuration.FILES["nova-compute"][1](site)
    assert compute["DEFAULT"]["compute_driver"] == "bhyve.BhyveDriver" and not compute["DEFAULT"]["use_cow_images"]
    assert compute["libvirt"]["virt_type"] == "bhyve"
    assert compute["bhyve"]["console_directory"] == layout.data("console")
    units = {unit.name: unit for unit in services.units(everything)}
    assert not any(unit.root for unit in units.values())
    peers = {helper.name: helper.peers for helper in services.helpers(site)}
    assert peers["beastack.port.nova.bhyve.privileged.context"] == (layout.user("nova-compute"),)
    console = services.console_service(site)
    assert console.user == layout.user("console") and console.before_drop == "beastack.console.opener:start"
    assert {layout.user(name) for name in ("switch", "libvirt", "console")} < set(user_names_of(layout, everything))
    assert "beastack.port.nova.bhyve.driver" in {p.name: p for p in services.parents(site)}["nova"].modules
    operate.check_kind(Description())


# From Linux


def arguments(*argv: str) -> argparse.Namespace:
    return main.parser().parse_args(argv)


def test_a_site_remembers_what_it_was_made_as(layout: Layout) -> None:
    assert operate.recorded_host(layout) == {}
    layout.marker.write_text(json.dumps({"format": 1, "host": {"kind": "freebsd", "role": "control"}}))
    assert operate.read_description(layout, None).host == CONTROL.host
    layout.marker.write_text(json.dumps({"format": 1}))
    assert operate.read_description(layout, None).host == descriptions.Hosts(kind="linux")
    assert operate.read_description(layout, None, kind="freebsd", role="control").host == CONTROL.host


def test_only_freebsd_sites_go_through_a_simulated_host(monkeypatch: pytest.MonkeyPatch, layout: Layout) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    root = ("--root", str(layout.root))
    assert not simulated.applies(arguments(*root, "status"))
    assert simulated.applies(arguments(*root, "up"))
    assert not simulated.applies(arguments(*root, "up", "--host", "linux"))
    layout.marker.write_text(json.dumps({"format": 1, "host": {"kind": "freebsd", "role": "control"}}))
    assert simulated.applies(arguments(*root, "status"))
    assert simulated.applies(arguments(*root, "up"))
    assert not simulated.applies(arguments(*root, "describe"))
    monkeypatch.setattr(sys, "platform", "freebsd15")
    assert not simulated.applies(arguments(*root, "status"))


@pytest.mark.parametrize("argv", [["--root", "x", "up", "--json"], ["--root=x", "up", "--json"], ["up", "--json"]])
def test_the_root_is_said_once(argv: list[str]) -> None:
    assert simulated._without_root(argv) == ["up", "--json"]
