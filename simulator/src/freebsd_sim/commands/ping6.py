"""ping6(8): ping with -6."""

from __future__ import annotations

from freebsd_sim.call import Call
from freebsd_sim.commands import ping


def main(call: Call) -> int:
    """Run ping6."""
    return ping.main(call)
