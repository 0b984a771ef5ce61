"""A guest that asks for an address again and again, to say when the first offer came. Linux, root.

Usage: python prober.py INTERFACE LIMIT      (with the tests' guest on PYTHONPATH)

Runs in the guest's network. Prints "ready", then for each line of standard
input sends DHCPDISCOVER every ``INTERVAL`` until there is an offer, and prints
a line of JSON: ``offer``, the time of the machine's monotonic clock, or null
after LIMIT seconds; ``address``; ``sent``, how many requests it took.
"""

from __future__ import annotations

import json
import os
import sys
import time
from typing import Any

from guest import link
from guest.dhcp4 import CLIENT_PORT, DISCOVER, OFFER, SERVER_PORT, build_message, parse_reply
from guest.frames import BROADCAST, ETH_IP, build_ethernet, build_udp

INTERVAL = 0.05  # seconds


def main() -> None:
    """Answer each line."""
    interface, limit = sys.argv[1], float(sys.argv[2])
    mac = link.raise_link(interface)
    with link.Wire(interface, ETH_IP) as wire:
        print("ready", flush=True)
        for _ in sys.stdin:
            print(json.dumps(discover(wire, mac, limit)), flush=True)


def discover(wire: link.Wire, mac: str, limit: float) -> dict[str, Any]:
    """Send requests until there is an offer."""
    number = int.from_bytes(os.urandom(4), "big")
    end, sent = time.monotonic() + limit, 0
    while time.monotonic() < end:
        packet = build_udp("0.0.0.0", CLIENT_PORT, "255.255.255.255", SERVER_PORT,
                           build_message(DISCOVER, mac, number, {}))  # fmt: skip
        wire.send(build_ethernet(BROADCAST, mac, ETH_IP, packet))
        sent += 1
        for frame in wire.receive(time.monotonic() + INTERVAL):
            reply = parse_reply(frame, mac, number)
            if reply is not None and reply.kind == OFFER:
                return {"offer": time.monotonic(), "address": reply.address, "sent": sent}
    return {"offer": None, "address": None, "sent": sent}


if __name__ == "__main__":
    main()
