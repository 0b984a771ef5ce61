"""ZFS: datasets, volumes, snapshots and clones below a dataset of our own, against what zfs(8) and zpool(8) print."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from beastack.freebsd import errors, mounts, zfs
from beastack.freebsd.command import CommandError, run
from network_lab import as_nobody, new_name

MIB = 1 << 20
GIB = 1 << 30

Change = Callable[[], object]


@pytest.fixture(scope="module")
def pool(request: pytest.FixtureRequest) -> zfs.Pool:
    """Return the pool to work in: the one of --pool, or the first."""
    wanted = request.config.getoption("--pool")
    try:
        pools = [each for each in zfs.list_pools() if wanted in (None, each.name)]
    except CommandError:
        pools = []
    if not pools:
        pytest.skip(f"there is no ZFS pool {wanted or ''}")
    return pools[0]


@pytest.fixture
def base(pool: zfs.Pool) -> Iterator[str]:
    """Return a file system of our own that is not mounted; it goes with all in it after the test."""
    name = f"{pool.name}/bt-{os.getpid()}-{new_name('set')}"
    zfs.create_filesystem(name, properties={"mountpoint": "none"})
    yield name
    zfs.destroy(name, recursive=True, clones=True)
    assert zfs.read_dataset(name) is None


@pytest.fixture
def volume(base: str) -> str:
    """Return a sparse volume of 16 MiB whose node is there."""
    name = f"{base}/volume"
    zfs.create_volume(name, 16 * MIB, sparse=True, properties={"volmode": "dev", "volblocksize": "16k"})
    zfs.wait_for_node(name)
    return name


def print_property(name: str, key: str) -> list[str]:
    """Return what zfs(8) prints as the value and source of a property."""
    return run(["zfs", "get", "-Hp", "-o", "value,source", key, name]).stdout.rstrip("\n").split("\t")


def print_names(name: str, kinds: str = "filesystem,volume") -> list[str]:
    """Return the names of a dataset and all below it as zfs(8) prints them."""
    return run(["zfs", "list", "-Hr", "-o", "name", "-t", kinds, name]).stdout.splitlines()


def write_block(name: str, number: int, letter: bytes) -> None:
    """Fill one block of 16 KiB of a volume."""
    node = os.open(zfs.node_path(name), os.O_RDWR)
    try:
        assert os.pwrite(node, letter * 16384, number * 16384) == 16384
        os.fsync(node)
    finally:
        os.close(node)


def read_block(name: str, number: int) -> bytes:
    """Return the letter that fills one block of a volume."""
    node = os.open(zfs.node_path(name), os.O_RDONLY)
    try:
        data = os.pread(node, 16384, number * 16384)
    finally:
        os.close(node)
    assert len(data) == 16384 and len(set(data)) == 1
    return data[:1]


def test_pools(pool: zfs.Pool) -> None:
    assert [each.name for each in zfs.list_pools()] == run(["zpool", "list", "-H", "-o", "name"]).stdout.split()
    found = zfs.read_pool(pool.name)
    assert found is not None
    printed = run(["zpool", "list", "-Hp", "-o", "name,size,health", pool.name]).stdout.split()
    assert [found.name, str(found.size), found.health] == printed
    columns = ["zpool", "list", "-Hp", "-o", "name,size,allocated,free,health", pool.name]
    assert [(e.name, e.size, e.health) for e in zfs.parse_pools(run(columns).stdout)] == [
        (found.name, found.size, found.health)
    ]
    assert 0 < found.free <= found.size and found.allocated <= found.size
    assert zfs.read_pool("btnowhere") is None
    with pytest.raises(ValueError, match="dataset"):
        zfs.read_pool("-f")


def test_a_file_system(base: str, tmp_path: Path) -> None:
    name, place = f"{base}/files", tmp_path / "files"
    zfs.create_filesystem(name, properties={"mountpoint": str(place), "compression": "off"})
    (place / "file").write_bytes(b"x" * 100)
    mount = mounts.find_mount(str(place / "file"), mounts.read_mounts())
    assert mount is not None and (mount.source, mount.target, mount.kind) == (name, str(place), "zfs")
    found = zfs.read_dataset(name)
    assert found is not None
    assert (found.name, found.kind, found.mountpoint) == (name, "filesystem", str(place))
    assert found.origin is None and found.volume_size is None and found.available and found.referenced > 0
    words = run(["zfs", "list", "-Hp", "-o", "name,type,mountpoint", name]).stdout.split()
    assert words == [found.name, found.kind, found.mountpoint]
    columns = "name,type,used,available,referenced,origin,volsize,mountpoint"
    (parsed,) = zfs.parse_datasets(run(["zfs", "list", "-Hp", "-o", columns, name]).stdout)
    assert (parsed.name, parsed.referenced, parsed.mountpoint) == (name, found.referenced, found.mountpoint)
    zfs.write_properties(name, {"mountpoint": "none"})
    assert not (place / "file").exists()
    zfs.write_properties(name, {"mountpoint": str(place)})
    assert (place / "file").read_bytes() == b"x" * 100
    zfs.destroy(name)
    assert zfs.read_dataset(name) is None
    assert not (place / "file").exists()


def test_lists(base: str, volume: str) -> None:
    zfs.create_filesystem(f"{base}/one")
    zfs.create_filesystem(f"{base}/one/two")
    zfs.create_snapshot(base, "now", recursive=True)
    everything = [base, f"{base}/one", f"{base}/one/two", volume]
    assert sorted(each.name for each in zfs.list_datasets(base, recursive=True)) == sorted(everything)
    assert [each.name for each in zfs.list_datasets(base, recursive=True)] == print_names(base)
    assert [each.name for each in zfs.list_datasets(base)] == [base]
    assert [each.name for each in zfs.list_datasets(base, kinds=["volume"], recursive=True)] == [volume]
    snapshots = zfs.list_datasets(base, kinds=["snapshot"], recursive=True)
    assert sorted(each.name for each in snapshots) == sorted(f"{name}@now" for name in everything)
    assert [each.name for each in snapshots] == print_names(base, "snapshot")
    assert set(everything) <= {each.name for each in zfs.list_datasets()}
    kinds = {each.name: each.kind for each in zfs.list_datasets(base, recursive=True)}
    assert kinds == dict.fromkeys(everything, "filesystem") | {volume: "volume"}
    assert zfs.read_dataset(f"{base}/nothing") is None and zfs.read_dataset(f"{base}@nothing") is None


def test_parents(base: str) -> None:
    for _ in range(2):  # the second time they are there
        zfs.create_filesystem(f"{base}/a/b/c", parents=True)
        zfs.create_volume(f"{base}/d/e", 4 * MIB, sparse=True, parents=True)
    assert {f"{base}/a/b", f"{base}/d", f"{base}/d/e"} <= {e.name for e in zfs.list_datasets(base, recursive=True)}


def test_properties(base: str, volume: str) -> None:
    zfs.write_properties(base, {"compression": "lz4", "org.beastack:test": "a b"})
    found = zfs.read_properties(base, ["compression", "org.beastack:test", "used", "origin", "quota"])
    assert found["compression"] == zfs.Property("lz4", "local")
    assert found["org.beastack:test"] == zfs.Property("a b", "local")
    assert found["used"].source == "-" and int(found["used"].value) > 0
    assert found["origin"] == zfs.Property("-", "-")
    assert found["quota"] == zfs.Property("0", "default")
    below = zfs.read_properties(volume, ["compression", "volsize", "volmode", "volblocksize"])
    assert below["compression"] == zfs.Property("lz4", f"inherited from {base}")
    assert below["volsize"] == zfs.Property(str(16 * MIB), "local")
    assert below["volmode"] == zfs.Property("dev", "local")
    assert below["volblocksize"].value == "16384"
    for key, value in (*found.items(), ("mountpoint", zfs.read_properties(base, ["mountpoint"])["mountpoint"])):
        assert print_property(base, key) == [value.value, value.source]
    printed = run(["zfs", "get", "-Hp", "-o", "property,value,source", "compression,origin", base]).stdout
    assert zfs.parse_properties(printed) == {key: found[key] for key in ("compression", "origin")}
    zfs.write_properties(base, {"quota": 2 * GIB, "atime": "off"})
    assert zfs.read_properties(base, ["quota", "atime"]) == {
        "quota": zfs.Property(str(2 * GIB), "local"),
        "atime": zfs.Property("off", "local"),
    }


def test_a_volume(volume: str) -> None:
    assert zfs.wait_for_node(volume) == zfs.node_path(volume) == f"/dev/zvol/{volume}"
    found = zfs.read_dataset(volume)
    assert found is not None
    assert (found.kind, found.volume_size, found.mountpoint, found.origin) == ("volume", 16 * MIB, None, None)
    assert zfs.read_properties(volume, ["refreservation"])["refreservation"].value in ("0", "none")
    write_block(volume, 0, b"a")
    write_block(volume, 1023, b"z")
    assert (read_block(volume, 0), read_block(volume, 1), read_block(volume, 1023)) == (b"a", b"\0", b"z")
    zfs.write_properties(volume, {"volsize": 32 * MIB})
    grown = zfs.read_dataset(volume)
    assert grown is not None and grown.volume_size == 32 * MIB
    assert print_property(volume, "volsize")[0] == str(32 * MIB)
    write_block(volume, 2047, b"y")
    assert (read_block(volume, 0), read_block(volume, 2047)) == (b"a", b"y")


def test_a_volume_that_reserves_its_space(base: str) -> None:
    zfs.create_volume(f"{base}/full", 8 * MIB)
    found = zfs.read_dataset(f"{base}/full")
    assert found is not None and found.used >= 8 * MIB
    assert int(zfs.read_properties(f"{base}/full", ["refreservation"])["refreservation"].value) >= 8 * MIB


def test_nodes_that_do_not_come(base: str) -> None:
    with pytest.raises(TimeoutError, match="did not appear"):
        zfs.wait_for_node(f"{base}/nothing", limit=0.2)
    zfs.create_volume(f"{base}/hidden", 4 * MIB, sparse=True, properties={"volmode": "none"})
    with pytest.raises(TimeoutError):
        zfs.wait_for_node(f"{base}/hidden", limit=0.5)


def test_a_clone_of_an_image(base: str, volume: str) -> None:
    write_block(volume, 3, b"i")
    zfs.create_snapshot(volume, "base")
    snapshot = zfs.read_dataset(f"{volume}@base")
    assert snapshot is not None
    assert (snapshot.kind, snapshot.available, snapshot.volume_size) == ("snapshot", None, 16 * MIB)
    write_block(volume, 3, b"j")
    clone = f"{base}/guests/one"
    zfs.clone(f"{volume}@base", clone, properties={"volmode": "dev"}, parents=True)
    zfs.wait_for_node(clone)
    found = zfs.read_dataset(clone)
    assert found is not None and (found.kind, found.origin) == ("volume", f"{volume}@base")
    assert found.volume_size == 16 * MIB
    assert (read_block(clone, 3), read_block(volume, 3)) == (b"i", b"j")
    write_block(clone, 3, b"k")
    assert (read_block(clone, 3), read_block(volume, 3)) == (b"k", b"j")
    for busy in (f"{volume}@base", volume):
        with pytest.raises(errors.DatasetBusy):
            zfs.destroy(busy)
    with pytest.raises(errors.DatasetBusy):
        zfs.destroy(volume, recursive=True)
    zfs.promote(clone)
    promoted, old = zfs.read_dataset(clone), zfs.read_dataset(volume)
    assert promoted is not None and promoted.origin is None
    assert old is not None and old.origin == f"{clone}@base"
    assert zfs.read_dataset(f"{volume}@base") is None
    zfs.destroy(volume)
    assert read_block(clone, 3) == b"k"
    with pytest.raises(errors.InvalidArgument):
        zfs.promote(clone)


def test_clones_go_with_their_origin(base: str, volume: str) -> None:
    zfs.create_snapshot(volume, "base")
    zfs.clone(f"{volume}@base", f"{base}/one")
    zfs.clone(f"{volume}@base", f"{base}/two")
    zfs.destroy(f"{volume}@base", clones=True)
    assert sorted(print_names(base)) == sorted([base, volume])


def test_snapshots_that_go_later(base: str, volume: str) -> None:
    zfs.create_snapshot(volume, "base")
    zfs.clone(f"{volume}@base", f"{base}/one")
    zfs.destroy(f"{volume}@base", deferred=True)
    assert zfs.read_dataset(f"{volume}@base") is not None
    assert zfs.read_properties(f"{volume}@base", ["defer_destroy"])["defer_destroy"].value == "on"
    zfs.destroy(f"{base}/one")
    assert zfs.read_dataset(f"{volume}@base") is None
    zfs.create_snapshot(volume, "alone")
    zfs.destroy(f"{volume}@alone", deferred=True)
    assert zfs.read_dataset(f"{volume}@alone") is None


def test_renaming(base: str, volume: str) -> None:
    write_block(volume, 0, b"r")
    zfs.create_snapshot(volume, "now")
    zfs.rename(volume, f"{base}/other")
    zfs.wait_for_node(f"{base}/other")
    assert zfs.read_dataset(volume) is None and zfs.read_dataset(f"{base}/other@now") is not None
    assert read_block(f"{base}/other", 0) == b"r"
    zfs.rename(f"{base}/other", f"{base}/x/y/z", parents=True)
    zfs.wait_for_node(f"{base}/x/y/z")
    assert read_block(f"{base}/x/y/z", 0) == b"r"
    zfs.rename(f"{base}/x/y/z@now", f"{base}/x/y/z@then")
    assert zfs.read_dataset(f"{base}/x/y/z@then") is not None
    with pytest.raises(errors.DatasetExists):
        zfs.rename(f"{base}/x/y/z", f"{base}/x/y")
    with pytest.raises(errors.DatasetNotFound):
        zfs.rename(f"{base}/nothing", f"{base}/else")
    with pytest.raises(errors.DatasetNotFound):
        zfs.rename(f"{base}/x", f"{base}/nothing/x")


def test_names_that_are_taken(base: str, volume: str) -> None:
    zfs.create_snapshot(volume, "base")
    creates: list[Change] = [
        lambda: zfs.create_filesystem(base),
        lambda: zfs.create_filesystem(volume),
        lambda: zfs.create_volume(volume, MIB, sparse=True),
        lambda: zfs.create_snapshot(volume, "base"),
        lambda: zfs.clone(f"{volume}@base", volume),
    ]
    for create in creates:
        with pytest.raises(errors.DatasetExists):
            create()


def test_names_that_are_not_there(base: str) -> None:
    uses: list[Change] = [
        lambda: zfs.create_filesystem(f"{base}/nothing/below"),
        lambda: zfs.create_filesystem("btnowhere/below"),
        lambda: zfs.create_volume(f"{base}/nothing/below", MIB, sparse=True),
        lambda: zfs.create_snapshot(f"{base}/nothing", "now"),
        lambda: zfs.clone(f"{base}@nothing", f"{base}/clone"),
        lambda: zfs.destroy(f"{base}/nothing"),
        lambda: zfs.destroy(f"{base}@nothing"),
        lambda: zfs.destroy(f"{base}/nothing@now"),
        lambda: zfs.promote(f"{base}/nothing"),
        lambda: zfs.write_properties(f"{base}/nothing", {"atime": "off"}),
        lambda: zfs.read_properties(f"{base}/nothing", ["atime"]),
        lambda: zfs.list_datasets(f"{base}/nothing"),
    ]
    for use in uses:
        with pytest.raises(errors.DatasetNotFound):
            use()


def test_what_is_in_use(base: str, volume: str) -> None:
    with pytest.raises(errors.DatasetBusy):
        zfs.destroy(base)  # it has children
    node = os.open(zfs.node_path(volume), os.O_RDWR)
    try:
        with pytest.raises(errors.DatasetBusy):
            zfs.destroy(volume)
    finally:
        os.close(node)
    zfs.destroy(volume)
    assert not os.path.exists(zfs.node_path(volume))


def test_values_that_cannot_be(base: str, volume: str) -> None:
    wrong: list[Change] = [
        lambda: zfs.create_filesystem(f"{base}/a%b"),
        lambda: zfs.create_filesystem(f"{base}/new", properties={"btcolour": "red"}),
        lambda: zfs.create_volume(f"{base}/new", MIB, sparse=True, properties={"volblocksize": "3000"}),
        lambda: zfs.write_properties(volume, {"volsize": 16 * MIB + 512}),
        lambda: zfs.write_properties(volume, {"volsize": "much"}),
        lambda: zfs.write_properties(volume, {"btcolour": "red"}),
        lambda: zfs.write_properties(base, {"used": 1}),
        lambda: zfs.read_properties(base, ["btcolour"]),
    ]
    for refused in wrong:
        with pytest.raises(errors.InvalidArgument):
            refused()
    assert zfs.read_dataset(f"{base}/new") is None
    for name in ("", "-r", "/dev/null"):
        with pytest.raises(ValueError, match="dataset"):
            zfs.destroy(name)


def test_more_than_there_is(base: str, pool: zfs.Pool) -> None:
    with pytest.raises(errors.OutOfSpace):
        zfs.create_volume(f"{base}/huge", (pool.size // GIB + 1) * 2 * GIB)
    zfs.create_volume(f"{base}/huge", (pool.size // GIB + 1) * 2 * GIB, sparse=True)  # a promise costs nothing
    zfs.create_volume(f"{base}/full", 8 * MIB)
    for wanted in ({"volsize": (pool.size // GIB + 1) * 2 * GIB}, {"refreservation": pool.size * 2}):
        with pytest.raises(errors.OutOfSpace):
            zfs.write_properties(f"{base}/full", wanted)
    zfs.write_properties(base, {"quota": 64 * MIB})
    below = zfs.read_dataset(base)
    assert below is not None and below.available is not None and below.available <= 64 * MIB
    with pytest.raises(errors.OutOfSpace):
        zfs.create_volume(f"{base}/more", 128 * MIB)


def test_others_than_root(base: str, volume: str) -> None:
    zfs.create_snapshot(volume, "base")
    with as_nobody():
        changes: list[Change] = [
            lambda: zfs.create_filesystem(f"{base}/new"),
            lambda: zfs.create_volume(f"{base}/new", MIB, sparse=True),
            lambda: zfs.create_snapshot(volume, "new"),
            lambda: zfs.clone(f"{volume}@base", f"{base}/new"),
            lambda: zfs.write_properties(base, {"atime": "off"}),
            lambda: zfs.rename(volume, f"{base}/new"),
            lambda: zfs.destroy(f"{volume}@base"),
        ]
        for change in changes:
            with pytest.raises(errors.PermissionDenied):
                change()
        assert zfs.read_dataset(f"{volume}@base") is not None  # looking is allowed
    assert sorted(print_names(base)) == sorted([base, volume])
