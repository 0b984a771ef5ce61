"""fstat(1): open files."""

from __future__ import annotations

import os
import stat

from freebsd_sim.call import Call, CommandExit, NotSimulated
from freebsd_sim.commands.bsd_options import parse_options
from freebsd_sim.kernel.accounts import Accounts
from freebsd_sim.kernel.processes import Process

USAGE = "usage: fstat [-fmnsv] [-M core] [-N system] [-p pid] [-u user] [file ...]"
HEADING = "USER     CMD          PID   FD MOUNT      INUM MODE         SZ|DV R/W"


def _line(call: Call, user: str, process: Process, name: str, link: str, wanted: dict[tuple[int, int], str]) -> str:
    """Return a file's line, or "" when it is not among the wanted ones."""
    target = os.readlink(link)
    head = f"{user:<8.8} {process.comm:<10.10} {process.pid:5d} {name:>4}"
    if target.startswith(("socket:", "pipe:", "anon_inode:")):
        if wanted:
            return ""
        return f"{head}* {'local stream' if target.startswith('socket') else 'pipe'} 0 <-> 0"
    facts = os.stat(link)
    key = (facts.st_dev, facts.st_ino)
    if wanted and key not in wanted:
        return ""
    size = "null" if stat.S_ISCHR(facts.st_mode) else str(facts.st_size)
    access = "rw" if name.isdigit() else "r"
    text = f"{head} {'/':<8} {facts.st_ino:6d} {stat.filemode(facts.st_mode)} {size:>7} {access:>2}"
    return text + (f"  {wanted[key]}" if wanted else "")


def main(call: Call) -> int:
    """Run the command."""
    options, names = parse_options(call, "fmnsvM:N:p:u:", USAGE)
    values = dict(options)
    if {"M", "N"} & set(values):
        raise NotSimulated("fstat: -M and -N")
    wanted: dict[tuple[int, int], str] = {}
    for name in names:
        try:
            facts = call.path(name).stat()
        except OSError as error:
            call.err(f"fstat: {name}: {error.strerror}\n")
            continue
        wanted[(facts.st_dev, facts.st_ino)] = name
    if names and not wanted:
        return 1
    accounts = Accounts.of_root(call.kernel.root)
    if "u" in values and accounts.user(values["u"]) is None:
        raise CommandExit(1, f"fstat: {values['u']}: unknown uid")
    call.out(HEADING + (" NAME" if wanted else "") + "\n")
    with call.kernel.lock:
        processes = call.kernel.processes.visible(call.jail)
    for process in processes:
        user = accounts.user_name(process.uid)
        if ("p" in values and str(process.pid) != values["p"]) or ("u" in values and user != values["u"]):
            continue
        base = f"/proc/{process.pid}"
        try:
            entries = [("text", f"{base}/exe"), ("wd", f"{base}/cwd"), ("root", f"{base}/root")]
            entries += [(name, f"{base}/fd/{name}") for name in sorted(os.listdir(f"{base}/fd"), key=int)]
            lines = [_line(call, user, process, name, link, wanted) for name, link in entries]
        except OSError:
            continue
        call.out("".join(f"{line}\n" for line in lines if line))
    return 0
