"""One running guest: QEMU below, the simulated kernel above, and bhyve's exit status at the end.

A guest that halts its processors for good, and a triple fault, are not told
apart by QEMU: the first runs on, the second counts as a reboot.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import socket
import subprocess
import sys
from typing import Any, NoReturn

from freebsd_sim import protocol
from freebsd_sim.bhyve import errors, qemu, title
from freebsd_sim.bhyve.config import Config, compute_topology
from freebsd_sim.bhyve.devices import COM_PORTS
from freebsd_sim.bhyve.errors import BhyveExit, device_failure, errx
from freebsd_sim.bhyve.monitor import Monitor
from freebsd_sim.bhyve.serial import SerialPort

KERNEL = "/" + protocol.SOCKET
EXITS = "/.sim/exits"
GROWTH_INTERVAL = 2.0  # seconds between looks at the sizes of the guest's files
# ACPI's power management registers as OVMF places them on q35; PM1_EN is two bytes in.
PM1_ENABLE = 0x600 + 2
GLOBAL_LOCK_ENABLE, POWER_BUTTON_ENABLE = 1 << 5, 1 << 8
NO_REGISTER = 0xFFFF  # what a port reads as until the firmware has placed the registers
# SHUTDOWN's reason in QMP: bhyve's exit status
STATUS_OF = {
    "guest-reset": errors.REBOOT,
    "subsystem-reset": errors.REBOOT,
    "guest-shutdown": errors.POWER_OFF,
    "guest-panic": errors.HALT,
}


class Machine:
    """What one bhyve process does from its first contact with the kernel to its exit."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.name = config.get("name") or ""
        self.kernel = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.selector = selectors.DefaultSelector()
        self.ports: list[SerialPort] = []
        self.status: int | None = None
        self.facts: dict[str, Any] = {}
        self.sizes: dict[str, int] = {}
        self.taps: list[int] = []

    def run(self) -> NoReturn:
        """Run the guest to its end and exit the process with bhyve's status.

        :raises BhyveExit: it could not be started
        """
        with contextlib.suppress(OSError):
            os.unlink(f"{EXITS}/{os.getpid()}")
        self._open_machine()
        cpus = compute_topology(self.config)[0]
        if cpus > self.facts["max_cpus"]:
            text = f"{cpus} vCPUs requested but only {self.facts['max_cpus']} available\n"
            raise BhyveExit(errors.ERROR, text)
        guest = qemu.Guest(self.config, self.facts["hostname"], self._open_tap)
        qemu.build(guest, acpi_default=self.facts["acpi"])
        self._add_ports(guest)
        self._start(guest)
        self._serve()
        self._finish()

    def _open_machine(self) -> None:
        try:
            self.kernel.connect(KERNEL)
            bootrom = self.config.get("bootrom") is not None
            self.facts, descriptors = protocol.system_call(self.kernel, "vmm_open", name=self.name, bootrom=bootrom)
        except OSError as error:
            if error.strerror == "Exec format error":
                raise errx(errors.ERROR, "no bootrom was configured") from None
            raise errx(errors.ERROR, f"vm_openf: {error.strerror}") from None
        self.control = socket.socket(fileno=descriptors[0])
        self.life = descriptors[1]

    def _open_tap(self, node: str) -> int:
        _, descriptors = protocol.system_call(self.kernel, "tap_open", node=node)
        self.taps += descriptors
        return descriptors[0]

    def _look_up_terminal(self, path: str) -> None:
        if path.startswith("/dev/nmdm"):
            protocol.system_call(self.kernel, "nmdm_open", path=path)

    def _add_ports(self, guest: qemu.Guest) -> None:
        if not any(values["device"] == "lpc" for _, values in self.config.devices()):
            return  # the ports are on that device
        for index, name in enumerate(COM_PORTS):
            backend = self.config.get(f"lpc.{name}.path")
            if not backend:
                continue
            try:
                port = SerialPort(self.selector, backend, self._look_up_terminal)
            except OSError as error:
                text = f"Unable to initialize backend '{backend}' for LPC device {name}"
                raise device_failure(text, error.strerror or "") from None
            self.ports.append(port)
            descriptor = port.qemu.fileno()
            guest.descriptors.append(descriptor)
            guest.add("-chardev", f"socket,id={name},fd={descriptor}")
            guest.add_json("-device", {"driver": "isa-serial", "index": index, "chardev": name})

    def _start(self, guest: qemu.Guest) -> None:
        ours, theirs = socket.socketpair()
        guest.add("-chardev", f"socket,id=monitor,fd={theirs.fileno()}", "-mon", "chardev=monitor,mode=control")
        self.guest = guest
        self.process = subprocess.Popen(
            [qemu.PROGRAM, *guest.argv],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
            pass_fds=[*guest.descriptors, theirs.fileno(), self.life],
            preexec_fn=lambda: title.die_with_parent(signal.SIGKILL),
            start_new_session=True,
        )  # fmt: skip
        theirs.close()
        for descriptor in self.taps:
            os.close(descriptor)  # the guest's process has it now, and its end closes it
        for port in self.ports:
            port.qemu.close()
        self.sizes = {node: os.stat(path).st_size for node, path in guest.growing.items()}
        self.monitor = Monitor(ours, self._on_event)

    def _serve(self) -> None:
        waking, wake = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(wake)
        signal.signal(signal.SIGTERM, lambda *_: None)
        self.waking = waking
        self.selector.register(waking, selectors.EVENT_READ, self._on_signal)
        self.selector.register(self.monitor.stream, selectors.EVENT_READ, self._on_monitor)
        self.selector.register(self.control, selectors.EVENT_READ, self._on_request)
        self.running = True
        while self.running:
            for key, _ in self.selector.select(GROWTH_INTERVAL):
                key.data()
                if not self.running:
                    break
            self._announce_growth()

    def _on_event(self, name: str, data: dict[str, Any]) -> None:
        if name == "SHUTDOWN" and self.status is None:
            self.status = STATUS_OF.get(data.get("reason", ""), errors.ERROR)
        elif name in ("VNC_CONNECTED", "VNC_INITIALIZED") and self.guest.wait_for_viewer:
            self.guest.wait_for_viewer = False
            self.monitor.execute("cont")

    def _on_monitor(self) -> None:
        if not self.monitor.read():
            self.running = False

    def _on_request(self) -> None:
        data = self.control.recv(4096)
        if not data:
            self._end(errors.ERROR)  # the host is going down
            return
        request = json.loads(data)["request"]
        if request == "nmi":
            self.monitor.execute("inject-nmi")
        elif request == "poweroff":
            self._end(errors.POWER_OFF)
        elif request == "reset":
            self._end(errors.REBOOT)
        elif request == "destroy":
            sys.stderr.write("vm_run error -1, errno 6\n")
            self._end(self.facts["destroyed_status"])
        with contextlib.suppress(OSError):
            self.control.send(b"{}")

    def _end(self, status: int) -> None:
        """Stop the guest at once."""
        self.status = status
        self.process.kill()
        self.process.wait()
        self.running = False

    def _on_signal(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.read(self.waking, 512)
        if not self.guest.acpi:
            self._die()
        # bhyve takes the signal only once the guest has turned ACPI on. The firmware here does that itself,
        # so the first thing that an operating system enables is asked for.
        command = f"i/2hx {PM1_ENABLE:#x}"
        self.monitor.execute("human-monitor-command", self._press_button, **{"command-line": command})

    def _press_button(self, answer: Any) -> None:
        try:
            enabled = int(str(answer).rpartition("=")[2], 16)
        except ValueError:
            enabled = 0
        if enabled != NO_REGISTER and enabled & (GLOBAL_LOCK_ENABLE | POWER_BUTTON_ENABLE):
            self.monitor.execute("system_powerdown")
        else:
            self._die()

    def _die(self) -> NoReturn:
        """Take SIGTERM's default action; the machine object stays."""
        self.process.kill()
        self.process.wait()
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGTERM)
        signal.pause()
        os._exit(errors.ERROR)

    def _announce_growth(self) -> None:
        """Tell the guest of a file that has grown."""
        for node, path in self.guest.growing.items():
            with contextlib.suppress(OSError):
                size = os.stat(path).st_size
                if size > self.sizes[node]:
                    self.sizes[node] = size
                    arguments: dict[str, Any] = {"node-name": node, "size": size}
                    self.monitor.execute("block_resize", **arguments)

    def _finish(self) -> NoReturn:
        _, complaint = self.process.communicate()
        if self.status is None:
            text = complaint.decode(errors="replace").strip() or f"ended with {self.process.returncode}"
            sys.stderr.write(f"freebsd-sim: qemu: {text}\n")
            self.status = errors.ERROR
        if self.status == errors.POWER_OFF and self.config.get_bool("destroy_on_poweroff", default=False):
            os.close(self.life)
            with contextlib.suppress(OSError):
                protocol.system_call(self.kernel, "vmm_destroy", name=self.name)
        leave(self.status)


def leave(status: int) -> NoReturn:
    """Note how this process ends, for those that are not its parent, and end."""
    sys.stderr.flush()
    with contextlib.suppress(OSError), open(f"{EXITS}/{os.getpid()}", "w") as file:
        file.write(f"exit {status}\n")
    os._exit(status)
