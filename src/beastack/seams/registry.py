"""The record of a seam, and the check that the upstream code under it is what it was written against."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from beastack.seams.source import KINDS, MODULE, code_hash

#: Names the seams whose upstream code may have changed, in the environment of a service: ids, with commas between.
ALLOW_CHANGED = "BEASTACK_ALLOW_CHANGED"


@dataclass(frozen=True)
class Seam:
    """One substitution in one upstream module.

    ``make`` maps each attribute that is changed (a dotted path inside
    ``module``) to a factory: it takes the original and returns what stands in
    its place. The original of data that upstream left unbound is None. For
    kind ``module`` the only attribute is the empty string, and the factory
    takes upstream's module spec and returns that of the replacement.

    ``hashes`` maps versions of ``distribution`` (``34`` is every 34.x) to the
    hashes of the attributes' code, in the order of ``make``, with spaces
    between. ``processes`` are the services that need it, ``hosts`` the kinds
    of host it is for, ``since`` the release of beastack that brought it.
    """

    id: str
    kind: str
    distribution: str
    module: str
    why: str
    since: str
    retired_by: str
    processes: tuple[str, ...]
    hosts: tuple[str, ...]
    hashes: Mapping[str, str]
    make: Mapping[str, Callable[[Any], Any]]

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"seam {self.id} is of no kind: {self.kind}")
        if not self.make or (self.kind == MODULE) != (tuple(self.make) == ("",)):
            raise ValueError(f"seam {self.id} does not say what it replaces")

    @property
    def attributes(self) -> tuple[str, ...]:
        """What it replaces in the module."""
        return tuple(self.make)

    @property
    def target(self) -> str:
        """What it replaces, for people: ``module:attribute``."""
        return self.module if self.kind == MODULE else f"{self.module}:{', '.join(self.make)}"


class SeamError(Exception):
    """The upstream code under a seam is not what the seam was written against."""


def wanted_hashes(seam: Seam, version: str) -> tuple[str, ...] | None:
    """Return the hashes that a version's code must have, or None for a version the seam does not know."""
    fitting = [key for key in seam.hashes if version == key or version.startswith(key + ".")]
    return tuple(seam.hashes[max(fitting, key=len)].split()) if fitting else None


def compare(seam: Seam, version: str, text: str, file: str) -> None:
    """Check a seam against the source text of its module.

    :raises SeamError: the version is not known to the seam, or its code changed
    """
    wanted = wanted_hashes(seam, version)
    hint = f"; --allow-changed {seam.id} goes on regardless"
    if wanted is None:
        raise SeamError(
            f"seam {seam.id} was not written for {seam.distribution} {version}: "
            f"check {seam.target} in {file} and add its hash{hint}"
        )
    for attribute, hash_wanted in zip(seam.attributes, wanted, strict=True):
        name = f"{seam.module}:{attribute}" if attribute else seam.module
        try:
            found = code_hash(text, attribute, seam.kind)
        except (LookupError, SyntaxError):
            raise SeamError(f"seam {seam.id}: {name} is not in {seam.distribution} {version} ({file})") from None
        if found != hash_wanted:
            raise SeamError(
                f"seam {seam.id}: {name} of {seam.distribution} {version} is not the code it was written against "
                f"({found}, not {hash_wanted}, in {file}){hint}"
            )


def check_installed(seam: Seam, packages: Path) -> str:
    """Check a seam against what is installed in a directory of packages, and return the version.

    Nothing is imported: the directory may belong to another interpreter.

    :raises SeamError: the distribution or the module is not there, or does not fit
    """
    found = next(iter(importlib.metadata.distributions(name=seam.distribution, path=[str(packages)])), None)
    if found is None:
        raise SeamError(f"seam {seam.id}: {seam.distribution} is not installed in {packages}")
    path = packages.joinpath(*seam.module.split("."))
    for file in (path / "__init__.py", path.with_name(path.name + ".py")):
        if file.is_file():
            compare(seam, found.version, file.read_text(encoding="utf-8"), str(file))
            return found.version
    raise SeamError(f"seam {seam.id}: {seam.module} is not in {seam.distribution} {found.version} ({packages})")


def read_allowed(environ: Mapping[str, str]) -> frozenset[str]:
    """Return the ids of the seams that an environment lets stand over changed code."""
    return frozenset(word for word in environ.get(ALLOW_CHANGED, "").replace(",", " ").split())


def find_duplicates(seams: Sequence[Seam]) -> list[str]:
    """Return what more than one of the seams replaces: each would be checked, but only one would stand."""
    seen: set[tuple[str, str]] = set()
    twice = []
    for seam in seams:
        for attribute in seam.attributes:
            key = (seam.module, attribute)
            if key in seen:
                twice.append(f"{seam.module}:{attribute}")
            seen.add(key)
    return twice
