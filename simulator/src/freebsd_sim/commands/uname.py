"""uname(1): information about the system."""

from __future__ import annotations

from freebsd_sim.call import Call, CommandExit
from freebsd_sim.commands.bsd_options import parse_options

USAGE = "usage: uname [-abiKmnoprsUv]"


def main(call: Call) -> int:
    """Run the command."""
    options, words = parse_options(call, "abiKmnoprsUv", USAGE)
    if words:
        raise CommandExit(1, USAGE)
    flags = {letter for letter, _ in options} or {"s"}
    if "a" in flags:
        flags |= set("snrvm")
    sysctls = call.kernel.sysctls
    environment = call.environ
    values = {
        "s": environment.get("UNAME_s", "FreeBSD"),
        "n": environment.get("UNAME_n", call.jail.hostname),
        "r": environment.get("UNAME_r", call.kernel.release.text),
        "v": environment.get("UNAME_v", sysctls.version),
        "m": environment.get("UNAME_m", "amd64"),
        "p": environment.get("UNAME_p", "amd64"),
        "i": environment.get("UNAME_i", "GENERIC"),
        "U": environment.get("UNAME_U", str(sysctls.osreldate)),
        "K": environment.get("UNAME_K", str(sysctls.osreldate)),
        "b": environment.get("UNAME_b", "e36b5d3a1f2b4c5d6e7f8091a2b3c4d5e6f70819"),
    }
    if "o" in flags:
        flags.add("s")
    call.out(" ".join(values[letter] for letter in "snrvmpiUKb" if letter in flags) + "\n")
    return 0
