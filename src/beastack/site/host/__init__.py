"""Kinds of hosts: packages, users and processes of the machine that a site stands on."""

from __future__ import annotations

import sys
from types import ModuleType


class HostError(Exception):
    """Something about the host that stops the work; one line says what and what to do."""


def machine_kind() -> str:
    """Return the kind of the machine itself."""
    return "freebsd" if sys.platform.startswith("freebsd") else "linux"


def module(kind: str) -> ModuleType:
    """Return the module that knows a kind of host: ``linux`` or ``freebsd``."""
    # Imported here: only the machine's own kind is of use on it.
    if kind == "freebsd":
        from beastack.site.host import freebsd

        return freebsd
    from beastack.site.host import linux

    return linux


def hypervisor(kind: str) -> ModuleType:
    """Return the module that knows the hypervisor of a kind of host."""
    if kind == "freebsd":
        from beastack.site.host import freebsd_hypervisor

        return freebsd_hypervisor
    from beastack.site.host import linux_hypervisor

    return linux_hypervisor


def switch(kind: str) -> ModuleType:
    """Return the module that knows the switch of a kind of host."""
    if kind == "freebsd":
        from beastack.site.host import freebsd_switch

        return freebsd_switch
    from beastack.site.host import linux_switch

    return linux_switch
