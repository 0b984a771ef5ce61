"""The dataset of instances' disks: made once, never taken from somebody else, removed as a whole."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from beastack.site import operate, records, secrets
from beastack.site.configuration import Facts, Site
from beastack.site.description import Compute, Description, Hosts
from beastack.site.host import HostError, freebsd_volumes
from beastack.site.layout import Layout
from beastack.site.records import Record
from recorded_commands import Commands, play
from test_freebsd_zfs import COLUMNS, LIST

NAME = "tank/instances"
THERE = f"{NAME}\tfilesystem\t98304\t100\t98304\t-\t-\tnone\n"
UUID = "0a0a0a0a-1111-2222-3333-444444444444"
OTHER = "f0f0f0f0-1111-2222-3333-444444444444"
MISSING = f"cannot open '{NAME}': dataset does not exist\n"


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch) -> Iterator[Commands]:
    yield from play(monkeypatch)


@pytest.fixture
def site(tmp_path: Path) -> Site:
    facts = Facts(cpus=2, hostname="box", novnc_pages="/x", python="/x", helper="/x")
    description = Description(compute=Compute(zfs_dataset=NAME))
    return Site(Layout(tmp_path), description, dict.fromkeys(secrets.NAMES, "0" * 32), facts)


def test_it_is_made_once_and_removed_as_a_whole(site: Site, commands: Commands) -> None:
    commands.expect(f"{LIST} {NAME}", stderr=MISSING, status=1)
    commands.expect(f"zfs create -o mountpoint=none {NAME}")
    freebsd_volumes.prepare(site)
    (record,) = records.read(site.layout.records)
    assert record == Record("dataset", NAME)
    commands.expect(f"{LIST} {NAME}", THERE)
    freebsd_volumes.prepare(site)
    commands.expect(f"zfs destroy -R {NAME}")
    assert operate._undo(record) == f"removed the dataset {NAME}"
    commands.expect(f"zfs destroy -R {NAME}", stderr=MISSING, status=1)
    operate._undo(record)


def test_somebody_elses_is_refused_and_stays(site: Site, commands: Commands) -> None:
    commands.expect(f"{LIST} {NAME}", THERE)
    with pytest.raises(HostError, match="is there already"):
        freebsd_volumes.prepare(site)
    assert records.read(site.layout.records) == []


def test_why_it_cannot_be_made_is_said(site: Site, commands: Commands) -> None:
    commands.expect(f"{LIST} {NAME}", stderr=MISSING, status=1)
    commands.expect(
        f"zfs create -o mountpoint=none {NAME}", stderr=f"cannot create '{NAME}': no such pool 'tank'\n", status=1
    )
    with pytest.raises(HostError, match="no such pool"):
        freebsd_volumes.prepare(site)


def test_without_one_nothing_is_asked(tmp_path: Path, commands: Commands) -> None:
    facts = Facts(cpus=2, hostname="box", novnc_pages="/x", python="/x", helper="/x")
    plain = Site(Layout(tmp_path), Description(), dict.fromkeys(secrets.NAMES, "0" * 32), facts)
    freebsd_volumes.prepare(plain)
    assert freebsd_volumes.is_prepared(plain)


def row(name: str, kind: str = "volume") -> str:
    return f"{name}\t{kind}\t98304\t100\t98304\t1024\t-\t-\n"


def keep_volumes(layout: Layout, commands: Commands, *names: str) -> None:
    """Have a site that made the dataset, with volumes in it."""
    records.add(layout.records, Record("dataset", NAME))
    commands.expect(f"zfs list -Hp -o {COLUMNS} -t volume -r {NAME}", "".join(row(f"{NAME}/{name}") for name in names))


@pytest.mark.parametrize("directory", [UUID, f"{UUID}_resize"])
def test_disks_in_files_keep_a_dataset_from_being_used(
    tmp_path: Path, site: Site, commands: Commands, directory: str
) -> None:
    (tmp_path / "data/nova/instances/_base").mkdir(parents=True)
    freebsd_volumes.check_disks(site.layout, site.description)
    disk = tmp_path / "data/nova/instances" / directory / "disk"
    disk.parent.mkdir()
    disk.touch()
    with pytest.raises(HostError, match=f"cannot become {NAME} while an instance has its disks in files .{UUID}.: "):
        freebsd_volumes.check_disks(site.layout, site.description)
    freebsd_volumes.check_disks(site.layout, Description())


@pytest.mark.parametrize("wanted, said", [(None, "be left out"), ("tank/others", "become tank/others")])
def test_volumes_keep_their_dataset_in_use(site: Site, commands: Commands, wanted: str | None, said: str) -> None:
    other = Description(compute=Compute(zfs_dataset=wanted))
    keep_volumes(site.layout, commands, "base/0123", f"{OTHER}_disk", f"{UUID}_disk.eph0", f"{UUID}_disk")
    with pytest.raises(HostError, match=f"cannot {said} while 2 instances have their disks below {NAME} .{UUID}.: "):
        freebsd_volumes.check_disks(site.layout, other)
    keep_volumes(site.layout, commands, "base/0123")
    freebsd_volumes.check_disks(site.layout, other)
    keep_volumes(site.layout, commands, "base/0123", f"{UUID}_disk")
    freebsd_volumes.check_disks(site.layout, site.description)


def test_a_dataset_that_is_gone_keeps_nobody(site: Site, commands: Commands) -> None:
    records.add(site.layout.records, Record("dataset", NAME))
    commands.expect(f"zfs list -Hp -o {COLUMNS} -t volume -r {NAME}", stderr=MISSING, status=1)
    freebsd_volumes.check_disks(site.layout, Description())


def test_a_linux_host_has_none() -> None:
    description = Description(compute=Compute(zfs_dataset=NAME), host=Hosts(kind="linux"))
    with pytest.raises(operate.SiteError, match=r"compute\.zfs_dataset"):
        operate.check_kind(description)
