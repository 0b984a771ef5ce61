"""The control plane inside a simulated FreeBSD host: the life of a site of kind freebsd, role control."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from conftest import BEASTACK, TestSite, eventually, links, namespaces, user_names

pytestmark = pytest.mark.cloud
PROJECT = Path(__file__).resolve().parents[2]

SERVICES = (
    "mariadb", "epmd", "rabbitmq", "keystone", "glance", "placement", "neutron-api:1", "neutron-rpc",
    "neutron-periodic", "nova-api:1", "nova-metadata", "nova-conductor", "nova-scheduler", "nova-novncproxy",
    "nova-serialproxy",
)  # fmt: skip


class ControlSite(TestSite):
    """A site whose services run inside a simulated FreeBSD host."""

    def simulator(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run freebsd-sim on the site's host."""
        return subprocess.run(
            [str(PROJECT / "simulator/freebsd-sim"), *arguments], capture_output=True, text=True, timeout=300,
            env={**os.environ, "FREEBSD_SIM_STATE": f"{self.root}-simulator"}, stdin=subprocess.DEVNULL,
        )  # fmt: skip

    @property
    def host(self) -> str:
        """The simulated host's name."""
        return str(json.loads(self.simulator("status", "--json").stdout)["hosts"][0]["name"])

    def inside(self, *argv: str) -> subprocess.CompletedProcess[str]:
        """Run a command inside the host."""
        return self.simulator("run", "--name", self.host, *argv)

    def openstack(self, *arguments: str) -> Any:
        """Run the openstack command inside, as the administrator, and return what it says."""
        done = self.inside(
            "env", f"OS_CLIENT_CONFIG_FILE={self.root}/clouds.yaml", "OS_CLOUD=beastack-admin",
            f"{self.root}/venv/bin/openstack", *arguments, "-f", "json",
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout) if done.stdout.strip() else None


