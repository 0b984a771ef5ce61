"""Opens the device nodes that are more than files: taps, nmdm pairs, bpf."""

from __future__ import annotations

import errno
import os
import stat

TYPE_CHECKING = False  # see audit.py
if TYPE_CHECKING:
    from typing import Any

_USUAL_NODES = """
    /dev/null /dev/zero /dev/urandom /dev/random /dev/tty /dev/log /dev/full
    /dev/stdin /dev/stdout /dev/stderr
    """
USUAL_NODES = frozenset(_USUAL_NODES.split())
TAP_DRIVERS = ("tap", "vmnet")


def is_tap(path: str) -> bool:
    """Tell whether a path in /dev is a tap's: tapN, tap (which makes one), or the marker file of a renamed one."""
    if path in USUAL_NODES or "/" in path[5:]:
        return False
    for driver in TAP_DRIVERS:
        if path.startswith(driver, 5) and (path[5 + len(driver) :].isdigit() or path[5:] == driver):
            return True
    try:
        return stat.S_ISREG(os.lstat(path).st_mode)  # no other plain file is in /dev
    except OSError:
        return False


def look_up(path: str, wait: bool = False) -> None:
    """Make an nmdm pair by the first look-up of either of its names; with ``wait``, until the other side is open.

    :raises OSError: the kernel is gone
    """
    from .kernel_call import call_kernel

    try:
        call_kernel("nmdm_open", path=path, wait=wait)
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.ENXIO):  # then the call that follows refuses by itself
            raise


def before_open(path: str, flags: int) -> None:
    """Do what a look-up of a node in /dev does, and what its open waits for.

    :raises OSError: the node cannot be opened in a simulated host
    """
    name = path[5:]
    if name.startswith("nmdm") and name[-1] in "AB":
        look_up(path, wait=not flags & os.O_NONBLOCK)
    elif name == "bpf" or (name.startswith("bpf") and name[3:].isdigit()):
        raise OSError(errno.ENXIO, "Device not configured (freebsd-sim: not simulated: bpf in Python)", path)
    elif is_tap(path):
        raise OSError(errno.EOPNOTSUPP, "freebsd-sim: not simulated: a tap opened by other than os.open", path)


def open_tap(path: str, flags: int) -> int:
    """Open a tap and return the descriptor, which reads and writes whole frames.

    :raises OSError: EBUSY when it is open already (tap(4)), ENOENT without such a tap, EPERM
    """
    from .kernel_call import call_kernel

    try:
        _, descriptors = call_kernel("open_tap", node=path[5:])
    except OSError as error:
        error.filename = path
        raise
    descriptor = descriptors[0]
    os.set_blocking(descriptor, not flags & os.O_NONBLOCK)
    os.set_inheritable(descriptor, False)
    return descriptor


def install() -> None:
    """Replace os.open by one that knows taps."""
    real = os.open

    def open(path: Any, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        """Open a file for low level IO.  Returns a file descriptor (integer)."""
        if type(path) is str and path[:5] == "/dev/" and is_tap(path):
            return open_tap(path, flags)
        return real(path, flags, mode, dir_fd=dir_fd)

    os.open = open
    os.supports_dir_fd.add(open)
