"""Whether guests can run by KVM, on Linux."""

from __future__ import annotations

import fcntl
import grp
import os
import pwd
from collections.abc import Iterator
from pathlib import Path

from beastack.site.doctor.finding import Finding, bad, good
from beastack.site.doctor.view import View
from beastack.site.host import linux

_KVM = Path("/dev/kvm")


def check_kvm(view: View) -> Iterator[Finding]:
    """Where guests are to run by KVM, they can."""
    wanted = view.site.description.compute.virt_type == "kvm"
    if not wanted:
        hint = f'; {_KVM} is there: compute.virt_type = "kvm" in site.toml may be faster' if _KVM.exists() else ""
        yield good("virtualization", "guests are emulated" + hint)
        return
    emulate = 'or set compute.virt_type = "qemu" in site.toml'
    user = view.layout.user("qemu")
    if not _KVM.exists():
        seen = f"{_KVM} is not there"
        yield bad("virtualization", seen, f"modprobe -a kvm kvm_intel kvm_amd, enable it in the firmware, {emulate}")
    elif (why := why_unusable(_KVM)) is not None:
        yield bad("virtualization", f"{_KVM} cannot be used: {why}", f"modprobe -r and modprobe kvm, {emulate}")
    elif linux.user_exists(user) and not may_write(_KVM.stat(), user):
        group = _group_name(_KVM.stat().st_gid)
        remedy = f"usermod -aG {group} {user}" if group != "root" else f"chmod 0666 {_KVM}"
        yield bad("virtualization", f"the guests' user {user} may not open {_KVM}", f"{remedy}, {emulate}")
    else:
        yield good("virtualization", f"{_KVM} can be used")


def why_unusable(device: Path) -> str | None:
    """Return why KVM does not answer behind its device; None if it does (KVM_GET_API_VERSION, linux/kvm.h)."""
    try:
        descriptor = os.open(device, os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        return error.strerror
    try:
        version = fcntl.ioctl(descriptor, 0xAE00)
    except OSError as error:
        return error.strerror
    finally:
        os.close(descriptor)
    return None if version == 12 else f"its API is of version {version}, not 12"


def may_write(status: os.stat_result, user: str) -> bool:
    """Return whether a user may read and write a file of this owner, group and mode."""
    account = pwd.getpwnam(user)
    if account.pw_uid == status.st_uid:
        return status.st_mode & 0o600 == 0o600
    if status.st_gid in os.getgrouplist(user, account.pw_gid):
        return status.st_mode & 0o060 == 0o060
    return status.st_mode & 0o006 == 0o006


def _group_name(gid: int) -> str:
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)
