"""The site's description: one optional TOML file, everything defaulted.

``load_description`` turns ``site.toml`` into frozen dataclasses, one for each
table.  Each key is described once, beside its default, in the field's
metadata: what it means, its unit, what it accepts.  Reading, checking and
``explain`` all go by that.

Whatever is wrong in a file is reported at once, each problem as one line that
names file, line and key, and says what to do about it.
"""

from __future__ import annotations

import dataclasses
import difflib
import ipaddress
import itertools
import json
import re
import textwrap
import tomllib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import SplitResult, urlsplit

T = TypeVar("T")
Address = ipaddress.IPv4Address | ipaddress.IPv6Address

HIGHEST_PORT = 65535
# libvirt refuses a lower one: it numbers VNC displays from 5900.
LOWEST_VNC_PORT = 5900
# Neutron's own limit for one subnet (max_dns_nameservers).
MOST_DNS_SERVERS = 5
LOWEST_IPV6_MTU = 1280
# Bytes of outer headers around each tunnelled packet, by IP version of the tunnel's endpoints.
VXLAN_OVERHEAD = {4: 50, 6: 70}

#: Kinds of hosts. On Linux a FreeBSD host is a simulated one.
HOST_KINDS = ("freebsd", "linux")
DEFAULT_HOST_KIND = "freebsd"
#: What a host may do; each is a set of the three roles.
HOST_ROLES = (
    "all", "control", "network", "compute", "control+network", "control+compute", "network+compute",
)  # fmt: skip
ROLES = ("control", "network", "compute")


class DescriptionError(Exception):
    """Something in the site's description is wrong; ``str()`` is one line.

    ``path`` is the file, ``line`` its line (from 1; None when no line can be
    named), ``key`` the dotted key (empty when it concerns the whole file) and
    ``problem`` what is wrong and what to do.  The error that
    ``load_description`` raises is the first one of the file; its ``problems``
    are all of them in the order of their lines, itself included.
    """

    def __init__(self, path: Path, line: int | None, key: str, problem: str) -> None:
        self.path = path
        self.line = line
        self.key = key
        self.problem = problem
        self.problems: tuple[DescriptionError, ...] = (self,)
        super().__init__(path, line, key, problem)

    def __str__(self) -> str:
        place = str(self.path) if self.line is None else f"{self.path}:{self.line}"
        parts = [place, self.key, self.problem] if self.key else [place, self.problem]
        return _printable(": ".join(parts))


# ---------------------------------------------------------------- what a key accepts


@dataclass(frozen=True)
class _Kind:
    """What a key accepts: in words, and as a reader of the raw TOML value.

    ``read`` returns the value to keep, or raises ValueError with a text that
    follows the key's name in a message.
    """

    allowed: str
    read: Callable[[object], object]


@dataclass(frozen=True)
class _Rule:
    """All that is known of one key besides its default."""

    kind: _Kind
    about: str
    unit: str
    also: tuple[str, ...]


def _key(default: T, kind: _Kind, about: str, *, unit: str = "", also: tuple[str, ...] = (), secret: bool = False) -> T:
    """A dataclass field that is a key of the file.

    ``also`` are other names people know it by, for the did-you-mean only.  A
    ``secret`` is left out of the dataclass's repr.
    """
    rule = _Rule(kind, about, unit, also)
    return dataclasses.field(default=default, repr=not secret, metadata={"rule": rule})


def _integer(low: int, high: int) -> _Kind:
    allowed = f"{low} to {high}"

    def read(value: object) -> object:
        # bool is a subclass of int, but `workers = true` is a mistake.
        if isinstance(value, bool) or not isinstance(value, int):
            raise ValueError(_wrong_type("an integer", value))
        if not low <= value <= high:
            raise ValueError(f"must be from {allowed}, not {_shown(value)}")
        return value

    return _Kind(allowed, read)


def _number(low: float, high: float) -> _Kind:
    allowed = f"{low:g} to {high:g}"

    def read(value: object) -> object:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ValueError(_wrong_type("a number", value))
        # Written so that TOML's nan is refused as well.
        if not low <= value <= high:
            raise ValueError(f"must be from {allowed}, not {_shown(value)}")
        return float(value)

    return _Kind(allowed, read)


def _flag() -> _Kind:
    def read(value: object) -> object:
        if not isinstance(value, bool):
            raise ValueError(_wrong_type("true or false", value))
        return value

    return _Kind("true or false", read)


def _text(allowed: str, check: Callable[[str], str]) -> _Kind:
    def read(value: object) -> object:
        if not isinstance(value, str):
            raise ValueError(_wrong_type("text in quotes", value))
        return check(value)

    return _Kind(allowed, read)


def _optional(kind: _Kind) -> _Kind:
    # TOML has no null: the empty text is how a file says "none".
    return _Kind(f'{kind.allowed}, or "" for none', lambda value: None if value == "" else kind.read(value))


def _choice(*names: str) -> _Kind:
    allowed = f"one of {', '.join(names)}" if len(names) > 1 else names[0]

    def check(value: str) -> str:
        if value not in names:
            raise ValueError(f"must be {allowed}, not {_shown(value)}{_did_you_mean(value, names)}")
        return value

    return _text(allowed, check)


def _name() -> _Kind:
    # Names end up in configuration files, URLs and shell commands of others: nothing that needs quoting.
    allowed = "letters, digits, dot, dash and underscore, at most 64"

    def check(value: str) -> str:
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", value):
            raise ValueError(f"must be {allowed}, and begin with a letter or digit, not {_shown(value)}")
        return value

    return _text(allowed, check)


