"""Which processes of a place took how much processor time, commands that they ran included."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

TICK = 1 / os.sysconf("SC_CLK_TCK")  # seconds

#: What processes are called here, by a word of their command line; the first that fits.
TITLES = (
    ("privileged", "privileged daemons"),
    ("privsep", "privileged daemons"),
    ("neutron-ovs-agent", "openvswitch agent"),
    ("neutron-openvswitch", "openvswitch agent"),
    ("neutron-dhcp-agent", "DHCP agent"),
    ("neutron-metadata", "metadata agent"),
    ("neutron-rpc", "neutron RPC server"),
    ("neutron-api", "neutron API"),
    ("neutron-periodic", "neutron API"),
    ("ovs-vswitchd", "ovs-vswitchd"),
    ("ovsdb", "ovsdb"),
    ("rabbit", "data services"),
    ("beam", "data services"),
    ("mariadb", "data services"),
    ("keystone", "keystone"),
    ("freebsd_sim.init", "the simulator"),
)


def spent_below(top: int) -> dict[str, float]:
    """Return the seconds of processor time of a process and all below it so far, by title."""
    children: dict[int, list[int]] = {}
    seconds: dict[int, float] = {}
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            try:
                fields = Path(entry.path, "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            children.setdefault(int(fields[1]), []).append(int(entry.name))
            # utime, stime, and those of children that ended (proc(5))
            seconds[int(entry.name)] = sum(int(field) for field in fields[11:15]) * TICK
    found: dict[str, float] = {}
    waiting = [top]
    while waiting:
        pid = waiting.pop()
        waiting += children.get(pid, [])
        title = title_of(pid)
        found[title] = found.get(title, 0.0) + seconds.get(pid, 0.0)
    return found


def title_of(pid: int) -> str:
    """Return what a process is called in the table."""
    try:
        line = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return "others"
    return next((title for word, title in TITLES if word in line), "others")


@contextmanager
def counted(top: int, taken: dict[str, float]) -> Iterator[None]:
    """Add what is spent while the block runs to ``taken``, in seconds."""
    before = spent_below(top)
    yield
    for title, seconds in spent_below(top).items():
        # A process that ended meanwhile took what it had spent along.
        if (more := seconds - before.get(title, 0.0)) > 0:
            taken[title] = taken.get(title, 0.0) + more


def describe(taken: Mapping[str, float], count: int = 1) -> str:
    """Return the costliest in words, in milliseconds for each of ``count``."""
    order = sorted(taken.items(), key=lambda item: -item[1])
    return ", ".join(
        f"{title} {seconds / count * 1000:.0f} ms" for title, seconds in order if seconds / count >= 0.0005
    )
