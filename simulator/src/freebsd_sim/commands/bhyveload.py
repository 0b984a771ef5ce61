"""bhyveload(8): loads FreeBSD's kernel into a machine. Guests of simulated hosts boot by UEFI only."""

from __future__ import annotations

from freebsd_sim.call import Call, NotSimulated


def main(call: Call) -> int:
    """Refuse."""
    raise NotSimulated("bhyveload: use a boot ROM (bhyve -l bootrom)")
