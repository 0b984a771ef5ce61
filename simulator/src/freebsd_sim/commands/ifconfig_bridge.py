"""The parameters of ifconfig(8) that are about bridges, with bridge(4)'s limits."""

from __future__ import annotations

import re
from collections.abc import Callable

from freebsd_sim.call import NotSimulated
from freebsd_sim.commands.ifconfig_run import Run, fail
from freebsd_sim.kernel import interface_bridges
from freebsd_sim.kernel.errors import KernelError
from freebsd_sim.kernel.interface_model import (
    MEMBER_AUTOEDGE,
    MEMBER_AUTOPTP,
    MEMBER_DISCOVER,
    MEMBER_EDGE,
    MEMBER_LEARNING,
    MEMBER_PRIVATE,
    MEMBER_PTP,
    MEMBER_SPAN,
    MEMBER_STICKY,
    MEMBER_STP,
    Bridge,
    Member,
)

Action = Callable[[Run, str, list[str]], None]
VLAN_RANGE = range(1, 4095)


def _number(text: str, limit: int) -> int:
    """Read a number as strtoul(3) with any base does, up to a limit."""
    try:
        if re.fullmatch(r"0[0-7]+", text):
            value = int(text, 8)
        else:
            value = int(text, 0)
    except ValueError:
        raise fail(f"invalid value: {text}") from None
    if not 0 <= value <= limit:
        raise fail(f"invalid value: {text}")
    return value


def _mac(text: str, before: str) -> str:
    if not re.fullmatch(r"[0-9a-fA-F]{1,2}(:[0-9a-fA-F]{1,2}){5}", text):
        raise fail(f"{before}invalid address: {text}")
    return ":".join(f"{int(part, 16):02x}" for part in text.split(":"))


def _add_member(run: Run, word: str, arguments: list[str]) -> None:
    name = arguments[0]
    run.attempt(f"BRDGADD {name}", lambda: interface_bridges.add_member(run.interfaces, run.interface(), name))


def _delete_member(run: Run, word: str, arguments: list[str]) -> None:
    name = arguments[0]
    run.attempt(f"BRDGDEL {name}", lambda: interface_bridges.delete_member(run.interfaces, run.interface(), name))


def _member_flag(flag: int, value: bool) -> Action:
    def action(run: Run, word: str, arguments: list[str]) -> None:
        name = arguments[0]
        run.attempt(
            "unable to get bridge flags", lambda: interface_bridges.find_member(run.interface(), name), root=False
        )
        run.attempt(
            "unable to set bridge flags",
            lambda: interface_bridges.set_member_flags(run.interfaces, run.interface(), name, flag, value),
        )

    return action


def _span(run: Run, word: str, arguments: list[str]) -> None:
    raise NotSimulated("ifconfig: span ports of a bridge")


def _flush(run: Run, word: str, arguments: list[str]) -> None:
    everything = word == "flushall"
    run.attempt("BRDGFLUSH", lambda: interface_bridges.flush(run.interfaces, run.interface(), everything))


def _recent(run: Run) -> bool:
    return run.call.kernel.release.at_least(15)


def _static(run: Run, word: str, arguments: list[str]) -> None:
    name = arguments[0]
    mac = _mac(arguments[1], f"{name}: ")
    label = "BRDGSADDR" if _recent(run) else f"BRDGSADDR {name}"
    run.attempt(label, lambda: interface_bridges.add_static(run.interfaces, run.interface(), name, mac))


def _delete_address(run: Run, word: str, arguments: list[str]) -> None:
    mac = _mac(arguments[0], "")
    label = "BRDGDADDR" if _recent(run) else f"BRDGDADDR {arguments[0]}"
    run.attempt(label, lambda: interface_bridges.delete_address(run.interfaces, run.interface(), mac))


def _addresses(run: Run, word: str, arguments: list[str]) -> None:
    found = run.attempt(
        "unable to get address cache",
        lambda: interface_bridges.list_addresses(run.interfaces, run.interface()),
        root=False,
    )
    for mac, member, expire, static in found:
        flags = "1<STATIC>" if static else "0<>"
        run.call.out(f"{mac} Vlan0 {member.name} {expire} flags={flags}\n")


def _parameter(label: str, field: str, limit: int, low: int = 0, high: int | None = None) -> Action:
    """Make the action of a word that sets a number of the bridge; outside of low..high the kernel refuses."""

    def action(run: Run, word: str, arguments: list[str]) -> None:
        value = _number(arguments[0], limit)

        def change() -> None:
            bridge: Bridge = interface_bridges.bridge_of(run.interface())
            if value < low or (high is not None and value > high):
                raise KernelError("EINVAL")
            setattr(bridge, field, value)

        run.attempt(f"{label} {arguments[0]}", change)

    return action


def _timeout(run: Run, word: str, arguments: list[str]) -> None:
    value = _number(arguments[0], 0xFFFFFFFF)
    run.attempt(
        f"BRDGSTO {arguments[0]}", lambda: interface_bridges.set_timeout(run.interfaces, run.interface(), value)
    )


def _protocol(run: Run, word: str, arguments: list[str]) -> None:
    name = arguments[0].lower()
    if name not in ("stp", "rstp"):
        raise fail("unknown stp protocol")

    def change() -> None:
        interface_bridges.bridge_of(run.interface()).protocol = name

    run.attempt(f"BRDGSPROTO {arguments[0]}", change)


