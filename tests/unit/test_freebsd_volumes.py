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
from test_freebsd_zfs import LIST

NAME = "tank/instances"
THERE = f"{NAME}\tfilesystem\t98304\t100\t98304\t-\t-\tnone\n"
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


def test_a_linux_host_has_none() -> None:
    description = Description(compute=Compute(zfs_dataset=NAME), host=Hosts(kind="linux"))
    with pytest.raises(operate.SiteError, match=r"compute\.zfs_dataset"):
        operate.check_kind(description)
