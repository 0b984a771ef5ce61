"""ps(1): process status."""

from __future__ import annotations

import fcntl
import json
import os
import struct
import termios
import time
from dataclasses import dataclass, field, replace

from freebsd_sim.call import Call, CommandExit, NotSimulated
from freebsd_sim.commands.bsd_options import parse_options
from freebsd_sim.commands.ps_columns import ALIASES, COLUMNS, NOT_KEPT, Column, View
from freebsd_sim.kernel.accounts import Accounts
from freebsd_sim.kernel.errors import KernelError
from freebsd_sim.kernel.processes import Process

USAGE = (
    "usage: ps [--libxo] [-AaCcdefHhjlmrSTuvwXxZ] [-O fmt | -o fmt]\n"
    "          [-G gid[,gid...]] [-J jid[,jid...]] [-M core] [-N system]\n"
    "          [-p pid[,pid...]] [-t tty[,tty...]] [-U user[,user...]]\n"
    "       ps [--libxo] -L"
)  # fmt: skip
LETTERS = "AaCcD:deEfG:HhjJ:LlM:mN:O:o:p:rSTt:U:uvwXxZ"
FORMATS = {
    "default": "pid,tt,state,time,command",
    "j": "user,pid,ppid,pgid,sid,jobc,state,tt,time,command",
    "l": "uid,pid,ppid,cpu,pri,nice,vsz,rss,mwchan,state,tt,time,command",
    "u": "user,pid,%cpu,%mem,vsz,rss,tt,state,start,time,command",
    "v": "pid,state,time,sl,re,pagein,vsz,rss,lim,tsiz,%cpu,%mem,command",
}
WIDE = 131
BEFORE_O, AFTER_O = "pid", "tt,state,time,command"


@dataclass
class Selection:
    """Which processes are asked for; with any list, one that is in some list."""

    pids: set[int] = field(default_factory=set)
    uids: set[int] = field(default_factory=set)
    gids: set[int] = field(default_factory=set)
    jids: set[int] = field(default_factory=set)
    terminals: set[str] = field(default_factory=set)
    given: bool = False
    everybody: bool = False
    without_terminal: bool | None = None

    def wants(self, process: Process, uid: int) -> bool:
        """Tell whether a process is asked for by a user."""
        without = self.without_terminal
        if without is None:
            without = self.given
        if self.given:
            hit = (
                process.pid in self.pids
                or process.ruid in self.uids
                or process.rgid in self.gids
                or process.jid in self.jids
                or (process.terminal or "").removeprefix("pts/") in self.terminals
            )
        else:
            hit = self.everybody or process.uid == uid
        return hit and (without or process.terminal is not None)


def read_columns(call: Call, text: str) -> list[tuple[Column, str]]:
    """Return the columns that an -o argument names, with their headings.

    :raises CommandExit: none of its words is a keyword
    """
    found = []
    for word in text.replace(",", " ").split():
        name, equals, heading = word.partition("=")
        key = ALIASES.get(name, name)
        if key in NOT_KEPT and key not in COLUMNS:
            raise NotSimulated(f"ps: the keyword {name}")
        column = COLUMNS.get(key)
        if column is None:
            call.err(f"ps: {name}: keyword not found\n")
            continue
        found.append((column, heading if equals else column.heading))
    return found


def select(call: Call, options: list[tuple[str, str]], accounts: Accounts) -> Selection:
    """Return what the options select. :raises CommandExit: one names what does not exist."""
    selection = Selection()
    for letter, value in options:
        if letter in "Aa":
            selection.everybody = True
        if letter in "Ax":
            selection.without_terminal = True
        if letter == "X":
            selection.without_terminal = False
        if letter in "pUGJt":
            selection.given = True
            for word in value.replace(",", " ").split():
                _add(call, selection, accounts, letter, word)
        if letter == "T":
            raise NotSimulated("ps: -T")
    return selection


def _add(call: Call, selection: Selection, accounts: Accounts, letter: str, word: str) -> None:
    if letter == "p":
        if not word.isdigit():
            raise CommandExit(1, f"ps: Invalid process id: {word}")
        selection.pids.add(int(word))
    elif letter == "U":
        user = accounts.user(word)
        if user is None and not word.isdigit():
            raise CommandExit(1, f"ps: No user named '{word}'")
        selection.uids.add(user.uid if user is not None else int(word))
    elif letter == "G":
        group = accounts.group(word)
        if group is None and not word.isdigit():
            raise CommandExit(1, f"ps: No group named '{word}'")
        selection.gids.add(group.gid if group is not None else int(word))
    elif letter == "J":
        try:
            selection.jids.add(call.jail.jid if word == "0" else call.kernel.jails.get(word).jid)
        except KernelError:
            raise CommandExit(1, f"ps: Invalid jail id: {word}") from None
    else:
        selection.terminals.add(word.removeprefix("/dev/").removeprefix("pts/"))


