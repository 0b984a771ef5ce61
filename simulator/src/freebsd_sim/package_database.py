"""The packages of a simulated host: what its repository offers and what is installed, each a file of its disk.

``.sim/catalogue.json`` is the repository, which nobody inside can change;
``var/db/pkg/local.json`` is what pkg(8) knows of the host.
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import asdict, dataclass, field
from pathlib import Path

from freebsd_sim import standins

OFFERED = Path(__file__).resolve().parent / "catalogue.txt"
CATALOGUE = ".sim/catalogue.json"
LOCAL = "var/db/pkg/local.json"
#: What a host has that was made without packages: a program that runs there is written in Python.
BARE = re.compile(r"pkg|python3[0-9]+")


@dataclass(frozen=True)
class Package:
    """A package as a repository offers it."""

    name: str
    version: str
    origin: str
    comment: str
    depends: tuple[str, ...] = ()


@dataclass(frozen=True)
class Installed(Package):
    """A package that is installed; automatic ones came in as a dependency."""

    automatic: bool = False
    files: tuple[str, ...] = field(default=())


def default_python() -> str:
    """Return the version of Linux's Python, such as 3.11: the host's is the same."""
    match = re.fullmatch(r"python(3\.[0-9]+)", Path(os.path.realpath("/usr/bin/python3")).name)
    return match[1] if match else "3.11"


def initial_catalogue() -> dict[str, Package]:
    """Return what a new host's repository offers."""
    flavor = default_python().replace(".", "")

    def named(name: str) -> str:
        if name == "python":
            return f"python{flavor}"
        return f"py{flavor}-{name[3:]}" if name.startswith("py-") else name

    found = {}
    for line in OFFERED.read_text().splitlines():
        if line.startswith("#"):
            continue
        name, version, origin, depends, comment = line.split(" ", 4)
        needed = () if depends == "-" else tuple(named(one) for one in depends.split(","))
        if name == "python":
            version, origin = re.sub(r"^3\.[0-9]+", default_python(), version), f"lang/python{flavor}"
        package = Package(named(name), version, origin, comment.removesuffix(" ?"), needed)
        found[package.name] = package
    return found


def _write(path: Path, data: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    part.write_text(json.dumps(data, indent=1) + "\n")
    part.rename(path)


def read_catalogue(root: Path) -> dict[str, Package]:
    """Return what the host's repository offers, by name."""
    return {
        item["name"]: Package(**{**item, "depends": tuple(item["depends"])})
        for item in json.loads((root / CATALOGUE).read_text())
    }


def write_catalogue(root: Path, catalogue: dict[str, Package]) -> None:
    """Set what the host's repository offers."""
    _write(root / CATALOGUE, [asdict(catalogue[name]) for name in sorted(catalogue)])


def read_installed(root: Path) -> dict[str, Installed]:
    """Return what is installed, by name."""
    return {
        item["name"]: Installed(**{**item, "depends": tuple(item["depends"]), "files": tuple(item["files"])})
        for item in json.loads((root / LOCAL).read_text())
    }


def write_installed(root: Path, installed: dict[str, Installed]) -> None:
    """Set what is installed."""
    _write(root / LOCAL, [asdict(installed[name]) for name in sorted(installed)])


def lay_down(root: Path, package: Package, libvirt: Path | None, *, automatic: bool) -> Installed:
    """Bring a package's files and return it as installed."""
    files = tuple(standins.place(root, package.name, libvirt))
    return Installed(package.name, package.version, package.origin, package.comment, package.depends, automatic, files)


def refresh(root: Path, libvirt: Path | None, *, bare: bool) -> None:
    """Give a new host its packages, and those of an old one what has changed on Linux since.

    :param libvirt: install tree of libvirt, if it was built; without one the host has no libvirt
    :param bare: a new host has no packages but Python; otherwise every one
    """
    if not (root / CATALOGUE).exists():
        write_catalogue(root, initial_catalogue())
    catalogue = read_catalogue(root)
    has_libvirt = (root / standins.LIBVIRT_VERSION).exists()
    if (root / LOCAL).exists():
        have: dict[str, Package] = dict(read_installed(root))
    else:
        have = {name: item for name, item in catalogue.items() if not bare or BARE.fullmatch(name)}
    ours = {name: item for name, item in catalogue.items() if name.endswith("libvirt")}
    if libvirt is None and not has_libvirt:
        have = {name: item for name, item in have.items() if name not in ours}
    elif not bare and not has_libvirt:
        have |= ours
    write_installed(
        root,
        {
            name: lay_down(root, item, libvirt, automatic=isinstance(item, Installed) and item.automatic)
            for name, item in have.items()
        },
    )
