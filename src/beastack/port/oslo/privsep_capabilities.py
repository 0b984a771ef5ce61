"""C1: a privileged daemon drops the capabilities that it does not need, where there are capabilities.

Upstream's daemon does so by three functions over prctl(2), capset(2) and
capget(2). It looks for those calls on Linux only, and leaves the names of
two of its own globals unbound or None elsewhere: the daemon ends with a
NameError before its first request. FreeBSD has no capabilities of processes
(capsicum(4) is another thing): there is nothing to keep, to drop or to list.
What holds a daemon there is set when it is started.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from typing import Any

from beastack.seams.registry import Seam
from beastack.seams.source import FUNCTION


def _answer(value: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Return a factory: what upstream does where it found the calls, and a constant answer elsewhere."""

    def make(original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def instead(*arguments: Any, **named: Any) -> Any:
            if getattr(sys.modules[original.__module__], "_prctl", None) is not None:
                return original(*arguments, **named)
            return value

        return instead

    return make


SEAM = Seam(
    id="C1",
    kind=FUNCTION,
    distribution="oslo.privsep",
    module="oslo_privsep.capabilities",
    why="a privileged daemon asks for Linux's capabilities of processes and ends where there are none",
    since="0.2.0",
    retired_by="oslo.privsep passing over capabilities where the system has none",
    processes=("privileged daemons",),
    hosts=("freebsd",),
    hashes={
        "3.10": "c1dbb60bd44c9daf b59616b6637d2bc3 ecd5b85c0b7c59b2",
        "3.12": "c1dbb60bd44c9daf b59616b6637d2bc3 ecd5b85c0b7c59b2",
    },
    make={
        "set_keepcaps": _answer(None),
        "drop_all_caps_except": _answer(None),
        "get_caps": _answer(((), (), ())),
    },
)
