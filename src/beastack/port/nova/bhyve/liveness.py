"""Whether there is a bhyve behind a guest that libvirt takes for running.

libvirt's bhyve driver hears of an exit, and not of a death by a signal: the
guest stays running for it, under a number that may by then be another
process's (src/bhyve/bhyve_monitor.c).
"""

from __future__ import annotations

import enum
import os
from collections.abc import Iterable, Mapping

from beastack.freebsd import process
from beastack.port.nova.bhyve import names


class State(enum.Enum):
    """What is behind a guest's process number."""

    READY = "the guest is set up"
    STARTING = "bhyve is setting the guest up"
    OTHER = "another program"
    GONE = "no process"


def judge(found: process.Process | None, machine: str) -> State:
    """Return what a process is to a machine.

    bhyve gives itself its title when all devices are there, and has the
    arguments that it was started with until then (usr.sbin/bhyve/bhyverun.c).
    """
    if found is None or found.is_zombie:
        return State.GONE
    if names.title_of(machine) in (found.title, found.arguments):
        return State.READY
    words = found.arguments.split()
    if words and os.path.basename(words[0]) == "bhyve" and words[-1] == machine:
        return State.STARTING
    return State.OTHER


def find_machines(table: Iterable[process.Process]) -> dict[str, list[int]]:
    """Return the numbers of all bhyves, set up or not yet, by the names of their machines."""
    found: dict[str, list[int]] = {}
    for each in table:
        # Both the title and the arguments end with the name.
        name = each.title.rpartition(" ")[2]
        if judge(each, name) in (State.READY, State.STARTING):
            found.setdefault(name, []).append(each.pid)
    return found


def find_machine(pid: int) -> str:
    """Return the name of the machine whose bhyve a process is, nothing if it is none.

    :raises CommandError: ps(1) failed
    """
    return next((name for name, pids in find_machines(process.list_processes()).items() if pid in pids), "")


def look(pid: int, machine: str) -> State:
    """Look at one process.

    :raises CommandError: ps(1) failed
    """
    if pid <= 0 or not process.exists(pid):
        return State.GONE
    return judge(process.read_process(pid), machine)


def look_in(table: Mapping[int, process.Process], pid: int, machine: str) -> State:
    """Look at one process in a reading of all."""
    return judge(table.get(pid), machine)


def read_table() -> dict[int, process.Process]:
    """Read all processes, by number.

    :raises CommandError: ps(1) failed
    """
    return {each.pid: each for each in process.list_processes()}
