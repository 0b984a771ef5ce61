"""ipfw(4) without a rule of its own: its last rule denies, so a vnet passes nothing once the module is loaded.

There is no ipfw(8) here. What helps is what helps on FreeBSD without rules:
net.inet.ip.fw.enable and net.inet6.ip6.fw.enable of the vnet, or the tunable
net.inet.ip.fw.default_to_accept before the module is loaded. As on FreeBSD,
what BPF reads and writes does not pass the firewall, and neither does ARP.

In Linux a routing rule stands in front of all others; sending is answered
with EACCES there as well.
"""

from __future__ import annotations

import contextlib
import socket
from typing import TYPE_CHECKING

from pyroute2 import NetlinkError

from freebsd_sim.kernel.stack import Stack

if TYPE_CHECKING:
    from freebsd_sim.kernel import Kernel
    from freebsd_sim.kernel.jails import Jail

MODULE = "ipfw"
TUNABLE = "net.inet.ip.fw.default_to_accept"
SWITCHES = {"net.inet.ip.fw.enable": socket.AF_INET, "net.inet6.ip6.fw.enable": socket.AF_INET6}

LOCAL_TABLE = 255  # linux/rtnetlink.h
PROHIBIT = "FR_ACT_PROHIBIT"  # linux/fib_rules.h


class Firewall:
    """What ipfw does to each vnet. Call it with the kernel's lock held."""

    def __init__(self, kernel: Kernel) -> None:
        self.kernel = kernel
        self.loaded = False

    @property
    def default_to_accept(self) -> int:
        """What the tunable says; FreeBSD reads it once, when the module is loaded."""
        return int(self.kernel.sysctls.environment.get(TUNABLE, "0") != "0")

    def set_loaded(self, loaded: bool) -> None:
        """Begin or cease to stand before every vnet."""
        self.loaded = loaded
        for jail in self.kernel.jails.all():
            if jail.vnet:
                self.follow(jail)

    def follow(self, vnet: Jail) -> None:
        """Make a vnet pass what it should by the module and its sysctls."""
        for name in SWITCHES:
            if self.loaded or vnet.stack.denied:
                self.switch(vnet, name, self.kernel.sysctls.read_integer(vnet, name, 0))

    def switch(self, vnet: Jail, name: str, value: int) -> None:
        """Make a vnet pass what it should once one of its two sysctls has a value."""
        denies = self.loaded and bool(value) and not self.default_to_accept
        family = SWITCHES[name]
        if denies != (family in vnet.stack.denied):
            _deny(vnet.stack, family, denies)


def _deny(stack: Stack, family: int, denies: bool) -> None:
    """Put a refusal before Linux's first routing rule, or take it away."""
    # The rule for the stack's own addresses comes first in Linux and has to make room.
    first, other = (1, 0) if denies else (0, 1)
    with contextlib.suppress(NetlinkError):
        if not denies:
            stack.ipr.rule("del", family=family, priority=0, action=PROHIBIT)
        stack.ipr.rule("add", family=family, priority=first, table=LOCAL_TABLE)
        stack.ipr.rule("del", family=family, priority=other, table=LOCAL_TABLE)
        if denies:
            stack.ipr.rule("add", family=family, priority=0, action=PROHIBIT)
    (stack.denied.add if denies else stack.denied.discard)(family)
