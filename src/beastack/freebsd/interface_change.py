"""Changing, moving and destroying network interfaces with ifconfig(8).

A batch of changes to one interface is one ``Settings`` and one invocation.
ifconfig works through its words from left to right and has no transaction: on
an error, what stood before it stays applied.
"""

from __future__ import annotations

import ipaddress
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass

from beastack.freebsd.errors import InterfaceBusy, InterfaceExists, InterfaceNotFound
from beastack.freebsd.interface_read import list_names, read_interface
from beastack.freebsd.interface_run import check_name, check_new_name, ifconfig

AnyAddress = str | ipaddress.IPv4Address | ipaddress.IPv6Address
AnyInterfaceAddress = str | ipaddress.IPv4Interface | ipaddress.IPv6Interface

#: Seconds to wait for the program that has a tap open, and for one destroy.
CLOSE_WAIT = 10.0
DESTROY_TIMEOUT = 30.0
_POLL_INTERVAL = 0.1

_OFFLOADS = "rxcsum txcsum rxcsum6 txcsum6 tso tso4 tso6 lro vlanmtu vlanhwtag vlanhwfilter vlanhwcsum vlanhwtso toe"
_FLAGS = "promisc link0 link1 link2 arp debug monitor staticarp"
_IPV6 = (
    "accept_rtadv auto_linklocal defaultif ifdisabled no_dad no_prefer_iface no_radr nud stableaddr "
    "autoconf deprecated prefer_source"
)


def _with_opposites(words: str) -> frozenset[str]:
    return frozenset(sign + word for word in words.split() for sign in ("", "-"))


#: Words without an argument that Settings take: offloads and interface flags, and those of IPv6.
WORDS = _with_opposites(f"{_OFFLOADS} {_FLAGS}")
INET6_WORDS = _with_opposites(_IPV6) | {"anycast"}


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What is to be changed on one interface in one invocation; None leaves a thing as it is.

    :param mtu: bytes; not on a member of a bridge: set the bridge's
    :param mac: ``02:00:00:00:00:01`` or ``random``
    :param description: an empty one takes it away
    :param groups_add: group names: at most 15 bytes, no digit at the end
    :param words: of ``WORDS``, such as ``-txcsum`` and ``-txcsum6``
    :param inet6_words: of ``INET6_WORDS``, such as ``-ifdisabled`` and ``no_dad``
    :param address: added as an alias; for more about it see ``add_address``

    One invocation serves one address family. A MAC, an IPv4 address, and an
    IPv6 address or IPv6 words are each a family: no two of them go into one
    Settings (ValueError from ``arguments``).
    """

    up: bool | None = None
    mtu: int | None = None
    mac: str | None = None
    description: str | None = None
    groups_add: Sequence[str] = ()
    groups_remove: Sequence[str] = ()
    fib: int | None = None
    words: Sequence[str] = ()
    inet6_words: Sequence[str] = ()
    address: AnyInterfaceAddress | None = None

    def arguments(self) -> list[str]:
        """Return the words for ifconfig, in the order in which it must have them."""
        return [*self.family_arguments(), *self.description_arguments(), *self.plain_arguments()]

    def family_arguments(self) -> list[str]:
        """Return what names an address family: it must stand right after the interface's name."""
        families = []
        if self.mac is not None:
            families.append(["ether", check_mac(self.mac)])
        if self.address is not None and ipaddress.ip_interface(self.address).version == 4:
            families.append(_address_arguments(self.address))
        elif self.address is not None:
            families.append(_address_arguments(self.address, words=self.inet6_words))
        if self.inet6_words and (self.address is None or ipaddress.ip_interface(self.address).version == 4):
            families.append(["inet6", *_check_words(self.inet6_words, INET6_WORDS)])
        if len(families) > 1:
            raise ValueError("a MAC, IPv4 and IPv6 cannot be set in one invocation of ifconfig")
        return families[0] if families else []

    def description_arguments(self) -> list[str]:
        """Return the words that set or take away the description."""
        if self.description is None:
            return []
        if not self.description:
            return ["-descr"]
        if not self.description.isprintable():
            raise ValueError(f"a description is one printable line: {self.description!r}")
        return ["descr", self.description]

    def plain_arguments(self) -> list[str]:
        """Return the words that may stand anywhere; the state comes last."""
        words: list[str] = []
        for group in self.groups_add:
            words += ["group", group]
        for group in self.groups_remove:
            words += ["-group", group]
        if self.fib is not None:
            words += ["fib", str(self.fib)]
        if self.mtu is not None:
            words += ["mtu", str(self.mtu)]
        words += _check_words(self.words, WORDS)
        if self.up is not None:
            words.append("up" if self.up else "down")
        return words


