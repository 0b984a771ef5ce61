"""The program behind libvirt's hook ``bhyve``: takes a guest's ports out of the switch when its taps are gone.

libvirt runs it as ``HOOK NAME OPERATION SUBOPERATION -`` with the guest's XML
on standard input, at every stop, and also when the guest restarts itself or is
started again without nova: then libvirt makes new taps of the same names, adds
them with ``--may-exist`` and finds the ports still there, but dead. Between
this program and that lies what cures them: a switch without the port.

It must not ask libvirt anything, which waits for it, and must be quick; it
imports the standard library only and is run by its path with ``python3 -IS``.
It never fails: a stop cannot be stopped.

Usage: libvirt_hook.py [--db DATABASE] NAME OPERATION SUBOPERATION EXTRA < XML
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Sequence

#: When the taps have been destroyed. The second is for a guest that did not come to run.
AFTER = (("stopped", "end"), ("release", "end"))

#: Guests' taps as nova names them; ports of other names are somebody else's.
TAP = re.compile(r"tap[0-9a-f]{8}-[0-9a-f]{2}")

#: A text of attributes of one element; the XML is libvirt's own, and flat in this respect.
INTERFACE = re.compile(r"<interface\b.*?</interface>", re.DOTALL)
TARGET = re.compile(r"<target\b[^>]*\bdev=(['\"])(?P<name>[^'\"]*)\1")
SWITCH = re.compile(r"<virtualport\b[^>]*\btype=(['\"])openvswitch\1")

PROGRAM = "ovs-vsctl"
SEARCH_PATH = "/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin"
TIMEOUT = 5  # seconds; ovs-vswitchd may be away, and then has nothing open
XML_LIMIT = 1 << 20


def find_taps(xml: str) -> list[str]:
    """Return the taps of a guest's interfaces in Open vSwitch."""
    found = []
    for interface in INTERFACE.findall(xml):
        target = TARGET.search(interface)
        if SWITCH.search(interface) and target and TAP.fullmatch(target["name"]):
            found.append(target["name"])
    return found


def build_command(taps: Sequence[str], database: str | None) -> list[str]:
    """Return the command that takes the ports out, and waits until ovs-vswitchd has done so."""
    words = [PROGRAM, f"--timeout={TIMEOUT}", *([f"--db={database}"] if database else [])]
    for tap in taps:
        words += ["--", "--if-exists", "del-port", tap]
    return words


def main(arguments: Sequence[str]) -> int:
    """Return 0, whatever came of it."""
    words = list(arguments)
    database = None
    if words[:1] == ["--db"]:
        database, words = words[1], words[2:]
    if len(words) < 3 or tuple(words[1:3]) not in AFTER:
        return 0
    taps = find_taps(sys.stdin.read(XML_LIMIT))
    if taps:
        try:
            subprocess.run(
                build_command(taps, database), env={**os.environ, "PATH": SEARCH_PATH}, stdin=subprocess.DEVNULL,
                timeout=TIMEOUT + 1, check=True,
            )  # fmt: skip
        except (OSError, subprocess.SubprocessError) as error:
            print(f"beastack: ports of {words[0]} were not taken out: {error}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
