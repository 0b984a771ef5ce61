"""Kernel modules: loading one, and what the library lists, against what kldstat(8) prints."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from beastack.freebsd import errors, kld
from beastack.freebsd.command import run
from network_lab import Lab, as_nobody

# Modules that can be loaded and unloaded without any effect on what runs.
HARMLESS = ("fdescfs", "if_gre", "nmdm")


@pytest.fixture
def module() -> Iterator[str]:
    """Return a module that is not loaded; it is unloaded after the test."""
    for name in HARMLESS:
        if run(["kldstat", "-q", "-m", name], ok=(0, 1)).status == 1:
            break
    else:
        pytest.skip(f"all of {', '.join(HARMLESS)} are loaded")
    yield name
    run(["kldunload", name], ok=(0, 1))


def test_loading(module: str) -> None:
    assert not kld.is_loaded(module)
    assert f"{module}.ko" not in {file.name for file in kld.list_files()}
    kld.load(module)
    assert kld.is_loaded(module)
    assert run(["kldstat", "-q", "-m", module], ok=(0, 1)).status == 0
    (file,) = (file for file in kld.list_files() if file.name == f"{module}.ko")
    assert file.references >= 1 and file.size > 0 and file.path.endswith(f"/{module}.ko")
    assert module in {each.name.rpartition("/")[2] for each in file.modules}
    kld.load(module)  # once more is no error
    assert len([file for file in kld.list_files() if file.name == f"{module}.ko"]) == 1


def test_a_module_in_the_kernel_itself() -> None:
    kld.load("if_tuntap")
    assert kld.is_loaded("if_tuntap")
    assert not kld.is_loaded("btnowhere")


def test_the_list() -> None:
    files = kld.list_files()
    plain = [line.split() for line in run(["kldstat"]).stdout.splitlines()[1:]]
    shown = [[str(file.id), str(file.references), hex(file.address), f"{file.size:x}", file.name] for file in files]
    assert shown == plain
    assert files == kld.parse_files(run(["kldstat", "-v"]).stdout)
    assert files[0].name == "kernel" and files[0].path.endswith("/kernel") and files[0].modules
    without = kld.parse_files(run(["kldstat"]).stdout)
    assert [file.name for file in without] == [file.name for file in files]
    assert all(file.path == "" and file.modules == () for file in without)
    numbers = [module.id for file in files for module in file.modules]
    assert len(set(numbers)) == len(numbers)
    name = files[0].modules[0].name
    assert kld.is_loaded(name)


def test_refusals(module: str, lab: Lab) -> None:
    with pytest.raises(errors.ModuleNotFound) as missing:
        kld.load("btnowhere")
    assert missing.value.status == 1
    with as_nobody(), pytest.raises(errors.PermissionDenied):
        kld.load(module)
    assert not kld.is_loaded(module)
    refused = run(["jexec", lab.add_jail(), "kldload", "-n", module], ok=(1,))
    assert "Operation not permitted" in refused.stderr
    assert not kld.is_loaded(module)
