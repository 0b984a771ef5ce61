#!/usr/bin/env python3
"""Divide the release's Python packages for FreeBSD: what comes from pkg, what from PyPI. Run after the lock changed.

    requirements/make_freebsd_split.py        # on Linux, with a way to PyPI; takes a minute

The wheels that the lock file brings on Linux tell which distributions have
compiled parts and what the others ask of their versions; the package index is
asked, as by FreeBSD, whether a distribution has a wheel for every platform or
none at all. The answer is written to freebsd-RELEASE.json beside this file,
and the port's Makefile is given its dependencies.
"""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
RELEASE = "2026.2"
LOCK = HERE / f"openstack-{RELEASE}.txt"
SPLIT = HERE / f"freebsd-{RELEASE}.json"
PORTS = HERE / "freebsd-ports.toml"
MAKEFILE = HERE.parent / "packaging" / "freebsd" / "Makefile"
#: A tag as CPython on FreeBSD has it; any release gives the same answer, as there are no wheels for any.
PLATFORM = "freebsd_15_1_release_amd64"
BEGIN, END = "# By requirements/make_freebsd_split.py:\n", "# End of what it made.\n"


def locked_versions() -> dict[str, str]:
    """Return the locked version of each distribution, that of the oldest Python where they differ."""
    found: dict[str, str] = {}
    for match in re.finditer(r"^([a-z0-9-]+)==(\S+)(?: ; (.*?))? \\$", LOCK.read_text(), re.MULTILINE):
        if match[3] is None or "sys_platform" not in match[3]:
            found.setdefault(match[1], match[2])
    return found


def has_wheel(pip: Path, name: str, version: str, work: Path) -> bool:
    """Ask the index whether a distribution can be installed on FreeBSD without building it."""
    argv = [
        str(pip), "download", "--quiet", "--disable-pip-version-check", "--no-deps", "--only-binary=:all:",
        f"--platform={PLATFORM}", "--implementation=cp", "--python-version=3.11", "--dest", str(work),
        f"{name}=={version}",
    ]  # fmt: skip
    done = subprocess.run(argv, capture_output=True, text=True)
    if done.returncode != 0 and "No matching distribution" not in done.stderr:
        sys.exit(f"{name}: {done.stderr.strip()}")
    return done.returncode == 0


def inspect_environment(work: Path) -> tuple[dict[str, dict[str, str]], set[str]]:
    """Install the whole lock file; return compiled distributions with their bounds, and what had to be built."""
    tools, whole, cache = work / "tools", work / "whole", work / "cache"
    subprocess.run([sys.executable, "-m", "venv", str(tools)], check=True)
    subprocess.run([str(tools / "bin/pip"), "install", "--quiet", "--require-hashes", "--disable-pip-version-check",
                    "--requirement", str(HERE / "tools.txt")], check=True)  # fmt: skip
    uv = [str(tools / "bin/uv"), "--quiet", "--cache-dir", str(cache)]
    subprocess.run([*uv, "venv", "--python", sys.executable, str(whole)], check=True)
    subprocess.run([*uv, "pip", "install", "--python", str(whole / "bin/python"), "--no-deps", "--require-hashes",
                    "--requirement", str(LOCK)], check=True)  # fmt: skip
    told = subprocess.run([str(whole / "bin/python"), str(HERE / "freebsd_bounds.py")], check=True, capture_output=True)
    built = {path.name for path in cache.glob("sdists-*/pypi/*")}
    return json.loads(told.stdout), built


def make_split(work: Path) -> dict[str, Any]:
    """Return the split as it is written."""
    ports = tomllib.loads(PORTS.read_text())
    versions = locked_versions()
    compiled, built = inspect_environment(work)
    packages = []
    for name, bounds in compiled.items():
        if has_wheel(work / "tools/bin/pip", name, versions[name], work / "wheels"):
            continue
        if name not in ports:
            sys.exit(f"{name} has no wheel for FreeBSD and no port in {PORTS.name}: look for one, and add it there")
        port = {"package": name, "epoch": 0, **ports.pop(name)}
        packages.append({"distribution": name, **port, "bounds": bounds})
    if ports:
        sys.exit(f"not needed any more, remove from {PORTS.name}: {', '.join(ports)}")
    return {
        "lock": LOCK.name,
        "lock_sha256": hashlib.sha256(LOCK.read_bytes()).hexdigest(),
        "packages": packages,
        "pure_sources": sorted(built),
    }


def dependencies(split: dict[str, Any]) -> str:
    """Return the port's RUN_DEPENDS for a split."""
    lines = []
    for item in split["packages"]:
        limits = port_limits(list(item["bounds"].values()), item["epoch"])
        lines.append(f"${{PYTHON_PKGNAMEPREFIX}}{item['package']}{limits}:{item['origin']}@${{PY_FLAVOR}}")
    return "RUN_DEPENDS+=\t" + " \\\n\t\t".join(lines) + "\n"


def port_limits(needs: list[str], epoch: int) -> str:
    """Return bounds as a port writes them: the highest of the lower ones, the lowest of the upper ones."""
    tail = f",{epoch}" if epoch else ""
    found: dict[str, list[tuple[tuple[int, ...], str]]] = {">=": [], "<": []}
    for part in ",".join(needs).split(","):
        match = re.fullmatch(r"(>=|<|!=)([0-9.]+)(?:\.\*)?|", part.strip())
        if match is None:
            sys.exit(f"a bound that ports cannot have: {part}")
        if match[1] in found:
            found[match[1]].append((tuple(int(number) for number in match[2].split(".")), match[2]))
    lower = f">={max(found['>='])[1]}{tail}" if found[">="] else ">=0"
    return lower + (f"<{min(found['<'])[1]}{tail}" if found["<"] else "")


def main() -> None:
    """Write the split and the port's dependencies."""
    with tempfile.TemporaryDirectory(prefix="beastack-split-") as work:
        split = make_split(Path(work))
    SPLIT.write_text(json.dumps(split, indent=1) + "\n")
    names = " ".join(item["package"] for item in split["packages"])
    print(f"{SPLIT.name}: from pkg: {names}; from source, pure: {' '.join(split['pure_sources'])}")
    if MAKEFILE.exists():
        text = MAKEFILE.read_text()
        before, rest = text.split(BEGIN)
        MAKEFILE.write_text(before + BEGIN + dependencies(split) + END + rest.split(END)[1])


if __name__ == "__main__":
    main()
