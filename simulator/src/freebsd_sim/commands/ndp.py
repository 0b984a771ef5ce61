"""ndp(8): show, add and delete entries of the neighbour discovery table."""

from __future__ import annotations

import re
from typing import Any

from freebsd_sim.call import Call, CommandExit, NotSimulated
from freebsd_sim.commands.addresses import format_scoped, parse_ipv6
from freebsd_sim.commands.bsd_options import parse_options
from freebsd_sim.commands.libxo import format_document, take_style
from freebsd_sim.kernel.errors import KernelError, strerror
from freebsd_sim.kernel.interface_model import Interface
from freebsd_sim.kernel.neighbours import Neighbour, delete_neighbour, find_interface, list_neighbours, set_neighbour
from freebsd_sim.kernel.routes import Host

USAGE = """\
usage: ndp [-nt] hostname
       ndp [-nt] -a | -c | -p | -r | -H | -P | -R
       ndp [-nt] -A wait
       ndp [-nt] -d hostname
       ndp [-nt] -f filename
       ndp [-nt] -i interface [flags...]
       ndp [-nt] -I [interface|delete]
       ndp [-nt] -s nodename ether_addr [temp] [proxy]"""
XO_VERSION = "1"
# Column widths of usr.sbin/ndp/ndp.h.
ADDRESS_WIDTH = 36
MAC_WIDTH = 17
NAME_WIDTH = 6


def main(call: Call) -> int:
    """Run ndp."""
    as_json = take_style(call)
    letters, operands = parse_options(call, "acd:f:Ii:nprstA:HPR", USAGE)
    modes = [(letter, argument) for letter, argument in letters if letter not in "nt"]
    if len(modes) > 1:
        raise CommandExit(1, USAGE)
    mode, argument = modes[0] if modes else ("", "")
    if "t" in dict(letters) or mode in tuple("fIipAHPR"):
        raise NotSimulated(f"ndp: -{mode or 't'}")
    if mode in tuple("acdr") and operands:
        raise CommandExit(1, USAGE)
    if mode == "s":
        if not 2 <= len(operands) <= 4:
            raise CommandExit(1, USAGE)
        return _set(call, operands)
    if mode == "d":
        return _delete(call, argument, as_json)
    if mode == "c":
        return _clear(call)
    if mode == "r":
        # No advertisements are simulated: the list of routers is empty.
        call.out(format_document({"ndp": {}}, XO_VERSION) if as_json else "")
        return 0
    if mode == "" and len(operands) != 1:
        raise CommandExit(1, USAGE)
    return _show(call, operands, as_json)


def _parse_host(call: Call, text: str) -> tuple[Host, Interface | None] | None:
    found = parse_ipv6(call, call.jail, text)
    if found is None:
        call.err(f"ndp: {text}: Name does not resolve\n")
    return found


def _name_of(entry: Neighbour) -> str:
    link_local = entry.address.is_link_local
    return format_scoped(entry.address, entry.interface if link_local else None)


# Showing


def _show(call: Call, operands: list[str], as_json: bool) -> int:
    entries = list_neighbours(call.kernel, call.jail, 6)
    if operands:
        found = _parse_host(call, operands[0])
        if found is None:
            return 0
        entries = [entry for entry in entries if entry.address == found[0] and found[1] in (None, entry.interface)]
    if as_json:
        call.out(format_document({"ndp": {"neighbor-cache": [_describe(entry) for entry in entries]}}, XO_VERSION))
    else:
        call.out(
            f"{'Neighbor':<{ADDRESS_WIDTH}} {'Linklayer Address':<{MAC_WIDTH}} {'Netif':>{NAME_WIDTH}} "
            f"{'Expire':<9} S Flags\n"
        )
        call.out("".join(_format(entry) for entry in entries))
    if operands and not entries:
        raise CommandExit(1, f"ndp: {operands[0]} ({operands[0]}) -- no entry")
    return 0


def _describe(entry: Neighbour) -> dict[str, Any]:
    item: dict[str, Any] = {
        "address": _name_of(entry),
        "mac-address": entry.mac or "(incomplete)",
        "interface": entry.interface.name,
    }
    item |= {"permanent": True} if entry.expires is None else {"expires_sec": entry.expires}
    return item | {"neighbor-state": entry.state, "nd-flags": "R" if entry.router else ""}


def _format(entry: Neighbour) -> str:
    name, mac = _name_of(entry), entry.mac or "(incomplete)"
    address_width = max(len(name), ADDRESS_WIDTH)
    mac_width = max(len(mac), ADDRESS_WIDTH + MAC_WIDTH - address_width)
    rest = ADDRESS_WIDTH + MAC_WIDTH + NAME_WIDTH - address_width - mac_width
    name_width = max(len(entry.interface.name), rest)
    if entry.expires is None:
        expire = "permanent"
    else:
        expire = format_seconds(entry.expires) if entry.expires > 0 else "expired"
    return (
        f"{name:<{address_width}} {mac:<{mac_width}} {entry.interface.name:>{name_width}} "
        f"{expire:<9.9} {entry.state} {'R' if entry.router else ''}\n"
    )


def format_seconds(total: int) -> str:
    """Return a time as sec2str() of the program prints it: 23h59m58s."""
    days, rest = divmod(total, 86400)
    hours, rest = divmod(rest, 3600)
    minutes, seconds = divmod(rest, 60)
    text = ""
    for number, letter in ((days, "d"), (hours, "h"), (minutes, "m")):
        if number or text:
            text += f"{number}{letter}"
    return f"{text}{seconds}s"


# Changing


def _set(call: Call, operands: list[str]) -> int:
    host, mac, *words = operands
    found = _parse_host(call, host)
    if found is None:
        return 1
    for word in words:
        if word.startswith("proxy"):
            raise NotSimulated("ndp: the word proxy")
    parts = mac.split(":")
    if len(parts) != 6 or not all(re.fullmatch("[0-9a-fA-F]{1,2}", part) for part in parts):
        call.err(f"ndp: invalid ethernet address: {mac}\n")
        return 1
    with call.kernel.lock:
        interface = find_interface(call.kernel, call.jail, *found)
        if interface is None:
            call.err(f"ndp: delete: cannot locate {host}\n")
            return 0
        try:
            if not call.is_root:
                raise KernelError("EPERM")
            full = ":".join(f"{int(part, 16):02x}" for part in parts)
            set_neighbour(call.kernel, call.jail, interface, found[0], full, permanent="temp" not in words)
        except KernelError as error:
            call.err(f"ndp: set {host}: {strerror(error.name)}\n")
            return 1
    return 0


def _delete(call: Call, host: str, as_json: bool = False) -> int:
    found = _parse_host(call, host)
    if found is None:
        return 1
    with call.kernel.lock:
        interface = find_interface(call.kernel, call.jail, *found)
        if interface is None:
            call.err(f"ndp: delete: cannot locate {host}\n")
            return 0
        try:
            if not call.is_root:
                raise KernelError("EPERM")
            delete_neighbour(call.kernel, call.jail, interface, found[0])
        except KernelError as error:
            call.err(f"ndp: delete {host}: {strerror(error.name)}\n")
            return 1
    item = {"hostname": host, "address": str(found[0]), "interface": interface.name}
    call.out(
        format_document({"ndp": {"neighbor-cache": [item]}}, XO_VERSION) if as_json else f"{host} ({host}) deleted\n"
    )
    return 0


def _clear(call: Call) -> int:
    for entry in list_neighbours(call.kernel, call.jail, 6):
        if not entry.own:
            _delete(call, _name_of(entry))
    return 0
