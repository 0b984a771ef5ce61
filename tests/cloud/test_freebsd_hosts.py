"""A cloud on three simulated FreeBSD hosts, told in order: each test goes on from the one before.

What the hosts are, and how they came to be, stands in freebsd_hosts.py: ann
lives on the host left, bob on the host right.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from conftest import eventually
from freebsd_hosts import ADDRESSES, CONTROL, SEGMENT, Fleet, deliver, power_on, three_hosts

pytestmark = pytest.mark.cloud

PYTHON = f"python{sys.version_info.major}.{sys.version_info.minor}"
NOTE = 900  # MiB from the beginning of a disk of 1 GiB


@pytest.fixture(scope="module")
def fleet() -> Iterator[Fleet]:
    """Three hosts."""
    with three_hosts() as made:
        yield made


def reaches(fleet: Fleet, one: str, other: str) -> bool:
    """Tell whether an instance reaches another."""
    return bool(fleet.shell(one, "ping", "-c", "1", "-W", "3", fleet.address(other)))


def read_note(fleet: Fleet, name: str) -> str:
    """Return what is noted on an instance's disk, beyond its image."""
    return fleet.shell(name, "sh", "-c", f"'dd if=/dev/vda bs=1M skip={NOTE} count=1 2>/dev/null | head -c 4'")


def is_gone(fleet: Fleet, host: str, domain: str, number: str) -> bool:
    """Tell whether nothing of an instance is left on a host: guest, process, disks, ports."""
    site = fleet.computes[host]
    uri = f"bhyve+unix:///system?socket={site.layout.run('libvirt')}/libvirt-sock"
    guests = site.inside("virsh", "--connect", uri, "--quiet", "list", "--all", "--name").split()
    directories = [path.name for path in (site.root / "data/nova/instances").iterdir()]
    taps = {f"tap{port['id'][:11]}" for port in fleet.api.list("ports", device_id=number)}
    ports = set(site.host.vsctl("list-ports", site.layout.interface("int")).split())
    return (
        domain not in guests
        and not site.find_processes(f"^bhyve: {domain}$")
        and not any(name.startswith(number) for name in directories)
        and not taps & ports
    )


def test_hosts_are_up_and_known(fleet: Fleet) -> None:
    eventually(lambda: all(row["state"] == "up" for row in fleet.hosts().values()), "every host to be up")
    rows = fleet.hosts()
    assert {name: row["role"] for name, row in rows.items()} == {
        "control": "control+network", "left": "compute", "right": "compute",
    }  # fmt: skip
    assert {name: rows[name]["address"] for name in ADDRESSES} == ADDRESSES
    for site in fleet.computes.values():
        names = set(site.services())
        assert {"nova-compute", "neutron-ovs-agent", "libvirtd", "console", "transfer"} <= names
        assert not names & {"mariadb", "rabbitmq", "keystone", "neutron-dhcp-agent", "neutron-metadata-agent"}
        findings = json.loads(site.run("doctor", "--json", ok=False).stdout)
        assert [finding for finding in findings if not finding["ok"]] == []


def test_guests_on_both_hosts_reach_each_other_and_their_metadata(fleet: Fleet) -> None:
    fleet.boot("ann", "left")
    fleet.boot("bob", "right")
    for name, host in (("ann", "left"), ("bob", "right")):
        fleet.await_status(name, "ACTIVE")
        assert fleet.host_of(name) == host
        eventually(lambda: fleet.is_reached(name), f"{name} to answer, by its name", 240)  # noqa: B023
    assert reaches(fleet, "ann", "bob")
    assert reaches(fleet, "bob", "ann")
    assert not is_gone(fleet, "left", fleet.domain("ann"), fleet.servers["ann"])


def test_consoles_of_other_hosts_are_reached_from_the_proxies(fleet: Fleet) -> None:
    """By what nova tells the proxies, from the network of the control host; by nobody on another address."""
    left = fleet.computes["left"]
    listening = left.inside("sockstat", "-4ln", "-P", "tcp").splitlines()[1:]
    own = [line.split()[5] for line in listening]
    ports = {int(place.rpartition(":")[2]): place.rpartition(":")[0] for place in own}
    screen = next(port for port in ports if 5900 <= port < 6000)
    line = next(port for port in ports if 10000 <= port < 11000)
    assert {ports[screen], ports[line]} == {ADDRESSES["left"]}
    probe = "import socket, sys; print(socket.create_connection((sys.argv[1], int(sys.argv[2])), 5).recv(3))"
    said = fleet.control.inside(PYTHON, "-c", probe, ADDRESSES["left"], str(screen))
    assert "RFB" in said


def test_an_instance_is_migrated_while_it_is_off(fleet: Fleet) -> None:
    before = fleet.domain("ann"), fleet.servers["ann"]
    fleet.shell("ann", "sh", "-c", f"'printf kept | dd of=/dev/vda bs=1M seek={NOTE} conv=notrunc; sync'")
    assert read_note(fleet, "ann") == "kept"
    fleet.act("ann", migrate=None)  # there is one other host
    fleet.await_status("ann", "VERIFY_RESIZE")
    assert fleet.host_of("ann") == "right"
    eventually(lambda: fleet.is_reached("ann"), "ann to answer on its new host", 240)
    assert read_note(fleet, "ann") == "kept"
    fleet.act("ann", confirmResize=None)
    fleet.await_status("ann", "ACTIVE")
    eventually(lambda: is_gone(fleet, "left", *before), "nothing to be left of ann on its old host")
    assert reaches(fleet, "ann", "bob")


