"""What psutil's C code offers on FreeBSD, from the simulated kernel and the host's sysctl(8), mount(8), ifconfig(8).

Only what describes the machine and its processes is here; the rest refuses.
"""

from __future__ import annotations

import errno
import os
import socket
import subprocess
from typing import Any

from .kernel_call import call_kernel

version = 722
SIDL, SRUN, SSLEEP, SSTOP, SZOMB, SWAIT, SLOCK = 1, 2, 3, 4, 5, 6, 7
TCPS_CLOSED, TCPS_LISTEN, TCPS_SYN_SENT, TCPS_SYN_RECEIVED, TCPS_ESTABLISHED, TCPS_CLOSE_WAIT = range(6)
TCPS_FIN_WAIT_1, TCPS_CLOSING, TCPS_LAST_ACK, TCPS_FIN_WAIT_2, TCPS_TIME_WAIT = range(6, 11)
PSUTIL_CONN_NONE = 128
AF_LINK = 18
STATES = {"R": SRUN, "S": SSLEEP, "I": SSLEEP, "D": SWAIT, "T": SSTOP, "Z": SZOMB, "W": SWAIT, "L": SLOCK}


class ZombieProcessError(Exception):
    """A process that has ended and has not been waited for."""


def _run(*argv: str) -> list[str]:
    done = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False)
    return done.stdout.decode(errors="replace").splitlines()


def _sysctl(*names: str) -> list[str]:
    lines = _run("/sbin/sysctl", "-n", *names)
    if len(lines) != len(names):
        raise OSError(errno.ENOENT, f"sysctl {' '.join(names)}")
    return lines


def _numbers(*names: str) -> list[int]:
    return [int(line) for line in _sysctl(*names)]


def set_debug(value: bool) -> None:
    """Accept psutil's debug mode."""


def check_pid_range(pid: int) -> None:
    """Accept any pid that kill(2) accepts."""


def getpagesize() -> int:
    """Return the size of a page in bytes."""
    return os.sysconf("SC_PAGE_SIZE")


def _process(pid: int) -> dict[str, Any]:
    fields: dict[str, Any] = call_kernel("proc.get", pid=pid or 1)[0]
    return fields


def pids() -> list[int]:
    """Return all process ids that the caller sees."""
    return [fields["pid"] for fields in call_kernel("proc.get", pid=-2)[0]]


def proc_oneshot_info(pid: int) -> tuple[Any, ...]:
    """Return the fields of psutil's kinfo_proc_map; what the simulated kernel does not count is 0."""
    of = _process(pid)
    return (
        of["ppid"], STATES.get(of["state"][:1], SSLEEP), of["ruid"], of["uid"], of["svuid"],
        of["rgid"], of["gid"], of["svgid"], 0, of["start"], 0, 0, 0, 0,
        of["user_time"], of["system_time"], 0.0, 0.0, of["rss"], of["vsize"], 0, 0, 0, 0, of["comm"],
    )  # fmt: skip


def proc_name(pid: int) -> str:
    """Return the name of the program."""
    return str(_process(pid)["comm"])


def proc_cmdline(pid: int) -> list[str]:
    """Return the arguments. :raises ZombieProcessError: it has none any more"""
    fields = _process(pid)
    if fields["state"].startswith("Z"):
        raise ZombieProcessError
    return list(fields["argv"])


def proc_is_zombie(pid: int) -> bool:
    """Tell whether a process has ended and was not waited for; False for a missing one."""
    try:
        return bool(_process(pid)["state"].startswith("Z"))
    except OSError:
        return False


def proc_exe(pid: int) -> str:
    """Return the path of the program."""
    return str(call_kernel("proc.pathname", pid=pid)[0] or "")


def proc_environ(pid: int) -> dict[str, str]:
    """Return the first environment of a process of the caller, or of any for root."""
    return dict(item.partition("=")[::2] for item in call_kernel("proc.environment", pid=pid)[0])


