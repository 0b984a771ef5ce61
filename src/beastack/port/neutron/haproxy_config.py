"""N6: the configuration of the metadata proxy, as haproxy takes it on FreeBSD.

Two lines of upstream's text are Linux's. The log goes to /dev/log, while
syslogd(8) listens at /var/run/log. And the proxy's IPv6 address, a link-local
one, is bound to an interface by ``interface``, which is SO_BINDTODEVICE and
refused where there is none. haproxy takes no zone either: what it does not
read as an address it takes for the name of a host, and '%' is in no such name
(``[fe80::a9fe:a9fe%tap0]`` is an "invalid address", src/tools.c). So the proxy
listens on every IPv6 address of its jail, which are those of that one
interface and the loopback's. Upstream leaves the line out when another
host's proxy has the address already, and so does this.
"""

from __future__ import annotations

import functools
import re
import sys
from collections.abc import Callable
from typing import Any

from beastack.seams.registry import Seam
from beastack.seams.source import FUNCTION

_LOG = re.compile(r"^(\s*log\s+)/dev/log(?=\s)", re.MULTILINE)
#: With brackets from 2026.2 on.
_BIND = re.compile(r"^(\s*bind )\[?[0-9A-Fa-f:]+\]?:(\d+) interface \S+$", re.MULTILINE)


def adapt_config(text: str) -> str:
    """Return a configuration with the two lines changed."""
    return _BIND.sub(r"\1[::]:\2 v6only", _LOG.sub(r"\1/var/run/log", text))


def _make(original: Callable[..., None]) -> Callable[..., None]:
    if not sys.platform.startswith("freebsd"):
        return original

    @functools.wraps(original)
    def _create_config(self: Any) -> None:
        original(self)
        self._haproxy_cfg = adapt_config(self._haproxy_cfg)

    return _create_config


SEAM = Seam(
    id="N6",
    kind=FUNCTION,
    distribution="neutron",
    module="neutron.agent.metadata.driver_base",
    why="has haproxy log to /dev/log, and bind its IPv6 address by Linux's SO_BINDTODEVICE: it does not start",
    since="0.3.0",
    retired_by="neutron letting the lines for logging and for IPv6 be configured",
    processes=("neutron-dhcp-agent",),
    hosts=("freebsd",),
    hashes={"28": "5494b77fb9cb3039", "29": "0280772b225fc958"},
    make={"HaproxyConfiguratorBase._create_config": _make},
)
