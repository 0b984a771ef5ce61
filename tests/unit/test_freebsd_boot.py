"""Starting a site when FreeBSD boots: the rc script, and the variable that switches it on."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from beastack.freebsd import service
from beastack.site import boot, operate, records, secrets
from beastack.site.configuration import Facts, Site
from beastack.site.description import Description, Hosts
from beastack.site.host import freebsd_boot
from beastack.site.layout import Layout


@pytest.fixture
def rc(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[dict[str, str]]:
    """The variables of rc.conf; rc.d is a directory of the test's."""
    values: dict[str, str] = {}
    monkeypatch.setattr(freebsd_boot, "SCRIPTS", tmp_path / "rc.d")
    monkeypatch.setattr(service, "read_variable", lambda key: values.get(key))
    monkeypatch.setattr(service, "write_variable", lambda key, value, **options: values.update({key: value}))
    monkeypatch.setattr(service, "delete_variable", lambda key: values.pop(key, None) is not None)
    monkeypatch.setattr(service, "is_enabled", lambda name: values.get(f"{name}_enable", "NO").lower() == "yes")
    yield values


@pytest.fixture
def site(tmp_path: Path) -> Site:
    layout = Layout(tmp_path / "site")
    layout.root.mkdir()
    facts = Facts(cpus=2, hostname="box", novnc_pages="/x", python="/usr/local/bin/python3.11", helper="/x")
    return Site(layout, Description(host=Hosts(kind="freebsd")), dict.fromkeys(secrets.NAMES, "0" * 32), facts)


def test_it_is_on_and_off_again_without_a_trace(rc: dict[str, str], site: Site) -> None:
    name = site.layout.prefix
    said = boot.enable(site)
    script = freebsd_boot.SCRIPTS / name
    assert rc == {f"{name}_enable": "YES"} and str(script) in said
    assert script.stat().st_mode & 0o777 == 0o555
    assert boot.enable(site) == said and len(records.read(site.layout.records)) == 2
    assert boot.disable(site) == f"{name}_enable is as it was before"
    assert rc == {} and not script.exists() and records.read(site.layout.records) == []
    assert boot.disable(site) == "the site is not started at boot"


def test_what_rc_conf_said_before_comes_back(rc: dict[str, str], site: Site) -> None:
    variable = f"{site.layout.prefix}_enable"
    rc[variable] = "NO"
    boot.enable(site)
    assert rc[variable] == "YES"
    boot.disable(site)
    assert rc[variable] == "NO"


def test_what_an_administrator_set_since_stays(rc: dict[str, str], site: Site) -> None:
    variable = f"{site.layout.prefix}_enable"
    boot.enable(site)
    rc[variable] = "no"
    (record,) = [one for one in records.read(site.layout.records) if one.kind == "rc.conf"]
    assert operate._undo(record) == f"left {variable} in rc.conf, which somebody else has set"
    assert rc[variable] == "no"


def test_destroy_takes_it_back(rc: dict[str, str], site: Site) -> None:
    boot.enable(site)
    for record in reversed(records.read(site.layout.records)):
        operate._undo(record)
    assert rc == {} and not any(freebsd_boot.SCRIPTS.iterdir())


def test_the_port_s_script_is_left_alone(rc: dict[str, str], site: Site) -> None:
    script = freebsd_boot.script_file(site)
    script.parent.mkdir()
    script.write_text("the port's")
    boot.enable(site)
    assert script.read_text() == "the port's" and rc[f"{site.layout.prefix}_enable"] == "YES"
    boot.disable(site)
    assert script.read_text() == "the port's" and rc == {}


def test_a_site_that_somebody_else_switched_on_is_switched_off(rc: dict[str, str], site: Site) -> None:
    variable = f"{site.layout.prefix}_enable"
    rc[variable] = "YES"
    boot.enable(site)
    assert boot.disable(site) == f"{variable} is NO: the site is not started at boot"
    assert rc[variable] == "NO"


def test_the_script_is_whole_shell_and_names_the_site(site: Site, tmp_path: Path) -> None:
    text = freebsd_boot.script_text(site, Path("/opt/beastack/beastack"))
    assert "%%" not in text
    for line in ("PROVIDE", "REQUIRE", "KEYWORD"):
        assert f"\n# {line}: " in text
    assert f'name="{site.layout.prefix}"' in text and str(site.layout.root) in text
    file = tmp_path / "script"
    file.write_text(text)
    subprocess.run(["sh", "-n", str(file)], check=True)
