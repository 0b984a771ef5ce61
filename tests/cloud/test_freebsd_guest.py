"""Instances on bhyve: stock nova, real libvirt and its bhyve driver, on a simulated FreeBSD host. Root only."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from typing import Any

import pytest

from conftest import eventually
from freebsd_guests import Guest, admin_api, first_guest, make_guest, wait
from freebsd_pair import PairedSite

pytestmark = pytest.mark.cloud


@pytest.fixture(scope="module")
def guest(whole_site: PairedSite) -> Iterator[Guest]:
    with admin_api(whole_site) as api:
        yield first_guest(whole_site, api)


def test_the_first_instance_is_reached_and_knows_itself(guest: Guest) -> None:
    assert guest.is_in("ACTIVE") and len(guest.pids()) == 1
    wait(guest.is_reached, "the first instance to be reached")
    said = guest.shell("wget -qO- http://169.254.169.254/openstack/latest/meta_data.json")
    assert json.loads(said)["uuid"] == guest.number
    assert "mtu 1450" in guest.shell("ip link show eth0")


def test_nobody_who_needs_it_not_is_root(whole_site: PairedSite, guest: Guest) -> None:
    users = {name: item["user"] for name, item in whole_site.services().items()}
    assert {name for name, user in users.items() if user == "root"} == {"ovsdb-server", "ovs-vswitchd", "libvirtd"}


def test_what_it_prints_is_kept(guest: Guest) -> None:
    def printed() -> str:
        answer = guest.api.ask("compute", "POST", f"/servers/{guest.number}/action", {"os-getConsoleOutput": {}})
        return str(answer["output"])

    wait(lambda: "BEASTACK-GUEST" in printed(), "the guest's own words in its log")


@pytest.mark.parametrize("kind", ["SOFT", "HARD"])
def test_a_reboot_keeps_the_network(guest: Guest, kind: str) -> None:
    before = guest.pids()
    guest.act(reboot={"type": kind})
    wait(lambda: guest.is_in("ACTIVE") and guest.pids() not in ([], before), f"the {kind} reboot")
    wait(guest.is_reached, "the guest to be reached again")
    assert len(guest.ports()) == 2


def test_a_guest_that_reboots_itself_keeps_the_network(guest: Guest) -> None:
    before = guest.pids()
    guest.shell("reboot")
    wait(lambda: guest.pids() not in ([], before), "bhyve to be started again")
    wait(guest.is_reached, "the guest to be reached again")


def test_a_bhyve_that_was_killed_is_noticed(guest: Guest) -> None:
    (pid,) = guest.pids()
    guest.site.inside("kill", f"-{int(signal.SIGKILL)}", str(pid))
    wait(lambda: guest.is_in("SHUTOFF"), "nova to notice")
    guest.act(**{"os-start": None})
    wait(lambda: guest.is_in("ACTIVE"), "the guest to run again")
    wait(guest.is_reached, "the guest to be reached again")


#: What of an instance, and nova's error: at once, and as its API reference has it. The last three are refused by the
#: driver, for whose answer nova's API waits.
REFUSED: tuple[tuple[str, dict[str, Any], int], ...] = (
    ("action", {"pause": None}, 501),
    ("action", {"suspend": None}, 409),
    ("action", {"os-migrateLive": {"host": None, "block_migration": False, "disk_over_commit": False}}, 400),
    ("os-volume_attachments", {"volumeAttachment": {"volumeId": "9a0f7d3c-2b45-4c9e-8a34-3f6ad3c2ee10"}}, 400),
    ("action", {"unpause": None}, 409),
    ("action", {"resume": None}, 409),
    ("action", {"changePassword": {"adminPass": "secret"}}, 409),
    ("action", {"os-getSPICEConsole": {"type": "spice-html5"}}, 400),
)


def test_what_bhyve_cannot_do_is_refused_at_once(guest: Guest) -> None:
    for what, body, code in REFUSED:
        guest.api.ask("compute", "POST", f"/servers/{guest.number}/{what}", body, ok=(code,))
    # Of what nova does with an instance it keeps a record.
    done = guest.api.ask("compute", "GET", f"/servers/{guest.number}/os-instance-actions")["instanceActions"]
    assert not {"pause", "suspend", "live-migration", "attach_volume"} & {one["action"] for one in done}
    assert guest.is_in("ACTIVE") and guest.is_reached()


def test_a_killed_nova_compute_and_libvirtd_find_the_guest_again(guest: Guest) -> None:
    before = guest.pids()
    for name in ("libvirtd", "nova-compute", "console"):
        pid = guest.site.kill(name)
        eventually(lambda name=name, pid=pid: guest.site.is_back(name, pid), f"{name} to come back", 120)  # type: ignore[misc]
    assert guest.pids() == before
    wait(guest.is_reached, "the guest to be reached still")


def test_a_deleted_instance_leaves_nothing(guest: Guest) -> None:
    # One of its own: the first instance is the other tests' too.
    doomed = make_guest(guest.site, guest.api, "doomed")
    domain, ports = doomed.domain, doomed.ports()
    assert ports
    guest.api.ask("compute", "DELETE", f"/servers/{doomed.number}", ok=(204,))

    def is_gone() -> bool:
        listing = guest.site.host.vsctl("list-ports", guest.site.layout.interface("int")).split()
        interfaces = guest.site.inside("ifconfig", "-l").split()
        return not set(ports) & {*listing, *interfaces} and not guest.site.find_processes(f"^bhyve: {domain}$")

    wait(is_gone, "everything of the instance to be gone")
    instances = guest.site.layout.data("nova") / "instances"
    eventually(lambda: not (instances / doomed.number).exists(), "its files to be gone", 60)
    assert guest.site.inside("ls", "/dev/vmm").split() == [guest.domain]


def test_nothing_touched_what_only_linux_has(whole_site: PairedSite, guest: Guest) -> None:
    assert whole_site.linuxisms() == []


def test_doctor_finds_nothing(whole_site: PairedSite) -> None:
    findings = json.loads(whole_site.run("doctor", "--json", ok=False).stdout)
    assert [item for item in findings if not item["ok"]] == []
