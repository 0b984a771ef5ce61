"""N5: kernel settings of network stacks, by the names that Linux has for them.

Upstream sets them by ``sysctl -w`` in a namespace. FreeBSD has other names,
for some of them a flag of an interface instead, and no need of others.
"""

from __future__ import annotations

import functools
import re
import sys
from collections.abc import Callable
from typing import Any

from beastack.seams.registry import Seam
from beastack.seams.source import FUNCTION

#: Linux's, whose purpose FreeBSD serves without them, or has nothing to be set for.
_NEEDLESS = re.compile(
    r"net\.ipv4\.ip_nonlocal_bind"
    r"|net\.ipv4\.conf\..+\.(promote_secondaries|arp_ignore|arp_announce|rp_filter)"
    r"|net\.netfilter\.nf_conntrack_.+"
)
_WHOLE_STACK = {"net.ipv4.ip_forward": "net.inet.ip.forwarding"}
_IPV6 = re.compile(r"net\.ipv6\.conf\.(?P<interface>.+)\.(?P<what>forwarding|accept_ra|disable_ipv6)")
#: Not interfaces: every one there is, and the ones to come.
_EVERY = ("all", "default")


def translate_setting(setting: str) -> list[str] | None:
    """Return the command for one of Linux's settings (``NAME=VALUE``).

    :returns: no words if there is nothing to do; None for a setting without a counterpart
    """
    name, separator, value = setting.partition("=")
    if not separator or not re.fullmatch(r"\d+", value):
        return None
    on = int(value) > 0
    if _NEEDLESS.fullmatch(name):
        return []
    if name in _WHOLE_STACK:
        return ["sysctl", f"{_WHOLE_STACK[name]}={int(on)}"]
    found = _IPV6.fullmatch(name)
    if not found:
        return None
    # Upstream writes the dot in an interface's name as Linux wants it in a key.
    interface = found["interface"].replace("/", ".")
    if found["what"] == "forwarding":
        # A matter of the whole stack (ip6_forward.c), also when one interface is named.
        return ["sysctl", f"net.inet6.ip6.forwarding={int(on)}"]
    if found["what"] == "accept_ra":
        if interface in _EVERY:
            # The flag that interfaces begin with (sys/netinet6/nd6.c).
            return ["sysctl", f"net.inet6.ip6.accept_rtadv={int(on)}"]
        return _change_flag(interface, "accept_rtadv", on)
    if interface in _EVERY:
        # Interfaces begin with IPv6 disabled, and there is no switch for the whole stack.
        return [] if on else None
    return _change_flag(interface, "ifdisabled", on)


def _change_flag(interface: str, word: str, on: bool) -> list[str]:
    device = "lo0" if interface == "lo" else interface
    return ["ifconfig", device, "inet6", word if on else f"-{word}"]


def _make(original: Callable[..., int]) -> Callable[..., int]:
    if not sys.platform.startswith("freebsd"):
        return original
    ip_lib = sys.modules[original.__module__]

    @functools.wraps(original)
    def sysctl(cmd: Any, namespace: Any = None, log_fail_as_error: bool = True) -> int:
        """Apply settings, and return 0, or 1 when one of them could not be applied."""
        failed = 0
        netns = ip_lib.IPWrapper(namespace=namespace).netns
        for setting in cmd:
            words = translate_setting(setting)
            if words is None:
                ip_lib.LOG.warning("FreeBSD has no counterpart of %s (namespace %s)", setting, namespace)
                failed = 1
            elif words:
                try:
                    netns.execute(words, run_as_root=True, privsep_exec=True, log_fail_as_error=log_fail_as_error)
                except RuntimeError as error:
                    ip_lib.LOG.warning("Setting %s in namespace %s failed: %s", setting, namespace, error)
                    failed = 1
        return failed

    return sysctl


SEAM = Seam(
    id="N5",
    kind=FUNCTION,
    distribution="neutron",
    module="neutron.agent.linux.ip_lib",
    why="sets what a network stack does by the names of Linux, which are none here",
    since="0.3.0",
    retired_by="neutron keeping what it sets (forwarding, router advertisements) apart from how",
    processes=("neutron-dhcp-agent",),
    hosts=("freebsd",),
    hashes={"28": "808ae7d2c97e2dd7", "29": "808ae7d2c97e2dd7"},
    make={"sysctl": _make},
)
