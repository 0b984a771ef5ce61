"""Processes without /proc: the table, command lines, signals, and waiting for an end."""

from __future__ import annotations

import json
import os
import re
import signal
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from beastack.freebsd import command
from beastack.freebsd.command import CommandError, Result
from beastack.freebsd.errors import JailNotFound, PermissionDenied, ProcessNotFound, translate

_COLUMNS = "pid,ppid,jid,uid,state,rss,vsz,time,args"

# What ps(1) says of a jail, and procstat(1) of a process, that does not exist.
_REFUSALS: tuple[tuple[str, type[CommandError]], ...] = (
    ("Invalid jail", JailNotFound),
    ("No such process", ProcessNotFound),
)

# ps(1) adds the command's name to a title that does not start with it (bin/ps/fmt.c).
_ADDED_NAME = re.compile(r" \([^()]{1,19}\)$")


@dataclass(frozen=True)
class Process:
    """One process as ps(1) showed it.

    ``jid`` is 0 outside of jails. ``rss`` and ``vsz`` are bytes, ``cpu_time``
    is seconds. ``arguments`` is one text: the command line joined by spaces,
    the title that the process gave itself, or ``[NAME]`` in the kernel.
    """

    pid: int
    ppid: int
    jid: int
    uid: int
    state: str
    rss: int
    vsz: int
    cpu_time: float
    arguments: str

    @property
    def title(self) -> str:
        """``arguments`` without the command's name that ps(1) may add in parentheses.

        A command line whose own last word is in parentheses loses it, too:
        compare with both.
        """
        return _ADDED_NAME.sub("", self.arguments)

    @property
    def is_zombie(self) -> bool:
        """It has ended, and its parent has not yet asked how."""
        return self.state.startswith("Z")


def parse_time(text: str) -> float:
    """Read ``MINUTES:SECONDS.HUNDREDTHS`` (or with hours in front) as seconds.

    :raises ValueError: it has another form
    """
    seconds = 0.0
    for part in text.split(":"):
        seconds = seconds * 60 + float(part)
    return seconds


def parse_table(output: str) -> tuple[Process, ...]:
    """Read ``ps -o`` with this module's columns: a heading, then one line each.

    :raises ValueError: a line has another form
    """
    processes = []
    for line in output.splitlines()[1:]:
        columns = line.split(None, 8)
        if len(columns) < 8:
            raise ValueError(f"ps(1) printed a line of an unknown form: {line!r}")
        pid, ppid, jid, uid = (int(column) for column in columns[:4])
        rss, vsz = (int(column) * 1024 for column in columns[5:7])
        arguments = columns[8].rstrip() if len(columns) == 9 else ""
        processes.append(Process(pid, ppid, jid, uid, columns[4], rss, vsz, parse_time(columns[7]), arguments))
    return tuple(processes)


def list_processes() -> tuple[Process, ...]:
    """Return every process the caller can see, from one reading.

    :raises CommandError: ps(1) failed
    """
    return parse_table(command.run(["ps", "-axww", "-o", _COLUMNS]).stdout)


def list_jailed(jail: str) -> tuple[Process, ...]:
    """Return the processes of one jail, given by name or number.

    :raises JailNotFound: there is no such jail
    """
    return parse_table(_select(["-J", jail]).stdout)


def read_process(pid: int) -> Process | None:
    """Return one process, or None if it is not there.

    :raises CommandError: ps(1) failed
    """
    _check_pid(pid)
    result = _select(["-p", str(pid)])
    return next((process for process in parse_table(result.stdout) if process.pid == pid), None)


def children(pid: int, table: Iterable[Process]) -> tuple[Process, ...]:
    """Return the processes whose parent is ``pid``, from a reading."""
    return tuple(process for process in table if process.ppid == pid and process.pid != pid)


def descendants(pid: int, table: Iterable[Process]) -> tuple[Process, ...]:
    """Return children, their children and so on, parents before children."""
    known = tuple(table)
    found: list[Process] = []
    waiting = [pid]
    while waiting:
        for child in children(waiting.pop(0), known):
            if child not in found:
                found.append(child)
                waiting.append(child.pid)
    return tuple(found)


def find_by_title(title: str, table: Iterable[Process] | None = None) -> tuple[Process, ...]:
    """Return the living processes whose title is exactly this (``bhyve: NAME``).

    :param table: a reading to look in; without it, a new one is made
    """
    known = list_processes() if table is None else table
    return tuple(process for process in known if not process.is_zombie and title in (process.arguments, process.title))


