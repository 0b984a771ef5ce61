"""FreeBSD's packet filters, where they stand between guests and what the host does for them.

What goes through the switch passes neither: it is read and written through
BPF. What is filtered is the host's own address on the provider network, and
DHCP and metadata in the jails of networks, which begin with rules of their own.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from beastack.freebsd import kld, sysctl
from beastack.freebsd.command import run
from beastack.freebsd.errors import JailNotFound
from beastack.site.doctor.finding import Finding, bad, good, listed
from beastack.site.doctor.view import View
from beastack.site.host import ovs

ACCEPT = "net.inet.ip.fw.default_to_accept"
SWITCHES = ("net.inet.ip.fw.enable", "net.inet6.ip6.fw.enable")
#: A rule of pf's that may block everything: no address, port or interface narrows it (pf.conf(5)).
_BLOCK_ALL = re.compile(
    r"block(?: drop| return)?(?: in| out)?(?: log)?(?: quick)?(?: inet6?)? (?:all|from any to any)\b"
)


def check_ipfw(view: View) -> Iterator[Finding]:
    """Ipfw does not deny everything: its last rule does, in the host and in each new jail (ipfw(8))."""
    if not kld.is_loaded("ipfw"):
        yield good("ipfw", "not loaded")
        return
    if ACCEPT in (values := sysctl.read_values((), optional=(ACCEPT,))) and values.integer(ACCEPT):
        yield good("ipfw", "loaded, and passes what no rule denies")
        return
    keep = f"{ACCEPT}=1 in /boot/loader.conf, then reboot; or kldunload ipfw"
    yield bad("ipfw", "it denies everything in each new jail: new networks get neither DHCP nor metadata", keep)
    places = {"the host": None, **{name: name for name in view.namespaces if name.startswith("qdhcp-")}}
    closed = []
    for place, jail in places.items():
        try:
            switches = sysctl.read_values((), optional=SWITCHES, jail=jail)
        except JailNotFound:
            continue  # gone meanwhile, with its network
        if any(switches.integer(name) for name in switches):
            closed.append(place)
    if closed:
        now = "; ".join(
            f"sysctl {'' if place == 'the host' else f'-j {place} '}{' '.join(f'{name}=0' for name in SWITCHES)}"
            for place in closed
        )
        yield bad("ipfw", f"it is at work in {listed(closed)}: unless rules there allow it, nothing passes", now)


def check_pf(view: View) -> Iterator[Finding]:
    """Pf does not cut the host off the provider network."""
    if not kld.is_loaded("pf"):
        yield good("pf", "not loaded")
        return
    if not re.search(r"^Status: Enabled", run(["pfctl", "-s", "info"]).stdout, re.MULTILINE):
        yield good("pf", "loaded, and disabled")
        return
    near = ovs.host_pair(view.site)[0]
    # A line for each interface; behind the name, where pf leaves it alone: "em0 (skip)".
    skipped = re.search(rf"^{re.escape(near)} \(skip\)", run(["pfctl", "-vs", "Interfaces"]).stdout, re.MULTILINE)
    rules = [line.strip() for line in run(["pfctl", "-s", "rules"]).stdout.splitlines()]
    blocks = next((line for line in rules if _BLOCK_ALL.match(line)), None)
    passes = any(line.startswith("pass") and f" on {near} " in f"{line} " for line in rules)
    if blocks is None or skipped or passes:
        yield good("pf", "it lets the host be on the provider network")
        return
    seen = f"it blocks what no other rule passes ({blocks}), and none passes {near}: the host reaches no instance"
    yield bad("pf", seen, f"set skip on {near} in /etc/pf.conf, then service pf reload")
