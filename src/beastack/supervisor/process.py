"""Who a process is: identity that survives pid reuse, and its end.

Linux reads /proc (proc(5)); elsewhere ps(1) answers the same questions.
"""

from __future__ import annotations

import ctypes
import functools
import os
import signal
import subprocess
import sys
from pathlib import Path

_PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h
_PROC_REAP_ACQUIRE = 2  # FreeBSD sys/procctl.h
_P_PID = 0

# Fields of /proc/PID/stat after the command's name (proc(5) counts them from 3).
_STATE, _GROUP, _SESSION, _STARTED = 0, 2, 3, 19


def start_time(pid: int) -> str | None:
    """Return a text that, with the pid, identifies a process for all time; None if it is gone.

    A zombie counts as gone: it runs nothing and holds nothing.
    """
    if sys.platform == "linux":
        fields = _stat(pid)
        if fields is None or fields[_STATE] in "ZX":
            return None
        # Ticks since boot: after another boot they name another moment.
        return f"{fields[_STARTED]}@{_boot()}"
    listing = _ps("state=,lstart=", "-p", str(pid)).split(None, 1)
    return None if len(listing) < 2 or listing[0].startswith("Z") else listing[1].strip()


def _stat(pid: int) -> list[str] | None:
    try:
        text = Path(f"/proc/{pid}/stat").read_bytes().decode(errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    # Field 2 may hold spaces and parentheses: count from the last ")".
    return text.rpartition(")")[2].split()


@functools.cache
def _boot() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def _ps(columns: str, *which: str) -> str:
    return subprocess.run(["/bin/ps", "-o", columns, *which], capture_output=True, text=True, timeout=10).stdout


def is_same(pid: int, started: str | None) -> bool:
    """Return whether ``pid`` is still the process that had this start time."""
    return started is not None and start_time(pid) == started


def become_reaper() -> None:
    """Make this process inherit the orphans among its descendants.

    Source: prctl(2) PR_SET_CHILD_SUBREAPER; FreeBSD procctl(2) PROC_REAP_ACQUIRE.

    :raises OSError: the kernel refused
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if sys.platform == "linux":
        failed = libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    else:
        failed = libc.procctl(_P_PID, ctypes.c_int64(os.getpid()), _PROC_REAP_ACQUIRE, None)
    if failed:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), "becoming the reaper of orphans")


def send_signal(pid: int, started: str | None, number: int) -> bool:
    """Signal a process if it is still the one meant; return whether it was."""
    if not is_same(pid, started):
        return False
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return False
    return True


def end_group(group: int, session: int) -> bool:
    """Kill what is left of a process group; return whether anything was.

    The number of a group that has ended may name a new one, but not in the
    same session, as long as all who start processes there are us. A program
    that made itself a daemon has a session of its own and is not meant.
    """
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return False  # none of its members is ours
    if not _has_members(group, session):
        return False
    try:
        # One call for all: nobody in the group can fork away from it.
        os.killpg(group, signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True


def _has_members(group: int, session: int) -> bool:
    """Return whether the group has members other than zombies in this session."""
    if sys.platform == "linux":
        wanted = [str(group), str(session)]
        for entry in os.listdir("/proc"):
            if entry.isdigit():
                fields = _stat(int(entry))
                if fields and fields[_GROUP : _SESSION + 1] == wanted and fields[_STATE] not in "ZX":
                    return True
        return False
    rows = (line.split() for line in _ps("state=,pgid=,sid=", "-ax").splitlines())
    return any(row[1:] == [str(group), str(session)] and not row[0].startswith("Z") for row in rows)