def _member_parameter(label: str, field: str, limit: int) -> Action:
    def action(run: Run, word: str, arguments: list[str]) -> None:
        value = _number(arguments[1], limit)

        def change() -> None:
            member: Member = interface_bridges.find_member(run.interface(), arguments[0])
            setattr(member, field, value)

        run.attempt(f"{label} {arguments[1]}", change)

    return action


def parse_vlans(text: str) -> set[int] | None:
    """Return the VLANs of a set such as 1,5-9, none or all; None when it is none."""
    if text == "none":
        return set()
    if text == "all":
        return set(VLAN_RANGE)
    found: set[int] = set()
    for item in text.split(","):
        numbers = re.fullmatch(r"(\d+)(?:-(\d+))?", item)
        if numbers is None:
            return None
        first, last = int(numbers[1]), int(numbers[2] or numbers[1])
        if first not in VLAN_RANGE or last not in VLAN_RANGE or last < first:
            return None
        found.update(range(first, last + 1))
    return found


def _vlan_word(run: Run, word: str, arguments: list[str]) -> None:
    """Check what the words of VLAN filtering are given; no bridge here filters, so none can be used."""
    if not _recent(run):
        run.take_address(word)
        return
    if word in ("vlanfilter", "defuntagged", "defqinq"):
        if word == "defuntagged":
            _check_vlan(arguments[0])
        raise NotSimulated("ifconfig: VLAN filtering in a bridge")
    if word == "ifuntagged":
        _check_vlan(arguments[1])
    if word.endswith("iftagged") and parse_vlans(arguments[1]) is None:
        raise fail(f"invalid vlan set: {arguments[1]}")
    if word == "ifvlanproto" and arguments[1].lower() not in ("802.1q", "802.1ad"):
        raise fail(f"invalid vlan protocol: {arguments[1]}")
    labels = {
        "ifuntagged": f"BRDGSIFPVID {arguments[-1]}" if arguments else "",
        "-ifuntagged": "BRDGSIFPVID",
    }
    if word.endswith("iftagged"):
        label = f"BRDGSIFVLANSET {arguments[1]}"
    else:
        label = labels.get(word, "unable to set bridge flags")

    def change() -> None:
        bridge = interface_bridges.bridge_of(run.interface())
        if word in ("-vlanfilter", "-defuntagged", "-defqinq"):
            return
        if not any(member.interface.name == arguments[0] for member in bridge.members):
            raise KernelError("ENOENT")
        # The kernel wants vlanfilter first.
        raise KernelError("EINVAL")

    run.attempt(label, change)


def _check_vlan(text: str) -> None:
    if not re.fullmatch(r"\d+|0[xX][0-9a-fA-F]+", text) or int(text, 0) not in VLAN_RANGE:
        raise fail(f"invalid VLAN identifier: {text}")


BRIDGE_WORDS: dict[str, tuple[int, Action]] = {
    "addm": (1, _add_member),
    "deletem": (1, _delete_member),
    "span": (1, _span),
    "-span": (1, _span),
    "flush": (0, _flush),
    "flushall": (0, _flush),
    "static": (2, _static),
    "deladdr": (1, _delete_address),
    "addr": (0, _addresses),
    "maxaddr": (1, _parameter("BRDGSCACHE", "max_addresses", 0xFFFFFFFF)),
    "hellotime": (1, _parameter("BRDGSHT", "hellotime", 0xFF, 1, 2)),
    "fwddelay": (1, _parameter("BRDGSFD", "fwddelay", 0xFF, 4, 30)),
    "maxage": (1, _parameter("BRDGSMA", "maxage", 0xFF, 6, 40)),
    "priority": (1, _parameter("BRDGSPRI", "priority", 0xFFFF, 0, 61440)),
    "proto": (1, _protocol),
    "holdcnt": (1, _parameter("BRDGSTXHC", "holdcount", 0xFF, 1, 10)),
    "ifpriority": (2, _member_parameter("BRDGSIFPRIO", "priority", 0xFF)),
    "ifpathcost": (2, _member_parameter("BRDGSIFCOST", "path_cost", 200000000)),
    "ifmaxaddr": (2, _member_parameter("BRDGSIFAMAX", "max_addresses", 0xFFFFFFFF)),
    "timeout": (1, _timeout),
    "vlanfilter": (0, _vlan_word),
    "-vlanfilter": (0, _vlan_word),
    "ifuntagged": (2, _vlan_word),
    "-ifuntagged": (1, _vlan_word),
    "iftagged": (2, _vlan_word),
    "+iftagged": (2, _vlan_word),
    "-iftagged": (2, _vlan_word),
    "qinq": (1, _vlan_word),
    "-qinq": (1, _vlan_word),
    "ifvlanproto": (2, _vlan_word),
    "defuntagged": (1, _vlan_word),
    "-defuntagged": (0, _vlan_word),
    "defqinq": (0, _vlan_word),
    "-defqinq": (0, _vlan_word),
}

for _word, _flag in {
    "discover": MEMBER_DISCOVER, "learn": MEMBER_LEARNING, "sticky": MEMBER_STICKY, "stp": MEMBER_STP,
    "edge": MEMBER_EDGE, "autoedge": MEMBER_AUTOEDGE, "ptp": MEMBER_PTP, "autoptp": MEMBER_AUTOPTP,
    "private": MEMBER_PRIVATE,
}.items():  # fmt: skip
    BRIDGE_WORDS[_word] = (1, _member_flag(_flag, True))
    BRIDGE_WORDS[f"-{_word}"] = (1, _member_flag(_flag, False))

__all__ = ["BRIDGE_WORDS", "MEMBER_SPAN", "parse_vlans"]
