"""The parameters of ifconfig(8): each word, how many arguments it takes and what it does."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable

from freebsd_sim.call import NotSimulated
from freebsd_sim.commands.ifconfig_bridge import BRIDGE_WORDS
from freebsd_sim.commands.ifconfig_links import CLONE_WORDS, LINK_WORDS
from freebsd_sim.commands.ifconfig_run import Run, fail
from freebsd_sim.kernel import interface_addresses
from freebsd_sim.kernel.errors import KernelError
from freebsd_sim.kernel.interface_model import (
    CAPABILITY_WORDS,
    IFF_DEBUG,
    IFF_LINK0,
    IFF_LINK1,
    IFF_LINK2,
    IFF_MONITOR,
    IFF_NOARP,
    IFF_PPROMISC,
    IFF_STATICARP,
    IFF_STICKYARP,
    NAME_LIMIT,
    ND6_WORDS,
)

# A word's action gets the run, the word itself and its arguments.
Action = Callable[[Run, str, list[str]], None]
Word = tuple[int, Action]  # how many arguments, and the action

MTU_NUMBER = re.compile(r"\s*([+-]?\d+)")


def _number(text: str) -> int:
    """Read a number as atoi(3) does."""
    found = MTU_NUMBER.match(text)
    return int(found.group(1)) if found else 0


def _set_state(run: Run, word: str, arguments: list[str]) -> None:
    def change() -> None:
        interface = run.interface()
        (run.interfaces.set_up if word == "up" else run.interfaces.set_down)(interface)

    run.attempt_plain(word, change)


def _flag(flag: int, value: bool) -> Action:
    def action(run: Run, word: str, arguments: list[str]) -> None:
        run.attempt_plain(word, lambda: run.interfaces.set_flag(run.interface(), flag, value))

    return action


def _capability(mask: int, value: bool) -> Action:
    def action(run: Run, word: str, arguments: list[str]) -> None:
        interface = run.attempt_plain("ioctl (SIOCGIFCAP)", run.interface, root=False)
        wanted = (interface.enabled | mask if value else interface.enabled & ~mask) & interface.capabilities
        if wanted != interface.enabled:
            run.attempt_plain(word, lambda: run.interfaces.set_capabilities(interface, wanted))

    return action


def _nd6(flag: int, value: bool) -> Action:
    def action(run: Run, word: str, arguments: list[str]) -> None:
        def change() -> None:
            interface = run.interface()
            wanted = interface.nd6 | flag if value else interface.nd6 & ~flag
            interface_addresses.set_nd6(run.interfaces, interface, wanted)

        run.attempt("ioctl(SIOCSIFINFO_IN6)", change)

    return action


def _address_word(text: str, value: bool) -> Action:
    def action(run: Run, word: str, arguments: list[str]) -> None:
        if run.family != "inet6":
            raise fail("address flags can be set only for inet6 addresses")
        if value and text not in run.words:
            run.words.append(text)
        if not value and text in run.words:
            run.words.remove(text)

    return action


def _lifetime(run: Run, word: str, arguments: list[str]) -> None:
    if run.family != "inet6":
        raise fail(f"{word} not allowed for the AF")
    if not arguments[0].isdigit():
        raise fail(f"invalid {word}")
    setattr(run, word, int(arguments[0]))


def _eui64(run: Run, word: str, arguments: list[str]) -> None:
    if run.family != "inet6":
        raise fail(f"{word} not allowed for the AF")
    if run.address is None or int(run.address) & ((1 << 64) - 1):
        raise fail("interface index is already filled")
    local = next((item for item in run.interface().addresses if item.is_link_local), None)
    if local is None:
        raise fail("could not determine link local address")
    run.address = ipaddress.IPv6Address(int(run.address) | int(local.address) & ((1 << 64) - 1))


def _description(run: Run, word: str, arguments: list[str]) -> None:
    def change() -> None:
        run.interface().description = arguments[0] if arguments else ""

    run.attempt("ioctl SIOCSIFDESCR (set descr)", change)


def _name(run: Run, word: str, arguments: list[str]) -> None:
    run.attempt("ioctl SIOCSIFNAME (set name)", lambda: run.interfaces.rename(run.interface(), arguments[0]))
    run.use_name(arguments[0])


def _mtu(run: Run, word: str, arguments: list[str]) -> None:
    run.attempt("ioctl SIOCSIFMTU (set mtu)", lambda: run.interfaces.set_mtu(run.interface(), _number(arguments[0])))


def _metric(run: Run, word: str, arguments: list[str]) -> None:
    def change() -> None:
        run.interface().metric = _number(arguments[0])

    run.attempt("ioctl SIOCSIFMETRIC (set metric)", change)


def _fib(run: Run, word: str, arguments: list[str]) -> None:
    if not arguments[0].isdigit():
        run.warn(f"fib {arguments[0]} not valid")
        return
    if int(arguments[0]) >= run.interfaces.read_sysctl(run.jail, "net.fibs", 1):
        run.warn("ioctl (SIOCSIFFIB): Invalid argument")
        return

    def change() -> None:
        interface = run.interface()
        if word == "fib":
            interface.fib = int(arguments[0])
        else:
            interface.tunnel_fib = int(arguments[0])

    run.attempt("ioctl (SIOCSIFFIB)", change)


def _group(run: Run, word: str, arguments: list[str]) -> None:
    name = arguments[0]
    caller = "setifgroup" if word == "group" else "unsetifgroup"
    if name[-1:].isdigit():
        raise fail(f"{caller}: group names may not end in a digit")
    if len(name) > NAME_LIMIT:
        raise fail(f"{caller}: group name too long")

    def add() -> None:
        groups = run.interface().groups
        if name in groups:
            raise KernelError("EEXIST")
        groups.append(name)

    def remove() -> None:
        groups = run.interface().groups
        if name not in groups:
            raise KernelError("ENOENT")
        groups.remove(name)

    if word == "group":
        run.attempt(" SIOCAIFGROUP", add)
    else:
        run.attempt("SIOCDIFGROUP", remove)


def _vnet(run: Run, word: str, arguments: list[str]) -> None:
    jails = run.call.kernel.jails
    try:
        jail = jails.get(arguments[0], run.jail)
    except KernelError as error:
        raise fail(error.text) from error
    if word == "vnet":
        run.attempt("SIOCSIFVNET", lambda: run.interfaces.move(run.interface(), jail))
        return

    def fetch() -> None:
        run.interfaces.move(run.interfaces.get(jail, run.name), run.jail, False)

    run.attempt(f"SIOCSIFRVNET({jail.jid}, {run.name})", fetch)


def _destroy(run: Run, word: str, arguments: list[str]) -> None:
    run.attempt("SIOCIFDESTROY", lambda: run.interfaces.destroy(run.interface()))


def create(run: Run) -> None:
    """Create the interface that the run names, with what the cloner's words gathered."""
    asked, clone = run.name, run.clone
    parameters: dict[str, object] = {}
    if asked.rstrip("0123456789") == "vlan" and (clone.tag is not None or clone.device):
        if clone.tag is None:
            raise fail("must specify a tag for vlan create")
        if not clone.device:
            raise fail("must specify a parent device for vlan create")
        parameters = {"tag": clone.tag, "protocol": clone.protocol}
    if asked.rstrip("0123456789") == "vxlan":
        parameters = dict(clone.vxlan)

    def make() -> str:
        if "tag" in parameters:
            parameters["parent"] = run.interfaces.get(run.jail, clone.device)
        return run.interfaces.create(run.jail, asked, **parameters).name

    try:
        made = run.attempt(f"SIOCIFCREATE2 ({asked})", make)
    except Exception as error:
        cause = error.__cause__
        if isinstance(cause, KernelError) and cause.name == "EEXIST":
            raise fail(f"interface {asked} already exists") from cause
        raise
    if made != asked:
        run.use_name(made)