def _secret() -> _Kind:
    allowed = "at least 16 letters and digits"

    def check(value: str) -> str:
        if not re.fullmatch(r"[A-Za-z0-9]{16,128}", value):
            raise ValueError(f"must be {allowed}")
        return value

    return _text(allowed, check)


def _password() -> _Kind:
    allowed = "text without spaces, at most 256 characters"

    def check(value: str) -> str:
        # Never quoted in a message.
        if not re.fullmatch(r"[!-~]{1,256}", value):
            raise ValueError(f"must be {allowed}")
        return value

    return _text(allowed, check)


def _http_url(*schemes: str) -> _Kind:
    known = schemes or ("http", "https")
    allowed = f"a URL that begins with {' or '.join(f'{scheme}://' for scheme in known)}"

    def check(value: str) -> str:
        try:
            parts = urlsplit(value)
            usable = parts.scheme in known and bool(parts.hostname) and parts.port != 0
        except ValueError:
            usable = False
        if not usable or not re.fullmatch(r"[!-~]+", value):
            raise ValueError(f"must be {allowed}, not {_shown(value)}")
        if "@" in parts.netloc:
            raise ValueError("must be a URL without user and password")
        return value

    return _text(allowed, check)


def _pem(what: str) -> _Kind:
    allowed = f"PEM text of a {what.lower()}"

    def check(value: str) -> str:
        # Never quoted in a message.
        if not re.fullmatch(rf"-----BEGIN {what}-----\n[A-Za-z0-9+/=\n]+-----END {what}-----\n?", value):
            raise ValueError(f"must be {allowed}")
        return value

    return _text(allowed, check)


def _interface_name() -> _Kind:
    allowed = "the name of an interface, at most 15 bytes"

    def check(value: str) -> str:
        if not re.fullmatch(r"[A-Za-z][A-Za-z0-9._-]{0,14}", value):
            raise ValueError(f"must be {allowed}, not {_shown(value)}")
        return value

    return _text(allowed, check)


def _dataset_name() -> _Kind:
    allowed = "the name of a ZFS dataset below a pool, as in zroot/instances"

    def check(value: str) -> str:
        part = r"[A-Za-z0-9][A-Za-z0-9_.:-]*"
        if len(value) > 100 or not re.fullmatch(rf"[A-Za-z][A-Za-z0-9_.:-]*(?:/{part})+", value):
            raise ValueError(f"must be {allowed}, not {_shown(value)}")
        return value

    return _text(allowed, check)


def _ip(allowed: str) -> _Kind:
    def check(value: str) -> str:
        try:
            address = ipaddress.ip_address(value)
        except ValueError:
            raise ValueError(f"must be an IPv4 or IPv6 address, not {_shown(value)}") from None
        if "%" in value:
            raise ValueError(f"must be an address without an interface name, not {_shown(value)}")
        if address.is_multicast:
            raise ValueError(f"must be the address of one host, not multicast {value}")
        if address.is_unspecified:
            raise ValueError(f"must be one particular address, not {value}")
        return str(address)

    return _text(allowed, check)


def _cidr(version: int, shortest: int, longest: int) -> _Kind:
    span = f"/{shortest}" if shortest == longest else f"/{shortest} to /{longest}"
    allowed = f"an IPv{version} network of {span}"

    def check(value: str) -> str:
        try:
            network = ipaddress.ip_network(value, strict=False)
        except ValueError:
            raise ValueError(f"must be {allowed}, not {_shown(value)}") from None
        # A bare address is taken as a /32 or /128, and refused here for its length.
        if network.version != version or not shortest <= network.prefixlen <= longest:
            raise ValueError(f"must be {allowed}, not {_shown(value)}")
        if ipaddress.ip_interface(value).ip != network.network_address:
            raise ValueError(f"{value} has host bits set; did you mean {network}?")
        return str(network)

    return _text(allowed, check)


def _vlan_range() -> _Kind:
    allowed = "FIRST:LAST within 1 to 4094"

    def check(value: str) -> str:
        match = re.fullmatch(r"([0-9]{1,4}):([0-9]{1,4})", value)
        if not match:
            raise ValueError(f'must be {allowed}, such as "100:199", not {_shown(value)}')
        first, last = int(match[1]), int(match[2])
        if not 1 <= first <= last <= 4094:
            raise ValueError(f"must be {allowed}, the first not above the last, not {_shown(value)}")
        return f"{first}:{last}"

    return _text(allowed, check)


def _list_of(kind: _Kind, most: int) -> _Kind:
    def read(value: object) -> object:
        if not isinstance(value, list):
            raise ValueError(_wrong_type("a list in square brackets", value))
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

    return _Kind(f"a list of at most {most}, each {kind.allowed}", read)


# ---------------------------------------------------------------- URLs that hold a password


# No message about such a URL ever quotes it: messages end up in logs and terminals.


def _database_url() -> _Kind:
    form = "mysql+pymysql://USER:PASSWORD@HOST[:PORT]/"

    def check(value: str) -> str:
        _refuse_unescaped(value, form)
        if value.startswith(("mysql://", "mariadb://")):
            raise ValueError("the scheme must be mysql+pymysql://; begin the URL with that")
        parts = _split(value, form)
        if parts.scheme != "mysql+pymysql":
            raise ValueError(f"must be {form}; only mysql+pymysql:// is supported")
        _check_endpoint(parts, form)
        if parts.path not in ("", "/"):
            raise ValueError(
                "must not name a database, each service gets one of its own;"
                " end the URL after the host and port (and write / in a password as %2F)"
            )
        return f"{parts.scheme}://{parts.netloc}/"

    return _text(form, check)


