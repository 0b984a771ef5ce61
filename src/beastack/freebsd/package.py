"""Packages: what is installed, what the repositories offer, and changing that, by pkg(8)."""

from __future__ import annotations

from collections.abc import Sequence

from beastack.freebsd import command
from beastack.freebsd.command import CommandError
from beastack.freebsd.errors import PackageNotFound, PermissionDenied, translate

INSTALL_TIMEOUT = 1800.0
DELETE_TIMEOUT = 900.0
#: Reading what is offered may fetch the repositories' catalogues first.
CATALOGUE_TIMEOUT = 300.0

#: The exit status of a query that found nothing: EX_UNAVAILABLE of sysexits(3), or 1 since pkg gave sysexits up.
_NOTHING = (0, 1, 69)
_QUIET = {"ASSUME_ALWAYS_YES": "yes"}

# What pkg(8) prints when it refuses (libpkg/pkg_jobs.c, src/install.c).
_REFUSALS: tuple[tuple[str, type[CommandError]], ...] = (
    ("No packages available to install matching", PackageNotFound),
    ("Insufficient privileges", PermissionDenied),
)


def is_bootstrapped() -> bool:
    """Return whether pkg(8) itself is there; the base system has only pkg(7), which would fetch it."""
    return command.run(["pkg", "-N"], ok=range(256)).status == 0


def read_installed(names: Sequence[str]) -> dict[str, str]:
    """Return the versions of those packages that are installed.

    pkg(8) compares names without regard to case, and so does this.

    :raises CommandError: pkg cannot read its database
    """
    return _versions(["query", "%n %v", *names], names)


def read_offered(names: Sequence[str]) -> dict[str, str]:
    """Return the versions of those packages that the repositories have.

    :raises CommandError: the catalogues cannot be read
    """
    return _versions(["rquery", "%n %v", *names], names)


def read_files(names: Sequence[str]) -> list[str]:
    """Return the files of installed packages.

    :raises CommandError: pkg cannot read its database
    """
    if not names:
        return []
    return command.run(["pkg", "query", "%Fp", *names], ok=_NOTHING).stdout.splitlines()


def install(names: Sequence[str]) -> None:
    """Install packages and what they depend on.

    :raises PackageNotFound: no repository has one of them
    :raises PermissionDenied: not root
    :raises CommandError: they cannot be fetched or installed
    """
    _run(["pkg", "install", "-y", *names], INSTALL_TIMEOUT)


def delete(names: Sequence[str]) -> None:
    """Remove packages, and what depends on them.

    :raises PermissionDenied: not root
    :raises CommandError: they are not installed, or locked
    """
    _run(["pkg", "delete", "-y", *names], DELETE_TIMEOUT)


def _versions(words: Sequence[str], names: Sequence[str]) -> dict[str, str]:
    if not names:
        return {}
    result = command.run(["pkg", *words], timeout=CATALOGUE_TIMEOUT, env=_QUIET, ok=_NOTHING)
    if result.status != 0 and result.stderr.strip():
        raise CommandError(result.argv, result.status, result.stdout, result.stderr)
    found = {}
    for line in result.stdout.splitlines():
        name, _, version = line.partition(" ")
        found[name.lower()] = version
    return {name: found[name.lower()] for name in names if name.lower() in found}


def _run(argv: Sequence[str], timeout: float) -> None:
    try:
        command.run(argv, timeout=timeout, env=_QUIET)
    except CommandError as error:
        raise error if error.status is None else translate(error, _REFUSALS) from None
