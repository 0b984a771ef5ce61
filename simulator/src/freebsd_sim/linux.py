"""The few Linux system calls that the standard library does not offer."""

from __future__ import annotations

import ctypes
import os

CLONE_NEWNS = 0x00020000  # linux/sched.h
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000

MS_RDONLY = 0x1  # linux/mount.h
MS_NOSUID = 0x2
MS_REMOUNT = 0x20
MS_BIND = 0x1000
MS_REC = 0x4000
MS_PRIVATE = 0x40000
MS_SLAVE = 0x80000
MNT_DETACH = 2

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mount.argtypes = [ctypes.c_char_p, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_ulong, ctypes.c_char_p]
_libc.umount2.argtypes = [ctypes.c_char_p, ctypes.c_int]


def _check(status: int, what: str) -> None:
    if status != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), what)


def unshare(flags: int) -> None:
    """Leave the namespaces named by flags for new ones. Raises OSError."""
    _check(_libc.unshare(flags), "unshare")


def setns(descriptor: int, flags: int = 0) -> None:
    """Enter the namespace that a descriptor stands for. Raises OSError."""
    _check(_libc.setns(descriptor, flags), "setns")


def mount(source: str, target: str, kind: str = "", flags: int = 0, data: str = "") -> None:
    """Mount a file system; see mount(2) of Linux. Raises OSError that names the target."""
    status = _libc.mount(source.encode(), target.encode(), kind.encode() or None, flags, data.encode() or None)
    _check(status, target)


def bind(source: str, target: str, *, read_only: bool = False, recursive: bool = False) -> None:
    """Make a file or directory appear at a second place. Raises OSError that names the target."""
    mount(source, target, flags=MS_BIND | (MS_REC if recursive else 0))
    if read_only:
        mount("", target, flags=MS_REMOUNT | MS_BIND | MS_RDONLY)


def unmount(target: str) -> None:
    """Detach a file system at once; it goes when nothing uses it any more. Raises OSError."""
    _check(_libc.umount2(target.encode(), MNT_DETACH), target)


def pivot_root(new: str, old: str) -> None:
    """Make a mounted directory the root, and put the old root below it. Raises OSError."""
    number = 155  # __NR_pivot_root on amd64
    _check(_libc.syscall(number, new.encode(), old.encode()), new)