def _messaging_url() -> _Kind:
    form = "rabbit://USER:PASSWORD@HOST[:PORT][,USER:PASSWORD@HOST[:PORT]...]/[VHOST]"

    def check(value: str) -> str:
        _refuse_unescaped(value, form)
        if value.startswith(("amqp://", "amqps://", "rabbitmq://")):
            raise ValueError("the scheme must be rabbit://; begin the URL with that")
        parts = _split(value, form)
        if parts.scheme != "rabbit":
            raise ValueError(f"must be {form}; only rabbit:// is supported")
        for member in parts.netloc.split(","):
            _check_endpoint(_split(f"rabbit://{member}", form), form)
        # "//" names the virtual host "/", as oslo.messaging has it.
        if "/" in parts.path[1:] and parts.path != "//":
            raise ValueError("has more than one / after the host; write / in a password or virtual host as %2F")
        return f"{parts.scheme}://{parts.netloc}{parts.path or '/'}"

    return _text(form, check)


def _refuse_unescaped(url: str, form: str) -> None:
    """Refuse what urlsplit would quietly drop, or what would cut the password short."""
    if not url.isascii() or not url.isprintable() or " " in url:
        raise ValueError(f"must be {form}, without spaces; write other characters than plain ASCII as %XX")
    if "?" in url or "#" in url:
        raise ValueError(f"must be {form}, without ? and #; write them in a password as %3F and %23")
    if re.search(r"%(?![0-9A-Fa-f]{2})", url):
        raise ValueError("has a % that begins no %XX; write % in a password as %25")


def _split(url: str, form: str) -> SplitResult:
    try:
        return urlsplit(url)
    except ValueError:
        raise ValueError(f"must be {form}; the host is malformed") from None


def _check_endpoint(parts: SplitResult, form: str) -> None:
    if parts.netloc.count("@") > 1:
        raise ValueError("has more than one @; write @ in a password as %40")
    if not parts.username or not parts.password:
        raise ValueError(
            f"must be {form}; the user or the password is missing (write / and , in a password as %2F and %2C)"
        )
    if ":" in parts.password:
        raise ValueError("has more than one : before the @; write : in a password as %3A")
    if not parts.hostname:
        raise ValueError(f"must be {form}; the host is missing")
    try:
        port = parts.port
    except ValueError:
        # urlsplit's own message quotes the text, which may be half of a password.
        port = 0
    if port == 0:
        raise ValueError(f"must be {form}; the port must be from 1 to {HIGHEST_PORT}")


def _mask(url: str | None) -> str | None:
    return None if url is None else re.sub(r"(//|,)([^:@/,]*):[^@/]*?@", r"\1\2:***@", url)


# ---------------------------------------------------------------- the tables


@dataclass(frozen=True)
class Site:
    """The site as a whole."""

    region: str = _key("RegionOne", _name(), "Name of the region in the service catalogue.")
    bind_address: str = _key(
        "127.0.0.1",
        # Clients are told this address: "any" would tell them none.
        _ip("an IPv4 or IPv6 address"),
        "Address that the APIs and console proxies listen on.",
    )
    workers: int = _key(
        0,
        _integer(0, 256),
        "WSGI workers of each API. 0 lets beastack choose: 2, or 1 on a single CPU.",
        unit="processes",
    )
    port_offset: int = _key(
        0,
        _integer(0, 50000),
        "Added to every port that [ports] does not set, so that several sites can share a host.",
    )

    def worker_count(self, cpus: int) -> int:
        """The number of WSGI workers per API on a host with this many CPUs."""
        return self.workers or max(1, min(2, cpus))


_PORT = _integer(1, HIGHEST_PORT)


@dataclass(frozen=True)
class _Span:
    """A run of ports, often only one, and the keys that set its ends."""

    names: tuple[str, ...]
    first: int
    last: int

    def __str__(self) -> str:
        numbers = str(self.first) if len(self.names) == 1 else f"{self.first} to {self.last}"
        return f"{' to '.join(f'ports.{name}' for name in self.names)} ({numbers})"


@dataclass(frozen=True)
class _Fault:
    """Ports that cannot be as they are: the keys concerned, and a sentence about them."""

    names: tuple[str, ...]
    sentence: str


