"""Generated service configuration: pure functions from the site to file texts.

Every service reads a directory of its own, so that each holds only what that
service needs (nova-compute, for one, is never told a database password).
Option names and defaults are upstream's; a comment says why one is set.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from beastack.site.description import Description, Migration, Ports
from beastack.site.layout import Layout
from beastack.site.members import read_members

Sections = dict[str, dict[str, object]]

#: Upstream's name for the description of an API's pipelines.
PIPELINE = "api-paste.ini"

#: On how many hosts an instance's start is attempted at most: nova's own default.
MOST_ATTEMPTS = 3

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
    """All that configuration is made from."""

    layout: Layout
    description: Description
    secrets: Mapping[str, str]
    facts: Facts

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
        added = sum(member.has_guests for member in read_members(self.layout).values())
        return added + self.description.host.has_guests

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


def render(sections: Sections) -> str:
    """Return sections as the text of an oslo.config file."""
    lines = ["# Generated by beastack from site.toml: changes here are overwritten."]
    for section, options in sections.items():
        if not options:
            continue
        lines += ["", f"[{section}]"]
        for name, value in options.items():
            text = str(value).lower() if isinstance(value, bool) else str(value)
            # oslo.config takes a dollar sign for the beginning of another option's name.
            text = text.replace("$", "$$")
            lines.append(f"{name} = {text}".rstrip())
    return "\n".join(lines) + "\n"


def merge(*parts: Sections) -> Sections:
    """Return the sections of all parts together; later options win."""
    merged: Sections = {}
    for part in parts:
        for section, options in part.items():
            merged.setdefault(section, {}).update(options)
    return merged


# Parts that several services share


def _common(site: Site, service: str) -> Sections:
    level = site.description.logs.level
    default: dict[str, object] = {
        "debug": level == "debug",
        # Standard error is the supervisor's log file: it names, keeps and rotates it.
        "use_stderr": True,
    }
    if level == "warning":
        default["default_log_levels"] = "keystone=WARNING,glance=WARNING,placement=WARNING,nova=WARNING,neutron=WARNING"
    return {
        "DEFAULT": default,
        "oslo_concurrency": {"lock_path": site.layout.run(service) / "locks"},
    }


def _database(site: Site, owner: str, database: str, section: str = "database") -> Sections:
    return {
        section: {
            "connection": site.database_url(owner, database),
            # A process serves few threads; a large pool only holds connections open.
            "max_pool_size": 5,
            "max_overflow": 20,
            "connection_recycle_time": 600,
        }
    }


def _messaging(site: Site) -> Sections:
    return {
        "DEFAULT": {"transport_url": site.transport_url, "rpc_response_timeout": 60, "executor_thread_pool_size": 16},
        "oslo_messaging_notifications": {"driver": "noop"},
        "oslo_messaging_rabbit": {
            "heartbeat_in_pthread": False,
            "rabbit_retry_interval": 1,
            "rabbit_retry_backoff": 1,
            "rabbit_interval_max": 4,
            "kombu_reconnect_delay": 0.5,
            # Classic transient queues: one node, nothing in them outlives their reader.
            "rabbit_quorum_queue": False,
        },
    }


def _credentials(site: Site, user: str) -> dict[str, object]:
    name, password = site.service_account(user)
    control = site.description.control
    return {
        "auth_type": "password",
        "auth_url": site.auth_url,
        "region_name": site.description.site.region,
        "username": name,
        "password": password,
        "project_name": control.project,
        "user_domain_name": control.domain,
        "project_domain_name": control.domain,
    }


def _token_check(site: Site, user: str) -> Sections:
    token = _credentials(site, user)
    token.update({
        "www_authenticate_uri": site.auth_url,
        "service_token_roles": "service",
        "service_token_roles_required": True,
        "service_type": {"nova": "compute", "neutron": "network", "glance": "image", "placement": "placement"}[user],
    })  # fmt: skip
    return {
        "keystone_authtoken": token,
        "service_user": {"send_service_user_token": True, **_credentials(site, user)},
    }


# Keystone, Glance, Placement


def keystone(site: Site) -> Sections:
    """Return keystone.conf."""
    data = site.layout.data("keystone")
    return merge(
        _common(site, "keystone"),
        _database(site, "keystone", "keystone"),
        {
            "fernet_tokens": {"key_repository": data / "fernet-keys"},
            # Receipts share the tokens' keys, as upstream recommends.
            "fernet_receipts": {"key_repository": data / "fernet-keys"},
            "credential": {"key_repository": data / "credential-keys"},
            # In this process's memory: Keystone runs as one process, so nothing is answered from
            # what another has changed or revoked since.
            "cache": {"enabled": True, "backend": "oslo_cache.dict", "expiration_time": 30},
        },
    )


def glance(site: Site) -> Sections:
    """Return glance-api.conf."""
    data = site.layout.data("glance")
    return merge(
        _common(site, "glance"),
        _database(site, "glance", "glance"),
        _token_check(site, "glance"),
        {
            "DEFAULT": {
                "enabled_backends": "file:file",
                "show_multiple_locations": False,
                "worker_self_reference_url": f"http://{site.url_host}:{site.ports.image}",
            },
            "glance_store": {"default_backend": "file"},
            "file": {"filesystem_store_datadir": data / "images"},
            "os_glance_staging_store": {"filesystem_store_datadir": data / "staging"},
            "os_glance_tasks_store": {"filesystem_store_datadir": data / "tasks"},
            # No caching flavor: it wants a database of its own and one store needs no cache.
            "paste_deploy": {
                "flavor": "keystone",
                "config_file": site.layout.venv / "etc/glance/glance-api-paste.ini",
            },
            "oslo_policy": {"policy_dirs": site.layout.etc("glance") / "policy.d"},
        },
    )


def placement(site: Site) -> Sections:
    """Return placement.conf."""
    return merge(
        _common(site, "placement"),
        _database(site, "placement", "placement", "placement_database"),
        _token_check(site, "placement"),
        {"api": {"auth_strategy": "keystone"}},
    )


# Nova


def _to_others(site: Site, project: str) -> str:
    """Return which service user nova is to another project: its own, where another cloud does not want it otherwise."""
    return "nova" if site.description.host.has_control else project


def _nova(site: Site, service: str) -> Sections:
    state = site.layout.data("nova")
    return merge(
        _common(site, service),
        _messaging(site),
        {
            "DEFAULT": {
                # A host has a name of its own: no DNS is asked.
                "host": site.hostname,
                "my_ip": site.host_address,
                "state_path": state,
                # There may be no other host to resize to.
                "allow_resize_to_same_host": True,
                "concurrency_backend": "threading",
                "graceful_shutdown_timeout": 6,
                "manager_shutdown_timeout": 3,
                "report_interval": 10,
                "service_down_time": 60,
            },
            "api": {"auth_strategy": "keystone"},
            "glance": {**_credentials(site, "nova"), "service_type": "image"},
            "placement": _credentials(site, _to_others(site, "placement")),
            "neutron": _credentials(site, _to_others(site, "neutron")),
            "cinder": _credentials(site, "nova"),
        },
        _token_check(site, "nova"),
        {"wsgi": {"api_paste_config": site.layout.venv / "etc/nova/api-paste.ini"}},
    )


def _nova_databases(site: Site) -> Sections:
    return merge(
        _database(site, "nova", "nova_api", "api_database"),
        _database(site, "nova", "nova", "database"),
    )


def _nova_consoles(site: Site) -> Sections:
    """Return where the proxies listen, where they find guests' consoles, and what users are told."""
    if not site.description.host.has_control:
        return _remote_consoles(site)
    return {
        "vnc": {
            "enabled": True,
            "novncproxy_host": site.address,
            "novncproxy_port": site.ports.novnc,
            "novncproxy_base_url": site.novnc_url,
            "server_listen": site.console_address,
            "server_proxyclient_address": site.console_address,
        },
        "serial_console": {
            "enabled": True,
            "serialproxy_host": site.address,
            "serialproxy_port": site.ports.serial,
            "base_url": site.serial_url,
            "proxyclient_address": site.console_address,
            "port_range": f"{site.ports.serial_first}:{site.ports.serial_last}",
        },
    }