@pytest.fixture(scope="module")
def control() -> Iterator[ControlSite]:
    """A site of kind freebsd in a root of its own; destroyed at the end if a test did not."""
    root = Path(tempfile.mkdtemp(prefix="beastack-bsd-", dir="/var/tmp"))
    root.chmod(0o711)
    under_test = ControlSite(root, links(), namespaces(), set(user_names()))
    done = subprocess.run(
        [BEASTACK, "--root", str(root), "up", "--host", "freebsd", "--role", "control"],
        capture_output=True, text=True, timeout=900, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith("This is Linux: the cloud runs inside a simulated FreeBSD host")
    yield under_test
    if (root / "site.json").exists():
        under_test.run("destroy", "--yes", ok=False)
    shutil.rmtree(root, ignore_errors=True)
    shutil.rmtree(f"{root}-simulator", ignore_errors=True)


def test_every_service_runs_as_a_user_of_its_own(control: ControlSite) -> None:
    running = control.services()
    assert set(SERVICES) <= set(running)
    assert {item["state"] for item in running.values()} == {"running"}
    users = {name.partition(":")[0]: item["user"] for name, item in running.items()}
    assert "root" not in users.values()
    assert users.pop("epmd") == users["rabbitmq"]  # Erlang's port mapper belongs to the broker
    assert len(set(users.values())) == len(users), users
    table = control.inside("ps", "-axo", "pid=,user=").stdout.split("\n")
    seen = dict(line.split()[:2] for line in table if line.strip())
    for item in running.values():
        assert item["user"].startswith(seen[str(item["pid"])][:8])


def test_nothing_runs_on_linux(control: ControlSite) -> None:
    assert set(user_names()) == control.users
    assert links() == control.links and namespaces() == control.namespaces


def test_a_second_up_changes_nothing(control: ControlSite) -> None:
    before = {name: item["pid"] for name, item in control.services().items()}
    assert control.up()["already_up"] is True
    assert {name: item["pid"] for name, item in control.services().items()} == before


def test_the_api_answers_for_each_service(control: ControlSite) -> None:
    assert control.openstack("token", "issue")["user_id"]
    names = {service["Name"] for service in control.openstack("service", "list")}
    assert names == {"keystone", "glance", "placement", "neutron", "nova"}
    network = control.openstack("network", "create", "probe")
    assert control.openstack("subnet", "create", "--network", "probe", "--subnet-range", "10.1.0.0/24", "probe")["cidr"]
    port = control.openstack("port", "create", "--network", "probe", "probe")
    assert port["network_id"] == network["id"]
    (control.root / "probe.img").write_bytes(os.urandom(65536))
    image = control.openstack(
        "image", "create", "probe", "--disk-format", "raw", "--container-format", "bare",
        "--file", f"{control.root}/probe.img",
    )  # fmt: skip
    assert image["status"] == "active"
    binaries = {item["Binary"]: item["State"] for item in control.openstack("compute", "service", "list")}
    assert binaries == {"nova-conductor": "up", "nova-scheduler": "up"}
    # Through API, conductor, scheduler and placement, to the only true answer without a compute host.
    server = control.openstack(
        "server", "create", "--flavor", "m1.tiny", "--image", "probe", "--nic", f"port-id={port['id']}", "probe"
    )
    shown = eventually(
        lambda: (s := control.openstack("server", "show", server["id"])) and s["status"] == "ERROR" and s,
        "the scheduler's answer", 60,
    )  # fmt: skip
    assert "No valid host was found" in shown["fault"]["message"]
    for argv in (("server", "delete", "--wait", "probe"), ("image", "delete", "probe"), ("port", "delete", "probe"),
                 ("network", "delete", "probe")):  # fmt: skip
        done = control.inside(
            "env", f"OS_CLIENT_CONFIG_FILE={control.root}/clouds.yaml", "OS_CLOUD=beastack-admin",
            f"{control.root}/venv/bin/openstack", *argv,
        )  # fmt: skip
        assert done.returncode == 0, (argv, done.stderr)


def test_the_console_proxies_and_metadata_answer(control: ControlSite) -> None:
    ports = control.inside("sockstat", "-46ln", "-P", "tcp").stdout
    for port in ("6080", "6083", "8775"):
        assert f":{port} " in ports
    # Nothing listens beyond loopback, but for Erlang's wildcard that its own option closes.
    for line in ports.splitlines()[1:]:
        assert line.split()[5].startswith(("127.0.0.1:", "::1:", "[::1]:")), line


def test_doctor_finds_nothing(control: ControlSite) -> None:
    done = control.run("doctor", "--json", ok=False)
    findings = json.loads(done.stdout)
    assert len(findings) > 20
    assert [finding for finding in findings if not finding["ok"]] == []


def test_nothing_touched_what_only_linux_has(control: ControlSite) -> None:
    listing = json.loads(control.simulator("status", "--name", control.host, "--linuxisms", "--json").stdout)
    assert listing["hosts"][0]["linuxisms"] == []


def test_a_connection_that_dies_in_silence_is_noticed(control: ControlSite) -> None:
    script = PROJECT / "tests/cloud/silent_cut.py"
    done = control.inside("env", f"PYTHONPATH={control.root}/lib", f"{control.root}/venv/bin/python", str(script))
    assert done.stdout == "noticed\n", done.stdout + done.stderr


def test_a_killed_service_comes_back(control: ControlSite) -> None:
    for name in ("keystone", "nova-conductor", "rabbitmq"):
        before = control.services()[name]["pid"]
        assert control.inside("kill", "-9", str(before)).returncode == 0

        def is_back(name: str = name, before: int = before) -> bool:
            now = control.services()[name]
            return now["state"] == "running" and now["pid"] not in (None, before)

        eventually(is_back, f"{name} to come back", 60)
    eventually(
        lambda: {item["State"] for item in control.openstack("compute", "service", "list")} == {"up"},
        "nova's services to report", 120,
    )  # fmt: skip


def test_a_killed_host_comes_up_again_with_its_data(control: ControlSite) -> None:
    control.openstack("project", "create", "kept")
    pid = json.loads(control.simulator("status", "--json").stdout)["hosts"][0]["pid"]
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: control.run("status", ok=False).returncode == 3, "the host to be gone")
    control.up()
    assert control.openstack("project", "show", "kept")["enabled"] is True


def test_down_and_destroy_leave_nothing(control: ControlSite) -> None:
    control.run("down")
    assert control.run("status", ok=False).returncode == 3
    assert control.run("down").returncode == 0
    control.run("destroy", "--yes")
    assert not (control.root / "site.json").exists()
    assert not Path(f"{control.root}-simulator").exists()
    assert set(user_names()) == control.users