#: Changes nothing.
NO_SETTINGS = Settings()


def change_interface(name: str, settings: Settings, *, jail: str | None = None) -> None:
    """Apply a batch of changes in one invocation; nothing is run for an empty batch.

    :raises ValueError: a value that ifconfig would misunderstand
    :raises InterfaceNotFound: it is not there
    :raises InterfaceBusy: an MTU for a member of a bridge
    :raises InvalidArgument: the host refuses a value
    :raises AddressExists: another interface has a route to the address's prefix
    """
    if arguments := settings.arguments():
        ifconfig(check_name(name), *arguments, jail=jail)


def set_up(name: str, *, jail: str | None = None) -> None:
    """Bring an interface up. A bridge does not raise its members, nor an epair its other half."""
    change_interface(name, Settings(up=True), jail=jail)


def set_down(name: str, *, jail: str | None = None) -> None:
    """Take an interface down."""
    change_interface(name, Settings(up=False), jail=jail)


def rename_interface(name: str, new_name: str, *, jail: str | None = None) -> None:
    """Give an interface another name; to the name it has is a success.

    It keeps its unit, group and driver name. A renamed tap keeps /dev/tapN and
    gets /dev/NEW_NAME beside it, as far as the kernel can (sys/net/if_tuntap.c).

    :raises ValueError: the name is too long or not usable
    :raises InterfaceExists: the name is taken
    :raises InterfaceNotFound: it is not there
    """
    ifconfig(check_name(name), "name", check_new_name(new_name), jail=jail)


def add_address(
    name: str,
    address: AnyInterfaceAddress,
    *,
    jail: str | None = None,
    broadcast: AnyAddress | None = None,
    destination: AnyAddress | None = None,
    words: Sequence[str] = (),
) -> None:
    """Add an IPv4 or IPv6 address; those that are there stay (``alias``).

    Adding an IPv4 address again to the same interface replaces it. Where
    IFDISABLED stands among the nd6 options, as on fresh and moved interfaces,
    give ``-ifdisabled`` with an IPv6 address.

    :param address: with its prefix length, ``10.0.0.1/24``
    :param broadcast: IPv4 only; without it, the prefix's
    :param destination: the far end, for a point to point interface
    :param words: for an IPv6 address, of ``INET6_WORDS``, such as ``no_dad``
    :raises InterfaceNotFound: it is not there
    :raises AddressExists: another interface has a route to the prefix
    :raises InvalidArgument: on 15, also for a member of a bridge
    """
    arguments = _address_arguments(address, broadcast=broadcast, destination=destination, words=words)
    ifconfig(check_name(name), *arguments, jail=jail)


def remove_address(name: str, address: AnyInterfaceAddress, *, jail: str | None = None) -> None:
    """Remove an address.

    :raises InterfaceNotFound: the interface is not there
    :raises AddressNotFound: it does not have that address
    """
    parsed = ipaddress.ip_interface(address)
    if parsed.version == 4:
        ifconfig(check_name(name), "inet", str(parsed.ip), "-alias", jail=jail)
    else:
        ifconfig(check_name(name), "inet6", str(parsed), "-alias", jail=jail)


def move_to_jail(name: str, target: str, *, jail: str | None = None) -> None:
    """Move an interface into a jail.

    It arrives down, without addresses, routes, groups (but its driver's) and
    bridge membership; MAC, MTU, name, description and index stay. When the
    jail ends, it comes home by itself, once nothing holds the jail any more.

    :param target: name or number; a jail below the one it is moved from
    :param jail: where the interface is now
    :raises InterfaceNotFound: it is not there
    :raises InterfaceExists: the target has an interface of that name
    :raises JailNotFound: there is no such jail, or not below this one
    :raises JailDying: the target is ending
    """
    ifconfig(check_name(name), "vnet", target, jail=jail)


