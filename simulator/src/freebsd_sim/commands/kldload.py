"""kldload(8): load a file into the kernel."""

from __future__ import annotations

from freebsd_sim.call import Call, CommandExit
from freebsd_sim.commands.bsd_options import parse_options
from freebsd_sim.kernel.errors import KernelError

USAGE = "usage: kldload [-nqv] file ..."


def main(call: Call) -> int:
    """Run the command."""
    options, files = parse_options(call, "nqv", USAGE)
    flags = {letter for letter, _ in options}
    if not files:
        raise CommandExit(1, USAGE)
    status = 0
    for name in files:
        try:
            if not call.is_root or call.jail.jid != 0:
                raise KernelError("EPERM")
            file = call.kernel.modules.load(name)
        except KernelError as error:
            if error.name == "EEXIST" and "n" in flags:
                if "v" in flags:
                    call.out(f"{name} is already loaded\n")
                continue
            if "q" not in flags:
                text = "module already loaded or in kernel" if error.name == "EEXIST" else error.text
                call.err(f"kldload: can't load {name}: {text}\n")
            status = 1
            continue
        if "v" in flags:
            call.out(f"Loaded {name}, id={file.id}\n")
    return status
