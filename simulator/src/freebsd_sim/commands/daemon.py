"""daemon(8): becomes a program of its own, since it stays as a process."""

from __future__ import annotations

from pathlib import Path

from freebsd_sim.call import Call, Exec

PYTHON = "/.sim/linux/usr/bin/python3"
PROGRAMS = Path("/.sim/lib/freebsd_sim/programs")


def main(call: Call) -> Exec:
    """Run the command."""
    return run_program("daemon", call)


def run_program(name: str, call: Call) -> Exec:
    """Return how to become one of the programs of freebsd_sim.programs."""
    return Exec(["python3", "-I", "-S", str(PROGRAMS / f"{name}.py"), *call.argv[1:]], program=PYTHON)
