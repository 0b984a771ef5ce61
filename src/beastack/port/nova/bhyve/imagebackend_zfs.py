"""Guests' disks as ZFS volumes: a disk of an image is a clone, and costs no copy.

    DATASET/base/NAME            what an image of nova's cache holds, written once; snapshot ``base`` when whole
    DATASET/UUID_disk            a guest's disk, cloned from that snapshot, or empty
    DATASET/UUID_disk@nova-resize  its state before a resize

It is the back end of ``[libvirt] images_type = default`` when ``[bhyve]
zfs_dataset`` names a dataset. Volumes are made, cloned, sized and destroyed by
the privileged daemon; their nodes belong to nova-compute, which fills them.
"""

from __future__ import annotations

import os
import re
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from nova import utils
from nova.virt import images
from nova.virt.image import model as image_model
from nova.virt.libvirt import imagebackend
from oslo_log import log as logging

from beastack.freebsd import zfs
from beastack.freebsd.errors import DatasetBusy, DatasetNotFound
from beastack.port.nova.bhyve import names, privileged
from beastack.port.nova.bhyve.options import CONF

LOG = logging.getLogger(__name__)

#: A snapshot of a disk for Glance, and the volume that is cloned from it.
MOMENT = re.compile(r"_disk[@.]extract-[0-9a-f]{12}$")

BASE = "base"
SNAPSHOT = "base"

#: Volumes have sizes in blocks; a multiple of this is one of every block size that there is.
GRAIN = 1 << 20
CHUNK = 1 << 20
_ZEROS = bytes(CHUNK)


def uses_volumes() -> bool:
    """Tell whether guests' disks are volumes."""
    return bool(CONF.bhyve.zfs_dataset) and CONF.libvirt.images_type == "default"


