"""N3: all that neutron's agents do to interfaces, addresses, routes and namespaces as root.

Upstream speaks netlink in a network namespace that it enters for it, which
FreeBSD has neither of. The whole module is replaced, under its own name:
``privileged_ip_lib`` serves it, with the same functions, exceptions and
privilege contexts, over ifconfig(8), route(8), netstat(1), arp(8), ndp(8) and
jail(8).
"""

from __future__ import annotations

import sys
from importlib.machinery import ModuleSpec

from beastack.seams.install import serve
from beastack.seams.registry import Seam
from beastack.seams.source import MODULE


def _make(upstream: ModuleSpec) -> ModuleSpec:
    if not sys.platform.startswith("freebsd"):
        return upstream
    return serve("beastack.port.neutron.privileged_ip_lib")(upstream)


SEAM = Seam(
    id="N3",
    kind=MODULE,
    distribution="neutron",
    module="neutron.privileged.agent.linux.ip_lib",
    why="speaks Linux's netlink in Linux's network namespaces: no agent could read or change an interface",
    since="0.3.0",
    retired_by="neutron taking the module from its configuration, as nova takes its drivers",
    processes=("privileged daemons", "neutron-dhcp-agent", "neutron-ovs-agent", "neutron-metadata-agent"),
    hosts=("freebsd",),
    hashes={"28": "0ed2482bf8ad1761", "29": "0ed2482bf8ad1761"},
    make={"": _make},
)
