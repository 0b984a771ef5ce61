"""V2: LibvirtDriver's test that it runs on Linux.

The constructor refuses any other system, and looks at ``sys.platform`` for
nothing else; nor does the rest of its module use ``sys``. The module is given
a ``sys`` that says Linux to it, and everything else as it is.
"""

from __future__ import annotations

import sys
from typing import Any

from beastack.seams.registry import Seam
from beastack.seams.source import DATA


class LinuxSys:
    """The module ``sys``, but for the name of the platform."""

    platform = "linux"

    def __init__(self, original: Any) -> None:
        self._original = original

    def __getattr__(self, name: str) -> Any:
        return getattr(self._original, name)


def _make(original: Any) -> Any:
    return LinuxSys(original) if sys.platform.startswith("freebsd") else original


SEAM = Seam(
    id="V2",
    kind=DATA,
    distribution="nova",
    module="nova.virt.libvirt.driver",
    why="the constructor of LibvirtDriver, which the bhyve driver is a subclass of, refuses any system but Linux",
    since="0.4.0",
    retired_by="nova testing for what it needs of Linux where it needs it",
    processes=("nova-compute",),
    hosts=("freebsd",),
    hashes={"33": "6289b4f9d5a165fa", "34": "6289b4f9d5a165fa"},
    make={"sys": _make},
)