def test_hosts_get_new_certificates(fleet: Fleet) -> None:
    """The migration that follows goes by them."""
    held = {name: (site.root / "site.toml").read_text() for name, site in fleet.computes.items()}
    guests = {name: fleet.computes[fleet.host_of(name)].find_processes("^bhyve: ") for name in ("ann", "bob")}
    for told in json.loads(fleet.run("host", "renew", "--json").stdout):
        name = told["name"]
        fleet.computes[name].run(*deliver(fleet, name, told))
        assert (fleet.computes[name].root / "site.toml").read_text() != held[name]
    fleet.run("up")
    assert guests == {name: fleet.computes[fleet.host_of(name)].find_processes("^bhyve: ") for name in ("ann", "bob")}


def test_a_migration_is_taken_back(fleet: Fleet) -> None:
    before = fleet.domain("ann"), fleet.servers["ann"]
    fleet.act("ann", migrate=None)
    fleet.await_status("ann", "VERIFY_RESIZE")
    fleet.act("ann", revertResize=None)
    fleet.await_status("ann", "ACTIVE")
    assert fleet.host_of("ann") == "right"
    eventually(lambda: is_gone(fleet, "left", *before), "nothing to be left of ann where it was for a while")
    eventually(lambda: fleet.is_reached("ann"), "ann to answer where it was before", 240)


def test_disks_are_nobodys_without_a_certificate(fleet: Fleet) -> None:
    """A program on the control host, which reaches the daemon and has no certificate of a host with guests."""
    probe = (
        "import socket, ssl, sys; context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT);"
        "context.check_hostname = False; context.verify_mode = ssl.CERT_NONE;"
        "connection = context.wrap_socket(socket.create_connection((sys.argv[1], 16636), 5));"
        "print(connection.recv(10))"
    )
    said = fleet.control.host.simulator(
        "run", "--name", fleet.control.host.name, PYTHON, "-c", probe, ADDRESSES["right"], ok=False
    )
    assert said.returncode != 0 and "CERTIFICATE_REQUIRED" in said.stderr.upper()


def test_instances_of_a_host_that_died_are_evacuated(fleet: Fleet) -> None:
    right = fleet.computes["right"]
    right.host.simulator("stop", "--name", right.host.name)
    eventually(lambda: fleet.hosts()["right"]["state"] == "down", "the cloud to see that right is gone", 180)
    for name in ("ann", "bob"):
        fleet.act(name, evacuate={"host": "left", "onSharedStorage": False})
    for name in ("ann", "bob"):
        fleet.await_status(name, "ACTIVE")
        assert fleet.host_of(name) == "left"
        eventually(lambda: fleet.is_reached(name), f"{name} to answer on left", 240)  # noqa: B023
    assert reaches(fleet, "ann", "bob")
    # From the image: there is no shared storage.
    assert read_note(fleet, "ann") != "kept"


def test_a_host_that_comes_back_gives_up_what_was_evacuated(fleet: Fleet) -> None:
    domains = {name: (fleet.domain(name), fleet.servers[name]) for name in ("ann", "bob")}
    power_on(fleet.computes["right"], guests=True, segment=SEGMENT, address=ADDRESSES["right"])
    fleet.computes["right"].run("up")
    eventually(lambda: fleet.hosts()["right"]["state"] == "up", "right to be back")
    for name, before in domains.items():
        eventually(lambda: is_gone(fleet, "right", *before), f"nothing to be left of {name} on right")  # noqa: B023
        assert fleet.is_reached(name)


def test_a_host_with_instances_stays(fleet: Fleet) -> None:
    refused = fleet.run("host", "remove", "left", ok=False)
    assert refused.returncode == 1
    assert refused.stderr.startswith("beastack: left has 2 instances") and refused.stderr.count("\n") == 1


def test_a_host_is_removed(fleet: Fleet) -> None:
    fleet.computes["right"].run("down")
    fleet.run("host", "remove", "right")
    assert set(fleet.hosts()) == {"control", "left"}
    services = fleet.api.ask("compute", "GET", "/os-services")["services"]
    assert "right" not in {one["host"] for one in services}
    assert "right" not in {one["host"] for one in fleet.api.list("agents")}
    providers = fleet.api.ask("placement", "GET", "/resource_providers")["resource_providers"]
    assert {one["name"] for one in providers} == {"left"}
    # What it was given opens nothing any more.
    power_on(fleet.computes["right"], guests=True, segment=SEGMENT, address=ADDRESSES["right"])
    refused = fleet.computes["right"].run("join", str(fleet.computes["right"].root / "site.toml"), ok=False)
    assert refused.returncode == 1 and refused.stderr.count("\n") == 1 and CONTROL in refused.stderr


def test_no_host_touched_what_only_linux_has(fleet: Fleet, tmp_path: Path) -> None:
    for site in (fleet.control, *fleet.computes.values()):
        assert site.linuxisms() == []
