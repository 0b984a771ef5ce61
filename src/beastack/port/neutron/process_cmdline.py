"""N2: the command line of a process, as a list of words.

Upstream reads it from /proc and tells by it whether a child is still the
program it started; without /proc the open vSwitch agent waits a minute for
ovsdb-client and ends. psutil asks the kernel (the sysctl kern.proc.args).
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from beastack.seams.registry import Seam
from beastack.seams.source import FUNCTION


def _make(original: Any) -> Callable[[Any], list[str]]:
    def get_cmdline_from_pid(pid: Any) -> list[str]:
        """Return the words of a process's command line; none if it is not there."""
        if sys.platform == "linux":
            words: list[str] = original(pid)
            return words
        # As upstream: its own function of the same module is asked first.
        if not original.__globals__["process_is_running"](pid):
            return []
        import psutil  # type: ignore[import-untyped]

        try:
            words = psutil.Process(int(pid)).cmdline()
        except (psutil.Error, OSError, TypeError, ValueError):
            return []
        # As upstream: a title that a process gave itself is one text.
        return words[0].split(" ") if len(words) == 1 else words

    return get_cmdline_from_pid


SEAM = Seam(
    id="N2",
    kind=FUNCTION,
    distribution="neutron",
    module="neutron.agent.linux.utils",
    why="reads command lines from /proc, so that no child is recognized: "
    "the open vSwitch agent gives up on ovsdb-client after a minute",
    since="0.2.0",
    retired_by="neutron asking psutil here, as it does for children and parents in the same module",
    processes=("neutron-ovs-agent", "neutron-dhcp-agent"),
    hosts=("freebsd",),
    hashes={"28": "4804160586f9ddde", "29": "4804160586f9ddde"},
    make={"get_cmdline_from_pid": _make},
)
