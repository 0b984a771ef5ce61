"""Causes of "the guest does not boot" on FreeBSD: processor, firmware, libvirt, and what is left of guests."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from beastack.freebsd import kld, process, sysctl
from beastack.freebsd.command import run
from beastack.site.doctor.answers import GUEST_RUNNING
from beastack.site.doctor.finding import Finding, bad, good
from beastack.site.doctor.processes import last_words
from beastack.site.doctor.view import View
from beastack.site.host import freebsd_hypervisor, freebsd_packages

INTEL, AMD, ANY_MODE = "hw.vmm.vmx.initialized", "hw.vmm.svm.num_asids", "hw.vmm.vmx.cap.unrestricted_guest"
AROUND = "kern.vm_guest"
#: What the kernel said of the processor when the machine started.
BOOT_MESSAGES = Path("/var/run/dmesg.boot")
#: Features of processors that vmm(4) needs, and how the kernel's messages call their lines.
FEATURES = {"POPCNT": r"Features2=", "EPT": r"VT-x: ", "UG": r"VT-x: "}
FIRMWARE = Path(freebsd_packages.GUEST_PACKAGES["edk2-bhyve"])
#: The oldest libvirt that nova takes (nova.virt.libvirt.driver, MIN_LIBVIRT_VERSION).
LIBVIRT = (8, 0, 0)
MACHINES = Path("/dev/vmm")


def check_processor(view: View) -> Iterator[Finding]:
    """The processor can run guests that begin with UEFI (vmm(4))."""
    if not kld.is_loaded("vmm"):
        return  # told of with the modules
    values = sysctl.read_values((), optional=(INTEL, AMD, ANY_MODE, AROUND))
    known = {name: values.integer(name) for name in (INTEL, AMD, ANY_MODE) if name in values}
    if known.get(AMD) or (known.get(INTEL) and known.get(ANY_MODE, 1)):
        yield good("vmm", "vmm can use the processor")
        return
    missing = missing_features(BOOT_MESSAGES.read_text(errors="replace")) if BOOT_MESSAGES.exists() else []
    why = f" (the processor lacks {', '.join(missing)})" if missing else ""
    around = values.text(AROUND) if AROUND in values else "none"
    if around != "none":
        remedy = f"this machine is a guest ({around}): switch nested virtualization on for it where it runs"
    else:
        remedy = "switch virtualization on in the machine's firmware (VT-x with EPT and unrestricted guest, or AMD-V)"
    if known.get(INTEL):
        yield bad("vmm", f"the processor runs no guest that begins with UEFI{why}", remedy)
    else:
        yield bad("vmm", f"vmm cannot use the processor: no guest starts{why}", remedy)


def missing_features(messages: str) -> list[str]:
    """Return which of the features the kernel named lines for, but not in them."""
    missing = []
    for feature, line in FEATURES.items():
        found = re.search(rf"{line}.*$", messages, re.MULTILINE)
        if found and not re.search(rf"\b{feature}\b", found.group()):
            missing.append(feature)
    return missing


def check_firmware(view: View) -> Iterator[Finding]:
    """The firmware that guests begin with is there."""
    try:
        size = FIRMWARE.stat().st_size
    except FileNotFoundError:
        yield bad("firmware", f"{FIRMWARE} is not there: no guest starts", "pkg install edk2-bhyve")
        return
    if size == 0:
        yield bad("firmware", f"{FIRMWARE} is empty: no guest starts", "pkg install -f edk2-bhyve")
    else:
        yield good("firmware", str(FIRMWARE))


def check_libvirt(view: View) -> Iterator[Finding]:
    """There is one libvirtd, of a version that nova takes, and it calls the site's hook."""
    foreign = freebsd_hypervisor.foreign_libvirtd(view.site)
    hook = freebsd_hypervisor.hook(view.site)
    version = daemon_version(run(["virsh", "--connect", view.libvirt_uri, "version", "--daemon"], timeout=10).stdout)
    wrong = []
    if foreign is not None:
        seen = f"{foreign} runs beside the site's, and they undo each other's work"
        wrong.append((seen, f"service libvirtd onestop; {view.restart('libvirtd')}"))
    if not hook.exists() or hook.read_text() != freebsd_hypervisor.hook_text(view.site):
        seen = f"the hook {hook} is not as up wrote it: a guest that reboots loses its network"
        wrong.append((seen, f"{view.redo}; {view.restart('libvirtd')}"))
    if version is not None and version < LIBVIRT:
        seen = f"libvirt {'.'.join(map(str, version))} is older than nova takes ({'.'.join(map(str, LIBVIRT))})"
        wrong.append((seen, f"pkg upgrade libvirt; {view.again}"))
    for seen, remedy in wrong:
        yield bad("libvirt's driver", seen, remedy)
    if not wrong:
        yield good("libvirt's driver", f"libvirt {'.'.join(map(str, version or ()))}, with the site's hook")


def daemon_version(text: str) -> tuple[int, ...] | None:
    """Return libvirtd's version from the output of virsh version --daemon."""
    found = re.search(r"daemon: (\d+)\.(\d+)\.(\d+)", text)
    return tuple(int(number) for number in found.groups()) if found else None


def check_machines(view: View) -> Iterator[Finding]:
    """Behind every guest that libvirt calls running is a bhyve, and no machine is left of one that ended."""
    guests = view.guests
    running = {name for name, state in guests.items() if state == GUEST_RUNNING}
    table = process.list_processes()
    alive = {found.title.removeprefix("bhyve: ") for found in table if found.title.startswith("bhyve: ")}
    # One that is being set up has the arguments that it was started with, the machine's name last.
    alive |= {argv[-1] for found in table if (argv := found.arguments.split()) and argv[0].endswith("bhyve")}
    left = {entry.name for entry in MACHINES.iterdir()} - alive if MACHINES.is_dir() else set()
    wrong = 0
    for name in sorted(running - alive):
        wrong += 1
        words = last_words(freebsd_hypervisor.LOGS / f"{name}.log")
        seen = f"libvirt calls {name} running, but its bhyve has ended" + (f"; its log: {words}" if words else "")
        yield bad("bhyve", seen, f"{view.restart('nova-compute')}; {view.openstack('server list --all-projects')}")
    for name in sorted(left - running):
        wrong += 1
        seen = f"the machine {name} is left of a bhyve that ended, with its memory: it does not start again"
        yield bad("bhyve", seen, f"bhyvectl --vm={name} --destroy")
    if not wrong:
        yield good("bhyve", f"{len(alive)} run{'s' if len(alive) == 1 else ''}, nothing is left of others")
