"""The host's processors: how many, how arranged, which model, and how busy."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass

from beastack.freebsd import sysctl

_REQUIRED = ("hw.ncpu", "hw.model", "hw.machine_arch")
# Absent where the platform or a kernel without SMP does not provide them.
_OPTIONAL = (
    "kern.smp.cpus",
    "kern.smp.cores",
    "kern.smp.threads_per_core",
    "vm.ndomains",
    "dev.cpu.0.freq",
    "hw.clockrate",
    "kern.sched.topology_spec",
)


@dataclass(frozen=True)
class Topology:
    """``sockets`` x ``cores`` (of each socket) x ``threads`` (of each core) processors."""

    sockets: int
    cores: int
    threads: int


@dataclass(frozen=True)
class Cpu:
    """``count`` processors are configured, ``online`` of them run; ``megahertz`` may be unknown."""

    count: int
    online: int
    model: str
    architecture: str
    megahertz: int | None
    topology: Topology


@dataclass(frozen=True)
class CpuTime:
    """Time since boot in ticks of the statistics clock, of one processor or of all."""

    user: int
    nice: int
    system: int
    interrupt: int
    idle: int

    @property
    def total(self) -> int:
        """All ticks, busy and idle."""
        return self.user + self.nice + self.system + self.interrupt + self.idle


@dataclass(frozen=True)
class CpuGroup:
    """One group of processors that the scheduler knows, with the groups inside it.

    ``cache_level`` is the level of the cache they share, 0 for none.
    """

    level: int
    cache_level: int
    cpus: tuple[int, ...]
    flags: tuple[str, ...]
    children: tuple[CpuGroup, ...]


def parse_groups(spec: str) -> tuple[CpuGroup, ...]:
    """Read ``kern.sched.topology_spec``, an XML text with nested groups.

    The element and attribute names are unconfirmed beyond what the scheduler's
    source prints (sys/kern/sched_ule.c), so nothing else in here knows them.

    :raises ValueError: the text is no XML
    """
    try:
        root = ElementTree.fromstring(spec)
    except ElementTree.ParseError as error:
        raise ValueError(f"kern.sched.topology_spec is no XML: {error}") from None
    return tuple(_read_group(element) for element in root.findall("group"))


def _read_group(element: ElementTree.Element) -> CpuGroup:
    listed = (element.findtext("cpu") or "").replace(",", " ").split()
    return CpuGroup(
        level=int(element.get("level", "0")),
        cache_level=int(element.get("cache-level", "0")),
        cpus=tuple(int(word) for word in listed),
        flags=tuple(flag.get("name", "") for flag in element.findall("flags/flag")),
        children=tuple(_read_group(child) for child in element.findall("children/group")),
    )


def count_sockets(spec: str, domains: int) -> int:
    """Estimate the number of sockets; FreeBSD has no name that says it.

    Unconfirmed. The outermost group of a host with several sockets shares no
    cache and its children are the sockets; but processors with several
    third-level caches look the same, so there are at most as many sockets as
    memory domains.
    """
    try:
        groups = parse_groups(spec)
    except ValueError:
        return 1
    if len(groups) != 1 or groups[0].cache_level != 0:
        return 1
    return max(1, min(len(groups[0].children), domains))


def arrange(online: int, cores: int, threads: int, sockets: int) -> Topology:
    """Make a topology whose product is the number of processors that run.

    :param cores: cores of the whole host
    :param threads: threads of each core
    """
    if cores < 1 or threads < 1 or cores * threads != online:
        cores, threads = online, 1
    if sockets < 1 or cores % sockets:
        sockets = 1
    return Topology(sockets, cores // sockets, threads)


def read_cpu() -> Cpu:
    """Read all of ``Cpu`` with one command.

    :raises SysctlNotFound: a name that every FreeBSD has is missing
    """
    values = sysctl.read_values(_REQUIRED, optional=_OPTIONAL)
    count = values.integer("hw.ncpu")

    def read_or(name: str, default: int) -> int:
        return values.integer(name) if name in values else default

    online = read_or("kern.smp.cpus", count)
    spec = values.text("kern.sched.topology_spec") if "kern.sched.topology_spec" in values else ""
    sockets = count_sockets(spec, read_or("vm.ndomains", 1))
    topology = arrange(online, read_or("kern.smp.cores", online), read_or("kern.smp.threads_per_core", 1), sockets)
    return Cpu(
        count=count,
        online=online,
        model=values.text("hw.model").strip(),
        architecture=values.text("hw.machine_arch"),
        megahertz=read_or("dev.cpu.0.freq", 0) or read_or("hw.clockrate", 0) or None,
        topology=topology,
    )


def parse_times(ticks: tuple[int, ...]) -> tuple[CpuTime, ...]:
    """Split ``kern.cp_times`` or ``kern.cp_time`` into five counters for each processor.

    :raises ValueError: the number of counters is no multiple of five
    """
    if len(ticks) % 5:
        raise ValueError(f"{len(ticks)} counters are no whole number of processors")
    return tuple(CpuTime(*ticks[start : start + 5]) for start in range(0, len(ticks), 5))


def read_times() -> tuple[CpuTime, ...]:
    """Return the times of each processor, in the order of their numbers.

    :raises SysctlNotFound: as ``sysctl.read_values``
    """
    return parse_times(sysctl.read_integers("kern.cp_times"))


def read_total_time() -> CpuTime:
    """Return the times of all processors together.

    :raises SysctlNotFound: as ``sysctl.read_values``
    """
    return parse_times(sysctl.read_integers("kern.cp_time"))[0]
