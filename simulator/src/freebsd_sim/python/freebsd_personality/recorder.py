"""Writes the record of Linuxisms: what this program did that FreeBSD does not have.

One line of JSON for each in STATE/linuxisms, which every user may append to.
A program that asks whether something exists is portable and is not recorded;
one that uses it is. A file that is opened where its absence is expected is
recorded as guarded (guards.py).
"""

from __future__ import annotations

import os
import sys

from freebsd_personality.guards import is_guarded

TYPE_CHECKING = False  # see audit.py
if TYPE_CHECKING:
    from types import FrameType

STATE = os.environ.get("FREEBSD_SIM_STATE", "/.sim")
STANDARD_LIBRARY = os.path.dirname(os.__file__) + "/"
PERSONALITY = os.path.dirname(__file__) + "/"
LONGEST_WHAT = 400  # keeps a line below PIPE_BUF, so that an append is not torn

_seen: set[tuple[str, str, str]] = set()


def read_release() -> str | None:
    """Return the release of the host, such as "15.0", or None outside a simulated host."""
    try:
        with open(f"{STATE}/release", "rb") as file:
            return file.read().decode().strip()
    except OSError:
        return None


def record(kind: str, what: str) -> None:
    """Record a use of something of Linux, once for each place in this process; never raises."""
    frame = find_frame(sys._getframe(1))
    where = f"{frame.f_code.co_filename}:{frame.f_lineno}" if frame is not None else ""
    key = (kind, what, where)
    if key in _seen:
        return
    _seen.add(key)
    try:
        guarded = kind == "open" and frame is not None and is_guarded(frame, frame.f_code.co_filename)
        _append(kind, what[:LONGEST_WHAT], where, guarded)
    except (OSError, ImportError, TypeError):  # no host any more, or the interpreter is ending
        pass


def find_frame(frame: FrameType | None) -> FrameType | None:
    """Return the innermost frame outside the standard library, or the innermost one."""
    innermost = None
    while frame is not None:
        name = frame.f_code.co_filename
        if not name.startswith((PERSONALITY, "<frozen ")):
            if not _is_standard(name):
                return frame
            innermost = innermost or frame
        frame = frame.f_back
    return innermost


def _is_standard(name: str) -> bool:
    return name.startswith(STANDARD_LIBRARY) and "-packages/" not in name


def _append(kind: str, what: str, where: str, guarded: bool) -> None:
    import json
    import time

    argv = getattr(sys, "argv", None) or [""]
    line = json.dumps(
        {
            "time": time.time(),
            "pid": os.getpid(),
            "program": os.path.basename(argv[0]) or "python",
            "kind": kind,
            "what": what,
            "where": where[-1000:],
            "guarded": guarded,
        }
    )
    descriptor = os.open(f"{STATE}/linuxisms", os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
    try:
        os.write(descriptor, line.encode() + b"\n")
    finally:
        os.close(descriptor)
