"""V3: the buses on which bhyve has disks."""

from __future__ import annotations

from beastack.port.nova.virt_type import VIRT_TYPE
from beastack.seams.registry import Seam
from beastack.seams.source import DATA

#: libvirt's bhyve driver has nvme as well (from 11.9), which nova has no name for.
BUSES = ("virtio", "sata")


def _make(original: dict[str, list[str]]) -> dict[str, list[str]]:
    return {**original, VIRT_TYPE: list(BUSES)}


SEAM = Seam(
    id="V3",
    kind=DATA,
    distribution="nova",
    module="nova.virt.libvirt.blockinfo",
    why="the table of disk buses by virtualization type has no bhyve",
    since="0.4.0",
    retired_by="nova asking libvirt's domain capabilities for the buses",
    processes=("nova-compute",),
    hosts=("freebsd",),
    hashes={"33": "78326e9a5ae22ae0", "34": "78326e9a5ae22ae0"},
    make={"SUPPORTED_DEVICE_BUSES": _make},
)
