"""Secrets of a site: made once, kept, and nobody else's to read."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from beastack.site import secrets
from beastack.site.secrets import NAMES, load_or_make


@pytest.fixture(autouse=True)
def careless_umask() -> Iterator[None]:
    """What is private must be so by itself."""
    before = os.umask(0)
    yield
    os.umask(before)


def test_every_secret_is_made_and_unlike_the_others(tmp_path: Path) -> None:
    made = load_or_make(tmp_path / "secrets.json")
    assert sorted(made) == sorted(NAMES)
    assert len(set(made.values())) == len(NAMES)
    for value in made.values():
        assert len(value) == 32
        assert set(value) <= set("0123456789abcdef")
    assert load_or_make(tmp_path / "elsewhere.json") != made


def test_only_the_owner_can_read_them(tmp_path: Path) -> None:
    load_or_make(tmp_path / "secrets.json")
    assert [path.name for path in tmp_path.iterdir()] == ["secrets.json"]
    assert stat.S_IMODE((tmp_path / "secrets.json").stat().st_mode) == 0o600


def test_they_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "secrets.json"
    made = load_or_make(path)
    before = path.stat()
    assert load_or_make(path) == made
    assert path.stat().st_ino == before.st_ino
    assert path.stat().st_mtime_ns == before.st_mtime_ns


def test_a_name_of_a_later_release_is_added_and_the_rest_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "secrets.json"
    made = load_or_make(path)
    monkeypatch.setattr(secrets, "NAMES", (*NAMES, "new-one"))
    completed = load_or_make(path)
    assert set(completed) - set(made) == {"new-one"}
    assert {name: completed[name] for name in made} == made
    assert json.loads(path.read_text()) == completed
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_secret_that_is_no_longer_used_is_not_thrown_away(tmp_path: Path) -> None:
    path = tmp_path / "secrets.json"
    path.write_text(json.dumps({"admin": "chosen", "of-an-older-release": "kept"}))
    known = load_or_make(path)
    assert (known["admin"], known["of-an-older-release"]) == ("chosen", "kept")
    assert set(known) == {*NAMES, "of-an-older-release"}


def test_what_an_interrupted_run_left_is_in_nobodys_way(tmp_path: Path) -> None:
    (tmp_path / ".secrets.json.new").write_text('{"admin": "ha')
    made = load_or_make(tmp_path / "secrets.json")
    assert json.loads((tmp_path / "secrets.json").read_text()) == made
    assert [path.name for path in tmp_path.iterdir()] == ["secrets.json"]
