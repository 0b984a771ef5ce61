"""vmm(4): the virtual machine objects, /dev/vmm/NAME, which outlive the bhyve process that runs on them.

A running bhyve holds two sockets. Over the first it is told what bhyvectl(8)
wants. The second is never written to: bhyve and the process that is the guest
hold it, so that its end tells that the guest is gone and its taps are closed.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import select
import socket
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from freebsd_sim.kernel.errors import KernelError

if TYPE_CHECKING:
    from freebsd_sim.kernel import Kernel, Release

LONGEST_NAME = 229  # VM_MAX_NAMELEN of sys/amd64/include/vmm.h since 13.0
STOP_LIMIT = 30.0  # seconds for a guest to go
ANSWER_LIMIT = 10.0
ENDING = ("destroy", "poweroff", "reset")
NULL_DEVICE = (1, 3)


@dataclass
class Machine:
    """One virtual machine object."""

    name: str
    owner: int  # uid of who made it
    loaded: bool = False  # a loader has put a kernel into its memory
    pid: int | None = None  # of the bhyve on it
    control: socket.socket | None = None
    life: socket.socket | None = None
    talking: threading.Lock = field(default_factory=threading.Lock)


class Vmm:
    """All machines of the host, by name."""

    def __init__(self, kernel: Kernel) -> None:
        self.kernel = kernel
        self.machines: dict[str, Machine] = {}

    @property
    def nodes(self) -> Path:
        """The directory of device nodes as this process sees it."""
        return self.kernel.root / "dev/vmm"

    def start(self) -> None:
        """Let the directory of nodes appear with the first node only."""
        with contextlib.suppress(OSError):
            self.nodes.rmdir()

    def in_use(self) -> bool:
        """Tell whether any machine exists, so that the module cannot be unloaded."""
        return bool(self.machines)

    def count_cpus(self) -> int:
        """Return hw.vmm.maxcpu: the most virtual processors that a machine may have."""
        return os.cpu_count() or 1

    def create(self, name: str, uid: int = 0) -> Machine:
        """Make a machine.

        :raises KernelError: ENOENT module not loaded, EACCES not root, EINVAL bad name, EEXIST name taken
        """
        with self.kernel.lock:
            self._check_access(uid)
            if not name or len(name) > LONGEST_NAME or "/" in name or "\0" in name or name in (".", ".."):
                raise KernelError("EINVAL")
            if name in self.machines:
                raise KernelError("EEXIST")
            machine = Machine(name, uid)
            self.nodes.mkdir(exist_ok=True)
            os.mknod(self.nodes / name, 0o020600, os.makedev(*NULL_DEVICE))
            self.machines[name] = machine
            return machine

    def get(self, name: str) -> Machine:
        """Return a machine.

        :raises KernelError: ENOENT
        """
        try:
            return self.machines[name]
        except KeyError:
            raise KernelError("ENOENT") from None

    def destroy(self, name: str) -> None:
        """Destroy a machine; returns when its guest is gone and its taps are closed.

        :raises KernelError: EINVAL there is none, EBUSY its guest does not end
        """
        with self.kernel.lock:
            machine = self.machines.get(name)
            if machine is None:
                raise KernelError("EINVAL")
            life = machine.life
        if life is not None:
            with contextlib.suppress(KernelError):
                self.tell(machine, "destroy")
            if not _has_ended(life, STOP_LIMIT):
                raise KernelError("EBUSY")
            self._detach(machine, life)
        with self.kernel.lock:
            if self.machines.get(name) is machine:
                del self.machines[name]
                (self.nodes / name).unlink(missing_ok=True)
                if not self.machines:
                    self.start()

    def tell(self, machine: Machine, request: str) -> Any:
        """Ask the bhyve on a machine for something and return its answer.

        :param request: "destroy", "poweroff", "reset", "nmi"
        :raises KernelError: ENXIO no bhyve is there, or it ended
        """
        with machine.talking:
            control = machine.control
            if control is None:
                raise KernelError("ENXIO")
            answer = b""
            try:
                control.settimeout(ANSWER_LIMIT)
                control.send(json.dumps({"request": request}).encode())
                answer = control.recv(65536)
            except (TimeoutError, BrokenPipeError):
                raise KernelError("ENXIO") from None
            except ConnectionError:
                pass  # it took the request and ended
            except OSError as error:
                if error.errno != errno.EBADF:
                    raise
                # Its end was noticed first, and the socket closed.
            if not answer:
                # Whoever was asked to end may do so before the answer is out.
                if request not in ENDING:
                    raise KernelError("ENXIO")
                return None
            return json.loads(answer)

    def attach(self, name: str, pid: int, uid: int, *, bootrom: bool) -> list[int]:
        """Open a machine for a bhyve, making it first if there is none, and return the two descriptors for it.

        :raises KernelError: as ``create``; EBUSY another bhyve is on it; ENOEXEC nothing could boot
        """
        self._let_the_dead_go(name)
        with self.kernel.lock:
            self._check_access(uid)
            machine = self.machines.get(name)
            if machine is None:
                if not bootrom:
                    raise KernelError("ENOEXEC")
                machine = self.create(name, uid)
            elif machine.life is not None:
                raise KernelError("EBUSY")
            elif not bootrom and not machine.loaded:
                raise KernelError("ENOEXEC")
            machine.control, control = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            machine.life, life = socket.socketpair()
            machine.pid = pid
            watcher = threading.Thread(target=self._watch, args=(machine, machine.life), daemon=True)
            watcher.start()
            return [control.detach(), life.detach()]

    def _let_the_dead_go(self, name: str) -> None:
        """Note the end of a bhyve that is no more: on FreeBSD whoever saw it end finds its machine free."""
        machine = self.machines.get(name)
        life = None if machine is None else machine.life
        if machine is None or life is None:
            return
        if _has_ended(life, 0.0 if _is_alive(machine.pid) else STOP_LIMIT):
            self._detach(machine, life)

    def read_stats(self, machine: Machine) -> list[tuple[str, int]]:
        """Return the statistics that bhyvectl --get-stats prints for processor 0: names and values."""
        resident, runtime = _measure_guest(machine.pid) if machine.pid is not None else (0, 0)
        return [("vcpu total runtime", runtime), ("Resident memory", resident), ("Wired memory", 0)]

    def _check_access(self, uid: int) -> None:
        if not self.kernel.modules.is_loaded("vmm"):
            raise KernelError("ENOENT")
        if uid != 0:
            raise KernelError("EACCES")

    def _watch(self, machine: Machine, life: socket.socket) -> None:
        _has_ended(life, None)
        self._detach(machine, life)

    def _detach(self, machine: Machine, life: socket.socket) -> None:
        """Note that a guest is gone; the machine stays."""
        with self.kernel.lock:
            if machine.life is not life:
                return
            assert machine.control is not None
            machine.control.close()
            life.close()
            machine.control = machine.life = machine.pid = None


def _has_ended(stream: socket.socket, limit: float | None) -> bool:
    """Wait until the other side of a stream is closed by all; tell whether it is."""
    poll = select.poll()
    try:
        poll.register(stream, select.POLLRDHUP | select.POLLHUP)
    except (OSError, ValueError):
        return True  # closed here already, by whoever noticed first
    return bool(poll.poll(None if limit is None else limit * 1000))


def _is_alive(pid: int | None) -> bool:
    """Tell whether a process is there and has not ended."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def _measure_guest(pid: int) -> tuple[int, int]:
    """Return resident bytes and CPU nanoseconds of the guest below a bhyve."""
    resident = runtime = 0
    with contextlib.suppress(OSError, ValueError, IndexError):
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            fields = Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()
            resident += int(fields[21]) * os.sysconf("SC_PAGESIZE")
            runtime += (int(fields[11]) + int(fields[12])) * 1_000_000_000 // os.sysconf("SC_CLK_TCK")
    return resident, runtime


