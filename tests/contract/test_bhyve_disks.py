"""Guests' disks: raw files, and ZFS volumes cloned from the image cache."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bhyve_guests import UUID, make_flavor, make_instance
from bhyve_host import make_driver

SEAMS = ("V1", "V2", "V3", "V4", "V5", "V6")
POOL = "tank/nova"
OnFreeBSD = Callable[..., None]


class Volumes:
    """A pool whose volumes are files: both what zfs(8) says of it, and what the privileged daemon does to it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.sizes: dict[str, int] = {}
        self.calls: list[tuple[Any, ...]] = []

    def path(self, dataset: str) -> str:
        """Return a volume's node; the dataset itself is the directory of all."""
        return str(self.directory / dataset.replace("/", ":")) if dataset != POOL else str(self.directory)

    def read(self, name: str) -> Any:
        """Return what there is of a dataset."""
        return SimpleNamespace(name=name, volume_size=self.sizes[name]) if name in self.sizes else None

    def __getattr__(self, verb: str) -> Any:
        def call(name: str, *words: Any) -> None:
            self.calls.append((verb, name, *words))
            dataset = f"{POOL}/{name}"
            if verb == "create_volume":
                self.sizes[dataset] = words[0]
                Path(self.path(dataset)).write_bytes(bytes(words[0]))
            elif verb == "create_snapshot":
                self.sizes[f"{dataset}@{words[0]}"] = self.sizes[dataset]
            elif verb == "clone_volume":
                self.sizes[f"{POOL}/{words[1]}"] = self.sizes[f"{dataset}@{words[0]}"]
            elif verb == "resize_volume":
                self.sizes[dataset] = words[0]
            elif verb == "destroy_volume":
                for each in [each for each in self.sizes if each.partition("@")[0] == dataset]:
                    del self.sizes[each]

        return call


def prepare(directory: Path) -> tuple[Any, Volumes, Any]:
    """Return a driver whose guests' disks are volumes, the volumes, and the module of the back end."""
    from beastack.freebsd import zfs

    volumes = Volumes(directory / "zvol")
    volumes.directory.mkdir()
    zfs.node_path = volumes.path
    zfs.read_dataset = volumes.read
    zfs.list_datasets = lambda name, **named: tuple(
        volumes.read(each) for each in volumes.sizes if each.startswith(name) and "@" not in each
    )
    driver = make_driver(directory, libvirt__images_type="default", bhyve__zfs_dataset=POOL)
    from beastack.port.nova.bhyve import imagebackend_zfs

    imagebackend_zfs.privileged = volumes  # type: ignore[assignment]
    # The files of this pool are named otherwise.
    original = imagebackend_zfs.Zvol.__init__

    def named(self: Any, instance: Any = None, disk_name: str = "", **others: Any) -> None:
        original(self, instance, disk_name, **others)
        self.volume = f"{instance.uuid}_{disk_name}"

    imagebackend_zfs.Zvol.__init__ = named
    return driver, volumes, imagebackend_zfs


def test_a_second_guest_of_an_image_costs_no_copy(tmp_path: Path, on_freebsd: OnFreeBSD) -> None:
    def body() -> None:
        driver, volumes, _ = prepare(tmp_path)
        cache = tmp_path / "instances" / "_base"
        cache.mkdir()
        other = UUID.replace("5e6c", "6e6c")

        def fetch(target: str, image_id: str, **named: Any) -> None:
            Path(target).write_bytes(b"x" + bytes(3 << 20) + b"y")

        for uuid in (UUID, other):
            disk = driver.image_backend.by_name(make_instance(make_flavor({}), uuid), "disk")
            disk.cache(fetch, "f00d", size=1 << 30, image_id="i")
        base = f"{POOL}/base/f00d"
        assert volumes.sizes == {
            base: 4 << 20, f"{base}@base": 4 << 20, f"{POOL}/{UUID}_disk": 1 << 30, f"{POOL}/{other}_disk": 1 << 30,
        }  # fmt: skip
        written = Path(volumes.path(base)).read_bytes()
        assert (written[:1], written[3 << 20 : (3 << 20) + 3], len(written)) == (b"x", b"\0y\0", 4 << 20)
        assert [call[0] for call in volumes.calls].count("create_volume") == 1

    on_freebsd(body, *SEAMS)


