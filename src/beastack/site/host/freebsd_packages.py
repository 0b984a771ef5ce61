"""FreeBSD's packages of a site: which it needs, whether they suit, and what of Python the environment sees of them.

A package of a program counts as installed when its file is there, whatever
brought it: another version of MariaDB's port would be removed by pkg(8) in
favour of the one named here. Packages of Python modules are known to pkg(8)
alone.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from beastack.freebsd import package
from beastack.freebsd.command import CommandError, CommandNotFound
from beastack.freebsd.errors import PackageNotFound
from beastack.site import records, release
from beastack.site.description import Description
from beastack.site.host import HostError
from beastack.site.layout import Layout
from beastack.site.records import Record
from beastack.site.split import SystemPackage

Progress = Callable[[str], None]

#: Packages that a control host needs, those of the switch, of DHCP and of guests; and a file that each brings.
CONTROL_PACKAGES = {
    "mariadb118-server": "/usr/local/libexec/mariadbd",
    "mariadb118-client": "/usr/local/bin/mariadb",
    "rabbitmq": "/usr/local/sbin/rabbitmq-server",
}
SWITCH_PACKAGES = {
    "openvswitch": "/usr/local/sbin/ovs-vswitchd",
}
NETWORK_PACKAGES = {
    "dnsmasq": "/usr/local/sbin/dnsmasq",
    "haproxy": "/usr/local/sbin/haproxy",
}
GUEST_PACKAGES = {
    "libvirt": "/usr/local/sbin/libvirtd",
    "edk2-bhyve": "/usr/local/share/uefi-firmware/BHYVE_UEFI.fd",
    "qemu-tools": "/usr/local/bin/qemu-img",
    "cdrtools": "/usr/local/bin/mkisofs",
}
PACKAGES = {**CONTROL_PACKAGES, **SWITCH_PACKAGES, **NETWORK_PACKAGES, **GUEST_PACKAGES}
#: Console pages; known by its name, as the place of its files is not certain.
NOVNC = "novnc"
NOVNC_PAGE = "vnc_lite.html"
#: Modules of Python itself that FreeBSD packages apart; glance's code imports it.
STANDARD_MODULES = ("sqlite3",)
LIBVIRT_BINDING = "libvirt"

#: The oldest minor release in support of each major one (freebsd.org/security, November 2026).
SUPPORTED = {14: 4, 15: 1}
MACHINE = "amd64"


def prefix() -> str:
    """Return what the packages of this Python's modules begin with, such as ``py311-``."""
    return f"py{sys.version_info.major}{sys.version_info.minor}-"


def packages(description: Description) -> list[str]:
    """Return the packages that a site needs."""
    host = description.host
    return [
        *(CONTROL_PACKAGES if host.has_control else ()),
        *((NOVNC,) if host.has_control else ()),
        *(SWITCH_PACKAGES if host.has_switch else ()),
        *(NETWORK_PACKAGES if host.has_network else ()),
        *(GUEST_PACKAGES if host.has_guests else ()),
        *(prefix() + name for name in STANDARD_MODULES),
        *module_packages(),
        *((prefix() + LIBVIRT_BINDING,) if host.has_guests else ()),
    ]


def module_packages() -> dict[str, SystemPackage]:
    """Return the packages that bring the release's distributions with compiled parts, by their names here."""
    return {prefix() + item.package: item for item in release.split().packages}


def missing_packages(names: Sequence[str]) -> list[str]:
    """Return which of the packages are not installed."""
    try:
        known = package.read_installed([name for name in names if name not in PACKAGES])
    except CommandNotFound:
        known = {}  # a plan that is made elsewhere
    return [name for name in names if not (os.path.exists(PACKAGES[name]) if name in PACKAGES else name in known)]


def install_packages(layout: Layout, names: Sequence[str], progress: Progress) -> None:
    """Install packages with pkg(8); recorded for ``destroy``.

    :raises HostError: pkg refused, or there is none
    """
    if not names:
        return
    progress(f"installing {len(names)} packages and what they depend on")
    records.add(layout.records, Record("packages", "freebsd", " ".join(names)))
    try:
        package.install(names)
    except CommandNotFound as error:
        raise HostError(f"this host has no pkg: bring {', '.join(names)} some other way, then try again") from error
    except PackageNotFound as error:
        raise HostError(f"{error} (check pkg's repositories)") from error
    except CommandError as error:
        raise HostError(f"the packages cannot be installed: {error} (check pkg's repositories)") from error


def remove_packages(names: Sequence[str]) -> None:
    """Remove packages that ``install_packages`` brought in, as far as they are there. Raises CommandError."""
    there = package.read_installed(names)
    if there:
        package.delete(list(there))