def exit_status_when_destroyed(release: Release) -> int:
    """Return how bhyve exits when its machine is destroyed from outside: 4 on 15.x, 1 before (unconfirmed for 14.x)."""
    return 4 if release.at_least(15) else 1


def has_acpi_by_default(release: Release) -> bool:
    """Tell whether a guest has ACPI tables without -A: from 15.0 on (unconfirmed for 14.x)."""
    return release.at_least(15)


def _open(kernel: Kernel, pid: int, uid: int, arguments: dict[str, Any]) -> tuple[Any, list[int]]:
    name = str(arguments["name"])
    descriptors = kernel.vmm.attach(name, pid, uid, bootrom=bool(arguments["bootrom"]))
    facts = {
        "destroyed_status": exit_status_when_destroyed(kernel.release),
        "acpi": has_acpi_by_default(kernel.release),
        "max_cpus": kernel.vmm.count_cpus(),
        "hostname": kernel.jails.of_process(pid).hostname,
    }
    return facts, descriptors


def _destroy(kernel: Kernel, pid: int, uid: int, arguments: dict[str, Any]) -> tuple[Any, list[int]]:
    """Serve bhyve -D, whose own guest is gone already."""
    if uid != 0:
        raise KernelError("EPERM")
    kernel.vmm.destroy(str(arguments["name"]))
    return None, []


def _open_tap(kernel: Kernel, pid: int, uid: int, arguments: dict[str, Any]) -> tuple[Any, list[int]]:
    """Open a tap's node as bhyve does, which sets the interface up."""
    if uid != 0:
        raise KernelError("EACCES")
    node = str(arguments["node"])
    descriptor = kernel.interfaces.open_tap(node, pid)
    try:
        with kernel.lock:
            kernel.interfaces.set_up(kernel.interfaces.find_tap(node))
    except BaseException:
        os.close(descriptor)
        raise
    return None, [descriptor]


SYSCALLS = {"vmm_open": _open, "vmm_destroy": _destroy, "tap_open": _open_tap}
