"""The sysctl tree: names, types, values, and who may change them (sysctl(3), sysctl(9))."""

from __future__ import annotations

import contextlib
import os
import platform
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from freebsd_sim.kernel.errors import KernelError
from freebsd_sim.kernel.sysctl_table import IPFW_TABLE, MAC_DO_TABLE, TABLE, VMM_TABLE, Row

if TYPE_CHECKING:
    from freebsd_sim.kernel import Kernel
    from freebsd_sim.kernel.jails import Jail

PAGE_SIZE = 4096
Value = int | str | list[int] | list[float]

# What uname -v says after the release's name, where it is known.
BUILDS = {
    "14.3": "releng/14.3-n271432-8c9ce319fef7",
    "15.0": "releng/15.0-n280995-7aedc8de6446",
}

# type: (format as sysctl(9) tells it, bytes, signed)
INTEGERS = {
    "int": ("I", 4, True),
    "uint": ("IU", 4, False),
    "long": ("L", 8, True),
    "ulong": ("LU", 8, False),
    "s64": ("Q", 8, True),
    "u64": ("QU", 8, False),
    "u8": ("CU", 1, False),
}
# What sysctl(8) calls a type, for -t and for a bad value.
TYPE_NAMES = {
    "int": "integer",
    "uint": "unsigned integer",
    "long": "long integer",
    "ulong": "unsigned long",
    "s64": "int64_t",
    "u64": "uint64_t",
    "u8": "uint8_t",
    "string": "string",
    "opaque": "opaque",
    "node": "node",
}


@dataclass
class Variable:
    """One leaf of the tree.

    ``kind`` is a key of TYPE_NAMES; ``format`` tells sysctl(8) how to print an
    opaque value ("S,timeval", ...). ``read`` gives the value for a jail's
    processes; ``write`` takes a new one and raises KernelError to refuse it.
    """

    name: str
    kind: str
    description: str
    read: Callable[[Jail], Value]
    write: Callable[[Jail, Any], None] | None = None
    format: str = ""
    tunable: bool = False
    vnet: bool = False
    prison: bool = False  # a jail's root may write it
    hidden: bool = False  # left out of listings
    exists: Callable[[], bool] = field(default=lambda: True)

    def __post_init__(self) -> None:
        if not self.format:
            self.format = "A" if self.kind == "string" else INTEGERS[self.kind][0]

    @property
    def writable(self) -> bool:
        """Whether sysctl(8) lets anybody try to set it."""
        return self.write is not None


def read_memory() -> dict[str, int]:
    """Return the machine's memory in bytes by Linux's names (MemTotal, MemFree, ...)."""
    memory = {}
    with open("/proc/meminfo") as file:
        for line in file:
            name, _, rest = line.partition(":")
            memory[name] = int(rest.split()[0]) * 1024
    return memory


def read_processor() -> dict[str, str]:
    """Return what the machine says of its first processor."""
    processor: dict[str, str] = {}
    with open("/proc/cpuinfo") as file:
        for line in file:
            name, _, value = line.partition(":")
            processor.setdefault(name.strip(), value.strip())
            if not line.strip():
                break
    return processor


def read_ticks() -> list[list[int]]:
    """Return user, nice, system, interrupt and idle ticks: of all processors, then of each."""
    rows = []
    with open("/proc/stat") as file:
        for line in file:
            if not line.startswith("cpu"):
                break
            user, nice, system, idle, wait, interrupt, soft = (int(word) for word in line.split()[1:8])
            rows.append([user, nice, system, interrupt + soft, idle + wait])
    # FreeBSD's total is the sum of the processors' (sys/kern/kern_clock.c); Linux rounds its own apart.
    return [[sum(column) for column in zip(*rows[1:], strict=True)], *rows[1:]]


def _count_pages(count_bytes: Callable[[dict[str, int]], int], memory: dict[str, int]) -> int:
    return count_bytes(memory) // PAGE_SIZE


def make_topology(count: int) -> str:
    """Return kern.sched.topology_spec for one package of processors that share a cache (sys/kern/sched_ule.c)."""
    mask = f"{(1 << count) - 1:x},0,0,0"
    numbers = ", ".join(str(number) for number in range(count))
    return (
        "<groups>\n"
        ' <group level="1" cache-level="3">\n'
        f'  <cpu count="{count}" mask="{mask}">{numbers}</cpu>\n'
        " </group>\n"
        "</groups>\n"
    )


