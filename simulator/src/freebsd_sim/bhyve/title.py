"""The process title: FreeBSD's bhyve shows "bhyve: NAME" and nothing of its arguments (setproctitle(3))."""

from __future__ import annotations

import ctypes
import os
import sys

PR_SET_NAME = 15  # linux/prctl.h
PR_SET_PDEATHSIG = 1
PR_SET_MM = 35
PR_SET_MM_ARG_END = 9

_libc = ctypes.CDLL(None, use_errno=True)


def hide_arguments() -> None:
    """Make argument 0, which must be the title, all that other processes see of the arguments."""
    start = ctypes.c_void_p.in_dll(_libc, "program_invocation_name").value
    title = os.fsencode(sys.orig_argv[0])
    if start is None or ctypes.string_at(start) != title:
        return
    after = start + len(title) + 1
    rest = sum(len(os.fsencode(word)) + 1 for word in sys.orig_argv[1:])
    ctypes.memset(after, 0, rest)
    _libc.prctl(PR_SET_MM, ctypes.c_ulong(PR_SET_MM_ARG_END), ctypes.c_ulong(after), 0, 0)
    _libc.prctl(PR_SET_NAME, b"bhyve", 0, 0, 0)


def die_with_parent(signal_number: int) -> None:
    """Have this process killed when its parent ends; call it in a fresh child."""
    _libc.prctl(PR_SET_PDEATHSIG, ctypes.c_ulong(signal_number), 0, 0, 0)
