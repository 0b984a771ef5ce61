"""The guest's interface: its address on the wire, raw frames, and what ip(8) sets on it."""

from __future__ import annotations

import json
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from guest.frames import Frame, FrameError, parse_frame

ETH_ALL = 3
# linux/if_packet.h
SOL_PACKET, ADD_MEMBERSHIP, MR_PROMISCUOUS = 263, 1, 1
OUTGOING = 4
ADDRESS_LIMIT = 10.0  # seconds for duplicate address detection, which takes one to two

Found = TypeVar("Found")


class GuestError(Exception):
    """What the guest was to do did not come about; the text says why."""


def run_ip(*arguments: str) -> str:
    """Run ip(8) and return what it prints.

    :raises GuestError: it refused
    """
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True)
    if done.returncode != 0:
        raise GuestError(f"ip {' '.join(arguments)}: {done.stderr.strip()}")
    return done.stdout


def read_link(interface: str) -> dict[str, Any]:
    """Return what ip(8) says of an interface, addresses among it."""
    found: list[dict[str, Any]] = json.loads(run_ip("-j", "address", "show", "dev", interface))
    return found[0]


def raise_link(interface: str) -> str:
    """Set the interface up and return its MAC address."""
    run_ip("link", "set", "dev", interface, "up")
    return str(read_link(interface)["address"])


def write_setting(interface: str, name: str, value: str) -> None:
    """Write one of the interface's IPv6 settings below /proc/sys."""
    Path(f"/proc/sys/net/ipv6/conf/{interface}/{name}").write_text(value)


def wait_for_address(interface: str, address: str) -> None:
    """Wait until an IPv6 address is known to be nobody else's.

    :raises GuestError: somebody else has it, or there is no verdict in time
    """
    deadline = time.monotonic() + ADDRESS_LIMIT
    while True:
        state = next((item for item in read_link(interface)["addr_info"] if item["local"] == address), None)
        if state is None or state.get("dadfailed"):
            raise GuestError(f"{address} is taken by somebody else")
        if not state.get("tentative"):
            return
        if time.monotonic() > deadline:
            raise GuestError(f"{address} is still tentative after {ADDRESS_LIMIT:g} s")
        time.sleep(0.1)


class Wire:
    """A raw socket on an interface; ``kind`` is the type of frames to receive, every type by default."""

    def __init__(self, interface: str, kind: int = ETH_ALL, *, promiscuous: bool = False) -> None:
        self.socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(kind))
        self.socket.bind((interface, kind))
        if promiscuous:
            index = socket.if_nametoindex(interface)
            request = index.to_bytes(4, "little") + MR_PROMISCUOUS.to_bytes(2, "little") + bytes(10)
            self.socket.setsockopt(SOL_PACKET, ADD_MEMBERSHIP, request)

    def __enter__(self) -> Wire:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, frame: bytes) -> None:
        """Send a frame as it is."""
        self.socket.send(frame)

    def receive(self, deadline: float) -> Iterator[Frame]:
        """Give the frames that arrive until a time of the monotonic clock."""
        while True:
            left = deadline - time.monotonic()
            if left <= 0:
                return
            self.socket.settimeout(left)
            try:
                data, origin = self.socket.recvfrom(65535)
            except TimeoutError:
                return
            if origin[2] == OUTGOING:
                continue
            try:
                yield parse_frame(data)
            except FrameError:
                continue

    def ask(
        self, build: Callable[[float], bytes], recognise: Callable[[Frame], Found | None], limit: float
    ) -> Found | None:
        """Send a request until something recognises its answer; the pauses grow from one second to four.

        :param build: makes the frame anew for each try, from the seconds since the first
        :returns: what ``recognise`` made of the answer, None when there is none in time
        """
        start = time.monotonic()
        pause = 1.0
        while (now := time.monotonic()) < start + limit:
            self.send(build(now - start))
            for frame in self.receive(min(now + pause, start + limit)):
                found = recognise(frame)
                if found is not None:
                    return found
            pause = min(pause * 2, 4.0)
        return None
