"""Causes of "the guest has no network" that FreeBSD alone has."""

from __future__ import annotations

from collections.abc import Iterator

from beastack.site.doctor.finding import Finding
from beastack.site.doctor.view import View
from beastack.site.host import freebsd_look


def check_freebsd(view: View) -> Iterator[Finding]:
    """Nothing that FreeBSD alone has takes the network from guests."""
    for what, ok, seen, remedy in freebsd_look.examine(view.site):
        yield Finding(what, ok, seen, remedy)
