"""Memory and swap, with and without ZFS."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from beastack.freebsd import memory
from beastack.freebsd.errors import SysctlNotFound
from beastack.freebsd.memory import Memory, SwapDevice
from recorded_commands import Commands, golden, play

READ = (
    "sysctl -i hw.physmem hw.realmem hw.pagesize vm.stats.vm.v_free_count vm.stats.vm.v_active_count"
    " vm.stats.vm.v_inactive_count vm.stats.vm.v_laundry_count vm.stats.vm.v_wire_count"
    " kstat.zfs.misc.arcstats.size kstat.zfs.misc.arcstats.c_min vfs.zfs.arc.min"
)


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch) -> Iterator[Commands]:
    yield from play(monkeypatch)


def test_memory_of_a_host_with_zfs(commands: Commands) -> None:
    commands.expect(READ, golden("memory/sysctl-14.4.txt"))
    found = memory.read_memory()
    assert found == Memory(
        total=34249867264,
        installed=34359738368,
        page_size=4096,
        free=4096000000,
        active=819200000,
        inactive=1228800000,
        laundry=204800000,
        wired=26624000000,
        arc=12884901888,
        arc_floor=1070308352,
    )
    # What the cache can give back counts, what it keeps does not.
    assert found.available == 4096000000 + 1228800000 + 204800000 + 12884901888 - 1070308352


def test_memory_of_a_host_without_zfs(commands: Commands) -> None:
    commands.expect(READ, golden("memory/sysctl-15.1.txt"))
    found = memory.read_memory()
    assert (found.total, found.arc, found.arc_floor) == (8541888512, 0, 0)
    assert found.available == 1520000 * 4096


def test_a_cache_below_its_floor_gives_nothing_back() -> None:
    assert Memory(1, 1, 4096, 100, 0, 10, 1, 0, arc=50, arc_floor=60).available == 111


def test_a_name_that_every_host_has_must_be_there(commands: Commands) -> None:
    commands.expect(READ, golden("memory/sysctl-15.1.txt").replace("hw.physmem", "hw.other"))
    with pytest.raises(SysctlNotFound, match=r"hw\.physmem"):
        memory.read_memory()


@pytest.mark.parametrize(
    ("file", "devices"),
    [
        (
            "swapinfo-14.4.txt",
            (
                SwapDevice("/dev/ada0p3", 2097152 * 1024, 1024 * 1024),
                SwapDevice("/dev/ada1p3", 2097152 * 1024, 0),
            ),
        ),
        ("swapinfo-15.1.txt", (SwapDevice("/dev/gpt/swapfs", 8388608 * 1024, 20480 * 1024),)),
        ("swapinfo-none.txt", ()),
    ],
)
def test_swap_devices(commands: Commands, file: str, devices: tuple[SwapDevice, ...]) -> None:
    commands.expect("swapinfo -k", golden(f"memory/{file}"))
    assert memory.read_swap() == devices
