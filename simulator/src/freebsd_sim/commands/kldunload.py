"""kldunload(8): unload a file from the kernel."""

from __future__ import annotations

from freebsd_sim.call import Call, CommandExit
from freebsd_sim.commands.bsd_options import parse_options
from freebsd_sim.kernel.errors import KernelError

USAGE = "usage: kldunload [-fv] [-n] name ...\n       kldunload [-fv] -i id ..."


def main(call: Call) -> int:
    """Run the command."""
    options, names = parse_options(call, "finv", USAGE)
    flags = {letter for letter, _ in options}
    if not names:
        raise CommandExit(1, USAGE)
    modules = call.kernel.modules
    for name in names:
        with call.kernel.lock:
            if "i" in flags:
                file = next((item for item in modules.files if str(item.id) == name), None)
                missing = f"kldunload: can't find file with ID {name}: No such file or directory"
            else:
                file = modules.find_file(name)
                missing = f"kldunload: can't find file {name}: No such file or directory"
            if file is None:
                raise CommandExit(1, missing)
            if "v" in flags:
                call.out(f"Unloading {file.name}, id={file.id}\n")
            try:
                if not call.is_root or call.jail.jid != 0:
                    raise KernelError("EPERM")
                modules.unload(file)
            except KernelError as error:
                raise CommandExit(1, f"kldunload: can't unload file: {error.text}") from None
    return 0
