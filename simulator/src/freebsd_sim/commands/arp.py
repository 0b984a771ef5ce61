"""arp(8): show, add and delete entries of the ARP table."""

from __future__ import annotations

import ipaddress
import re
from typing import Any

from freebsd_sim.call import Call, CommandExit, NotSimulated
from freebsd_sim.commands.addresses import parse_ipv4
from freebsd_sim.commands.bsd_options import parse_options
from freebsd_sim.commands.libxo import format_document, take_style
from freebsd_sim.kernel.errors import KernelError, strerror
from freebsd_sim.kernel.neighbours import Neighbour, delete_neighbour, find_interface, list_neighbours, set_neighbour

USAGE = """\
usage: arp [-n] [-i interface] hostname
       arp [-n] [-i interface] -a
       arp -d hostname [pub]
       arp -d [-i interface] -a
       arp -s hostname ether_addr [temp] [reject | blackhole] [pub [only]]
       arp -S hostname ether_addr [temp] [reject | blackhole] [pub [only]]
       arp -f filename"""
XO_VERSION = "1"
TYPES = {"bridge": "bridge", "vlan": "vlan"}


def main(call: Call) -> int:
    """Run arp."""
    as_json = take_style(call)
    letters, operands = parse_options(call, "andfsSi:", USAGE)
    chosen = dict(letters)
    functions = [letter for letter, _ in letters if letter in "dfsS"]
    if len(functions) > 1:
        raise CommandExit(1, USAGE)
    function = functions[0] if functions else ""
    _check_interface(call, chosen, function)
    if function == "f":
        raise NotSimulated("arp: -f")
    if function in ("s", "S"):
        if not 2 <= len(operands) <= 6:
            raise CommandExit(1, USAGE)
        if function == "S":
            _delete(call, operands[0])
        return _set(call, operands)
    if function == "d":
        return _delete_all(call, chosen, operands) if "a" in chosen else _delete_one(call, operands)
    if ("a" in chosen and operands) or ("a" not in chosen and len(operands) != 1):
        raise CommandExit(1, USAGE)
    return _show(call, operands, chosen.get("i"), as_json)


def _check_interface(call: Call, chosen: dict[str, str], function: str) -> None:
    if "i" not in chosen:
        return
    if function and not (function == "d" and "a" in chosen):
        raise CommandExit(1, "arp: -i not applicable to this operation")
    try:
        call.kernel.interfaces.get(call.jail, chosen["i"])
    except KernelError:
        raise CommandExit(1, f"arp: interface {chosen['i']} does not exist") from None


def _parse_host(call: Call, text: str) -> ipaddress.IPv4Address | None:
    address = parse_ipv4(text)
    if address is None:
        call.err(f"arp: {text}: Unknown host\n")
    return address


# Showing


def _show(call: Call, operands: list[str], interface: str | None, as_json: bool) -> int:
    address = None
    if operands:
        address = _parse_host(call, operands[0])
        if address is None:
            return 1
    entries = [
        entry
        for entry in list_neighbours(call.kernel, call.jail, 4)
        if (interface is None or entry.interface.name == interface) and (address is None or entry.address == address)
    ]
    if as_json:
        call.out(format_document({"arp": {"arp-cache": [_describe(entry) for entry in entries]}}, XO_VERSION))
    else:
        call.out("".join(_format(entry) for entry in entries))
        if address is not None and not entries:
            call.out(f"{operands[0]} ({address}) -- no entry{f' on {interface}' if interface else ''}\n")
    return 0 if entries or address is None else 1


def _describe(entry: Neighbour) -> dict[str, Any]:
    item: dict[str, Any] = {"hostname": "?", "ip-address": str(entry.address)}
    item |= {"mac-address": entry.mac} if entry.mac else {"incomplete": True}
    item["interface"] = entry.interface.name
    if entry.expires is None:
        item["permanent"] = True
    elif entry.expires > 0:
        item["expires"] = entry.expires
    else:
        item["expired"] = True
    return item | {"type": TYPES.get(entry.interface.kind, "ethernet")}


def _format(entry: Neighbour) -> str:
    text = f"? ({entry.address}) at {entry.mac or '(incomplete)'} on {entry.interface.name}"
    if entry.expires is None:
        text += " permanent"
    else:
        text += f" expires in {entry.expires} seconds" if entry.expires > 0 else " expired"
    return f"{text} [{TYPES.get(entry.interface.kind, 'ethernet')}]\n"


# Changing


def _set(call: Call, operands: list[str]) -> int:
    host, mac, *words = operands
    address = _parse_host(call, host)
    if address is None:
        return 1
    permanent = True
    for word in words:
        if word == "temp":
            permanent = False
        elif word in ("pub", "only", "blackhole", "reject"):
            raise NotSimulated(f"arp: the word {word}")
        else:
            raise CommandExit(1, f"arp: Invalid parameter '{word}'\n{USAGE}")
    parts = mac.split(":")
    if len(parts) != 6 or not all(re.fullmatch("[0-9a-fA-F]{1,2}", part) for part in parts):
        call.err(f"arp: invalid Ethernet address '{mac}'\n")
        return 1
    with call.kernel.lock:
        interface = find_interface(call.kernel, call.jail, address)
        if interface is None:
            call.err(f"arp: set: cannot locate {host}\n")
            return 0
        try:
            if not call.is_root:
                raise KernelError("EPERM")
            full = ":".join(f"{int(part, 16):02x}" for part in parts)
            set_neighbour(call.kernel, call.jail, interface, address, full, permanent=permanent)
        except KernelError as error:
            call.err(f"arp: set {host}: {strerror(error.name)}\n")
            return 1
    return 0


def _delete_one(call: Call, operands: list[str]) -> int:
    if not operands or len(operands) > 2:
        raise CommandExit(1, USAGE)
    if len(operands) == 2:
        raise NotSimulated("arp: -d with pub")
    return _delete(call, operands[0])


def _delete(call: Call, host: str) -> int:
    address = _parse_host(call, host)
    if address is None:
        return 1
    with call.kernel.lock:
        interface = find_interface(call.kernel, call.jail, address)
        if interface is None:
            call.err(f"arp: delete: cannot locate {host}\n")
            return 0
        try:
            if not call.is_root:
                raise KernelError("EPERM")
            delete_neighbour(call.kernel, call.jail, interface, address)
        except KernelError as error:
            call.err(f"arp: delete {host}: {strerror(error.name)}\n")
            return 1
    call.out(f"{host} ({address}) deleted\n")
    return 0


def _delete_all(call: Call, chosen: dict[str, str], operands: list[str]) -> int:
    if operands:
        raise CommandExit(1, USAGE)
    for entry in list_neighbours(call.kernel, call.jail, 4):
        if not entry.own and chosen.get("i", entry.interface.name) == entry.interface.name:
            _delete(call, str(entry.address))
    return 0
