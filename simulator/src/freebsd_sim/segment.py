"""Simulated Ethernet segments: a bridge in a network namespace of its own, with a card of each joined host on it."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator, Sequence

from pyroute2 import IPRoute, netns

from freebsd_sim.host import NAME, Host, HostError

INTERFACE = re.compile(r"[a-z]+[0-9]+")
SEGMENT_PREFIX = "freebsd-sim-"


def link(segment: str, ends: Sequence[tuple[Host, str]]) -> None:
    """Join interfaces of hosts to a segment, making the segment and the interfaces.

    :param ends: hosts and the name that the interface gets there, as in em0 or vtnet1
    :raises HostError: a host does not run, or has an interface of that name
    """
    if not NAME.fullmatch(segment):
        raise HostError(f"{segment!r} is no name for a segment: lower case letters, digits and hyphens")
    for _, name in ends:
        if not INTERFACE.fullmatch(name):
            raise HostError(f"{name!r} is no name for a network card: a driver and a number, as in em0 or vtnet1")
    space = SEGMENT_PREFIX + segment
    if space not in netns.listnetns():
        netns.create(space)
        with _inside(space) as ipr:
            ipr.link("add", ifname="segment", kind="bridge")
            ipr.link("set", index=ipr.link_lookup(ifname="segment")[0], state="up")
    for host, name in ends:
        _, namespaces = host.call("enter")
        try:
            _plug(space, host, name, namespaces[2])
        finally:
            for descriptor in namespaces:
                os.close(descriptor)


def unlink(segment: str) -> None:
    """Remove a segment and every host's interface on it. Raises HostError when there is none."""
    space = SEGMENT_PREFIX + segment
    if space not in netns.listnetns():
        raise HostError(f"there is no segment {segment}")
    with _inside(space) as ipr:
        for item in ipr.get_links(kind="veth"):
            ipr.link("del", index=item["index"])
    netns.remove(space)


def segments() -> list[str]:
    """Return the names of the segments."""
    return sorted(name.removeprefix(SEGMENT_PREFIX) for name in netns.listnetns() if name.startswith(SEGMENT_PREFIX))


@contextlib.contextmanager
def _inside(space: str) -> Iterator[IPRoute]:
    with IPRoute(netns=space) as ipr:
        yield ipr


def _has_interface(target: int, name: str) -> bool:
    """Tell whether the network namespace behind a descriptor has an interface of this name."""
    with IPRoute(netns=f"/proc/self/fd/{target}") as ipr:
        return bool(ipr.link_lookup(ifname=name))


def _plug(space: str, host: Host, name: str, target: int) -> None:
    port = f"{host.name[:8]}-{name}"[:15]
    with _inside(space) as ipr:
        for index in ipr.link_lookup(ifname=port):
            if _has_interface(target, name):
                return
            # Of an earlier run of the host, which Linux takes its time to clear away.
            ipr.link("del", index=index)
        try:
            ipr.link("add", ifname=port, kind="veth", peer={"ifname": name, "net_ns_fd": target})
        except Exception as error:
            if getattr(error, "code", None) == 17:
                raise HostError(f"{host.name} has an interface {name} already") from None
            raise
        index = ipr.link_lookup(ifname=port)[0]
        ipr.link("set", index=index, master=ipr.link_lookup(ifname="segment")[0], state="up")
