"""pgrep(1) and pkill(1): find or signal processes by name."""

from __future__ import annotations

import fcntl
import os
import re
import signal
from dataclasses import dataclass, field

from freebsd_sim.call import Call, CommandExit, NotSimulated
from freebsd_sim.commands.bsd_options import parse_options
from freebsd_sim.kernel.accounts import Accounts
from freebsd_sim.kernel.errors import KernelError
from freebsd_sim.kernel.processes import Process

MATCH, NO_MATCH, BAD_USAGE, ERROR = range(4)
LETTERS = "DF:G:ILM:N:P:SU:ac:d:fg:ij:lnoqs:t:u:vx"
# FreeBSD's signal numbers, where they differ from Linux's; signal(3).
NUMBERS = {
    10: signal.SIGBUS, 12: signal.SIGSYS, 16: signal.SIGURG, 17: signal.SIGSTOP, 18: signal.SIGTSTP, 19: signal.SIGCONT,
    20: signal.SIGCHLD, 23: signal.SIGIO, 30: signal.SIGUSR1, 31: signal.SIGUSR2,
}  # fmt: skip


def make_usage(name: str) -> str:
    """Return the usage text of pgrep or pkill."""
    flags = "[-LSfilnoqvx] [-d delim]" if name == "pgrep" else "[-signal] [-ILfilnovx]"
    return (
        f"usage: {name} {flags} [-F pidfile] [-G gid] [-M core] [-N system]\n"
        "             [-P ppid] [-U uid] [-c class] [-g pgrp] [-j jail]\n"
        "             [-s sid] [-t tty] [-u euid] pattern ..."
    )


def find_signal(text: str) -> tuple[int, int] | None:
    """Return FreeBSD's number of a signal and Linux's, or None when the text is no signal."""
    if text.isdigit():
        number = int(text)
        if number == 0:
            return 0, 0
        return number, int(NUMBERS.get(number, number))
    name = text.upper().removeprefix("SIG")
    for number in range(1, 32):
        ours = NUMBERS.get(number, number)
        try:
            if signal.Signals(ours).name == f"SIG{name}" and (number in NUMBERS or int(ours) not in NUMBERS):
                return number, int(ours)
        except ValueError:
            continue
    return None


def translate_pattern(pattern: str) -> str:
    """Return an extended regular expression of regex(3) in Python's notation."""
    for name, letters in (("alpha", "a-zA-Z"), ("digit", "0-9"), ("alnum", "a-zA-Z0-9"), ("space", r"\s"),
                          ("upper", "A-Z"), ("lower", "a-z"), ("punct", r"!-/:-@\[-`{-~"), ("blank", r" \t"),
                          ("xdigit", "0-9A-Fa-f")):  # fmt: skip
        pattern = pattern.replace(f"[:{name}:]", letters)
    return pattern.replace("[[:<:]]", r"\b").replace("[[:>:]]", r"\b")


@dataclass
class Criteria:
    """What a process has to be; an empty set asks nothing."""

    euids: set[int] = field(default_factory=set)
    ruids: set[int] = field(default_factory=set)
    rgids: set[int] = field(default_factory=set)
    parents: set[int] = field(default_factory=set)
    groups: set[int] = field(default_factory=set)
    sessions: set[int] = field(default_factory=set)
    jids: set[int] = field(default_factory=set)
    any_jail: bool = False
    terminals: set[str] = field(default_factory=set)
    classes: set[str] = field(default_factory=set)
    pid: int | None = None

    def fits(self, process: Process) -> bool:
        """Tell whether a process fits."""
        jail = process.jid in self.jids or (self.any_jail and process.jid > 0)
        return (
            (not self.euids or process.uid in self.euids)
            and (not self.ruids or process.ruid in self.ruids)
            and (not self.rgids or process.rgid in self.rgids)
            and (not self.parents or process.ppid in self.parents)
            and (not self.groups or process.pgid in self.groups)
            and (not self.sessions or process.sid in self.sessions)
            and (not (self.jids or self.any_jail) or jail)
            and (not self.terminals or (process.terminal or "-") in self.terminals)
            and (self.pid is None or process.pid == self.pid)
        )


