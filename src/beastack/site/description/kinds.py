"""What a key of site.toml accepts: in words, and as a reader of the raw TOML value."""

from __future__ import annotations

import dataclasses
import ipaddress
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import urlsplit

from beastack.site.description.wording import did_you_mean, shown, wrong_type

T = TypeVar("T")
Address = ipaddress.IPv4Address | ipaddress.IPv6Address

HIGHEST_PORT = 65535


@dataclass(frozen=True)
class Kind:
    """What a key accepts: in words, and as a reader of the raw TOML value.

    ``read`` returns the value to keep, or raises ValueError with a text that
    follows the key's name in a message.
    """

    allowed: str
    read: Callable[[object], object]


@dataclass(frozen=True)
class Rule:
    """All that is known of one key besides its default."""

    kind: Kind
    about: str
    unit: str
    also: tuple[str, ...]


def key(default: T, kind: Kind, about: str, *, unit: str = "", also: tuple[str, ...] = (), secret: bool = False) -> T:
    """A dataclass field that is a key of the file.

    ``also`` are other names people know it by, for the did-you-mean only.  A
    ``secret`` is left out of the dataclass's repr.
    """
    rule = Rule(kind, about, unit, also)
    return dataclasses.field(default=default, repr=not secret, metadata={"rule": rule})


def integer(low: int, high: int) -> Kind:
    """Accept a whole number within limits, both included."""
    allowed = f"{low} to {high}"

    def read(value: object) -> object:
        # bool is a subclass of int, but `workers = true` is a mistake.
        if isinstance(value, bool) or not isinstance(value, int):
            raise ValueError(wrong_type("an integer", value))
        if not low <= value <= high:
            raise ValueError(f"must be from {allowed}, not {shown(value)}")
        return value

    return Kind(allowed, read)


def number(low: float, high: float) -> Kind:
    """Accept a number within limits, both included."""
    allowed = f"{low:g} to {high:g}"

    def read(value: object) -> object:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ValueError(wrong_type("a number", value))
        # Written so that TOML's nan is refused as well.
        if not low <= value <= high:
            raise ValueError(f"must be from {allowed}, not {shown(value)}")
        return float(value)

    return Kind(allowed, read)


def flag() -> Kind:
    """Accept true or false."""

    def read(value: object) -> object:
        if not isinstance(value, bool):
            raise ValueError(wrong_type("true or false", value))
        return value

    return Kind("true or false", read)


def text(allowed: str, check: Callable[[str], str]) -> Kind:
    """Accept text that ``check`` returns as it is kept, or refuses by ValueError."""

    def read(value: object) -> object:
        if not isinstance(value, str):
            raise ValueError(wrong_type("text in quotes", value))
        return check(value)

    return Kind(allowed, read)


def optional(kind: Kind) -> Kind:
    """Accept what a kind accepts, and the empty text for None."""
    # TOML has no null: the empty text is how a file says "none".
    return Kind(f'{kind.allowed}, or "" for none', lambda value: None if value == "" else kind.read(value))


def choice(*names: str) -> Kind:
    """Accept one of some words."""
    allowed = f"one of {', '.join(names)}" if len(names) > 1 else names[0]

    def check(value: str) -> str:
        if value not in names:
            raise ValueError(f"must be {allowed}, not {shown(value)}{did_you_mean(value, names)}")
        return value

    return text(allowed, check)


def name() -> Kind:
    """Accept a name of something in the cloud or of a host."""
    # Names end up in configuration files, URLs and shell commands of others: nothing that needs quoting.
    allowed = "letters, digits, dot, dash and underscore, at most 64"

    def check(value: str) -> str:
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", value):
            raise ValueError(f"must be {allowed}, and begin with a letter or digit, not {shown(value)}")
        return value

    return text(allowed, check)


def secret() -> Kind:
    """Accept a shared secret."""
    allowed = "at least 16 letters and digits"

    def check(value: str) -> str:
        if not re.fullmatch(r"[A-Za-z0-9]{16,128}", value):
            raise ValueError(f"must be {allowed}")
        return value

    return text(allowed, check)


def password() -> Kind:
    """Accept a password."""
    allowed = "text without spaces, at most 256 characters"

    def check(value: str) -> str:
        # Never quoted in a message.
        if not re.fullmatch(r"[!-~]{1,256}", value):
            raise ValueError(f"must be {allowed}")
        return value

    return text(allowed, check)


