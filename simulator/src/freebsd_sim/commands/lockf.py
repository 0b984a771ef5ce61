"""lockf(1): run a command under a lock; becomes a program of its own, which waits for the command."""

from __future__ import annotations

from freebsd_sim.call import Call, Exec
from freebsd_sim.commands.daemon import run_program


def main(call: Call) -> Exec:
    """Run the command."""
    return run_program("lockf", call)
