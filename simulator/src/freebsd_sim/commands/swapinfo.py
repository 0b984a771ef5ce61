"""swapinfo(8): devices for paging; the simulated host has none."""

from __future__ import annotations

from freebsd_sim.call import Call
from freebsd_sim.commands.bsd_options import parse_options

USAGE = "usage: swapinfo [-ghkm] [-M core [-N system]]"


def main(call: Call) -> int:
    """Run the command."""
    options, _ = parse_options(call, "ghkmM:N:", USAGE)
    unit = next((name for letter, name in (("g", "1G-blocks"), ("h", "Size"), ("m", "1M-blocks"), ("k", "1K-blocks"))
                 if (letter, "") in options), "512-blocks")  # fmt: skip
    call.out(f"{'Device':<15} {unit:>12} {'Used':>8} {'Avail':>8} Capacity\n")
    return 0
