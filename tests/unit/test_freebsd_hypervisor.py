"""What is left of guests in libvirt's own directories when a site goes."""

from __future__ import annotations

from pathlib import Path

import pytest

from beastack.site import secrets
from beastack.site.configuration import Facts, Site
from beastack.site.description import Compute, Description
from beastack.site.host import freebsd_hypervisor
from beastack.site.layout import Layout


def test_only_the_sites_own_guests_are_forgotten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    definitions, logs = tmp_path / "bhyve", tmp_path / "log"
    (definitions / "autostart").mkdir(parents=True)
    logs.mkdir()
    monkeypatch.setattr(freebsd_hypervisor, "DEFINITIONS", definitions)
    monkeypatch.setattr(freebsd_hypervisor, "LOGS", logs)
    facts = Facts(cpus=2, hostname="box", novnc_pages="/x", python="/x", helper="/x")
    description = Description(compute=Compute(zfs_dataset="tank/instances"))
    site = Site(Layout(tmp_path / "site"), description, dict.fromkeys(secrets.NAMES, "0" * 32), facts)
    (definitions / "instance-1.xml").write_text(f"<source file='{site.layout.data('nova')}/instances/u/disk'/>")
    (definitions / "autostart" / "instance-1.xml").symlink_to(definitions / "instance-1.xml")
    (definitions / "instance-2.xml").write_text("<source file='/dev/zvol/tank/instances/u_disk'/>")
    (definitions / "mine.xml").write_text("<source file='/vm/mine/disk'/>")
    for name in ("instance-1", "mine"):
        (logs / f"{name}.log").write_text("")
    freebsd_hypervisor.forget_guests(site)
    freebsd_hypervisor.forget_guests(site)
    assert sorted(path.name for path in definitions.rglob("*.xml")) == ["mine.xml"]
    assert [path.name for path in logs.iterdir()] == ["mine.log"]
