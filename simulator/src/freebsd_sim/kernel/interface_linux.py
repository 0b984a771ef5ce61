"""Linux's side of an interface: links, tun devices and offload switches, each one small function."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import socket
import struct
from collections.abc import Iterator
from typing import Any

from pyroute2 import NetlinkError

from freebsd_sim.kernel.errors import KernelError
from freebsd_sim.kernel.link_table import LINUX_PROMISC as LINUX_PROMISC
from freebsd_sim.kernel.stack import Stack

# linux/if_tun.h
TUNSETIFF = 0x400454CA
TUNSETPERSIST = 0x400454CB
TUNSETIFINDEX = 0x400454DA
IFF_TAP = 0x2
IFF_NO_PI = 0x1000

# linux/ethtool.h, linux/sockios.h
SIOCETHTOOL = 0x8946
ETHTOOL_STXCSUM = 0x17
ETHTOOL_SSG = 0x19
ETHTOOL_STSO = 0x1F
ETHTOOL_SGSO = 0x24
ETHTOOL_SGRO = 0x2C

# Linux's refusals that mean the same on FreeBSD; anything else is an invalid argument.
ERRNO_NAMES = {
    errno.EEXIST: "EEXIST", errno.EBUSY: "EBUSY", errno.ENODEV: "ENXIO", errno.EPERM: "EPERM",
    errno.EINVAL: "EINVAL", errno.EADDRNOTAVAIL: "EADDRNOTAVAIL", errno.ENOBUFS: "ENOBUFS",
}  # fmt: skip


@contextlib.contextmanager
def translate_errors() -> Iterator[None]:
    """Turn a refusal of Linux into one of FreeBSD."""
    try:
        yield
    except (NetlinkError, OSError) as error:
        number = error.code if isinstance(error, NetlinkError) else error.errno
        raise KernelError(ERRNO_NAMES.get(number or 0, "EINVAL")) from error


def index_of(stack: Stack, name: str) -> int:
    """Return the index of a link by name.

    :raises KernelError: ENXIO
    """
    found = stack.links.find(name)
    if found is None:
        raise KernelError("ENXIO")
    return found.index


def add_link(stack: Stack, kind: str, name: str, index: int, mac: str = "", **parameters: Any) -> int:
    """Make a link and return its index, which is the asked one when it is free."""
    if mac:
        parameters["address"] = mac
    with translate_errors():
        try:
            stack.ipr.link("add", ifname=name, kind=kind, index=index, **parameters)
        except NetlinkError as error:
            if error.code not in (errno.EBUSY, errno.EEXIST):
                raise
            stack.ipr.link("add", ifname=name, kind=kind, **parameters)
    return index_of(stack, name)


def add_loopback(stack: Stack, name: str, index: int) -> int:
    """Make a link that swallows what is sent to it: a further loopback interface."""
    for kind in ("dummy", "ifb", "bridge"):
        try:
            return add_link(stack, kind, name, index)
        except KernelError:
            continue
    raise KernelError("ENXIO")


def set_link(stack: Stack, index: int, **parameters: Any) -> None:
    """Change a link.

    :raises KernelError: what Linux refuses
    """
    with translate_errors():
        stack.ipr.link("set", index=index, **parameters)


def delete_link(stack: Stack, index: int) -> None:
    """Remove a link; one that is gone is fine."""
    with contextlib.suppress(NetlinkError):
        stack.ipr.link("del", index=index)


def attach_tap(stack: Stack, name: str, index: int = 0, persist: bool = False) -> int:
    """Attach to a tun device, making it when there is none, and return the descriptor.

    :raises KernelError: EBUSY when another descriptor holds it
    """

    def body() -> int:
        descriptor = os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC)
        try:
            if index:
                with contextlib.suppress(OSError):
                    fcntl.ioctl(descriptor, TUNSETIFINDEX, struct.pack("I", index))
            try:
                _set_interface(descriptor, name)
            except OSError:
                if not index:
                    raise
                # The wanted index is taken: let Linux choose.
                os.close(descriptor)
                descriptor = os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC)
                _set_interface(descriptor, name)
            if persist:
                fcntl.ioctl(descriptor, TUNSETPERSIST, 1)
        except OSError:
            os.close(descriptor)
            raise
        return descriptor

    with translate_errors():
        return stack.run(body)


def _set_interface(descriptor: int, name: str) -> None:
    fcntl.ioctl(descriptor, TUNSETIFF, struct.pack("16sH22x", name.encode(), IFF_TAP | IFF_NO_PI))


def forget_tap(stack: Stack, name: str, index: int) -> None:
    """Remove a tun device that nobody holds."""
    delete_link(stack, index)


def set_offloads(stack: Stack, name: str, checksums: bool) -> None:
    """Let a veth leave transmit checksums uncomputed or not; segmentation and reassembly are always off."""
    body = [(ETHTOOL_SGRO, 0), (ETHTOOL_STSO, 0), (ETHTOOL_SGSO, 0), (ETHTOOL_STXCSUM, int(checksums))]
    stack.run(_ethtool, name, body)


def _ethtool(name: str, orders: list[tuple[int, int]]) -> None:
    import ctypes

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        for command, value in orders:
            data = ctypes.create_string_buffer(struct.pack("II", command, value), 8)
            request = struct.pack("16sQ16x", name.encode(), ctypes.addressof(data))
            with contextlib.suppress(OSError):
                fcntl.ioctl(control, SIOCETHTOOL, request)


def find_opener(stack: Stack, name: str) -> int | None:
    """Return the process that holds a tun device open, by Linux's own account of descriptors.

    That account names the device but not its namespace: a process inside the stack comes before one elsewhere.
    """
    wanted = f"iff:\t{name}\n"
    elsewhere = None
    for entry in os.scandir("/proc"):
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            if not _holds_tun(int(entry.name), wanted):
                continue
            if os.stat(f"/proc/{entry.name}/ns/net").st_ino == stack.inode:
                return int(entry.name)
        except OSError:
            continue
        elsewhere = elsewhere or int(entry.name)
    return elsewhere


def _holds_tun(pid: int, wanted: str) -> bool:
    for number in os.listdir(f"/proc/{pid}/fd"):
        with contextlib.suppress(OSError):
            if os.readlink(f"/proc/{pid}/fd/{number}").endswith("net/tun"):
                with open(f"/proc/{pid}/fdinfo/{number}") as file:
                    if wanted in file.read():
                        return True
    return False


def is_alive(pid: int) -> bool:
    """Tell whether a process runs, that is: is not ending and not waiting to be reaped."""
    exiting = 0x4  # PF_EXITING of linux/sched.h
    try:
        with open(f"/proc/{pid}/stat") as file:
            fields = file.read().rpartition(")")[2].split()
    except OSError:
        return False
    return fields[0] not in "ZX" and not int(fields[6]) & exiting
