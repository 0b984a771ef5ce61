"""How ifconfig(8) is called, and what its error texts mean.

Everything that is done to interfaces goes through ``ifconfig`` here: the one
place that knows how a jail is addressed and which text is which error.
"""

from __future__ import annotations

import re

from beastack.freebsd.command import DEFAULT_TIMEOUT, CommandError, Result, run
from beastack.freebsd.errors import (
    AddressExists,
    AddressNotFound,
    InterfaceBusy,
    InterfaceExists,
    InterfaceNotFound,
    InvalidArgument,
    JailDying,
    JailNotFound,
    MemberExists,
    MemberNotFound,
    PermissionDenied,
    translate,
)

#: IFNAMSIZ of net/if.h, without the closing NUL: bytes.
NAME_LIMIT = 15

#: Words that ``create`` takes for "make a new one": an interface that is called
#: exactly so would be changed instead.
CLONERS = frozenset(
    {
        *("bridge", "disc", "edsc", "enc", "epair", "gif", "gre", "ipfw", "ipsec", "lagg", "lo", "ovpn"),
        *("pflog", "pfsync", "stf", "tap", "tun", "vlan", "vmnet", "vxlan", "wg"),
    }
)

#: What stderr says (sbin/ifconfig; the errno part is libc's), the first match decides.
_MEANINGS: tuple[tuple[re.Pattern[str], type[CommandError]], ...] = tuple(
    (re.compile(text), kind)
    for text, kind in (
        # The jail, before anything else is looked at.
        (r"jail not found: No such file or directory", JailNotFound),
        (r"jail .* is dying", JailDying),
        (r"jail (\".*\"|\d+) not found", JailNotFound),
        # Moves between jails.
        (r"SIOCSIFVNET: File exists", InterfaceExists),
        (r"SIOCSIFVNET: Device busy", JailDying),
        (r"SIOCSIFVNET: Device not configured", JailNotFound),
        (r"SIOCSIFRVNET\(.*\): Device not configured", InterfaceNotFound),
        # Names.
        (r"interface .* already exists", InterfaceExists),
        (r"SIOCSIFNAME \(set name\): File exists", InterfaceExists),
        (r"interface .* does not exist", InterfaceNotFound),
        # Addresses.
        (r"\(SIOCAIFADDR\): File exists", AddressExists),
        (r"\(SIOCDIFADDR\): Can't assign requested address", AddressNotFound),
        # Bridges.
        (r"BRDGADDS? .*: No such file or directory", InterfaceNotFound),
        (r"BRDGADDS? .*: File exists", MemberExists),
        (r"BRDGADDS? .*: Device busy", InterfaceBusy),
        (r"BRDGDELS? .*: No such file or directory", MemberNotFound),
        (r"unable to [gs]et bridge flags: No such file or directory", MemberNotFound),
        (r"BRDGS(IF\w+|ADDR).*: No such file or directory", MemberNotFound),
        (r"BRDGDADDR.*: No such file or directory", AddressNotFound),
        # A member's MTU is the bridge's to set.
        (r"SIOCSIFMTU \(set mtu\): Operation not supported", InterfaceBusy),
        (r"SIOCSETVLAN: Device busy", InterfaceBusy),
        # What any of them may say.
        (r"Operation not permitted|permission denied", PermissionDenied),
        (r"no such interface|Device not configured", InterfaceNotFound),
        (
            r"Invalid argument|File name too long|name too long|: bad value|requires (argument|2 arguments)",
            InvalidArgument,
        ),
        (r"invalid (VLAN identifier|vlan set|value|address|network identifier)", InvalidArgument),
        (r"malformed link-level address|Address family '.*' unknown", InvalidArgument),
        (r"group names may not end in a digit|must specify a tag|both vlan and vlandev", InvalidArgument),
        (
            r"error in parsing .*address string|address must be multicast|cannot (be multicast|mix IPv4)",
            InvalidArgument,
        ),
        # A word that this release does not know is looked up as a host name.
        (r"Name does not resolve|Name could not be resolved|[Hh]ost ?name lookup|Unknown host", InvalidArgument),
    )
)


def ifconfig(*arguments: str, jail: str | None = None, timeout: float = DEFAULT_TIMEOUT) -> Result:
    """Run one ifconfig, in a jail when one is named, and return its result.

    :param jail: name or number; ifconfig attaches to it by itself (14.0 and
        later), so a jail without any programs can be managed
    :param timeout: seconds
    :raises CommandError: as a class of ``errors`` where the text is known
    """
    where = [] if jail is None else ["-j", jail]
    try:
        result = run(["ifconfig", *where, *arguments], timeout=timeout)
    except CommandError as error:
        raise explain(error) from None
    # A refused fib is a warning only (sbin/ifconfig/iffib.c): the exit status says that all went well.
    if "ioctl (SIOCSIFFIB)" in result.stderr:
        raise explain(CommandError(result.argv, result.status, result.stdout, result.stderr))
    return result


def explain(error: CommandError) -> CommandError:
    """Return the typed form of a failed ifconfig, or the error itself."""
    for meaning, kind in _MEANINGS:
        if found := meaning.search(error.stderr):
            return translate(error, [(found.group(), kind)])
    return error


def check_name(name: str) -> str:
    """Return the name of an interface that is to be read or changed.

    :raises ValueError: it is empty, longer than 15 bytes, or would be taken
        for an option
    """
    if not name or len(name.encode()) > NAME_LIMIT or name.startswith("-") or not name.isprintable():
        raise ValueError(f"{name!r} is not a name of an interface: 1 to {NAME_LIMIT} bytes, not beginning with '-'")
    return name


def check_new_name(name: str) -> str:
    """Return a name that an interface is to be given.

    The kernel takes any bytes; refused here is what a later command or file
    could not hold.

    :raises ValueError: as ``check_name``, or it has blanks or slashes, or is
        the bare name of a cloner (``tap``), which ``create`` would then mistake
    """
    check_name(name)
    if name in CLONERS or re.search(r"[\s/%]", name):
        raise ValueError(f"{name!r} cannot be given to an interface")
    return name
