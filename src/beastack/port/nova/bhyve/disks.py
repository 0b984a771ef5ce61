"""Guests' disks: which back ends there are, how much room, and what is made and removed beside files."""

from __future__ import annotations

import os
import secrets
import struct
from typing import Any

import nova.conf
from nova import exception
from nova.virt.libvirt import utils as libvirt_utils
from oslo_utils import units

from beastack.freebsd import command
from beastack.port.nova.bhyve import imagebackend_zfs, privileged
from beastack.port.nova.bhyve.imagebackend import RawFile
from beastack.port.nova.bhyve.imagebackend_zfs import Zvol, uses_volumes

CONF = nova.conf.CONF

#: What nova ends the names of disks with that a guest has only while it is rescued.
RESCUE = ".rescue"

#: nova's word for the file system of ephemeral disks.
FAT = "vfat"

PAGE = 4096  # bytes; of the guest (amd64)


def choose_backends() -> dict[str, Any]:
    """Return the back end of each name that nova may ask for one by."""
    chosen = Zvol if CONF.bhyve.zfs_dataset else RawFile
    # Upstream takes every disk below /dev for a volume of Linux's LVM.
    return {"raw": RawFile, "flat": RawFile, "default": chosen, "lvm": chosen}


def check_configuration() -> None:
    """Refuse options with which guests' disks would not be raw.

    :raises InvalidConfiguration: one of them is set so
    """
    if not CONF.force_raw_images:
        raise exception.InvalidConfiguration("[DEFAULT] force_raw_images must be true: bhyve reads raw disks only")
    if CONF.libvirt.images_type not in ("raw", "flat", "default"):
        raise exception.InvalidConfiguration(
            f"[libvirt] images_type = {CONF.libvirt.images_type}: guests of bhyve have their disks in files (raw), "
            "or in ZFS volumes (default, with [bhyve] zfs_dataset)"
        )


def make_swap_header(size: int) -> bytes:
    """Return the first page of a swap area of Linux of so many bytes (include/linux/swap.h)."""
    pages = size // PAGE
    header = bytes(1024) + struct.pack("<III16s16s", 1, pages - 1, 0, secrets.token_bytes(16), b"")
    return header.ljust(PAGE - 10, b"\0") + b"SWAPSPACE2"


class DiskMixin:
    """Disks."""

    image_backend: Any

    @staticmethod
    def _get_local_gb_info() -> dict[str, float]:
        if uses_volumes():
            room = imagebackend_zfs.space(CONF.bhyve.zfs_dataset)
        else:
            room = libvirt_utils.get_fs_info(CONF.instances_path)
        return {key: value / units.Gi for key, value in room.items()}

    @staticmethod
    def _create_swap(target: str, swap_mb: int, context: Any = None) -> None:
        """Make a swap disk: FreeBSD has no mkswap(8)."""
        size = swap_mb * units.Mi
        # A volume is there, with its size; a file is not.
        descriptor = os.open(target, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        with open(descriptor, "r+b", buffering=0) as stream:
            if not target.startswith("/dev/"):
                stream.truncate(size)
            stream.write(make_swap_header(size))

    @staticmethod
    def _create_ephemeral(
        target: str, ephemeral_size: int, fs_label: str, os_type: str | None, is_block_dev: bool = False,
        *arguments: Any, **named: Any,
    ) -> None:  # fmt: skip
        """Make a disk with a FAT file system: FreeBSD has no mkfs(8)."""
        if not is_block_dev:
            libvirt_utils.create_image(target, "raw", f"{ephemeral_size}G", safe=True)
        command.run(["newfs_msdos", "-L", fs_label, target])

    def is_supported_fs_format(self, fs_type: str) -> bool:
        """Tell whether an ephemeral disk can be had with a file system."""
        return fs_type == FAT

    def _get_instance_disk_info_from_config(self, guest_config: Any, block_device_info: Any) -> list[dict[str, Any]]:
        # What is asked for is files: to be copied at a resize, to be made again when they are lost.
        guest_config.devices = [
            device for device in guest_config.devices
            if not imagebackend_zfs.is_volume(getattr(device, "source_path", None) or "")
        ]  # fmt: skip
        found: list[dict[str, Any]] = super()._get_instance_disk_info_from_config(guest_config, block_device_info)  # type: ignore[misc]
        return found

    def _cleanup(self, context: Any, instance: Any, network_info: Any, *arguments: Any, **named: Any) -> None:
        super()._cleanup(context, instance, network_info, *arguments, **named)  # type: ignore[misc]
        if named.get("cleanup_instance_disks"):
            if CONF.bhyve.zfs_dataset:
                imagebackend_zfs.destroy_disks(instance.uuid)
            self._remove_consoles(instance)  # type: ignore[attr-defined]
            privileged.forget_guest(instance.name)

    def unrescue(self, context: Any, instance: Any) -> None:
        """Start a guest from its own disks again, and remove those it was rescued with: upstream removes files."""
        super().unrescue(context, instance)  # type: ignore[misc]
        if uses_volumes():
            imagebackend_zfs.destroy_disks(instance.uuid, RESCUE)

    def migrate_disk_and_power_off(
        self, context: Any, instance: Any, dest: str, *arguments: Any, **named: Any
    ) -> Any:  # fmt: skip
        """Have an instance's disks copied to where it is to be.

        :raises InstanceFaultRollback: they are volumes, which stay on their host
        """
        if uses_volumes() and dest != self.get_host_ip_addr():  # type: ignore[attr-defined]
            raise exception.InstanceFaultRollback(
                exception.MigrationPreCheckError(reason="disks that are ZFS volumes cannot go to another host")
            )
        return super().migrate_disk_and_power_off(context, instance, dest, *arguments, **named)  # type: ignore[misc]

    def manage_image_cache(self, context: Any, all_instances: Any) -> None:
        """Let upstream drop what no instance uses, and the volumes of that with it."""
        super().manage_image_cache(context, all_instances)  # type: ignore[misc]
        if uses_volumes():
            cache = os.path.join(CONF.instances_path, CONF.image_cache.subdirectory_name)
            imagebackend_zfs.remove_unused_bases(lambda name: os.path.exists(os.path.join(cache, name)))
