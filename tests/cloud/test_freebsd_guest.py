"""Instances on bhyve: stock nova, real libvirt and its bhyve driver, on a simulated FreeBSD host. Root only."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from beastack.cli import testing
from conftest import eventually, links, namespaces, user_names
from freebsd_pair import Api, PairedSite, open_api

pytestmark = pytest.mark.cloud

LIMIT = 240  # seconds for a guest under software emulation to boot


@dataclass
class Guest:
    """The first instance, on the host that has everything."""

    site: PairedSite
    api: Api
    number: str

    def show(self) -> dict[str, Any]:
        """Return what nova says of it."""
        found: dict[str, Any] = self.api.ask("compute", "GET", f"/servers/{self.number}")["server"]
        return found

    def act(self, **action: Any) -> None:
        """Have nova do something with it."""
        self.api.ask("compute", "POST", f"/servers/{self.number}/action", action, ok=(202, 200))

    def is_in(self, status: str) -> bool:
        """Tell whether nova has it in a state, with nothing under way."""
        seen = self.show()
        return bool(seen["status"] == status and seen["OS-EXT-STS:task_state"] is None)

    @property
    def domain(self) -> str:
        """libvirt's name of it."""
        return str(self.show()["OS-EXT-SRV-ATTR:instance_name"])

    def pids(self) -> list[int]:
        """Return its processes."""
        return self.site.find_processes(f"^bhyve: {self.domain}$")

    def shell(self, *words: str) -> str:
        """Run a command in it over SSH, from the host's network; no output when it is not reached."""
        addresses = self.show()["addresses"]["provider"]
        options = ("StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "BatchMode=yes", "ConnectTimeout=3")
        key = ("-i", str(self.site.root / "id_ed25519"))
        switches = [word for one in options for word in ("-o", one)]
        target = f"root@{addresses[0]['addr']}"
        process = self.site.host.start_outside(
            None, "ssh", "-q", *switches, *key, target, *words, stdout=subprocess.PIPE
        )
        said, _ = process.communicate(timeout=60)
        return str(said) if process.returncode == 0 else ""

    def is_reached(self) -> bool:
        """Tell whether it answers over the network."""
        return "first" in self.shell("hostname")

    def ports(self) -> list[str]:
        """Return its ports in the switch."""
        listing = self.site.host.vsctl("list-ports", self.site.layout.interface("int"))
        own = {f"tap{port['id'][:11]}" for port in self.api.list("ports", device_id=self.number)}
        return sorted(own & set(listing.split()))


@pytest.fixture(scope="module")
def site() -> Iterator[PairedSite]:
    directory = Path(tempfile.mkdtemp(prefix="beastack-guest-", dir="/var/tmp"))
    directory.chmod(0o755)
    root = directory / "site"
    state = directory / "simulator"
    state.mkdir()
    # libvirt is built once, and kept where the tests of the simulator keep theirs.
    build = testing.test_directory() / "simulator" / "build"
    build.mkdir(parents=True, exist_ok=True)
    (state / "build").symlink_to(build)
    made = PairedSite(root, links(), namespaces(), set(user_names()), state=state)
    try:
        made.up()
        yield made
    finally:
        made.run("destroy", "--yes", ok=False)
        made.host.simulator("remove", "--name", made.host.name, ok=False)
        shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture(scope="module")
def guest(site: PairedSite) -> Iterator[Guest]:
    secrets = json.loads((site.root / "secrets.json").read_text())
    with open_api(site.host, secrets["admin"], "http://127.0.0.1:5000/v3") as api:
        servers = api.ask("compute", "GET", "/servers?all_tenants=1")["servers"]
        yield Guest(site, api, next(one["id"] for one in servers if one["name"] == "first"))


def wait(condition: Callable[[], object], what: str) -> None:
    eventually(condition, what, LIMIT)


def test_the_first_instance_is_reached_and_knows_itself(guest: Guest) -> None:
    assert guest.is_in("ACTIVE") and len(guest.pids()) == 1
    wait(guest.is_reached, "the first instance to be reached")
    said = guest.shell("wget -qO- http://169.254.169.254/openstack/latest/meta_data.json")
    assert json.loads(said)["uuid"] == guest.number
    assert "mtu 1450" in guest.shell("ip link show eth0")


def test_nobody_who_needs_it_not_is_root(site: PairedSite, guest: Guest) -> None:
    users = {name: item["user"] for name, item in site.services().items()}
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


def test_what_bhyve_cannot_do_is_refused(guest: Guest) -> None:
    for action in ("pause", "suspend"):
        # nova's answer to a call; what the driver refuses shows afterwards, in that nothing has changed.
        path = f"/servers/{guest.number}/action"
        guest.api.ask("compute", "POST", path, {action: None}, ok=(202, 400, 409, 501))
        wait(lambda: guest.is_in("ACTIVE"), f"the guest to be as it was after {action}")
    assert guest.is_reached()


def test_a_killed_nova_compute_and_libvirtd_find_the_guest_again(guest: Guest) -> None:
    before = guest.pids()
    for name in ("libvirtd", "nova-compute", "console"):
        pid = guest.site.kill(name)
        eventually(lambda name=name, pid=pid: guest.site.is_back(name, pid), f"{name} to come back", 120)  # type: ignore[misc]
    assert guest.pids() == before
    wait(guest.is_reached, "the guest to be reached still")


def test_a_deleted_instance_leaves_nothing(guest: Guest) -> None:
    domain, ports = guest.domain, guest.ports()
    assert ports
    guest.api.ask("compute", "DELETE", f"/servers/{guest.number}", ok=(204,))

    def is_gone() -> bool:
        listing = guest.site.host.vsctl("list-ports", guest.site.layout.interface("int")).split()
        interfaces = guest.site.inside("ifconfig", "-l").split()
        return not set(ports) & {*listing, *interfaces} and not guest.site.find_processes(f"^bhyve: {domain}$")

    wait(is_gone, "everything of the instance to be gone")
    instances = guest.site.layout.data("nova") / "instances"
    eventually(lambda: not (instances / guest.number).exists(), "its files to be gone", 60)
    assert guest.site.inside("ls", "/dev/vmm", ok=False).split() == []


def test_nothing_touched_what_only_linux_has(site: PairedSite, guest: Guest) -> None:
    listing = json.loads(site.host.simulator("status", "--name", site.host.name, "--linuxisms", "--json").stdout)
    assert listing["hosts"][0]["linuxisms"] == []


def test_doctor_finds_nothing(site: PairedSite) -> None:
    findings = json.loads(site.run("doctor", "--json", ok=False).stdout)
    assert [item for item in findings if not item["ok"]] == []
