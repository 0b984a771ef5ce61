"""What a running guest is to have at its next start.

libvirt's bhyve driver does not keep a second definition beside that of a
running guest, so a change is kept in the instance's directory, and given to
libvirt when the guest is started again without a new definition of nova's (a
soft reboot).
"""

from __future__ import annotations

import os

from beastack.port.nova.bhyve.options import CONF

NAME = "next.xml"


def read_next(uuid: str) -> str | None:
    """Return the definition kept for an instance, None without one."""
    try:
        with open(_path(uuid), encoding="utf-8") as stream:
            return stream.read()
    except FileNotFoundError:
        return None


def keep_next(uuid: str, xml: str) -> None:
    """Keep a definition for an instance; all of it, or the one before."""
    new = f"{_path(uuid)}.new"
    with open(new, "w", encoding="utf-8") as stream:
        stream.write(xml)
    os.rename(new, _path(uuid))


def forget_next(uuid: str) -> None:
    """Keep none any more."""
    try:
        os.unlink(_path(uuid))
    except FileNotFoundError:
        return


def _path(uuid: str) -> str:
    return os.path.join(CONF.instances_path, uuid, NAME)