def _remote_consoles(site: Site) -> Sections:
    control, address = site.description.control, site.console_address
    vnc: dict[str, object] = {"enabled": False}
    if control.novnc_url is not None:
        vnc = {
            "enabled": True, "novncproxy_base_url": control.novnc_url, "server_listen": address,
            "server_proxyclient_address": address,
        }  # fmt: skip
    serial: dict[str, object] = {"enabled": False}
    if control.serial_url is not None:
        serial = {
            "enabled": True, "base_url": control.serial_url, "proxyclient_address": address,
            "port_range": f"{site.ports.serial_first}:{site.ports.serial_last}",
        }  # fmt: skip
    return {"vnc": vnc, "serial_console": serial}


def nova_api(site: Site) -> Sections:
    """Return nova.conf of the API."""
    return merge(
        _nova(site, "nova-api"),
        _nova_databases(site),
        _nova_consoles(site),
        {
            "quota": {"driver": "nova.quota.DbQuotaDriver"},
            "wsgi": {"api_paste_config": site.layout.etc("nova-api") / PIPELINE},
        },
    )


def nova_pipeline(site: Site) -> str:
    """Return nova-api's pipelines: upstream's, with a filter that refuses what instances on bhyve cannot do."""
    return render({
        "composite:osapi_compute": {
            "paste.composite_factory": "beastack.port.nova.api_pipeline:make",
            "upstream": site.layout.venv / "etc/nova/api-paste.ini",
        }
    })  # fmt: skip


