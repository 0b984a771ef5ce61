"""Kernel modules: loading, and which are there."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from beastack.freebsd import kld
from beastack.freebsd.command import CommandError, CommandNotFound
from beastack.freebsd.errors import ModuleNotFound, PermissionDenied
from beastack.freebsd.kld import KernelFile, Module
from recorded_commands import Commands, golden, play


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch) -> Iterator[Commands]:
    yield from play(monkeypatch)


def test_loading_twice_is_no_error(commands: Commands) -> None:
    commands.expect("kldload -n if_epair")
    kld.load("if_epair")


@pytest.mark.parametrize(
    ("stderr", "kind"),
    [
        ("kldload: can't load if_x: No such file or directory\n", ModuleNotFound),
        ("kldload: can't load if_x: Operation not permitted\n", PermissionDenied),
        (
            "kldload: an error occurred while loading module if_x. Please check dmesg(8) for more details.\n",
            CommandError,
        ),
    ],
)
def test_each_refusal_has_its_class(commands: Commands, stderr: str, kind: type[CommandError]) -> None:
    commands.expect("kldload -n if_x", "", stderr, status=1)
    with pytest.raises(CommandError) as caught:
        kld.load("if_x")
    assert type(caught.value) is kind


def test_a_missing_program_is_not_a_missing_module(commands: Commands) -> None:
    commands.expect("kldload -n if_x", status=None)
    with pytest.raises(CommandNotFound):
        kld.load("if_x")


@pytest.mark.parametrize(("status", "loaded"), [(0, True), (1, False)])
def test_a_module_is_there_or_not(commands: Commands, status: int, loaded: bool) -> None:
    commands.expect("kldstat -q -m vmm", status=status)
    assert kld.is_loaded("vmm") is loaded


def test_the_files_of_a_14_host(commands: Commands) -> None:
    commands.expect("kldstat -v", golden("kld/kldstat-14.4.txt"))
    assert kld.list_files() == (
        KernelFile(
            1,
            23,
            0xFFFFFFFF80200000,
            0x1F3C6C0,
            "kernel",
            "/boot/kernel/kernel",
            (Module(12, "if_bridge"), Module(1, "if_lo"), Module(498, "uhci/uhub")),
        ),
        KernelFile(
            2,
            1,
            0xFFFFFFFF8213D000,
            0x5D8120,
            "zfs.ko",
            "/boot/kernel/zfs.ko",
            (Module(506, "zfsctrl"), Module(507, "zfs")),
        ),
        KernelFile(3, 1, 0xFFFFFFFF82B20000, 0x3218, "nmdm.ko", "/boot/kernel/nmdm.ko", (Module(510, "nmdm"),)),
    )


def test_the_files_of_a_15_host(commands: Commands) -> None:
    commands.expect("kldstat -v", golden("kld/kldstat-15.1.txt"))
    assert [(file.name, file.size, file.modules) for file in kld.list_files()] == [
        ("kernel", 0x2151B60, (Module(1, "if_tuntap"),)),
        ("vmm.ko", 0x8A000, (Module(12, "vmm"),)),
    ]


def test_the_short_list_has_neither_paths_nor_modules() -> None:
    files = kld.parse_files(golden("kld/kldstat-plain-14.4.txt"))
    assert [(file.id, file.name, file.path, file.modules) for file in files] == [
        (1, "kernel", "", ()),
        (2, "nmdm.ko", "", ()),
    ]
