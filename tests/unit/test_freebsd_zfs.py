"""ZFS: each change's command, each listing's values, each refusal, and waiting for a node."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from beastack.freebsd import zfs
from beastack.freebsd.command import CommandError, CommandNotFound
from beastack.freebsd.errors import (
    DatasetBusy,
    DatasetExists,
    DatasetNotFound,
    InvalidArgument,
    OutOfSpace,
    PermissionDenied,
)
from beastack.freebsd.zfs import Dataset, Pool, Property
from recorded_commands import Clock, Commands, golden, play

COLUMNS = "name,type,used,available,referenced,origin,volsize,mountpoint"
LIST = f"zfs list -Hp -o {COLUMNS} -t filesystem,volume"
POOLS = "zpool list -Hp -o name,size,allocated,free,health"
GIB = 1024**3


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch) -> Iterator[Commands]:
    yield from play(monkeypatch)


@pytest.mark.parametrize(
    ("act", "argv"),
    [
        (lambda: zfs.create_filesystem("tank/a"), "zfs create tank/a"),
        (
            lambda: zfs.create_filesystem("tank/a/b", properties={"mountpoint": "/x", "quota": "1G"}, parents=True),
            "zfs create -p -o mountpoint=/x -o quota=1G tank/a/b",
        ),
        (lambda: zfs.create_volume("tank/v", 10 * GIB), "zfs create -V 10737418240 tank/v"),
        (
            lambda: zfs.create_volume(
                "tank/img/v", GIB, sparse=True, parents=True, properties={"volmode": "dev", "volblocksize": "16k"}
            ),
            "zfs create -p -s -V 1073741824 -o volmode=dev -o volblocksize=16k tank/img/v",
        ),
        (lambda: zfs.create_snapshot("tank/v", "base"), "zfs snapshot tank/v@base"),
        (lambda: zfs.create_snapshot("tank", "now", recursive=True), "zfs snapshot -r tank@now"),
        (lambda: zfs.clone("tank/v@base", "tank/vm/1"), "zfs clone tank/v@base tank/vm/1"),
        (
            lambda: zfs.clone("tank/v@base", "tank/vm/1", properties={"volmode": "dev"}, parents=True),
            "zfs clone -p -o volmode=dev tank/v@base tank/vm/1",
        ),
        (lambda: zfs.destroy("tank/v"), "zfs destroy tank/v"),
        (lambda: zfs.destroy("tank/v", recursive=True), "zfs destroy -r tank/v"),
        (lambda: zfs.destroy("tank/v@base", deferred=True), "zfs destroy -d tank/v@base"),
        (lambda: zfs.destroy("tank/v", clones=True), "zfs destroy -R tank/v"),
        (lambda: zfs.promote("tank/vm/1"), "zfs promote tank/vm/1"),
        (lambda: zfs.rename("tank/a", "tank/b"), "zfs rename tank/a tank/b"),
        (lambda: zfs.rename("tank/a", "tank/c/b", parents=True), "zfs rename -p tank/a tank/c/b"),
        (
            lambda: zfs.write_properties("tank/v", {"volsize": 20 * GIB, "org.beastack:owner": "x"}),
            "zfs set volsize=21474836480 org.beastack:owner=x tank/v",
        ),
    ],
)
def test_each_change_is_one_command(commands: Commands, act: Callable[[], None], argv: str) -> None:
    commands.expect(argv)
    act()
    assert commands.options == {"timeout": zfs.TIMEOUT}


@pytest.mark.parametrize("name", ["", "-r", "/tank"])
def test_what_is_no_dataset_is_refused(commands: Commands, name: str) -> None:
    for act in (zfs.destroy, zfs.promote, zfs.read_dataset, zfs.node_path, zfs.read_pool):
        with pytest.raises(ValueError, match="no name of a dataset"):
            act(name)


@pytest.mark.parametrize(
    ("stderr", "kind"),
    [
        ("cannot create 'tank/v': dataset already exists\n", DatasetExists),
        ("cannot create snapshot 'tank/v@a': dataset already exists\n", DatasetExists),
        ("cannot open 'tank/v': dataset does not exist\n", DatasetNotFound),
        ("cannot create 'tank/x/v': parent does not exist\n", DatasetNotFound),
        ("cannot create 'no/v': no such pool 'no'\n", DatasetNotFound),
        ("could not find any snapshots to destroy; check snapshot names.\n", DatasetNotFound),
        (
            "cannot destroy 'tank/v': volume has children\nuse '-r' to destroy the following datasets:\ntank/v@base\n",
            DatasetBusy,
        ),
        (
            "cannot destroy 'tank/v': volume has dependent clones\n"
            "use '-R' to destroy the following datasets:\ntank/vm/1\n",
            DatasetBusy,
        ),
        ("cannot destroy snapshot tank/v@base: snapshot is cloned\n", DatasetBusy),
        ("cannot destroy 'tank/v': dataset is busy\n", DatasetBusy),
        ("cannot create 'tank/v': out of space\n", OutOfSpace),
        ("cannot set property for 'tank/v': size is greater than available space\n", OutOfSpace),
        ("cannot create 'tank/v': permission denied\n", PermissionDenied),
        ("Unable to open /dev/zfs: Permission denied.\n", PermissionDenied),
        ("cannot destroy 'tank/v': Operation not permitted\n", PermissionDenied),
        ("cannot create 'tank/v': invalid property 'x'\n", InvalidArgument),
        ("cannot create 'tank/%': invalid character '%' in name\n", InvalidArgument),
        ("bad numeric value 'x'\n", InvalidArgument),
        ("cannot create 'tank/v': volume size must be a multiple of volume block size\n", InvalidArgument),
        ("cannot create 'tank/v': 'volblocksize' must be power of 2 from 512B to 16M\n", InvalidArgument),
        ("cannot set property for 'tank/v': 'used' is readonly\n", InvalidArgument),
        ("cannot promote 'tank/v': not a cloned filesystem\n", InvalidArgument),
        ("cannot destroy 'tank': operation does not apply to pools\n", InvalidArgument),
        ("internal error: failed to initialize ZFS library\n", CommandError),
    ],
)
def test_each_refusal_has_its_class(commands: Commands, stderr: str, kind: type[CommandError]) -> None:
    commands.expect("zfs destroy tank/v", "", stderr, status=1)
    with pytest.raises(CommandError) as caught:
        zfs.destroy("tank/v")
    assert type(caught.value) is kind
    assert caught.value.stderr == stderr


def test_a_missing_program_is_told(commands: Commands) -> None:
    commands.expect("zfs promote a", status=None)
    with pytest.raises(CommandNotFound):
        zfs.promote("a")


# Listings.


def test_the_datasets_of_a_14_host(commands: Commands) -> None:
    commands.expect(LIST, golden("zfs/list-14.4.txt"))
    assert zfs.list_datasets() == (
        Dataset("tank", "filesystem", 104857600, 9663676416, 98304, None, None, "/tank"),
        Dataset("tank/img", "filesystem", 52428800, 9663676416, 98304, None, None, "none"),
        Dataset("tank/img/cirros", "volume", 20971520, 9663676416, 20971520, None, 117440512, None),
        Dataset("tank/vm/5d0c", "volume", 1048576, 9663676416, 21495808, "tank/img/cirros@base", 10737418240, None),
    )


def test_a_name_with_a_blank_and_the_part_below_a_name(commands: Commands) -> None:
    commands.expect(f"{LIST} -r zroot", golden("zfs/list-15.1.txt"))
    found = zfs.list_datasets("zroot", recursive=True)
    assert found[1] == Dataset("zroot/my data", "filesystem", 98304, 53687091200, 98304, None, None, "/data")
    commands.expect(f"zfs list -Hp -o {COLUMNS} -t snapshot -r tank", "")
    assert zfs.list_datasets("tank", kinds=["snapshot"], recursive=True) == ()


def test_one_dataset_or_snapshot_or_none(commands: Commands) -> None:
    row = golden("zfs/list-14.4.txt").splitlines(keepends=True)[2]
    commands.expect(f"{LIST} tank/img/cirros", row)
    found = zfs.read_dataset("tank/img/cirros")
    assert found is not None and found.volume_size == 117440512
    commands.expect(f"zfs list -Hp -o {COLUMNS} -t snapshot tank/img/cirros@base", golden("zfs/snapshot-15.1.txt"))
    assert zfs.read_dataset("tank/img/cirros@base") == Dataset(
        "tank/img/cirros@base", "snapshot", 0, None, 20971520, None, 117440512, None
    )
    commands.expect(f"{LIST} tank/no", "", "cannot open 'tank/no': dataset does not exist\n", status=1)
    assert zfs.read_dataset("tank/no") is None


def test_properties_with_their_sources(commands: Commands) -> None:
    names = ["volsize", "volmode", "compression", "origin", "reservation"]
    commands.expect(
        ["zfs", "get", "-Hp", "-o", "property,value,source", ",".join(names), "tank/vm/5d0c"],
        golden("zfs/get-14.4.txt"),
    )
    assert zfs.read_properties("tank/vm/5d0c", names) == {
        "volsize": Property("10737418240", "local"),
        "volmode": Property("dev", "local"),
        "compression": Property("on", "default"),
        "origin": Property("tank/img/cirros@base", "-"),
        "reservation": Property("0", "inherited from tank"),
    }


@pytest.mark.parametrize(
    ("file", "pools"),
    [
        (
            "zpool-14.4.txt",
            (
                Pool("tank", 10200547328, 104857600, 10095689728, "ONLINE"),
                Pool("zroot", 64424509440, 2147483648, 62277025792, "DEGRADED"),
            ),
        ),
        (
            "zpool-15.1.txt",
            (Pool("tank", 10200547328, 104857600, 10095689728, "ONLINE"), Pool("lost", 0, 0, 0, "UNAVAIL")),
        ),
    ],
)
def test_pools(commands: Commands, file: str, pools: tuple[Pool, ...]) -> None:
    commands.expect(POOLS, golden(f"zfs/{file}"))
    assert zfs.list_pools() == pools


def test_one_pool_or_none(commands: Commands) -> None:
    row = golden("zfs/zpool-14.4.txt").splitlines(keepends=True)[0]
    commands.expect(f"{POOLS} tank", row)
    found = zfs.read_pool("tank")
    assert found is not None and found.free == 10095689728
    commands.expect(f"{POOLS} no", "", "cannot open 'no': no such pool\n", status=1)
    assert zfs.read_pool("no") is None


# The node.


def test_a_node_is_awaited() -> None:
    clock = Clock()
    looked: list[str] = []

    def exists(path: str) -> bool:
        looked.append(path)
        return len(looked) == 3

    path = zfs.wait_for_node("tank/vm/1", interval=0.2, clock=clock.read, sleep=clock.sleep, exists=exists)
    assert path == "/dev/zvol/tank/vm/1"
    assert looked == [path] * 3
    assert clock.slept == [0.2, 0.2]


def test_a_node_that_does_not_appear_is_told() -> None:
    clock = Clock()
    with pytest.raises(TimeoutError, match=r"/dev/zvol/tank/v did not appear within 0\.5 s"):
        zfs.wait_for_node(
            "tank/v", limit=0.5, interval=0.2, clock=clock.read, sleep=clock.sleep, exists=lambda _path: False
        )
    assert clock.slept == pytest.approx([0.2, 0.2, 0.1])


def test_a_line_of_another_form_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown form"):
        zfs.parse_datasets("tank\tfilesystem\n")
