"""Secrets made anew: none is made twice, none is left old, whatever is cut short."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any, cast

import pytest

from beastack.site import rotate, secrets, services
from beastack.site.configuration import Facts, Site
from beastack.site.description import Description
from beastack.site.layout import Layout
from beastack.supervisor.client import Client


class Supervisor:
    """Runs what is named, until it is stopped."""

    def __init__(self, **tiers: int) -> None:
        self.tiers = {name.replace("_", "-"): tier for name, tier in tiers.items()}
        self.stopped: list[str] = []

    def running(self) -> bool:
        return True

    def ask(self, op: str, names: list[str]) -> None:
        assert op == "stop"
        self.stopped += names

    def services(self) -> dict[str, dict[str, Any]]:
        return {name: {"tier": tier, "pid": name not in self.stopped} for name, tier in self.tiers.items()}


@pytest.fixture
def site(tmp_path: Path) -> Site:
    layout = Layout(tmp_path)
    keys = layout.data("keystone") / "fernet-keys"
    keys.mkdir(parents=True)
    (keys / "0").write_text("old")
    facts = Facts(2, "box", "/x", "/usr/bin/python3", "/x")
    return Site(layout, Description(), secrets.load_or_make(layout.secrets), facts)


def prepare(site: Site, supervisor: Supervisor) -> None:
    rotate.prepare(site, cast(Client, supervisor))


def test_every_secret_is_another_one(site: Site) -> None:
    assert rotate.begin(site.layout)
    now = json.loads(site.layout.secrets.read_text())
    assert set(now) == set(secrets.NAMES)
    assert not set(now.values()) & set(site.secrets.values())
    assert stat.S_IMODE(site.layout.secrets.stat().st_mode) == 0o600


def test_certificates_that_other_hosts_know_stay(site: Site) -> None:
    secrets.add(site.layout.secrets, {"migration-authority": "certificate"})
    rotate.begin(site.layout)
    assert json.loads(site.layout.secrets.read_text())["migration-authority"] == "certificate"


def test_begun_twice_they_are_made_once(site: Site) -> None:
    rotate.begin(site.layout)
    text = site.layout.secrets.read_text()
    assert not rotate.begin(site.layout)
    assert site.layout.secrets.read_text() == text


def test_killed_before_the_first_secret_was_replaced_it_begins_anew(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = site.layout.secrets.read_text()
    real = secrets.write

    def write(path: Path, text: str) -> None:
        if path == site.layout.secrets:
            raise KeyboardInterrupt
        real(path, text)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(secrets, "write", write)
        rotate.begin(site.layout)
    assert rotate.is_pending(site.layout) and site.layout.secrets.read_text() == before
    assert rotate.begin(site.layout)
    assert site.layout.secrets.read_text() != before


def test_who_knows_a_secret_is_stopped_and_guests_are_not(site: Site) -> None:
    supervisor = Supervisor(
        mariadb=services.DATA, rabbitmq=services.DATA, epmd=services.DATA, ovs_vswitchd=services.SWITCH,
        libvirtd=services.HYPERVISOR, console=services.HYPERVISOR, keystone=services.IDENTITY, glance=services.CONTROL,
        nova_compute=services.HOST,
    )  # fmt: skip
    rotate.begin(site.layout)
    prepare(site, supervisor)
    assert set(supervisor.stopped) == {"rabbitmq", "epmd", "keystone", "glance", "nova-compute"}
    assert not (site.layout.data("keystone") / "fernet-keys").exists()


def test_what_up_has_made_since_is_not_undone(site: Site) -> None:
    rotate.begin(site.layout)
    prepare(site, Supervisor(keystone=services.IDENTITY))
    keys = site.layout.data("keystone") / "fernet-keys"
    keys.mkdir()
    again = Supervisor(keystone=services.IDENTITY)
    prepare(site, again)
    assert keys.exists() and not again.stopped
    assert not rotate.begin(site.layout)  # and it is still the same rotation


def test_at_its_end_nothing_is_pending(site: Site) -> None:
    rotate.begin(site.layout)
    rotate.finish(site.layout)
    assert not rotate.is_pending(site.layout)
    assert rotate.begin(site.layout)  # the next one is another one
