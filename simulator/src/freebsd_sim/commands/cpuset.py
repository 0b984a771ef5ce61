"""cpuset(1): on which processors a process may run."""

from __future__ import annotations

import os

from freebsd_sim.call import Call, CommandExit, Exec, NotSimulated
from freebsd_sim.commands.bsd_options import parse_options
from freebsd_sim.kernel.errors import KernelError

USAGE = (
    "usage: cpuset [-l cpu-list] [-n policy:domain-list] [-s setid] cmd ...\n"
    "       cpuset [-l cpu-list] [-n policy:domain-list] [-s setid] -p pid\n"
    "       cpuset [-c] [-l cpu-list] [-n policy:domain-list] -C -p pid\n"
    "       cpuset [-c] [-l cpu-list] [-n policy:domain-list]\n"
    "              [-j jailid | -p pid | -t tid | -s setid | -x irq]\n"
    "       cpuset -g [-cir]\n"
    "              [-d domain | -j jailid | -p pid | -t tid | -s setid | -x irq]"
)  # fmt: skip


def parse_list(text: str) -> set[int]:
    """Return the processors of a list such as 0-2,5. :raises CommandExit: it is none."""
    count = os.cpu_count() or 1
    if text == "all":
        return set(range(count))
    found: set[int] = set()
    for word in text.split(","):
        first, dash, last = word.partition("-")
        if not first.isdigit() or (dash and not last.isdigit()):
            raise CommandExit(1, f"cpuset: List item {word} is malformed" if word else "cpuset: cpu list is empty")
        found |= set(range(int(first), int(last or first) + 1))
    return found


def main(call: Call) -> int | Exec:
    """Run the command."""
    options, words = parse_options(call, "Ccd:gij:l:n:p:rs:t:x:", USAGE)
    values = dict(options)
    if set(values) & set("Cdnstx") or "j" in values:
        raise NotSimulated(f"cpuset: -{sorted(set(values) & set('Cdjnstx'))[0]}")
    pid = call.pid
    if "p" in values:
        if not values["p"].isdigit():
            raise CommandExit(1, USAGE)
        try:
            pid = call.kernel.processes.get(call.jail, int(values["p"])).pid
        except KernelError:
            verb = "getaffinity" if "g" in values else "setaffinity"
            raise CommandExit(1, f"cpuset: {verb}: No such process") from None
    if "g" in values:
        if "i" in values:
            call.out(f"pid {values.get('p', '-1')} cpuset id: 2\n")
            return 0
        mask = ", ".join(str(number) for number in sorted(os.sched_getaffinity(pid)))
        shown = values.get("p", "-1")
        call.out(f"pid {shown} mask: {mask}\npid {shown} domain policy: first-touch mask: 0\n")
        return 0
    if "l" not in values or (not words and "p" not in values):
        raise CommandExit(1, USAGE)
    wanted = parse_list(values["l"])
    if not wanted <= set(range(os.cpu_count() or 1)):
        raise CommandExit(1, "cpuset: setaffinity: Resource deadlock avoided")
    os.sched_setaffinity(pid, wanted)
    if words and "p" not in values:
        return Exec(words, fail_text=f"cpuset: {words[0]}: ")
    return 0
