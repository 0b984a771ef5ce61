"""A kernel with jails, interfaces, sysctls and modules only, for tests that run in the test's own process."""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from freebsd_sim.call import Call, CommandExit
from freebsd_sim.commands import ifconfig
from freebsd_sim.kernel import Kernel, Release
from freebsd_sim.kernel.interfaces import Interfaces
from freebsd_sim.kernel.jails import Jails
from freebsd_sim.kernel.modules import Modules
from freebsd_sim.kernel.routes import Routes
from freebsd_sim.kernel.stack import Stack
from freebsd_sim.kernel.sysctls import Sysctls


@dataclass
class Result:
    """What a command left behind."""

    status: int
    out: str
    err: str


class NetworkHost:
    """A host without processes of its own; use close() at the end."""

    def __init__(self, directory: Path, release: str = "15.0") -> None:
        (directory / "dev").mkdir(parents=True)
        kernel = Kernel("test", Release(release), directory, directory)
        kernel.jails = Jails(kernel)
        kernel.interfaces = Interfaces(kernel)
        kernel.routes = Routes(kernel)
        kernel.sysctls = Sysctls(kernel)
        kernel.modules = Modules(kernel)
        first = Stack.create()
        assert len(first.ipr.link("dump")) == 1, "this is not a new namespace"
        kernel.jails.start(first)
        kernel.interfaces.start()
        kernel.modules.start()
        self.kernel = kernel

    def add_jail(self, name: str) -> Any:
        """Make a persistent vnet jail."""
        return self.kernel.jails.set(
            {"name": name, "vnet": "new", "persist": "true", "path": "/"},
            create=True, update=False, attach=False, caller=self.kernel.jails.host,
        )  # fmt: skip

    def run(self, *words: str, uid: int = 0, environ: dict[str, str] | None = None, jail: Any = None) -> Result:
        """Run ifconfig with these words and return what it did."""
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            call = Call(
                argv=["ifconfig", *words], environ=environ or {}, cwd="/", pid=os.getpid(), uid=uid, gid=uid,
                groups=[uid], jail=jail or self.kernel.jails.host, kernel=self.kernel, stdin=0,
                stdout=out.fileno(), stderr=err.fileno(),
            )  # fmt: skip
            try:
                status = ifconfig.main(call)
            except CommandExit as error:
                status = error.status
                call.err(f"{error.text}\n")
            out.seek(0)
            err.seek(0)
            return Result(status, out.read().decode(), err.read().decode())

    def close(self) -> None:
        """Take the stacks away."""
        interfaces = self.kernel.interfaces
        with self.kernel.lock:
            for pump in interfaces.pumps.values():
                pump.stop()
            interfaces.pumps.clear()
            stacks = [jail.stack for jail in self.kernel.jails.all() if jail.vnet]
            if interfaces.back_room is not None:
                stacks.append(interfaces.back_room)
            interfaces.vnets.clear()
            for stack in stacks:
                interfaces.watcher.remove(stack)
                stack.close()
