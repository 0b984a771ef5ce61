"""How the release's Python packages are divided on a host whose system brings those with compiled parts.

There are no wheels for FreeBSD. What has compiled parts comes from pkg there,
the rest from the package index by the same locked list. Which is which, and
what versions the rest can do with, is in a file that
requirements/make_freebsd_split.py makes from the lock file.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from beastack.site.versions import is_within

_PIN = re.compile(r"([A-Za-z0-9._-]+)==")


@dataclass(frozen=True)
class SystemPackage:
    """A distribution that comes from the system; ``package`` is its name there behind a prefix like ``py311-``.

    ``bounds`` are what other distributions of the release ask of its version, by who asks.
    """

    distribution: str
    package: str
    origin: str
    bounds: Mapping[str, str]

    def broken_bounds(self, version: str) -> list[str]:
        """Return who could not do with a version, each with what it needs."""
        return [f"{by} needs {needs}" for by, needs in self.bounds.items() if not is_within(version, needs)]


@dataclass(frozen=True)
class Split:
    """What comes from the system, and what of the rest is pure Python that has to be built from source."""

    packages: tuple[SystemPackage, ...]
    pure_sources: tuple[str, ...]
    lock_sha256: str

    def digest(self) -> str:
        """Return a short hash of what is left out of an environment by this."""
        names = sorted(item.distribution for item in self.packages)
        return hashlib.sha256(" ".join([self.lock_sha256, *names]).encode()).hexdigest()[:16]

    def rest_of(self, lock: str) -> str:
        """Return the text of a lock file without what comes from the system."""
        return lock_without(lock, {item.distribution for item in self.packages})


def read_split(file: Path) -> Split:
    """Return the split that a file says."""
    data = json.loads(file.read_text())
    packages = tuple(
        SystemPackage(item["distribution"], item["package"], item["origin"], item["bounds"])
        for item in data["packages"]
    )
    return Split(packages, tuple(data["pure_sources"]), data["lock_sha256"])


def lock_without(lock: str, names: Collection[str]) -> str:
    """Return a lock file's text without some distributions: each entry is a line and those indented below it."""
    kept, keep = [], True
    for line in lock.splitlines(keepends=True):
        if not line[0].isspace():
            match = _PIN.match(line)
            keep = match is None or match[1] not in names
        if keep:
            kept.append(line)
    return "".join(kept)
