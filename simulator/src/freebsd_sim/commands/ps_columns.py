"""The columns of ps(1): keyword, heading, name in structured output, and how a process fills them (bin/ps/)."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from freebsd_sim.kernel.accounts import Accounts
from freebsd_sim.kernel.processes import MAXCOMLEN, Process, read_wait_channel

DAY = 24 * 3600
WEEK = 7 * DAY


@dataclass
class View:
    """What a column may need besides the process."""

    accounts: Accounts
    jail_names: dict[int, str]
    physical: int  # bytes
    now: float
    name_only: bool  # -c


Fill = Callable[[Process, View], str]


@dataclass(frozen=True)
class Column:
    """One column; ``left`` ones are not padded at the end of a line."""

    heading: str
    field: str
    fill: Fill
    left: bool = False


def format_command(process: Process, view: View) -> str:
    """Return what the COMMAND column says of the arguments (fmt_argv in bin/ps/fmt.c)."""
    if view.name_only:
        return process.comm
    if not process.argv:
        return "<defunct>" if process.state == "Z" else f"[{process.comm[:MAXCOMLEN]}]"
    text = " ".join(visible(word) for word in process.argv)
    if process.argv[0].rpartition("/")[2][:MAXCOMLEN] != process.comm[:MAXCOMLEN]:
        text += f" ({process.comm[:MAXCOMLEN]})"
    return text


def visible(word: str) -> str:
    """Return a word with control characters as vis(3) writes them."""
    return "".join(
        letter if letter.isprintable() else {"\n": "\\n", "\t": "\\t"}.get(letter, f"\\{ord(letter) & 0xFF:03o}")
        for letter in word
    )


def format_state(process: Process, view: View) -> str:
    """Return the STAT letters."""
    text = process.state
    if process.nice:
        text += "<" if process.nice < 0 else "N"
    if process.sid == process.pid:
        text += "s"
    if process.foreground:
        text += "+"
    if process.jid:
        text += "J"
    return text


def format_cpu_time(seconds: float) -> str:
    """Return minutes, seconds and hundredths."""
    hundredths = int(seconds * 100)
    return f"{hundredths // 6000}:{hundredths // 100 % 60:02d}.{hundredths % 100:02d}"


def format_elapsed(seconds: int) -> str:
    """Return a span as [[days-]hours:]minutes:seconds."""
    days, rest = divmod(max(0, seconds), DAY)
    hours, rest = divmod(rest, 3600)
    tail = f"{rest // 60:02d}:{rest % 60:02d}"
    if days:
        return f"{days}-{hours:02d}:{tail}"
    return f"{hours:02d}:{tail}" if hours else tail


def format_start(process: Process, view: View) -> str:
    """Return the STARTED column: a time today, a weekday this week, else a date."""
    when = time.localtime(process.start)
    age = view.now - process.start
    if age < DAY:
        return f"{int(time.strftime('%I', when)):2d}{time.strftime(':%M%p', when)}"
    if age < WEEK:
        return time.strftime("%a%I%p", when)
    return f"{when.tm_mday:2d}{time.strftime('%b%y', when)}"


def format_terminal(process: Process, view: View) -> str:
    """Return the TT column; a blank after the name is where a lost terminal has a dash."""
    return f"{process.terminal.removeprefix('pts/')} " if process.terminal else "- "


def _percent_cpu(process: Process, view: View) -> str:
    elapsed = max(0.1, view.now - process.start)
    return f"{min(999.9, 100 * process.cpu_time / elapsed):.1f}"


def _wait(process: Process, view: View) -> str:
    return read_wait_channel(process.pid) if process.state in "SD" else "-"


def _integer(name: str) -> Fill:
    return lambda process, view: str(getattr(process, name))


def _user(name: str) -> Fill:
    return lambda process, view: view.accounts.user_name(getattr(process, name))


def _group(name: str) -> Fill:
    return lambda process, view: view.accounts.group_name(getattr(process, name))


COLUMNS: dict[str, Column] = {
    "%cpu": Column("%CPU", "percent-cpu", _percent_cpu),
    "%mem": Column("%MEM", "percent-memory", lambda p, view: f"{100 * p.rss / view.physical:.1f}"),
    "args": Column("COMMAND", "arguments", format_command, True),
    "class": Column("CLASS", "login-class", lambda p, view: "daemon" if p.terminal is None else "default", True),
    "comm": Column("COMMAND", "command", lambda p, view: p.comm, True),
    "command": Column("COMMAND", "command", format_command, True),
    "cpu": Column("C", "on-cpu", lambda p, view: "0"),
    "emul": Column("EMUL", "emulation-envirnment", lambda p, view: "FreeBSD ELF64", True),
    "etime": Column("ELAPSED", "elapsed-time", lambda p, view: format_elapsed(int(view.now - p.start))),
    "etimes": Column("ELAPSED", "elapsed-times", lambda p, view: str(int(view.now - p.start))),
    "f": Column("F", "flags", lambda p, view: "10000002"),
    "fib": Column("FIB", "fib", lambda p, view: "0"),
    "gid": Column("GID", "gid", _integer("gid")),
    "group": Column("GROUP", "group", _group("gid"), True),
    "jail": Column("JAIL", "jail-name", lambda p, view: view.jail_names.get(p.jid, "-") if p.jid else "-", True),
    "jid": Column("JID", "jail-id", _integer("jid")),
    "jobc": Column("JOBC", "job-control-count", lambda p, view: "0"),
    "lim": Column("LIM", "memory-limit", lambda p, view: "-"),
    "login": Column("LOGIN", "login-name", _user("ruid"), True),
    "lstart": Column("STARTED", "start-time", lambda p, view: time.ctime(p.start), True),
    "lwp": Column("LWP", "thread-id", lambda p, view: str(100000 + p.pid)),
    "mwchan": Column("MWCHAN", "wait-channel", _wait, True),
    "nice": Column("NI", "nice", _integer("nice")),
    "nlwp": Column("NLWP", "threads", _integer("threads")),
    "pagein": Column("PAGEIN", "pageins", lambda p, view: "0"),
    "pgid": Column("PGID", "process-group", _integer("pgid")),
    "pid": Column("PID", "pid", _integer("pid")),
    "ppid": Column("PPID", "ppid", _integer("ppid")),
    "pri": Column("PRI", "priority", lambda p, view: "20"),
    "re": Column("RE", "residency-time", lambda p, view: str(min(127, int(view.now - p.start)))),
    "rgid": Column("RGID", "real-gid", _integer("rgid")),
    "rgroup": Column("RGROUP", "real-group", _group("rgid"), True),
    "rss": Column("RSS", "rss", lambda p, view: str(p.rss // 1024)),
    "ruid": Column("RUID", "real-uid", _integer("ruid")),
    "ruser": Column("RUSER", "real-user", _user("ruid"), True),
    "sid": Column("SID", "sid", _integer("sid")),
    "sl": Column("SL", "sleep-time", lambda p, view: "0"),
    "start": Column("STARTED", "start-time", format_start, True),
    "state": Column("STAT", "state", format_state, True),
    "svgid": Column("SVGID", "saved-gid", _integer("svgid")),
    "svuid": Column("SVUID", "saved-uid", _integer("svuid")),
    "systime": Column("SYSTIME", "system-time", lambda p, view: format_cpu_time(p.system_time)),
    "tdev": Column("TDEV", "terminal-device", lambda p, view: "-" if p.terminal is None else "0x80"),
    "tdname": Column("TDNAME", "thread-name", lambda p, view: "-", True),
    "time": Column("TIME", "cpu-time", lambda p, view: format_cpu_time(p.cpu_time)),
    "tsiz": Column("TSIZ", "text-size", lambda p, view: "4"),
    "tt": Column("TT ", "terminal-name", format_terminal),
    "tty": Column("TTY", "tty", lambda p, view: p.terminal or "-", True),
    "ucomm": Column("UCOMM", "accounting-name", lambda p, view: p.comm, True),
    "uid": Column("UID", "uid", _integer("uid")),
    "user": Column("USER", "user", _user("uid"), True),
    "usertime": Column("USERTIME", "user-time", lambda p, view: format_cpu_time(p.user_time)),
    "vsz": Column("VSZ", "virtual-size", lambda p, view: str(p.vsize // 1024)),
    "wchan": Column("WCHAN", "wait-channel", _wait, True),
}
ALIASES = {
    "cputime": "time", "egid": "gid", "egroup": "group", "euid": "uid", "flags": "f", "logname": "login", "ni": "nice",
    "pcpu": "%cpu", "pmem": "%mem", "stat": "state", "vsize": "vsz",
}  # fmt: skip
# Keywords of ps(1) that have nothing to show here.
NOT_KEPT = frozenset(
    [
        "acflag",
        "acflg",
        "blocked",
        "caught",
        "cow",
        "dsiz",
        "f2",
        "ignored",
        "inblk",
        "inblock",
        "ktrace",
        "label",
        "lockname",
        "majflt",
        "minflt",
        "msgrcv",
        "msgsnd",
        "nivcsw",
        "nsignals",
        "nsigs",
        "nswap",
        "nvcsw",
        "nwchan",
        "oublk",
        "oublock",
        "paddr",
        "pending",
        "rtprio",
        "sig",
        "sigcatch",
        "sigignore",
        "sigmask",
        "ssiz",
        "tdaddr",
        "tdev",
        "tpgid",
        "tracer",
        "tsid",
        "upr",
        "uprocp",
        "usrpri",
        "vmaddr",
        "xstat",
    ]
)
