"""The hook of libvirt: which ports go, when, and that nothing can make it fail."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

from beastack.port.nova.bhyve import libvirt_hook

DOMAIN = """\
<domain type='bhyve' id='549'>
  <name>instance-0000002a</name>
  <devices>
    <interface type='bridge'>
      <mac address='fa:16:3e:00:00:01'/>
      <source bridge='br-int'/>
      <virtualport type='openvswitch'><parameters interfaceid='d3adbeef-0123-4567-89ab-cdef01234567'/></virtualport>
      <target dev='tapd3adbeef-01'/>
    </interface>
    <interface type="bridge"><target dev="tap0badcafe-01"/><virtualport type="openvswitch"/></interface>
    <interface type='bridge'><source bridge='bridge0'/><target dev='tapdeadbeef-02'/></interface>
    <interface type='bridge'><virtualport type='openvswitch'/><target dev='vnet0'/></interface>
    <interface type='bridge'><virtualport type='openvswitch'/><target dev='--db=tcp:evil'/></interface>
    <disk><target dev='vda' bus='virtio'/></disk>
  </devices>
</domain>
"""


def test_ports_of_ours_in_the_switch_are_found() -> None:
    assert libvirt_hook.find_taps(DOMAIN) == ["tapd3adbeef-01", "tap0badcafe-01"]
    assert libvirt_hook.find_taps("") == libvirt_hook.find_taps("<interface>") == []


def test_all_go_with_one_command() -> None:
    assert libvirt_hook.build_command(["tapd3adbeef-01", "tap0badcafe-01"], "unix:/var/run/x") == [
        "ovs-vsctl", "--timeout=5", "--db=unix:/var/run/x",
        "--", "--if-exists", "del-port", "tapd3adbeef-01", "--", "--if-exists", "del-port", "tap0badcafe-01",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("operation", "suboperation", "runs"),
    [("stopped", "end", True), ("release", "end", True), ("prepare", "begin", False), ("start", "begin", False),
     ("started", "begin", False), ("reconnect", "begin", False)],
)  # fmt: skip
def test_only_after_a_stop(
    operation: str, suboperation: str, runs: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = tmp_path / "said"
    program = tmp_path / "ovs-vsctl"
    program.write_text(f'#!/bin/sh\necho "$@" > {said}\n')
    program.chmod(0o755)
    monkeypatch.setattr(libvirt_hook, "SEARCH_PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "stdin", io.StringIO(DOMAIN))
    assert libvirt_hook.main(["instance-0000002a", operation, suboperation, "-"]) == 0
    assert said.exists() is runs
    assert (
        not runs
        or said.read_text().split()[1:] == libvirt_hook.build_command(["tapd3adbeef-01", "tap0badcafe-01"], None)[2:]
    )


@pytest.mark.parametrize("program", ["exit 1", None])
def test_a_stop_cannot_be_stopped(program: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if program is not None:
        (tmp_path / "ovs-vsctl").write_text(f"#!/bin/sh\n{program}\n")
        (tmp_path / "ovs-vsctl").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(libvirt_hook, "SEARCH_PATH", str(tmp_path))
    monkeypatch.setattr(sys, "stdin", io.StringIO(DOMAIN))
    assert libvirt_hook.main(["instance-0000002a", "stopped", "end", "-"]) == 0


def test_it_runs_by_its_path_with_the_standard_library_alone() -> None:
    result = subprocess.run(
        [sys.executable, "-IS", str(libvirt_hook.__file__), "a", "prepare", "begin", "-"], input=DOMAIN, text=True,
        capture_output=True,
    )  # fmt: skip
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
    program = (
        "import runpy, sys; runpy.run_path(sys.argv[1], run_name='x'); "
        "print(*sorted({name.partition('.')[0] for name in sys.modules} - set(sys.stdlib_module_names)))"
    )
    result = subprocess.run(
        [sys.executable, "-IS", "-c", program, str(libvirt_hook.__file__)], text=True, capture_output=True
    )
    assert set(result.stdout.split()) <= {"__main__"}