def round_up(size: int) -> int:
    """Return the size in bytes of the smallest volume that holds so many."""
    return -(-max(size, 1) // GRAIN) * GRAIN


def dataset_of(name: str) -> str:
    """Return the dataset of a volume."""
    return f"{CONF.bhyve.zfs_dataset}/{name}"


def is_volume(path: str) -> bool:
    """Tell whether a disk's path is that of a volume of ours."""
    return bool(CONF.bhyve.zfs_dataset) and path.startswith(zfs.node_path(CONF.bhyve.zfs_dataset) + "/")


def list_disks(instance_uuid: str) -> list[str]:
    """Return the names of an instance's volumes."""
    above = CONF.bhyve.zfs_dataset
    try:
        found = zfs.list_datasets(above, kinds=("volume",), recursive=True)
    except DatasetNotFound:
        return []
    return [
        name
        for name in (each.name.removeprefix(f"{above}/") for each in found)
        if (match := names.DISK.fullmatch(name)) and match["uuid"] == instance_uuid
    ]


def destroy_disks(instance_uuid: str, ending: str = "") -> None:
    """Remove an instance's volumes whose names have an ending."""
    # What was cloned from a disk has a longer name, and goes before it.
    for name in sorted(list_disks(instance_uuid), reverse=True):
        if name.endswith(ending):
            privileged.destroy_volume(name)


def copy_sparsely(source: str, target: str) -> None:
    """Copy a file into an empty volume, leaving out what is zero.

    :raises OSError: one of them cannot be read or written
    """
    with open(source, "rb") as reader, open(target, "r+b", buffering=0) as writer:
        position = 0
        while chunk := reader.read(CHUNK):
            if chunk != _ZEROS[: len(chunk)]:
                # A volume's node takes whole sectors only.
                whole = chunk.ljust(-(-len(chunk) // 4096) * 4096, b"\0")
                writer.seek(position)
                writer.write(whole)
            position += len(chunk)
        os.fsync(writer.fileno())


def space(dataset: str) -> dict[str, int]:
    """Return the total, free and used bytes of a dataset, as nova counts a file system's."""
    found = zfs.read_dataset(dataset)
    if found is None:
        raise FileNotFoundError(f"there is no dataset {dataset}")
    free = found.available or 0
    return {"total": free + found.used, "free": free, "used": found.used}


class Zvol(imagebackend.Image):
    """A ZFS volume."""

    # Upstream asks it before it has a kept state removed; ``clone`` refuses, and it goes on without.
    SUPPORTS_CLONE = True

    def __init__(
        self, instance: Any = None, disk_name: str | None = None, path: str | None = None, disk_info_mapping: Any = None
    ) -> None:
        if path is None:
            path = zfs.node_path(dataset_of(f"{instance.uuid}_{disk_name}"))
        self.volume = path.removeprefix(zfs.node_path(CONF.bhyve.zfs_dataset) + "/")
        # libvirt's bhyve driver takes the nodes of volumes as files, and refuses the type "block".
        super().__init__(path, "file", "raw", is_block_dev=True, disk_info_mapping=disk_info_mapping)

    def libvirt_info(self, *arguments: Any, **named: Any) -> Any:
        """Return the disk's XML, without a cache mode, which bhyve has no choice of."""
        info = super().libvirt_info(*arguments, **named)
        info.driver_cache = info.driver_io = info.driver_discard = None
        return info

    def exists(self) -> bool:
        """Tell whether there is the volume; its node may come a moment later."""
        return zfs.read_dataset(dataset_of(self.volume)) is not None

    def create_image(
        self, prepare_template: Callable[..., None], base: str, size: int | None, safe: bool = False,
        *arguments: Any, **named: Any,
    ) -> None:  # fmt: skip
        """Make the volume: a clone of what ``base`` holds, or an empty one that ``prepare_template`` fills."""
        if "image_id" not in named:
            self._generate(prepare_template, size, *arguments, **named)
            return
        if not os.path.exists(base):
            prepare_template(target=base, *arguments, **named)  # noqa: B026
        imagebackend._update_utime_ignore_eacces(base)
        self.verify_base_size(base, size)
        if self.exists():
            privileged.take_over(self.volume)
            return
        name = self._import(base)
        privileged.clone_volume(name, SNAPSHOT, self.volume)
        if size:
            self.resize_image(size)

    def _generate(self, prepare_template: Callable[..., None], size: int | None, *arguments: Any, **named: Any) -> None:
        if self.exists():
            privileged.take_over(self.volume)
            return
        if not size:
            raise ValueError(f"the disk {self.volume} has no size")
        privileged.create_volume(self.volume, round_up(size))
        try:
            prepare_template(target=self.path, *arguments, **named)  # noqa: B026
        except BaseException:
            privileged.destroy_volume(self.volume)
            raise

    def _import(self, base: str) -> str:
        """Return the volume that holds a file of the image cache, made if it is not there."""
        name = f"{BASE}/{os.path.basename(base)}"

        def fill() -> None:
            if zfs.read_dataset(f"{dataset_of(name)}@{SNAPSHOT}") is not None:
                return
            # Without the snapshot it was not finished.
            privileged.destroy_volume(name)
            privileged.create_volume(name, round_up(os.stat(base).st_size))
            copy_sparsely(base, zfs.node_path(dataset_of(name)))
            privileged.create_snapshot(name, SNAPSHOT)

        utils.synchronized(f"zvol-{os.path.basename(base)}", external=True, lock_path=self.lock_path)(fill)()
        return name

    def get_disk_size(self, name: str) -> int:
        """Return the bytes that a guest sees of a file of the image cache."""
        return os.stat(name).st_size

    def resize_image(self, size: int) -> None:
        """Make the volume larger, to ``size`` bytes; it never shrinks."""
        found = zfs.read_dataset(dataset_of(self.volume))
        if found is not None and (found.volume_size or 0) < round_up(size):
            privileged.resize_volume(self.volume, round_up(size))

    def snapshot_extract(self, target: str, out_format: str) -> None:
        """Write the volume as it is at one moment into a file."""
        with self._frozen() as path:
            images.convert_image(path, target, "raw", out_format)

    @contextmanager
    def _frozen(self) -> Iterator[str]:
        """Give the node of a copy of one moment, and remove it afterwards."""
        moment = f"extract-{uuid.uuid4().hex[:12]}"  # see MOMENT
        copy = f"{self.volume}.{moment}"
        privileged.create_snapshot(self.volume, moment)
        try:
            privileged.clone_volume(self.volume, moment, copy)
            try:
                yield zfs.node_path(dataset_of(copy))
            finally:
                privileged.destroy_volume(copy)
        finally:
            privileged.destroy_snapshot(self.volume, moment)

    def create_snap(self, name: str) -> None:
        """Keep the volume's state under a name."""
        privileged.destroy_snapshot(self.volume, name)
        privileged.create_snapshot(self.volume, name)

    def remove_snap(self, name: str, ignore_errors: bool = False) -> None:
        """Forget a kept state; one that there is not is no error."""
        privileged.destroy_snapshot(self.volume, name)

    def rollback_to_snap(self, name: str) -> None:
        """Make the volume what it was when its state was kept, size and all; without such a state it is that."""
        if zfs.read_dataset(f"{dataset_of(self.volume)}@{name}") is not None:
            privileged.roll_back(self.volume, name)

    def get_model(self, connection: Any) -> Any:
        """Return what the volume is to nova's other code."""
        return image_model.LocalBlockImage(self.path)


def remove_moments() -> None:
    """Remove the copies of one moment that a snapshot to Glance was made from when nova-compute was killed."""
    above = CONF.bhyve.zfs_dataset
    try:
        found = zfs.list_datasets(above, kinds=("volume", "snapshot"), recursive=True)
    except DatasetNotFound:
        return
    left = [name for name in (each.name.removeprefix(f"{above}/") for each in found) if MOMENT.search(name)]
    # The copies go before what they were cloned from.
    for name in sorted(left, key=lambda name: "@" in name):
        volume, _, moment = name.partition("@")
        LOG.info("A copy of a guest's disk was left: %s is removed", name)
        if moment:
            privileged.destroy_snapshot(volume, moment)
        else:
            privileged.destroy_volume(volume)


def remove_unused_bases(in_cache: Callable[[str], bool]) -> None:
    """Remove the volumes of images that nova's cache has dropped, unless disks depend on them."""
    above = dataset_of(BASE)
    try:
        found = zfs.list_datasets(above, kinds=("volume",), recursive=True)
    except DatasetNotFound:
        return
    for each in found:
        name = each.name.removeprefix(f"{above}/")
        if name != each.name and not in_cache(name):
            try:
                privileged.destroy_volume(f"{BASE}/{name}")
            except DatasetBusy as error:
                LOG.debug("The base volume %s stays: %s", name, error)
