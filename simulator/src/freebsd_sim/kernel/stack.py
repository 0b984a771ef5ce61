"""A vnet: one Linux network namespace and the netlink socket that drives it."""

from __future__ import annotations

import contextlib
import ctypes
import os
import threading
from collections.abc import Callable
from typing import Any, TypeVar

from freebsd_sim.kernel.interface_netlink import PinnedIPRoute
from freebsd_sim.kernel.link_table import LinkTable

CLONE_NEWNET = 0x40000000  # sched.h
LOOPBACK_INDEX = 1
QUIET_SYSCTLS = (
    # FreeBSD makes addresses by itself only where ifconfig(8) says so.
    ("net/ipv6/conf/all/accept_ra", "0"),
    ("net/ipv6/conf/default/accept_ra", "0"),
    ("net/ipv6/conf/all/autoconf", "0"),
    ("net/ipv6/conf/default/autoconf", "0"),
    ("net/ipv6/conf/default/addr_gen_mode", "1"),
    ("net/ipv6/conf/lo/addr_gen_mode", "1"),
    # An interface that goes down keeps its IPv6 addresses.
    ("net/ipv6/conf/all/keep_addr_on_down", "1"),
    ("net/ipv6/conf/default/keep_addr_on_down", "1"),
    # net.inet6.ip6.v6only is 1: "::" does not take IPv4.
    ("net/ipv6/bindv6only", "1"),
    # A raw socket is root's affair, as on FreeBSD.
    ("net/ipv4/ping_group_range", "1 0"),
)

_libc = ctypes.CDLL(None, use_errno=True)
Result = TypeVar("Result")


def _check(status: int, what: str) -> None:
    if status != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def enter_namespace(descriptor: int) -> None:
    """Put the calling thread into a network namespace."""
    _check(_libc.setns(descriptor, CLONE_NEWNET), "setns")


def run_in_thread(func: Callable[..., Result], *args: Any) -> Result:
    """Run a function in a thread of its own and return what it returns, or raise what it raised."""
    results: list[Result] = []
    errors: list[BaseException] = []

    def body() -> None:
        try:
            results.append(func(*args))
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=body, name="stack")
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return results[0]


class Stack:
    """A network stack of its own: interfaces, addresses, routes, neighbours.

    ``ipr`` is a netlink socket inside it, ``links`` what Linux has there; use them with the kernel's lock held.
    """

    def __init__(self, fd: int, ipr: PinnedIPRoute, links: LinkTable) -> None:
        self.fd = fd
        self.ipr = ipr
        self.links = links
        self.inode = os.fstat(fd).st_ino
        self.denied: set[int] = set()  # address families that a firewall keeps out

    @classmethod
    def create(cls) -> Stack:
        """Make a new stack that has nothing but lo0, down and without addresses."""

        def body() -> tuple[int, PinnedIPRoute, LinkTable]:
            _check(_libc.unshare(CLONE_NEWNET), "unshare")
            return cls._open_here()

        stack = cls(*run_in_thread(body))
        stack._settle()
        return stack

    @classmethod
    def adopt(cls) -> Stack:
        """Take the network namespace that this process is in as a new stack."""
        stack = cls(*run_in_thread(cls._open_here))
        stack._settle()
        return stack

    @staticmethod
    def _open_here() -> tuple[int, PinnedIPRoute, LinkTable]:
        descriptor = os.open(f"/proc/self/task/{threading.get_native_id()}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        return descriptor, PinnedIPRoute(), LinkTable()

    def _settle(self) -> None:
        for path, value in QUIET_SYSCTLS:
            with contextlib.suppress(OSError):
                self.write_sysctl(path, value)
        self.ipr.link("set", index=LOOPBACK_INDEX, state="down")
        self.ipr.flush_addr(index=LOOPBACK_INDEX)
        self.ipr.link("set", index=LOOPBACK_INDEX, ifname="lo0")

    def run(self, func: Callable[..., Result], *args: Any) -> Result:
        """Run a function in a thread inside this stack and return its result."""

        def body() -> Result:
            enter_namespace(self.fd)
            return func(*args)

        return run_in_thread(body)

    def write_sysctl(self, path: str, value: str) -> None:
        """Write one of Linux's network settings of this stack; ``path`` is below /proc/sys.

        :raises OSError: there is no such setting, or the value is refused
        """

        def body() -> None:
            descriptor = os.open(f"/proc/sys/{path}", os.O_WRONLY)
            try:
                os.write(descriptor, value.encode())
            finally:
                os.close(descriptor)

        self.run(body)

    def read_sysctl(self, path: str) -> str:
        """Return one of Linux's network settings of this stack, without the newline."""

        def body() -> str:
            with open(f"/proc/sys/{path}") as file:
                return file.read().rstrip("\n")

        return self.run(body)

    def close(self) -> None:
        """Let go of the namespace; Linux removes it when nothing else is in it."""
        self.ipr.close()
        self.links.close()
        os.close(self.fd)
