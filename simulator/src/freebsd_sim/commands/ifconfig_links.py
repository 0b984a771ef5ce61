"""The parameters of ifconfig(8) for vlan and vxlan: before creation they are gathered, after it they change things."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable

from freebsd_sim.commands.ifconfig_run import Run, fail
from freebsd_sim.kernel import interface_vlans, interface_vxlans
from freebsd_sim.kernel.errors import KernelError

Word = tuple[int, Callable[[Run, str, list[str]], None]]


def _vlan_tag(run: Run, word: str, arguments: list[str]) -> None:
    try:
        value = int(arguments[0], 0)
    except ValueError:
        raise fail("invalid value for vlan") from None
    if not 0 <= value <= 0xFFFF:
        raise fail("value for vlan out of range")
    run.clone.tag = value
    _set_vlan(run)


def _vlan_parent(run: Run, word: str, arguments: list[str]) -> None:
    run.clone.device = arguments[0]
    _set_vlan(run)


def _vlan_protocol(run: Run, word: str, arguments: list[str]) -> None:
    names = {"802.1q": "802.1q", "dot1q": "802.1q", "802.1ad": "802.1ad", "qinq": "802.1ad"}
    if arguments[0].lower() not in names:
        raise fail("invalid value for vlanproto")
    run.clone.protocol = names[arguments[0].lower()]


def _set_vlan(run: Run) -> None:
    clone = run.clone
    found = next((item for item in run.interfaces.list(run.jail) if item.name == run.name), None)
    if found is None or found.vlan is None or clone.tag is None or not clone.device:
        return
    tag = clone.tag

    def change() -> None:
        parent = run.interfaces.get(run.jail, clone.device)
        interface_vlans.attach(run.interfaces, found, parent, tag, clone.protocol)

    run.attempt("SIOCSETVLAN", change)


def check_vlan(run: Run) -> None:
    """Refuse half a vlan: what ifconfig does at the end of each line."""
    if (run.clone.tag is not None) != bool(run.clone.device):
        raise fail("both vlan and vlandev must be specified")


def _vlan_detach(run: Run, word: str, arguments: list[str]) -> None:
    def change() -> None:
        interface = run.interface()
        if interface.vlan is None:
            raise KernelError("EINVAL")
        interface_vlans.detach(run.interfaces, interface)

    run.attempt("SIOCSETVLAN", change)


def _vxlan(run: Run, word: str, arguments: list[str]) -> None:
    text = arguments[0] if arguments else ""
    values: dict[str, object]
    if word == "vxlanid":
        if not text.isdigit() or int(text) >= interface_vxlans.VNI_LIMIT:
            raise fail(f"invalid network identifier: {text}")
        values = {"vni": int(text)}
    elif word in ("vxlanlocal", "vxlanremote", "vxlangroup"):
        try:
            address = ipaddress.ip_address(text)
        except ValueError:
            raise fail(f"error in parsing local address string: {text}") from None
        if word == "vxlangroup" and not address.is_multicast:
            raise fail("group address must be multicast")
        if word != "vxlangroup" and address.is_multicast:
            raise fail(f"{word.removeprefix('vxlan')} address cannot be multicast")
        values = {"local" if word == "vxlanlocal" else "remote": address}
    elif word in ("vxlanlocalport", "vxlanremoteport"):
        if not text.isdigit() or not 0 < int(text) < 65536:
            raise fail(f"invalid {word.removeprefix('vxlan').removesuffix('port')} port: {text}")
        values = {f"{word.removeprefix('vxlan').removesuffix('port')}_port": int(text)}
    elif word == "vxlandev":
        values = {"device": text}
    elif word == "vxlanttl":
        if not text.isdigit() or int(text) > 256:
            raise fail(f"invalid TTL value: {text}")
        values = {"ttl": int(text)}
    else:
        values = {"learning": word == "vxlanlearn"}
    run.clone.vxlan.update(values)
    found = next((item for item in run.interfaces.list(run.jail) if item.name == run.name), None)
    if found is not None:
        run.attempt(f"VXLAN_CMD {word}", lambda: interface_vxlans.configure(run.interfaces, found, values))


# Words that may come before the interface exists; how many arguments each takes, and its action.
CLONE_WORDS: dict[str, Word] = {
    "vlan": (1, _vlan_tag),
    "vlandev": (1, _vlan_parent),
    "vlanproto": (1, _vlan_protocol),
    **{
        word: (1, _vxlan)
        for word in ("vxlanid", "vxlanlocal", "vxlanremote", "vxlangroup", "vxlanlocalport", "vxlanremoteport",
                     "vxlandev", "vxlanttl")
    },
    "vxlanlearn": (0, _vxlan),
    "-vxlanlearn": (0, _vxlan),
}  # fmt: skip

LINK_WORDS: dict[str, Word] = {"-vlandev": (-1, _vlan_detach)}