@dataclass(frozen=True)
class Ports:
    """TCP ports.  What the file sets stays; the other ports move by ``site.port_offset``.

    ``explicit`` names the ports that are final.  A loaded description holds
    them resolved, so all of them are.
    """

    identity: int = _key(5000, _PORT, "Identity API.", also=("keystone",))
    image: int = _key(9292, _PORT, "Image API.", also=("glance",))
    placement: int = _key(8778, _PORT, "Placement API.")
    network: int = _key(9696, _PORT, "Network API.", also=("neutron",))
    compute: int = _key(8774, _PORT, "Compute API.", also=("nova",))
    metadata: int = _key(8775, _PORT, "Metadata API, for the instances.")
    novnc: int = _key(6080, _PORT, "Graphical consoles in a browser.", also=("novncproxy", "vnc"))
    serial: int = _key(6083, _PORT, "Serial consoles over websockets.", also=("serialproxy",))
    messaging: int = _key(5673, _PORT, "The site's own RabbitMQ.", also=("rabbitmq", "amqp"))
    epmd: int = _key(14369, _PORT, "Erlang's port mapper, for RabbitMQ.")
    erlang: int = _key(25673, _PORT, "Erlang's distribution, for RabbitMQ.", also=("erlang_distribution",))
    migration: int = _key(16636, _PORT, "Disks of instances from other hosts, on hosts with guests.")
    openflow: int = _key(16633, _PORT, "OpenFlow, from the switch to the network agent.")
    vnc_first: int = _key(5900, _integer(LOWEST_VNC_PORT, HIGHEST_PORT), "First port of the guests' VNC servers.")
    vnc_last: int = _key(5999, _integer(LOWEST_VNC_PORT, HIGHEST_PORT), "Last port of the guests' VNC servers.")
    serial_first: int = _key(10000, _PORT, "First port of the guests' serial consoles.")
    serial_last: int = _key(10999, _PORT, "Last port of the guests' serial consoles.")
    # How a port came to its number does not make it another port: left out of comparisons.
    explicit: frozenset[str] = dataclasses.field(default=frozenset(), repr=False, compare=False)

    def resolve(self, offset: int) -> Ports:
        """The final ports: those not explicit are moved up by ``offset``.

        The result resolves to itself.  Raises ValueError when two would be
        the same or one would be above 65535.
        """
        final = self._moved(offset)
        faults = final._faults()
        if faults:
            raise ValueError(faults[0].sentence)
        return final

    def _moved(self, offset: int) -> Ports:
        numbers = self._numbers()
        moved = {name: port if name in self.explicit else port + offset for name, port in numbers.items()}
        return Ports(**moved, explicit=frozenset(numbers))

    def _numbers(self) -> dict[str, int]:
        return {name: getattr(self, name) for name in _rules(Ports)}

    def _spans(self) -> list[_Span]:
        numbers = self._numbers()
        spans = [_Span((name,), port, port) for name, port in numbers.items() if not name.endswith(("_first", "_last"))]
        for first, last in (("vnc_first", "vnc_last"), ("serial_first", "serial_last")):
            spans.append(_Span((first, last), numbers[first], numbers[last]))
        return spans

    def _faults(self) -> list[_Fault]:
        numbers = self._numbers()
        name = max(numbers, key=lambda each: numbers[each])
        excess = numbers[name] - HIGHEST_PORT
        if excess > 0:
            advice = f"lower site.port_offset by {excess} or more, or set ports.{name}"
            return [_Fault((name,), f"ports.{name} would be {numbers[name]}, above {HIGHEST_PORT}; {advice}")]
        spans = self._spans()
        faults = [
            _Fault(span.names, f"{span} ends before it begins; swap the two")
            for span in spans
            if span.first > span.last
        ]
        for one, other in itertools.combinations(spans, 2):
            if one.first <= other.last and other.first <= one.last:
                sentence = f"{one} and {other} clash; give one of them another port"
                faults.append(_Fault(one.names + other.names, sentence))
        return faults


@dataclass(frozen=True)
class Database:
    """Where the services keep their data.  ``url`` holds a password: show ``masked_url`` instead.

    A ``url`` ends with the slash that a database's name follows.
    """

    url: str | None = _key(
        None,
        _optional(_database_url()),
        "An existing MariaDB or MySQL server, with a user that may create databases."
        " None: the site runs a MariaDB of its own.",
        secret=True,
    )
    buffer_pool_mb: int = _key(96, _integer(16, 1048576), "InnoDB buffer pool of the site's own MariaDB.", unit="MiB")

    @property
    def masked_url(self) -> str | None:
        """The URL with *** for its password, for messages and logs."""
        return _mask(self.url)


@dataclass(frozen=True)
class Messaging:
    """How the services talk.  ``url`` holds a password: show ``masked_url`` instead.

    A ``url`` may name several members of a cluster, separated by commas.
    """

    url: str | None = _key(
        None,
        _optional(_messaging_url()),
        "An existing RabbitMQ server or cluster. None: the site runs a RabbitMQ of its own.",
        secret=True,
    )
    listen: str = _key(
        "127.0.0.1",
        _ip("an IPv4 or IPv6 address"),
        "Address that the site's own RabbitMQ listens on: other hosts of the cloud need to reach it.",
    )

    @property
    def masked_url(self) -> str | None:
        """The URL with *** for each password, for messages and logs."""
        return _mask(self.url)


@dataclass(frozen=True)
class Network:
    """The first networks, and what carries them.  CIDRs and addresses are in canonical form."""

    project_type: str = _key("vxlan", _choice("vxlan", "vlan"), "How project networks are kept apart.")
    project_name: str = _key("private", _name(), "Name of the first project network.")
    project_cidr: str = _key("10.42.0.0/24", _cidr(4, 8, 29), "IPv4 subnet of the first project network.")
    project_cidr_v6: str | None = _key(
        None,
        _optional(_cidr(6, 64, 64)),
        "IPv6 subnet of the first project network; /64, as instances choose their addresses in it.",
    )
    provider_name: str = _key("provider", _name(), "Name of the provider network.")
    provider_cidr: str = _key("172.30.0.0/24", _cidr(4, 8, 29), "IPv4 subnet of the provider network.")
    vlan_range: str = _key("100:199", _vlan_range(), "VLANs for project networks of type vlan.")
    dns: tuple[str, ...] = _key(
        (), _list_of(_ip("an IP address"), MOST_DNS_SERVERS), "Name servers that instances are told of."
    )
    mtu: int = _key(
        1500,
        _integer(1280, 9216),
        "MTU of the physical network; instances get it less the tunnel's headers.",
        unit="bytes",
    )
    local_ip: str = _key(
        "127.0.0.1", _ip("an IPv4 or IPv6 address"), "This host's endpoint of the tunnels to other hosts."
    )
    underlay: str | None = _key(
        None,
        _optional(_interface_name()),
        "Interface that carries the tunnels, on FreeBSD: it becomes a port of a bridge of the switch,"
        " and that bridge gets local_ip. None: no tunnels leave the host.",
    )
    underlay_prefix: int = _key(24, _integer(8, 126), "Length of the prefix of local_ip.", unit="bits")
    dhcp: str = _key(
        "agent",
        _choice("agent", "responder"),
        "Who answers guests' DHCP, on FreeBSD: dnsmasq in a jail of each network (agent),"
        " or flows and the switch's agent, without jails (responder).",
    )


