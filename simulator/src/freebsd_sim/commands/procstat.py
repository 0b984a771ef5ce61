"""procstat(1): detailed process information."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable
from typing import Any

from freebsd_sim.call import Call, CommandExit, NotSimulated
from freebsd_sim.commands import libxo
from freebsd_sim.commands.bsd_options import parse_options
from freebsd_sim.kernel.accounts import Accounts
from freebsd_sim.kernel.errors import KernelError
from freebsd_sim.kernel.processes import Process, read_environment

USAGE = (
    "usage: procstat [--libxo] [-h] [-M core] [-N system] [-w interval]\n"
    "                command [pid ... | core ...]"
)  # fmt: skip
OLD_LETTERS = {"b": "binary", "c": "arguments", "e": "environment", "f": "files", "l": "rlimit", "s": "credentials",
               "t": "threads"}  # fmt: skip
ALIASES = {
    "argument": "arguments", "arguments": "arguments", "basic": "basic", "binary": "binary",
    "credential": "credentials", "credentials": "credentials", "environment": "environment",
    "environments": "environment", "fd": "files", "fds": "files", "file": "files", "files": "files",
    "pargs": "pargs", "penv": "penv", "pwdx": "pwdx", "rlimit": "rlimit", "thread": "threads", "threads": "threads",
}  # fmt: skip
LIMITS = (
    ("cputime", "Max cpu time", "sec"), ("filesize", "Max file size", "B"), ("datasize", "Max data size", "B"),
    ("stacksize", "Max stack size", "B"), ("coredumpsize", "Max core file size", "B"),
    ("memoryuse", "Max resident set", "B"), ("memorylocked", "Max locked memory", "B"),
    ("maxprocesses", "Max processes", ""), ("openfiles", "Max open files", ""), ("sbsize", "", "B"),
    ("vmemoryuse", "Max address space", "B"), ("pseudo-terminals", "", ""), ("swapuse", "", "B"),
    ("kqueues", "", ""), ("umtxp", "", ""),
)  # fmt: skip

# rows of (text columns), and the fields of structured output
Report = tuple[str, list[str], dict[str, Any]]
Show = Callable[[Call, Process], tuple[list[str], dict[str, Any]]]


def _head(process: Process) -> str:
    return f"{process.pid:5d} {process.comm:<16} "


def _base(process: Process) -> dict[str, Any]:
    return {"process_id": process.pid, "command": process.comm}


def show_arguments(call: Call, process: Process) -> tuple[list[str], dict[str, Any]]:
    """procstat arguments."""
    text = " ".join(process.argv) if process.argv else "-"
    return [f"{_head(process)}{text} "], _base(process) | {"arguments": process.argv}


def show_environment(call: Call, process: Process) -> tuple[list[str], dict[str, Any]]:
    """procstat environment."""
    words = _environment(call, process)
    return [f"{_head(process)}{' '.join(words) if words else '-'} "], _base(process) | {"environment": words}


def _environment(call: Call, process: Process) -> list[str]:
    if call.uid not in (0, process.uid) or process.pid == 1:
        return []
    try:
        return read_environment(process.pid)
    except OSError:
        return []


def show_binary(call: Call, process: Process) -> tuple[list[str], dict[str, Any]]:
    """procstat binary."""
    path = call.kernel.processes.binary(process)
    release = call.kernel.sysctls.osreldate
    fields = _base(process) | {"osrel": release, "pathname": path}
    return [f"{_head(process)}{release:8d} {path}"], fields


def show_credentials(call: Call, process: Process) -> tuple[list[str], dict[str, Any]]:
    """procstat credentials."""
    accounts = Accounts.of_root(call.kernel.root)
    users = [accounts.user_name(uid) for uid in (process.uid, process.ruid, process.svuid)]
    groups = [accounts.group_name(gid) for gid in (process.gid, process.rgid, process.svgid)]
    more = [accounts.group_name(gid) for gid in process.groups]
    line = f"{_head(process)}" + " ".join(f"{name:<9}" for name in [*users, *groups])
    line += f" {1:5d} - {','.join(more)}"
    fields = _base(process) | {"uid": users[0], "ruid": users[1], "svuid": users[2], "group": groups[0],
                               "rgid": groups[1], "svgid": groups[2], "umask": "-", "groups": more}  # fmt: skip
    return [line], fields


def show_basic(call: Call, process: Process) -> tuple[list[str], dict[str, Any]]:
    """procstat basic."""
    login = Accounts.of_root(call.kernel.root).user_name(process.uid)
    line = (
        f"{process.pid:5d} {process.ppid:5d} {process.pgid:5d} {process.sid:5d} {0:5d} {process.threads:3d} "
        f"{login:<8.8} {'-':<8} {'FreeBSD ELF64':<13} {process.comm}"
    )
    return [line], {"process_id": process.pid, "parent_process_id": process.ppid, "process_group_id": process.pgid,
                    "session_id": process.sid, "threads": process.threads, "login": login,
                    "emulation": "FreeBSD ELF64", "command": process.comm}  # fmt: skip


def show_threads(call: Call, process: Process) -> tuple[list[str], dict[str, Any]]:
    """procstat threads."""
    rows, threads = [], []
    for name in sorted(os.listdir(f"/proc/{process.pid}/task"), key=int):
        with open(f"/proc/{process.pid}/task/{name}/comm") as file:
            title = file.read().strip()
        shown = "-" if title == process.comm else title
        rows.append(f"{process.pid:5d} {100000 + int(name):6d} {process.comm:<19} {shown:<20} {-1:3d} {120:4d} sleep -")
        threads.append({"thread_id": 100000 + int(name), "thread_name": shown, "cpu": -1, "priority": 120,
                        "run_state": "sleep", "wait_channel": "-"})  # fmt: skip
    return rows, _base(process) | {"threads": threads}


def show_limits(call: Call, process: Process) -> tuple[list[str], dict[str, Any]]:
    """procstat rlimit."""
    known: dict[str, tuple[str, str]] = {}
    with open(f"/proc/{process.pid}/limits") as file:
        for line in file:
            found = re.match(r"(Max [a-z ]+?)\s{2,}(\S+)\s+(\S+)", line)
            if found is not None:
                known[found[1]] = (found[2], found[3])
    rows, fields = [], _base(process)
    for name, linux, unit in LIMITS:
        soft, hard = (
            "infinity" if value == "unlimited" else value for value in known.get(linux, ("unlimited", "unlimited"))
        )
        shown = [f"{value} {unit}".rstrip() if value != "infinity" else f"{value} {unit}" for value in (soft, hard)]
        rows.append(f"{_head(process)}{name:<16} {shown[0]:>16} {shown[1]:>16}")
        fields[name] = {"soft_limit": soft if soft == "infinity" else int(soft),
                        "hard_limit": hard if hard == "infinity" else int(hard)}  # fmt: skip
    return rows, fields


def _describe_file(call: Call, process: Process, name: str, link: str) -> tuple[str, str, str]:
    """Return FreeBSD's letters for an open file: its type, its node's type, and its path or address."""
    target = os.readlink(link)
    if target.startswith("socket:"):
        return "s", "-", "UDS 0 0 0 0 -"
    if target.startswith("pipe:"):
        return "p", "-", "-"
    if target.startswith("anon_inode:"):
        return ("k" if "epoll" in target else "e"), "-", "-"
    try:
        mode = os.stat(link).st_mode
    except OSError:
        mode = stat.S_IFREG
    kind = "d" if stat.S_ISDIR(mode) else "c" if stat.S_ISCHR(mode) else "f" if stat.S_ISFIFO(mode) else "r"
    return "v", kind, call.kernel.processes.inside(target) if target.startswith("/") else target


def show_files(call: Call, process: Process) -> tuple[list[str], dict[str, Any]]:
    """procstat files."""
    rows, files = [], []
    base = f"/proc/{process.pid}"
    entries = [("text", f"{base}/exe"), ("cwd", f"{base}/cwd"), ("root", f"{base}/root")]
    entries += [(name, f"{base}/fd/{name}") for name in sorted(os.listdir(f"{base}/fd"), key=int)]
    for name, link in entries:
        try:
            kind, node, path = _describe_file(call, process, name, link)
        except OSError:
            continue
        if name == "text":
            path = call.kernel.processes.binary(process)
        if name == "root":
            path = "/"
        flags = "-r-------" if not name.isdigit() else "rw-------"
        rows.append(f"{_head(process)}{name:>5} {kind} {node} {flags}   -       - -   {path}")
        files.append(
            {"fd": name if not name.isdigit() else int(name), "fd_type": kind, "vode_type": node, "path": path}
        )
    return rows, _base(process) | {"files": files}


HEADINGS = {
    "arguments": "  PID COMM             ARGS",
    "environment": "  PID COMM             ENVIRONMENT",
    "binary": "  PID COMM                OSREL PATH",
    "credentials": "  PID COMM             "
    "EUID      RUID      SVUID     EGID      RGID      SVGID     UMASK FLAGS GROUPS",
    "basic": "  PID  PPID  PGID   SID  TSID THR LOGIN    WCHAN     EMUL          COMM",
    "threads": "  PID    TID COMM                TDNAME              CPU  PRI STATE   WCHAN",
    "rlimit": "  PID COMM             RLIMIT                  SOFT             HARD",
    "files": "  PID COMM                FD T V FLAGS    REF  OFFSET PRO NAME",
}
SHOWS: dict[str, Show] = {
    "arguments": show_arguments, "environment": show_environment, "binary": show_binary,
    "credentials": show_credentials, "basic": show_basic, "threads": show_threads, "rlimit": show_limits,
    "files": show_files,
}  # fmt: skip


def _processes(call: Call, words: list[str], everything: bool) -> tuple[list[Process], int]:
    if everything:
        return call.kernel.processes.visible(call.jail), 0
    found, status = [], 0
    for word in words:
        if not word.isdigit():
            raise NotSimulated("procstat: core files")
        try:
            found.append(call.kernel.processes.get(call.jail, int(word)))
        except KernelError:
            # The program ends at the first one, and its document with it.
            raise CommandExit(
                1, "procstat: sysctl(kern.proc): No such process\nprocstat: procstat_getprocs()"
            ) from None
    return found, status


def _print_plain(call: Call, verb: str, processes: list[Process]) -> None:
    for process in processes:
        if verb == "pwdx":
            path = call.kernel.processes.inside(os.readlink(f"/proc/{process.pid}/cwd"))
            call.out(f"{process.pid}: {path}\n")
        elif verb == "pargs":
            lines = [f"argv[{index}]: {word}\n" for index, word in enumerate(process.argv)]
            call.out(f"{process.pid}:  {process.comm}\n" + "".join(lines))
        else:
            lines = [f"envp[{index}]: {word}\n" for index, word in enumerate(_environment(call, process))]
            call.out(f"{process.pid}:  {process.comm}\n" + "".join(lines))


def main(call: Call) -> int:
    """Run the command."""
    json = libxo.take_style(call)
    options, words = parse_options(call, "abCcefhiHjkLlM:N:rSstvw:x", USAGE)
    flags = {letter for letter, _ in options}
    if flags & set("MNwkvxijrSL"):
        raise NotSimulated(f"procstat: -{sorted(flags & set('MNwkvxijrSL'))[0]}")
    verbs = [OLD_LETTERS[letter] for letter in OLD_LETTERS if letter in flags]
    if not verbs and words and not words[0].isdigit():
        word = words.pop(0)
        verb = ALIASES.get(word)
        if verb is None:
            known = ("advlock", "auxv", "cpuset", "cs", "kqueue", "kqueues", "kstack", "ptlwpinfo", "rlimitusage",
                     "rusage", "safe", "sigfastblk", "signal", "signals", "tsignal", "tsignals", "vm")  # fmt: skip
            if word in known:
                raise NotSimulated(f"procstat {word}")
            raise CommandExit(1, USAGE)
        verbs = [verb]
    verb = verbs[0] if verbs else "basic"
    if not words and "a" not in flags:
        raise CommandExit(1, USAGE)
    with call.kernel.lock:
        processes, status = _processes(call, words, "a" in flags)
        if verb in ("pwdx", "pargs", "penv"):
            _print_plain(call, verb, processes)
            return status
        fields: dict[str, Any] = {}
        lines = [] if "h" in flags else [HEADINGS[verb]]
        for process in processes:
            try:
                rows, item = SHOWS[verb](call, process)
            except OSError:
                continue
            lines += rows
            fields[str(process.pid)] = item
    if json:
        call.out(libxo.format_document({"procstat": {verb: fields}}, "1"))
    elif processes:
        call.out("".join(f"{line}\n" for line in lines))
    return status
