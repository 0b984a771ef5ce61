"""bhyvectl(8): create, destroy and poke virtual machines."""

from __future__ import annotations

from freebsd_sim.call import Call, NotSimulated
from freebsd_sim.kernel.errors import KernelError

USAGE = """\
Usage: bhyvectl --vm=<vmname>
       [--create]
       [--destroy]
       [--get-all]
       [--get-stats]
       [--force-poweroff]
       [--force-reset]
       [--inject-nmi]
       [--cpu=<vcpu_number>]
       [--checkpoint=<filename>]
       [--suspend=<filename>]
"""
ACTIONS = ("create", "destroy", "force-poweroff", "force-reset", "get-stats", "inject-nmi")
WITH_VALUE = ("vm", "cpu", "checkpoint", "suspend")
# Answered by the real one out of a processor's state, which QEMU's processors do not have in this form.
OTHERS = ("checkpoint", "suspend", "get-all", "get-lowmem", "get-highmem", "get-vm-pid")


def parse(argv: list[str]) -> dict[str, str] | None:
    """Return the long options with their values, or None when the usage must be shown."""
    options: dict[str, str] = {}
    words = list(argv)
    while words:
        word = words.pop(0)
        if not word.startswith("--"):
            return None
        name, equals, value = word[2:].partition("=")
        if name in WITH_VALUE:
            if not equals:
                if not words:
                    return None
                value = words.pop(0)
        elif equals or (name not in ACTIONS and name not in OTHERS):
            return None
        options[name] = value
    return options if options.get("vm") else None


def main(call: Call) -> int:
    """Run the command."""
    options = parse(call.argv[1:])
    if options is None:
        call.err(USAGE)
        return 1
    for name in OTHERS:
        if name in options:
            raise NotSimulated(f"bhyvectl: --{name}")
    vmm, name = call.kernel.vmm, options["vm"]
    if "create" in options:
        try:
            vmm.create(name, call.uid)
        except KernelError as error:
            call.err(f"bhyvectl: vm_openf: {error.text}\n")
            return 1
    try:
        if not call.kernel.modules.is_loaded("vmm"):
            raise KernelError("ENOENT")
        machine = vmm.get(name)
    except KernelError:
        call.out(f"VM:{name} is not created.\n")
        return 1
    if not call.is_root:
        call.err("bhyvectl: vm_open: Permission denied\n")
        return 1
    status = 0
    for action, request in (("inject-nmi", "nmi"), ("force-reset", "reset"), ("force-poweroff", "poweroff")):
        if action in options:
            try:
                vmm.tell(machine, request)
            except KernelError as error:
                call.err(f"bhyvectl: {error.text}\n")
                status = 1
    if "get-stats" in options:
        call.out(f"vcpu{options.get('cpu', '0')} stats:\n")
        call.out("".join(f"{label:<40}\t{value}\n" for label, value in vmm.read_stats(machine)))
    if "destroy" in options:
        try:
            vmm.destroy(name)
        except KernelError as error:
            call.err(f"bhyvectl: {error.text}\n")
            status = 1
    return status
