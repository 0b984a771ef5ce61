"""L1: ``<loader secure>`` is left out for a libvirt that refuses it.

libvirt before 9.2 (Debian 12 has 9.0) refuses the attribute together with
firmware autoselection (``<os firmware='efi'>``), and nova always writes it for
UEFI guests. That a firmware is a secure one is still said by
``<firmware><feature name='secure-boot'>``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from beastack.seams.registry import Seam
from beastack.seams.source import FUNCTION

#: The first libvirt that takes <loader secure=...> together with <os firmware='efi'> (in libvirt's numbering).
LOADER_SECURE_ACCEPTED = 9_002_000


def _make(original: Callable[..., Any]) -> Callable[..., Any]:
    import libvirt

    if libvirt.getVersion() >= LOADER_SECURE_ACCEPTED:
        return original

    def format_dom(self: Any) -> Any:
        if self.os_firmware == "efi" and self.os_loader is None:
            self.os_loader_secure = None
        return original(self)

    return format_dom


SEAM = Seam(
    id="L1",
    kind=FUNCTION,
    distribution="nova",
    module="nova.virt.libvirt.config",
    why="libvirt before 9.2 (Debian 12 has 9.0) refuses <loader secure=...> with firmware autoselection, "
    "which nova always writes for UEFI guests",
    since="0.1.0",
    retired_by="nova's announced minimum of libvirt 10.0",
    processes=("nova-compute",),
    hosts=("linux",),
    hashes={"33": "19900e1c24e87219", "34": "19900e1c24e87219"},
    make={"LibvirtConfigGuest.format_dom": _make},
)
