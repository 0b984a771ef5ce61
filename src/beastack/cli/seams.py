"""``beastack seams``: every deviation from upstream's code, for whoever ports or reviews it."""

from __future__ import annotations

import json
import os
import sys
import textwrap
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from beastack.port import seams
from beastack.seams.registry import ALLOW_CHANGED, Seam, SeamError, check_installed, read_allowed
from beastack.site.operate import NotASite, SiteError

WIDTH = 100

#: What a version of a distribution belongs to; for the page only, the hashes are what counts.
RELEASES = {
    "2026.1": {
        "keystone": "29",
        "neutron": "28",
        "nova": "33",
        "oslo.messaging": "17",
        "oslo.privsep": "3.10",
        "oslo.utils": "10.0",
    },
    "2026.2": {
        "keystone": "30",
        "neutron": "29",
        "nova": "34",
        "oslo.messaging": "18",
        "oslo.privsep": "3.12",
        "oslo.utils": "10.2",
    },
}


@dataclass(frozen=True)
class Verdict:
    """What the check of one seam against the installed packages said."""

    seam: Seam
    version: str
    problem: str
    allowed: bool = False


def show(arguments: Namespace) -> int:
    """Print the seams, or check them against the installed packages.

    Status 1: one does not fit. Status 3: nothing is installed where to look.
    """
    host = arguments.host or ("freebsd" if sys.platform.startswith("freebsd") else "linux")
    chosen = seams.ALL if arguments.all else seams.installed_on(host)
    if arguments.check:
        return _check(arguments, chosen)
    if arguments.json:
        print(json.dumps([describe(seam) for seam in chosen], indent=2))
    else:
        print(page(chosen, "" if arguments.all else host))
    return 0


def installed_hosts(seam: Seam) -> list[str]:
    """Return the kinds of host whose services install a seam."""
    return [host for host in sorted(seams.INSTALLED) if seam in seams.installed_on(host)]


def fits(seam: Seam) -> list[str]:
    """Return the versions that a seam was written against, with the releases they belong to."""
    names = {versions[seam.distribution]: name for name, versions in RELEASES.items()}
    return [f"{version} ({names[version]})" if version in names else version for version in seam.hashes]


def describe(seam: Seam) -> dict[str, object]:
    """Return a seam as data for JSON."""
    return {
        "id": seam.id,
        "kind": seam.kind,
        "distribution": seam.distribution,
        "module": seam.module,
        "attributes": [attribute for attribute in seam.attributes if attribute],
        "why": seam.why,
        "since": seam.since,
        "retired_by": seam.retired_by,
        "processes": list(seam.processes),
        "hosts": list(seam.hosts),
        "installed_on": installed_hosts(seam),
        "hashes": {version: text.split() for version, text in seam.hashes.items()},
    }


def page(chosen: Sequence[Seam], host: str) -> str:
    """Return the page that a porter reads; without a kind of host, it is of all seams."""
    count = f"{len(chosen)} seam{'' if len(chosen) == 1 else 's'}"
    head = f"{count} on hosts of kind {host}." if host else f"{count}, those of all kinds of hosts."
    text = [
        textwrap.fill(
            f"{head} Each stands over upstream code of a known hash; where that code changed, the service is "
            "refused. Put in place as the module is imported, in the processes named and no other.",
            WIDTH,
        )
    ]
    for seam in chosen:
        where = ", ".join(installed_hosts(seam)) or "nowhere yet: no service of any kind of host needs it"
        rows = [
            ("why", seam.why),
            ("since", f"beastack {seam.since}"),
            ("fits", f"{seam.distribution} {', '.join(fits(seam))}"),
            ("needed by", ", ".join(seam.processes)),
            ("installed", f"on {where}" if installed_hosts(seam) else where),
            ("retired by", seam.retired_by),
        ]
        text += ["", f"{seam.id}  {seam.target}  ({seam.kind})"]
        for title, value in rows:
            text.append(
                textwrap.fill(
                    value,
                    WIDTH,
                    initial_indent=f"    {title + ':':<12}",
                    subsequent_indent=" " * 16,
                    break_on_hyphens=False,
                )
            )
    return "\n".join(text)


def check_all(chosen: Sequence[Seam], packages: Path, allowed: frozenset[str]) -> list[Verdict]:
    """Check seams against the packages installed in a directory."""
    verdicts = []
    for seam in chosen:
        try:
            verdicts.append(Verdict(seam, check_installed(seam, packages), ""))
        except SeamError as error:
            verdicts.append(Verdict(seam, "", str(error), seam.id in allowed))
    return verdicts


def allow_changed(arguments: Namespace, allowed_before: frozenset[str]) -> frozenset[str]:
    """Return the seams that may stand over changed code: by option and by environment.

    :raises SiteError: an option names a seam that there is not
    """
    known = {seam.id for seam in seams.ALL}
    wanted = frozenset(getattr(arguments, "allow_changed", None) or ())
    for name in sorted(wanted - known):
        raise SiteError(f"there is no seam {name} (see beastack seams --all)")
    return wanted | allowed_before


def pass_on(arguments: Namespace) -> None:
    """Put the seams that may stand over changed code into the environment, from where the services get them.

    :raises SiteError: an option names a seam that there is not
    """
    allowed = allow_changed(arguments, read_allowed(os.environ))
    if allowed:
        os.environ[ALLOW_CHANGED] = ",".join(sorted(allowed))


def find_packages(venv: Path) -> Path:
    """Return where a virtual environment keeps its packages.

    :raises NotASite: there is none
    """
    found = next(venv.glob("lib/python3.*/site-packages"), None)
    if found is None:
        raise NotASite(f"nothing is installed in {venv} (beastack up installs; --venv names another place)")
    return found


def _check(arguments: Namespace, chosen: Sequence[Seam]) -> int:
    packages = find_packages(arguments.venv or arguments.root / "venv")
    verdicts = check_all(chosen, packages, allow_changed(arguments, read_allowed(os.environ)))
    failed = any(verdict.problem and not verdict.allowed for verdict in verdicts)
    if arguments.json:
        rows = [
            {"id": one.seam.id, "version": one.version, "problem": one.problem, "allowed": one.allowed}
            for one in verdicts
        ]
        print(json.dumps({"packages": str(packages), "fits": not failed, "seams": rows}, indent=2))
        return 1 if failed else 0
    for one in verdicts:
        if not one.problem:
            print(f"{one.seam.id}  fits {one.seam.distribution} {one.version}")
        elif one.allowed:
            print(f"{one.seam.id}  allowed all the same: {one.problem}")
    sys.stdout.flush()
    for one in verdicts:
        if one.problem and not one.allowed:
            sys.stderr.write(f"beastack: {one.problem}\n")
    return 1 if failed else 0