def read_pidfile(call: Call, name: str, *, must_be_locked: bool) -> int:
    """Return the pid in a file. :raises CommandExit: as pgrep(1) -F and -L say."""
    program = call.argv[0]
    path = call.path(name)
    try:
        with path.open() as file:
            if must_be_locked:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except OSError:
                    pass
                else:
                    raise CommandExit(ERROR, f"{program}: File '{name}' can be locked; daemon not running")
            text = file.read(32)
    except OSError as error:
        raise CommandExit(ERROR, f"{program}: Cannot open pidfile `{name}': {error.strerror}") from None
    if not text:
        raise CommandExit(ERROR, f"{program}: Pidfile `{name}' is empty")
    number = re.match(r"\s*(\d+)\s*$", text.partition("\n")[0])
    if number is None or not 0 <= int(number[1]) <= 99999999:
        raise CommandExit(ERROR, f"{program}: Invalid pid in file `{name}'")
    return int(number[1])


def read_criteria(call: Call, options: list[tuple[str, str]], usage: str) -> Criteria:
    """Return what the options ask. :raises CommandExit: an unknown user, group or jail."""
    program = call.argv[0]
    accounts = Accounts.of_root(call.kernel.root)
    criteria = Criteria()
    for letter, value in options:
        if letter not in "GPUcgjstu":
            continue
        for word in value.split(","):
            if not word:
                raise CommandExit(BAD_USAGE, usage)
            if letter in "Uu":
                user = accounts.user(word)
                if user is None and not word.isdigit():
                    raise CommandExit(BAD_USAGE, f"{program}: Unknown user `{word}'")
                target = criteria.euids if letter == "u" else criteria.ruids
                target.add(user.uid if user is not None else int(word))
            elif letter == "G":
                group = accounts.group(word)
                if group is None and not word.isdigit():
                    raise CommandExit(BAD_USAGE, f"{program}: Unknown group `{word}'")
                criteria.rgids.add(group.gid if group is not None else int(word))
            elif letter == "j":
                _add_jail(call, criteria, word)
            elif letter == "t":
                criteria.terminals.add(word if word == "-" or word.startswith("pts/") else f"pts/{word}")
            elif letter == "c":
                raise NotSimulated(f"{program}: -c")
            elif not word.lstrip("-").isdigit():
                raise CommandExit(BAD_USAGE, usage)
            else:
                number = int(word)
                if letter == "P":
                    criteria.parents.add(number)
                elif letter == "g":
                    criteria.groups.add(number or os.getpgid(call.pid))
                else:
                    criteria.sessions.add(number or os.getsid(call.pid))
    return criteria


def _add_jail(call: Call, criteria: Criteria, word: str) -> None:
    if word == "any":
        criteria.any_jail = True
        return
    if word == "none":
        criteria.jids.add(0)
        return
    if word.lstrip("-").isdigit():
        if int(word) < 0:
            raise CommandExit(BAD_USAGE, f"{call.argv[0]}: Negative jail ID `{word}'")
        criteria.jids.add(int(word))
        return
    try:
        criteria.jids.add(call.kernel.jails.get(word).jid)
    except KernelError:
        raise CommandExit(BAD_USAGE, f"{call.argv[0]}: Invalid jail ID or name `{word}'") from None


def _ancestors(call: Call, processes: list[Process]) -> set[int]:
    parents = {process.pid: process.ppid for process in processes}
    found = set()
    pid = call.pid
    while pid and pid not in found:
        found.add(pid)
        pid = parents.get(pid, 0)
    return found


