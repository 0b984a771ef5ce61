"""up on a simulated FreeBSD host without packages: what it would install and load, and what it refuses. Root only."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator

import pytest

from plugged import PROJECT, SimulatedHost

pytestmark = pytest.mark.cloud


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimulatedHost]:
    """A host with nothing but Python, which is lent the project."""
    state = tmp_path_factory.mktemp("bare")
    host = SimulatedHost("bare", state, "")
    arguments = ("--name", host.name, "--bare", "--without-libvirt", "--release", "15.1", f"--share={PROJECT}")
    host.simulator("start", *arguments, limit=600)
    yield host
    host.simulator("remove", "--name", host.name)


def up(host: SimulatedHost, *options: str) -> subprocess.CompletedProcess[str]:
    """Run beastack up in the host, on a site of its own."""
    command = (str(PROJECT / "beastack"), "--root", "/var/tmp/site", "up", *options)
    return host.simulator("run", "--name", host.name, "--", *command, ok=False)


def prefix(host: SimulatedHost) -> str:
    """Return what packages of Python modules begin with there."""
    return host.run("pkg", "rquery", "-x", "%n", "^py3[0-9]+-cryptography").strip().removesuffix("cryptography")


def test_the_plan_shows_packages_modules_and_settings(bare: SimulatedHost) -> None:
    planned = up(bare, "--plan", "--json")
    assert planned.returncode == 0, planned.stderr
    changes = {step["name"]: step["changes"] for step in json.loads(planned.stdout)}
    (packages,) = changes["packages"]
    assert {"openvswitch", "mariadb118-server", f"{prefix(bare)}cryptography"} <= set(packages.split())
    assert changes["kernel"][1:] == ["sysctl net.link.tap.up_on_open=1"]
    assert {"vmm", "nmdm", "if_epair"} <= set(changes["kernel"][0].split())


def test_versions_out_of_bounds_are_refused_before_anything_is_changed(bare: SimulatedHost) -> None:
    name = f"{prefix(bare)}cryptography"
    bare.simulator("offer", "--name", bare.name, f"{name}=51.0.0,1", "haproxy=")
    refused = up(bare)
    assert refused.returncode == 1 and refused.stdout == ""
    first, second = refused.stderr.splitlines()
    assert first.startswith("beastack: pkg offers no haproxy")
    assert second.startswith(f"beastack: {name} 51.0.0,1 is what pkg offers, but pyOpenSSL")
    assert bare.run("pkg", "query", "-a", "%n").split()[0] == "pkg"
    assert bare.run("kldstat", "-q", "-m", "vmm", ok=False) == "" and "vmm" not in bare.run("kldstat")
    planned = up(bare, "--plan")
    assert planned.returncode == 1 and planned.stderr.splitlines() == [first, second]
    # What is installed counts in place of what is offered.
    bare.simulator("offer", "--name", bare.name, f"{name}=48.0.0,1", "haproxy=3.2.4")
    bare.run("pkg", "install", "-y", name)
    bare.simulator("offer", "--name", bare.name, f"{name}=50.0.0,1")
    planned = up(bare, "--plan")
    assert f"{name} 48.0.0,1 is installed, but jwcrypto" in planned.stderr
    bare.run("pkg", "install", "-y", name)
    assert up(bare, "--plan").returncode == 0


def test_pkg_itself_is_asked_for_first(bare: SimulatedHost) -> None:
    bare.run("pkg", "delete", "-f", "-y", "pkg")
    refused = up(bare)
    assert (refused.returncode, refused.stderr) == (
        1, "beastack: pkg is not installed yet: run pkg bootstrap, then up again\n",
    )  # fmt: skip
    bare.run("pkg", "bootstrap", "-y")


def test_a_release_out_of_support_is_said(bare: SimulatedHost) -> None:
    bare.simulator("stop", "--name", bare.name)
    bare.simulator("start", "--name", bare.name, "--without-libvirt", "--release", "15.0")
    planned = up(bare, "--plan")
    assert planned.returncode == 0
    assert planned.stderr.startswith(
        "beastack: note: FreeBSD 15.0 is out of support (14.4 and 15.1 and later are in it)"
    )