def http_url(*schemes: str) -> Kind:
    """Accept the URL of an API."""
    known = schemes or ("http", "https")
    allowed = f"a URL that begins with {' or '.join(f'{scheme}://' for scheme in known)}"

    def check(value: str) -> str:
        try:
            parts = urlsplit(value)
            usable = parts.scheme in known and bool(parts.hostname) and parts.port != 0
        except ValueError:
            usable = False
        if not usable or not re.fullmatch(r"[!-~]+", value):
            raise ValueError(f"must be {allowed}, not {shown(value)}")
        if "@" in parts.netloc:
            raise ValueError("must be a URL without user and password")
        return value

    return text(allowed, check)


def pem(what: str) -> Kind:
    """Accept a certificate or a key as PEM text."""
    allowed = f"PEM text of a {what.lower()}"

    def check(value: str) -> str:
        # Never quoted in a message.
        if not re.fullmatch(rf"-----BEGIN {what}-----\n[A-Za-z0-9+/=\n]+-----END {what}-----\n?", value):
            raise ValueError(f"must be {allowed}")
        return value

    return text(allowed, check)


def interface_name() -> Kind:
    """Accept the name of a network interface."""
    allowed = "the name of an interface, at most 15 bytes"

    def check(value: str) -> str:
        if not re.fullmatch(r"[A-Za-z][A-Za-z0-9._-]{0,14}", value):
            raise ValueError(f"must be {allowed}, not {shown(value)}")
        return value

    return text(allowed, check)


def dataset_name() -> Kind:
    """Accept the name of a ZFS dataset."""
    allowed = "the name of a ZFS dataset below a pool, as in zroot/instances"

    def check(value: str) -> str:
        part = r"[A-Za-z0-9][A-Za-z0-9_.:-]*"
        if len(value) > 100 or not re.fullmatch(rf"[A-Za-z][A-Za-z0-9_.:-]*(?:/{part})+", value):
            raise ValueError(f"must be {allowed}, not {shown(value)}")
        return value

    return text(allowed, check)


def ip(allowed: str) -> Kind:
    """Accept one IP address."""

    def check(value: str) -> str:
        try:
            address = ipaddress.ip_address(value)
        except ValueError:
            raise ValueError(f"must be an IPv4 or IPv6 address, not {shown(value)}") from None
        if "%" in value:
            raise ValueError(f"must be an address without an interface name, not {shown(value)}")
        if address.is_multicast:
            raise ValueError(f"must be the address of one host, not multicast {value}")
        if address.is_unspecified:
            raise ValueError(f"must be one particular address, not {value}")
        return str(address)

    return text(allowed, check)


def cidr(version: int, shortest: int, longest: int) -> Kind:
    """Accept a network, with a prefix within limits."""
    span = f"/{shortest}" if shortest == longest else f"/{shortest} to /{longest}"
    allowed = f"an IPv{version} network of {span}"

    def check(value: str) -> str:
        try:
            network = ipaddress.ip_network(value, strict=False)
        except ValueError:
            raise ValueError(f"must be {allowed}, not {shown(value)}") from None
        # A bare address is taken as a /32 or /128, and refused here for its length.
        if network.version != version or not shortest <= network.prefixlen <= longest:
            raise ValueError(f"must be {allowed}, not {shown(value)}")
        if ipaddress.ip_interface(value).ip != network.network_address:
            raise ValueError(f"{value} has host bits set; did you mean {network}?")
        return str(network)

    return text(allowed, check)


def vlan_range() -> Kind:
    """Accept a range of VLAN numbers."""
    allowed = "FIRST:LAST within 1 to 4094"

    def check(value: str) -> str:
        match = re.fullmatch(r"([0-9]{1,4}):([0-9]{1,4})", value)
        if not match:
            raise ValueError(f'must be {allowed}, such as "100:199", not {shown(value)}')
        first, last = int(match[1]), int(match[2])
        if not 1 <= first <= last <= 4094:
            raise ValueError(f"must be {allowed}, the first not above the last, not {shown(value)}")
        return f"{first}:{last}"

    return text(allowed, check)


def list_of(kind: Kind, most: int) -> Kind:
    """Accept a list of what a kind accepts."""

    def read(value: object) -> object:
        if not isinstance(value, list):
            raise ValueError(wrong_type("a list in square brackets", value))
        items = []
        for number, item in enumerate(value, start=1):
            try:
                items.append(kind.read(item))
            except ValueError as error:
                raise ValueError(f"item {number} {error}") from None
            if items[-1] in items[:-1]:
                raise ValueError(f"item {number} repeats {items[-1]}; remove one of them")
        if len(items) > most:
            raise ValueError(f"must have at most {most} items, not {len(items)}")
        return tuple(items)

    return Kind(f"a list of at most {most}, each {kind.allowed}", read)


def rules_of(table: type[Any]) -> dict[str, Rule]:
    """The keys of a table in their order, with what is known of each."""
    return {field.name: field.metadata["rule"] for field in dataclasses.fields(table) if "rule" in field.metadata}
