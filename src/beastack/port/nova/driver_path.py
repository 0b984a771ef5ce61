"""V6: ``compute_driver = bhyve.BhyveDriver`` is found.

nova takes drivers from its own package ``nova.virt`` only. Nothing is put
into nova's directory: when the driver is loaded, the package is given one more
directory to look in, ``drivers``, which holds the one module of that name.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from beastack.seams.registry import Seam
from beastack.seams.source import FUNCTION

DRIVERS = Path(__file__).with_name("drivers")


def _make(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def load_compute_driver(virtapi: Any, compute_driver: str | None = None) -> Any:
        path = sys.modules["nova.virt"].__path__
        if str(DRIVERS) not in path:
            path.append(str(DRIVERS))
        return original(virtapi, compute_driver)

    return load_compute_driver


SEAM = Seam(
    id="V6",
    kind=FUNCTION,
    distribution="nova",
    module="nova.virt.driver",
    why="compute drivers are loaded from the package nova.virt only",
    since="0.4.0",
    retired_by="nova taking a full path or an entry point for compute_driver",
    processes=("nova-compute",),
    hosts=("freebsd",),
    hashes={"33": "40f0258855b9770a", "34": "40f0258855b9770a"},
    make={"load_compute_driver": _make},
)
