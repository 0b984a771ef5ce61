"""Where a site keeps what, and the names made from its place."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from beastack.site.layout import INTERFACE_NAME_MAX, Layout, default_root

ELSEWHERE = Layout(Path("/srv/cloud"))


@pytest.mark.parametrize(
    ("platform", "root"),
    [("linux", "/var/lib/beastack"), ("freebsd15", "/var/db/beastack"), ("freebsd14", "/var/db/beastack")],
)
def test_the_default_place(platform: str, root: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", platform)
    assert default_root() == Path(root)
    assert Layout(Path(root)).is_default
    assert Layout(Path(root)).prefix == "beastack"
    assert not Layout(Path(root) / "other").is_default


def test_another_site_has_names_of_its_own() -> None:
    assert not ELSEWHERE.is_default
    # The first six digits of SHA-256 of the path, so that they never change.
    assert ELSEWHERE.prefix == "bsaa56f7"
    assert ELSEWHERE.user("nova-api") == "bsaa56f7-nova-api"
    assert ELSEWHERE.interface("int") == "bsaa56f7-int"
    assert Layout(Path("/srv/cloud2")).prefix != ELSEWHERE.prefix


def test_users_of_the_machines_own_site() -> None:
    assert Layout(default_root()).user("glance") == "beastack-glance"


@pytest.mark.parametrize("root", [default_root(), Path("/srv/cloud")])
def test_an_interface_name_that_no_kernel_takes_is_refused(root: Path) -> None:
    layout = Layout(root)
    room = INTERFACE_NAME_MAX - len(layout.prefix) - 1
    assert len(layout.interface("x" * room)) == 15
    with pytest.raises(ValueError, match="longer than 15 bytes"):
        layout.interface("x" * (room + 1))


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (ELSEWHERE.marker, "/srv/cloud/site.json"),
        (ELSEWHERE.secrets, "/srv/cloud/secrets.json"),
        (ELSEWHERE.records, "/srv/cloud/records.jsonl"),
        (ELSEWHERE.venv, "/srv/cloud/venv"),
        (ELSEWHERE.python, "/srv/cloud/venv/bin/python"),
        (ELSEWHERE.clouds_yaml, "/srv/cloud/clouds.yaml"),
        (ELSEWHERE.etc("glance"), "/srv/cloud/etc/glance"),
        (ELSEWHERE.run("glance"), "/srv/cloud/run/glance"),
        (ELSEWHERE.run(), "/srv/cloud/run"),
        (ELSEWHERE.log("nova-api"), "/srv/cloud/log/nova-api.log"),
        (ELSEWHERE.data("mariadb"), "/srv/cloud/data/mariadb"),
    ],
)
def test_everything_is_below_the_root(path: Path, expected: str) -> None:
    assert path == Path(expected)
