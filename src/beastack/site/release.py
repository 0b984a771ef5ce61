"""The OpenStack release in its virtual environment, and what beastack adds to it."""

from __future__ import annotations

import shutil
import tomllib
from collections.abc import Callable
from pathlib import Path

from beastack.freebsd.command import CommandError, run
from beastack.site import environment
from beastack.site.layout import Layout
from beastack.site.split import Split, read_split

RELEASE = "2026.2"

#: Modules that come from the system's packages, because they are bound to the system's libraries.
SYSTEM_MODULES = ("libvirt.py", "libvirtmod.*.so", "libvirtmod_qemu.*.so", "libvirt_qemu.py", "libvirtaio.py")
SYSTEM_PACKAGES = Path("/usr/lib/python3/dist-packages")


class ReleaseError(Exception):
    """Part of the release cannot be installed; one line says why and what to do."""


def lock_file() -> Path:
    """Return the list of all Python packages of the release, with versions and hashes."""
    return environment.REQUIREMENTS / f"openstack-{RELEASE}.txt"


def digest() -> str:
    """Return a short hash of the release: its lock file and the interpreter's version."""
    return environment.digest(lock_file())


def split() -> Split:
    """Return what comes from the system's packages where there are no wheels for it."""
    return read_split(environment.REQUIREMENTS / f"freebsd-{RELEASE}.json")


def is_installed(layout: Layout) -> bool:
    """Return whether the virtual environment holds exactly this release, or all of it but the system's part."""
    return environment.is_made(layout.venv, lock_file()) or is_split(layout)


def is_split(layout: Layout) -> bool:
    """Return whether the virtual environment leaves distributions with compiled parts to the system."""
    return environment.is_made(layout.venv, lock_file(), without=split())


def install(layout: Layout, python: str, progress: Callable[[str], None], *, without: Split | None = None) -> None:
    """Make the virtual environment of the release.

    :param without: what the system's packages bring instead
    :raises EnvironmentFailed: a package cannot be fetched or does not match its hash
    """
    environment.make(layout.venv, (lock_file(),), python, layout.root, progress, without=without)


def site_packages(layout: Layout) -> Path:
    """Return where the virtual environment keeps its modules."""
    return next((layout.venv / "lib").glob("python3.*")) / "site-packages"


def make_known(layout: Layout) -> None:
    """Make what beastack itself offers at upstream's extension points known in the virtual environment.

    Entry points are found through a distribution's metadata; the modules
    behind them come from where beastack runs.
    """
    project = tomllib.loads((environment.REQUIREMENTS.parent / "pyproject.toml").read_text())["project"]
    packages = site_packages(layout)
    metadata = packages / f"{project['name']}-{project['version']}.dist-info"
    for old in packages.glob(f"{project['name']}-*.dist-info"):
        if old != metadata:
            shutil.rmtree(old)
    metadata.mkdir(exist_ok=True)
    lines = []
    for group, points in project["entry-points"].items():
        lines += [f"[{group}]", *(f"{name} = {target}" for name, target in points.items()), ""]
    (metadata / "entry_points.txt").write_text("\n".join(lines))
    (metadata / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
    )


def link_system_modules(layout: Layout) -> None:
    """Make the system's libvirt binding visible in the virtual environment; run again when packages change."""
    target = site_packages(layout)
    for pattern in SYSTEM_MODULES:
        for module in SYSTEM_PACKAGES.glob(pattern):
            link = target / module.name
            link.unlink(missing_ok=True)
            link.symlink_to(module)


def novnc_pages(layout: Layout, work: Path) -> None:
    """Fetch Debian's noVNC pages without the packages they would drag in.

    :raises ReleaseError: they cannot be fetched
    """
    target = layout.data("novnc")
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    try:
        # apt-get fetches as a user of its own where it can; the directory is root's, so say that it cannot.
        run(["apt-get", "download", "-q", "-o", "APT::Sandbox::User=root", "novnc"], cwd=work, timeout=120)
        archive = next(work.glob("novnc_*.deb"))
        run(["dpkg-deb", "--extract", str(archive), str(work / "files")])
        pages = work / "files" / "usr" / "share" / "novnc"
        shutil.rmtree(target, ignore_errors=True)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(pages, target)
        target.chmod(0o755)
    except (CommandError, StopIteration, OSError) as error:
        raise ReleaseError(
            f"the noVNC pages cannot be fetched: {error} (check the network and apt's sources)"
        ) from error
    finally:
        shutil.rmtree(work, ignore_errors=True)
