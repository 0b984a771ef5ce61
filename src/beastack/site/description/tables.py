"""The tables of site.toml: a frozen dataclass for each, and in it each key with its default and what is known of it."""

from __future__ import annotations

import dataclasses
import itertools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from beastack.site.description import kinds, urls
from beastack.site.description.kinds import HIGHEST_PORT, key, rules_of

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


@dataclass(frozen=True)
class Site:
    """The site as a whole."""

    region: str = key("RegionOne", kinds.name(), "Name of the region in the service catalogue.")
    bind_address: str = key(
        "127.0.0.1",
        # Clients are told this address: "any" would tell them none.
        kinds.ip("an IPv4 or IPv6 address"),
        "Address that the APIs and console proxies listen on.",
    )
    workers: int = key(
        0,
        kinds.integer(0, 256),
        "WSGI workers of each API. 0 lets beastack choose: 2, or 1 on a single CPU.",
        unit="processes",
    )
    port_offset: int = key(
        0,
        kinds.integer(0, 50000),
        "Added to every port that [ports] does not set, so that several sites can share a host.",
    )

    def worker_count(self, cpus: int) -> int:
        """The number of WSGI workers per API on a host with this many CPUs."""
        return self.workers or max(1, min(2, cpus))


_PORT = kinds.integer(1, HIGHEST_PORT)


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
class Fault:
    """Ports that cannot be as they are: the keys concerned, and a sentence about them."""

    names: tuple[str, ...]
    sentence: str


@dataclass(frozen=True)
class Ports:
    """TCP ports.  What the file sets stays; the other ports move by ``site.port_offset``.

    ``explicit`` names the ports that are final.  A loaded description holds
    them resolved, so all of them are.
    """

    identity: int = key(5000, _PORT, "Identity API.", also=("keystone",))
    image: int = key(9292, _PORT, "Image API.", also=("glance",))
    placement: int = key(8778, _PORT, "Placement API.")
    network: int = key(9696, _PORT, "Network API.", also=("neutron",))
    compute: int = key(8774, _PORT, "Compute API.", also=("nova",))
    metadata: int = key(8775, _PORT, "Metadata API, for the instances.")
    novnc: int = key(6080, _PORT, "Graphical consoles in a browser.", also=("novncproxy", "vnc"))
    serial: int = key(6083, _PORT, "Serial consoles over websockets.", also=("serialproxy",))
    messaging: int = key(5673, _PORT, "The site's own RabbitMQ.", also=("rabbitmq", "amqp"))
    epmd: int = key(14369, _PORT, "Erlang's port mapper, for RabbitMQ.")
    erlang: int = key(25673, _PORT, "Erlang's distribution, for RabbitMQ.", also=("erlang_distribution",))
    migration: int = key(16636, _PORT, "Disks of instances from other hosts, on hosts with guests.")
    openflow: int = key(16633, _PORT, "OpenFlow, from the switch to the network agent.")
    vnc_first: int = key(5900, kinds.integer(LOWEST_VNC_PORT, HIGHEST_PORT), "First port of the guests' VNC servers.")
    vnc_last: int = key(5999, kinds.integer(LOWEST_VNC_PORT, HIGHEST_PORT), "Last port of the guests' VNC servers.")
    serial_first: int = key(10000, _PORT, "First port of the guests' serial consoles.")
    serial_last: int = key(10999, _PORT, "Last port of the guests' serial consoles.")
    # How a port came to its number does not make it another port: left out of comparisons.
    explicit: frozenset[str] = dataclasses.field(default=frozenset(), repr=False, compare=False)

    def resolve(self, offset: int) -> Ports:
        """The final ports: those not explicit are moved up by ``offset``.

        The result resolves to itself.  Raises ValueError when two would be
        the same or one would be above 65535.
        """
        final = self.moved(offset)
        faults = final.faults()
        if faults:
            raise ValueError(faults[0].sentence)
        return final

    def moved(self, offset: int) -> Ports:
        """The ports with those not explicit moved up, whether they can be so or not."""
        numbers = self._numbers()
        moved = {name: port if name in self.explicit else port + offset for name, port in numbers.items()}
        return Ports(**moved, explicit=frozenset(numbers))

    def _numbers(self) -> dict[str, int]:
        return {name: getattr(self, name) for name in rules_of(Ports)}

    def _spans(self) -> list[_Span]:
        numbers = self._numbers()
        spans = [_Span((name,), port, port) for name, port in numbers.items() if not name.endswith(("_first", "_last"))]
        for first, last in (("vnc_first", "vnc_last"), ("serial_first", "serial_last")):
            spans.append(_Span((first, last), numbers[first], numbers[last]))
        return spans

    def faults(self) -> list[Fault]:
        """What is wrong with the numbers as they are."""
        numbers = self._numbers()
        name = max(numbers, key=lambda each: numbers[each])
        excess = numbers[name] - HIGHEST_PORT
        if excess > 0:
            advice = f"lower site.port_offset by {excess} or more, or set ports.{name}"
            return [Fault((name,), f"ports.{name} would be {numbers[name]}, above {HIGHEST_PORT}; {advice}")]
        spans = self._spans()
        faults = [
            Fault(span.names, f"{span} ends before it begins; swap the two")
            for span in spans
            if span.first > span.last
        ]
        for one, other in itertools.combinations(spans, 2):
            if one.first <= other.last and other.first <= one.last:
                sentence = f"{one} and {other} clash; give one of them another port"
                faults.append(Fault(one.names + other.names, sentence))
        return faults