# Whether they suit


def notes() -> list[str]:
    """Return what the operator should know of this release of FreeBSD, and what does not stop ``up``."""
    found = _release()
    if found is None or found[0] not in SUPPORTED or found[1] >= SUPPORTED[found[0]]:
        return []
    text = " and ".join(f"{major}.{minor}" for major, minor in SUPPORTED.items())
    return [
        f"FreeBSD {found[0]}.{found[1]} is out of support ({text} and later are in it): "
        "it gets no corrections, and pkg's packages are made for newer ones; upgrade it"
    ]


def problems(description: Description) -> list[str]:
    """Return what stops ``up`` on this host before anything is changed, one line each.

    :raises HostError: pkg cannot say what it offers
    """
    found, machine = _release(), os.uname().machine
    if found is None:
        return []  # a plan that is made elsewhere
    if machine != MACHINE:
        return [f"this machine is {machine}: on FreeBSD Beastack runs on {MACHINE} only"]
    if found[0] < min(SUPPORTED):
        return [f"this is FreeBSD {found[0]}.{found[1]}: Beastack needs {min(SUPPORTED)}.{SUPPORTED[min(SUPPORTED)]}"]
    try:
        if not package.is_bootstrapped():
            return ["pkg is not installed yet: run pkg bootstrap, then up again"]
        modules = module_packages()
        have = package.read_installed(list(modules))
        wanted = [name for name in missing_packages(packages(description)) if name not in have]
        offered = package.read_offered(wanted)
    except CommandError as error:
        raise HostError(f"pkg cannot say what it offers: {error} (check pkg's repositories)") from error
    absent = [name for name in wanted if name not in offered]
    if len([name for name in absent if name in modules]) == len(modules):
        version = ".".join(str(number) for number in sys.version_info[:2])
        return [
            f"pkg has no modules for Python {version} (no {absent[-1]}, for one): "
            "install pkg's own Python (pkg install python3), which the next up will use"
        ]
    lines = [f"pkg offers no {name}: try its other branch, quarterly or latest (docs/packages.md)" for name in absent]
    for name, item in modules.items():
        version = have.get(name) or offered.get(name, "")
        broken = item.broken_bounds(version) if version else []
        if broken:
            which = "is installed" if name in have else "is what pkg offers"
            lines.append(f"{name} {version} {which}, but {', '.join(broken)} (docs/packages.md)")
    return lines


def _release() -> tuple[int, int] | None:
    system = os.uname()
    match = re.match(r"([0-9]+)\.([0-9]+)", system.release)
    return (int(match[1]), int(match[2])) if match and system.sysname == "FreeBSD" else None


# What the environment sees of them


def link_modules(layout: Layout, description: Description) -> None:
    """Make the packages' modules visible in the virtual environment, by links to exactly those.

    Not the whole of the system's site-packages: what else an administrator has
    there, plug-ins of other versions of OpenStack among it, would be found by
    their entry points. Run again when packages change: a distribution's
    metadata is in a directory that is named after its version.
    """
    if not release.is_split(layout):
        return  # it holds everything itself
    names = [*module_packages(), *((prefix() + LIBVIRT_BINDING,) if description.host.has_guests else ())]
    target = release.site_packages(layout)
    wanted = {target / module.name: module for module in top_levels(package.read_files(names))}
    for link in (*target.iterdir(), *wanted):
        if link.is_symlink() and link.readlink() != wanted.get(link):
            link.unlink()
    for link, module in wanted.items():
        if not link.is_symlink():
            link.symlink_to(module)


def top_levels(files: Sequence[str]) -> list[Path]:
    """Return what stands directly in a site-packages directory, of a list of files."""
    found = {}
    for file in files:
        place, separator, inner = file.partition("/site-packages/")
        top = inner.partition("/")[0]
        if separator and top != "__pycache__":
            found[top] = Path(f"{place}{separator}{top}")
    return [found[name] for name in sorted(found)]


def console_pages(layout: Layout) -> None:
    """Make the package's noVNC pages the site's.

    :raises HostError: they are not installed
    """
    pages = [Path(file) for file in package.read_files([NOVNC]) if file.endswith(f"/{NOVNC_PAGE}")]
    if not pages or not pages[0].exists():
        raise HostError(f"the package {NOVNC} has no {NOVNC_PAGE}: pkg install {NOVNC}")
    target = layout.data("novnc")
    target.parent.mkdir(parents=True, exist_ok=True)
    target.unlink(missing_ok=True)
    target.symlink_to(pages[0].parent)
