"""freebsd-version(1): the version and patch level of the installed system."""

from __future__ import annotations

from freebsd_sim.call import Call, CommandExit
from freebsd_sim.commands.bsd_options import parse_options
from freebsd_sim.kernel.errors import KernelError

USAGE = "usage: freebsd-version [-kru] [-j jail]"


def main(call: Call) -> int:
    """Run the command."""
    options, words = parse_options(call, "kruj:", USAGE)
    if words:
        raise CommandExit(1, USAGE)
    for letter, value in options:
        if letter == "j":
            try:
                call.kernel.jails.get(value)
            except KernelError:
                raise CommandExit(1, f'jexec: jail "{value}" not found') from None
    kinds = [letter for letter in "kruj" if (letter, "") in options or any(item[0] == letter for item in options)]
    call.out(f"{call.kernel.release.text}\n" * max(1, len(kinds)))
    return 0
