"""Counting the frames that arrive at an interface, whoever they are for."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from guest.ending import Ending, say_ready
from guest.forge import MARK
from guest.frames import (
    ETH_ARP,
    ETH_IP,
    ETH_IP6,
    ICMP,
    ICMP6,
    NEIGHBOUR_ADVERTISEMENT,
    NEIGHBOUR_SOLICITATION,
    ROUTER_ADVERTISEMENT,
    ROUTER_SOLICITATION,
    TCP,
    UDP,
    Frame,
)
from guest.link import GuestError, Wire


def name_kinds(frame: Frame) -> list[str]:
    """Return all that a frame is, the particular before the general."""
    found = []
    if frame.kind == ETH_ARP:
        return ["arp"]
    if frame.protocol == UDP:
        ports = {67: "dhcp-server", 68: "dhcp-client", 547: "dhcp6-server", 546: "dhcp6-client"}
        if frame.source_port in ports:
            found.append(ports[frame.source_port])
        if frame.payload == MARK:
            found.append("forged")
        found.append("udp")
    if frame.protocol == ICMP6 and frame.payload:
        kinds = {ROUTER_SOLICITATION: "rs", ROUTER_ADVERTISEMENT: "ra", NEIGHBOUR_SOLICITATION: "ns",
                 NEIGHBOUR_ADVERTISEMENT: "nd", 128: "echo", 129: "reply"}  # fmt: skip
        found += [kinds[frame.payload[0]]] if frame.payload[0] in kinds else []
        found.append("icmp6")
    if frame.protocol == ICMP and frame.payload:
        kinds = {8: "echo", 0: "reply"}
        found += [kinds[frame.payload[0]]] if frame.payload[0] in kinds else []
        found.append("icmp")
    if frame.protocol == TCP:
        found.append("tcp")
    if frame.kind in (ETH_IP, ETH_IP6):
        found.append("ip" if frame.kind == ETH_IP else "ip6")
    return found or [f"{frame.kind:#06x}"]


FIELDS: dict[str, Callable[[Frame], object]] = {
    "from-mac": lambda frame: frame.source_mac,
    "to-mac": lambda frame: frame.target_mac,
    "from-ip": lambda frame: frame.source,
    "to-ip": lambda frame: frame.target,
    "from-port": lambda frame: str(frame.source_port),
    "to-port": lambda frame: str(frame.target_port),
}


def matches(frame: Frame, conditions: Sequence[str]) -> bool:
    """Tell whether a frame is what all conditions say: the name of a kind, or FIELD=VALUE."""
    for condition in conditions:
        field, equals, value = condition.partition("=")
        if equals:
            if field not in FIELDS:
                raise GuestError(f"no such field: {field}; there are {', '.join(FIELDS)}")
            if FIELDS[field](frame) != value.lower():
                return False
        elif condition not in name_kinds(frame):
            return False
    return True


def run(
    interface: str, seconds: float, conditions: Sequence[str], enough: int | None, keep: int = 20
) -> dict[str, Any]:
    """Count the frames that arrive, whoever they are for.

    :param seconds: how long
    :param enough: stop as soon as so many were what the conditions say
    :param keep: how many of them to describe
    :returns: ``count`` of those that match, ``kinds`` of all, the first that match, and wrong checksums
    """
    ending = Ending(seconds)
    count = unsound = 0
    kinds: dict[str, int] = {}
    seen: list[dict[str, Any]] = []
    with Wire(interface, promiscuous=True) as wire:
        say_ready()
        while not ending.is_near and (enough is None or count < enough):
            for frame in wire.receive(time.monotonic() + 0.2):
                for kind in name_kinds(frame):
                    kinds[kind] = kinds.get(kind, 0) + 1
                if not matches(frame, conditions):
                    continue
                count += 1
                unsound += not frame.is_sound
                if len(seen) < keep:
                    seen.append({"kinds": name_kinds(frame), "sound": frame.is_sound,
                                 **{name.replace("-", "_"): get(frame) for name, get in FIELDS.items()}})  # fmt: skip
                if ending.is_near or (enough is not None and count >= enough):
                    break
    return {"count": count, "kinds": kinds, "bad_checksums": unsound, "frames": seen}
