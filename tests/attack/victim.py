"""Privileged daemons and services to attack: no oslo.privsep needed."""

from __future__ import annotations

import ctypes
import json
import os
import resource
import socket
import sys
import time


def serve() -> None:
    """Answer each line on the service's connection: with a report, or by obeying it."""
    connection = socket.socket(fileno=3)
    with connection.makefile("rw") as stream:
        for line in stream:
            if line.startswith("sleep"):
                time.sleep(60)
            stream.write(json.dumps(report()) + "\n")
            stream.flush()


def crash() -> None:
    """End at once."""
    sys.exit("no such luck")


def report() -> dict[str, object]:
    """Return what this process is."""
    names = ("RLIMIT_CORE", "RLIMIT_NOFILE", "RLIMIT_NPROC")
    return {
        "pid": os.getpid(),
        "argv": sys.argv,
        "ids": [*os.getresuid(), *os.getresgid()],
        "environment": dict(os.environ),
        "directory": os.getcwd(),
        "descriptors": [number for number in range(256) if is_open(number)],
        "inherited": [number for number in range(3, 256) if is_open(number) and os.get_inheritable(number)],
        "no new privileges": new_privileges_refused(),
        "limits": {name: resource.getrlimit(getattr(resource, name)) for name in names},
    }


def is_open(number: int) -> bool:
    """Return whether a descriptor is open."""
    try:
        os.fstat(number)
    except OSError:
        return False
    return True


def new_privileges_refused() -> bool:
    """Return what the kernel says of this process (prctl(2), procctl(2))."""
    libc = ctypes.CDLL(None, use_errno=True)
    if sys.platform == "linux":
        return bool(libc.prctl(39, 0, 0, 0, 0) == 1)
    status = ctypes.c_int(0)
    assert libc.procctl(0, ctypes.c_int64(0), 20, ctypes.byref(status)) == 0
    return status.value == 1
