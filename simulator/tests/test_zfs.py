"""Datasets: a story of creation, snapshots, clones and removal."""

from __future__ import annotations

import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from freebsd_sim.kernel.zfs import Dataset, Zfs, ZfsError
from freebsd_sim.kernel.zfs_names import check_name, format_size, parse_size


@pytest.fixture
def zfs(tmp_path: Path) -> Zfs:
    kernel: Any = SimpleNamespace(root=tmp_path, lock=threading.RLock())
    pools = Zfs(kernel)
    pools.start()
    return pools


@pytest.mark.parametrize(
    ("size", "text"), [(0, "0B"), (98304, "96K"), (1 << 30, "1G"), (1610612736, "1.50G"), (17716740096, "16.5G")]
)
def test_sizes_are_short(size: int, text: str) -> None:
    assert format_size(size) == text


def test_sizes_are_read() -> None:
    assert [parse_size(text) for text in ("10G", "1.5g", "512", "16k", "2TiB")] == [
        10 << 30, 3 << 29, 512, 16 << 10, 2 << 40,
    ]  # fmt: skip
    with pytest.raises(ValueError, match="bad numeric value 'x'"):
        parse_size("x")


def test_names() -> None:
    assert check_name("zroot/vm_1-a.b:c") is None
    assert check_name("zroot/a$") == "invalid character '$' in name"
    assert check_name("zroot/a@b") == "snapshot delimiter '@' is not expected here"
    assert check_name("zroot/a@b", snapshot=True) is None


def test_a_volume_is_a_sparse_file_behind_a_link(zfs: Zfs) -> None:
    zfs.create("zroot/v", "volume", {}, size=10 << 30, sparse=True)
    node = zfs.node_path("zroot/v")
    assert node.is_symlink()
    assert node.stat().st_size == 10 << 30
    zfs.set_property(zfs.get("zroot/v"), "volsize", "20G")
    assert node.stat().st_size == 20 << 30
    zfs.destroy(zfs.get("zroot/v"))
    assert not node.is_symlink()


def test_a_clone_has_the_data_of_its_snapshot(zfs: Zfs) -> None:
    zfs.create("zroot/image", "volume", {}, size=1 << 20, sparse=True)
    zfs.node_path("zroot/image").write_bytes(b"old")
    zfs.snapshot(["zroot/image@base"], {})
    zfs.node_path("zroot/image").write_bytes(b"new")
    clone = zfs.clone("zroot/image@base", "zroot/guest", {"volmode": "dev"})
    assert zfs.node_path("zroot/guest").read_bytes()[:3] == b"old"
    assert clone.origin == "zroot/image@base"
    zfs.promote("zroot/guest")
    assert zfs.get("zroot/image").origin == "zroot/guest@base"


def test_refusals(zfs: Zfs) -> None:
    zfs.create("zroot/a", "filesystem", {})
    for name, reason in (
        ("zroot/a", "dataset already exists"),
        ("zroot/b/c", "parent does not exist"),
        ("tank/a", "no such pool 'tank'"),
    ):
        with pytest.raises(ZfsError) as caught:
            zfs.create(name, "filesystem", {})
        assert str(caught.value) == f"cannot create '{name}': {reason}"
    with pytest.raises(ZfsError, match="cannot open 'zroot/x': dataset does not exist"):
        zfs.get("zroot/x")


def test_a_snapshot_is_cloned_by_several_at_once_and_stays_meanwhile(zfs: Zfs, monkeypatch: pytest.MonkeyPatch) -> None:
    zfs.create("zroot/v", "volume", {}, size=1 << 20, sparse=True)
    zfs.snapshot(["zroot/v@base"], {})
    copy, second = zfs._copy, []

    def copy_with_another(source: Dataset, target: Path) -> None:
        if not second:
            second.append(target)
            zfs.clone("zroot/v@base", "zroot/two", {})
            with pytest.raises(ZfsError, match="dataset is busy"):
                zfs.destroy(zfs.get("zroot/v@base"))
        copy(source, target)

    monkeypatch.setattr(zfs, "_copy", copy_with_another)
    zfs.clone("zroot/v@base", "zroot/one", {})
    assert [item.name for item in zfs.clones("zroot/v@base")] == ["zroot/two", "zroot/one"]


def test_a_rename_takes_children_along(zfs: Zfs) -> None:
    zfs.create("zroot/a/b", "filesystem", {}, parents=True)
    zfs.create("zroot/a/v", "volume", {}, size=1 << 20, sparse=True)
    (zfs.kernel.root / "zroot/a/b/file").write_text("x")
    zfs.rename("zroot/a", "zroot/z")
    assert (zfs.kernel.root / "zroot/z/b/file").read_text() == "x"
    assert zfs.node_path("zroot/z/v").exists()
    assert not zfs.node_path("zroot/a/v").is_symlink()


def test_a_host_remembers_its_datasets(zfs: Zfs) -> None:
    zfs.create("zroot/v", "volume", {}, size=1 << 20, sparse=True)
    again = Zfs(zfs.kernel)
    again.start()
    assert again.get("zroot/v").guid == zfs.get("zroot/v").guid
    assert again.node_path("zroot/v").stat().st_size == 1 << 20
