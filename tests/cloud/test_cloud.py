"""The life of a cloud, from nothing to nothing, told in order: each test goes on from the one before."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import urllib.request
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from conftest import BEASTACK, TestSite, eventually, links, namespaces, processes_of, user_names

pytestmark = pytest.mark.cloud


def ssh(site: TestSite, address: str, command: str, namespace: str | None = None) -> subprocess.CompletedProcess[str]:
    """Run a command in a guest, from a network namespace or from the host."""
    argv = ["ip", "netns", "exec", namespace] if namespace else []
    argv += ["ssh", "-i", str(site.root / "id_ed25519"), "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=no",
             "-o", "UserKnownHostsFile=/dev/null", "-o", "ConnectTimeout=5", f"root@{address}", command]  # fmt: skip
    return subprocess.run(argv, capture_output=True, text=True, timeout=60)


def namespace_of(connection: Any, network: str) -> str:
    """Return the namespace in which a network's DHCP server lives."""
    return f"qdhcp-{connection.network.find_network(network).id}"


def reaches(address: str, port: int, namespace: str) -> bool:
    """Return whether a TCP port answers, from a namespace."""
    argv = ["ip", "netns", "exec", namespace, "python3", "-c",
            f"import socket; socket.create_connection(('{address}', {port}), 3).close()"]  # fmt: skip
    return subprocess.run(argv, capture_output=True, timeout=30).returncode == 0


def guest_processes(site: TestSite) -> list[int]:
    """Return the pids of the site's running guests."""
    found = []
    for line in processes_of(site.root):
        pid, _, command = line.partition(" ")
        if "qemu-system" in command and "-name guest=" in command:
            found.append(int(pid))
    return found


# Wrong input, before there is anything


def test_help_names_every_command(site: TestSite) -> None:
    text = site.run("--help").stdout
    for command in ("up", "status", "doctor", "logs", "openrc", "down", "destroy", "image", "enable", "test"):
        assert re.search(rf"^    {command} ", text, re.MULTILINE), command


@pytest.mark.parametrize("command", [["status"], ["doctor"], ["down"], ["logs"], ["openrc"], ["image", "list"]])
def test_without_a_site_each_command_says_so(site: TestSite, command: list[str]) -> None:
    done = site.run(*command, ok=False)
    assert done.returncode == 3
    assert done.stderr.count("\n") == 1 and "there is no site" in done.stderr


def test_a_wrong_key_is_named_with_its_line(site: TestSite) -> None:
    bad = site.root / "site.toml"
    good = bad.read_text()
    bad.write_text(good + "\n[ports]\nkeystnoe = 1\n")
    done = site.run("up", ok=False)
    bad.write_text(good)
    assert done.returncode == 1
    assert re.search(r"site\.toml:\d+: ports\.keystnoe: unknown key", done.stderr)
    assert not (site.root / "site.json").exists()


def test_only_root_may_bring_up(site: TestSite) -> None:
    done = subprocess.run(
        ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "python3", "-m", "beastack", "up"],
        capture_output=True, text=True, cwd="/", env={"PYTHONPATH": source_for_anyone(), "PATH": os.environ["PATH"]},
    )  # fmt: skip
    assert done.returncode == 1
    assert "must be run as root" in done.stderr and done.stderr.count("\n") == 1


def source_for_anyone() -> str:
    """Return a copy of the source that any user may read."""
    target = Path("/var/tmp") / f"beastack-source-{os.getpid()}"
    if not target.exists():
        shutil.copytree(Path(BEASTACK).parent / "src", target)
        subprocess.run(["chmod", "-R", "a+rX", str(target)], check=True)
    return str(target)


def test_a_state_directory_of_a_newer_release_is_refused(site: TestSite) -> None:
    marker = site.root / "site.json"
    marker.write_text('{"format": 99, "version": "9.0"}')
    done = site.run("up", ok=False)
    marker.unlink()
    assert done.returncode == 1 and "newer beastack" in done.stderr and "9.0" in done.stderr


def test_a_directory_with_something_else_in_it_is_refused(site: TestSite) -> None:
    other = site.root / "precious"
    other.write_text("mine")
    done = site.run("up", ok=False)
    assert done.returncode == 1 and "not a site" in done.stderr
    assert other.read_text() == "mine"
    other.unlink()


@contextlib.contextmanager
def listener(port: int) -> Iterator[None]:
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind(("127.0.0.1", port))
        taken.listen()
        yield


