"""What an environment that holds a whole lock file knows of its compiled distributions: their names, and their bounds.

Run by make_freebsd_split.py with that environment's Python, which has
``packaging``; prints JSON.
"""

from __future__ import annotations

import json
import sys
from importlib.metadata import Distribution, distributions

from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

#: The versions of Python that beastack runs on, and what markers see on FreeBSD.
PYTHONS = ("3.11", "3.12", "3.13")
FREEBSD = {"sys_platform": "freebsd15", "platform_system": "FreeBSD", "os_name": "posix", "platform_machine": "amd64"}


def is_compiled(distribution: Distribution) -> bool:
    """Return whether the wheel that was installed is for one platform alone."""
    tags = [line.partition(": ")[2] for line in (distribution.read_text("WHEEL") or "").splitlines()
            if line.startswith("Tag:")]  # fmt: skip
    return not all(tag.endswith("-none-any") for tag in tags)


def holds(requirement: Requirement, extras: set[str]) -> bool:
    """Return whether a requirement counts on FreeBSD, by some version of Python and some extra that is asked for."""
    if requirement.marker is None:
        return True
    environments = [
        {**default_environment(), **FREEBSD, "python_version": python, "python_full_version": f"{python}.9"}
        for python in PYTHONS
    ]
    return any(
        requirement.marker.evaluate({**environment, "extra": extra})
        for environment in environments
        for extra in ("", *extras)
    )


def requirements_of(found: dict[str, Distribution]) -> list[tuple[str, Requirement]]:
    """Return every requirement that counts, with the distribution that has it; extras as others ask for them."""
    parsed = {name: [Requirement(text) for text in one.requires or ()] for name, one in found.items()}
    extras: dict[str, set[str]] = {name: set() for name in found}
    while True:
        counting = [
            (name, requirement)
            for name, requirements in parsed.items()
            for requirement in requirements
            if holds(requirement, extras[name])
        ]
        before = {name: set(asked) for name, asked in extras.items()}
        for _, requirement in counting:
            extras.setdefault(canonicalize_name(requirement.name), set()).update(requirement.extras)
        if all(before.get(name, set()) == asked for name, asked in extras.items()):
            return counting


def main() -> None:
    """Print the compiled distributions, each with the bounds that others have for it."""
    found = {canonicalize_name(one.name): one for one in distributions()}
    compiled = {name for name, one in found.items() if is_compiled(one)}
    bounds: dict[str, dict[str, str]] = {name: {} for name in compiled}
    for name, requirement in requirements_of(found):
        wanted = canonicalize_name(requirement.name)
        # What a compiled distribution asks of another is the packages' own affair.
        if wanted in compiled and name not in compiled and requirement.specifier:
            by = f"{found[name].name} {found[name].version}"
            before = bounds[wanted].get(by)
            bounds[wanted][by] = ",".join(filter(None, (before, str(requirement.specifier))))
    json.dump({name: dict(sorted(given.items())) for name, given in sorted(bounds.items())}, sys.stdout)


if __name__ == "__main__":
    main()