def proc_num_threads(pid: int) -> int:
    """Return the number of threads."""
    return int(_process(pid)["threads"])


def boot_time() -> float:
    """Return the time of boot, in seconds since 1970."""
    return float(_sysctl("kern.boottime")[0].partition("sec = ")[2].partition(",")[0])


def cpu_count_logical() -> int:
    """Return hw.ncpu."""
    return _numbers("hw.ncpu")[0]


def cpu_topology() -> str | None:
    """Return kern.sched.topology_spec, which counts the cores; None where there is none."""
    lines = _run("/sbin/sysctl", "-n", "kern.sched.topology_spec")
    return "".join(lines) or None


def cpu_times() -> tuple[float, ...]:
    """Return the seconds of user, nice, system, idle and interrupt."""
    user, nice, system, interrupt, idle = (int(word) / 127 for word in _sysctl("kern.cp_time")[0].split())
    return user, nice, system, idle, interrupt


def per_cpu_times() -> list[tuple[float, ...]]:
    """Return what cpu_times returns for each CPU."""
    ticks = [int(word) / 127 for word in _sysctl("kern.cp_times")[0].split()]
    return [(u, n, s, idle, i) for u, n, s, i, idle in zip(*[iter(ticks)] * 5, strict=True)]


def virtual_mem() -> tuple[int, ...]:
    """Return bytes: total, free, active, inactive, wired, cached, buffers, shared."""
    names = ("page_size", "free_count", "active_count", "inactive_count", "laundry_count", "wire_count")
    page, free, active, inactive, laundry, wired = _numbers(*(f"vm.stats.vm.v_{name}" for name in names))
    total = _numbers("hw.physmem")[0]
    return (total, free * page, active * page, (inactive + laundry) * page, wired * page, 0, 0, 0)


def swap_mem() -> tuple[int, ...]:
    """Return bytes: total, used, free, in, out."""
    total = _numbers("vm.swap_total")[0]
    return (total, 0, total, 0, 0)


def disk_partitions() -> list[tuple[str, str, str, str]]:
    """Return device, mount point, type and options: mount -p."""
    rows = [line.split() for line in _run("/sbin/mount", "-p")]
    return [(row[0], row[1], row[2], row[3]) for row in rows if len(row) > 3]


def proc_priority_get(pid: int) -> int:
    """Return the nice value."""
    return os.getpriority(os.PRIO_PROCESS, pid)


def proc_priority_set(pid: int, value: int) -> None:
    """Set the nice value."""
    os.setpriority(os.PRIO_PROCESS, pid, value)


def net_if_addrs() -> list[tuple[Any, ...]]:
    """Return name, family, address, mask, broadcast and peer of each address: ifconfig(8)."""
    found: list[tuple[Any, ...]] = []
    name = ""
    for line in _run("/sbin/ifconfig", "-f", "inet:cidr,inet6:cidr"):
        if not line[:1].isspace():
            name = line.partition(":")[0]
            continue
        words = line.split()
        if words[0] == "ether":
            found.append((name, AF_LINK, words[1], None, None, None))
        elif words[0] in ("inet", "inet6"):
            family = socket.AF_INET if words[0] == "inet" else socket.AF_INET6
            found.append((name, int(family), words[1].partition("/")[0], None, None, None))
    return found


def _refuse(*arguments: Any) -> Any:
    raise NotImplementedError("freebsd-sim: not simulated: this part of psutil")


cpu_stats = cpu_freq = disk_io_counters = net_io_counters = net_connections = net_if_mtu = net_if_flags = _refuse
net_if_duplex_speed = sensors_battery = sensors_cpu_temperature = users = _refuse
proc_threads = proc_net_connections = proc_cwd = proc_open_files = proc_num_fds = proc_memory_maps = _refuse
proc_cpu_affinity_get = proc_cpu_affinity_set = proc_getrlimit = proc_setrlimit = heap_info = heap_trim = _refuse
