"""Who this interpreter says it runs on: sys.platform, uname, and the names of os, signal and time."""

from __future__ import annotations

import os
import posix
import sys
import time

from . import names

TYPE_CHECKING = False  # typing costs more than all the rest of the start
if TYPE_CHECKING:
    from typing import Any

MACHINE = "amd64"

pidfd_open: Any = posix.__dict__.get("pidfd_open")  # for kqueue's PROC filter, when it is no longer in os


def take_on(release: str) -> None:
    """Make sys, os, signal and time those of Python on the FreeBSD release, such as "15.0"."""
    sys.platform = "freebsd" + release.partition(".")[0]
    _replace_uname(release)
    names.change_names(posix)
    names.change_names(time)
    vars(time)["CLOCK_UPTIME"] = time.CLOCK_MONOTONIC
    os.getloadavg = get_load  # Linux's reads /proc
    for name in ("CS_GNU_LIBC_VERSION", "CS_GNU_LIBPTHREAD_VERSION"):
        os.confstr_names.pop(name, None)


def get_load() -> tuple[float, float, float]:
    """Return average recent system load information."""
    from .kernel_call import call_kernel

    try:
        one, five, fifteen = call_kernel("sysctl.read", name="vm.loadavg")[0]["value"]
    except (OSError, ValueError, TypeError):
        raise OSError("Load averages are unobtainable") from None
    return float(one), float(five), float(fifteen)


def _replace_uname(release: str) -> None:
    real = posix.uname
    text = f"{release}-RELEASE"
    version = f"FreeBSD {text} GENERIC"

    def uname() -> os.uname_result:
        """Return an object identifying the current operating system."""
        return os.uname_result(("FreeBSD", real().nodename, text, version, MACHINE))

    posix.uname = os.uname = uname
