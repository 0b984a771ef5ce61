"""The machine: its directory, disk, memory, clock, packages, users and Python environment."""

from __future__ import annotations

import os
import shutil
import stat
import time
from collections.abc import Iterator
from datetime import UTC, datetime

from beastack.site import operate, release
from beastack.site.doctor.finding import Finding, bad, good, listed
from beastack.site.doctor.view import View
from beastack.site.steps import user_names_of

#: Bytes of memory that must be there for what comes next.
MEMORY_NEEDED = 1 << 30
#: Free inodes under which a disk counts as full.
INODES_NEEDED = 10_000
#: Seconds that clocks and time stamps may be apart.
CLOCK_SLACK = 60.0


def check_root(view: View) -> Iterator[Finding]:
    """The state directory is root's, and nobody else can write there."""
    status = view.layout.root.stat()
    mode = stat.S_IMODE(status.st_mode)
    root = view.layout.root
    if os.geteuid() != 0:
        yield bad("root", "doctor does not run as root and sees only a part", f"sudo {view.command('doctor')}")
    elif status.st_uid != 0 or mode & 0o022:
        seen = f"{root} belongs to user {status.st_uid} with mode {mode:04o}: others can change it"
        yield bad("state directory", seen, f"chown root: {root}; chmod 0711 {root}")
    else:
        yield good("state directory", f"{root} is root's")


def check_disk(view: View) -> Iterator[Finding]:
    """There is room for what services write."""
    root = view.layout.root
    free, inodes = shutil.disk_usage(root).free, os.statvfs(root)
    seen = f"{free >> 20} MiB free at {root}"
    if free < operate.DISK_AGAIN:
        yield bad("disk", f"{seen}, {operate.DISK_AGAIN >> 20} MiB are needed", f"free some: du -xh {root} | sort -h")
    elif inodes.f_files and inodes.f_favail < INODES_NEEDED:
        yield bad("disk", f"{inodes.f_favail} inodes free at {root}", f"remove files: du -x --inodes {root} | sort -n")
    else:
        yield good("disk", seen)


def check_memory(view: View) -> Iterator[Finding]:
    """There is memory for another guest."""
    available = view.host.available_memory()
    if available is None:
        yield good("memory", "this kernel does not say how much is available")
        return
    seen = f"{available >> 20} MiB available"
    if available < MEMORY_NEEDED:
        remedy = "delete or stop instances, stop other programs, or set site.workers = 1 in site.toml"
        yield bad("memory", f"{seen}, {MEMORY_NEEDED >> 20} MiB should be", remedy)
    else:
        yield good("memory", seen)


def check_clock(view: View) -> Iterator[Finding]:
    """The clock was not set back: tokens, certificates and reports would be from the future."""
    layout = view.layout
    stamps = [layout.marker, layout.secrets, layout.run() / "up.json", *(layout.root / "log").glob("*.log")]
    now = time.time()
    latest = max((path.stat().st_mtime for path in stamps if path.exists()), default=0.0)
    if latest > now + CLOCK_SLACK:
        seen = f"the clock was set back: files of the site are {latest - now:.0f} s from the future"
        yield bad("clock", seen, "set the clock (date -s, or an NTP client), then " + view.again)
    else:
        yield good("clock", datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S UTC"))


def check_packages(view: View) -> Iterator[Finding]:
    """The system's packages are installed."""
    missing = view.steps.missing_packages()
    if missing:
        yield bad("packages", "missing: " + listed(missing), view.redo)
    else:
        yield good("packages", f"all {len(view.host.packages(view.site.description))} are installed")


def check_users(view: View) -> Iterator[Finding]:
    """The services' users exist."""
    names = user_names_of(view.layout, view.site.description)
    missing = view.host.missing_users(names)
    if missing:
        yield bad("users", "missing: " + listed(missing), view.redo)
    else:
        yield good("users", f"all {len(names)} exist")


def check_environment(view: View) -> Iterator[Finding]:
    """The virtual environment holds the release, and works."""
    what, venv = "virtual environment", view.layout.venv
    if not release.is_installed(view.layout):
        yield bad(what, f"{venv} does not hold OpenStack {release.RELEASE} as this beastack knows it", view.redo)
        return
    # Both lead out of it, into packages of the system that can go or change.
    dangling = [path for path in (view.layout.python, *venv.glob("lib/python3*/site-packages/libvirt*"))
                if not path.exists()]  # fmt: skip
    bound = any(venv.glob("lib/python3*/site-packages/libvirt.py")) or not view.site.description.host.has_guests
    if dangling or not bound:
        seen = f"{dangling[0]} leads nowhere" if dangling else "the libvirt binding is missing"
        yield bad(what, seen, f"rm {venv}/beastack-release; {view.redo}")
        return
    yield good(what, f"OpenStack {release.RELEASE}")