class Sysctls:
    """All variables of the host, and the values of those that are plain data.

    A value kept per vnet is kept per network stack, so a jail that shares its
    parent's stack shares the value.
    """

    def __init__(self, kernel: Kernel) -> None:
        self.kernel = kernel
        self.variables: dict[str, Variable] = {}
        self.environment = self._make_environment()
        self._values: dict[tuple[int, str], Value] = {}
        self._of_module: dict[str, list[str]] = {}
        self._effects: dict[str, Callable[[Jail, Any], None]] = {
            "net.inet.ip.forwarding": self._effect("net/ipv4/ip_forward"),
            "net.inet6.ip6.forwarding": self._effect("net/ipv6/conf/all/forwarding"),
            "net.inet.ip.ttl": self._effect("net/ipv4/ip_default_ttl"),
            "net.inet6.ip6.dad_count": self._effect("net/ipv6/conf/default/dad_transmits"),
        }
        for row in TABLE:
            self.add_plain(row)
        for row in VMM_TABLE:
            self.add_plain(row, "vmm")
        for row in MAC_DO_TABLE:
            self.add_plain(row, "mac_do")
        for row in IPFW_TABLE:
            self.add_plain(row, "ipfw")
            self._effects[row[0]] = partial(self._switch_firewall, row[0])
        self.add(Variable("net.inet.ip.fw.default_to_accept", "int", "Make the default rule accept all packets.",
                          lambda jail: self.kernel.modules.firewall.default_to_accept, tunable=True,
                          exists=lambda: self.kernel.modules.is_loaded("ipfw")))  # fmt: skip
        self._add_identity()
        self._add_machine()
        self._add_jail()
        self._add_vmm()

    # Looking up

    def find(self, name: str, jail: Jail | None = None) -> Variable:
        """Return a variable. :raises KernelError: ENOENT, there is no such leaf."""
        variable = self.variables.get(name)
        if variable is None or not variable.exists():
            raise KernelError("ENOENT")
        return variable

    def below(self, prefix: str) -> list[Variable]:
        """Return the variables of a node ("" is the root), in order; [] when there is no such node."""
        start = f"{prefix}." if prefix else ""
        return [item for name, item in self.variables.items() if name.startswith(start) and item.exists()]

    def read(self, name: str, jail: Jail | None = None) -> Value:
        """Return a variable's value as a jail sees it (None: the host). :raises KernelError: ENOENT"""
        with self.kernel.lock:
            return self.find(name).read(jail or self.kernel.jails.host)

    def read_int(self, name: str, jail: Jail | None = None) -> int:
        """Return the value of a variable that is a number. :raises KernelError: ENOENT"""
        value = self.read(name, jail)
        assert isinstance(value, int), name
        return value

    def read_integer(self, jail: Jail, name: str, default: int) -> int:
        """Return the value of a variable that is a number as a jail sees it; ``default`` when there is none."""
        try:
            return self.read_int(name, jail)
        except KernelError:
            return default

    def write(self, name: str, value: int | str, jail: Jail | None = None, uid: int = 0) -> None:
        """Set a variable.

        :raises KernelError: ENOENT no such leaf; EPERM read only, or not for this caller; what the variable refuses
        """
        with self.kernel.lock:
            variable = self.find(name)
            place = jail or self.kernel.jails.host
            if variable.write is None or uid != 0:
                raise KernelError("EPERM")
            own_vnet = variable.vnet and place.vnet
            if place.jid != 0 and not variable.prison and not own_vnet:
                raise KernelError("EPERM")
            variable.write(place, value)

    # Building the tree

    def add(self, variable: Variable) -> None:
        """Add a variable; one of the same name is replaced."""
        self.variables[variable.name] = variable

    def forget_module(self, module: str) -> None:
        """Drop the values that a module brought; loaded again it begins with its defaults."""
        gone = set(self._of_module.get(module, ()))
        self._values = {key: value for key, value in self._values.items() if key[1] not in gone}

    def add_plain(self, row: Row, module: str = "") -> None:
        """Add a variable that is only a stored value, as long as ``module`` is loaded."""
        name, kind, default, flags, description = row
        if name.startswith("net.link.bridge.pfil_") and self.kernel.release.major < 14:
            default = 1
        if name == "net.link.epair.ether_gen_addr" and self.kernel.release.major < 15:
            default = 0
        vnet = "v" in flags
        if module:
            self._of_module.setdefault(module, []).append(name)

        def key(jail: Jail) -> tuple[int, str]:
            return (jail.stack.inode if vnet else 0, name)

        def read(jail: Jail) -> Value:
            return self._values.get(key(jail), default)

        def write(jail: Jail, value: Any) -> None:
            effect = self._effects.get(name)
            if effect is not None:
                effect(jail, value)
            self._values[key(jail)] = value

        self.add(
            Variable(
                name,
                kind,
                description,
                read,
                write if "w" in flags else None,
                tunable="t" in flags,
                vnet=vnet,
                exists=(lambda: self.kernel.modules.is_loaded(module)) if module else (lambda: True),
            )
        )

    def _switch_firewall(self, name: str, jail: Jail, value: Any) -> None:
        self.kernel.modules.firewall.switch(jail.network, name, int(value))

    @staticmethod
    def _effect(path: str) -> Callable[[Jail, Any], None]:
        def apply(jail: Jail, value: Any) -> None:
            with contextlib.suppress(OSError):
                jail.stack.write_sysctl(path, str(value))

        return apply

    def _fixed(self, name: str, kind: str, value: Value, description: str, format_: str = "") -> None:
        self.add(Variable(name, kind, description, lambda jail: value, format=format_))

    @property
    def osreldate(self) -> int:
        """__FreeBSD_version of the release."""
        return self.kernel.jails.osreldate

    @property
    def version(self) -> str:
        """What uname -v prints."""
        release = self.kernel.release
        build = BUILDS.get(release.number, f"releng/{release.number}-n000000-000000000000")
        return f"FreeBSD {release.text} {build} GENERIC"

    def _add_identity(self) -> None:
        release = self.kernel.release
        self._fixed("kern.osrelease", "string", release.text, "Operating system release")
        self._fixed("kern.osrevision", "int", 199506, "Operating system revision")
        self._fixed("kern.version", "string", f"{self.version}\n", "Kernel version")
        self.add(Variable("kern.osreldate", "int", "Kernel release date", lambda jail: self.osreldate))
        self._fixed("kern.ident", "string", "GENERIC", "Kernel identifier")
        self._fixed("kern.clockrate", "opaque", [1000, 1000, 8128, 127], "Rate and period of various kernel clocks",
                    "S,clockinfo")  # fmt: skip
        self.add(Variable("kern.hostname", "string", "Hostname", lambda jail: jail.hostname, self._set_hostname,
                          prison=True))  # fmt: skip
        self.add(Variable("kern.domainname", "string", "Name of the current YP/NIS domain", lambda jail: "",
                          lambda jail, value: None, prison=True))  # fmt: skip
        self.add(Variable("kern.hostuuid", "string", "Host UUID", lambda jail: jail.hostuuid, self._set_hostuuid,
                          prison=True))  # fmt: skip
        self._fixed("kern.hostid", "ulong", int(self.kernel.hostuuid.replace("-", "")[:8], 16), "Host ID")
        self.add(Variable("kern.boottime", "opaque", "Estimated system boottime", self._boottime, format="S,timeval"))
        self.add(Variable("kern.cp_time", "long", "CPU time statistics", lambda jail: read_ticks()[0]))
        self.add(Variable("kern.cp_times", "long", "per-CPU time statistics",
                          lambda jail: [tick for row in read_ticks()[1:] for tick in row]))  # fmt: skip
        self.add(Variable("kern.openfiles", "int", "System-wide number of open files", self._open_files))
        self.add(Variable("vm.loadavg", "opaque", "Machine loadaverage history", lambda jail: list(os.getloadavg()),
                          format="S,loadavg"))  # fmt: skip

    @staticmethod
    def _open_files(jail: Jail) -> Value:
        with open("/proc/sys/fs/file-nr") as file:
            return int(file.read().split()[0])

    @staticmethod
    def _set_hostname(jail: Jail, value: Any) -> None:
        if len(value) > 255:
            raise KernelError("ENAMETOOLONG")
        jail.hostname = value
        if jail.jid == 0:
            with contextlib.suppress(OSError):
                socket.sethostname(value[:64])

    def _set_hostuuid(self, jail: Jail, value: Any) -> None:
        jail.host_owner.parameters["host.hostuuid"] = value
        if jail.host_owner.jid == 0:
            self.kernel.hostuuid = value

    def _boottime(self, jail: Jail) -> Value:
        seconds = int(self.kernel.boot_time)
        return [seconds, int((self.kernel.boot_time - seconds) * 1_000_000)]

    def _add_machine(self) -> None:
        count = os.cpu_count() or 1
        processor = read_processor()
        megahertz = int(float(processor.get("cpu MHz", "2000")))
        for name, description in (
            ("hw.ncpu", "Number of active CPUs"),
            ("kern.smp.cpus", "Number of CPUs online"),
            ("kern.smp.cores", "Number of physical cores online"),
        ):
            self._fixed(name, "int", count, description)
        self._fixed("kern.smp.active", "int", 1, "Indicates system is running in SMP mode")
        self._fixed("kern.smp.disabled", "int", 0, "SMP has been disabled from the loader")
        self._fixed("kern.smp.threads_per_core", "int", 1, "Number of SMT threads online per core")
        self._fixed("kern.smp.maxid", "int", count - 1, "Max CPU ID.")
        self._fixed("kern.smp.maxcpus", "int", 1024, "Max number of CPUs that the system was compiled for.")
        self._fixed("kern.sched.topology_spec", "string", make_topology(count), "XML dump of detected CPU topology")
        self._fixed("hw.model", "string", processor.get("model name", "amd64"), "Machine model")
        self._fixed("hw.clockrate", "int", megahertz, "CPU instruction clock rate in MHz")
        for number in range(count):
            self._fixed(f"dev.cpu.{number}.%desc", "string", "ACPI CPU", "device description")
            self._fixed(f"dev.cpu.{number}.%driver", "string", "cpu", "device driver name")
        self._fixed("dev.cpu.0.freq", "int", megahertz, "Current CPU frequency")
        self._fixed("machdep.tsc_freq", "u64", megahertz * 1_000_000, "Time Stamp Counter frequency")
        total = read_memory()["MemTotal"]
        self._fixed("hw.physmem", "ulong", total, "Amount of physical memory (in bytes)")
        self._fixed("hw.realmem", "ulong", (total + (1 << 30) - 1) >> 30 << 30, "Amount of memory (in bytes) "
                    "reported by the firmware")  # fmt: skip
        self._memory("hw.usermem", "ulong", "Amount of memory (in bytes) which is not wired",
                     lambda memory: memory["MemTotal"] - self._wired(memory))  # fmt: skip
        self._fixed("vm.stats.vm.v_page_size", "uint", PAGE_SIZE, "Page size in bytes")
        self._fixed("vm.stats.vm.v_page_count", "uint", total // PAGE_SIZE, "Total number of pages in system")
        for name, description, count_bytes in (
            ("free", "Free pages", lambda memory: memory["MemFree"]),
            ("active", "Active pages", lambda memory: memory.get("Active", 0)),
            ("inactive", "Inactive pages", lambda memory: memory.get("Inactive", 0)),
            ("laundry", "Pages eligible for laundering", lambda memory: memory.get("Dirty", 0)),
            ("wire", "Wired pages", self._wired),
        ):
            self._memory(f"vm.stats.vm.v_{name}_count", "uint", description,
                         partial(_count_pages, count_bytes))  # fmt: skip

    @staticmethod
    def _wired(memory: dict[str, int]) -> int:
        used = memory["MemFree"] + memory.get("Active", 0) + memory.get("Inactive", 0) + memory.get("Dirty", 0)
        return max(0, memory["MemTotal"] - used)

    def _memory(self, name: str, kind: str, description: str, count: Callable[[dict[str, int]], int]) -> None:
        self.add(Variable(name, kind, description, lambda jail: count(read_memory())))

    def _add_jail(self) -> None:
        def add(name: str, kind: str, description: str, read: Callable[[Jail], Value]) -> None:
            self.add(Variable(f"security.jail.{name}", kind, description, read))

        add("jailed", "int", "Process in jail?", lambda jail: int(jail.jid != 0))
        add("vnet", "int", "Jail owns vnet?", lambda jail: int(jail.vnet))
        add("children.cur", "uint", "Current number of child jails", self._count_children)
        add("children.max", "uint", "Maximum number of child jails",
            lambda jail: 999999 if jail.jid == 0 else jail.children_max)  # fmt: skip
        if self.kernel.release.at_least(15) or self.kernel.release.at_least(14, 4):
            add("env", "string", "Meta information provided by parent jail",
                lambda jail: jail.parameters.get("env", ""))  # fmt: skip

    def _count_children(self, jail: Jail) -> int:
        return sum(other.is_inside(jail) for other in self.kernel.jails.all())

    def _add_vmm(self) -> None:
        def loaded() -> bool:
            return self.kernel.modules.is_loaded("vmm")

        self.add(Variable("hw.vmm.maxcpu", "uint", "Maximum number of vCPUs",
                          lambda jail: self.kernel.vmm.count_cpus(), tunable=True, exists=loaded))  # fmt: skip
        for name in ("create", "destroy"):
            # Reading gives nothing back, so a listing leaves them out.
            self.add(Variable(f"hw.vmm.{name}", "string", "", lambda jail: "beavis", self._vmm_verb(name), hidden=True,
                              prison=True, exists=loaded))  # fmt: skip

    def _vmm_verb(self, name: str) -> Callable[[Jail, Any], None]:
        def call(jail: Jail, value: Any) -> None:
            getattr(self.kernel.vmm, name)(value)

        return call

    def _make_environment(self) -> dict[str, str]:
        """Return the kernel environment of kenv(8)."""
        return {
            "acpi.oem": "BOCHS ",
            "currdev": "zfs:zroot/ROOT/default:",
            "hint.acpi.0.disabled": "0",
            "kernel": "kernel",
            "kernelname": "/boot/kernel/kernel",
            "loaddev": "disk0p1:",
            "module_path": "/boot/kernel;/boot/modules;/boot/dtb;/boot/dtb/overlays",
            "smbios.bios.vendor": "freebsd-sim",
            "smbios.bios.version": "1.0",
            "smbios.bios.reldate": "01/01/2025",
            "smbios.chassis.maker": "freebsd-sim",
            "smbios.chassis.serial": "None",
            "smbios.chassis.tag": "None",
            "smbios.memory.enabled": str(read_memory()["MemTotal"] // 1024),
            "smbios.planar.maker": "freebsd-sim",
            "smbios.planar.product": platform.machine(),
            "smbios.socket.enabled": "1",
            "smbios.socket.populated": "1",
            "smbios.system.family": "Simulated",
            "smbios.system.maker": "freebsd-sim",
            "smbios.system.product": "Simulated FreeBSD host",
            "smbios.system.serial": self.kernel.hostuuid.partition("-")[0],
            "smbios.system.uuid": self.kernel.hostuuid,
            "smbios.version": "3.0",
            "vfs.root.mountfrom": "zfs:zroot/ROOT/default",
        }


def format_value(variable: Variable, value: Value, *, hexadecimal: bool = False, grouped: bool = False) -> str:
    """Return a value as sysctl(8) prints it; "" for one that it cannot print."""
    if variable.format == "S,timeval":
        assert isinstance(value, list)
        return f"{{ sec = {value[0]}, usec = {value[1]} }} {time.ctime(value[0])}"
    if variable.format == "S,loadavg":
        assert isinstance(value, list)
        return "{ " + " ".join(f"{number:.2f}" for number in value) + " }"
    if variable.format == "S,clockinfo":
        assert isinstance(value, list)
        return "{{ hz = {}, tick = {}, profhz = {}, stathz = {} }}".format(*value)
    if isinstance(value, str):
        return value
    numbers = value if isinstance(value, list) else [value]
    if hexadecimal:
        width = INTEGERS[variable.kind][1] * 2 + 2
        return " ".join(_format_hexadecimal(int(number), width) for number in numbers)
    return " ".join(f"{number:,}" if grouped else str(number) for number in numbers)


def _format_hexadecimal(number: int, width: int) -> str:
    # C's "%#0*jx" writes no 0x before a zero.
    if number < 0:
        number += 1 << (width - 2) * 4
    return f"{number:#0{width}x}" if number else "0" * width


def parse_value(variable: Variable, text: str) -> int | str:
    """Return what a text means for a variable; numbers may be octal or hexadecimal as in C.

    :raises ValueError: its argument is what sysctl(8) says about it
    """
    if variable.kind == "string":
        return text
    name = TYPE_NAMES[variable.kind]
    if variable.kind not in INTEGERS:
        raise ValueError(f"oid '{variable.name}' is type {name}, cannot set that")
    if not text:
        raise ValueError("empty numeric value")
    digits = text.lower().lstrip("+-")
    try:
        base = 16 if digits.startswith("0x") else 8 if len(digits) > 1 and digits.startswith("0") else 10
        number = int(text, base)
    except ValueError:
        raise ValueError(f"invalid {name} '{text}'") from None
    _, size, signed = INTEGERS[variable.kind]
    number &= (1 << size * 8) - 1
    if signed and number >> (size * 8 - 1):
        number -= 1 << size * 8
    return number


def _call_read(kernel: Kernel, pid: int, uid: int, arguments: dict[str, Any]) -> tuple[Any, list[int]]:
    """sysctlbyname(3) for reading: {"name"} gives {"kind", "format", "value"}."""
    with kernel.lock:
        variable = kernel.sysctls.find(str(arguments["name"]))
        value = variable.read(kernel.jails.of_process(pid))
    return {"kind": variable.kind, "format": variable.format, "value": value}, []


def _call_write(kernel: Kernel, pid: int, uid: int, arguments: dict[str, Any]) -> tuple[Any, list[int]]:
    """sysctlbyname(3) for writing: {"name", "value"}."""
    kernel.sysctls.write(str(arguments["name"]), arguments["value"], kernel.jails.of_process(pid), uid)
    return None, []


SYSCALLS = {"sysctl.read": _call_read, "sysctl.write": _call_write}
