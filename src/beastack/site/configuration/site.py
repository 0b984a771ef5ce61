"""What every service's configuration is made from: the description, its secrets, and the host's facts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from beastack.site.description import Description, Migration, Ports
from beastack.site.layout import Layout

#: Databases of the cloud and the secret that their user has.
DATABASES: Mapping[str, tuple[str, ...]] = {
    "keystone": ("keystone",),
    "glance": ("glance",),
    "placement": ("placement",),
    "nova": ("nova_api", "nova", "nova_cell0"),
    "neutron": ("neutron",),
}


@dataclass(frozen=True)
class Facts:
    """What configuration takes from the host rather than from the description.

    ``python`` is the interpreter of the site tool and ``helper`` the script
    that asks the supervisor for a privileged daemon.
    """

    cpus: int
    hostname: str
    novnc_pages: str
    python: str
    helper: str


@dataclass(frozen=True)
class Site:
    """All that configuration is made from.

    ``added_guest_hosts`` is how many of the hosts that were added to this
    site's cloud have guests.
    """

    layout: Layout
    description: Description
    secrets: Mapping[str, str]
    facts: Facts
    added_guest_hosts: int = 0

    @property
    def ports(self) -> Ports:
        """The ports that services listen on."""
        return self.description.ports

    @property
    def address(self) -> str:
        """The address that APIs listen on."""
        return self.description.site.bind_address

    @property
    def url_host(self) -> str:
        """The same, as it stands in a URL."""
        return f"[{self.address}]" if ":" in self.address else self.address

    @property
    def workers(self) -> int:
        """Processes for each API that many clients ask."""
        return self.description.site.worker_count(self.facts.cpus)

    @property
    def hostname(self) -> str:
        """The name that the cloud has for this host."""
        return self.description.host.name or self.facts.hostname

    @property
    def host_address(self) -> str:
        """The address by which other hosts reach this one; loopback while there are none."""
        return self.address if self.description.host.has_control else self.description.network.local_ip

    @property
    def console_address(self) -> str:
        """Where guests' screens and serial lines are served: to the proxies, which are on the control host."""
        return "127.0.0.1" if self.description.host.has_control else self.host_address

    @property
    def guest_hosts(self) -> int:
        """How many hosts with guests the cloud has, as its control host knows: itself, and those that were added."""
        return self.added_guest_hosts + self.description.host.has_guests

    @property
    def has_host_pair(self) -> bool:
        """Whether the host itself is on the provider network."""
        return self.description.host.has_network

    @property
    def has_provider(self) -> bool:
        """Whether the provider network reaches this host."""
        return self.has_host_pair

    @property
    def auth_url(self) -> str:
        """Where keystone answers."""
        return self.description.control.identity_url or f"http://{self.url_host}:{self.ports.identity}/v3"

    def service_account(self, user: str) -> tuple[str, str]:
        """Return the name and the password of a service user: this site's own, or what [control] says."""
        if self.description.host.has_control:
            return user, self.secrets[f"user-{user}"]
        return self.description.control.account(user)

    def database_url(self, owner: str, database: str) -> str:
        """Return the SQLAlchemy URL of one database."""
        base = self.description.database.url
        if base is not None:
            return f"{base.rstrip('/')}/{database}?charset=utf8mb4"
        socket = quote(str(self.layout.run("mariadb") / "mariadb.sock"))
        return (
            f"mysql+pymysql://{owner}:{self.secrets['db-' + owner]}@localhost/{database}"
            f"?unix_socket={socket}&charset=utf8mb4"
        )

    @property
    def cell_databases(self) -> dict[str, str]:
        """The databases of Nova's cells, by their names."""
        return {cell: self.database_url("nova", name) for cell, name in (("cell0", "nova_cell0"), ("cell1", "nova"))}

    @property
    def transport_url(self) -> str:
        """Where RabbitMQ answers, with credentials."""
        url = self.description.messaging.url
        return url or f"rabbit://beastack:{self.secrets['messaging']}@{self.broker_host}:{self.ports.messaging}/"

    @property
    def broker_host(self) -> str:
        """The address that the site's own RabbitMQ listens on, as it stands in a URL."""
        listen = self.description.messaging.listen
        return f"[{listen}]" if ":" in listen else listen

    @property
    def is_freebsd(self) -> bool:
        """Whether the host is of kind freebsd."""
        return self.description.host.kind == "freebsd"

    @property
    def novnc_url(self) -> str:
        """The page of graphical consoles."""
        return f"http://{self.url_host}:{self.ports.novnc}/vnc_lite.html"

    @property
    def serial_url(self) -> str:
        """Where serial consoles are served over websockets."""
        return f"ws://{self.url_host}:{self.ports.serial}/"

    @property
    def migration(self) -> Migration:
        """What this host shows to other hosts with guests; nothing where there are none."""
        if not (self.is_freebsd and self.description.host.has_guests):
            return Migration()
        if not self.description.host.has_control:
            return self.description.migration
        # Made when the first other host with guests was added.
        return Migration(*(self.secrets.get(f"migration-{name}") for name in ("authority", "certificate", "key")))

    @property
    def certificates(self) -> Path:
        """The directory of that certificate."""
        return self.layout.etc("nova-compute") / "migration"

    @property
    def metadata_address(self) -> str:
        """Where nova's metadata API listens: on this host, or on the control host."""
        return self.description.control.address or self.address

    @property
    def metadata_secret(self) -> str:
        """What signs the metadata agent's requests."""
        return self.description.control.metadata_secret or self.secrets["metadata-proxy"]

    @property
    def libvirt_socket(self) -> str:
        """The Unix socket of the site's own libvirtd."""
        return str(self.layout.run("libvirt") / "libvirt-sock")

    @property
    def ovsdb(self) -> str:
        """Where the site's own ovsdb-server answers."""
        return f"unix:{self.layout.run('openvswitch')}/db.sock"
