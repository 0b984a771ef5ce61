"""L1: the guest's XML that upstream writes, for a libvirt that refuses <loader secure> and one that takes it."""

from __future__ import annotations

import importlib
import re
import sys
import types
from collections.abc import Callable

import pytest

Apart = Callable[[Callable[[], None]], None]


def loader(version: int, *, firmware: str | None = "efi", path: str | None = None) -> str:
    """Return <loader> of a UEFI guest as nova writes it through the seam."""
    binding = types.ModuleType("libvirt")
    binding.getVersion = lambda: version  # type: ignore[attr-defined]
    sys.modules["libvirt"] = binding
    importlib.import_module("beastack.port.nova.linux_seams")
    from nova.virt.libvirt import config

    guest = config.LibvirtConfigGuest()
    guest.virt_type, guest.name, guest.uuid = "qemu", "a", "b"
    guest.os_type, guest.os_firmware = "hvm", firmware
    guest.os_loader, guest.os_loader_secure = path, True
    if path:
        guest.os_loader_type = "pflash"
    match = re.search(r"<loader[^>]*>", guest.to_xml())
    return match[0] if match else ""


@pytest.mark.parametrize(("version", "taken"), [(9_000_000, False), (9_001_000, False), (9_002_000, True)])
def test_secure_is_written_where_it_is_taken(version: int, taken: bool, apart: Apart) -> None:
    def body() -> None:
        assert ("secure" in loader(version)) is taken
        # Without autoselection every libvirt takes it.
        assert "secure" in loader(version, firmware=None, path="/loader.fd")

    apart(body)