def _refused(run: Run, word: str, arguments: list[str]) -> None:
    raise NotSimulated(f"ifconfig: the word {word}")


# How many arguments each word takes (-1: one if there is one), and its action.
WORDS: dict[str, Word] = {
    "up": (0, _set_state),
    "down": (0, _set_state),
    "arp": (0, _flag(IFF_NOARP, False)),
    "-arp": (0, _flag(IFF_NOARP, True)),
    "description": (1, _description),
    "descr": (1, _description),
    "-description": (0, _description),
    "-descr": (0, _description),
    "add": (0, lambda run, word, arguments: run.note_alias(1)),
    "alias": (0, lambda run, word, arguments: run.note_alias(1)),
    "-alias": (0, lambda run, word, arguments: run.note_alias(-1)),
    "delete": (0, lambda run, word, arguments: run.note_alias(-1)),
    "remove": (0, lambda run, word, arguments: run.note_alias(-1)),
    "netmask": (1, lambda run, word, arguments: run.take_netmask(arguments[0])),
    "broadcast": (1, lambda run, word, arguments: run.take_broadcast(arguments[0])),
    "prefixlen": (1, lambda run, word, arguments: run.take_prefixlen(arguments[0])),
    "metric": (1, _metric),
    "mtu": (1, _mtu),
    "name": (1, _name),
    "vnet": (1, _vnet),
    "-vnet": (1, _vnet),
    "fib": (1, _fib),
    "tunnelfib": (1, _fib),
    "group": (1, _group),
    "-group": (1, _group),
    "destroy": (0, _destroy),
    "unplumb": (0, _destroy),
    "pltime": (1, _lifetime),
    "vltime": (1, _lifetime),
    "eui64": (0, _eui64),
    "normal": (0, _flag(IFF_LINK0, False)),
    "compress": (0, _flag(IFF_LINK0, True)),
    "noicmp": (0, _flag(IFF_LINK1, True)),
    **CLONE_WORDS,
    **LINK_WORDS,
    **BRIDGE_WORDS,
}