def nova_metadata(site: Site) -> Sections:
    """Return nova.conf of the metadata API, which alone in nova knows the agent's signature."""
    signed = {
        "service_metadata_proxy": True,
        "metadata_proxy_shared_secret": site.secrets["metadata-proxy"],
    }
    return merge(_nova(site, "nova-metadata"), _nova_databases(site), {"neutron": signed})


def nova_conductor(site: Site) -> Sections:
    """Return nova.conf of the conductor (nova-manage uses it too)."""
    return merge(_nova(site, "nova-conductor"), _nova_databases(site), _attempts(site), {"conductor": {"workers": 1}})


def nova_scheduler(site: Site) -> Sections:
    """Return nova.conf of the scheduler."""
    return merge(
        _nova(site, "nova-scheduler"),
        _nova_databases(site),
        _attempts(site),
        {"scheduler": {"workers": 1, "discover_hosts_in_cells_interval": 30}},
    )


def _attempts(site: Site) -> Sections:
    """Return on how many hosts an instance's start is attempted.

    After the last attempt the instance's fault is why that host failed. When
    nova runs out of hosts before that, the fault says only so.
    """
    return {"scheduler": {"max_attempts": min(MOST_ATTEMPTS, max(1, site.guest_hosts))}}



def nova_novncproxy(site: Site) -> Sections:
    """Return nova.conf of the VNC proxy."""
    return merge(
        _nova(site, "nova-novncproxy"),
        _nova_databases(site),
        _nova_consoles(site),
        {"DEFAULT": {"web": site.facts.novnc_pages}},
    )


def nova_serialproxy(site: Site) -> Sections:
    """Return nova.conf of the serial console proxy."""
    # The page is served where the websocket is, so that a browser's Origin is the proxy's own host.
    pages = site.layout.code / "beastack" / "site" / "serial_page"
    return merge(
        _nova(site, "nova-serialproxy"), _nova_databases(site), _nova_consoles(site), {"DEFAULT": {"web": pages}}
    )


def nova_compute(site: Site) -> Sections:
    """Return nova.conf of a compute host; it holds no database URL."""
    compute = site.description.compute
    return merge(
        _nova(site, "nova-compute"),
        _nova_consoles(site),
        {
            "DEFAULT": {
                "instances_path": site.layout.data("nova") / "instances",
                "resume_guests_state_on_host_boot": True,
                "force_raw_images": True,
                "cpu_allocation_ratio": compute.cpu_allocation_ratio,
                "ram_allocation_ratio": compute.ram_allocation_ratio,
                "reserved_host_memory_mb": compute.reserved_memory_mb,
                # Ten guests asked for at once start together, not one after the other.
                "max_concurrent_builds": 10,
                "max_concurrent_snapshots": 10,
                "sync_power_state_interval": 60,
                "heal_instance_info_cache_interval": 60,
                "running_deleted_instance_poll_interval": 60,
            },
            "os_vif_ovs": {"ovsdb_connection": site.ovsdb, "ovs_vsctl_timeout": 30},
        },
        _bhyve_compute(site) if site.is_freebsd else _linux_compute(site),
    )


