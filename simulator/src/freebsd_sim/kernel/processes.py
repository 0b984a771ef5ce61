"""The processes of the host, read from the process table of its pid namespace and told as FreeBSD does.

What belongs to the simulator itself stays hidden: process 1 shows as init(8),
and whatever else lives in the simulator's own mount namespace does not show.
"""

from __future__ import annotations

import contextlib
import os
import resource
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from freebsd_sim.kernel.errors import KernelError

if TYPE_CHECKING:
    from freebsd_sim.kernel import Kernel
    from freebsd_sim.kernel.jails import Jail

TICKS = os.sysconf("SC_CLK_TCK")
LINUX_COMM = 15  # what Linux keeps of a name
MAXCOMLEN = 19
PTS_MAJORS = range(136, 144)
LINUX = "/.sim/linux"
EMULATOR = "qemu-system-"  # it is a part of bhyve here
# Where Linux keeps programs, and where FreeBSD has those that are lent.
LENT = ("/usr/bin/", "/usr/lib/")
PLACES = ("usr/local/sbin", "usr/local/bin", "usr/local/libexec", "bin", "usr/bin", "usr/sbin", "sbin")

# Where a sleeping process waits: part of Linux's name, FreeBSD's name.
WAIT_CHANNELS = (
    ("wait", "wait"), ("poll", "select"), ("select", "select"), ("epoll", "kqread"), ("futex", "uwait"),
    ("nanosleep", "nanslp"), ("pipe", "piperd"), ("sigtimedwait", "sigwait"), ("sigsuspend", "pause"),
    ("accept", "accept"), ("recv", "sbwait"), ("n_tty", "ttyin"), ("lock", "flock"),
)  # fmt: skip


@dataclass
class Process:
    """One process. Sizes are bytes, times seconds, ``start`` seconds since 1970."""

    pid: int
    ppid: int
    pgid: int
    sid: int
    state: str  # FreeBSD's letter: R S I D Z T
    nice: int
    threads: int
    vsize: int
    rss: int
    user_time: float
    system_time: float
    start: float
    terminal: str | None  # "pts/0"
    foreground: bool
    uid: int
    ruid: int
    svuid: int
    gid: int
    rgid: int
    svgid: int
    groups: list[int]
    comm: str
    argv: list[str]
    jid: int

    @property
    def cpu_time(self) -> float:
        """User and system time together, in seconds."""
        return self.user_time + self.system_time


class Processes:
    """Looks at processes; nothing is remembered between looks."""

    def __init__(self, kernel: Kernel) -> None:
        self.kernel = kernel
        self._own_mounts = os.stat("/proc/self/ns/mnt").st_ino
        self._own_names = os.stat("/proc/self/ns/uts").st_ino
        self._boot = self._read_boot_time()

    @staticmethod
    def _read_boot_time() -> float:
        with open("/proc/stat") as file:
            for line in file:
                if line.startswith("btime "):
                    return float(line.split()[1])
        return 0.0

    def visible(self, jail: Jail) -> list[Process]:
        """Return the processes that a jail sees, by pid."""
        found = []
        for name in os.listdir("/proc"):
            if name.isdigit():
                process = self._look(int(name), jail)
                if process is not None:
                    found.append(process)
        return sorted(found, key=lambda process: process.pid)

    def get(self, jail: Jail, pid: int) -> Process:
        """Return one process. :raises KernelError: ESRCH, there is none or the jail does not see it."""
        process = self._look(pid, jail)
        if process is None:
            raise KernelError("ESRCH")
        return process

    def sees(self, jail: Jail, owner: Jail) -> bool:
        """Tell whether a jail sees the processes of another: its own and those of its children."""
        above: Jail | None = owner
        while above is not None:
            if above.jid == jail.jid:
                return True
            above = above.parent
        return jail.jid == 0

    def _look(self, pid: int, jail: Jail) -> Process | None:
        try:
            if pid != 1 and os.stat(f"/proc/{pid}/ns/mnt").st_ino == self._own_mounts:
                return None
            if os.stat(f"/proc/{pid}/ns/uts").st_ino != self._own_names:
                return None  # a machine behind the host's network (freebsd-sim outside)
            owner = self.kernel.jails.of_process(pid)
        except (OSError, KernelError):
            owner = self.kernel.jails.host  # a zombie has no namespaces
        if not self.sees(jail, owner):
            return None
        try:
            process = read_process(pid, owner.jid, self._boot)
        except OSError:
            return None
        if pid != 1 and process.argv and os.path.basename(process.argv[0]).startswith(EMULATOR):
            return None
        process.argv = [
            self.program(word) if index < 2 and word.startswith((LINUX, *LENT[1:])) else word
            for index, word in enumerate(process.argv)
        ]
        return process

    def directory(self, pid: int) -> Path:
        """Return Linux's directory of a process."""
        return Path("/proc", str(pid))

    def inside(self, path: str) -> str:
        """Return a path that Linux gives for a process as the host's processes name it."""
        root = str(self.kernel.root)
        if path.startswith(root + "/"):
            path = path[len(root) :]
        return path.removeprefix(LINUX)

    def program(self, path: str) -> str:
        """Return FreeBSD's place of a program that Linux lends; other paths as they are."""
        plain = self.inside(path)
        if path.startswith(LINUX) or plain.startswith(LENT):
            name = plain.rpartition("/")[2]
            for directory in PLACES:
                if os.path.lexists(self.kernel.root / directory / name):
                    return f"/{directory}/{name}"
        return plain

    def binary(self, process: Process) -> str:
        """Return the path of the program that a process runs; "" when it has none."""
        if process.pid == 1:
            return "/sbin/init"
        try:
            path = os.readlink(f"/proc/{process.pid}/exe").removesuffix(" (deleted)")
        except OSError:
            return ""
        if path.endswith("/dash"):
            return "/bin/sh"
        return self.program(path)

    def kill(self, jail: Jail, uid: int, pid: int, signal: int) -> None:
        """Send a signal as a user. :raises KernelError: ESRCH, EPERM"""
        process = self.get(jail, pid)
        if uid != 0 and uid not in (process.ruid, process.svuid):
            raise KernelError("EPERM")
        if pid == 1:
            raise KernelError("EPERM")
        try:
            os.kill(pid, signal)
        except ProcessLookupError:
            raise KernelError("ESRCH") from None


