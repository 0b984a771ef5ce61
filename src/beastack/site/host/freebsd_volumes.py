"""The ZFS dataset of instances' disks, when ``compute.zfs_dataset`` names one: made, and removed, as a whole."""

from __future__ import annotations

import re

from beastack.freebsd import zfs
from beastack.freebsd.command import CommandError
from beastack.freebsd.errors import DatasetNotFound
from beastack.site import records
from beastack.site.configuration import Site
from beastack.site.description import Description
from beastack.site.host import HostError
from beastack.site.layout import Layout
from beastack.site.records import Record

#: The kind of its record.
KIND = "dataset"

_UUID = r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
#: An instance's root disk below the dataset, and the directory of its files; also while it is resized.
_VOLUME = re.compile(rf".*/({_UUID})_disk")
_DIRECTORY = re.compile(rf"({_UUID})(?:_resize)?")


def check_disks(layout: Layout, description: Description) -> None:
    """Check that instances have their disks where they are looked for: elsewhere they would be given new ones.

    :raises HostError: ``compute.zfs_dataset`` has changed since instances got their disks
    """
    wanted = description.compute.zfs_dataset
    made = [record.name for record in records.read(layout.records) if record.kind == KIND]
    for place in (None, *made):
        owners = _owners_of_files(layout) if place is None else _owners_of_volumes(place)
        if owners and place != wanted:
            raise HostError(
                f"compute.zfs_dataset cannot {'be left out' if wanted is None else f'become {wanted}'} while "
                f"{'an instance has its' if len(owners) == 1 else f'{len(owners)} instances have their'} disks "
                f"{'in files' if place is None else f'below {place}'} ({owners[0]}): undo that in site.toml, and "
                "first shelve or delete them (openstack server shelve)"
            )


def _owners_of_files(layout: Layout) -> list[str]:
    """Return the instances that have a root disk in a file."""
    found = (layout.data("nova") / "instances").glob("*/disk")
    return sorted({match[1] for disk in found if (match := _DIRECTORY.fullmatch(disk.parent.name))})


def _owners_of_volumes(dataset: str) -> list[str]:
    """Return the instances that have a root disk below a dataset."""
    try:
        found = zfs.list_datasets(dataset, kinds=("volume",), recursive=True)
    except DatasetNotFound:
        return []
    return sorted(match[1] for volume in found if (match := _VOLUME.fullmatch(volume.name)))


def is_prepared(site: Site) -> bool:
    """Return whether there is the dataset, if the site is to have one."""
    name = site.description.compute.zfs_dataset
    return name is None or zfs.read_dataset(name) is not None


def prepare(site: Site) -> None:
    """Make the dataset; recorded for ``destroy``, which removes all that is in it.

    :raises HostError: it was there and is not the site's, or it cannot be made
    """
    name = site.description.compute.zfs_dataset
    if name is None:
        return
    record = Record(KIND, name)
    try:
        there = zfs.read_dataset(name) is not None
        if there and record not in records.read(site.layout.records):
            raise HostError(f"the dataset {name} is there already: let compute.zfs_dataset name one that up can make")
        if not there:
            records.add(site.layout.records, record)
            zfs.create_filesystem(name, properties={"mountpoint": "none"})
    except CommandError as error:
        raise HostError(f"the dataset {name} (compute.zfs_dataset) cannot be made: {error}") from error


def remove(name: str) -> None:
    """Remove a dataset that ``prepare`` made, and all that is in it; one that is gone already is no error.

    :raises CommandError: it is in use, or zfs(8) refused
    """
    try:
        # Disks are clones of snapshots in there.
        zfs.destroy(name, clones=True)
    except DatasetNotFound:
        return