def _bhyve_compute(site: Site) -> Sections:
    dataset = site.description.compute.zfs_dataset
    return merge(
        {
            "DEFAULT": {
                "compute_driver": "bhyve.BhyveDriver",
                # bhyve reads raw disks only.
                "use_cow_images": False,
                "mkisofs_cmd": "mkisofs",
            },
            "libvirt": {
                "virt_type": "bhyve",
                "connection_uri": f"bhyve+unix:///system?socket={quote(site.libvirt_socket)}",
                # The back end "default" is the driver's own, of ZFS volumes.
                "images_type": "default" if dataset else "raw",
                # Of a disk's zeros nothing is stored.
                "snapshot_image_format": "qcow2",
                "inject_partition": -2,
                # What is in it when nova-compute starts is removed.
                "snapshots_directory": site.layout.data("nova") / "snapshots",
                **({"migration_inbound_addr": site.host_address} if site.migration.is_set else {}),
            },
            "bhyve": {
                "console_directory": site.layout.data("console"),
                **({"zfs_dataset": dataset} if dataset else {}),
                **_migration(site),
            },
            # The group is named after the plugin.
            "os_vif_ovs_freebsd": {"ovsdb_connection": site.ovsdb, "ovs_vsctl_timeout": 30},
        },
        _privsep(site, ("nova_sys_admin", "vif_plug_ovs_privileged", "privsep_osbrick", "beastack_bhyve_privileged")),
    )


def _migration(site: Site) -> dict[str, object]:
    """Return how disks go to other hosts."""
    if not site.migration.is_set:
        return {}
    return {"migration_certificates": site.certificates, "migration_port": site.ports.migration}


def _linux_compute(site: Site) -> Sections:
    compute = site.description.compute
    return merge(
        {
            "DEFAULT": {
                "compute_driver": "libvirt.LibvirtDriver",
                # QEMU's disks shrink to what differs from the cached image.
                "use_cow_images": True,
                "mkisofs_cmd": "genisoimage",
            },
            "libvirt": {
                "virt_type": compute.virt_type,
                "connection_uri": f"qemu+unix:///system?socket={quote(site.libvirt_socket)}",
                # The emulated CPU of QEMU: no model suits every emulator release.
                "cpu_mode": "none" if compute.virt_type == "qemu" else "host-model",
                "hw_machine_type": "x86_64=q35",
                # A q35 machine has one or two free slots otherwise: the second interface that is
                # attached to a running instance would be refused ("No more available PCI slots").
                "num_pcie_ports": 12,
                "images_type": "qcow2",
                "inject_partition": -2,
            },
        },
        _privsep(site, ("nova_sys_admin", "vif_plug_ovs_privileged", "privsep_osbrick")),
    )


# Neutron


#: Agents that keep files of their own; on FreeBSD each runs as a user of its own.
NEUTRON_AGENTS = ("neutron-ovs-agent", "neutron-dhcp-agent", "neutron-metadata-agent")


def neutron_state(site: Site, service: str) -> Path:
    """Return the directory that a service of neutron keeps its state in."""
    return site.layout.data(service if site.is_freebsd and service in NEUTRON_AGENTS else "neutron")


def _neutron(site: Site, service: str) -> Sections:
    network = site.description.network
    return merge(
        _common(site, service),
        _messaging(site),
        {
            "DEFAULT": {
                "host": site.hostname,
                "state_path": neutron_state(site, service),
                "core_plugin": "ml2",
                "service_plugins": "",
                "global_physnet_mtu": network.mtu,
                "dns_domain": "cloud.internal.",
                "api_workers": 1,
                "rpc_workers": 1,
                "rpc_state_report_workers": 0,
                "agent_down_time": 45,
                # Names are given out by dnsmasq; nova is told of ports as they come up.
                "notify_nova_on_port_status_changes": True,
                "notify_nova_on_port_data_changes": True,
            },
            "AGENT": {"root_helper": "", "report_interval": 10},
            "ml2": {
                "type_drivers": "flat,vlan,vxlan",
                "project_network_types": network.project_type,
                "mechanism_drivers": "openvswitch_netdev",
                "extension_drivers": "port_security",
                "path_mtu": network.mtu,
            },
            "ml2_type_flat": {"flat_networks": "provider"},
            "ml2_type_vlan": {"network_vlan_ranges": f"provider:{network.vlan_range}"},
            "ml2_type_vxlan": {"vni_ranges": "1:65535"},
            "securitygroup": {"firewall_driver": "openvswitch", "enable_ipset": False, "enable_security_group": True},
        },
        # The agent in the switch answers instead: nothing is scheduled, and nothing waits for it.
        {"DEFAULT": {"enable_traditional_dhcp": False}} if _has_responder(site) else {},
    )


