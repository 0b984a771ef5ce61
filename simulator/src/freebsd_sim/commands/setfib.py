"""setfib(1): run a program with another routing table. There is one table only (net.fibs is 1)."""

from __future__ import annotations

from freebsd_sim.call import Call, CommandExit, Exec, NotSimulated
from freebsd_sim.commands.addresses import count_fibs
from freebsd_sim.commands.bsd_options import parse_options

USAGE = "usage: setfib [-[F]]value command"


def main(call: Call) -> int | Exec:
    """Run setfib."""
    if len(call.argv) > 1:
        first = call.argv[1].removeprefix("-")
        if first[:1].isdigit():
            call.argv[1] = f"-F{first}"
    letters, operands = parse_options(call, "F:", USAGE)
    most = count_fibs(call) - 1
    for _, text in letters:
        if not text.isdigit() or int(text) > most:
            raise CommandExit(1, f"setfib: {text}: invalid FIB (max {most})")
        if int(text) > 0:
            raise NotSimulated("setfib: a FIB other than 0")
    if not operands:
        raise CommandExit(1, USAGE)
    return Exec(operands, fail_text=f"setfib: {operands[0]}: ", fail_status=127)