@dataclass(frozen=True)
class Compute:
    """How this host runs instances."""

    virt_type: str = _key(
        "qemu", _choice("qemu", "kvm"), "qemu emulates and runs anywhere; kvm is fast and needs /dev/kvm."
    )
    cpu_allocation_ratio: float = _key(
        16.0, _number(0.1, 256), "Virtual CPUs handed out for each CPU of the host.", unit="ratio"
    )
    ram_allocation_ratio: float = _key(
        1.0, _number(0.1, 256), "Memory handed out for each byte of the host's.", unit="ratio"
    )
    reserved_memory_mb: int = _key(512, _integer(0, 16777216), "Memory kept for the host and the services.", unit="MiB")
    zfs_dataset: str | None = _key(
        None,
        _optional(_dataset_name()),
        "ZFS dataset that `up` makes for instances' disks, on FreeBSD: volumes, cloned from their images."
        " None: disks are files. To be decided before there are instances.",
    )


@dataclass(frozen=True)
class Logs:
    """The services' log files."""

    level: str = _key("info", _choice("debug", "info", "warning"), "The least severity that is logged.")
    max_bytes: int = _key(
        10485760, _integer(65536, 1099511627776), "Size at which a log file is rotated.", unit="bytes"
    )
    keep: int = _key(3, _integer(1, 1000), "Rotated files kept of each log.", unit="files")


@dataclass(frozen=True)
class Instance:
    """The first instance."""

    boot: bool = _key(True, _flag(), "Whether the first `up` boots an instance.")
    name: str = _key("first", _name(), "Its name.")
    flavor: str = _key("m1.tiny", _name(), "Its flavor.")


@dataclass(frozen=True)
class Hosts:
    """The host the site runs on."""

    kind: str = _key(DEFAULT_HOST_KIND, _choice(*HOST_KINDS), "Kind of the host.")
    role: str = _key(
        "all",
        _choice(*HOST_ROLES),
        "What the host does: all; or the APIs and what they need (control), the guests' DHCP and metadata (network),"
        " the guests (compute), or two of these. A host without the control role needs [control] and messaging.url.",
    )
    name: str | None = _key(
        None, _optional(_name()), "Name that the cloud has for this host. None: the machine's own, up to the first dot."
    )

    @property
    def roles(self) -> frozenset[str]:
        """The roles, one by one."""
        return frozenset(ROLES if self.role == "all" else self.role.split("+"))

    @property
    def has_control(self) -> bool:
        """Whether the APIs, the database and the message broker are on this host."""
        return "control" in self.roles

    @property
    def has_network(self) -> bool:
        """Whether what gives guests their addresses and metadata is on this host."""
        return "network" in self.roles

    @property
    def has_guests(self) -> bool:
        """Whether instances are on this host."""
        return "compute" in self.roles

    @property
    def has_switch(self) -> bool:
        """Whether the switch and its agent are on this host: with guests, and with what serves them."""
        return self.has_network or self.has_guests


@dataclass(frozen=True)
class Control:
    """Where the control host is, for a host that does not have that role."""

    address: str | None = _key(
        None, _optional(_ip("an IPv4 or IPv6 address")), "Address of the control host's metadata API."
    )
    metadata_secret: str | None = _key(
        None,
        _optional(_secret()),
        "What signs requests to it: metadata-proxy in the control host's secrets.json.",
        secret=True,
    )
    identity_url: str | None = _key(
        None,
        _optional(_http_url()),
        "Identity API of the cloud, ending in /v3. The other APIs are looked up in its catalogue, in site.region.",
    )
    compute_user: str = _key(
        "nova", _name(), "Service user that nova-compute is, to all APIs unless the next say otherwise."
    )
    compute_password: str | None = _key(None, _optional(_password()), "Its password.", secret=True)
    network_user: str | None = _key(None, _optional(_name()), "Who it is to the network API. None: compute_user.")
    network_password: str | None = _key(None, _optional(_password()), "That user's password.", secret=True)
    placement_user: str | None = _key(None, _optional(_name()), "Who it is to the placement API. None: compute_user.")
    placement_password: str | None = _key(None, _optional(_password()), "That user's password.", secret=True)
    project: str = _key("service", _name(), "Project of these users.")
    domain: str = _key("Default", _name(), "Domain of these users and of their project.")
    novnc_url: str | None = _key(
        None,
        _optional(_http_url()),
        "Page of the cloud's noVNC proxy, as browsers reach it. None: no graphical consoles.",
    )
    serial_url: str | None = _key(
        None, _optional(_http_url("ws", "wss")), "The cloud's serial console proxy. None: no serial consoles."
    )

    @property
    def passwords(self) -> list[str]:
        """Every password in it, for keeping them out of messages."""
        named = (self.metadata_secret, self.compute_password, self.network_password, self.placement_password)
        return [password for password in named if password]

    def account(self, project: str) -> tuple[str, str]:
        """Return the user that nova-compute is to a project's API, and the password."""
        users = {
            "neutron": (self.network_user, self.network_password),
            "placement": (self.placement_user, self.placement_password),
        }
        user, password = users.get(project, (None, None))
        return (self.compute_user, self.compute_password or "") if user is None else (user, password or "")