def test_what_was_not_finished_is_begun_anew(tmp_path: Path, on_freebsd: OnFreeBSD) -> None:
    def body() -> None:
        driver, volumes, backend = prepare(tmp_path)
        cache = tmp_path / "instances" / "_base"
        cache.mkdir()
        (cache / "f00d").write_bytes(b"z" * 100)
        # A base without its snapshot: the service was killed while it wrote.
        volumes.create_volume("base/f00d", 1 << 20)
        disk = driver.image_backend.by_name(make_instance(make_flavor({})), "disk")
        disk.cache(lambda **named: None, "f00d", size=1 << 30, image_id="i")
        assert f"{POOL}/base/f00d@base" in volumes.sizes
        swap = driver.image_backend.by_name(make_instance(make_flavor({})), "disk.swap")

        def fail(target: str, **named: Any) -> None:
            raise OSError("no")

        with pytest.raises(OSError, match="no"):
            swap.cache(fail, "swap_64", size=64 << 20)
        assert f"{POOL}/{UUID}_disk.swap" not in volumes.sizes
        volumes.create_volume(f"{UUID}_disk.rescue", 1 << 20)
        volumes.calls.clear()
        backend.destroy_disks(UUID, ".rescue")
        assert [call[1] for call in volumes.calls] == [f"{UUID}_disk.rescue"]
        # What hangs on a disk goes before it.
        volumes.create_volume(f"{UUID}_disk.extract-1", 1 << 20)
        volumes.calls.clear()
        backend.destroy_disks(UUID)
        assert [call[1] for call in volumes.calls] == [f"{UUID}_disk.extract-1", f"{UUID}_disk"]

    on_freebsd(body, *SEAMS)


def test_volumes_of_images_go_with_the_cache_unless_disks_depend_on_them(tmp_path: Path, on_freebsd: OnFreeBSD) -> None:
    def body() -> None:
        from beastack.freebsd.errors import DatasetBusy

        _, volumes, backend = prepare(tmp_path)
        for name in ("cached", "used", "dropped"):
            volumes.create_volume(f"base/{name}", 1 << 20)
        destroy = volumes.destroy_volume

        def refuse(name: str) -> None:
            if name == "base/used":
                raise DatasetBusy(["zfs", "destroy"], 1, "", "filesystem has dependent clones")
            destroy(name)

        volumes.destroy_volume = refuse
        backend.remove_unused_bases(lambda name: name == "cached")
        assert set(volumes.sizes) == {f"{POOL}/base/cached", f"{POOL}/base/used"}

    on_freebsd(body, *SEAMS)


def test_files_grow_and_never_shrink(tmp_path: Path, on_freebsd: OnFreeBSD) -> None:
    def body() -> None:
        driver = make_driver(tmp_path)
        cache = tmp_path / "instances" / "_base"
        cache.mkdir()
        instance = make_instance(make_flavor({}))
        (tmp_path / "instances" / UUID).mkdir()
        # As a guest may leave it: the header of another format, which nobody looks for.
        (cache / "f00d").write_bytes(b"QFI\xfb" + bytes(1020))
        disk = driver.image_backend.by_name(instance, "disk")
        disk.cache(lambda **named: None, "f00d", size=1 << 20, image_id="i")
        assert Path(disk.path).stat().st_size == 1 << 20 and disk.driver_format == "raw"
        disk.resize_image(1 << 10)
        assert Path(disk.path).stat().st_size == 1 << 20
        from nova import exception

        with pytest.raises(exception.FlavorDiskSmallerThanImage):
            driver.image_backend.by_name(instance, "disk.b").cache(lambda **named: None, "f00d", size=512, image_id="i")

    on_freebsd(body, *SEAMS)


def test_an_ephemeral_disk_is_a_fat_file_system(tmp_path: Path, on_freebsd: OnFreeBSD) -> None:
    def body() -> None:
        driver = make_driver(tmp_path)
        from beastack.freebsd import command

        ran: list[list[str]] = []
        command.run = lambda argv, **named: ran.append(list(argv))
        made: list[tuple[Any, ...]] = []
        from beastack.port.nova.bhyve import disks

        disks.libvirt_utils.create_image = lambda *arguments, **named: made.append(arguments)
        driver._create_ephemeral("/i/disk.local", 5, "ephemeral0", "linux", safe=True)
        driver._create_ephemeral("/dev/zvol/t/disk.local", 5, "ephemeral0", None, True)
        assert made == [("/i/disk.local", "raw", "5G")]
        assert [words[:3] for words in ran] == [["newfs_msdos", "-L", "ephemeral0"]] * 2
        assert [words[3] for words in ran] == ["/i/disk.local", "/dev/zvol/t/disk.local"]
        assert [name for name in ("vfat", "ext4", "xfs") if driver.is_supported_fs_format(name)] == ["vfat"]

    on_freebsd(body, *SEAMS)


def test_a_swap_disk_is_one_for_linux(tmp_path: Path, on_freebsd: OnFreeBSD) -> None:
    def body() -> None:
        driver = make_driver(tmp_path)
        target = tmp_path / "disk.swap"
        driver._create_swap(str(target), 64)
        content = target.read_bytes()
        assert len(content) == 64 << 20 and content[4086:4096] == b"SWAPSPACE2"
        assert struct.unpack_from("<III", content, 1024) == (1, (64 << 20) // 4096 - 1, 0)

    on_freebsd(body, *SEAMS)
