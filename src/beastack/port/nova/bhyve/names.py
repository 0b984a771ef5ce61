"""Names that the driver gives, and that its privileged daemon takes: nothing else is touched as root."""

from __future__ import annotations

import re

#: A guest's tap, as nova names it: ``tap`` and the beginning of the port's id.
TAP = re.compile(r"tap[0-9a-f]{8}-[0-9a-f]{2}")

#: A virtual machine, as bhyve and libvirt take its name (VM_MAX_NAMELEN is 229).
MACHINE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,228}")

#: A volume below the dataset: a guest's disk, or what disks are cloned from.
VOLUME = re.compile(r"(?:base/)?[A-Za-z0-9][A-Za-z0-9._-]{0,199}")

SNAPSHOT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")

_UUID = r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
DISK = re.compile(rf"(?P<uuid>{_UUID})_(?P<disk>[A-Za-z0-9._-]+)")


def check_name(pattern: re.Pattern[str], name: str) -> str:
    """Return a name that fits.

    :raises ValueError: it does not
    """
    if not isinstance(name, str) or not pattern.fullmatch(name):
        raise ValueError(f"{name!r:.200} is not a name for this")
    return name


def node_of(machine: str) -> str:
    """Return the kernel's node of a virtual machine, which is there from its making to its destruction."""
    return f"/dev/vmm/{machine}"


def title_of(machine: str) -> str:
    """Return the title that bhyve gives its process once the guest is set up (setproctitle(3))."""
    return f"bhyve: {machine}"
