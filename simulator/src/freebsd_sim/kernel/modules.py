"""Kernel modules: which files are loaded, what is compiled in, and what loading brings (kld(4))."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from freebsd_sim.kernel.errors import KernelError
from freebsd_sim.kernel.firewall import Firewall

if TYPE_CHECKING:
    from freebsd_sim.kernel import Kernel

# Modules of GENERIC amd64 that somebody may ask for by name.
COMPILED_IN = (
    "acpi", "ahci", "cam", "ether", "if_lo", "if_tap", "if_tun", "if_tuntap", "if_vlan", "loop", "netlink", "netisr",
    "nvme", "pci", "tmpfs", "ufs", "vimage", "virtio", "virtio_pci", "vlan", "vtnet", "xhci",
)  # fmt: skip

# file (without .ko): modules in it, files it needs first, size in bytes
FILES: dict[str, tuple[tuple[str, ...], tuple[str, ...], int]] = {
    "aesni": (("aesni",), (), 0x11000),
    "bridgestp": (("bridgestp",), (), 0x76F8),
    "carp": (("carp",), (), 0xF8F8),
    "coretemp": (("coretemp",), (), 0x32A0),
    "cryptodev": (("cryptodev",), (), 0x8620),
    "dummynet": (("dummynet",), ("ipfw",), 0x16A20),
    "fdescfs": (("fdescfs",), (), 0x3C98),
    "fusefs": (("fusefs",), (), 0x2C4B8),
    "if_bridge": (("if_bridge",), ("bridgestp",), 0xD6E0),
    "if_epair": (("if_epair",), (), 0x4C60),
    "if_gif": (("if_gif",), (), 0x8C90),
    "if_gre": (("if_gre",), (), 0x8DC0),
    "if_lagg": (("if_lagg",), (), 0x10B20),
    "if_vxlan": (("if_vxlan",), (), 0xE9F0),
    "if_wg": (("if_wg",), (), 0x29D58),
    "ipfw": (("ipfw",), (), 0x2AC70),
    "linprocfs": (("linprocfs",), ("pseudofs",), 0x8DF8),
    "mac_do": (("mac_do",), (), 0x60A0),
    "mac_portacl": (("mac_portacl",), (), 0x3568),
    "nmdm": (("nmdm",), (), 0x2EC8),
    "nullfs": (("nullfs",), (), 0x6000),
    "opensolaris": (("opensolaris",), (), 0x4C00),
    "pf": (("pf",), (), 0x5FB80),
    "pflog": (("pflog",), ("pf",), 0x4AC0),
    "pseudofs": (("pseudofs",), (), 0x58F0),
    "vmm": (("vmm",), (), 0x311218),
    "zfs": (("zfsctrl", "zfs", "zfs_zvol"), (), 0x5DA658),
}
AT_BOOT = ("zfs", "cryptodev")
FIRST_ADDRESS = 0xFFFFFFFF82000000
KERNEL_SIZE = 0x1D345A0
VMMCTL = "dev/vmmctl"


@dataclass
class File:
    """A loaded file. ``references`` counts who needs it: the load itself and the files that depend on it."""

    id: int
    name: str
    address: int
    size: int
    modules: list[tuple[int, str]] = field(default_factory=list)
    references: int = 1
    asked: bool = True  # loaded by somebody, not only because another file needs it


class Modules:
    """The loaded files, in order of their ids."""

    def __init__(self, kernel: Kernel) -> None:
        self.kernel = kernel
        self._next_module = 1
        self._next_address = FIRST_ADDRESS
        self.files: list[File] = [File(1, "kernel", 0xFFFFFFFF80200000, KERNEL_SIZE)]
        for module in COMPILED_IN:
            self.files[0].modules.append((self._take_module_id(), module))
        self.firewall = Firewall(kernel)
        self._loaders: dict[str, Callable[[], None]] = {
            "vmm": self._load_vmm, "ipfw": lambda: self.firewall.set_loaded(True),
        }  # fmt: skip
        self._unloaders: dict[str, Callable[[], None]] = {
            "vmm": self._unload_vmm, "ipfw": lambda: self.firewall.set_loaded(False),
        }  # fmt: skip

    def start(self) -> None:
        """Load what a host that boots from ZFS has loaded."""
        for name in AT_BOOT:
            self.load(name)

    def _take_module_id(self) -> int:
        number = self._next_module
        self._next_module += 1
        return number

    def find_file(self, name: str) -> File | None:
        """Return a loaded file by its name, with or without ".ko"."""
        plain = name.rpartition("/")[2].removesuffix(".ko")
        return next((file for file in self.files if file.name.removesuffix(".ko") == plain), None)

    def find_module(self, name: str) -> tuple[File, int] | None:
        """Return a module's file and number, or None when no such module is loaded or compiled in."""
        for file in self.files:
            for number, module in file.modules:
                if module == name:
                    return file, number
        return None

    def is_loaded(self, name: str) -> bool:
        """Tell whether a module is there, loaded or compiled in."""
        return self.find_module(name) is not None or self.find_file(name) is not None

    def load(self, name: str) -> File:
        """Load a file and those it needs.

        :raises KernelError: EEXIST it is loaded or compiled in; ENOENT there is no such file
        """
        with self.kernel.lock:
            plain = name.rpartition("/")[2].removesuffix(".ko")
            if self.is_loaded(plain):
                raise KernelError("EEXIST")
            if plain not in FILES:
                raise KernelError("ENOENT")
            modules, needs, size = FILES[plain]
            for need in needs:
                held = self.find_file(need)
                if held is None:
                    self.load(need).asked = False
                else:
                    held.references += 1
            number = max(file.id for file in self.files) + 1
            file = File(number, f"{plain}.ko", self._next_address, size)
            self._next_address += (size + 0xFFFF) & ~0xFFFF
            file.modules = [(self._take_module_id(), module) for module in modules]
            self.files.append(file)
            self.files[0].references += 1
            loader = self._loaders.get(plain)
            if loader is not None:
                loader()
            return file

    def unload(self, file: File) -> None:
        """Unload a file. :raises KernelError: EBUSY it is in use, or it is the kernel."""
        with self.kernel.lock:
            plain = file.name.removesuffix(".ko")
            if file.id == 1 or plain in AT_BOOT or file.references > 1 or not file.asked or self._is_in_use(plain):
                raise KernelError("EBUSY")
            self._remove(file, plain)

    def _remove(self, file: File, plain: str) -> None:
        unloader = self._unloaders.get(plain)
        if unloader is not None:
            unloader()
        self.files.remove(file)
        self.kernel.sysctls.forget_module(plain)
        self.files[0].references -= 1
        for need in FILES[plain][1]:
            held = self.find_file(need)
            if held is None:
                continue
            if held.references == 1 and not held.asked:
                self._remove(held, need)
            else:
                held.references -= 1

    def _is_in_use(self, plain: str) -> bool:
        if plain == "vmm":
            return self.kernel.vmm.in_use()
        if plain.startswith("if_"):
            return any(item.cloner == plain.removeprefix("if_") for item in self.kernel.interfaces.everywhere())
        return False

    def _load_vmm(self) -> None:
        # The control device came with 15.0; vmm(4).
        if not self.kernel.release.at_least(15):
            return
        node = self.kernel.root / VMMCTL
        with contextlib.suppress(FileExistsError):
            node.parent.mkdir(parents=True, exist_ok=True)
            os.mknod(node, stat.S_IFCHR | 0o600, os.makedev(1, 3))

    def _unload_vmm(self) -> None:
        (self.kernel.root / VMMCTL).unlink(missing_ok=True)
