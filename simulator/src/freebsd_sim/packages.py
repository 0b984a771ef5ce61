"""Debian packages that a simulated host runs on: installed when missing, none of their services started."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

# package: a file that it brings
RUNTIME_PACKAGES = {
    "gcc": "/usr/bin/cc",
    "libc6-dev": "/usr/include/stdio.h",
    "iputils-ping": "/usr/bin/ping",
    "qemu-system-x86": "/usr/bin/qemu-system-x86_64",
    "qemu-utils": "/usr/bin/qemu-img",
    "genisoimage": "/usr/bin/mkisofs",
    "dosfstools": "/usr/sbin/mkfs.vfat",
    "ovmf": "/usr/share/OVMF/OVMF_CODE.fd",
    "openvswitch-switch": "/usr/sbin/ovs-vswitchd",
    "dnsmasq-base": "/usr/sbin/dnsmasq",
    "haproxy": "/usr/sbin/haproxy",
}
# Instead of a package's file, any of these will do.
OTHER_FILES = {"iputils-ping": ("/bin/ping",), "ovmf": ("/usr/share/OVMF/OVMF_CODE_4M.fd",)}
POLICY = Path("/usr/sbin/policy-rc.d")
POLICY_TEXT = "#!/bin/sh\n# Made by freebsd-sim while it installs packages; removed right after.\nexit 101\n"


class PackageError(Exception):
    """apt refused; the text is its last line."""


def missing_packages() -> list[str]:
    """Return the packages whose files are not there."""
    return [
        package
        for package, file in RUNTIME_PACKAGES.items()
        if not any(os.path.exists(path) for path in (file, *OTHER_FILES.get(package, ())))
    ]


def install_missing(say: Callable[[str], None]) -> None:
    """Install what is missing. Raises PackageError."""
    missing = missing_packages()
    if not missing:
        return
    say(f"installing Debian packages: {' '.join(missing)}")
    own_policy = not POLICY.exists()
    if own_policy:
        POLICY.write_text(POLICY_TEXT)
        POLICY.chmod(0o755)
    try:
        _apt("update", "-q")
        _apt("install", "-q", "-y", "--no-install-recommends", *missing)
    finally:
        if own_policy:
            with contextlib.suppress(FileNotFoundError):
                POLICY.unlink()


def _apt(*arguments: str) -> None:
    done = subprocess.run(
        ["apt-get", *arguments], capture_output=True, text=True, stdin=subprocess.DEVNULL,
        env={**os.environ, "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C.UTF-8"},
    )  # fmt: skip
    if done.returncode != 0:
        lines = (done.stdout + done.stderr).strip().splitlines() or ["no word of why"]
        raise PackageError(f"apt-get {arguments[0]}: {lines[-1]}")
