"""sockstat(1): the open TCP and UDP sockets of a vnet. UNIX sockets are refused, and left out of the plain listing."""

from __future__ import annotations

import ipaddress
import os
import struct
from dataclasses import dataclass
from typing import Any

from freebsd_sim.call import Call, CommandExit, NotSimulated
from freebsd_sim.commands.bsd_options import parse_options
from freebsd_sim.commands.libxo import format_document, take_style
from freebsd_sim.kernel.accounts import Accounts
from freebsd_sim.kernel.errors import KernelError
from freebsd_sim.kernel.jails import Jail

USAGE = "usage: sockstat [-46ACcfIiLlnqSsUuvw] [-j jid] [-p ports] [-P protocols]"
XO_VERSION = "1"
STATES = {
    1: "ESTABLISHED", 2: "SYN_SENT", 3: "SYN_RCVD", 4: "FIN_WAIT_1", 5: "FIN_WAIT_2", 6: "TIME_WAIT", 7: "CLOSED",
    8: "CLOSE_WAIT", 9: "LAST_ACK", 10: "LISTEN", 11: "CLOSING",
}  # fmt: skip
LISTEN = 10
PROTOCOLS = ("tcp", "udp")
SILENT_PROTOCOLS = ("udplite", "sctp", "divert")  # known to the program, never in use here


@dataclass
class Socket:
    """A line of /proc/net/{tcp,udp}; port 0 stands for none."""

    protocol: str
    version: int
    local: tuple[str, int]
    foreign: tuple[str, int]
    state: int
    inode: int

    @property
    def is_listening(self) -> bool:
        """Whether sockstat counts it as listening: no foreign address."""
        return self.foreign[1] == 0 and self.foreign[0] == "*"


@dataclass
class Holder:
    """A descriptor of a process that refers to a socket."""

    uid: int
    command: str
    pid: int
    descriptor: int


def main(call: Call) -> int:
    """Run sockstat."""
    as_json = take_style(call)
    letters, operands = parse_options(call, "46ACcfIij:Llnp:P:qSsUuvw", USAGE)
    chosen = dict(letters)
    if operands:
        raise CommandExit(1, USAGE)
    for letter in chosen:
        if letter in "ACfIiSUu":
            raise NotSimulated(f"sockstat: -{letter}")
    jail = _find_jail(call, chosen.get("j"))
    protocols = _parse_protocols(chosen.get("P"))
    ports = _parse_ports(chosen.get("p"))
    versions = [version for version in (4, 6) if str(version) in chosen] or [4, 6]
    sockets = []
    for socket in jail.network.stack.run(read_sockets):
        if socket.protocol not in protocols or socket.version not in versions:
            continue
        if "l" in chosen and "c" not in chosen and not socket.is_listening:
            continue
        if "c" in chosen and "l" not in chosen and socket.is_listening:
            continue
        if "L" in chosen and any(address.startswith(("127.", "::1")) for address, _ in (socket.local, socket.foreign)):
            continue
        if ports and not ports & {socket.local[1], socket.foreign[1]}:
            continue
        sockets.append(socket)
    rows = _join(sockets, _find_holders({socket.inode for socket in sockets if socket.inode}))
    accounts = Accounts.of_root(call.kernel.root)
    if as_json:
        items = [_describe(accounts, socket, holder, chosen) for socket, holder in rows]
        call.out(format_document({"sockstat": {"socket": items}}, XO_VERSION))
        return 0
    if "q" not in chosen:
        call.out(_format_heading(chosen))
    call.out("".join(_format(accounts, socket, holder, chosen) for socket, holder in rows))
    return 0


def _find_jail(call: Call, name: str | None) -> Jail:
    if name is None:
        return call.jail
    try:
        return call.kernel.jails.get(name, call.jail)
    except KernelError as error:
        raise CommandExit(1, f"sockstat: jail_getid: {error.text}") from None


def _parse_protocols(text: str | None) -> list[str]:
    if text is None:
        return list(PROTOCOLS)
    names = text.split(",")
    for name in names:
        if name not in PROTOCOLS and name not in SILENT_PROTOCOLS:
            raise CommandExit(1, f"sockstat: getprotobyname: {name}")
    return names


def _parse_ports(text: str | None) -> set[int]:
    ports: set[int] = set()
    for part in (text or "").split(",") if text else ():
        first, dash, last = part.partition("-")
        if not first.isdigit() or (dash and not last.isdigit()):
            raise CommandExit(1, "sockstat: syntax error in port range")
        ports |= set(range(int(first), int(last if dash else first) + 1))
    return ports


