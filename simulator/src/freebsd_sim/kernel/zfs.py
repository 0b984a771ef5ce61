"""ZFS as far as datasets go: names, properties, volumes as sparse files, snapshots and clones as copies.

The data of a dataset is a file (a volume) or a directory (a file system) in
the host's own root; a volume's node below /dev/zvol is a link to its file.
The kernel's lock guards the records; copying happens outside of it, while the
datasets in question count as busy.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import shutil
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from freebsd_sim.kernel.zfs_names import CHOICES, PROPERTIES, SIZES, check_name, parse_size

if TYPE_CHECKING:
    from freebsd_sim.kernel import Kernel

STORE = ".sim/zfs"
EMPTY = 98304  # bytes that an empty dataset takes
VOLUME_OVERHEAD = 1.03
# What the installer makes: name, mount point ("" inherits), further properties.
AT_BOOT: tuple[tuple[str, str, dict[str, str]], ...] = (
    ("zroot", "/zroot", {"compression": "on", "atime": "off"}),
    ("zroot/ROOT", "none", {}),
    ("zroot/ROOT/default", "/", {}),
    ("zroot/home", "/home", {}),
    ("zroot/tmp", "/tmp", {"setuid": "off"}),
    ("zroot/usr", "/usr", {"canmount": "off"}),
    ("zroot/usr/ports", "", {"setuid": "off"}),
    ("zroot/usr/src", "", {}),
    ("zroot/var", "/var", {"canmount": "off"}),
    ("zroot/var/audit", "", {"exec": "off", "setuid": "off"}),
    ("zroot/var/crash", "", {"exec": "off", "setuid": "off"}),
    ("zroot/var/log", "", {"exec": "off", "setuid": "off"}),
    ("zroot/var/mail", "", {"atime": "on"}),
    ("zroot/var/tmp", "", {"setuid": "off"}),
)


class ZfsError(Exception):
    """What libzfs refuses: ``action`` as in "cannot create 'x'", ``reason`` what follows the colon."""

    def __init__(self, action: str, reason: str, hints: list[str] | None = None) -> None:
        self.action = action
        self.reason = reason
        self.hints = hints or []
        super().__init__(f"{action}: {reason}")


@dataclass
class Dataset:
    """A file system, volume or snapshot. ``data`` is the name of its file or directory in the store."""

    name: str
    kind: str  # filesystem, volume, snapshot
    guid: int
    created: int
    properties: dict[str, str] = field(default_factory=dict)
    origin: str = ""
    data: str = ""
    mounted: bool = False
    preset: bool = False  # made by the installer: its directory is part of the root
    deferred: bool = False
    source_kind: str = ""  # of a snapshot: what it was taken of
    size: int = 0  # of a volume's snapshot

    @property
    def pool(self) -> str:
        """The pool's name."""
        return self.name.partition("/")[0].partition("@")[0]

    @property
    def parent(self) -> str:
        """The name of the dataset above; of a snapshot, the dataset it belongs to; "" of a pool's root."""
        if "@" in self.name:
            return self.name.partition("@")[0]
        return self.name.rpartition("/")[0]

    @property
    def letter(self) -> str:
        """The letter of its kind in PROPERTIES."""
        return self.kind[0]


@dataclass
class Pool:
    """A pool and the devices it was made of."""

    name: str
    devices: list[str]
    guid: int
    created: int