def _has_responder(site: Site) -> bool:
    return site.is_freebsd and site.description.network.dhcp == "responder"


def _neutron_server(site: Site, service: str) -> Sections:
    return merge(
        _neutron(site, service),
        _database(site, "neutron", "neutron"),
        _token_check(site, "neutron"),
        {
            "DEFAULT": {"api_paste_config": site.layout.venv / "etc/neutron/api-paste.ini"},
            "nova": _credentials(site, "nova"),
            "placement": _credentials(site, "neutron"),
        },
    )


def neutron_api(site: Site) -> Sections:
    """Return neutron.conf of the API."""
    return _neutron_server(site, "neutron-api")


def neutron_rpc(site: Site) -> Sections:
    """Return neutron.conf of the RPC server (neutron-db-manage uses it too)."""
    return _neutron_server(site, "neutron-rpc")


def neutron_periodic(site: Site) -> Sections:
    """Return neutron.conf of the periodic workers."""
    return _neutron_server(site, "neutron-periodic")


def bridge_mappings(site: Site) -> dict[str, str]:
    """Return the bridges behind the physical networks' names."""
    mappings = {"provider": site.layout.interface("ext")} if site.has_provider else {}
    if _has_responder(site):
        # Upstream's name for the bridge that requests for metadata leave by.
        mappings["meta"] = site.layout.interface("meta")
    return mappings


def _ovs(site: Site) -> Sections:
    return {
        "OVS": {
            "datapath_type": "netdev",
            "integration_bridge": site.layout.interface("int"),
            "tunnel_bridge": site.layout.interface("tun"),
            "int_peer_patch_port": "patch-tun",
            "tun_peer_patch_port": "patch-int",
            "bridge_mappings": ",".join(f"{name}:{bridge}" for name, bridge in bridge_mappings(site).items()),
            "ovsdb_connection": site.ovsdb,
            "of_listen_address": "127.0.0.1",
            "of_listen_port": site.ports.openflow,
            "local_ip": site.description.network.local_ip,
        }
    }


def neutron_ovs_agent(site: Site) -> Sections:
    """Return neutron.conf of the Open vSwitch agent."""
    return merge(
        _neutron(site, "neutron-ovs-agent"),
        _ovs(site),
        {
            "AGENT": {
                "tunnel_types": "vxlan",
                "arp_responder": False,
                "l2_population": False,
                "extensions": ",".join(_agent_extensions(site)),
            }
        },
        _freebsd_ovs_agent(site) if site.is_freebsd else {},
        _privsep(
            site,
            ("privsep", "privsep_ovs_vsctl", "privsep_namespace", "privsep_conntrack", "privsep_link"),
        ),
    )


def _agent_extensions(site: Site) -> tuple[str, ...]:
    if not site.is_freebsd:
        return ("beastack_raise_tap",)
    responder = ("dhcp", "metadata_path") if _has_responder(site) else ()
    return ("beastack_reopen_port", *responder)


def _freebsd_ovs_agent(site: Site) -> Sections:
    """Return what the Open vSwitch agent needs otherwise on FreeBSD."""
    return {
        "securitygroup": {"firewall_driver": "beastack_openvswitch"},
        # Only the extension for metadata reads this section.
        "METADATA": {
            "nova_metadata_host": site.metadata_address,
            "nova_metadata_port": site.ports.metadata,
            "metadata_proxy_shared_secret": site.metadata_secret,
        } if _has_responder(site) else {},
    }  # fmt: skip


