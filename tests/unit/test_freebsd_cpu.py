"""The processors: counts, arrangement, model and times."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from beastack.freebsd import cpu
from beastack.freebsd.cpu import Cpu, CpuTime, Topology
from beastack.freebsd.errors import SysctlNotFound
from recorded_commands import Commands, golden, play

READ = (
    "sysctl -i hw.ncpu hw.model hw.machine_arch kern.smp.cpus kern.smp.cores kern.smp.threads_per_core"
    " vm.ndomains dev.cpu.0.freq hw.clockrate kern.sched.topology_spec"
)


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch) -> Iterator[Commands]:
    yield from play(monkeypatch)


def test_two_sockets_of_four_cores_of_two_threads(commands: Commands) -> None:
    commands.expect(READ, golden("cpu/sysctl-14.4.txt"))
    model = "Intel(R) Xeon(R) Silver 4208 CPU @ 2.10GHz"
    assert cpu.read_cpu() == Cpu(16, 16, model, "amd64", 2100, Topology(2, 4, 2))


def test_one_socket_and_no_frequency_of_the_driver(commands: Commands) -> None:
    commands.expect(READ, golden("cpu/sysctl-15.1.txt"))
    assert cpu.read_cpu() == Cpu(4, 4, "AMD EPYC Processor", "amd64", 3194, Topology(1, 4, 1))


def test_the_least_a_host_says(commands: Commands) -> None:
    commands.expect(READ, "hw.ncpu: 1\nhw.model: x\nhw.machine_arch: aarch64\n")
    assert cpu.read_cpu() == Cpu(1, 1, "x", "aarch64", None, Topology(1, 1, 1))
    commands.expect(READ, "hw.model: x\nhw.machine_arch: aarch64\n")
    with pytest.raises(SysctlNotFound, match=r"hw\.ncpu"):
        cpu.read_cpu()


def test_the_groups_of_the_scheduler() -> None:
    (root,) = cpu.parse_groups(golden("cpu/topology-2x4x2.xml"))
    assert (root.level, root.cache_level, root.cpus, root.flags) == (1, 0, tuple(range(16)), ())
    first, second = root.children
    assert (first.cache_level, first.cpus, first.flags) == (3, tuple(range(8)), ("NODE",))
    assert second.cpus == tuple(range(8, 16))
    assert [(pair.cpus, pair.flags) for pair in first.children] == [
        ((0, 1), ("THREAD", "SMT")),
        ((2, 3), ("THREAD", "SMT")),
    ]
    with pytest.raises(ValueError, match="no XML"):
        cpu.parse_groups("{}")


@pytest.mark.parametrize(("domains", "sockets"), [(2, 2), (4, 2), (1, 1), (0, 1)])
def test_sockets_are_never_more_than_memory_domains(domains: int, sockets: int) -> None:
    assert cpu.count_sockets(golden("cpu/topology-2x4x2.xml"), domains) == sockets


def test_a_host_without_groups_is_one_socket() -> None:
    assert cpu.count_sockets("", 4) == 1
    assert cpu.count_sockets('<groups><group level="1" cache-level="3"/></groups>', 4) == 1


@pytest.mark.parametrize(
    ("online", "cores", "threads", "sockets", "topology"),
    [
        (16, 8, 2, 2, Topology(2, 4, 2)),
        (6, 8, 2, 1, Topology(1, 6, 1)),
        (6, 3, 2, 2, Topology(1, 3, 2)),
        (1, 0, 0, 0, Topology(1, 1, 1)),
    ],
)
def test_the_product_is_always_the_number_that_runs(
    online: int, cores: int, threads: int, sockets: int, topology: Topology
) -> None:
    found = cpu.arrange(online, cores, threads, sockets)
    assert found == topology
    assert found.sockets * found.cores * found.threads == online


def test_times_of_each_and_of_all(commands: Commands) -> None:
    commands.expect("sysctl kern.cp_times", golden("cpu/cp_times-15.1.txt"))
    commands.expect("sysctl kern.cp_time", "kern.cp_time: 21 1 41 5 3000\n")
    assert cpu.read_times() == (CpuTime(10, 1, 20, 2, 1000), CpuTime(11, 0, 21, 3, 2000))
    total = cpu.read_total_time()
    assert (total, total.total) == (CpuTime(21, 1, 41, 5, 3000), 3068)
    with pytest.raises(ValueError, match="7 counters"):
        cpu.parse_times((1, 2, 3, 4, 5, 6, 7))
