"""``nova.virt.bhyve``, as nova-compute's option ``compute_driver`` names it: the driver's class, and no more."""

from __future__ import annotations

from beastack.port.nova.bhyve.driver import BhyveDriver

__all__ = ["BhyveDriver"]
