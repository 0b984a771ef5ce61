"""Guests' disks as raw files: upstream's back end ``raw``, less what only Linux has programs for.

bhyve reads raw disks and no other, so nothing is guessed from what a guest
may have written to its disk.
"""

from __future__ import annotations

import os
from typing import Any

from nova.virt.libvirt import imagebackend

RAW = "raw"


class RawFile(imagebackend.Flat):
    """A raw file in the instance's directory."""

    def _get_driver_format(self) -> str:
        return RAW

    def correct_format(self) -> None:
        """Do nothing: it is raw."""

    def get_disk_size(self, name: str) -> int:
        """Return the bytes that a guest sees of a file."""
        return os.stat(name).st_size

    def resize_image(self, size: int) -> None:
        """Make the file larger, to ``size`` bytes; it never shrinks."""
        if os.stat(self.path).st_size < size:
            os.truncate(self.path, size)

    def libvirt_info(self, *arguments: Any, **named: Any) -> Any:
        """Return the disk's XML, without a cache mode, which bhyve has no choice of."""
        info = super().libvirt_info(*arguments, **named)
        info.driver_cache = info.driver_io = info.driver_discard = None
        return info
