"""hostname(1): set or print the name of the host."""

from __future__ import annotations

from freebsd_sim.call import Call, CommandExit
from freebsd_sim.commands.bsd_options import parse_options
from freebsd_sim.kernel.errors import KernelError

USAGE = "usage: hostname [-f] [-s | -d] [name-of-host]"


def main(call: Call) -> int:
    """Run the command."""
    options, words = parse_options(call, "fsd", USAGE)
    flags = {letter for letter, _ in options}
    if len(words) > 1 or ({"s", "d"} <= flags) or (words and {"s", "d"} & flags):
        raise CommandExit(1, USAGE)
    if words:
        try:
            call.kernel.sysctls.write("kern.hostname", words[0], call.jail, call.uid)
        except KernelError as error:
            raise CommandExit(1, f"hostname: sethostname: {error.text}") from None
        return 0
    name, _, domain = call.jail.hostname.partition(".")
    if "s" in flags:
        call.out(f"{name}\n")
    elif "d" in flags:
        call.out(f"{domain}\n" if domain else "")
    else:
        call.out(f"{call.jail.hostname}\n")
    return 0