@dataclass(frozen=True)
class Database:
    """Where the services keep their data.  ``url`` holds a password: show ``masked_url`` instead.

    A ``url`` ends with the slash that a database's name follows.
    """

    url: str | None = key(
        None,
        kinds.optional(urls.database_url()),
        "An existing MariaDB or MySQL server, with a user that may create databases."
        " None: the site runs a MariaDB of its own.",
        secret=True,
    )
    buffer_pool_mb: int = key(
        96, kinds.integer(16, 1048576), "InnoDB buffer pool of the site's own MariaDB.", unit="MiB"
    )

    @property
    def masked_url(self) -> str | None:
        """The URL with *** for its password, for messages and logs."""
        return urls.mask(self.url)


@dataclass(frozen=True)
class Messaging:
    """How the services talk.  ``url`` holds a password: show ``masked_url`` instead.

    A ``url`` may name several members of a cluster, separated by commas.
    """

    url: str | None = key(
        None,
        kinds.optional(urls.messaging_url()),
        "An existing RabbitMQ server or cluster. None: the site runs a RabbitMQ of its own.",
        secret=True,
    )
    listen: str = key(
        "127.0.0.1",
        kinds.ip("an IPv4 or IPv6 address"),
        "Address that the site's own RabbitMQ listens on: other hosts of the cloud need to reach it.",
    )

    @property
    def masked_url(self) -> str | None:
        """The URL with *** for each password, for messages and logs."""
        return urls.mask(self.url)


@dataclass(frozen=True)
class Network:
    """The first networks, and what carries them.  CIDRs and addresses are in canonical form."""

    project_type: str = key("vxlan", kinds.choice("vxlan", "vlan"), "How project networks are kept apart.")
    project_name: str = key("private", kinds.name(), "Name of the first project network.")
    project_cidr: str = key("10.42.0.0/24", kinds.cidr(4, 8, 29), "IPv4 subnet of the first project network.")
    project_cidr_v6: str | None = key(
        None,
        kinds.optional(kinds.cidr(6, 64, 64)),
        "IPv6 subnet of the first project network; /64, as instances choose their addresses in it.",
    )
    provider_name: str = key("provider", kinds.name(), "Name of the provider network.")
    provider_cidr: str = key("172.30.0.0/24", kinds.cidr(4, 8, 29), "IPv4 subnet of the provider network.")
    vlan_range: str = key("100:199", kinds.vlan_range(), "VLANs for project networks of type vlan.")
    dns: tuple[str, ...] = key(
        (), kinds.list_of(kinds.ip("an IP address"), MOST_DNS_SERVERS), "Name servers that instances are told of."
    )
    mtu: int = key(
        1500,
        kinds.integer(1280, 9216),
        "MTU of the physical network; instances get it less the tunnel's headers.",
        unit="bytes",
    )
    local_ip: str = key(
        "127.0.0.1", kinds.ip("an IPv4 or IPv6 address"), "This host's endpoint of the tunnels to other hosts."
    )
    underlay: str | None = key(
        None,
        kinds.optional(kinds.interface_name()),
        "Interface that carries the tunnels, on FreeBSD: it becomes a port of a bridge of the switch,"
        " and that bridge gets local_ip. None: no tunnels leave the host.",
    )
    underlay_prefix: int = key(24, kinds.integer(8, 126), "Length of the prefix of local_ip.", unit="bits")
    dhcp: str = key(
        "agent",
        kinds.choice("agent", "responder"),
        "Who answers guests' DHCP, on FreeBSD: dnsmasq in a jail of each network (agent),"
        " or flows and the switch's agent, without jails (responder).",
    )


