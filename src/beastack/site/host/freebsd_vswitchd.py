"""Starts ovs-vswitchd on FreeBSD: removes what an earlier one left, and gives its bridges back what they lost.

ovs-vswitchd does not remove the taps behind its bridges when it ends, and
cannot use their names when it starts: a leftover ``ovs-netdev`` keeps every
bridge down. And the bridges' taps lose their addresses with it. The
supervisor runs this program in its place, at every start.

``python -m beastack.site.host.freebsd_vswitchd FILE``, FILE being JSON:
``argv`` (of ovs-vswitchd), ``leftovers`` (names of interfaces), ``underlay``
(see ``freebsd_underlay``; null for none).
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from beastack.freebsd import interface, process
from beastack.freebsd.command import CommandError
from beastack.site.host import freebsd_underlay
from beastack.site.host.freebsd_underlay import Underlay

PROGRAM = "ovs-vswitchd"
#: Seconds until the bridges must be there.
LIMIT = 60.0
INTERVAL = 0.1


def find_running() -> list[int]:
    """Return the pids of every ovs-vswitchd on this host."""
    found = []
    for each in process.list_processes():
        words = each.arguments.split()
        if words and Path(words[0].rstrip(":")).name == PROGRAM:
            found.append(each.pid)
    return found


def remove_leftovers(names: Sequence[str]) -> None:
    """Remove taps that an ovs-vswitchd left; nothing is done while one runs.

    Destroying a tap that is open would wait for its end, with every later
    destroy behind it (sys/net/if_tuntap.c).

    :raises CommandError: one cannot be destroyed
    """
    if find_running():
        return
    present = set(interface.list_names())
    for name in names:
        if name in present:
            interface.destroy_interface(name, missing_ok=True)


def restore_underlay(underlay: Underlay, limit: float = LIMIT) -> None:
    """Wait until the switch has made the bridge, then give it its address and routes.

    :raises TimeoutError: the switch did not make it in time
    """
    until = time.monotonic() + limit
    while interface.find_interface(underlay.bridge) is None:
        if time.monotonic() > until:
            raise TimeoutError(f"ovs-vswitchd did not make {underlay.bridge} in {limit:.0f} s")
        time.sleep(INTERVAL)
    freebsd_underlay.give_to_bridge(underlay)


def main(file: str) -> None:
    """Prepare, then become ovs-vswitchd."""
    settings: dict[str, Any] = json.loads(Path(file).read_text())
    remove_leftovers(settings["leftovers"])
    if settings["underlay"] is not None and os.fork() == 0:
        status = 1
        try:
            restore_underlay(Underlay(**settings["underlay"]))
            status = 0
        except (CommandError, TimeoutError) as error:
            sys.stderr.write(f"beastack: the tunnels' address is not set: {error}\n")
            sys.stderr.flush()
        finally:
            os._exit(status)
    os.execv(settings["argv"][0], settings["argv"])


if __name__ == "__main__":
    main(sys.argv[1])
