"""ZFS: datasets, volumes, snapshots and clones, their properties, and pools.

Sizes are exact bytes both ways (``-p``), never the rounded ones for people.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from beastack.freebsd import command
from beastack.freebsd.command import CommandError, Result
from beastack.freebsd.errors import (
    DatasetBusy,
    DatasetExists,
    DatasetNotFound,
    InvalidArgument,
    OutOfSpace,
    PermissionDenied,
    translate,
)

VOLUME_DIRECTORY = "/dev/zvol"
# Destroying and promoting wait for transactions, which a busy pool makes long.
TIMEOUT = 300.0

_COLUMNS = "name,type,used,available,referenced,origin,volsize,mountpoint"
_POOL_COLUMNS = "name,size,allocated,free,health"

# What zfs(8) and zpool(8) print when they refuse (libzfs's error texts).
_REFUSALS: tuple[tuple[str, type[CommandError]], ...] = (
    ("dataset already exists", DatasetExists),
    ("dataset does not exist", DatasetNotFound),
    ("parent does not exist", DatasetNotFound),
    ("no such pool", DatasetNotFound),
    ("could not find any snapshots to destroy", DatasetNotFound),
    ("has dependent clones", DatasetBusy),
    ("has children", DatasetBusy),
    ("snapshot is cloned", DatasetBusy),
    ("dataset is busy", DatasetBusy),
    ("out of space", OutOfSpace),
    ("size is greater than available space", OutOfSpace),
    ("permission denied", PermissionDenied),
    ("Permission denied", PermissionDenied),
    ("Operation not permitted", PermissionDenied),
    ("invalid property", InvalidArgument),
    ("invalid character", InvalidArgument),
    ("bad numeric value", InvalidArgument),
    ("must be a multiple of", InvalidArgument),
    ("must be power of 2", InvalidArgument),
    ("is readonly", InvalidArgument),
    ("not a cloned filesystem", InvalidArgument),
    ("operation does not apply to", InvalidArgument),
)


@dataclass(frozen=True)
class Dataset:
    """A file system, volume or snapshot (``kind``); sizes in bytes.

    ``available`` is None for snapshots, ``volume_size`` for all but volumes
    and their snapshots, ``origin`` (a snapshot) for all but clones.
    """

    name: str
    kind: str
    used: int
    available: int | None
    referenced: int
    origin: str | None
    volume_size: int | None
    mountpoint: str | None


@dataclass(frozen=True)
class Property:
    """A property's value, and where it comes from: local, default, inherited from X, or ``-``."""

    value: str
    source: str


@dataclass(frozen=True)
class Pool:
    """One pool; sizes in bytes, ``health`` as zpool(8) names it (ONLINE, DEGRADED, ...)."""

    name: str
    size: int
    allocated: int
    free: int
    health: str


def create_filesystem(name: str, *, properties: Mapping[str, str] | None = None, parents: bool = False) -> None:
    """Make a file system.

    :param parents: make missing parents, and accept one that is there
    :raises DatasetExists, DatasetNotFound: it is there; its parent is not
    :raises InvalidArgument, OutOfSpace, PermissionDenied: refused for that
    """
    _zfs("create", *(["-p"] if parents else []), *_options(properties), _checked(name))


def create_volume(
    name: str,
    size: int,
    *,
    sparse: bool = False,
    properties: Mapping[str, str] | None = None,
    parents: bool = False,
) -> None:
    """Make a volume; its node appears a moment later (``wait_for_node``).

    :param size: bytes, a multiple of the block size
    :param sparse: reserve no space for it
    :param properties: ``volmode=dev`` keeps the host from looking for partitions in it
    :param parents: make missing parents, and accept one that is there
    :raises DatasetExists, DatasetNotFound: it is there; its parent is not
    :raises InvalidArgument, OutOfSpace, PermissionDenied: refused for that
    """
    flags = [*(["-p"] if parents else []), *(["-s"] if sparse else [])]
    _zfs("create", *flags, "-V", str(size), *_options(properties), _checked(name))


