"""Changes a module of the standard library when it is imported, and not before: most programs need few of them."""

from __future__ import annotations

import sys
from _frozen_importlib import ModuleSpec  # importlib.machinery's; loaded in every interpreter

from . import names

TYPE_CHECKING = False  # typing costs more than all the rest of the start
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType
    from typing import Any


def _change_socket(module: ModuleType) -> None:
    from . import sockets

    names.change_names(module)
    sockets.replace_class(module)


def _change_select(module: ModuleType) -> None:
    from . import kqueue

    kqueue.install(module)
    names.change_names(module)


def _change_resource(module: ModuleType) -> None:
    names.change_names(module)
    module.RLIMIT_VMEM = module.RLIMIT_AS  # type: ignore[attr-defined]


def _change_ctypes(module: ModuleType) -> None:
    from . import libraries

    libraries.change_loader(module)


def _change_ctypes_util(module: ModuleType) -> None:
    from . import libraries

    libraries.change_search(module)


def _change_platform(module: ModuleType) -> None:
    def libc_ver(executable: Any = None, lib: str = "", version: str = "", chunksize: int = 0) -> tuple[str, str]:
        """Return what this finds on FreeBSD: nothing."""
        return lib, version

    module.libc_ver = libc_ver  # type: ignore[attr-defined]


def _change_sysconfigdata(module: ModuleType) -> None:
    # EXT_SUFFIX and SOABI stay: compiled modules are Linux's.
    triplet = f"x86_64-portbld-{sys.platform}"
    module.build_time_vars.update(MACHDEP=sys.platform, HOST_GNU_TYPE=triplet, BUILD_GNU_TYPE=triplet)


def _fill_sysconfigdata(module: ModuleType) -> None:
    from importlib import import_module

    linux = import_module(module.__name__.replace(sys.platform, "linux"))
    module.build_time_vars = linux.build_time_vars  # type: ignore[attr-defined]


def _fill_psutil(module: ModuleType) -> None:
    from . import psutil_bsd

    module.__dict__.update({name: value for name, value in vars(psutil_bsd).items() if not name.startswith("__")})


CHANGES: dict[str, Callable[[ModuleType], None]] = {
    "_socket": _change_socket,
    "select": _change_select,
    "fcntl": names.change_names,
    "resource": _change_resource,
    "_signal": names.change_names,
    "mmap": names.change_names,
    "ctypes": _change_ctypes,
    "ctypes.util": _change_ctypes_util,
    "platform": _change_platform,
}

# Modules that do not exist on Linux; psutil's is C code there.
SUPPLIED: dict[str, Callable[[ModuleType], None]] = {"psutil._psutil_bsd": _fill_psutil}


class ChangingLoader:
    """Loads a module with its own loader and changes it before its importer sees it."""

    def __init__(self, loader: Any, change: Callable[[ModuleType], None]) -> None:
        self.loader = loader
        self.change = change

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        """Create the module as its own loader does."""
        created: ModuleType | None = self.loader.create_module(spec)
        return created

    def exec_module(self, module: ModuleType) -> None:
        """Run the module's body, then the change."""
        if module.__spec__ is not None:
            module.__spec__.loader = self.loader
        module.__loader__ = self.loader
        self.loader.exec_module(module)
        self.change(module)


class SupplyingLoader:
    """Fills a module that has no file."""

    def __init__(self, fill: Callable[[ModuleType], None]) -> None:
        self.fill = fill

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        """Leave it to the import system."""
        return None

    def exec_module(self, module: ModuleType) -> None:
        """Fill the module."""
        self.fill(module)


class Finder:
    """First on sys.meta_path: finds the modules that are to be changed or supplied."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        """Return a spec for a module of the tables, None for all others."""
        change = CHANGES.get(name)
        if change is None and name.startswith("_sysconfigdata_") and sys.platform not in name:
            change = _change_sysconfigdata
        if change is not None:
            spec = self._find_original(name, path, target)
            if spec is not None and spec.loader is not None:
                spec.loader = ChangingLoader(spec.loader, change)  # type: ignore[assignment]
            return spec
        fill = SUPPLIED.get(name)
        if fill is None and name.startswith("_sysconfigdata_"):
            fill = _fill_sysconfigdata  # CPython's name for it contains the platform, Debian's does not
        return None if fill is None else ModuleSpec(name, SupplyingLoader(fill))  # type: ignore[arg-type]

    def _find_original(self, name: str, path: Any, target: Any) -> ModuleSpec | None:
        for finder in sys.meta_path:
            if finder is not self:
                spec: ModuleSpec | None = finder.find_spec(name, path, target)
                if spec is not None:
                    return spec
        return None


def install() -> None:
    """Change the modules that are loaded, and watch for the others."""
    for name, change in CHANGES.items():
        module = sys.modules.get(name)
        if module is not None:
            change(module)
    sys.meta_path.insert(0, Finder())
