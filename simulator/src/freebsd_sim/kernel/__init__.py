"""The simulated FreeBSD kernel: the state of one host, and the rules by which it changes."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from freebsd_sim.kernel.interfaces import Interfaces
    from freebsd_sim.kernel.jails import Jails
    from freebsd_sim.kernel.modules import Modules
    from freebsd_sim.kernel.nmdm import Nmdm
    from freebsd_sim.kernel.processes import Processes
    from freebsd_sim.kernel.routes import Routes
    from freebsd_sim.kernel.sysctls import Sysctls
    from freebsd_sim.kernel.vmm import Vmm
    from freebsd_sim.kernel.zfs import Zfs

# A system call: kernel, caller's pid and uid, arguments; returns a JSON value and descriptors for the caller.
SystemCall = Callable[["Kernel", int, int, dict[str, Any]], tuple[Any, list[int]]]


@dataclass(frozen=True)
class Release:
    """A FreeBSD release, as in "15.0"."""

    number: str

    @property
    def major(self) -> int:
        """The number before the dot."""
        return int(self.number.partition(".")[0])

    @property
    def minor(self) -> int:
        """The number after the dot."""
        return int(self.number.partition(".")[2])

    @property
    def text(self) -> str:
        """What uname -r prints."""
        return f"{self.number}-RELEASE"

    def at_least(self, major: int, minor: int = 0) -> bool:
        """Tell whether this release is that one or a later one."""
        return (self.major, self.minor) >= (major, minor)


class Kernel:
    """All state of one simulated host.

    ``lock`` is the giant lock: every operation that reads or changes state
    holds it, and nobody holds it while waiting for something outside.
    ``root`` is the simulated root directory as this process sees it.
    """

    jails: Jails
    interfaces: Interfaces
    routes: Routes
    sysctls: Sysctls
    modules: Modules
    processes: Processes
    nmdm: Nmdm
    vmm: Vmm
    zfs: Zfs

    def __init__(self, name: str, release: Release, root: Path, state: Path) -> None:
        self.name = name
        self.release = release
        self.root = root
        self.state = state
        self.hostuuid = str(uuid.uuid5(uuid.NAMESPACE_DNS, f"{name}.freebsd-sim"))
        self.boot_time = time.time()
        self.lock = threading.RLock()
        self.system_calls: dict[str, SystemCall] = {}

    def boot(self) -> None:
        """Make the subsystems and start them."""
        # Imported here: each of them names this class.
        from freebsd_sim.kernel import interfaces, jails, modules, nmdm, processes, routes, sysctls, vmm, zfs

        self.jails = jails.Jails(self)
        self.interfaces = interfaces.Interfaces(self)
        self.routes = routes.Routes(self)
        self.sysctls = sysctls.Sysctls(self)
        self.modules = modules.Modules(self)
        self.processes = processes.Processes(self)
        self.nmdm = nmdm.Nmdm(self)
        self.vmm = vmm.Vmm(self)
        self.zfs = zfs.Zfs(self)
        for module in (jails, interfaces, routes, sysctls, modules, processes, nmdm, vmm, zfs):
            self.system_calls.update(getattr(module, "SYSCALLS", {}))
        for part in (
            self.jails, self.interfaces, self.routes, self.sysctls, self.modules,
            self.processes, self.nmdm, self.vmm, self.zfs,
        ):  # fmt: skip
            start = getattr(part, "start", None)
            if start is not None:
                start()