def parse_arguments(output: str, pid: int) -> tuple[str, ...] | None:
    """Read ``procstat --libxo json arguments PID``; None if the process is not in it.

    The form is ``procstat`` > ``arguments`` > PID > ``arguments``, read from
    the program's source (usr.bin/procstat) and not seen on a host, so nothing
    else in here knows it.

    :raises ValueError: the text is no JSON
    """
    entries = json.loads(output or "{}").get("procstat", {}).get("arguments", {})
    entry = entries.get(str(pid)) if isinstance(entries, dict) else None
    if entry is None:
        return None
    # The list is missing for processes whose arguments cannot be read.
    return tuple(str(word) for word in entry.get("arguments", ()))


def read_arguments(pid: int) -> tuple[str, ...]:
    """Return the command line of a process with its words kept apart.

    A process that gave itself a title has that as its only word; a kernel
    process has none.

    :raises ProcessNotFound: there is no such process, or it cannot be seen
    :raises ValueError: procstat(1) printed no JSON
    """
    _check_pid(pid)
    argv = ["procstat", "--libxo", "json", "arguments", str(pid)]
    try:
        # Where it fails, what it has printed is no whole JSON text.
        result = command.run(argv)
    except CommandError as error:
        if error.status is None:
            raise
        raise translate(error, _REFUSALS) from None
    words = parse_arguments(result.stdout, pid)
    if words is None:
        raise ProcessNotFound(argv, result.status, result.stdout, f"procstat: {pid}: No such process")
    return words


def exists(pid: int) -> bool:
    """Tell whether a process is there, by signal 0.

    A process that has ended and that its parent has not waited for is there
    still. One hidden by a jail or by security policy is not.
    """
    _check_pid(pid)
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def send_signal(pid: int, number: int) -> None:
    """Send a signal to one process.

    :raises ProcessNotFound: there is no such process, or it cannot be seen
    :raises PermissionDenied: it belongs to someone else
    """
    _check_pid(pid)
    try:
        os.kill(pid, number)
    except ProcessLookupError as error:
        raise _refusal(ProcessNotFound, pid, number, error) from None
    except PermissionError as error:
        raise _refusal(PermissionDenied, pid, number, error) from None


def wait_gone(
    pid: int,
    limit: float,
    *,
    interval: float = 0.05,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Wait until there is no process of that number.

    A child of the caller's own must be waited for elsewhere, or it stays.

    :param limit: seconds to wait
    :param interval: seconds between two looks
    :raises TimeoutError: it was still there at the limit
    """
    deadline = clock() + limit
    while exists(pid):
        left = deadline - clock()
        if left <= 0:
            raise TimeoutError(f"process {pid} was still there after {limit:g} s")
        sleep(min(interval, left))


def stop(
    pid: int,
    grace: float,
    *,
    first: int = signal.SIGTERM,
    after_kill: float = 5.0,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """End a process: ask with a signal, wait, then kill. One that is gone is no error.

    :param grace: seconds between the first signal and SIGKILL
    :param after_kill: seconds to wait after SIGKILL
    :raises PermissionDenied: it belongs to someone else
    :raises TimeoutError: it is there even after SIGKILL
    """
    try:
        send_signal(pid, first)
        try:
            wait_gone(pid, grace, clock=clock, sleep=sleep)
        except TimeoutError:
            send_signal(pid, signal.SIGKILL)
            wait_gone(pid, after_kill, clock=clock, sleep=sleep)
    except ProcessNotFound:
        return


def is_same(process: Process) -> bool:
    """Tell whether the number still belongs to that process.

    Numbers are reused: a signal meant for one program must not reach another.
    The jail and the command line tell them apart.
    """
    now = read_process(process.pid)
    return now is not None and (now.jid, now.arguments) == (process.jid, process.arguments)


def _select(words: Sequence[str]) -> Result:
    result = command.run(["ps", "-ww", "-o", _COLUMNS, *words], ok=(0, 1))
    # Nothing found is status 1, too, but without a word.
    if result.status and result.stderr.strip():
        raise translate(CommandError(result.argv, result.status, result.stdout, result.stderr), _REFUSALS)
    return result


def _check_pid(pid: int) -> None:
    # 0 and negative numbers mean process groups to kill(2).
    if pid <= 0:
        raise ValueError(f"{pid} is no process number")


def _refusal(kind: type[CommandError], pid: int, number: int, error: OSError) -> CommandError:
    # Signals need no command; the error names the one that would do the same.
    return kind(["kill", f"-{int(number)}", str(pid)], 1, "", f"kill: {pid}: {error.strerror}")
