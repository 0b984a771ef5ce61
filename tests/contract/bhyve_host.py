"""A FreeBSD host's answers, for tests of the bhyve driver that run anywhere."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from bhyve_guests import configure
from bhyve_libvirt import install_binding, virConnect


class Processes:
    """The host's processes: a guest's bhyve for each that libvirt has running, unless it is said to be dead."""

    def __init__(self, connection: virConnect) -> None:
        self.connection = connection
        #: What else is to be found under a number.
        self.others: dict[int, str] = {}

    def read(self, pid: int) -> Any:
        """Return a process, or None."""
        from beastack.freebsd.process import Process

        running = {each.pid: f"bhyve: {each.name()}" for each in self.connection.domains.values() if not each.dead}
        title = {**running, **self.others}.get(pid)
        return None if title is None or pid < 0 else Process(pid, 1, 0, 0, "S", 0, 0, 0.0, title)

    def list_all(self) -> tuple[Any, ...]:
        """Return all of them."""
        numbers = [each.pid for each in self.connection.domains.values()] + list(self.others)
        return tuple(found for pid in numbers if (found := self.read(pid)) is not None)


class Privileged:
    """Stands in for the privileged daemon, and notes what it was asked."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []
        #: What a call does, where a test has it do something.
        self.answers: dict[str, Callable[..., Any]] = {}

    def __getattr__(self, name: str) -> Any:
        def call(*arguments: Any) -> Any:
            self.calls.append((name, *arguments))
            if name in self.answers:
                return self.answers[name](*arguments)
            return "bhyve: vm_openf: No such file or directory" if name == "read_guest_log" else None

        return call


def make_driver(directory: Path, connection: virConnect | None = None, **options: Any) -> Any:
    """Return a driver on such a host: ``driver.connection``, ``.processes`` and ``.privileged`` are the test's."""
    connection = connection or virConnect()
    install_binding(connection)
    configure(directory, **options)
    import nova.privsep
    from nova import objects
    from nova.network import model as network_model
    from nova.virt import driver as loader
    from nova.virt import virtapi

    from beastack.freebsd import cpu, memory, process, sysctl
    from beastack.port.nova.bhyve import disks, guest, leftovers, watch

    nova.privsep.sys_admin_pctxt.set_client_mode(False)
    no_instances = objects.InstanceList(objects=[])
    objects.InstanceList.get_by_filters = lambda *arguments, **named: no_instances
    objects.InstanceList.get_by_host = lambda *arguments, **named: no_instances
    objects.Instance.get_network_info = lambda self: network_model.NetworkInfo([])
    topology = cpu.Topology(1, 2, 2)
    cpu.read_cpu = lambda: cpu.Cpu(4, 4, "Test", "amd64", 2400, topology)
    memory.read_memory = lambda: memory.Memory(16 << 30, 16 << 30, 4096, 8 << 30, 0, 0, 0, 0, 0, 0)
    sysctl.read_values = lambda *arguments, **named: sysctl.Values({})
    processes = Processes(connection)
    process.exists = lambda pid: processes.read(pid) is not None
    process.read_process = processes.read
    process.list_processes = processes.list_all
    asked = Privileged()
    guest.privileged = watch.privileged = leftovers.privileged = disks.privileged = asked  # type: ignore[assignment]
    guest.SETTLED_AFTER = guest.INTERVAL = leftovers.ENDED_AFTER = leftovers.INTERVAL = 0.0
    made = loader.load_compute_driver(virtapi.VirtAPI())
    made.connection, made.processes, made.privileged = connection, processes, asked
    made._set_host_enabled = lambda *arguments: None
    return made
