"""Bridges: members, what members may do, the address table (ifconfig(8), bridge(4))."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from beastack.freebsd.interface_change import check_mac
from beastack.freebsd.interface_run import check_name, ifconfig


@dataclass(frozen=True, kw_only=True)
class MemberSettings:
    """What a bridge does with a member; None leaves a thing as it is.

    ``private`` members exchange nothing with each other. ``untagged`` and
    ``tagged`` (VLAN identifiers) are of FreeBSD 15; on 14 they raise
    InvalidArgument. An empty ``tagged`` admits no tagged frame.
    """

    private: bool | None = None
    discover: bool | None = None
    learn: bool | None = None
    sticky: bool | None = None
    stp: bool | None = None
    edge: bool | None = None
    auto_edge: bool | None = None
    point_to_point: bool | None = None
    auto_point_to_point: bool | None = None
    max_addresses: int | None = None
    path_cost: int | None = None
    priority: int | None = None
    untagged: int | None = None
    tagged: Collection[int] | None = None

    def arguments(self, member: str, *, joining: bool = False) -> list[str]:
        """Return the words for ifconfig; a joining member's VLANs are said with ``addm``."""
        words: list[str] = ["addm", member] if joining else []
        if self.untagged is not None:
            words += ["untagged", str(self.untagged)] if joining else ["ifuntagged", member, str(self.untagged)]
        if self.tagged is not None:
            tags = format_vlan_set(self.tagged)
            words += ["tagged", tags] if joining else ["iftagged", member, tags]
        for word, wanted in (
            ("private", self.private),
            ("discover", self.discover),
            ("learn", self.learn),
            ("sticky", self.sticky),
            ("stp", self.stp),
            ("edge", self.edge),
            ("autoedge", self.auto_edge),
            ("ptp", self.point_to_point),
            ("autoptp", self.auto_point_to_point),
        ):
            if wanted is not None:
                words += [word if wanted else f"-{word}", member]
        for word, number in (
            ("ifmaxaddr", self.max_addresses),
            ("ifpathcost", self.path_cost),
            ("ifpriority", self.priority),
        ):
            if number is not None:
                words += [word, member, str(number)]
        return words


NO_MEMBER_SETTINGS = MemberSettings()


def add_member(
    bridge: str, member: str, settings: MemberSettings = NO_MEMBER_SETTINGS, *, jail: str | None = None
) -> None:
    """Make an interface a member of a bridge, and set what it may do, in one invocation.

    The member's MTU becomes the bridge's, or the other way round for the first
    one. Neither is brought up by this, and both must be up to carry frames.

    :raises InterfaceNotFound: the bridge or the member is not there
    :raises MemberExists: it is a member of this bridge already
    :raises InterfaceBusy: it is a member of another bridge
    :raises InvalidArgument: it cannot be a member; on 15, also because it has an address
    """
    ifconfig(check_name(bridge), *settings.arguments(check_name(member), joining=True), jail=jail)


def delete_member(bridge: str, member: str, *, jail: str | None = None) -> None:
    """Take an interface out of a bridge.

    :raises InterfaceNotFound: the bridge is not there
    :raises MemberNotFound: it is not a member
    """
    ifconfig(check_name(bridge), "deletem", check_name(member), jail=jail)


def change_member(bridge: str, member: str, settings: MemberSettings, *, jail: str | None = None) -> None:
    """Change what a member may do, in one invocation; nothing is run for empty settings.

    :raises InterfaceNotFound: the bridge is not there
    :raises MemberNotFound: it is not a member
    """
    if arguments := settings.arguments(check_name(member)):
        ifconfig(check_name(bridge), *arguments, jail=jail)


def change_bridge(
    bridge: str,
    *,
    max_addresses: int | None = None,
    timeout: int | None = None,
    vlan_filter: bool | None = None,
    default_untagged: int | None = None,
    jail: str | None = None,
) -> None:
    """Change a bridge's own parameters, in one invocation.

    :param max_addresses: size of the address table
    :param timeout: seconds that a learned address is kept
    :param vlan_filter: FreeBSD 15 only
    :param default_untagged: the VLAN of members that have none said; 0 is no such VLAN; 15 only
    :raises InterfaceNotFound: the bridge is not there
    """
    words: list[str] = []
    if max_addresses is not None:
        words += ["maxaddr", str(max_addresses)]
    if timeout is not None:
        words += ["timeout", str(timeout)]
    if vlan_filter is not None:
        words.append("vlanfilter" if vlan_filter else "-vlanfilter")
    if default_untagged is not None:
        words += ["defuntagged", str(default_untagged)] if default_untagged else ["-defuntagged"]
    if words:
        ifconfig(check_name(bridge), *words, jail=jail)


def add_bridge_address(bridge: str, member: str, mac: str, *, vlan: int | None = None, jail: str | None = None) -> None:
    """Put a static address into a bridge's table.

    :param vlan: FreeBSD 15 only
    :raises MemberNotFound: the interface is not a member
    """
    words = ["static", check_name(member), check_mac(mac)]
    ifconfig(check_name(bridge), *words, *_vlan_arguments(vlan), jail=jail)


def delete_bridge_address(bridge: str, mac: str, *, vlan: int | None = None, jail: str | None = None) -> None:
    """Take an address out of a bridge's table.

    :raises AddressNotFound: it is not in the table
    """
    ifconfig(check_name(bridge), "deladdr", check_mac(mac), *_vlan_arguments(vlan), jail=jail)


def flush_bridge(bridge: str, *, static: bool = False, jail: str | None = None) -> None:
    """Forget the learned addresses of a bridge, with ``static`` also those that were put in."""
    ifconfig(check_name(bridge), "flushall" if static else "flush", jail=jail)


def format_vlan_set(tags: Collection[int]) -> str:
    """Return VLAN identifiers as ifconfig takes a set: ``1,5-9``, or ``none``."""
    parts: list[tuple[int, int]] = []
    for tag in sorted(set(tags)):
        if parts and parts[-1][1] == tag - 1:
            parts[-1] = (parts[-1][0], tag)
        else:
            parts.append((tag, tag))
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in parts) or "none"


def _vlan_arguments(vlan: int | None) -> list[str]:
    return [] if vlan is None else ["vlan", str(vlan)]