def read_process(pid: int, jid: int, boot: float) -> Process:
    """Read one process from /proc. :raises OSError: it is gone."""
    base = f"/proc/{pid}"
    with open(f"{base}/stat", errors="surrogateescape") as file:
        text = file.read()
    comm = text[text.index("(") + 1 : text.rindex(")")]
    words = text[text.rindex(")") + 2 :].split()
    status = {}
    with open(f"{base}/status", errors="surrogateescape") as file:
        for line in file:
            name, _, value = line.partition(":")
            status[name] = value.split()
    arguments = Path(f"{base}/cmdline").read_bytes().rstrip(b"\0")
    argv = [word.decode(errors="surrogateescape") for word in arguments.split(b"\0")] if arguments else []
    if pid == 1:
        comm, argv = "init", ["/sbin/init"]
    uids = [int(word) for word in status["Uid"]]
    gids = [int(word) for word in status["Gid"]]
    group, terminal = int(words[2]), int(words[4])
    return Process(
        pid=pid,
        ppid=int(words[1]),
        pgid=group,
        sid=int(words[3]),
        state={"R": "R", "S": "S", "D": "D", "Z": "Z", "T": "T", "t": "T", "I": "I", "X": "Z"}.get(words[0], "S"),
        nice=int(words[16]),
        threads=int(words[17]),
        vsize=int(words[20]),
        rss=int(words[21]) * resource.getpagesize(),
        user_time=int(words[11]) / TICKS,
        system_time=int(words[12]) / TICKS,
        start=boot + int(words[19]) / TICKS,
        terminal=_name_terminal(terminal),
        foreground=terminal != 0 and int(words[5]) == group,
        uid=uids[1],
        ruid=uids[0],
        svuid=uids[2],
        gid=gids[1],
        rgid=gids[0],
        svgid=gids[2],
        groups=[int(word) for word in status.get("Groups", [])],
        comm=name_program(comm, argv),
        argv=argv if words[0] != "Z" else [],
        jid=jid,
    )


def _name_terminal(number: int) -> str | None:
    major, minor = os.major(number), os.minor(number)
    if major in PTS_MAJORS:
        return f"pts/{(major - PTS_MAJORS[0]) * 256 + minor}"
    return None


def name_program(comm: str, argv: list[str]) -> str:
    """Return a program's name as FreeBSD keeps it.

    A script runs under its interpreter's name there (sys/kern/kern_exec.c
    takes the file that was executed in the end); Linux takes the script's.
    Linux also cuts the name at 15 characters, FreeBSD at 19.
    """
    if not argv:
        return comm
    first = argv[0].rpartition("/")[2]
    if len(comm) == LINUX_COMM and first.startswith(comm):
        return first[:MAXCOMLEN]
    scripts = [word.rpartition("/")[2][:LINUX_COMM] for word in argv[1:3]]
    if first[:LINUX_COMM] != comm and "/" in argv[0] and comm in scripts:
        return first[:MAXCOMLEN]
    return comm


def read_wait_channel(pid: int) -> str:
    """Return where a process sleeps, by FreeBSD's names; "-" when that is not known."""
    with contextlib.suppress(OSError):
        name = Path(f"/proc/{pid}/wchan").read_text()
        for part, channel in WAIT_CHANNELS:
            if part in name:
                return channel
    return "-"


def read_environment(pid: int) -> list[str]:
    """Return a process's first environment. :raises OSError: it is gone."""
    data = Path(f"/proc/{pid}/environ").read_bytes()
    return [word.decode(errors="surrogateescape") for word in data.rstrip(b"\0").split(b"\0") if word]


def _find(kernel: Kernel, caller: int, arguments: dict[str, Any]) -> Process:
    pid = int(arguments["pid"])
    return kernel.processes.get(kernel.jails.of_process(caller), caller if pid in (-1, 0) else pid)


def _call_proc(kernel: Kernel, pid: int, uid: int, arguments: dict[str, Any]) -> tuple[Any, list[int]]:
    """kern.proc.pid: {"pid"} gives a process; with pid -2, all."""
    with kernel.lock:
        if int(arguments["pid"]) == -2:
            return [vars(process) for process in kernel.processes.visible(kernel.jails.of_process(pid))], []
        return vars(_find(kernel, pid, arguments)), []


def _call_pathname(kernel: Kernel, pid: int, uid: int, arguments: dict[str, Any]) -> tuple[Any, list[int]]:
    """kern.proc.pathname: {"pid"} gives a path."""
    with kernel.lock:
        return kernel.processes.binary(_find(kernel, pid, arguments)), []


def _call_environment(kernel: Kernel, pid: int, uid: int, arguments: dict[str, Any]) -> tuple[Any, list[int]]:
    """kern.proc.env: {"pid"} gives NAME=VALUE strings. :raises KernelError: EPERM, another user's."""
    with kernel.lock:
        process = _find(kernel, pid, arguments)
        if uid not in (0, process.uid):
            raise KernelError("EPERM")
        return read_environment(process.pid), []


SYSCALLS = {"proc.get": _call_proc, "proc.pathname": _call_pathname, "proc.environment": _call_environment}
