"""What a site changes of FreeBSD's kernel, and that the host gets back what it had."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from beastack.freebsd import interface, jail, kld, sysctl
from beastack.freebsd.command import CommandError, CommandNotFound
from beastack.freebsd.errors import ModuleBusy, ModuleNotFound, SysctlNotFound
from beastack.freebsd.jail import Jail
from beastack.site import operate, records
from beastack.site.description import Description, Hosts
from beastack.site.host import HostError, freebsd_kernel
from beastack.site.layout import Layout
from beastack.site.plan import Found, make_plan
from beastack.site.records import Record

EVERYTHING = Description(host=Hosts(kind="freebsd"))
CONTROL = Description(host=Hosts(kind="freebsd", role="control"))
NETWORK = Description(host=Hosts(kind="freebsd", role="network"))
OPEN = "net.link.tap.up_on_open"


@dataclass
class Kernel:
    """A kernel that does what it is told, and notes when something was recorded first."""

    layout: Layout
    loaded: set[str] = field(default_factory=set)
    values: dict[str, str] = field(default_factory=lambda: {OPEN: "0"})
    interfaces: dict[str, tuple[str, ...]] = field(default_factory=dict)
    jails: list[Jail] = field(default_factory=list)
    refuses: set[str] = field(default_factory=set)

    def load(self, name: str) -> None:
        assert Record("module", name) in records.read(self.layout.records)
        if name in self.refuses:
            raise ModuleNotFound(["kldload", name], 1, "", f"kldload: can't load {name}: No such file or directory")
        self.loaded.add(name)

    def unload(self, name: str) -> None:
        if name not in self.loaded:
            raise ModuleNotFound(["kldunload", name], 1, "", "No such file or directory")
        if name in self.refuses:
            raise ModuleBusy(["kldunload", name], 1, "", "Device busy")
        self.loaded.remove(name)

    def read(self, name: str) -> str:
        if name not in self.values:
            raise SysctlNotFound(["sysctl", name], 1, "", f"sysctl: unknown oid '{name}'")
        return self.values[name]

    def write(self, name: str, value: str) -> None:
        if name in self.refuses:
            raise CommandError(["sysctl"], 1, "", "Operation not permitted")
        self.values[name] = value


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    (tmp_path / "site").mkdir()
    return Layout(tmp_path / "site")


@pytest.fixture
def kernel(layout: Layout, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Kernel]:
    made = Kernel(layout)
    monkeypatch.setattr(kld, "is_loaded", lambda name: name in made.loaded)
    monkeypatch.setattr(kld, "load", made.load)
    monkeypatch.setattr(kld, "unload", made.unload)
    monkeypatch.setattr(sysctl, "read_text", made.read)
    monkeypatch.setattr(sysctl, "write_value", made.write)
    monkeypatch.setattr(interface, "list_names", lambda group: made.interfaces.get(group, ()))
    monkeypatch.setattr(jail, "list_jails", lambda: made.jails)
    monkeypatch.setattr(freebsd_kernel, "_DEVICES", tmp_path)
    yield made


def take_back(layout: Layout) -> list[str]:
    """Undo every record, newest first."""
    return [freebsd_kernel.undo(record) for record in reversed(records.read(layout.records))]


def test_a_plan_shows_what_would_be_changed(kernel: Kernel, layout: Layout) -> None:
    kernel.loaded = {"if_tuntap", "if_bridge"}
    lines = freebsd_kernel.changes(EVERYTHING)
    assert lines == ["kernel modules: if_epair vmm nmdm", f"sysctl {OPEN}=1"]
    plan = {step.name: step for step in make_plan(EVERYTHING, layout, Found(kernel_changes=tuple(lines)))}
    assert plan["kernel"].changes == tuple(lines)
    assert "kernel" in plan["switch"].after and "kernel" in plan["hypervisor"].after
    for elsewhere in (CONTROL, Description(host=Hosts(kind="linux"))):
        assert "kernel" not in {step.name for step in make_plan(elsewhere, layout, Found())}
    assert freebsd_kernel.changes(NETWORK) == ["kernel modules: if_epair"]
    assert freebsd_kernel.changes(CONTROL) == []


def test_a_plan_that_is_made_elsewhere_shows_all(kernel: Kernel, monkeypatch: pytest.MonkeyPatch) -> None:
    def nowhere(name: str) -> bool:
        raise CommandNotFound(["kldstat"], None, "", "")

    monkeypatch.setattr(kld, "is_loaded", nowhere)
    assert freebsd_kernel.changes(EVERYTHING) == [
        "kernel modules: if_tuntap if_epair vmm nmdm if_bridge", f"sysctl {OPEN}=1",
    ]  # fmt: skip


def test_only_what_changes_is_recorded_and_taken_back(kernel: Kernel, layout: Layout) -> None:
    kernel.loaded = {"if_tuntap", "vmm"}
    freebsd_kernel.prepare(layout, EVERYTHING)
    freebsd_kernel.prepare(layout, EVERYTHING)
    assert freebsd_kernel.changes(EVERYTHING) == []
    assert [(record.kind, record.name) for record in records.read(layout.records)] == [
        ("module", "if_epair"), ("module", "nmdm"), ("module", "if_bridge"), ("sysctl", OPEN),
    ]  # fmt: skip
    assert take_back(layout) == [
        f"set {OPEN} back to 0", "unloaded the kernel module if_bridge", "unloaded the kernel module nmdm",
        "unloaded the kernel module if_epair",
    ]  # fmt: skip
    assert kernel.loaded == {"if_tuntap", "vmm"} and kernel.values == {OPEN: "0"}


def test_what_an_administrator_set_since_stays(kernel: Kernel, layout: Layout) -> None:
    kernel.values[OPEN] = "7"
    freebsd_kernel.prepare(layout, EVERYTHING)
    kernel.values[OPEN] = "2"
    assert take_back(layout)[0] == f"left {OPEN} at 2, which somebody else has set"
    assert kernel.values[OPEN] == "2"


def test_what_an_administrator_uses_stays(kernel: Kernel, layout: Layout, tmp_path: Path) -> None:
    freebsd_kernel.prepare(layout, EVERYTHING)
    kernel.interfaces = {"bridge": ("bridge0",), "tun": ("tun3",)}
    kernel.jails = [Jail(1, "plain", "/", False), Jail(2, "mine", "/", True)]
    (tmp_path / "vmm").mkdir()
    (tmp_path / "vmm/mine").touch()
    kernel.refuses = {"nmdm"}
    assert take_back(layout)[1:] == [
        "left the kernel module if_bridge: bridge0 uses it", "left the kernel module nmdm: it is in use",
        f"left the kernel module vmm: {tmp_path}/vmm/mine uses it",
        "left the kernel module if_epair: the jail mine uses it", "left the kernel module if_tuntap: tun3 uses it",
    ]  # fmt: skip
    assert kernel.loaded == {"if_tuntap", "if_epair", "vmm", "nmdm", "if_bridge"}


def test_what_is_gone_already_is_no_error(kernel: Kernel, layout: Layout) -> None:
    freebsd_kernel.prepare(layout, EVERYTHING)
    kernel.loaded.clear()
    kernel.values.clear()
    assert take_back(layout)[:2] == [
        f"left {OPEN}: its module is gone", "the kernel module if_bridge is gone already",
    ]  # fmt: skip


def test_a_boot_makes_records_of_the_kernel_void(
    kernel: Kernel, layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Host:
        boot = "first"

        @classmethod
        def boot_name(cls) -> str:
            return cls.boot

    monkeypatch.setattr(operate.hosts, "module", lambda kind: Host)
    operate.forget_earlier_boot(layout, "freebsd")
    records.add(layout.records, Record("user", "bs-nova"))
    freebsd_kernel.prepare(layout, EVERYTHING)
    operate.forget_earlier_boot(layout, "freebsd")
    assert len(records.read(layout.records)) == 7
    Host.boot = "second"
    operate.forget_earlier_boot(layout, "freebsd")
    assert records.read(layout.records) == [Record("user", "bs-nova")]


def test_a_kernel_that_refuses_is_said(kernel: Kernel, layout: Layout) -> None:
    kernel.refuses = {"vmm"}
    with pytest.raises(HostError, match=r"the kernel module vmm cannot be loaded: .*No such file"):
        freebsd_kernel.prepare(layout, EVERYTHING)
    kernel.refuses = {OPEN}
    with pytest.raises(HostError, match=rf"the sysctl {OPEN} cannot be set to 1: .*not permitted"):
        freebsd_kernel.prepare(layout, EVERYTHING)


def test_destroy_takes_it_back_with_everything_else(kernel: Kernel, layout: Layout) -> None:
    kernel.loaded = {"nmdm"}
    said = operate._undo(Record("module", "nmdm"))
    assert said == "unloaded the kernel module nmdm" and kernel.loaded == set()
    kernel.values[OPEN] = "1"
    operate._undo(Record("sysctl", OPEN, json.dumps({"before": "0", "set": "1"})))
    assert kernel.values[OPEN] == "0"
