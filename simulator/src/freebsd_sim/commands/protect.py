"""protect(1): spare a process when memory runs out; accepted, and without effect here."""

from __future__ import annotations

from freebsd_sim.call import Call, CommandExit, Exec
from freebsd_sim.commands.bsd_options import parse_options
from freebsd_sim.kernel.errors import KernelError

USAGE = "usage: protect [-i] command\n       protect [-cdi] -g pgrp | -p pid"


def main(call: Call) -> int | Exec:
    """Run the command."""
    options, words = parse_options(call, "cdig:p:", USAGE)
    values = dict(options)
    if "p" in values or "g" in values:
        if words:
            raise CommandExit(1, USAGE)
        if not call.is_root:
            raise CommandExit(1, "protect: procctl: Operation not permitted")
        if "p" in values:
            try:
                call.kernel.processes.get(call.jail, int(values["p"]))
            except (KernelError, ValueError):
                raise CommandExit(1, "protect: procctl: No such process") from None
        return 0
    if not words:
        raise CommandExit(1, USAGE)
    if not call.is_root:
        raise CommandExit(1, "protect: procctl: Operation not permitted")
    return Exec(words, fail_text=f"protect: {words[0]}: ")
