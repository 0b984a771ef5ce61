"""pkill(1): the same program as pgrep(1)."""

from __future__ import annotations

from freebsd_sim.call import Call
from freebsd_sim.commands import pgrep


def main(call: Call) -> int:
    """Run the command."""
    return pgrep.main(call)
