"""C2: oslo.privsep's daemon uses fcntl, grp and pwd, and imports them on Linux only.

All three are in Python's standard library on every Unix. Without them, a
daemon that is to run as a user or a group, and every socket that is closed on
exec, end in a NameError.
"""

from __future__ import annotations

import fcntl
import grp
import pwd
from collections.abc import Callable
from types import ModuleType
from typing import Any

from beastack.seams.registry import Seam
from beastack.seams.source import DATA


def _module(wanted: ModuleType) -> Callable[[Any], Any]:
    # What is bound already stays: it is the same module, or something in its place on purpose.
    return lambda original: wanted if original is None else original


SEAM = Seam(
    id="C2",
    kind=DATA,
    distribution="oslo.privsep",
    module="oslo_privsep.daemon",
    why="the daemon uses three modules of the standard library that it imports on Linux only",
    since="0.2.0",
    retired_by="oslo.privsep importing them wherever they are",
    processes=("privileged daemons",),
    hosts=("freebsd",),
    hashes={
        "3.10": "b13a11ef224c3231 b13a11ef224c3231 b13a11ef224c3231",
        "3.12": "b13a11ef224c3231 b13a11ef224c3231 b13a11ef224c3231",
    },
    make={"fcntl": _module(fcntl), "grp": _module(grp), "pwd": _module(pwd)},
)