def test_a_taken_port_names_its_holder(site: TestSite) -> None:
    with listener(25000):
        done = site.run("up", ok=False)
    assert done.returncode == 1
    assert "port 25000 is taken by" in done.stderr and f"pid {os.getpid()}" in done.stderr


# Up


def test_a_full_disk_is_said_before_anything_is_done(site: TestSite) -> None:
    small = site.root / "small"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(small)], check=True)
    try:
        done = subprocess.run([BEASTACK, "--root", str(small), "up"], capture_output=True, text=True)
        assert done.returncode == 1
        assert re.fullmatch(r"beastack: .* MiB free, \d+ MiB are needed.*\n", done.stderr), done.stderr
    finally:
        subprocess.run(["umount", str(small)], check=True)
        small.rmdir()


def test_a_package_that_cannot_be_fetched_ends_in_one_line(site: TestSite) -> None:
    nowhere = "http://127.0.0.1:9/simple"
    done = subprocess.run(
        [BEASTACK, "--root", str(site.root), "up", "--json"],
        capture_output=True,
        text=True,
        env={**os.environ, "UV_DEFAULT_INDEX": nowhere, "PIP_INDEX_URL": nowhere},
    )
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1 and "Python packages cannot be installed" in done.stderr


@pytest.mark.parametrize(
    ("moment", "number"),
    [
        ("venv", signal.SIGKILL),
        ("data/mariadb/data", signal.SIGINT),
        ("data/schema/keystone", signal.SIGKILL),
    ],
)
def test_an_up_that_is_stopped_halfway_can_go_on(site: TestSite, moment: str, number: signal.Signals) -> None:
    started = subprocess.Popen(
        [BEASTACK, "--root", str(site.root), "up"], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    try:
        eventually(partial(holds, started, site), "it to begin", 60)
        eventually(partial(reached, started, site.root / moment), moment, 300)
        started.send_signal(number)
        _, said = started.communicate(timeout=300)
    finally:
        started.kill()
        started.wait()
    assert started.returncode == (130 if number == signal.SIGINT else -number), said
    assert number != signal.SIGINT or "interrupted" in said.splitlines()[-1]


def test_a_database_that_refuses_ends_in_one_line_without_its_password(site: TestSite) -> None:
    file = site.root / "site.toml"
    good = file.read_text()
    file.write_text(good + '\n[database]\nurl = "mysql+pymysql://root:s3cr3t@127.0.0.1:1/"\n')
    done = site.run("up", ok=False)
    file.write_text(good)
    assert done.returncode == 1
    assert "database" in done.stderr and "s3cr3t" not in done.stdout + done.stderr


def holds(process: subprocess.Popen[str], site: TestSite) -> bool:
    """Return whether an up holds the site, or ended."""
    lock = site.root / "lock"
    return process.poll() is not None or (lock.exists() and lock.read_text().strip() == str(process.pid))


def reached(process: subprocess.Popen[str], moment: Path) -> bool:
    """Return whether an up made something, or ended."""
    return moment.exists() or process.poll() is not None


def test_two_ups_at_once_do_not_meet(site: TestSite) -> None:
    first = subprocess.Popen(
        [BEASTACK, "--root", str(site.root), "up"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    eventually(partial(holds, first, site), "the first one to begin")
    second = site.run("up", ok=False)
    assert second.returncode == 1 and f"pid {first.pid}" in second.stderr
    output, _ = first.communicate(timeout=900)
    assert first.returncode == 0, output
    assert "The cloud is up" in output


def test_up_again_changes_nothing(site: TestSite) -> None:
    before = site.services()
    summary = site.up()
    assert summary["already_up"] is True
    assert {name: item["pid"] for name, item in site.services().items()} == {
        name: item["pid"] for name, item in before.items()
    }


def test_every_service_runs_as_its_own_user(site: TestSite) -> None:
    services = site.services()
    assert all(item["state"] == "running" for item in services.values()), services
    for name, item in services.items():
        owner = os.stat(f"/proc/{item['pid']}").st_uid
        agents = name in ("nova-compute", "libvirtd", "ovsdb-server", "ovs-vswitchd") or name.endswith("-agent")
        assert (owner == 0) == agents, (name, owner)
    users = {name.partition(":")[0]: item["user"] for name, item in services.items() if item["user"] != "root"}
    own = {name: user for name, user in users.items() if name not in ("epmd", "rabbitmq")}
    assert len(set(own.values())) == len(own)


def test_nothing_listens_beyond_loopback(site: TestSite) -> None:
    prefix = site.prefix
    uids = {line.split(":")[2] for line in Path("/etc/passwd").read_text().splitlines() if line.startswith(prefix)}
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        for line in Path(table).read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and fields[7] in uids:
                assert fields[1].startswith(("0100007F:", "00000000000000000000000001000000:")), line


def test_secrets_are_for_root_alone_and_on_no_command_line(site: TestSite) -> None:
    for name in ("secrets.json", "clouds.yaml", "id_ed25519"):
        assert (site.root / name).stat().st_mode & 0o077 == 0, name
    secrets = json.loads((site.root / "secrets.json").read_text()).values()
    lines = "\n".join(processes_of(site.root))
    logged = "\n".join(path.read_text(errors="replace") for path in (site.root / "log").glob("*.log"))
    for secret in secrets:
        assert secret not in lines
        assert secret not in logged


def test_doctor_finds_nothing(site: TestSite) -> None:
    done = site.run("doctor", "--json", ok=False)
    bad = [finding for finding in json.loads(done.stdout) if not finding["ok"]]
    assert not bad and done.returncode == 0, bad


def test_the_stock_client_works(site: TestSite) -> None:
    environment = {"OS_CLIENT_CONFIG_FILE": str(site.root / "clouds.yaml"), "PATH": "/usr/bin:/bin", "HOME": "/root"}
    done = subprocess.run(
        [str(site.root / "venv/bin/openstack"), "--os-cloud", "beastack", "server", "list", "-f", "json"],
        capture_output=True, text=True, env=environment, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert [server["Name"] for server in json.loads(done.stdout)] == ["first"]


# An instance


@pytest.fixture(scope="module")
def instance(site: TestSite) -> Iterator[dict[str, Any]]:
    """An instance on the project network with user data, its network's namespace and its address."""
    connection = site.connect()
    connection.delete_server("first", wait=True)
    server = connection.create_server(
        "probe", image="beastack-guest", flavor="m1.tiny", network="private", key_name="beastack",
        userdata="#!/bin/sh\necho the-user-data-ran\n", wait=True, timeout=180, auto_ip=False,
    )  # fmt: skip
    address = server.addresses["private"][0]["addr"]
    yield {
        "connection": connection, "server": server, "address": address,
        "namespace": namespace_of(connection, "private"),
    }  # fmt: skip


def console(instance: dict[str, Any]) -> str:
    return str(instance["connection"].get_server_console(instance["server"]))


def test_the_instance_got_its_address_metadata_and_user_data(instance: dict[str, Any]) -> None:
    text = eventually(lambda: (t := console(instance)) and "BEASTACK-GUEST: READY" in t and t, "the guest to be ready")
    assert f"address={instance['address']}/24" in text
    assert f"metadata uuid={instance['server'].id}" in text
    assert "source=network" in text
    assert "the-user-data-ran" in text
    assert re.search(r"ssh=ready keys=1", text)


def test_the_instance_answers_ping_and_ssh_from_its_network(site: TestSite, instance: dict[str, Any]) -> None:
    ping = ["ip", "netns", "exec", instance["namespace"], "ping", "-c", "2", "-W", "3", instance["address"]]
    if shutil.which("ping"):
        assert subprocess.run(ping, capture_output=True, timeout=30).returncode == 0
    done = ssh(site, instance["address"], "hostname; cat /proc/uptime", instance["namespace"])
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[0] == "probe"


def test_the_security_group_blocks_what_it_does_not_allow(instance: dict[str, Any]) -> None:
    connection, address, namespace = instance["connection"], instance["address"], instance["namespace"]
    assert reaches(address, 22, namespace)
    assert not reaches(address, 8080, namespace)
    group = connection.get_security_group("default")
    rule = connection.create_security_group_rule(
        group.id, port_range_min=8080, port_range_max=8080, protocol="tcp", remote_ip_prefix="0.0.0.0/0"
    )
    eventually(lambda: reaches(address, 8080, namespace), "the new rule to open the port")
    connection.delete_security_group_rule(rule.id)
    eventually(lambda: not reaches(address, 8080, namespace), "the port to be closed again")


def test_the_console_page_is_served(instance: dict[str, Any]) -> None:
    connection, server = instance["connection"], instance["server"]
    url = connection.compute.create_console(server, console_type="novnc")["url"]
    with urllib.request.urlopen(url, timeout=30) as answer:
        assert answer.status == 200 and b"noVNC" in answer.read()


def test_the_graphical_console_speaks_rfb(instance: dict[str, Any]) -> None:
    connection, server = instance["connection"], instance["server"]
    url = connection.compute.create_console(server, console_type="novnc")["url"]
    host, port, token = re.match(r"http://([^:/]+):(\d+)/.*token%3D([\w-]+)", url).groups()  # type: ignore[union-attr]
    with socket.create_connection((host, int(port)), timeout=20) as stream:
        stream.sendall((
            f"GET /websockify?token={token} HTTP/1.1\r\nHost: {host}:{port}\r\nOrigin: http://{host}:{port}\r\n"
            "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
            "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: binary\r\n\r\n"
        ).encode())  # fmt: skip
        seen = b""
        while b"RFB 003" not in seen:
            data = stream.recv(4096)
            assert data, seen
            seen += data
    assert seen.startswith(b"HTTP/1.1 101")


def test_a_snapshot_of_the_instance_is_an_image(instance: dict[str, Any]) -> None:
    connection = instance["connection"]
    image = connection.create_image_snapshot("snapshot", instance["server"], wait=True, timeout=180)
    assert image.status == "active" and image.size > 0
    connection.delete_image(image.id, wait=True)


def test_the_image_service_says_what_properties_mean(instance: dict[str, Any]) -> None:
    found = {one.namespace for one in instance["connection"].image.metadef_namespaces()}
    assert {"OS::Compute::VirtCPUTopology", "OS::Compute::Watchdog"} <= found


def test_an_image_that_is_not_what_it_claims_is_refused(site: TestSite, tmp_path: Path) -> None:
    fake = tmp_path / "disk.qcow2"
    fake.write_bytes(b"<html>not found</html>" * 100)
    done = site.run("image", "add", str(fake), ok=False)
    assert done.returncode == 1 and done.stderr.count("\n") == 1 and "Traceback" not in done.stderr
    done = site.run(
        "image", "add", str(site.root / "data/guest-image/beastack-guest.raw"), "--sha256", "0" * 64, ok=False
    )
    assert done.returncode == 1 and "0000" in done.stderr


def test_another_image_can_be_added_and_booted_from(site: TestSite, instance: dict[str, Any], tmp_path: Path) -> None:
    image = tmp_path / "second.qcow2"
    raw = site.root / "data/guest-image/beastack-guest.raw"
    subprocess.run(["qemu-img", "convert", "-O", "qcow2", str(raw), str(image)], check=True)
    site.run("image", "add", str(image), "--name", "second")
    assert "second" in site.run("image", "list").stdout
    found = instance["connection"].get_image("second")
    assert found.status == "active" and found.disk_format == "qcow2"


# Bad luck


def test_a_killed_service_comes_back(site: TestSite, instance: dict[str, Any]) -> None:
    for name in ("nova-conductor", "keystone", "nova-api:1", "neutron-rpc", "nova-compute", "neutron-dhcp-agent"):
        before = site.services()[name]["pid"]
        os.kill(before, signal.SIGKILL)

        def is_back(name: str = name, before: int = before) -> bool:
            now = site.services()[name]
            return now["state"] == "running" and now["pid"] not in (None, before)

        eventually(is_back, f"{name} to come back", 30)
    connection = instance["connection"]
    eventually(lambda: connection.get_server("probe").status == "ACTIVE", "the API to answer")


def test_a_killed_supervisor_is_replaced_and_nothing_else_is(site: TestSite, instance: dict[str, Any]) -> None:
    eventually(lambda: all(item["state"] == "running" for item in site.services().values()), "all to run")
    before = {name: item["pid"] for name, item in site.services().items()}
    guests = guest_processes(site)
    assert len(guests) == 1
    supervisor = next(line for line in processes_of(site.root) if "supervisor.daemon" in line)
    os.kill(int(supervisor.split()[0]), signal.SIGKILL)
    assert site.run("status", ok=False).returncode == 3
    site.up()
    assert {name: item["pid"] for name, item in site.services().items()} == before
    assert guest_processes(site) == guests
    os.kill(before["nova-scheduler"], signal.SIGKILL)
    eventually(
        lambda: site.services()["nova-scheduler"]["pid"] not in (None, before["nova-scheduler"]),
        "an adopted service to be started again", 60,
    )  # fmt: skip


def test_a_restarted_switch_serves_the_same_guests(site: TestSite, instance: dict[str, Any]) -> None:
    before = site.services()["ovs-vswitchd"]["pid"]
    os.kill(before, signal.SIGKILL)
    eventually(lambda: site.services()["ovs-vswitchd"]["pid"] not in (None, before), "the switch to come back", 60)
    eventually(lambda: reaches(instance["address"], 22, instance["namespace"]), "the guest to be reached again", 180)


def test_a_tap_that_lost_its_up_flag_gets_it_back(site: TestSite, instance: dict[str, Any]) -> None:
    port = next(instance["connection"].network.ports(device_id=instance["server"].id))
    tap = f"tap{port.id[:11]}"
    subprocess.run(["ip", "link", "set", "dev", tap, "down"], check=True)
    agent = site.services()["neutron-ovs-agent"]["pid"]
    os.kill(agent, signal.SIGKILL)
    flags = Path("/sys/class/net", tap, "flags")
    eventually(lambda: int(flags.read_text(), 16) & 1, "the tap to be up again", 60)


def test_down_stops_everything_and_up_brings_the_instances_back(site: TestSite, instance: dict[str, Any]) -> None:
    site.run("down")
    assert processes_of(site.root) == []
    assert links() - site.links == set()
    assert namespaces() - site.namespaces == set()
    assert site.run("status", ok=False).returncode == 3
    assert site.run("down").returncode == 0
    site.up()
    eventually(lambda: reaches(instance["address"], 22, instance["namespace"]), "the guest to be reached again", 180)
    connection = site.connect()
    assert connection.get_server("probe").status == "ACTIVE"


def test_after_a_power_cut_up_brings_everything_back(site: TestSite, instance: dict[str, Any]) -> None:
    for line in processes_of(site.root):
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(line.split()[0]), signal.SIGKILL)
    eventually(lambda: processes_of(site.root) == [], "every process to be gone")
    for name in namespaces() - site.namespaces:
        subprocess.run(["ip", "netns", "delete", name], check=True)
    for name in links() - site.links:
        subprocess.run(["ip", "link", "delete", "dev", name], capture_output=True)
    # A machine that starts has a boot of another name; its clock and pids prove nothing.
    (site.root / "run" / "boot-id").write_text("another boot")
    site.up()
    eventually(lambda: reaches(instance["address"], 22, instance["namespace"]), "the guest to be reached again", 180)


# The end


def test_a_deleted_instance_leaves_nothing(site: TestSite, instance: dict[str, Any]) -> None:
    connection, server = site.connect(), instance["server"]
    port = next(connection.network.ports(device_id=server.id))
    assert any(port.id.startswith(name.removeprefix("tap")) for name in links() if name.startswith("tap"))
    connection.delete_server(server.id, wait=True)
    assert not any(port.id.startswith(name.removeprefix("tap")) for name in links() if name.startswith("tap"))
    assert not (site.root / "data/nova/instances" / server.id).exists()
    assert guest_processes(site) == []
    assert list(connection.network.ports(device_id=server.id)) == []
    switch = subprocess.run(
        ["ovs-vsctl", f"--db=unix:{site.root}/run/openvswitch/db.sock", "list-ports", f"{site.prefix}-int"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert port.id[:11] not in switch.stdout
    admin = site.connect("beastack-admin")
    providers = admin.session.get("/resource_providers", endpoint_filter={"service_type": "placement"}).json()
    for provider in providers["resource_providers"]:
        used = admin.session.get(
            f"/resource_providers/{provider['uuid']}/usages", endpoint_filter={"service_type": "placement"}
        ).json()
        assert set(used["usages"].values()) == {0}


def test_destroy_asks_first(site: TestSite) -> None:
    done = site.run("destroy", ok=False)
    assert done.returncode == 1 and "Nothing was changed" in done.stdout
    assert (site.root / "site.json").exists()


def test_destroy_removes_all_that_up_made_and_nothing_else(site: TestSite) -> None:
    site.run("destroy", "--yes")
    assert [path.name for path in site.root.iterdir()] == ["site.toml"]
    assert processes_of(site.root) == []
    assert links() == site.links
    assert namespaces() == site.namespaces
    assert set(user_names()) == site.users
    shutil.rmtree(source_for_anyone(), ignore_errors=True)
