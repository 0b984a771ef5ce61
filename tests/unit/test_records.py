"""Records of what was made outside the state directory: none is lost, whatever happens."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from beastack.site import records
from beastack.site.records import Record

USER = Record("user", "beastack-glance")
LINK = Record("link", "/usr/local/bin/openstack", "/var/lib/beastack/venv/bin/openstack")
PACKAGES = Record("packages", "debian", "haproxy ovmf")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "records.jsonl"


def test_no_file_is_no_records(path: Path) -> None:
    assert records.read(path) == []
    assert not path.exists()


def test_records_are_kept_in_the_order_they_were_added(path: Path) -> None:
    for record in (USER, LINK, PACKAGES):
        records.add(path, record)
    assert records.read(path) == [USER, LINK, PACKAGES]
    assert path.read_text().splitlines()[0] == '{"kind": "user", "name": "beastack-glance", "detail": ""}'


def test_adding_again_changes_nothing(path: Path) -> None:
    records.add(path, USER)
    records.add(path, LINK)
    before = path.read_bytes()
    records.add(path, USER)
    assert path.read_bytes() == before


def test_one_that_differs_in_any_part_is_another(path: Path) -> None:
    variants = [USER, Record("file", USER.name), Record("user", "other"), Record("user", USER.name, "detail")]
    for record in variants:
        records.add(path, record)
    assert records.read(path) == variants


def test_any_text_comes_back_as_it_was(path: Path) -> None:
    odd = Record("file", '/tmp/a "b"\nc\N{SNOWMAN}', "\\")
    records.add(path, odd)
    records.add(path, USER)
    assert records.read(path) == [odd, USER]


def test_only_the_owner_can_read_them(path: Path) -> None:
    before = os.umask(0)
    try:
        records.add(path, USER)
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        records.add(path, LINK)
        records.drop(path, USER)
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    finally:
        os.umask(before)


def test_one_is_dropped_and_the_others_stay(path: Path) -> None:
    for record in (USER, LINK, PACKAGES):
        records.add(path, record)
    records.drop(path, LINK)
    assert records.read(path) == [USER, PACKAGES]
    records.drop(path, LINK)
    assert records.read(path) == [USER, PACKAGES]
    assert [each.name for each in path.parent.iterdir()] == ["records.jsonl"]


def test_dropping_the_last_one_leaves_none(path: Path) -> None:
    records.add(path, USER)
    records.drop(path, USER)
    assert records.read(path) == []


# A crash while a record was written.


@pytest.mark.parametrize("left", ['{"kind": "us', '{"kind": "user"}', "[]", "null", "7", '"text"', "{"])
def test_a_half_written_last_line_is_ignored(path: Path, left: str) -> None:
    records.add(path, USER)
    with path.open("a") as stream:
        stream.write(left)
    assert records.read(path) == [USER]


def test_what_is_added_after_a_half_written_line_is_not_lost(path: Path) -> None:
    records.add(path, USER)
    with path.open("a") as stream:
        stream.write('{"kind": "us')
    records.add(path, LINK)
    assert records.read(path) == [USER, LINK]


def test_dropping_mends_a_half_written_file(path: Path) -> None:
    records.add(path, USER)
    records.add(path, LINK)
    with path.open("a") as stream:
        stream.write('{"kind": "us')
    records.drop(path, USER)
    records.add(path, PACKAGES)
    assert records.read(path) == [LINK, PACKAGES]
