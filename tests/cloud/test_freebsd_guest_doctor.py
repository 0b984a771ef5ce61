"""Doctor on a simulated FreeBSD host: what takes the network or the boot from guests is made, named, and mended."""

from __future__ import annotations

import contextlib
import json
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from conftest import eventually
from freebsd_pair import PairedSite

pytestmark = pytest.mark.cloud

FIRMWARE = "/usr/local/share/uefi-firmware/BHYVE_UEFI.fd"
DEAD = "doctor-dead"


@dataclass(frozen=True)
class Cause:
    """Something that is made wrong: how, what doctor calls it and says of it, and how it is put back.

    Where it is ``mended``, by doctor's own remedy up to the first semicolon.
    """

    make: str
    what: str
    seen: str
    undo: str
    mended: bool = True


def causes(site: PairedSite) -> list[Cause]:
    """Return what can be made wrong without harm to the other tests' guests."""
    near, far = (site.layout.interface(name) for name in ("host", "exth"))
    hook = f"/usr/local/etc/libvirt/hooks/bhyve.d/{site.layout.prefix}"
    machine = "bhyvectl --vm=doctor-left"
    return [
        Cause("kldunload nmdm", "modules", "nmdm is not loaded: no guest with a serial line starts", "kldload -n nmdm"),
        Cause("sysctl net.link.tap.up_on_open=0", "sysctls", "net.link.tap.up_on_open is 0: ",
              "sysctl net.link.tap.up_on_open=1"),
        Cause(f"mv {FIRMWARE} {FIRMWARE}.away", "firmware", "is not there", f"mv {FIRMWARE}.away {FIRMWARE}", False),
        Cause(f"mv {hook} {hook}.away", "libvirt's driver", "a guest that reboots loses", f"mv {hook}.away {hook}",
              False),
        Cause(f"{machine} --create", "bhyve", "the machine doctor-left is left of a bhyve",
              f"test ! -e /dev/vmm/doctor-left || {machine} --destroy"),
        Cause(f"ifconfig {far} txcsum", "checksums", f"{far} hands over frames without checksums",
              f"ifconfig {far} -txcsum -txcsum6"),
        Cause(f"ifconfig {far} mtu 9000", "frames", f"{far} has MTU 9000", f"ifconfig {far} mtu 1500"),
        Cause(f"ifconfig {near} down", "provider network", f"the interface {near} is down", f"ifconfig {near} up"),
    ]  # fmt: skip


def examine(site: PairedSite) -> list[dict[str, str]]:
    """Return what doctor finds wrong."""
    findings = json.loads(site.run("doctor", "--json", ok=False).stdout)
    return [item for item in findings if not item["ok"]]


@contextlib.contextmanager
def second_libvirtd(site: PairedSite) -> Iterator[None]:
    """Run something that is called libvirtd."""
    site.inside("cp", "/bin/sleep", "/tmp/libvirtd")
    process = site.host.start_inside("root", "/tmp/libvirtd", "600")
    try:
        eventually(lambda: site.find_processes("^/tmp/libvirtd 600"), "it to run")
        yield
    finally:
        for pid in site.find_processes("^/tmp/libvirtd 600"):
            site.inside("kill", str(pid))
        process.wait()
        site.inside("rm", "/tmp/libvirtd")


@contextlib.contextmanager
def dead_port(site: PairedSite) -> Iterator[None]:
    """Have a port in the switch whose interface was made anew, and no agent that notices."""
    bridge = site.layout.interface("ext")
    make = f"ifconfig $(ifconfig epair create) name {DEAD} && ifconfig {DEAD} up"
    site.inside("sh", "-c", make)
    site.host.vsctl("add-port", bridge, DEAD)
    agent = site.kill("neutron-ovs-agent", "STOP")
    try:
        site.inside("sh", "-c", f"ifconfig {DEAD} destroy && {make}")
        yield
    finally:
        site.host.vsctl("del-port", bridge, DEAD)
        site.inside("ifconfig", DEAD, "destroy")
        site.inside("kill", "-CONT", str(agent))


def test_each_cause_is_named_and_mended(whole_site: PairedSite) -> None:
    made = causes(whole_site)
    with contextlib.ExitStack() as stack:
        stack.enter_context(second_libvirtd(whole_site))
        stack.enter_context(dead_port(whole_site))
        for cause in made:
            whole_site.inside("sh", "-c", cause.make)
            stack.callback(whole_site.inside, "sh", "-c", cause.undo)
        found = examine(whole_site)
        remedies = {cause.make: find(found, cause.what, cause.seen)["remedy"] for cause in made}
        assert "service libvirtd onestop" in find(found, "libvirt's driver", "runs beside the site's")["remedy"]
        find(found, "dead ports", f"the port {DEAD} was made anew")
        for cause in (one for one in made if one.mended):
            whole_site.inside("sh", "-c", remedies[cause.make].partition(";")[0])
        left = examine(whole_site)
        assert not [item for item in left if any(is_of(item, cause) for cause in made if cause.mended)]


def is_of(finding: dict[str, str], cause: Cause) -> bool:
    """Tell whether a finding is a cause's."""
    return finding["what"] == cause.what and cause.seen in finding["seen"]


def find(findings: list[dict[str, str]], what: str, seen: str) -> dict[str, str]:
    """Return the finding that says something."""
    fitting = [item for item in findings if item["what"] == what and seen in item["seen"]]
    assert fitting, f"{what}: {seen!r} is not among {json.dumps(findings, indent=1)}"
    return fitting[0]


def test_a_firewall_that_denies_everything(whole_site: PairedSite) -> None:
    # Only in the jails of networks: what the host's own services say to each other passes.
    switches = "sysctl net.inet.ip.fw.enable=0 net.inet6.ip6.fw.enable=0"
    whole_site.inside("sh", "-c", f"kldload ipfw && {switches}")
    try:
        found = examine(whole_site)
        find(found, "ipfw", "it denies everything in each new jail")
        for command in find(found, "ipfw", "it is at work in qdhcp-")["remedy"].split("; "):
            whole_site.inside("sh", "-c", command)
        assert [item["seen"] for item in examine(whole_site) if "at work" in item["seen"]] == []
    finally:
        whole_site.inside("kldunload", "ipfw")


def test_what_it_prints_for_people_is_the_same(whole_site: PairedSite) -> None:
    whole_site.inside("sysctl", "net.link.tap.up_on_open=0")
    try:
        done: subprocess.CompletedProcess[str] = whole_site.run("doctor", ok=False)
    finally:
        whole_site.inside("sysctl", "net.link.tap.up_on_open=1")
    assert done.returncode == 1 and "\nBAD  sysctls: net.link.tap.up_on_open is 0: " in done.stdout
    assert "\n     -> sysctl net.link.tap.up_on_open=1" in done.stdout
