"""V4: the bus of a disk whose image does not name one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from beastack.port.nova.virt_type import VIRT_TYPE
from beastack.seams.registry import Seam
from beastack.seams.source import FUNCTION

#: bhyve has no floppy disks, and no disks of others to pass through.
BUS_OF_DEVICE = {"disk": "virtio", "cdrom": "sata"}


def _make(original: Callable[..., str | None]) -> Callable[..., str | None]:
    def get_disk_bus_for_device_type(
        instance: Any, virt_type: str, image_meta: Any, device_type: str = "disk"
    ) -> str | None:
        """Return the bus of a device, None for a device that there is not.

        :raises UnsupportedHardware: the image wants a bus that there is not
        """
        from nova import exception

        try:
            return original(instance, virt_type, image_meta, device_type)
        except exception.UnsupportedVirtType:
            # What the original says when the image does not name a bus.
            if virt_type != VIRT_TYPE:
                raise
            return BUS_OF_DEVICE.get(device_type)

    return get_disk_bus_for_device_type


SEAM = Seam(
    id="V4",
    kind=FUNCTION,
    distribution="nova",
    module="nova.virt.libvirt.blockinfo",
    why="the choice of a disk bus is by virtualization type, and has no branch for bhyve",
    since="0.4.0",
    retired_by="the default bus being a method of the driver",
    processes=("nova-compute",),
    hosts=("freebsd",),
    hashes={"33": "0759ac6537510830", "34": "0759ac6537510830"},
    make={"get_disk_bus_for_device_type": _make},
)