def neutron_dhcp_agent(site: Site) -> Sections:
    """Return neutron.conf of the DHCP agent."""
    return merge(
        _neutron(site, "neutron-dhcp-agent"),
        _ovs(site),
        {
            "DEFAULT": {
                "interface_driver": "openvswitch",
                "dhcp_driver": "neutron.agent.linux.dhcp.Dnsmasq",
                "enable_isolated_metadata": True,
                "force_metadata": True,
                "dnsmasq_dns_servers": ",".join(site.description.network.dns),
                "dhcp_confs": neutron_state(site, "neutron-dhcp-agent") / "dhcp",
                "metadata_proxy_socket": site.layout.run("neutron-metadata-agent") / "metadata.sock",
                "kill_scripts_path": site.layout.etc("neutron-dhcp-agent") / "kill-scripts",
                # A veth pair outlives a restart of ovs-vswitchd; an internal port of the
                # userspace datapath is made anew, outside the namespace it was moved to.
                "ovs_use_veth": True,
                "resync_interval": 5,
            }
        },
        {
            "DEFAULT": {
                "interface_driver": "beastack_epair",
                "dhcp_driver": "beastack.port.neutron.dhcp_driver.Dnsmasq",
                "ovs_use_veth": False,
            },
            # How soon a dnsmasq or haproxy that ended is started again.
            "AGENT": {"check_child_processes_interval": 10},
        }
        if site.is_freebsd
        else {},
        _privsep(
            site,
            ("privsep", "privsep_dhcp_release", "privsep_ovs_vsctl", "privsep_namespace", "privsep_conntrack",
             "privsep_link"),
        ),
    )  # fmt: skip


def neutron_metadata_agent(site: Site) -> Sections:
    """Return neutron.conf of the metadata agent."""
    return merge(
        _neutron(site, "neutron-metadata-agent"),
        {
            "DEFAULT": {
                "nova_metadata_host": site.metadata_address,
                "nova_metadata_port": site.ports.metadata,
                "metadata_proxy_shared_secret": site.metadata_secret,
                "metadata_proxy_socket": site.layout.run("neutron-metadata-agent") / "metadata.sock",
                "metadata_proxy_socket_mode": "all",
                "metadata_workers": 0,
            }
        },
        _privsep(site, ("privsep",)),
    )


def _privsep(site: Site, contexts: tuple[str, ...]) -> Sections:
    """Return how privileged daemons are started: the supervisor forks them from a preloaded parent."""
    command = f"{site.facts.python} -IS {site.facts.helper} {site.layout.run()}/privileged.sock"
    return {context: {"helper_command": command} for context in contexts}


#: Each service's configuration file and what renders it.
FILES: Mapping[str, tuple[str, Callable[[Site], Sections]]] = {
    "keystone": ("keystone.conf", keystone),
    "glance": ("glance-api.conf", glance),
    "placement": ("placement.conf", placement),
    "nova-api": ("nova.conf", nova_api),
    "nova-metadata": ("nova.conf", nova_metadata),
    "nova-conductor": ("nova.conf", nova_conductor),
    "nova-scheduler": ("nova.conf", nova_scheduler),
    "nova-compute": ("nova.conf", nova_compute),
    "nova-novncproxy": ("nova.conf", nova_novncproxy),
    "nova-serialproxy": ("nova.conf", nova_serialproxy),
    "neutron-api": ("neutron.conf", neutron_api),
    "neutron-rpc": ("neutron.conf", neutron_rpc),
    "neutron-periodic": ("neutron.conf", neutron_periodic),
    "neutron-ovs-agent": ("neutron.conf", neutron_ovs_agent),
    "neutron-dhcp-agent": ("neutron.conf", neutron_dhcp_agent),
    "neutron-metadata-agent": ("neutron.conf", neutron_metadata_agent),
}


def render_service(site: Site, service: str) -> tuple[str, str]:
    """Return the file name and text of a service's configuration."""
    name, sections = FILES[service]
    return name, render(sections(site))


def render_files(site: Site, service: str) -> dict[str, str]:
    """Return the name and text of every file of a service."""
    files = dict([render_service(site, service)])
    if service == "nova-api":
        files[PIPELINE] = nova_pipeline(site)
    return files
