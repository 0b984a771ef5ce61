"""The switch on FreeBSD: its datapath, ports that are dead or spoil frames, and the tunnels' address."""

from __future__ import annotations

from collections.abc import Iterator

from beastack.freebsd import interface
from beastack.site.doctor.answers import Object
from beastack.site.doctor.finding import Finding, bad, good
from beastack.site.doctor.view import View
from beastack.site.host import freebsd_switch, freebsd_underlay, freebsd_vswitchd, ovs

#: Open vSwitch reads at most this many bytes of a frame from a port (lib/netdev-bsd.c).
LONGEST_FRAME = 2048
#: A frame's header with one VLAN tag, in bytes.
FRAME_HEADER = 18
#: The flag that ovs-vswitchd sets on what it opens, and that an interface made anew under the name does not have.
OPENED = "PPROMISC"


def check_leftovers(view: View) -> Iterator[Finding]:
    """No tap that an earlier ovs-vswitchd left stands in the way of its bridges (lib/netdev-bsd.c)."""
    running = freebsd_vswitchd.find_running()
    names = [ovs.DATAPATH_PORT, *freebsd_switch.all_bridges(view.site)]
    # A tap tells who has it open; ifconfig without a word of that is of an older release.
    taps = [found for found in interface.list_interfaces() if found.name in names]
    left = [found.name for found in taps if not set(found.opened_by) & set(running)]
    if left and running and not any(found.opened_by for found in taps):
        left = []
    for name in left:
        seen = f"{name} is left of a switch that has ended: it keeps the bridges from coming up"
        yield bad("old taps", seen, f"ifconfig {name} destroy; {view.restart('ovs-vswitchd')}")
    if not left:
        yield good("old taps", "nothing is left of an earlier switch")


def check_dead_ports(view: View) -> Iterator[Finding]:
    """Every port that the switch has open is the interface of that name: one made anew since has no traffic."""
    # The rows first: a port that is added meanwhile is not looked at.
    opened = [row for row in view.interfaces.values() if _is_open(row)]
    flags = {found.name: found.flags for found in interface.list_interfaces()}
    dead = [row["name"] for row in opened if row["name"] not in flags or OPENED not in flags[row["name"]]]
    agent = view.services.get("neutron-ovs-agent", {})
    for name in dead:
        why = "was made anew" if name in flags else "is gone"
        seen = f"the interface of the port {name} {why} after the switch opened it: nothing passes"
        # The agent opens it again within seconds, unless it does not run.
        remedy = view.restart("neutron-ovs-agent") if agent else f"{view.vsctl('del-port', name)}; {view.redo}"
        yield bad("dead ports", seen, remedy)
    if not dead:
        yield good("dead ports", f"none of {len(opened)}")


def _is_open(row: Object) -> bool:
    return row["type"] in ("", "system") and isinstance(row["ofport"], int) and row["ofport"] > 0


def check_frames(view: View) -> Iterator[Finding]:
    """The switch gets frames with checksums, and whole."""
    wrong = 0
    for found in interface.list_interfaces():
        if found.name not in view.interfaces:
            continue
        if found.kind == "epair" and {"TXCSUM", "TXCSUM_IPV6"} & set(found.options.names):
            wrong += 1
            seen = f"{found.name} hands over frames without checksums: replies are lost"
            yield bad("checksums", seen, f"ifconfig {found.name} -txcsum -txcsum6")
        if found.mtu + FRAME_HEADER > LONGEST_FRAME:
            wrong += 1
            seen = f"{found.name} has MTU {found.mtu}: the switch cuts frames at {LONGEST_FRAME} bytes"
            yield bad("frames", seen, f"ifconfig {found.name} mtu {LONGEST_FRAME - FRAME_HEADER}")
    if not wrong:
        yield good("frames", f"{len(view.interfaces)} ports, none with offloads or longer frames than the switch reads")


def check_underlay(view: View) -> Iterator[Finding]:
    """The tunnels' address is where the switch tunnels from."""
    underlay = freebsd_switch.read_underlay(view.site)
    if underlay is None:
        yield good("tunnels", "to no other host")
    elif freebsd_underlay.has_address(underlay):
        yield good("tunnels", f"{underlay.bridge} has {underlay.address}")
    else:
        seen = f"{underlay.bridge} does not have {underlay.address}: no tunnel works"
        yield bad("tunnels", seen, f"ifconfig {underlay.bridge} inet {underlay.address} up")