@dataclass(frozen=True)
class Migration:
    """What a host with guests shows to the others, to be given instances' disks by them and give them its own."""

    authority: str | None = _key(None, _optional(_pem("CERTIFICATE")), "Certificate of the cloud's own authority.")
    certificate: str | None = _key(None, _optional(_pem("CERTIFICATE")), "This host's, which that one signed.")
    key: str | None = _key(None, _optional(_pem("PRIVATE KEY")), "Its key. None: no cold migration.", secret=True)

    @property
    def is_set(self) -> bool:
        """Whether all three are there."""
        return None not in (self.authority, self.certificate, self.key)


@dataclass(frozen=True)
class Description:
    """A site's whole description; ``source`` is the file it came from, None when there was none.

    Two descriptions are equal when they ask for the same site, wherever they came from.
    """

    site: Site = Site()
    ports: Ports = Ports()
    database: Database = Database()
    messaging: Messaging = Messaging()
    network: Network = Network()
    compute: Compute = Compute()
    logs: Logs = Logs()
    instance: Instance = Instance()
    host: Hosts = Hosts()
    control: Control = Control()
    migration: Migration = Migration()
    source: Path | None = dataclasses.field(default=None, compare=False)


_TABLES: dict[str, type[Any]] = {
    "site": Site,
    "ports": Ports,
    "database": Database,
    "messaging": Messaging,
    "network": Network,
    "compute": Compute,
    "logs": Logs,
    "instance": Instance,
    "host": Hosts,
    "control": Control,
    "migration": Migration,
}


def _rules(table: type[Any]) -> dict[str, _Rule]:
    """The keys of a table in their order, with what is known of each."""
    return {field.name: field.metadata["rule"] for field in dataclasses.fields(table) if "rule" in field.metadata}


# ---------------------------------------------------------------- loading


def load_description(path: Path | None, *, must_exist: bool = True) -> Description:
    """Read a site's description from ``path``; None gives the defaults.

    A missing file is an error unless ``must_exist`` is false, which is for
    the default place, where having no file means the defaults.  The ports
    come resolved.  Raises DescriptionError, whose ``problems`` are all that
    is wrong in the file.
    """
    if path is None:
        return Description()
    text = _read_file(path, must_exist)
    if text is None:
        return Description()
    document, lines = _parse(path, text)
    reader = _Reader(path, lines)
    description = reader.read(document)
    if reader.problems:
        problems = tuple(sorted(reader.problems, key=lambda problem: problem.line or 0))
        problems[0].problems = problems
        raise problems[0]
    return description


def _read_file(path: Path, must_exist: bool) -> str | None:
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        # A link that leads nowhere is a mistake, not the wish for the defaults.
        if must_exist or path.is_symlink():
            raise DescriptionError(path, None, "", "no such file; name one that exists, or none") from None
        return None
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise DescriptionError(path, None, "", f"cannot be read: {reason}") from None
    if content.startswith(b"\xef\xbb\xbf"):
        raise DescriptionError(path, 1, "", "begins with a byte order mark; save the file as UTF-8 without one")
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise DescriptionError(path, line, "", "is not UTF-8 text; save the file as UTF-8") from None
    return text.replace("\r\n", "\n")


# What tomllib says, and what a person needs to hear.
_SYNTAX_ADVICE = {
    "Cannot overwrite a value": "this key is set twice; keep one of the two",
    "Invalid value": "the value is not valid; text must be in quotes, true and false in small letters",
    "Invalid initial character for a key part": "a key is missing here",
    "Expected newline or end of document after a statement": (
        "something follows the value; text must be in quotes, and each key on a line of its own"
    ),
    "Expected '=' after a key in a key/value pair": "no = after the key; write KEY = VALUE",
    "Expected ']' at the end of a table declaration": "the table's name is not closed; write [NAME]",
}


def _parse(path: Path, text: str) -> tuple[dict[str, Any], dict[tuple[str, ...], int]]:
    try:
        return tomllib.loads(text), _KeyLines(text).lines
    except RecursionError:
        raise DescriptionError(path, None, "", "is nested too deeply; a description needs one level") from None
    except ValueError as error:
        # TOMLDecodeError, or int()'s own refusal of a number with thousands of digits.
        raise _syntax_error(path, text, str(error)) from None


def _syntax_error(path: Path, text: str, message: str) -> DescriptionError:
    line: int | None = None
    match = re.search(r" \(at line ([0-9]+), column [0-9]+\)$", message)
    if match:
        line = int(match[1])
        message = message[: match.start()]
    elif message.endswith(" (at end of document)"):
        line = text.rstrip("\n").count("\n") + 1
        message = message.removesuffix(" (at end of document)")
    if re.match(r"Cannot (declare|mutate|redefine) ", message):
        advice = "this table is given twice; put all its keys under one header"
    elif re.match(r"(Illegal|Found invalid) character '\\n'", message):
        advice = "the line ends within a text; close it with a quote"
    else:
        advice = _SYNTAX_ADVICE.get(message, message[:1].lower() + message[1:])
    return DescriptionError(path, line, "", f"not valid TOML: {advice}")