def measure_width(call: Call, options: list[tuple[str, str]]) -> int:
    """Return how long a line may be; 0 is without limit."""
    wide = sum(letter == "w" for letter, _ in options)
    if wide > 1:
        return 0
    columns = call.environ.get("COLUMNS", "")
    if columns.isdigit() and int(columns) > 0:
        width = int(columns)
    elif not os.isatty(call.stdout):
        return 0
    else:
        try:
            size = fcntl.ioctl(call.stdout, termios.TIOCGWINSZ, b"\0" * 8)
            width = struct.unpack("HHHH", size)[1] - 1
        except OSError:
            width = 79
        width = width if width > 0 else 79
    return max(width, WIDE) if wide else width


def format_table(columns: list[tuple[Column, str]], rows: list[list[str]], width: int) -> str:
    """Return the heading and the rows; no heading when all headings are empty."""
    headings = [heading for _, heading in columns]
    lines = [headings, *rows] if any(headings) else rows
    widths = [max(len(cell) for cell in cells) for cells in zip(headings, *rows, strict=True)]
    text = []
    for line in lines:
        cells = []
        for index, ((column, _), cell) in enumerate(zip(columns, line, strict=True)):
            if not column.left:
                cells.append(cell.rjust(widths[index]))
            elif index == len(columns) - 1:
                cells.append(cell)
            else:
                cells.append(cell.ljust(widths[index]))
        joined = " ".join(cells)
        text.append((joined[:width] if width else joined) + "\n")
    return "".join(text)


def _split_threads(process: Process) -> list[Process]:
    return [replace(process, threads=process.threads) for _ in range(max(1, process.threads))]


def main(call: Call) -> int:
    """Run the command."""
    words = call.argv[1:]
    style = ""
    kept = []
    for word in words:
        if word.startswith("--libxo"):
            style = word.partition("=")[2] or "text"
        else:
            kept.append(word)
    if "--libxo" in words and kept and kept[0].split(",")[0] in ("json", "xml", "html", "text"):
        style = kept.pop(0)
    if kept and not kept[0].startswith("-") and not kept[0][0].isdigit():
        kept[0] = f"-{kept[0]}"
    call = replace(call, argv=[call.argv[0], *kept])
    options, operands = parse_options(call, LETTERS, USAGE)
    for operand in operands:
        if not operand[0].isdigit():
            raise CommandExit(1, f"ps: illegal argument: {operand}\n{USAGE}")
        options.append(("p", operand))
    flags = {letter for letter, _ in options}
    if flags & set("dDeEfSZMN"):
        raise NotSimulated(f"ps: -{sorted(flags & set('dDeEfSZMN'))[0]}")
    if "L" in flags:
        call.out(" ".join(sorted([*COLUMNS, *ALIASES])) + "\n")
        return 0
    if style and style.split(",")[0] not in ("json", "text"):
        raise NotSimulated(f"ps: --libxo {style}")
    accounts = Accounts.of_root(call.kernel.root)
    columns = _choose_columns(call, options)
    selection = select(call, options, accounts)
    with call.kernel.lock:
        view = View(
            accounts,
            {jail.jid: jail.name for jail in call.kernel.jails.all()},
            call.kernel.sysctls.read_int("hw.physmem"),
            time.time(),
            "c" in flags,
        )
        processes = [item for item in call.kernel.processes.visible(call.jail) if selection.wants(item, call.uid)]
    if "m" in flags:
        processes.sort(key=lambda process: -process.vsize)
    elif "r" in flags:
        processes.sort(key=lambda process: -process.cpu_time)
    else:
        processes.sort(key=lambda process: (process.terminal or "", process.pid))
    if "H" in flags:
        processes = [thread for process in processes for thread in _split_threads(process)]
    rows = [[column.fill(process, view) for column, _ in columns] for process in processes]
    if style.startswith("json"):
        _print_json(call, columns, rows, pretty="pretty" in style)
    else:
        call.out(format_table(columns, rows, measure_width(call, options)))
    return 0 if rows else 1


def _choose_columns(call: Call, options: list[tuple[str, str]]) -> list[tuple[Column, str]]:
    columns: list[tuple[Column, str]] = []
    asked = False
    for letter, value in options:
        if letter == "o":
            asked = True
            columns += read_columns(call, value)
        elif letter == "O":
            asked = True
            columns += read_columns(call, BEFORE_O) + read_columns(call, value) + read_columns(call, AFTER_O)
        elif letter in "jluv":
            asked = True
            columns += read_columns(call, FORMATS[letter])
    if asked and not columns:
        raise CommandExit(1, "ps: no valid keywords; valid keywords:\n" + " ".join(sorted([*COLUMNS, *ALIASES])))
    return columns or read_columns(call, FORMATS["default"])


def _print_json(call: Call, columns: list[tuple[Column, str]], rows: list[list[str]], *, pretty: bool) -> None:
    processes = [
        {column.field: cell for (column, _), cell in zip(columns, row, strict=True)}
        for row in rows
    ]  # fmt: skip
    data = {"__version": "1", "process-information": {"process": processes}}
    call.out(json.dumps(data, indent=2 if pretty else None, separators=None if pretty else (",", ":")) + "\n")
