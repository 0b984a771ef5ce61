"""The split of Python packages between pkg and PyPI: that it was made from this lock file, and what it says."""

from __future__ import annotations

import hashlib
import tomllib
from pathlib import Path
from typing import Any

import pytest

from beastack.site import environment, release, split
from beastack.site.split import Split, SystemPackage, lock_without

LOCK = """\
alembic==1.20.1 \\
    --hash=sha256:aa
    # via nova
numpy==2.4.6 ; python_full_version < '3.12' \\
    --hash=sha256:bb
numpy==2.5.5 ; python_full_version >= '3.12' \\
    --hash=sha256:cc
yappi==1.7.6 \\
    --hash=sha256:dd
    # via oslo-service
zipp==4 \\
    --hash=sha256:ee
"""


def test_it_was_made_from_this_lock_file() -> None:
    found = hashlib.sha256(release.lock_file().read_bytes()).hexdigest()
    assert release.split().lock_sha256 == found, (
        "the lock file changed: run requirements/make_freebsd_split.py, which makes the split anew"
    )


def test_every_distribution_of_it_is_locked_and_has_a_port() -> None:
    made, lock = release.split(), release.lock_file().read_text()
    ports = tomllib.loads((environment.REQUIREMENTS / "freebsd-ports.toml").read_text())
    names = [item.distribution for item in made.packages]
    assert names == sorted(ports) and len(names) == 14
    for name in (*names, *made.pure_sources):
        assert f"\n{name}==" in lock
    assert {item.distribution: item.origin for item in made.packages} == {
        name: port["origin"] for name, port in ports.items()
    }
    by_name = {item.distribution: item for item in made.packages}
    # The tightest bounds of all, and a distribution that nobody bounds.
    assert by_name["cryptography"].bounds["pyOpenSSL 26.4.0"] == "<51,>=49.0.0"
    assert by_name["numpy"].bounds == {}


def test_the_rest_is_the_lock_file_without_it() -> None:
    made = release.split()
    rest = made.rest_of(release.lock_file().read_text())
    pins = {line.partition("==")[0] for line in rest.splitlines() if "==" in line and line[0] not in " #"}
    everything = {
        line.partition("==")[0]
        for line in release.lock_file().read_text().splitlines()
        if "==" in line and line[0] not in " #"
    }
    assert everything - pins == {item.distribution for item in made.packages}


def test_an_entry_goes_with_what_is_indented_below_it() -> None:
    assert lock_without(LOCK, {"numpy", "yappi"}) == (
        "alembic==1.20.1 \\\n    --hash=sha256:aa\n    # via nova\nzipp==4 \\\n    --hash=sha256:ee\n"
    )


def test_who_could_not_do_with_a_version_is_named() -> None:
    item = SystemPackage("cryptography", "cryptography", "x/y", {"a 1": ">=49", "b 2": "<51", "c 3": ">=2"})
    assert item.broken_bounds("48.0.0,1") == ["a 1 needs >=49"]
    assert item.broken_bounds("51.0.0,1") == ["b 2 needs <51"]
    assert item.broken_bounds("50.0.0_1,1") == []


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Every command that makes an environment, none of which is run."""
    ran: list[list[str]] = []

    def run(argv: list[str], **options: Any) -> None:
        ran.append(argv)
        if "--without-pip" in argv:
            Path(argv[-1]).mkdir(parents=True)

    monkeypatch.setattr(environment, "run", run)
    return ran


def test_an_environment_without_the_system_s_part_builds_nothing_compiled(
    tmp_path: Path, made: list[list[str]]
) -> None:
    lock, venv = tmp_path / "lock.txt", tmp_path / "venv"
    lock.write_text(LOCK)
    parts = Split((SystemPackage("numpy", "numpy", "math/py-numpy", {}),), ("zipp",), "0")
    environment.make(venv, (lock,), "/usr/local/bin/python3.11", tmp_path, lambda text: None, without=parts)
    install = made[-1]
    assert {"--no-deps", "--only-binary=:all:", "--no-binary=zipp", "--require-hashes"} <= set(install)
    assert "numpy" not in Path(install[install.index("--requirement") + 1]).read_text()
    assert environment.is_made(venv, lock, without=parts) and not environment.is_made(venv, lock)
    other = Split((), ("zipp",), "0")
    assert not environment.is_made(venv, lock, without=other)


def test_an_environment_with_everything_is_as_good(
    tmp_path: Path, made: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    from beastack.site.layout import Layout

    layout = Layout(tmp_path)
    release.install(layout, "/usr/bin/python3", lambda text: None)
    assert release.is_installed(layout) and not release.is_split(layout)
    release.install(layout, "/usr/bin/python3", lambda text: None, without=release.split())
    assert release.is_installed(layout) and release.is_split(layout)


def test_a_split_file_is_read_whole(tmp_path: Path) -> None:
    file = environment.REQUIREMENTS / f"freebsd-{release.RELEASE}.json"
    assert split.read_split(file) == release.split()
