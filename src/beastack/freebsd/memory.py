"""How much memory the host has, how much can still be had, and its swap."""

from __future__ import annotations

from dataclasses import dataclass

from beastack.freebsd import command, sysctl

_PAGES = {
    "free": "vm.stats.vm.v_free_count",
    "active": "vm.stats.vm.v_active_count",
    "inactive": "vm.stats.vm.v_inactive_count",
    "laundry": "vm.stats.vm.v_laundry_count",
    "wired": "vm.stats.vm.v_wire_count",
}
_NAMES = ("hw.physmem", "hw.realmem", "hw.pagesize", *_PAGES.values())
_ARC_SIZE = "kstat.zfs.misc.arcstats.size"
# The tunable is 0 while the default is in force; the statistic always holds the limit used.
_ARC_FLOORS = ("kstat.zfs.misc.arcstats.c_min", "vfs.zfs.arc.min")


@dataclass(frozen=True)
class Memory:
    """Memory in bytes, except ``page_size``, which is the bytes of one page.

    ``total`` is what the kernel can use and ``installed`` what the machine
    has. ``arc`` is ZFS's cache, which is part of ``wired``; ``arc_floor`` is
    the size below which it never shrinks. Both are 0 without ZFS.
    """

    total: int
    installed: int
    page_size: int
    free: int
    active: int
    inactive: int
    laundry: int
    wired: int
    arc: int
    arc_floor: int

    @property
    def available(self) -> int:
        """Estimate what a new process could have without swapping, in bytes.

        FreeBSD keeps no such number. Free, inactive and laundry pages count,
        and so does the part of the ZFS cache that it gives back under
        pressure.
        """
        return self.free + self.inactive + self.laundry + max(0, self.arc - self.arc_floor)


@dataclass(frozen=True)
class SwapDevice:
    """One swap device; sizes in bytes."""

    name: str
    total: int
    used: int


def read_memory() -> Memory:
    """Read all of ``Memory`` with one command.

    :raises SysctlNotFound: a name that every FreeBSD has is missing
    """
    values = sysctl.read_values(_NAMES, optional=(_ARC_SIZE, *_ARC_FLOORS))
    page = values.integer("hw.pagesize")
    pages = {field: values.integer(name) * page for field, name in _PAGES.items()}
    return Memory(
        total=values.integer("hw.physmem"),
        installed=values.integer("hw.realmem"),
        page_size=page,
        arc=values.integer(_ARC_SIZE) if _ARC_SIZE in values else 0,
        arc_floor=max((values.integer(name) for name in _ARC_FLOORS if name in values), default=0),
        **pages,
    )


def parse_swap(output: str) -> tuple[SwapDevice, ...]:
    """Read ``swapinfo -k``: a heading, one line each, and a total if there are several."""
    devices = []
    for line in output.splitlines()[1:]:
        columns = line.split()
        if len(columns) < 4 or columns[0] == "Total":
            continue
        devices.append(SwapDevice(columns[0], int(columns[1]) * 1024, int(columns[2]) * 1024))
    return tuple(devices)


def read_swap() -> tuple[SwapDevice, ...]:
    """Return the swap devices in use, none without swap.

    :raises CommandError: swapinfo(8) failed
    """
    return parse_swap(command.run(["swapinfo", "-k"]).stdout)