def choose(call: Call, options: list[tuple[str, str]], patterns: list[str], criteria: Criteria) -> list[Process]:
    """Return the processes to act on, by pid. :raises CommandExit: a pattern is not a regular expression."""
    flags = {letter for letter, _ in options}
    compiled = []
    for pattern in patterns:
        try:
            compiled.append(re.compile(translate_pattern(pattern), re.IGNORECASE if "i" in flags else 0))
        except re.error as error:
            text = f"{call.argv[0]}: Cannot compile regular expression `{pattern}' ({error.msg})"
            raise CommandExit(BAD_USAGE, text) from None
    with call.kernel.lock:
        processes = call.kernel.processes.visible(call.jail)
    hidden = {call.pid} if "a" in flags else _ancestors(call, processes)
    candidates = [process for process in processes if process.pid != call.pid]
    chosen = []
    for process in candidates:
        text = " ".join(process.argv) if "f" in flags and process.argv else process.comm
        if "x" in flags:
            named = any(pattern.fullmatch(text) for pattern in compiled)
        else:
            named = any(pattern.search(text) for pattern in compiled)
        if (named or not compiled) and criteria.fits(process) and process.pid not in hidden:
            chosen.append(process)
    if chosen and "n" in flags:
        chosen = [max(chosen, key=lambda process: process.start)]
    elif chosen and "o" in flags:
        chosen = [min(chosen, key=lambda process: process.start)]
    if "v" in flags:
        pids = {process.pid for process in chosen}
        return [process for process in candidates if process.pid not in pids]
    return chosen


def main(call: Call) -> int:
    """Run pgrep, or pkill when called by that name."""
    name = call.argv[0].rpartition("/")[2]
    usage = make_usage(name)
    numbers: tuple[int, int] = (int(signal.SIGTERM), int(signal.SIGTERM))
    if name == "pkill" and len(call.argv) > 1 and call.argv[1].startswith("-"):
        found = find_signal(call.argv[1][1:])
        if found is not None and call.argv[1] not in ("-f", "-x", "-n", "-o", "-i", "-l", "-v", "-a", "-I", "-L"):
            numbers = found
            call.argv = [call.argv[0], *call.argv[2:]]
    options, patterns = parse_options(call, LETTERS, usage, BAD_USAGE)
    values = dict(options)
    forbidden = "dqS" if name == "pkill" else "I"
    if any(letter in forbidden for letter in values):
        raise CommandExit(BAD_USAGE, usage)
    if "I" in values or "M" in values or "N" in values:
        raise NotSimulated(f"{name}: -I, -M and -N")
    if not patterns and not set(values) & set("FGPUcgjnostu"):
        raise CommandExit(BAD_USAGE, usage)
    if "n" in values and "o" in values:
        raise CommandExit(ERROR, f"{name}: Options -n and -o are mutually exclusive")
    if "L" in values and "F" not in values:
        raise CommandExit(ERROR, f"{name}: Option -L doesn't make sense without -F")
    criteria = read_criteria(call, options, usage)
    if "F" in values:
        criteria.pid = read_pidfile(call, values["F"], must_be_locked="L" in values)
    chosen = choose(call, options, patterns, criteria)
    if name == "pgrep":
        return _show(call, chosen, values)
    return _signal(call, chosen, numbers, long="l" in values)


def _show(call: Call, processes: list[Process], values: dict[str, str]) -> int:
    delimiter = values.get("d", "\n")
    if "q" not in values:
        for process in processes:
            text = str(process.pid)
            if "l" in values:
                text += " " + (" ".join(process.argv) if "f" in values and process.argv else process.comm)
            call.out(text + delimiter)
    return MATCH if processes else NO_MATCH


def _signal(call: Call, processes: list[Process], numbers: tuple[int, int], *, long: bool) -> int:
    done = False
    for process in processes:
        if long:
            call.out(f"kill -{numbers[0]} {process.pid}\n")
        try:
            call.kernel.processes.kill(call.jail, call.uid, process.pid, numbers[1])
            done = True
        except KernelError as error:
            if error.name != "ESRCH":
                call.err(f"pkill: signalling pid {process.pid}: {error.text}\n")
    if long and not processes:
        call.err("No matching processes belonging to you were found\n")
    return MATCH if done else NO_MATCH
