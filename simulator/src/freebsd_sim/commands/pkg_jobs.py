"""What pkg(8) does: which packages a request comes to, what it says of them, and doing it."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

from freebsd_sim import standins
from freebsd_sim.call import Call, NotSimulated
from freebsd_sim.package_database import (
    Installed,
    Package,
    lay_down,
    read_catalogue,
    read_installed,
    write_installed,
)

UPDATED = """\
Updating FreeBSD repository catalogue...
FreeBSD repository is up to date.
All repositories are up to date.
"""


def with_dependencies(wanted: Sequence[Package], offered: dict[str, Package]) -> list[Package]:
    """Return packages and what they need, each after what it depends on."""
    ordered: dict[str, Package] = {}

    def visit(package: Package) -> None:
        if package.name in ordered:
            return
        for name in package.depends:
            if name in offered:
                visit(offered[name])
        ordered[package.name] = package

    for package in wanted:
        visit(package)
    return list(ordered.values())


def install(call: Call, wanted: Sequence[Package], agreed: Callable[[str], bool], flags: set[str]) -> int:
    """Install packages, and upgrade those that are there in another version; return the exit status."""
    have = read_installed(call.kernel.root)
    jobs = [
        one for one in with_dependencies(wanted, read_catalogue(call.kernel.root))
        if one.name not in have or have[one.name].version != one.version
    ]  # fmt: skip
    if not jobs:
        if "q" not in flags:
            call.out("The most recent versions of packages are already installed\n")
        return 0
    new = [one for one in jobs if one.name not in have]
    changed = [one for one in jobs if one.name in have]
    if "q" not in flags or "n" in flags:
        call.out(f"The following {len(jobs)} package(s) will be affected (of 0 checked):\n\n")
        if new:
            lines = "".join(f"\t{one.name}: {one.version}\n" for one in new)
            call.out(f"New packages to be INSTALLED:\n{lines}\n")
        if changed:
            lines = "".join(f"\t{one.name}: {have[one.name].version} -> {one.version}\n" for one in changed)
            call.out(f"Installed packages to be UPGRADED:\n{lines}\n")
        if new:
            call.out(f"Number of packages to be installed: {len(new)}\n")
        if changed:
            call.out(f"Number of packages to be upgraded: {len(changed)}\n")
    if "n" in flags:
        return 0
    if not agreed("\nProceed with this action? "):
        return 1
    asked = {one.name for one in wanted}
    automatic = {one.name for one in jobs if one.name not in asked or "A" in flags}

    def say(number: int, one: Package) -> None:
        if "q" not in flags:
            head = f"[{number}/{len(jobs)}]"
            word = "Installing" if one.name not in have else "Upgrading"
            text = (
                f"{one.name}-{one.version}"
                if one in new
                else f"{one.name} from {have[one.name].version} to {one.version}"
            )
            call.out(f"{head} {word} {text}...\n{head} Extracting {one.name}-{one.version}... done\n")

    bring(call, jobs, automatic=automatic, say=say)
    return 0


def bring(
    call: Call, packages: Sequence[Package], *, automatic: Collection[str],
    say: Callable[[int, Package], None] = lambda number, package: None,
) -> None:  # fmt: skip
    """Lay packages down and note them."""
    root = call.kernel.root
    have = read_installed(root)
    settings = json.loads((call.kernel.state / "settings.json").read_text())
    libvirt = Path(settings["libvirt"]) if settings.get("libvirt") else None
    if libvirt is None and any(one.name == "libvirt" for one in packages):
        raise NotSimulated("libvirt on a host that was started --without-libvirt")
    for number, one in enumerate(packages, 1):
        say(number, one)
        kept = have[one.name].automatic if one.name in have else one.name in automatic
        have[one.name] = lay_down(root, one, libvirt, automatic=kept)
    write_installed(root, have)


def delete(call: Call, chosen: Sequence[Installed], asked: int, agreed: Callable[[str], bool], flags: set[str]) -> int:
    """Remove packages, and without -f what depends on them; return the exit status."""
    root = call.kernel.root
    have = read_installed(root)
    doomed = {one.name: one for one in chosen}
    while "f" not in flags or "R" in flags:
        more = {name: one for name, one in have.items() if name not in doomed and any(n in doomed for n in one.depends)}
        if not more:
            break
        doomed |= more
    if "f" not in flags:
        doomed.pop("pkg", None)  # which is vital
    if "q" not in flags:
        call.out("Checking integrity... done (0 conflicting)\n")
    if not doomed:
        if "q" not in flags:
            call.out(f"{asked} packages requested for removal: 0 locked, {asked} missing\n")
        return 1
    if "q" not in flags or "n" in flags:
        lines = "".join(f"\t{one.name}: {one.version}\n" for one in doomed.values())
        call.out(
            f"Deinstallation has been requested for the following {len(doomed)} packages "
            f"(of 0 packages in the universe):\n\nInstalled packages to be REMOVED:\n{lines}\n"
            f"Number of packages to be removed: {len(doomed)}\n"
        )
    if "n" in flags:
        return 0
    if not agreed("\nProceed with deinstalling packages? "):
        return 1
    for number, one in enumerate(doomed.values(), 1):
        if "q" not in flags:
            head = f"[{number}/{len(doomed)}]"
            call.out(f"{head} Deinstalling {one.name}-{one.version}...\n")
            call.out(f"{head} Deleting files for {one.name}-{one.version}... done\n")
        elsewhere = {file for name, other in have.items() if name not in doomed for file in other.files}
        standins.remove(root, [file for file in one.files if file not in elsewhere])
    write_installed(root, {name: one for name, one in have.items() if name not in doomed})
    return 0