def create_snapshot(name: str, snapshot: str, *, recursive: bool = False) -> None:
    """Make ``name@snapshot``, at one moment for all children if recursive.

    :raises DatasetExists, DatasetNotFound: it is there; the dataset is not
    :raises OutOfSpace, PermissionDenied: refused for that
    """
    _zfs("snapshot", *(["-r"] if recursive else []), f"{_checked(name)}@{snapshot}")


def clone(snapshot: str, name: str, *, properties: Mapping[str, str] | None = None, parents: bool = False) -> None:
    """Make a dataset that starts as a snapshot (``DATASET@SNAPSHOT``) and depends on it.

    :raises DatasetExists, DatasetNotFound: it is there; the snapshot or its parent is not
    :raises InvalidArgument, PermissionDenied: refused for that
    """
    _zfs("clone", *(["-p"] if parents else []), *_options(properties), _checked(snapshot), _checked(name))


def destroy(name: str, *, recursive: bool = False, clones: bool = False, deferred: bool = False) -> None:
    """Remove a dataset or snapshot.

    :param recursive: with all children and snapshots
    :param clones: with all clones of them too
    :param deferred: snapshots only: remove it once nothing depends on it
    :raises DatasetNotFound: it is not there
    :raises DatasetBusy: it is open or mounted, or has children, clones or holds
    :raises PermissionDenied: not allowed
    """
    flags = [*(["-r"] if recursive else []), *(["-R"] if clones else []), *(["-d"] if deferred else [])]
    _zfs("destroy", *flags, _checked(name))


def promote(name: str) -> None:
    """Make a clone own the snapshot it came from, so that the original can go.

    :raises DatasetNotFound: it is not there
    :raises InvalidArgument: it is no clone
    :raises PermissionDenied: not allowed
    """
    _zfs("promote", _checked(name))


def rename(old: str, new: str, *, parents: bool = False) -> None:
    """Give a dataset another name, and its node another path.

    :raises DatasetExists, DatasetNotFound: the new name is taken; the old one or the new parent is not there
    :raises DatasetBusy, PermissionDenied: refused for that
    """
    _zfs("rename", *(["-p"] if parents else []), _checked(old), _checked(new))


def write_properties(name: str, properties: Mapping[str, str | int]) -> None:
    """Set properties together (``volsize``: bytes; a running guest does not see it).

    :raises DatasetNotFound: it is not there
    :raises InvalidArgument, OutOfSpace, PermissionDenied: refused for that
    """
    _zfs("set", *(f"{key}={value}" for key, value in properties.items()), _checked(name))


def parse_properties(output: str) -> dict[str, Property]:
    """Read ``zfs get -Hp -o property,value,source``: three columns between tabs."""
    rows = (line.split("\t") for line in output.splitlines())
    return {row[0]: Property(row[1], row[2]) for row in rows if len(row) == 3}


def read_properties(name: str, properties: Sequence[str]) -> dict[str, Property]:
    """Return properties of one dataset; sizes are bytes, absent values ``-``.

    :raises DatasetNotFound: it is not there
    :raises InvalidArgument: there is no such property
    """
    return parse_properties(
        _zfs("get", "-Hp", "-o", "property,value,source", ",".join(properties), _checked(name)).stdout
    )


def parse_datasets(output: str) -> tuple[Dataset, ...]:
    """Read ``zfs list -Hp`` with this module's columns between tabs; ``-`` is no value.

    :raises ValueError: a line has another form
    """
    datasets = []
    for line in output.splitlines():
        columns = line.split("\t")
        if len(columns) != 8:
            raise ValueError(f"zfs(8) printed a line of an unknown form: {line!r}")
        name, kind, used, available, referenced, origin, volsize, mountpoint = columns
        datasets.append(
            Dataset(
                name=name,
                kind=kind,
                used=int(used),
                available=_number(available),
                referenced=int(referenced),
                origin=_text(origin),
                volume_size=_number(volsize),
                mountpoint=_text(mountpoint),
            )
        )
    return tuple(datasets)


