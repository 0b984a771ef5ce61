"""What doctor looks at on a FreeBSD host: interfaces, jails, and the causes of "the guest has no network" there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from beastack.freebsd import interface, jail, kld, process, sysctl
from beastack.freebsd.errors import JailNotFound, SysctlNotFound
from beastack.site.configuration import Site
from beastack.site.host import freebsd_switch, freebsd_underlay

#: What was looked at, whether it is well, what was seen, and what to do.
Seen = tuple[str, bool, str, str]

#: Open vSwitch reads at most this many bytes of a frame from a port (lib/netdev-bsd.c).
LONGEST_FRAME = 2048
#: A frame's header with one VLAN tag, in bytes.
FRAME_HEADER = 18


def list_links() -> list[tuple[str, frozenset[str], tuple[str, ...]]]:
    """Return name, flags as ip(8) would name them, and addresses with prefix of every interface of the host."""
    links = []
    for found in interface.list_interfaces():
        flags = {name for name in ("UP",) if found.is_up}
        # A tap that nothing has open, and half of a pair whose other half is down, have no carrier.
        if found.status != "no carrier":
            flags.add("LOWER_UP")
        addresses = tuple(f"{item.address}/{item.prefix_length}" for item in found.addresses)
        links.append((found.name, frozenset(flags), addresses))
    return links


def list_jails() -> dict[str, int | None]:
    """Return the number of each jail with a network stack, by its name."""
    return {found.name: found.jid for found in jail.list_jails()}


def programs_in(name: str) -> list[str]:
    """Return the names of the programs that run in a jail; none if it is gone."""
    try:
        found = process.list_jailed(name)
    except JailNotFound:
        return []
    return [Path(each.arguments.split()[0].rstrip(":")).name for each in found if each.arguments.split()]


def examine(site: Site) -> Iterator[Seen]:
    """Look for what takes the network from guests on FreeBSD alone."""
    yield from _examine_kernel()
    yield from _examine_interfaces(site)
    yield from _examine_underlay(site)


def _examine_kernel() -> Iterator[Seen]:
    missing = [name for name in freebsd_switch.MODULES if not kld.is_loaded(name)]
    if missing:
        yield (
            "modules",
            False,
            f"{missing[0]} is not loaded: no {missing[0].removeprefix('if_')} can be made",
            (f"kldload {missing[0]}"),
        )
    else:
        yield "modules", True, "what interfaces need is loaded", ""
    if _read("security.jail.jailed") and not _read("security.jail.children.max"):
        yield (
            "jails",
            False,
            "this host is a jail that may have no jails of its own",
            ("jail -m name=NAME children.max=1000, on the machine around it"),
        )
    if kld.is_loaded("ipfw") and not _read("net.inet.ip.fw.default_to_accept"):
        yield (
            "ipfw",
            False,
            "ipfw denies everything in each new jail: no DHCP, no metadata",
            ("net.inet.ip.fw.default_to_accept=1 in /boot/loader.conf, then reboot; or kldunload ipfw"),
        )


def _read(name: str) -> int:
    try:
        return sysctl.read_integer(name)
    except SysctlNotFound:
        return 0


def _examine_interfaces(site: Site) -> Iterator[Seen]:
    ports = set(freebsd_switch.vsctl(site, "--no-wait", "--bare", "--columns=name", "list", "Interface").split())
    wrong = 0
    for found in interface.list_interfaces():
        if found.name not in ports:
            continue
        if found.kind == "epair" and {"TXCSUM", "TXCSUM_IPV6"} & set(found.options.names):
            wrong += 1
            yield (
                "checksums",
                False,
                f"{found.name} hands over frames without checksums: replies are lost",
                (f"ifconfig {found.name} -txcsum -txcsum6"),
            )
        if found.mtu + FRAME_HEADER > LONGEST_FRAME:
            wrong += 1
            seen = f"{found.name} has MTU {found.mtu}: the switch cuts frames at {LONGEST_FRAME} bytes"
            yield "frames", False, seen, f"ifconfig {found.name} mtu {LONGEST_FRAME - FRAME_HEADER}"
    if not wrong:
        yield "ports of the switch", True, f"{len(ports)}, none with offloads or long frames", ""


def _examine_underlay(site: Site) -> Iterator[Seen]:
    underlay = freebsd_switch.read_underlay(site)
    if underlay is None:
        return
    if freebsd_underlay.has_address(underlay):
        yield "tunnels", True, f"{underlay.bridge} has {underlay.address}", ""
    else:
        yield (
            "tunnels",
            False,
            f"{underlay.bridge} does not have {underlay.address}: no tunnel works",
            (f"ifconfig {underlay.bridge} inet {underlay.address} up"),
        )