class _Reader:
    """Reads a parsed file into a Description, gathering all that is wrong on the way."""

    def __init__(self, path: Path, lines: Mapping[tuple[str, ...], int]) -> None:
        self.path = path
        self.lines = lines
        self.problems: list[DescriptionError] = []

    def read(self, document: Mapping[str, Any]) -> Description:
        tables: dict[str, Any] = {}
        for name, content in document.items():
            if name not in _TABLES:
                self.report((name,), _unknown_table(name))
            elif isinstance(content, list):
                self.report((name,), f"there is only one of it; write [{name}]")
            elif not isinstance(content, dict):
                self.report((name,), f"must be a table, not {_type_name(content)}; write [{name}] above its keys")
            else:
                tables[name] = self.read_table(name, content)
        description = Description(**tables, source=self.path)
        self.check_network(description.network)
        return self.resolve_ports(description)

    def read_table(self, name: str, content: Mapping[str, Any]) -> Any:
        table = _TABLES[name]
        rules = _rules(table)
        values: dict[str, Any] = {}
        for key, value in content.items():
            if key not in rules:
                self.report((name, key), _unknown_key(name, key))
                continue
            try:
                values[key] = rules[key].kind.read(value)
            except ValueError as error:
                self.report((name, key), str(error))
        if table is Ports:
            return Ports(**values, explicit=frozenset(values))
        return table(**values)

    def resolve_ports(self, description: Description) -> Description:
        # A wrong value was replaced by its default: what that clashes with is not the user's doing.
        if self.is_wrong("ports") or self.is_wrong("site"):
            return description
        written = description.ports.explicit
        ports = description.ports._moved(description.site.port_offset)
        for fault in ports._faults():
            own = [name for name in fault.names if name in written]
            self.report(self.written("ports", *own) if own else ("site", "port_offset"), fault.sentence)
        return dataclasses.replace(description, ports=ports)

    def check_network(self, network: Network) -> None:
        if self.is_wrong("network"):
            return
        project = ipaddress.IPv4Network(network.project_cidr)
        provider = ipaddress.IPv4Network(network.provider_cidr)
        if project.overlaps(provider):
            self.report(
                self.written("network", "project_cidr", "provider_cidr"),
                f"project_cidr {project} and provider_cidr {provider} overlap; change one of them",
            )
        if network.project_name == network.provider_name:
            self.report(
                self.written("network", "project_name", "provider_name"),
                f"both networks are named {network.project_name}; give one of them another name",
            )
        least = LOWEST_IPV6_MTU
        if network.project_type == "vxlan":
            least += VXLAN_OVERHEAD[ipaddress.ip_address(network.local_ip).version]
        if network.project_cidr_v6 and network.mtu < least:
            self.report(
                ("network", "mtu"),
                f"must be at least {least} for project_cidr_v6: IPv6 needs {LOWEST_IPV6_MTU} inside"
                " the tunnel; raise it, or leave project_cidr_v6 out",
            )

    def written(self, table: str, *keys: str) -> tuple[str, ...]:
        """Of several keys at odds, the one latest in the file: the one to blame."""
        return max(((table, key) for key in keys), key=lambda path: self.lines.get(path, 0))

    def is_wrong(self, table: str) -> bool:
        return any(problem.key.partition(".")[0] == table for problem in self.problems)

    def line_of(self, path: Sequence[str]) -> int | None:
        """The line of a key, or of what holds it."""
        for length in range(len(path), 0, -1):
            if tuple(path[:length]) in self.lines:
                return self.lines[tuple(path[:length])]
        return None

    def report(self, path: Sequence[str], problem: str) -> None:
        self.problems.append(DescriptionError(self.path, self.line_of(path), _dotted(path), problem))


def _unknown_table(name: str) -> str:
    homes = [f"{table}.{name}" for table, content in _TABLES.items() if name in _rules(content)]
    if homes:
        return f"unknown table; did you mean {' or '.join(homes)}?"
    return f"unknown table{_did_you_mean(name, _TABLES) or f'; there are {_listed(_TABLES)}'}"


def _unknown_key(table: str, key: str) -> str:
    rules = _rules(_TABLES[table])
    # Maps what people call a key to the key.
    names = {name: name for name in rules}
    for name, rule in rules.items():
        names.update(dict.fromkeys(rule.also, name))
    near = difflib.get_close_matches(key.lower().replace("-", "_"), names, n=1)
    if near:
        return f"unknown key; did you mean {names[near[0]]}?"
    homes = [f"{other}.{key}" for other, content in _TABLES.items() if key in _rules(content)]
    if homes:
        return f"unknown key; did you mean {' or '.join(homes)}?"
    return f"unknown key; there are {_listed(rules)}"


# ---------------------------------------------------------------- which line a key is on


_TOKEN = re.compile(
    r'''
      (?P<comment> \#[^\n]* )
    | (?P<string> """(?:\\.|[^\\])*?""""{0,2} | \'\'\'.*?\'\'\'\'{0,2} | "(?:\\.|[^"\\\n])*" | '[^'\n]*' )
    | (?P<word> [A-Za-z0-9_+:-]+ )
    | (?P<mark> [\[\]{}=,.] )
    | (?P<newline> \n )
    | (?P<space> [ \t]+ )
    ''',
    re.VERBOSE | re.DOTALL,
)


@dataclass(frozen=True)
class _Token:
    kind: str
    text: str
    line: int


