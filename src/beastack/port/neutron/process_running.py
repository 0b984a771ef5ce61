"""N1: whether a process is running.

Upstream looks for its directory in /proc, which FreeBSD does not have unless
asked to (procfs(5)): every process seems gone. psutil, which the same module
asks about children and parents, answers by kill(2) with signal 0.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from beastack.seams.registry import Seam
from beastack.seams.source import FUNCTION


def _make(original: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def process_is_running(pid: Any) -> Any:
        """Tell whether a process (a number, also as text) is there, ended or not."""
        import psutil  # type: ignore[import-untyped]

        # As upstream: a pid that is empty or None is given back.
        try:
            return pid and psutil.pid_exists(int(pid))
        except (TypeError, ValueError, OverflowError):
            return False

    return process_is_running


SEAM = Seam(
    id="N1",
    kind=FUNCTION,
    distribution="neutron",
    module="neutron.agent.linux.utils",
    why="looks for processes in /proc, so that none is ever found running",
    since="0.2.0",
    retired_by="neutron asking psutil here, as it does for children and parents in the same module",
    processes=("neutron-ovs-agent", "neutron-dhcp-agent"),
    hosts=("freebsd",),
    hashes={"28": "d9631c6b5ed71bc7", "29": "d9631c6b5ed71bc7"},
    make={"process_is_running": _make},
)