for _word, _bit in {
    "debug": IFF_DEBUG, "promisc": IFF_PPROMISC, "link0": IFF_LINK0, "link1": IFF_LINK1, "link2": IFF_LINK2,
    "monitor": IFF_MONITOR, "staticarp": IFF_STATICARP, "stickyarp": IFF_STICKYARP,
}.items():  # fmt: skip
    WORDS[_word] = (0, _flag(_bit, True))
    WORDS[f"-{_word}"] = (0, _flag(_bit, False))

_CAPABILITY_NAMES = {
    "rxcsum": ["RXCSUM"], "txcsum": ["TXCSUM"], "rxcsum6": ["RXCSUM_IPV6"], "txcsum6": ["TXCSUM_IPV6"],
    "tso4": ["TSO4"], "tso6": ["TSO6"], "tso": ["TSO4", "TSO6"], "lro": ["LRO"], "netcons": ["NETCONS"],
    "toe": ["TOE4", "TOE6"], "polling": ["POLLING"], "vlanmtu": ["VLAN_MTU"], "vlanhwtag": ["VLAN_HWTAGGING"],
    "vlanhwfilter": ["VLAN_HWFILTER"], "vlanhwtso": ["VLAN_HWTSO"], "vlanhwcsum": ["VLAN_HWCSUM"],
    "wol": ["WOL_UCAST", "WOL_MCAST", "WOL_MAGIC"], "wol_ucast": ["WOL_UCAST"], "wol_mcast": ["WOL_MCAST"],
    "wol_magic": ["WOL_MAGIC"], "txrtlmt": ["TXRTLMT"], "hwrxtstmp": ["HWRXTSTMP"], "mextpg": ["MEXTPG"],
    "txtls": ["TXTLS4", "TXTLS6"], "txtlsrtlmt": ["TXTLS_RTLMT"], "vxlanhwcsum": ["VXLAN_HWCSUM"],
    "vxlanhwtso": ["VXLAN_HWTSO"],
}  # fmt: skip
_BITS = {name: 1 << bit for bit, name in CAPABILITY_WORDS.items()}
for _word, _names in _CAPABILITY_NAMES.items():
    _mask = sum(_BITS[_name_] for _name_ in _names)
    WORDS[_word] = (0, _capability(_mask, True))
    WORDS[f"-{_word}"] = (0, _capability(_mask, False))

_ND6_NAMES = {
    "nud": "PERFORMNUD", "accept_rtadv": "ACCEPT_RTADV", "prefer_source": "PREFER_SOURCE",
    "ifdisabled": "IFDISABLED", "auto_linklocal": "AUTO_LINKLOCAL", "no_radr": "NO_RADR",
    "no_prefer_iface": "NO_PREFER_IFACE", "no_dad": "NO_DAD", "defaultif": "DEFAULTIF",
}  # fmt: skip
for _word, _text in _ND6_NAMES.items():
    _mask = next(1 << bit for bit, name in ND6_WORDS.items() if name == _text)
    WORDS[_word] = (0, _nd6(_mask, True))
    WORDS[f"-{_word}"] = (0, _nd6(_mask, False))

for _word in ("anycast", "tentative", "deprecated", "autoconf"):
    WORDS[_word] = (0, _address_word(_word, True))
    WORDS[f"-{_word}"] = (0, _address_word(_word, False))

# FreeBSD knows these too.
for _word in (
    "tunnel", "-tunnel", "deletetunnel", "pcp", "-pcp", "media", "mediaopt", "-mediaopt", "mode", "instance", "inst",
    "vhid", "pass", "advbase", "advskew", "carpdev", "laggproto", "laggport", "-laggport", "lagghash", "rxtls",
    "-rxtls", "ipsec", "-ipsec", "ssid", "wlandev", "maclabel", "peer", "grekey", "vxlantimeout", "vxlanmaxaddr",
    "vxlanportrange", "vxlanflush", "vxlanflushall", "stableaddr", "-stableaddr", "mac", "vlanpcp",
):  # fmt: skip
    WORDS[_word] = (0, _refused)

__all__ = ["CLONE_WORDS", "WORDS", "create"]
