"""The ZFS dataset of instances' disks, when ``compute.zfs_dataset`` names one: made, and removed, as a whole."""

from __future__ import annotations

from beastack.freebsd import zfs
from beastack.freebsd.command import CommandError
from beastack.freebsd.errors import DatasetNotFound
from beastack.site import records
from beastack.site.configuration import Site
from beastack.site.host import HostError
from beastack.site.records import Record

#: The kind of its record.
KIND = "dataset"


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
