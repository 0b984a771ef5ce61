"""ctypes finds FreeBSD's libraries: its C library is libc.so.7, made from native/libc.c in front of Linux's."""

from __future__ import annotations

import os
import sys
from types import FrameType, ModuleType
from typing import Any

from .recorder import STATE, record

LIBRARIES = f"{STATE}/bin"  # where libc.so.7 is
C_LIBRARIES = frozenset({"libc.so.7", "libc.so", "libjail.so.1", "libutil.so.9", "libutil.so.10", "libthr.so.3"})
FREEBSD_NAMES = {"libm.so.5": "libm.so.6", "librt.so.1": "libc.so.6", "libdl.so.1": "libc.so.6"}
LINUX_LIBRARIES = frozenset({"libc.so.6", "libpthread.so.0", "libdl.so.2", "libm.so.6"})
FOUND = {
    "c": "libc.so.7", "jail": "libjail.so.1", "util": "libutil.so.9", "m": "libm.so.5", "pthread": "libthr.so.3",
    "thr": "libthr.so.3", "rt": "librt.so.1", "dl": "libdl.so.1",
}  # fmt: skip
SEARCHED = ("/usr/local/lib", "/lib", "/usr/lib", "/lib/x86_64-linux-gnu", "/usr/lib/x86_64-linux-gnu")

# What Linux's C library has and FreeBSD's has not. inotify: from 15.0.
_LINUX_SYMBOLS = """
    prctl arch_prctl setns unshare clone clone3 capget capset personality pivot_root umount umount2
    epoll_create epoll_create1 epoll_ctl epoll_wait epoll_pwait signalfd fanotify_init fanotify_mark
    pidfd_open pidfd_send_signal pidfd_getfd renameat2 statx fallocate splice tee vmsplice sync_file_range
    getxattr setxattr listxattr removexattr lgetxattr lsetxattr fgetxattr fsetxattr
    prlimit prlimit64 process_vm_readv process_vm_writev mremap gettid tgkill setfsuid setfsgid
    __errno_location gnu_get_libc_version program_invocation_name program_invocation_short_name
    init_module delete_module finit_module  iopl ioperm
    """
LINUX_SYMBOLS = frozenset(_LINUX_SYMBOLS.split())
# FreeBSD has these with other arguments or numbers.
OTHER_MEANING = frozenset({"mount", "syscall"})
INOTIFY = frozenset({"inotify_init", "inotify_init1", "inotify_add_watch", "inotify_rm_watch"})


def change_loader(ctypes: ModuleType) -> None:
    """Make CDLL load the C library of FreeBSD and hide what it does not have."""
    loader: Any = ctypes.__dict__["CDLL"]
    python_loader = ctypes.__dict__["PyDLL"]
    load, find = loader.__init__, loader.__getitem__

    def __init__(self: Any, name: Any, *args: Any, **keywords: Any) -> None:
        if isinstance(self, python_loader):  # ctypes.pythonapi: the interpreter itself
            load(self, name, *args, **keywords)
            return
        base = "libc.so.7" if name is None else os.path.basename(os.fsdecode(name))
        self._is_c_library = base in C_LIBRARIES
        if self._is_c_library:
            load(self, f"{LIBRARIES}/libc.so.7", *args, **keywords)
            self._name = name
        elif base in FREEBSD_NAMES:
            load(self, FREEBSD_NAMES[base], *args, **keywords)
        elif base in LINUX_LIBRARIES:
            record("ctypes", base)
            raise OSError(f'Shared object "{base}" not found, required by "python"')
        else:
            load(self, name, *args, **keywords)

    def __getitem__(self: Any, name: Any) -> Any:
        if is_hidden(name) and not isinstance(self, python_loader) and getattr(self, "_is_c_library", False):
            if is_used(sys._getframe(1)):
                record("ctypes", str(name))
            if name in OTHER_MEANING:
                raise AttributeError(f"freebsd-sim: not simulated: {name}")
            raise AttributeError(f'Undefined symbol "{name}"')
        try:
            return find(self, name)
        except AttributeError:
            if getattr(self, "_name", "") is None and not isinstance(self, python_loader):
                return find(ctypes.__dict__["pythonapi"], name)  # CDLL(None) also has what the program has
            raise

    loader.__init__ = __init__
    loader.__getitem__ = __getitem__


def is_hidden(name: Any) -> bool:
    """Tell whether a symbol of Linux's C library is not to be found."""
    return name in LINUX_SYMBOLS or name in OTHER_MEANING or (name in INOTIFY and sys.platform == "freebsd14")


def is_used(frame: FrameType | None) -> bool:
    """Tell whether the innermost frame outside ctypes names the attribute (x.prctl), and not asks (hasattr)."""
    import dis

    while frame is not None and "/ctypes/" in frame.f_code.co_filename:
        frame = frame.f_back
    if frame is None or frame.f_lasti < 0:
        return True
    operation = dis.opname[frame.f_code.co_code[frame.f_lasti]]
    return operation in ("LOAD_ATTR", "LOAD_METHOD", "BINARY_SUBSCR")


def change_search(util: ModuleType) -> None:
    """Make ctypes.util.find_library look where FreeBSD's run-time linker looks."""

    def find_library(name: str) -> str | None:
        """Return the name of a shared library, None if there is none."""
        if name in FOUND:
            return FOUND[name]
        found: list[str] = []
        for directory in SEARCHED:
            try:
                files = os.listdir(directory)
            except OSError:
                continue
            found += [file for file in files if file.startswith(f"lib{name}.so.")]
            if found:
                break
        return max(found, key=_version_of) if found else None

    util.find_library = find_library  # type: ignore[attr-defined]


def _version_of(file: str) -> tuple[int, int]:
    # lib.so.1 rather than lib.so.1.2.3: the name that programs are linked with.
    version = file.partition(".so.")[2].split(".")
    return (-len(version), int(version[0]) if version[0].isdigit() else 0)