class _KeyLines:
    """Finds the line of each key and table header, which tomllib does not tell.

    Only for text that tomllib has accepted: it looks no closer than it must.
    ``lines`` maps a key's whole path to the line where it first appears.
    """

    def __init__(self, text: str) -> None:
        self.lines: dict[tuple[str, ...], int] = {}
        self._tokens = _tokens(text)
        self._position = 0
        self._read_document()

    def _read_document(self) -> None:
        table: tuple[str, ...] = ()
        while not self._next_is(""):
            if self._next_is("\n"):
                self._take()
            elif self._next_is("["):
                self._skip("[")
                table = self._read_key(())
                self._skip("]")
            else:
                self._read_pair(table)

    def _read_pair(self, table: tuple[str, ...]) -> None:
        path = self._read_key(table)
        self._skip("=")
        self._read_value(path)

    def _read_key(self, prefix: tuple[str, ...]) -> tuple[str, ...]:
        path = prefix
        while True:
            token = self._take()
            path = (*path, _unquoted(token))
            self.lines.setdefault(path, token.line)
            if not self._next_is("."):
                return path
            self._take()

    def _read_value(self, path: tuple[str, ...]) -> None:
        if self._next_is("{"):
            self._take()
            while not self._next_is("}", ""):
                if self._next_is(",", "\n"):
                    self._take()
                else:
                    self._read_pair(path)
            self._take()
        elif self._next_is("["):
            self._take()
            while not self._next_is("]", ""):
                if self._next_is(",", "\n"):
                    self._take()
                else:
                    self._read_value(path)
            self._take()
        else:
            while not self._next_is("\n", ",", "]", "}", ""):
                self._take()

    def _next_is(self, *texts: str) -> bool:
        return self._tokens[self._position].text in texts

    def _skip(self, text: str) -> None:
        while self._next_is(text):
            self._take()

    def _take(self) -> _Token:
        token = self._tokens[self._position]
        # The last token stands for the end, and is never passed.
        self._position = min(self._position + 1, len(self._tokens) - 1)
        return token


def _tokens(text: str) -> list[_Token]:
    tokens = []
    line = 1
    for match in _TOKEN.finditer(text):
        kind = match.lastgroup or ""
        if kind not in ("comment", "space"):
            tokens.append(_Token(kind, match.group(), line))
        line += match.group().count("\n")
    tokens.append(_Token("end", "", line))
    return tokens


def _unquoted(token: _Token) -> str:
    if token.kind != "string":
        return token.text
    return str(tomllib.loads(f"key = {token.text}")["key"])


# ---------------------------------------------------------------- explaining


@dataclass(frozen=True)
class Key:
    """A key as it is explained: ``default`` is TOML, or the word none."""

    name: str
    about: str
    unit: str
    accepts: str
    default: str
    toml: str


def tables() -> list[tuple[str, list[Key]]]:
    """Return all tables with their keys, in their order."""
    found = []
    for name, table in _TABLES.items():
        defaults = table()
        keys = []
        for key, rule in _rules(table).items():
            default = getattr(defaults, key)
            shown = "none" if default in (None, ()) else _toml(default)
            keys.append(Key(key, rule.about, rule.unit, rule.kind.allowed, shown, _toml(default)))
        found.append((name, keys))
    return found


def explain() -> str:
    """An annotated site.toml with every key: meaning, unit, what it accepts, default.

    The keys are commented out, so that a file begun from it keeps following
    the defaults of later releases, and so that unset ports follow
    ``site.port_offset``.  Removing the single # in front of any key keeps its default.
    """
    parts = ["# A site's description. Everything is optional; each key shows its default.\n"]
    for name, keys in tables():
        parts.append(f"\n[{name}]\n\n")
        for key in keys:
            unit = f"Unit: {key.unit}. " if key.unit else ""
            facts = f"{unit}Accepts: {key.accepts}. Default: {key.default}."
            for sentence in (key.about, facts):
                wrapped = textwrap.wrap(sentence, width=98, break_long_words=False, break_on_hyphens=False)
                parts.extend(f"# {line}\n" for line in wrapped)
            parts.append(f"#{key.name} = {key.toml}\n\n")
    return "".join(parts).rstrip("\n") + "\n"


def _toml(value: object) -> str:
    if value is None:
        return '""'
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, tuple):
        return f"[{', '.join(_toml(item) for item in value)}]"
    # JSON's numbers and strings are TOML's as well.
    return json.dumps(value)


# ---------------------------------------------------------------- wording


def _type_name(value: object) -> str:
    # bool before int, of which it is a subclass.
    names: tuple[tuple[type, str], ...] = (
        (bool, "a boolean"),
        (int, "an integer"),
        (float, "a fractional number"),
        (str, "text"),
        (list, "a list"),
        (dict, "a table"),
    )
    for kind, name in names:
        if isinstance(value, kind):
            return name
    return "a date or time"


def _wrong_type(wanted: str, value: object) -> str:
    # The value itself is not shown: it may be a URL with a password, in the wrong brackets.
    unquote = isinstance(value, str) and re.fullmatch(r"true|false|[0-9.]+", value)
    return f"must be {wanted}, not {_type_name(value)}{'; remove the quotes' if unquote else ''}"


def _shown(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False) if isinstance(value, str) else str(value)
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}..."


def _did_you_mean(name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name.lower(), list(known), n=1)
    return f"; did you mean {near[0]}?" if near else ""


# Longer values are cut in messages.
_LONGEST_SHOWN = 60


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names)


def _dotted(path: Sequence[str]) -> str:
    bare = re.compile(r"[A-Za-z0-9_-]+")
    return ".".join(part if bare.fullmatch(part) else json.dumps(part, ensure_ascii=False) for part in path)


def _printable(text: str) -> str:
    """The text on one line, whatever a path or a key had in it."""
    return "".join(each if each.isprintable() else ascii(each)[1:-1] for each in text)
