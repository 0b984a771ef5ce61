"""N3: interface indexes inside jails.

ifconfig(8) prints no index, except as the scope of a link-local address;
netstat(1) prints ``<Link#N>``. A second command for each reading would double
its cost, so what netstat said is kept, for each jail, under what tells one
interface from another: name, driver name and MAC address. A kept index is
never trusted against a printed one, and two interfaces of one jail never get
the same: in doubt netstat is asked again.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace

from beastack.freebsd import command
from beastack.freebsd.command import CommandError
from beastack.freebsd.errors import JailDying, JailNotFound, PermissionDenied, translate
from beastack.freebsd.interface import Interface

Key = tuple[str, str | None, str | None]

_LINK = re.compile(r"<Link#(\d+)>")
_ERRORS: tuple[tuple[str, type[CommandError]], ...] = (
    ("is dying", JailDying),
    ("ail not found", JailNotFound),
    ("Operation not permitted", PermissionDenied),
    ("annot attach to jail", PermissionDenied),
)
#: Jails remembered at most; beyond it all are forgotten.
_LIMIT = 4096

_known: dict[str, dict[Key, int]] = {}


def add_indexes(jail: str, interfaces: Sequence[Interface]) -> tuple[Interface, ...]:
    """Return what was read of a jail, each with its index; one that is gone meanwhile is left out.

    :raises JailNotFound: the jail is gone meanwhile
    """
    known = _known.get(jail, {})
    indexes = choose_indexes(interfaces, known)
    if indexes is None:
        named = read_indexes(jail)
        known = {make_key(each): named[each.name] for each in interfaces if each.name in named}
        indexes = [each.index or known.get(make_key(each)) for each in interfaces]
        if len(_known) >= _LIMIT:
            _known.clear()
        _known[jail] = known
    return tuple(
        replace(each, index=index) for each, index in zip(interfaces, indexes, strict=True) if index is not None
    )


def recall_index(jail: str, interface: Interface) -> int | None:
    """Return the index that the last listing gave an interface of a jail, None if it was not in it."""
    return _known.get(jail, {}).get(make_key(interface))


def choose_indexes(interfaces: Sequence[Interface], known: Mapping[Key, int]) -> list[int | None] | None:
    """Return an index for each interface, or None when one is missing or two have the same."""
    indexes = [each.index or known.get(make_key(each)) for each in interfaces]
    if None in indexes or len(set(indexes)) < len(indexes):
        return None
    return indexes


def make_key(interface: Interface) -> Key:
    """Return what tells an interface from others of its jail, whatever MAC address it was given."""
    return interface.name, interface.driver_name, interface.permanent_mac or interface.mac


def read_indexes(jail: str) -> dict[str, int]:
    """Return the index of each interface of a jail, by name (netstat(1), -i).

    :raises JailNotFound: there is no such jail
    """
    argv = ["netstat", "-j", jail, "--libxo", "json", "-in"]
    try:
        result = command.run(argv)
    except CommandError as error:
        raise translate(error, _ERRORS) from None
    try:
        return parse_indexes(result.stdout)
    except (ValueError, KeyError, TypeError) as error:
        raise CommandError(argv, result.status, result.stdout, f"its output is not understood: {error!r}") from error


def parse_indexes(text: str) -> dict[str, int]:
    """Take ``netstat --libxo json -in`` apart.

    :raises ValueError, KeyError, TypeError: it has another form
    """
    return {
        str(row["name"]).rstrip("*"): int(found.group(1))
        for row in json.loads(text)["statistics"]["interface"]
        if (found := _LINK.match(str(row.get("network", ""))))
    }