@dataclass(frozen=True)
class Compute:
    """How this host runs instances."""

    virt_type: str = key(
        "qemu", kinds.choice("qemu", "kvm"), "qemu emulates and runs anywhere; kvm is fast and needs /dev/kvm."
    )
    cpu_allocation_ratio: float = key(
        16.0, kinds.number(0.1, 256), "Virtual CPUs handed out for each CPU of the host.", unit="ratio"
    )
    ram_allocation_ratio: float = key(
        1.0, kinds.number(0.1, 256), "Memory handed out for each byte of the host's.", unit="ratio"
    )
    reserved_memory_mb: int = key(
        512, kinds.integer(0, 16777216), "Memory kept for the host and the services.", unit="MiB"
    )
    zfs_dataset: str | None = key(
        None,
        kinds.optional(kinds.dataset_name()),
        "ZFS dataset that `up` makes for instances' disks, on FreeBSD: volumes, cloned from their images."
        " None: disks are files. It changes only while no instance has its disks in the other place: shelve them"
        " meanwhile.",
    )


@dataclass(frozen=True)
class Logs:
    """The services' log files."""

    level: str = key("info", kinds.choice("debug", "info", "warning"), "The least severity that is logged.")
    max_bytes: int = key(
        10485760, kinds.integer(65536, 1099511627776), "Size at which a log file is rotated.", unit="bytes"
    )
    keep: int = key(3, kinds.integer(1, 1000), "Rotated files kept of each log.", unit="files")


@dataclass(frozen=True)
class Instance:
    """The first instance."""

    boot: bool = key(True, kinds.flag(), "Whether the first `up` boots an instance.")
    name: str = key("first", kinds.name(), "Its name.")
    flavor: str = key("m1.tiny", kinds.name(), "Its flavor.")


@dataclass(frozen=True)
class Hosts:
    """The host the site runs on."""

    kind: str = key(DEFAULT_HOST_KIND, kinds.choice(*HOST_KINDS), "Kind of the host.")
    role: str = key(
        "all",
        kinds.choice(*HOST_ROLES),
        "What the host does: all; or the APIs and what they need (control), the guests' DHCP and metadata (network),"
        " the guests (compute), or two of these. A host without the control role needs [control] and messaging.url.",
    )
    name: str | None = key(
        None,
        kinds.optional(kinds.name()),
        "Name that the cloud has for this host. None: the machine's own, up to the first dot.",
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

    address: str | None = key(
        None, kinds.optional(kinds.ip("an IPv4 or IPv6 address")), "Address of the control host's metadata API."
    )
    metadata_secret: str | None = key(
        None,
        kinds.optional(kinds.secret()),
        "What signs requests to it: metadata-proxy in the control host's secrets.json.",
        secret=True,
    )
    identity_url: str | None = key(
        None,
        kinds.optional(kinds.http_url()),
        "Identity API of the cloud, ending in /v3. The other APIs are looked up in its catalogue, in site.region.",
    )
    compute_user: str = key(
        "nova", kinds.name(), "Service user that nova-compute is, to all APIs unless the next say otherwise."
    )
    compute_password: str | None = key(None, kinds.optional(kinds.password()), "Its password.", secret=True)
    network_user: str | None = key(
        None, kinds.optional(kinds.name()), "Who it is to the network API. None: compute_user."
    )
    network_password: str | None = key(None, kinds.optional(kinds.password()), "That user's password.", secret=True)
    placement_user: str | None = key(
        None, kinds.optional(kinds.name()), "Who it is to the placement API. None: compute_user."
    )
    placement_password: str | None = key(None, kinds.optional(kinds.password()), "That user's password.", secret=True)
    project: str = key("service", kinds.name(), "Project of these users.")
    domain: str = key("Default", kinds.name(), "Domain of these users and of their project.")
    novnc_url: str | None = key(
        None,
        kinds.optional(kinds.http_url()),
        "Page of the cloud's noVNC proxy, as browsers reach it. None: no graphical consoles.",
    )
    serial_url: str | None = key(
        None, kinds.optional(kinds.http_url("ws", "wss")), "The cloud's serial console proxy. None: no serial consoles."
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

    authority: str | None = key(
        None, kinds.optional(kinds.pem("CERTIFICATE")), "Certificate of the cloud's own authority."
    )
    certificate: str | None = key(None, kinds.optional(kinds.pem("CERTIFICATE")), "This host's, which that one signed.")
    key: str | None = key(
        None, kinds.optional(kinds.pem("PRIVATE KEY")), "Its key. None: no cold migration.", secret=True
    )

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


TABLES: dict[str, type[Any]] = {
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