def list_datasets(
    name: str | None = None,
    *,
    kinds: Sequence[str] = ("filesystem", "volume"),
    recursive: bool = False,
) -> tuple[Dataset, ...]:
    """Return one dataset, it and all below it, or all there are.

    :param kinds: of filesystem, volume, snapshot
    :raises DatasetNotFound: it is not there
    """
    where = [] if name is None else [*(["-r"] if recursive else []), _checked(name)]
    return parse_datasets(_zfs("list", "-Hp", "-o", _COLUMNS, "-t", ",".join(kinds), *where).stdout)


def read_dataset(name: str) -> Dataset | None:
    """Return one dataset or snapshot, or None if it is not there."""
    kind = ("snapshot",) if "@" in name else ("filesystem", "volume")
    try:
        found = list_datasets(name, kinds=kind)
    except DatasetNotFound:
        return None
    return next((dataset for dataset in found if dataset.name == name), None)


def node_path(name: str) -> str:
    """Return the path of a volume's device node."""
    return f"{VOLUME_DIRECTORY}/{_checked(name)}"


def wait_for_node(
    name: str,
    *,
    limit: float = 30.0,
    interval: float = 0.05,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
    exists: Callable[[str], bool] = os.path.exists,
) -> str:
    """Wait until a new volume's node is there, and return its path.

    The kernel makes it after create, clone and rename have returned; how long
    after is unconfirmed.

    :param limit: seconds to wait
    :param interval: seconds between two looks
    :raises TimeoutError: it was not there at the limit
    """
    path = node_path(name)
    deadline = clock() + limit
    while not exists(path):
        left = deadline - clock()
        if left <= 0:
            raise TimeoutError(f"{path} did not appear within {limit:g} s (volmode none, or no such volume?)")
        sleep(min(interval, left))
    return path


def parse_pools(output: str) -> tuple[Pool, ...]:
    """Read ``zpool list -Hp`` with this module's columns between tabs."""
    rows = (line.split("\t") for line in output.splitlines())
    return tuple(
        Pool(r[0], _number(r[1]) or 0, _number(r[2]) or 0, _number(r[3]) or 0, r[4]) for r in rows if len(r) == 5
    )


def list_pools() -> tuple[Pool, ...]:
    """Return all imported pools.

    :raises CommandError: ZFS is not there
    """
    return parse_pools(_run(["zpool", "list", "-Hp", "-o", _POOL_COLUMNS]).stdout)


def read_pool(name: str) -> Pool | None:
    """Return one pool, or None if it is not imported."""
    try:
        found = parse_pools(_run(["zpool", "list", "-Hp", "-o", _POOL_COLUMNS, _checked(name)]).stdout)
    except DatasetNotFound:
        return None
    return found[0] if found else None


def _number(text: str) -> int | None:
    # An unavailable pool's sizes are "-" too.
    return None if text in ("-", "none", "") else int(text)


def _text(text: str) -> str | None:
    return None if text in ("-", "") else text


def _options(properties: Mapping[str, str] | None) -> list[str]:
    return [word for key, value in (properties or {}).items() for word in ("-o", f"{key}={value}")]


def _checked(name: str) -> str:
    if not name or name.startswith(("-", "/")):
        raise ValueError(f"{name!r} is no name of a dataset")
    return name


def _zfs(verb: str, *words: str) -> Result:
    return _run(["zfs", verb, *words])


def _run(argv: Sequence[str]) -> Result:
    try:
        return command.run(argv, timeout=TIMEOUT)
    except CommandError as error:
        if error.status is None:
            raise
        raise translate(error, _REFUSALS) from None
