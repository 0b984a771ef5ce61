"""V1: ``[libvirt] virt_type`` may be ``bhyve``, which libvirt knows and nova's list of choices does not."""

from __future__ import annotations

from typing import Any

from beastack.seams.registry import Seam
from beastack.seams.source import DATA

VIRT_TYPE = "bhyve"


def _make(original: list[Any]) -> list[Any]:
    option = next(option for option in original if option.name == "virt_type")
    # The option's help and other lists hold the same object: it is changed in its place.
    choices = option.type.choices
    if VIRT_TYPE not in choices:
        if isinstance(choices, dict):
            choices[VIRT_TYPE] = None
        else:
            option.type.choices = [*choices, VIRT_TYPE]
    return original


SEAM = Seam(
    id="V1",
    kind=DATA,
    distribution="nova",
    module="nova.conf.libvirt",
    why="the choices of [libvirt] virt_type do not have bhyve, and any reading of another value is an error",
    since="0.4.0",
    retired_by="nova leaving the choice to libvirt, or a choice for bhyve",
    processes=("nova-compute",),
    hosts=("freebsd",),
    hashes={"33": "1556d25caa5c8334", "34": "3331e973a48471da"},
    make={"libvirt_general_opts": _make},
)