def return_from_jail(name: str, source: str, *, jail: str | None = None) -> None:
    """Bring an interface back out of a jail; it arrives as ``move_to_jail`` says.

    The kernel does not look whether the name is taken on the way back, and two
    interfaces would have one name: it is looked for here first.

    :param jail: the jail that receives it; None is this host
    :raises InterfaceExists: the receiving side has an interface of that name
    :raises InterfaceNotFound: it is not in that jail
    :raises JailNotFound: there is no such jail
    """
    if name in list_names(jail):
        argv = ("ifconfig", name, "-vnet", source)
        raise InterfaceExists(argv, None, "", f"{name} of jail {source} cannot come back: the name is taken")
    ifconfig(check_name(name), "-vnet", source, jail=jail)


def find_name_clashes(source: str, *, jail: str | None = None) -> tuple[str, ...]:
    """Return the names that both a jail and the place it returns its interfaces to have.

    To look at before a jail is removed. Interfaces that were made inside the
    jail are destroyed with it and do no harm, but cannot be told from here;
    lo0, which every jail has, is left out.
    """
    return tuple(sorted((set(list_names(source)) & set(list_names(jail))) - {"lo0"}))


def destroy_interface(
    name: str, *, jail: str | None = None, wait: float = CLOSE_WAIT, missing_ok: bool = False
) -> None:
    """Destroy a cloned interface; with a half of an epair goes the other, wherever it is.

    A tap that a program has open is not destroyed: the kernel would wait for
    its close with a lock held, and every later destroy, and the removal of
    jails, behind it, beyond the reach of a kill (sys/net/if_tuntap.c).

    :param wait: seconds to wait until it is closed
    :param missing_ok: that it is not there is no error
    :raises InterfaceBusy: it is still open
    :raises InterfaceNotFound: it is not there
    :raises InvalidArgument: it is not a cloned interface
    """
    try:
        _wait_until_closed(name, jail, wait)
        ifconfig(name, "destroy", jail=jail, timeout=DESTROY_TIMEOUT)
    except InterfaceNotFound:
        if not missing_ok:
            raise


def _wait_until_closed(name: str, jail: str | None, wait: float) -> None:
    deadline = time.monotonic() + wait
    while holders := read_interface(name, jail).opened_by:
        if time.monotonic() >= deadline:
            pids = ", ".join(str(pid) for pid in holders)
            said = f"{name} is not destroyed: process {pids} still had it open after {wait:g} s"
            raise InterfaceBusy(("ifconfig", name, "destroy"), None, "", said)
        time.sleep(_POLL_INTERVAL)


def _address_arguments(
    address: AnyInterfaceAddress,
    *,
    broadcast: AnyAddress | None = None,
    destination: AnyAddress | None = None,
    words: Sequence[str] = (),
) -> list[str]:
    parsed = ipaddress.ip_interface(address)
    far = [] if destination is None else [str(ipaddress.ip_address(destination))]
    if parsed.version == 6:
        if broadcast is not None:
            raise ValueError("an IPv6 address has no broadcast address")
        return ["inet6", str(parsed), *far, *_check_words(words, INET6_WORDS), "alias"]
    if words:
        raise ValueError("these words are for IPv6 addresses only")
    shout = [] if broadcast is None else ["broadcast", str(ipaddress.IPv4Address(broadcast))]
    return ["inet", str(parsed), *far, *shout, "alias"]


def _check_words(words: Sequence[str], known: frozenset[str]) -> list[str]:
    # ifconfig takes a word that it does not know for a host name, and asks the resolver.
    for word in words:
        if word not in known:
            raise ValueError(f"ifconfig has no word {word!r} here")
    return list(words)


def check_mac(mac: str) -> str:
    if mac != "random" and not re.fullmatch(r"([0-9A-Fa-f]{1,2}:){5}[0-9A-Fa-f]{1,2}", mac):
        raise ValueError(f"{mac!r} is not a MAC address")
    return mac
