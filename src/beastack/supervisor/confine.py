"""What a process gives up for good before it serves others: new privileges, tracing, and more than its share.

FreeBSD has no capabilities: a privileged daemon there is held by this, by
its closed list of entry points and by what it does not have open. On Linux
the daemon drops capabilities as well, in upstream's own code.
"""

from __future__ import annotations

import ctypes
import os
import resource
import sys

_PR_SET_NO_NEW_PRIVS = 38  # linux/prctl.h
_P_PID = 0  # FreeBSD sys/wait.h
_PROC_TRACE_CTL = 7  # FreeBSD sys/procctl.h
_PROC_TRACE_CTL_DISABLE = 2
_PROC_NO_NEW_PRIVS_CTL = 19
_PROC_NO_NEW_PRIVS_ENABLE = 1

#: Soft and hard limits of a privileged daemon and of the programs that it runs (dnsmasq and haproxy among them,
#: which raise their soft limit of descriptors themselves). Memory in bytes.
LIMITS = {
    resource.RLIMIT_CORE: (0, 0),
    resource.RLIMIT_NOFILE: (1024, 8192),
    resource.RLIMIT_NPROC: (2048, 2048),
    # Linux counts private memory here; FreeBSD does not, and counts every mapping by the other.
    resource.RLIMIT_DATA if sys.platform == "linux" else resource.RLIMIT_AS: (4 << 30, 4 << 30),
}


def limit_resources() -> None:
    """Lower the resource limits to ``LIMITS``; what is lower already stays.

    :raises OSError: the kernel refused
    """
    for which, (soft, hard) in LIMITS.items():
        known_soft, known_hard = resource.getrlimit(which)
        hard = _lower(hard, known_hard)
        resource.setrlimit(which, (_lower(_lower(soft, known_soft), hard), hard))


def _lower(one: int, other: int) -> int:
    limits = [limit for limit in (one, other) if limit != resource.RLIM_INFINITY]
    return min(limits, default=resource.RLIM_INFINITY)


def refuse_new_privileges() -> None:
    """Have the kernel ignore set-id bits and file capabilities in whatever this process executes, for ever.

    On Linux a program of root's then keeps the capabilities that this
    process has left, instead of getting all of them back.

    Source: prctl(2) PR_SET_NO_NEW_PRIVS; FreeBSD procctl(2) PROC_NO_NEW_PRIVS_CTL (14.0 and later).

    :raises OSError: the kernel refused
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if sys.platform == "linux":
        failed = libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    else:
        failed = _control(libc, _PROC_NO_NEW_PRIVS_CTL, _PROC_NO_NEW_PRIVS_ENABLE)
    if failed:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), "giving up new privileges")


def refuse_tracing() -> None:
    """Keep debuggers out, and core files from being written, until a program is executed (FreeBSD only).

    Linux lets nobody trace a process with more privileges than he has.

    Source: FreeBSD procctl(2) PROC_TRACE_CTL.

    :raises OSError: the kernel refused, for example because this process is being traced
    """
    if sys.platform == "linux":
        return
    if _control(ctypes.CDLL(None, use_errno=True), _PROC_TRACE_CTL, _PROC_TRACE_CTL_DISABLE):
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), "refusing to be traced")


def _control(libc: ctypes.CDLL, command: int, value: int) -> int:
    """Call procctl(2) for this process with an int as its data."""
    data = ctypes.c_int(value)
    return int(libc.procctl(_P_PID, ctypes.c_int64(0), command, ctypes.byref(data)))
