"""When the host booted, and how long ago that is."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass

from beastack.freebsd import sysctl

_BOOT_TIME = re.compile(r"\{ sec = (\d+), usec = (\d+) \}")


@dataclass(frozen=True)
class Uptime:
    """``boot_time`` in seconds since 1970, ``seconds`` since then."""

    boot_time: float
    seconds: float


def parse_boot_time(text: str) -> float:
    """Read ``kern.boottime`` as sysctl(8) prints it: ``{ sec = N, usec = N } DATE``.

    :raises ValueError: it has another form
    """
    match = _BOOT_TIME.search(text)
    if match is None:
        raise ValueError(f"kern.boottime has an unknown form: {text!r}")
    return int(match[1]) + int(match[2]) / 1_000_000


def read_uptime(*, clock: Callable[[], float] = time.time) -> Uptime:
    """Read the boot time and count from it.

    The kernel moves the boot time when the clock is stepped, so the
    difference stays right across that.

    :param clock: the time of day in seconds since 1970
    :raises SysctlNotFound: as ``sysctl.read_values``
    """
    boot_time = parse_boot_time(sysctl.read_text("kern.boottime"))
    return Uptime(boot_time, max(0.0, clock() - boot_time))
