"""Kernel modules: loading and unloading them, and which are there."""

from __future__ import annotations

import re
from dataclasses import dataclass

from beastack.freebsd import command
from beastack.freebsd.command import CommandError
from beastack.freebsd.errors import ModuleBusy, ModuleNotFound, PermissionDenied, translate

# What kldload(8) and kldunload(8) print when they refuse.
_REFUSALS: tuple[tuple[str, type[CommandError]], ...] = (
    ("No such file or directory", ModuleNotFound),
    ("Operation not permitted", PermissionDenied),
    # kldunload(8).
    ("can't unload file: Device busy", ModuleBusy),
)

_FILE = re.compile(r"\s*(\d+)\s+(\d+)\s+(0x[0-9a-f]+)\s+([0-9a-f]+)\s+(\S+)(?:\s+\((.*)\))?\s*$")
_MODULE = re.compile(r"\s+(\d+)\s+(\S.*?)\s*$")


@dataclass(frozen=True)
class Module:
    """One module, as ``kldstat -m`` and rc scripts name it."""

    id: int
    name: str


@dataclass(frozen=True)
class KernelFile:
    """One loaded file and the modules in it; the kernel itself is the first file.

    ``size`` is in bytes. ``path`` is empty when the reading did not ask for it.
    """

    id: int
    references: int
    address: int
    size: int
    name: str
    path: str
    modules: tuple[Module, ...]


def load(name: str) -> None:
    """Load a module by its file's name without ``.ko``; a loaded one is no error.

    :raises ModuleNotFound: there is no such file
    :raises PermissionDenied: not root, in a jail, or the securelevel forbids it
    :raises CommandError: it does not fit the kernel or failed to start (dmesg(8) says why)
    """
    try:
        command.run(["kldload", "-n", name])
    except CommandError as error:
        if error.status is None:
            raise
        raise translate(error, _REFUSALS) from None


def unload(name: str) -> None:
    """Unload a module by its file's name without ``.ko``.

    What it made goes with it: interfaces of its kind are destroyed.

    :raises ModuleNotFound: it is not loaded
    :raises ModuleBusy: something uses it, or it is part of the kernel
    :raises PermissionDenied: not root, in a jail, or the securelevel forbids it
    """
    try:
        command.run(["kldunload", name])
    except CommandError as error:
        raise error if error.status is None else translate(error, _REFUSALS) from None


def is_loaded(name: str) -> bool:
    """Tell whether a module of that name is there, loaded or compiled into the kernel.

    :raises CommandError: kldstat(8) failed
    """
    return command.run(["kldstat", "-q", "-m", name], ok=(0, 1)).status == 0


def parse_files(output: str) -> tuple[KernelFile, ...]:
    """Read ``kldstat`` or ``kldstat -v`` output; addresses and sizes are hexadecimal."""
    files: list[KernelFile] = []
    modules: list[list[Module]] = []
    for line in output.splitlines():
        if match := _FILE.match(line):
            number, references, address, size, name, path = match.groups()
            files.append(
                KernelFile(int(number), int(references), int(address, 16), int(size, 16), name, path or "", ())
            )
            modules.append([])
        elif files and (match := _MODULE.match(line)):
            modules[-1].append(Module(int(match[1]), match[2]))
    return tuple(
        KernelFile(f.id, f.references, f.address, f.size, f.name, f.path, tuple(m))
        for f, m in zip(files, modules, strict=True)
    )


def list_files() -> tuple[KernelFile, ...]:
    """Return the kernel and all loaded files with their modules.

    :raises CommandError: kldstat(8) failed
    """
    return parse_files(command.run(["kldstat", "-v"]).stdout)
