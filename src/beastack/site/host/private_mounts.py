"""Run a program with directories of ours over its built-in ones (Linux only).

Usage: private_mounts.py SOURCE:TARGET... -- PROGRAM ARGUMENT...

libvirtd has its state directories compiled in. In a mount namespace of its
own, ours lie over them, and the system's stay untouched. Source: unshare(2),
mount(2), mount_namespaces(7).
"""

import ctypes
import os
import sys

_CLONE_NEWNS = 0x00020000
_MS_BIND = 0x1000
_MS_REC_PRIVATE = 0x4000 | 0x40000


def main() -> None:
    """Mount, then become the program."""
    arguments = sys.argv[1:]
    split = arguments.index("--")
    libc = ctypes.CDLL(None, use_errno=True)
    _check(libc.unshare(_CLONE_NEWNS), "a mount namespace of its own")
    _check(libc.mount(b"none", b"/", None, _MS_REC_PRIVATE, None), "mounts that do not spread")
    for pair in arguments[:split]:
        source, _, target = pair.partition(":")
        _check(libc.mount(source.encode(), target.encode(), None, _MS_BIND, None), f"{source} over {target}")
    program = arguments[split + 1 :]
    os.execv(program[0], program)


def _check(failed: int, what: str) -> None:
    if failed:
        sys.exit(f"private_mounts: {what}: {os.strerror(ctypes.get_errno())}")


if __name__ == "__main__":
    main()
