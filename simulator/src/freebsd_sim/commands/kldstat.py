"""kldstat(8): show the files loaded into the kernel and the modules in them."""

from __future__ import annotations

from freebsd_sim.call import Call, CommandExit
from freebsd_sim.commands.bsd_options import parse_options
from freebsd_sim.kernel.modules import File

USAGE = (
    "usage: kldstat [-d] [-h] [-q] [-v] [-i id] [-n filename]\n"
    "       kldstat [-d] [-q] [-m modname]"
)  # fmt: skip
NOT_FOUND = "No such file or directory"


def format_size(size: int) -> str:
    """Return a size in at most five characters, as humanize_number(3) does."""
    value = float(size)
    for suffix in "BKMGT":
        if value < 1000:
            return f"{value:.1f}{suffix}" if value < 10 and suffix != "B" else f"{value:.0f}{suffix}"
        value /= 1024
    return f"{value:.0f}P"


def format_file(file: File, flags: set[str]) -> str:
    """Return a file's line, and with -v its modules."""
    size = f"{format_size(file.size):>8}" if "h" in flags else f"{file.size:8x}"
    text = f"{file.id:2d} {file.references:4d} {file.address:#018x} {size} {file.name}"
    if "v" in flags:
        text += f" (/boot/kernel/{file.name})\n\tContains modules:\n\t\t Id Name\n"
        return text + "".join(f"\t\t{number:3d} {name}\n" for number, name in file.modules)
    return text + "\n"


def main(call: Call) -> int:
    """Run the command."""
    options, words = parse_options(call, "dhi:m:n:qv", USAGE)
    flags = {letter for letter, _ in options}
    values = dict(options)
    if words:
        raise CommandExit(1, USAGE)
    with call.kernel.lock:
        modules = call.kernel.modules
        quiet = "q" in flags
        if "m" in values:
            found = modules.find_module(values["m"])
            if found is None:
                raise CommandExit(1, "" if quiet else f"kldstat: can't find module {values['m']}: {NOT_FOUND}")
            if not quiet:
                call.out(f"Id  Refs Name\n{found[1]:3d} {found[0].references:4d} {values['m']}\n")
            return 0
        files = modules.files
        if "n" in values:
            file = modules.find_file(values["n"])
            if file is None:
                raise CommandExit(1, "" if quiet else f"kldstat: can't find file {values['n']}: {NOT_FOUND}")
            files = [file]
        elif "i" in values:
            files = [item for item in files if str(item.id) == values["i"]]
            if not files:
                raise CommandExit(1, "" if quiet else f"kldstat: can't stat file {values['i']}: {NOT_FOUND}")
        if not quiet:
            call.out(f"Id Refs Address{' ' * 16}Size Name\n")
            call.out("".join(format_file(file, flags) for file in files))
    return 0