class Zfs:
    """All pools and datasets of the host."""

    def __init__(self, kernel: Kernel) -> None:
        self.kernel = kernel
        self.datasets: dict[str, Dataset] = {}
        self.pools: dict[str, Pool] = {}
        self._busy: set[str] = set()
        # Snapshots that are being copied, and by how many clones: several may be made at once.
        self._copied: Counter[str] = Counter()
        self._sizes: dict[str, int] = {}
        self._counter = itertools.count(1)

    @property
    def store(self) -> Path:
        """Where the data is, as this process sees it."""
        return self.kernel.root / STORE

    def start(self) -> None:
        """Read what the host had, or lay out what the installer makes."""
        for part in ("volumes", "snapshots", "unmounted"):
            (self.store / part).mkdir(parents=True, exist_ok=True)
        record = self.store / "record.json"
        if record.exists():
            data = json.loads(record.read_text())
            self.datasets = {item["name"]: Dataset(**item) for item in data["datasets"]}
            self.pools = {item["name"]: Pool(**item) for item in data["pools"]}
        else:
            self.pools["zroot"] = Pool("zroot", ["ada0p3"], self._make_guid(), int(time.time()))
            for name, mountpoint, properties in AT_BOOT:
                dataset = self._add(name, "filesystem", dict(properties))
                dataset.preset = True
                if mountpoint:
                    dataset.properties["mountpoint"] = mountpoint
                dataset.mounted = properties.get("canmount") != "off" and mountpoint != "none"
            self._save()
        for dataset in self.datasets.values():
            if dataset.kind == "volume":
                self._make_node(dataset)

    def _make_guid(self) -> int:
        return int.from_bytes(os.urandom(8)) >> 1

    def _save(self) -> None:
        data = {
            "pools": [asdict(pool) for pool in self.pools.values()],
            "datasets": [asdict(dataset) for dataset in self.datasets.values()],
        }
        part = self.store / "record.new"
        part.write_text(json.dumps(data))
        part.rename(self.store / "record.json")

    def _add(self, name: str, kind: str, properties: dict[str, str]) -> Dataset:
        dataset = Dataset(name, kind, self._make_guid(), int(time.time()), properties)
        self.datasets[name] = dataset
        return dataset

    # Looking

    def get(self, name: str, action: str = "") -> Dataset:
        """Return a dataset. :raises ZfsError: there is none."""
        dataset = self.datasets.get(name)
        if dataset is None:
            raise ZfsError(action or f"cannot open '{name}'", "dataset does not exist")
        return dataset

    def children(self, name: str) -> list[Dataset]:
        """Return file systems and volumes right below a dataset, by name."""
        return sorted((item for item in self.datasets.values() if item.parent == name and item.kind != "snapshot"),
                      key=lambda item: item.name)  # fmt: skip

    def snapshots(self, name: str) -> list[Dataset]:
        """Return the snapshots of one dataset, oldest first."""
        return [item for item in self.datasets.values() if item.kind == "snapshot" and item.parent == name]

    def below(self, name: str) -> list[Dataset]:
        """Return file systems and volumes below a dataset, each after its parent."""
        found = []
        for child in self.children(name):
            found += [child, *self.below(child.name)]
        return found

    def clones(self, snapshot: str) -> list[Dataset]:
        """Return the datasets that were cloned from a snapshot."""
        return [item for item in self.datasets.values() if item.origin == snapshot]

    def roots(self) -> list[Dataset]:
        """Return the root datasets of the pools, by name."""
        return [self.datasets[name] for name in sorted(self.pools)]

    def data_path(self, dataset: Dataset) -> Path:
        """Return the file or directory with a dataset's data."""
        if dataset.kind == "filesystem":
            mountpoint = self.property_of(dataset, "mountpoint")[0]
            if dataset.mounted and mountpoint not in ("none", "legacy"):
                return self.kernel.root / mountpoint.lstrip("/")
            return self.store / "unmounted" / dataset.data
        return self.store / ("volumes" if dataset.kind == "volume" else "snapshots") / dataset.data

    def property_of(self, dataset: Dataset, name: str) -> tuple[str, str]:
        """Return a settable property's raw value and where it comes from.

        :return: ("value", "local" | "default" | "inherited from X" | "-")
        """
        kinds, default, readonly, inherited = PROPERTIES[name]
        if dataset.letter not in kinds:
            return "-", "-"
        if name in dataset.properties:
            return dataset.properties[name], "-" if readonly else "local"
        if inherited:
            above = self.datasets.get(dataset.parent)
            while above is not None:
                if name in above.properties:
                    value = above.properties[name]
                    if name == "mountpoint" and value not in ("none", "legacy"):
                        value = value.rstrip("/") + dataset.name[len(above.name) :]
                    return value, f"inherited from {above.name}"
                above = self.datasets.get(above.parent)
        if name == "mountpoint":
            return f"/{dataset.name}", "default"
        return default, "-" if readonly else "default"

    def pool_space(self, pool: str) -> tuple[int, int, int]:
        """Return a pool's size, and what of it is allocated and free; the size stays what it was first found to be."""
        usage = os.statvfs(self.store)
        free = usage.f_bavail * usage.f_frsize
        allocated = sum(self.own_space(item) for item in [self.datasets[pool], *self.below(pool)])
        size = self._sizes.setdefault(pool, allocated + free)
        return size, allocated, max(0, min(free, size - allocated))

    def free_space(self) -> int:
        """Return the bytes that no dataset takes or has reserved."""
        usage = os.statvfs(self.store)
        reserved = sum(self.reserved(item) for item in self.datasets.values() if "refreservation" in item.properties)
        return max(0, usage.f_bavail * usage.f_frsize - reserved)

    def room(self, name: str) -> int:
        """Return the bytes that a dataset of that name may still take: what is free, within the quotas above it."""
        room = self.free_space()
        while name:
            dataset = self.datasets.get(name)
            quota = "none" if dataset is None else dataset.properties.get("quota", "none")
            if dataset is not None and quota != "none":
                room = min(room, parse_size(quota) - self.used(dataset))
            name = name.rpartition("/")[0]
        return max(0, room)

    def own_space(self, dataset: Dataset) -> int:
        """Return the bytes that a dataset's own data takes."""
        path = self.data_path(dataset)
        if dataset.preset:
            return EMPTY
        if dataset.kind == "volume" or dataset.source_kind == "volume":
            try:
                return os.stat(path).st_blocks * 512 or 57344
            except OSError:
                return 57344
        total = EMPTY
        for directory, _, files in os.walk(path):
            for file in files:
                with contextlib.suppress(OSError):
                    total += os.lstat(os.path.join(directory, file)).st_blocks * 512
        return total

    def reserved(self, dataset: Dataset) -> int:
        """Return the bytes that refreservation keeps beyond what the data takes."""
        text = dataset.properties.get("refreservation", "none")
        return max(0, parse_size(text) - self.own_space(dataset)) if text != "none" else 0

    def used(self, dataset: Dataset) -> int:
        """Return the bytes that a dataset takes with its snapshots and children."""
        if dataset.kind == "snapshot":
            return 0
        own = self.own_space(dataset) + self.reserved(dataset)
        return own + sum(self.used(child) for child in self.children(dataset.name))

    # Changing

    def check_property(self, action: str, kind: str, name: str, value: str) -> str:
        """Return a property's value as it is kept.

        :raises ZfsError: unknown, read only, not for this kind, or a bad value
        """
        if ":" in name:
            return value
        if name not in PROPERTIES:
            raise ZfsError(action, f"invalid property '{name}'")
        kinds, _, readonly, _ = PROPERTIES[name]
        at_creation = name in ("volblocksize", "utf8only", "normalization", "casesensitivity", "encryption")
        if readonly and not (at_creation and action.startswith("cannot create")):
            raise ZfsError(action, f"'{name}' is readonly")
        if kind[0] not in kinds:
            raise ZfsError(action, f"'{name}' does not apply to datasets of this type")
        if name in CHOICES and value not in CHOICES[name]:
            raise ZfsError(action, f"'{name}' must be one of '{' | '.join(CHOICES[name])}'")
        if name == "refreservation" and value == "auto":
            return value
        if name in SIZES:
            try:
                size = parse_size(value)
            except ValueError as error:
                raise ZfsError(action, str(error)) from None
            if name in ("recordsize", "volblocksize") and (size < 512 or size & (size - 1) or size > 16 << 20):
                raise ZfsError(action, f"'{name}' must be power of 2 from 512B to 16M")
            if size == 0:
                return "none"
            return str(size)
        if name == "mountpoint" and value not in ("none", "legacy") and not value.startswith("/"):
            raise ZfsError(action, f"'{name}' must be an absolute path, 'none', or 'legacy'")
        return value

    def create(self, name: str, kind: str, properties: dict[str, str], *, size: int = 0, sparse: bool = False,
               parents: bool = False, mount: bool = True) -> Dataset:  # fmt: skip
        """Make a file system or a volume of ``size`` bytes. :raises ZfsError"""
        action = f"cannot create '{name}'"
        wrong = check_name(name)
        if wrong is not None:
            raise ZfsError(action, wrong)
        with self.kernel.lock:
            kept = {key: self.check_property(action, kind, key, value) for key, value in properties.items()}
            if "/" not in name:
                raise ZfsError(action, "missing dataset name")
            pool = name.partition("/")[0]
            if pool not in self.pools:
                raise ZfsError(action, f"no such pool '{pool}'")
            if name in self.datasets:
                if parents:
                    return self.datasets[name]
                raise ZfsError(action, "dataset already exists")
            parent = name.rpartition("/")[0]
            if parent not in self.datasets:
                if not parents:
                    raise ZfsError(action, "parent does not exist")
                self.create(parent, "filesystem", {}, parents=True)
            if self.datasets[parent].kind != "filesystem":
                raise ZfsError(action, "parent is not a filesystem")
            if kind == "volume":
                block = int(kept.get("volblocksize", "16384"))
                size = (size + block - 1) // block * block
                needed = int(size * VOLUME_OVERHEAD)
                if not sparse and needed > self.room(name):
                    raise ZfsError(action, "out of space")
                kept["volsize"] = str(size)
                if not sparse:
                    kept.setdefault("refreservation", str(needed))
                if kept.get("refreservation") == "auto":
                    kept["refreservation"] = str(needed)
            dataset = self._add(name, kind, kept)
            dataset.data = str(dataset.guid)
            if kind == "volume":
                with open(self.data_path(dataset), "xb") as file:
                    file.truncate(size)
                self._make_node(dataset)
            else:
                (self.store / "unmounted" / dataset.data).mkdir()
                if mount:
                    self._mount_if_wanted(dataset)
            self._save()
            return dataset

    def _mount_if_wanted(self, dataset: Dataset) -> None:
        mountpoint = self.property_of(dataset, "mountpoint")[0]
        if mountpoint in ("none", "legacy") or dataset.properties.get("canmount", "on") != "on":
            return
        self.mount(dataset)

    def mount(self, dataset: Dataset) -> None:
        """Put a file system's directory at its mount point."""
        hidden = self.store / "unmounted" / dataset.data
        target = self.kernel.root / self.property_of(dataset, "mountpoint")[0].lstrip("/")
        target.mkdir(parents=True, exist_ok=True)
        if dataset.data and hidden.exists():
            for item in hidden.iterdir():
                shutil.move(str(item), str(target / item.name))
            hidden.rmdir()
        dataset.mounted = True

    def unmount(self, dataset: Dataset) -> None:
        """Take a file system's directory away from its mount point."""
        if not dataset.mounted or dataset.preset:
            dataset.mounted = False
            return
        source = self.data_path(dataset)
        hidden = self.store / "unmounted" / dataset.data
        hidden.mkdir(exist_ok=True)
        inner = {self.data_path(item) for item in self.below(dataset.name) if item.mounted}
        for item in source.iterdir():
            if item not in inner:
                shutil.move(str(item), str(hidden / item.name))
        dataset.mounted = False
        with contextlib.suppress(OSError):
            source.rmdir()

    def set_mounted(self, dataset: Dataset, mounted: bool) -> None:
        """Mount or unmount, and remember it."""
        with self.kernel.lock:
            if mounted:
                self.mount(dataset)
            else:
                self.unmount(dataset)
            self._save()

    def node_path(self, name: str) -> Path:
        """Return where a volume's node is."""
        return self.kernel.root / "dev/zvol" / name

    def _make_node(self, dataset: Dataset) -> None:
        node = self.node_path(dataset.name)
        self._remove_node(dataset.name)
        if self.property_of(dataset, "volmode")[0] == "none":
            return
        node.parent.mkdir(parents=True, exist_ok=True)
        node.symlink_to(os.path.relpath(self.data_path(dataset), node.parent))

    def _remove_node(self, name: str) -> None:
        node = self.node_path(name)
        if not node.is_symlink():
            return
        node.unlink()
        for above in node.parents:
            if above.name == "zvol":
                break
            with contextlib.suppress(OSError):
                above.rmdir()

    def set_property(self, dataset: Dataset, name: str, value: str) -> None:
        """Set a property. :raises ZfsError"""
        action = f"cannot set property for '{dataset.name}'"
        with self.kernel.lock:
            kept = self.check_property(action, dataset.kind, name, value)
            if name == "volsize":
                self._resize(dataset, action, int(kept))
            if kept == "auto" and name == "refreservation":
                kept = str(int(int(dataset.properties["volsize"]) * VOLUME_OVERHEAD))
            if name == "refreservation" and kept != "none":
                self._check_reservation(dataset, action, int(kept))
            with self._remounting(dataset, name):
                dataset.properties[name] = kept
            if name == "volmode":
                self._make_node(dataset)
            self._save()

    def inherit(self, dataset: Dataset, name: str) -> None:
        """Drop a property's local value."""
        with self.kernel.lock:
            with self._remounting(dataset, name):
                dataset.properties.pop(name, None)
            self._save()

    @contextlib.contextmanager
    def _remounting(self, dataset: Dataset, name: str) -> Iterator[None]:
        moved = [
            item
            for item in [dataset, *self.below(dataset.name)]
            if name in ("mountpoint", "canmount") and item.kind == "filesystem" and not item.preset
        ]
        for item in reversed(moved):
            if item.mounted:
                self.unmount(item)
        yield
        for item in moved:
            self._mount_if_wanted(item)

    def _resize(self, dataset: Dataset, action: str, size: int) -> None:
        block = int(dataset.properties.get("volblocksize", "16384"))
        if size == 0 or size % block:
            raise ZfsError(action, f"'volsize' must be a multiple of volume block size ({block // 1024}K)")
        if dataset.properties.get("refreservation", "none") != "none":
            self._check_reservation(dataset, action, int(size * VOLUME_OVERHEAD))
            dataset.properties["refreservation"] = str(int(size * VOLUME_OVERHEAD))
        os.truncate(self.data_path(dataset), size)

    def _check_reservation(self, dataset: Dataset, action: str, size: int) -> None:
        if size - self.own_space(dataset) > self.room(dataset.name) + self.reserved(dataset):
            raise ZfsError(action, "size is greater than available space")

    def snapshot(self, names: list[str], properties: dict[str, str]) -> None:
        """Take snapshots, all or none. :raises ZfsError"""
        with self.kernel.lock:
            for name in names:
                action = f"cannot create snapshot '{name}'"
                wrong = check_name(name, snapshot=True)
                if wrong is not None:
                    raise ZfsError(action, wrong)
                if name in self.datasets:
                    raise ZfsError(action, "dataset already exists")
                self._claim(name.partition("@")[0], action)
            sources = [self.get(name.partition("@")[0]) for name in names]
        try:
            for source, name in zip(sources, names, strict=True):
                copy = Dataset(name, "snapshot", self._make_guid(), int(time.time()), dict(properties))
                copy.data = str(copy.guid)
                copy.source_kind = source.kind
                copy.size = int(source.properties.get("volsize", "0"))
                if source.kind == "volume":
                    copy.properties["volsize"] = source.properties["volsize"]
                self._copy(source, self.store / "snapshots" / copy.data)
                with self.kernel.lock:
                    self.datasets[name] = copy
                    self._save()
        finally:
            self._busy.difference_update(source.name for source in sources)

    def _claim(self, name: str, action: str) -> None:
        if name in self._busy:
            raise ZfsError(action, "dataset is busy")
        self._busy.add(name)

    def _copy(self, source: Dataset, target: Path) -> None:
        path = self.data_path(source)
        if source.preset:
            target.mkdir()
            return
        if path.is_dir() and source.kind != "volume":
            target.mkdir()
            command = ["cp", "-a", "--sparse=always", "--reflink=auto", f"{path}/.", str(target)]
        else:
            command = ["cp", "--sparse=always", "--reflink=auto", str(path), str(target)]
        subprocess.run(command, check=True, stdin=subprocess.DEVNULL)

    def clone(self, snapshot_name: str, name: str, properties: dict[str, str], *, parents: bool = False) -> Dataset:
        """Make a writable copy of a snapshot. :raises ZfsError"""
        action = f"cannot create '{name}'"
        wrong = check_name(name)
        with self.kernel.lock:
            snapshot = self.get(snapshot_name)
            if wrong is not None:
                raise ZfsError(action, wrong)
            if name in self.datasets:
                raise ZfsError(action, "dataset already exists")
            if name.partition("/")[0] != snapshot.pool:
                raise ZfsError(action, "source and target pools differ")
            parent = name.rpartition("/")[0]
            if parent not in self.datasets:
                if not parents:
                    raise ZfsError(action, "parent does not exist")
                self.create(parent, "filesystem", {}, parents=True)
            kind = snapshot.source_kind
            kept = {key: self.check_property(action, kind, key, value) for key, value in properties.items()}
            self._copied[snapshot_name] += 1
        try:
            guid = self._make_guid()
            target = self.store / ("volumes" if kind == "volume" else "unmounted") / str(guid)
            self._copy(snapshot, target)
            with self.kernel.lock:
                if name in self.datasets:
                    raise ZfsError(action, "dataset already exists")
                dataset = Dataset(name, kind, guid, int(time.time()), kept, snapshot_name, str(guid))
                if kind == "volume":
                    dataset.properties["volsize"] = str(snapshot.size)
                self.datasets[name] = dataset
                if kind == "volume":
                    self._make_node(dataset)
                else:
                    self._mount_if_wanted(dataset)
                self._save()
                return dataset
        finally:
            with self.kernel.lock:
                self._copied[snapshot_name] -= 1

    def is_open(self, dataset: Dataset) -> bool:
        """Tell whether a process has a volume open."""
        if dataset.kind != "volume":
            return False
        try:
            ours = os.stat(self.data_path(dataset))
        except OSError:
            return False
        for entry in os.listdir("/proc"):
            if not entry.isdigit():
                continue
            with contextlib.suppress(OSError):
                for descriptor in os.listdir(f"/proc/{entry}/fd"):
                    with contextlib.suppress(OSError):
                        theirs = os.stat(f"/proc/{entry}/fd/{descriptor}")
                        if (theirs.st_dev, theirs.st_ino) == (ours.st_dev, ours.st_ino):
                            return True
        return False

    def destroy(self, dataset: Dataset) -> None:
        """Remove one dataset that nothing depends on. :raises ZfsError: it is in use."""
        with self.kernel.lock:
            if dataset.name in self._busy or self._copied[dataset.name] or self.is_open(dataset):
                raise ZfsError(f"cannot destroy '{dataset.name}'", "dataset is busy")
            if dataset.kind == "filesystem":
                self.unmount(dataset)
            path = self.data_path(dataset)
            del self.datasets[dataset.name]
            if dataset.kind == "volume":
                self._remove_node(dataset.name)
            if dataset.data:
                if path.is_dir():
                    shutil.rmtree(path, ignore_errors=True)
                else:
                    path.unlink(missing_ok=True)
            self._save()
            origin = self.datasets.get(dataset.origin)
            if origin is not None and origin.deferred and not self.clones(origin.name):
                self.destroy(origin)

    def defer(self, snapshot: Dataset) -> None:
        """Mark a snapshot to go with its last clone."""
        with self.kernel.lock:
            snapshot.deferred = True
            self._save()

    def rename(self, name: str, target: str, *, parents: bool = False) -> None:
        """Rename a dataset with all below it, or a snapshot. :raises ZfsError"""
        action = f"cannot rename '{name}'"
        with self.kernel.lock:
            dataset = self.get(name)
            snapshot = dataset.kind == "snapshot"
            wrong = check_name(target, snapshot=snapshot)
            if wrong is not None:
                raise ZfsError(f"cannot rename to '{target}'", wrong)
            if target.partition("/")[0].partition("@")[0] != dataset.pool:
                raise ZfsError(f"cannot rename to '{target}'", "datasets must be within same pool")
            if not snapshot and target.startswith(f"{name}/"):
                raise ZfsError(
                    f"cannot rename to '{target}'", "New dataset name cannot be a descendant of current dataset name"
                )
            if target in self.datasets:
                raise ZfsError(action, "dataset already exists")
            parent = target.rpartition("/")[0]
            if not snapshot and parent not in self.datasets:
                if not parents:
                    raise ZfsError(f"cannot rename to '{target}'", "parent does not exist")
                self.create(parent, "filesystem", {}, parents=True)
            moved = [dataset] if snapshot else [dataset, *self.below(name)]
            for item in reversed(moved):
                if item.kind == "filesystem" and item.mounted:
                    self.unmount(item)
                if item.kind == "volume":
                    self._remove_node(item.name)
            self._rename_records(name, target)
            for item in moved:
                if item.kind == "volume":
                    self._make_node(item)
                elif item.kind == "filesystem":
                    self._mount_if_wanted(item)
            self._save()

    def _rename_records(self, name: str, target: str) -> None:
        def change(text: str) -> str:
            if text == name or text.startswith((f"{name}/", f"{name}@")):
                return target + text[len(name) :]
            return text

        renamed = {}
        for dataset in self.datasets.values():
            dataset.name = change(dataset.name)
            dataset.origin = change(dataset.origin)
            renamed[dataset.name] = dataset
        self.datasets = renamed

    def promote(self, name: str) -> None:
        """Make a clone the owner of the snapshot it came from. :raises ZfsError"""
        with self.kernel.lock:
            clone = self.get(name)
            origin = self.datasets.get(clone.origin)
            if origin is None:
                raise ZfsError(f"cannot promote '{name}'", "not a cloned filesystem")
            old = self.get(origin.parent)
            taken = self.snapshots(old.name)
            moving = taken[: taken.index(origin) + 1]
            for snapshot in moving:
                label = snapshot.name.partition("@")[2]
                if f"{name}@{label}" in self.datasets:
                    reason = f"conflicting snapshot '{label}' from parent '{old.name}'"
                    raise ZfsError(f"cannot promote '{name}'", reason)
            clone.origin, old.origin = old.origin, clone.origin
            for snapshot in moving:
                self._rename_records(snapshot.name, f"{name}@{snapshot.name.partition('@')[2]}")
            self._save()

    def rollback(self, snapshot: Dataset) -> None:
        """Put a dataset's data back to what a snapshot has."""
        action = f"cannot rollback '{snapshot.name}'"
        with self.kernel.lock:
            dataset = self.get(snapshot.parent)
            if self.is_open(dataset):
                raise ZfsError(action, "dataset is busy")
            self._claim(dataset.name, action)
        try:
            path = self.data_path(dataset)
            if dataset.kind == "volume":
                self._copy(snapshot, path)
                dataset.properties["volsize"] = str(snapshot.size)
            elif not dataset.preset:
                for item in path.iterdir():
                    if item.is_dir() and not item.is_symlink():
                        shutil.rmtree(item)
                    else:
                        item.unlink()
                path.rmdir()
                self._copy(snapshot, path)
        finally:
            self._busy.discard(dataset.name)

    def create_pool(self, name: str, devices: list[str], properties: dict[str, str]) -> None:
        """Make a pool; its space is what the host has."""
        with self.kernel.lock:
            self.pools[name] = Pool(name, devices, self._make_guid(), int(time.time()))
            root = self._add(name, "filesystem", properties)
            root.data = str(root.guid)
            (self.store / "unmounted" / root.data).mkdir()
            self._mount_if_wanted(root)
            self._save()

    def destroy_pool(self, name: str) -> None:
        """Remove a pool and all in it. :raises ZfsError: a volume is in use."""
        with self.kernel.lock:
            for dataset in reversed(self.below(name)):
                if self.is_open(dataset):
                    raise ZfsError(f"cannot destroy '{name}'", "pool is busy")
            for dataset in [item for item in self.datasets.values() if item.pool == name and item.kind == "snapshot"]:
                dataset.source_kind = dataset.source_kind or "volume"
                self.destroy(dataset)
            for dataset in reversed([self.datasets[name], *self.below(name)]):
                self.destroy(dataset)
            del self.pools[name]
            self._sizes.pop(name, None)
            self._save()


def describe(zfs: Zfs, dataset: Dataset) -> dict[str, Any]:
    """Return the read-only properties of a dataset: raw values, sizes in bytes."""
    own = zfs.own_space(dataset)
    values: dict[str, Any] = {
        "type": dataset.kind,
        "creation": dataset.created,
        "referenced": own,
        "logicalreferenced": own,
        "used": zfs.used(dataset),
        "written": own if dataset.kind != "snapshot" else 0,
        "guid": dataset.guid,
        "createtxg": dataset.guid % 100000,
        "objsetid": dataset.guid % 1000,
    }
    if dataset.kind == "snapshot":
        values["clones"] = ",".join(item.name for item in zfs.clones(dataset.name))
        values["defer_destroy"] = "on" if dataset.deferred else "off"
        return values
    reserved = zfs.reserved(dataset)
    values |= {
        "available": zfs.room(dataset.name) + reserved,
        "logicalused": own,
        "usedbydataset": own,
        "usedbysnapshots": 0,
        "usedbyrefreservation": reserved,
        "usedbychildren": values["used"] - own - reserved,
    }
    if dataset.origin:
        values["origin"] = dataset.origin
    if dataset.kind == "filesystem":
        values["mounted"] = "yes" if dataset.mounted else "no"
    return values