# Linux


def read_sockets() -> list[Socket]:
    """Return the TCP and UDP sockets of the stack that the calling thread is in."""
    found = []
    for protocol in PROTOCOLS:
        for version in (4, 6):
            name = protocol if version == 4 else f"{protocol}6"
            try:
                with open(f"/proc/thread-self/net/{name}") as file:
                    lines = file.read().splitlines()[1:]
            except FileNotFoundError:
                continue
            for line in lines:
                words = line.split()
                found.append(
                    Socket(protocol, version, _decode(words[1]), _decode(words[2]), int(words[3], 16), int(words[9]))
                )
    return found


def _decode(text: str) -> tuple[str, int]:
    digits, _, port = text.partition(":")
    raw = b"".join(struct.pack("=I", int(digits[i : i + 8], 16)) for i in range(0, len(digits), 8))
    address = ipaddress.ip_address(raw)
    return "*" if int(address) == 0 else str(address), int(port, 16)


def _find_holders(inodes: set[int]) -> dict[int, list[Holder]]:
    holders: dict[int, list[Holder]] = {}
    for entry in sorted((int(name) for name in os.listdir("/proc") if name.isdigit()), reverse=True):
        try:
            uid = os.stat(f"/proc/{entry}").st_uid
            for descriptor in sorted(int(name) for name in os.listdir(f"/proc/{entry}/fd")):
                target = os.readlink(f"/proc/{entry}/fd/{descriptor}")
                if target.startswith("socket:[") and int(target[8:-1]) in inodes:
                    with open(f"/proc/{entry}/comm") as file:
                        command = file.read().rstrip("\n")
                    holders.setdefault(int(target[8:-1]), []).append(Holder(uid, command, entry, descriptor))
        except OSError:
            continue  # it has just ended
    return holders


def _join(sockets: list[Socket], holders: dict[int, list[Holder]]) -> list[tuple[Socket, Holder | None]]:
    held = [(socket, holder) for socket in sockets for holder in holders.get(socket.inode, ())]
    held.sort(key=lambda row: (-row[1].pid, row[1].descriptor))
    return [*held, *((socket, None) for socket in sockets if socket.inode not in holders)]


# Output


def _format_heading(chosen: dict[str, str]) -> str:
    width = 45 if "w" in chosen else 21
    text = f"{'USER':<8} {'COMMAND':<10} {'PID':<5} {'FD':<3} {'PROTO':<6} "
    text += f"{'LOCAL ADDRESS':<{width}} {'FOREIGN ADDRESS':<{width}}"
    return text + (f" {'PATH STATE':<12} {'CONN STATE':<12}" if "s" in chosen else "") + "\n"


def _format_place(place: tuple[str, int]) -> str:
    return f"{place[0]}:{place[1] or '*'}"


def _format(accounts: Accounts, socket: Socket, holder: Holder | None, chosen: dict[str, str]) -> str:
    width = 46 if "w" in chosen else 22
    if holder is None:
        text = f"{'?':<8} {'?':<10} {'?':<5} {'?':<2} "
    else:
        user = str(holder.uid) if "n" in chosen else accounts.user_name(holder.uid)
        text = f"{f'{user} ':<9}{holder.command[:10]}"
        text = f"{f'{text:<20}{holder.pid:5d} ':<26}{holder.descriptor:<3d} "
    text = f"{text:<30}{socket.protocol}{socket.version} "
    text = f"{text:<37}{_format_place(socket.local)}"
    if socket.version == 6 and len(text) >= 58:
        text += " "
    text = f"{text:<{37 + width}}{_format_place(socket.foreign)}"
    if "s" in chosen and socket.protocol == "tcp":
        text = f"{text:<{37 + 2 * width + 13}}{STATES.get(socket.state, '?')}"
    return text + "\n"


def _describe(accounts: Accounts, socket: Socket, holder: Holder | None, chosen: dict[str, str]) -> dict[str, Any]:
    item: dict[str, Any] = {}
    if holder is not None:
        user = str(holder.uid) if "n" in chosen else accounts.user_name(holder.uid)
        item = {"user": user, "command": holder.command, "pid": holder.pid, "fd": holder.descriptor}
    item["proto"] = f"{socket.protocol}{socket.version}"
    for name, place in (("local", socket.local), ("foreign", socket.foreign)):
        item[name] = {"address": place[0], "port": place[1] or "*"}
    if "s" in chosen and socket.protocol == "tcp":
        item["conn-state"] = STATES.get(socket.state, "?")
    return item
