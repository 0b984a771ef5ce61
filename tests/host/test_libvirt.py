"""libvirt's bhyve driver: a guest that boots to its console over nmdm and answers over a tap on a bridge."""

from __future__ import annotations

import os
import re
import shutil
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from beastack.freebsd import interface, kld, nmdm, process, service
from beastack.freebsd.command import CommandError, find_program, run
from conftest import eventually

NAME = "bt-guest"
BRIDGE = "bt-br0"
TAP = "bt-tap0"
NETWORK = "10.99.7"
FIRMWARE = "/usr/local/share/uefi-firmware/BHYVE_UEFI.fd"
BOOT_LIMIT = 180

DOMAIN = """\
<domain type='bhyve'>
  <name>{name}</name>
  <uuid>{uuid}</uuid>
  <memory unit='MiB'>256</memory>
  <vcpu>1</vcpu>
  <os><type>hvm</type><loader readonly='yes' type='pflash'>{firmware}</loader></os>
  <features><acpi/><apic/></features>
  <clock offset='utc'/>
  <devices>
    <disk type='file' device='disk'>
      <driver name='file' type='raw'/><source file='{disk}'/><target dev='vda' bus='virtio'/>
    </disk>
    <interface type='bridge'>
      <mac address='52:54:00:7a:00:01'/><source bridge='{bridge}'/><target dev='{tap}'/><model type='virtio'/>
    </interface>
    <serial type='nmdm'><source master='{line.a}' slave='{line.b}'/></serial>
  </devices>
</domain>
"""


class Console:
    """Reads the guest's first serial line from before its start, through every reboot."""

    def __init__(self, path: str) -> None:
        self.descriptor = nmdm.open_side(path)
        self.text = ""
        self.running = True
        self.thread = threading.Thread(target=self._read)
        self.thread.start()

    def _read(self) -> None:
        while self.running:
            try:
                self.text += os.read(self.descriptor, 4096).decode(errors="replace")
            except BlockingIOError:
                time.sleep(0.05)

    def close(self) -> None:
        """Stop reading and let the line go."""
        self.running = False
        self.thread.join()
        os.close(self.descriptor)


def virsh(*arguments: str) -> str:
    """Run virsh on the system's bhyve driver and return what it prints."""
    return run(["virsh", "-c", "bhyve:///system", "-q", *arguments], timeout=60).stdout.strip()


def answers() -> bool:
    """Return whether libvirtd answers."""
    try:
        return "BHYVE" in virsh("version")
    except CommandError:
        return False


@pytest.fixture
def libvirtd() -> Iterator[None]:
    """libvirtd, started by its rc script unless it runs already."""
    if find_program("virsh") is None:
        pytest.skip("libvirt is not installed")
    for module in ("vmm", "nmdm", "if_bridge", "if_tuntap"):
        kld.load(module)
    was_running = answers()
    if not was_running:
        service.start("libvirtd", one=True)
    eventually(answers, "libvirtd to answer", 30)
    yield
    if not was_running:
        service.stop("libvirtd")


@pytest.fixture
def network(tmp_path: Path) -> Iterator[None]:
    """A bridge with an address, and dnsmasq that gives addresses on it."""
    interface.create_bridge(BRIDGE, interface.Settings(up=True))
    interface.add_address(BRIDGE, f"{NETWORK}.1/24")
    pidfile = tmp_path / "dnsmasq.pid"
    run([
        "dnsmasq", "--conf-file=/dev/null", "--port=0", f"--interface={BRIDGE}", "--bind-interfaces",
        f"--dhcp-range={NETWORK}.10,{NETWORK}.20,1h", f"--pid-file={pidfile}", "--no-ping",
        f"--dhcp-leasefile={tmp_path}/leases", "--user=root",
    ])  # fmt: skip
    pid = int(eventually(lambda: pidfile.exists() and pidfile.read_text().strip(), "dnsmasq's pid file"))
    yield
    process.stop(pid, 10)
    interface.destroy_interface(BRIDGE)


def test_a_guest_lives_through_libvirt(libvirtd: None, network: None, image: Path, tmp_path: Path) -> None:
    disk = tmp_path / "disk.raw"
    shutil.copyfile(image, disk)
    line = nmdm.name_pair(f"bt-{uuid.uuid4()}")
    definition = tmp_path / "guest.xml"
    definition.write_text(
        DOMAIN.format(name=NAME, uuid=uuid.uuid4(), firmware=FIRMWARE, disk=disk, bridge=BRIDGE, tap=TAP, line=line)
    )
    console = Console(line.b)
    try:
        virsh("define", str(definition))
        virsh("start", NAME)
        assert re.search(rf"\b{NAME}\s+running", virsh("list"))
        _await_start()
        assert TAP in {member.name for member in interface.read_interface(BRIDGE).bridge.members}  # type: ignore[union-attr]

        address = eventually(lambda: _address(console), f"the guest to boot: {console.text[-500:]}", BOOT_LIMIT)
        run(["ping", "-n", "-c", "2", "-t", "20", address], timeout=30)

        eventually(lambda: "READY" in console.text, "the guest to be ready", BOOT_LIMIT)
        virsh("shutdown", NAME)
        eventually(lambda: virsh("domstate", NAME) == "shut off", "the guest to shut down", 60)
        _left_nothing()

        virsh("start", NAME)
        assert virsh("domstate", NAME) == "running"
        _await_start()
        virsh("destroy", NAME)
        assert virsh("domstate", NAME) == "shut off"
        eventually(lambda: process.find_by_title(f"bhyve: {NAME}") == (), "bhyve to end")
        _left_nothing()
    finally:
        console.close()
        if NAME in virsh("list", "--name"):
            virsh("destroy", NAME)
        if NAME in virsh("list", "--all", "--name"):
            virsh("undefine", NAME)


def _await_start() -> None:
    """Wait for the guest's process and device: libvirt 11.3 answers as soon as the program is started.

    A guest that is destroyed before its device is there stays "running" (src/bhyve/bhyve_process.c).
    """
    eventually(lambda: len(process.find_by_title(f"bhyve: {NAME}")) == 1, "bhyve under its title")
    eventually(Path("/dev/vmm", NAME).exists, "the virtual machine's device")


def _address(console: Console) -> str | None:
    found = re.search(rf"address=({re.escape(NETWORK)}\.\d+)/24", console.text)
    return found[1] if found else None


def _left_nothing() -> None:
    assert interface.find_interface(TAP) is None
    assert not Path("/dev/vmm", NAME).exists()
