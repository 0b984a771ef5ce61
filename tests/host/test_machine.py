"""The machine: memory, swap, processors, mounts and uptime, against what sysctl(8), swapinfo(8) and mount(8) print."""

from __future__ import annotations

import os
import platform
import time
from pathlib import Path

from beastack.freebsd import cpu, memory, mounts, sysctl, uptime
from beastack.freebsd.command import run


def read_number(name: str) -> int:
    """Return what sysctl(8) prints for a name."""
    return int(run(["sysctl", "-n", name]).stdout)


def test_memory() -> None:
    found = memory.read_memory()
    assert found.total == read_number("hw.physmem")
    assert found.installed == read_number("hw.realmem")
    assert found.page_size == read_number("hw.pagesize") == os.sysconf("SC_PAGE_SIZE")
    assert found.total <= found.installed * 1.01
    kinds = {"free": "free", "active": "active", "inactive": "inactive", "laundry": "laundry", "wired": "wire"}
    for field, kind in kinds.items():
        now = read_number(f"vm.stats.vm.v_{kind}_count") * found.page_size
        assert abs(getattr(found, field) - now) < found.total / 4, field
    assert 0 < found.free < found.total and 0 < found.wired < found.total
    assert found.free <= found.available < found.total
    assert found.free + found.active + found.inactive + found.laundry + found.wired <= found.installed * 1.05


def test_the_zfs_cache() -> None:
    found = memory.read_memory()
    size = sysctl.read_values([], optional=["kstat.zfs.misc.arcstats.size", "vfs.zfs.arc.min"])
    if "kstat.zfs.misc.arcstats.size" not in size:
        assert (found.arc, found.arc_floor) == (0, 0)
        return
    assert abs(found.arc - size.integer("kstat.zfs.misc.arcstats.size")) < found.total / 4
    assert found.arc_floor >= size.integer("vfs.zfs.arc.min")
    reclaimable = max(0, found.arc - found.arc_floor)
    assert found.available == found.free + found.inactive + found.laundry + reclaimable


def test_swap() -> None:
    found = memory.read_swap()
    assert found == memory.parse_swap(run(["swapinfo", "-k"]).stdout)
    assert len(found) == read_number("vm.nswapdev")
    assert sum(device.total for device in found) <= read_number("vm.swap_total")
    for device in found:
        assert 0 <= device.used <= device.total
        assert device.name in run(["swapinfo"]).stdout


def test_processors() -> None:
    found = cpu.read_cpu()
    assert found.count == read_number("hw.ncpu") == os.cpu_count()
    assert found.online == read_number("kern.smp.cpus")
    assert found.model == run(["sysctl", "-n", "hw.model"]).stdout.strip()
    assert found.architecture == run(["sysctl", "-n", "hw.machine_arch"]).stdout.strip() == platform.processor()
    assert found.megahertz is None or 100 < found.megahertz < 10_000
    assert found.topology.sockets * found.topology.cores * found.topology.threads == found.online
    assert found.topology.threads in (1, read_number("kern.smp.threads_per_core"))


def test_processor_groups() -> None:
    spec = sysctl.read_text("kern.sched.topology_spec")
    (whole,) = cpu.parse_groups(spec)
    assert whole.level == 1
    assert whole.cpus == tuple(range(cpu.read_cpu().online))
    waiting = [whole]
    while waiting:
        group = waiting.pop()
        for child in group.children:
            assert child.level == group.level + 1
            assert set(child.cpus) <= set(group.cpus)
            waiting.append(child)
    sockets = cpu.count_sockets(spec, read_number("vm.ndomains"))
    cores, threads = read_number("kern.smp.cores"), read_number("kern.smp.threads_per_core")
    assert cpu.read_cpu().topology == cpu.arrange(read_number("kern.smp.cpus"), cores, threads, sockets)


def test_times() -> None:
    first, total, last = cpu.read_times(), cpu.read_total_time(), cpu.read_times()
    assert len(first) == read_number("kern.smp.maxid") + 1
    slack = 2 * len(first)
    assert sum(each.total for each in first) - slack <= total.total <= sum(each.total for each in last) + slack
    assert total == cpu.parse_times((total.user, total.nice, total.system, total.interrupt, total.idle))[0]
    begin = time.process_time()
    while time.process_time() - begin < 0.3:
        sum(range(1000))
    later = cpu.read_total_time()
    assert later.total > total.total
    assert later.user + later.nice + later.system > total.user + total.nice + total.system


def test_mounts(tmp_path: Path) -> None:
    found = mounts.read_mounts()
    assert found == mounts.parse_mounts(run(["mount", "-p"]).stdout)
    lines = run(["mount"]).stdout.splitlines()
    assert len(lines) == len(found)
    for mount in found:
        assert any(line.startswith(f"{mount.source} on {mount.target} ({mount.kind}") for line in lines), mount
        assert mount.options[0] in ("ro", "rw")
    root = mounts.find_mount("/", found)
    assert root is not None and root.target == "/"
    devices = mounts.find_mount("/dev/null", found)
    assert devices is not None and (devices.target, devices.kind) == ("/dev", "devfs")
    here = mounts.find_mount(str(tmp_path), found)
    assert here is not None and tmp_path.is_relative_to(here.target)
    # Nothing between the mount's directory and the path is mounted on its own.
    assert all(not tmp_path.is_relative_to(each.target) or len(each.target) <= len(here.target) for each in found)


def test_uptime() -> None:
    text = run(["sysctl", "-n", "kern.boottime"]).stdout
    found = uptime.read_uptime()
    assert abs(found.boot_time - uptime.parse_boot_time(text)) < 1  # the clock may be adjusted in between
    assert f"sec = {int(uptime.parse_boot_time(text))}," in text
    assert 0 < found.seconds <= time.time() - found.boot_time + 1
    assert abs(time.time() - found.boot_time - found.seconds) < 5
    time.sleep(0.1)
    assert uptime.read_uptime().seconds > found.seconds
    assert uptime.read_uptime(clock=lambda: found.boot_time - 60).seconds == 0
    assert " up " in run(["uptime"]).stdout
