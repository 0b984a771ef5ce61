"""V5: the models of network cards that bhyve has."""

from __future__ import annotations

from beastack.port.nova.virt_type import VIRT_TYPE
from beastack.seams.registry import Seam
from beastack.seams.source import DATA

MODELS = ("virtio", "e1000")


def _make(original: dict[str, list[str]]) -> dict[str, list[str]]:
    return {**original, VIRT_TYPE: list(MODELS)}


SEAM = Seam(
    id="V5",
    kind=DATA,
    distribution="nova",
    module="nova.virt.libvirt.vif",
    why="the table of network card models by virtualization type has no bhyve",
    since="0.4.0",
    retired_by="nova asking libvirt's domain capabilities for the models",
    processes=("nova-compute",),
    hosts=("freebsd",),
    hashes={"33": "b22e2f26cea4903c", "34": "b22e2f26cea4903c"},
    make={"SUPPORTED_VIF_MODELS": _make},
)
