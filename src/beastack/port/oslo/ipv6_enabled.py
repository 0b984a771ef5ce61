"""C4: whether the system has IPv6.

Upstream looks for Linux's switch in /proc, keeps the answer in a variable of
its module, and finds no IPv6 where there is no /proc. The variable is given
FreeBSD's answer in advance, when the module is loaded: kern.features.inet6,
which is there if the kernel was built with IPv6.
"""

from __future__ import annotations

import logging
import sys
from typing import Any

from beastack.freebsd import sysctl
from beastack.freebsd.command import CommandError
from beastack.freebsd.errors import SysctlNotFound
from beastack.seams.registry import Seam
from beastack.seams.source import DATA

LOG = logging.getLogger("beastack.seams")

FEATURE = "kern.features.inet6"


def _make(original: Any) -> Any:
    if not sys.platform.startswith("freebsd"):
        return original
    try:
        return sysctl.read_integer(FEATURE) != 0
    except SysctlNotFound:
        return False
    except CommandError as error:
        # Upstream asks in its own way then, and finds none.
        LOG.warning("whether there is IPv6 cannot be told: %s", error)
        return original


SEAM = Seam(
    id="C4",
    kind=DATA,
    distribution="oslo.utils",
    module="oslo_utils.netutils",
    why="looks for Linux's switch of IPv6 in /proc, and without it leaves IPv6 out of whatever it sets up",
    since="0.3.0",
    retired_by="oslo.utils asking the system for an IPv6 socket",
    processes=("neutron-ovs-agent", "neutron-dhcp-agent"),
    hosts=("freebsd",),
    hashes={"10.0": "b712b44d01181cc4", "10.2": "b712b44d01181cc4"},
    make={"_IS_IPV6_ENABLED": _make},
)
