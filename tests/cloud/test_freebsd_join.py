"""A simulated FreeBSD host becomes a compute node of a cloud that runs elsewhere, told in order.

The cloud is a control plane of kind linux in a network namespace of its own;
what it knows of FreeBSD is nothing.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from beastack.freebsd.command import run
from conftest import BEASTACK, eventually
from freebsd_hosts import IMAGE, INTERFACE, Fleet, are_mapped, build_image, make_network, prepare_state, start_host
from freebsd_pair import _remove, open_api
from linux_control import ADDRESS, Elsewhere, elsewhere

pytestmark = pytest.mark.cloud

SEGMENT, OWN, NAME = "beastack-join", "10.97.0.2", "faraway"


def fill_in(cloud: Elsewhere) -> str:
    """Return what ``join --template`` prints, filled in as an operator of that cloud would."""
    template = run([BEASTACK, "join", "--template"]).stdout
    secrets = cloud.secrets
    values = {
        "role": "network+compute", "name": NAME, "url": f"rabbit://beastack:{secrets['messaging']}@{ADDRESS}:5673/",
        "identity_url": f"http://{ADDRESS}:5000/v3", "compute_password": secrets["user-nova"],
        "network_password": secrets["user-neutron"], "placement_password": secrets["user-placement"],
        "novnc_url": f"http://{ADDRESS}:6080/vnc_lite.html", "serial_url": f"ws://{ADDRESS}:6083/",
        "local_ip": OWN, "underlay": INTERFACE,
    }  # fmt: skip
    lines = []
    for line in template.splitlines():
        key = line.partition(" = ")[0]
        lines.append(f"{key} = {json.dumps(values[key])}" if key in values else line)
        if line == "[control]":
            lines += [f'address = "{ADDRESS}"', f'metadata_secret = "{secrets["metadata-proxy"]}"']
    return "\n".join(lines) + "\n"


@pytest.fixture(scope="module")
def joined() -> Iterator[tuple[Fleet, Elsewhere, Path]]:
    """The cloud, the host before it joins, and the file to join by."""
    directory = Path(tempfile.mkdtemp(prefix="beastack-join-", dir="/var/tmp"))
    directory.chmod(0o755)
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, directory, ignore_errors=True)
        host = start_host(directory / NAME, prepare_state(directory), guests=True, segment=SEGMENT, address=OWN)
        stack.callback(_remove, host)
        stack.callback(host.host.simulator, "unlink", SEGMENT, ok=False)
        cloud = stack.enter_context(elsewhere(directory / "elsewhere", SEGMENT))
        file = directory / "faraway.toml"
        file.write_text(fill_in(cloud))
        file.chmod(0o600)
        image = build_image(directory)
        cloud.run("image", "add", str(image), "--name", IMAGE)
        image.unlink()
        api = stack.enter_context(open_api(host.host, cloud.secrets["admin"], f"http://{ADDRESS}:5000/v3"))
        yield Fleet(host, {NAME: host}, api, host.host, cloud.root / "id_ed25519"), cloud, file


def test_what_is_wrong_is_said_before_anything_is_changed(joined: tuple[Fleet, Elsewhere, Path]) -> None:
    fleet, cloud, file = joined
    text = file.read_text()
    for right, wrong, said in (
        (cloud.secrets["user-nova"], "0" * 32, "user nova was not accepted"),
        (f"{ADDRESS}:5673", f"{ADDRESS}:5674", "is not reached"),
        (f"http://{ADDRESS}:5000", f"http://{ADDRESS}:5001", "identity at"),
    ):
        bad = file.with_name("bad.toml")
        bad.write_text(text.replace(right, wrong))
        refused = fleet.control.run("join", str(bad), ok=False)
        assert refused.returncode == 1
        assert said in refused.stderr and refused.stderr.count("\n") == 1, refused.stderr
        assert not (fleet.control.root / "site.toml").exists()
    assert fleet.control.inside("pgrep", "-f", "beastack.supervisor", ok=False) == ""


def test_the_host_joins(joined: tuple[Fleet, Elsewhere, Path]) -> None:
    fleet, _, file = joined
    said = fleet.control.run("join", str(file)).stdout
    assert "the APIs in region RegionOne answer" in said
    assert "discover_hosts" in said or f"sends instances to {NAME}" in said
    assert "mariadb" not in fleet.control.services()
    eventually(lambda: are_mapped(fleet, [NAME]), "the cloud to have the host in a cell", 120)


def test_an_instance_lives_on_it(joined: tuple[Fleet, Elsewhere, Path]) -> None:
    fleet, cloud, _ = joined
    make_network(fleet, (cloud.root / "id_ed25519.pub").read_text().strip())
    fleet.boot("far", NAME)
    fleet.await_status("far", "ACTIVE")
    assert fleet.host_of("far") == NAME
    eventually(lambda: fleet.is_reached("far"), "the instance to answer, by its name", 240)
    fleet.api.ask("compute", "DELETE", f"/servers/{fleet.servers['far']}", ok=(204,))
    eventually(lambda: fleet.api.ask("compute", "GET", "/servers?all_tenants=1")["servers"] == [], "it to be gone")


def test_a_second_time_changes_nothing(joined: tuple[Fleet, Elsewhere, Path]) -> None:
    fleet, _, file = joined
    before = {name: item["pid"] for name, item in fleet.control.services().items()}
    fleet.control.run("join", str(file))
    assert {name: item["pid"] for name, item in fleet.control.services().items()} == before
