"""Guests' configuration drives: a disk of the kind that the guest boots from."""

from __future__ import annotations

from typing import Any

from nova.virt.libvirt import blockinfo

#: nova's names of it; the second while a guest is rescued.
NAMES = ("disk.config", "disk.config.rescue")


class ConfigDriveMixin:
    """Where a guest finds its configuration drive."""

    def _get_guest_disk_config(
        self, instance: Any, name: str, disk_mapping: dict[str, Any], *arguments: Any, **named: Any
    ) -> Any:
        """Make the drive a virtio disk for a guest that has its other disks there.

        bhyve has CD-ROMs behind AHCI only, and kernels that are built for
        clouds know virtio alone (Debian's). What a drive is found by is its
        label, which the disk has as well.
        """
        if name in NAMES and disk_mapping["root"]["bus"] == "virtio":
            others = {key: info for key, info in disk_mapping.items() if key != name}
            disk_mapping[name] = blockinfo.get_next_disk_info(others, "virtio")
        return super()._get_guest_disk_config(instance, name, disk_mapping, *arguments, **named)  # type: ignore[misc]
