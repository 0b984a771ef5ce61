"""Configuration of nova's services."""

from __future__ import annotations

from urllib.parse import quote

from beastack.site.configuration import shared
from beastack.site.configuration.shared import PIPELINE, Sections
from beastack.site.configuration.site import Site

#: On how many hosts an instance's start is attempted at most: nova's own default.
MOST_ATTEMPTS = 3


def _to_others(site: Site, project: str) -> str:
    """Return which service user nova is to another project: its own, where another cloud does not want it otherwise."""
    return "nova" if site.description.host.has_control else project


def _nova(site: Site, service: str) -> Sections:
    state = site.layout.data("nova")
    return shared.merge(
        shared.common(site, service),
        shared.messaging(site),
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
            "glance": {**shared.credentials(site, "nova"), "service_type": "image"},
            "placement": shared.credentials(site, _to_others(site, "placement")),
            "neutron": shared.credentials(site, _to_others(site, "neutron")),
            "cinder": shared.credentials(site, "nova"),
        },
        shared.token_check(site, "nova"),
        {"wsgi": {"api_paste_config": site.layout.venv / "etc/nova/api-paste.ini"}},
    )


def _nova_databases(site: Site) -> Sections:
    return shared.merge(
        shared.database(site, "nova", "nova_api", "api_database"),
        shared.database(site, "nova", "nova", "database"),
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


def api(site: Site) -> Sections:
    """Return nova.conf of the API."""
    return shared.merge(
        _nova(site, "nova-api"),
        _nova_databases(site),
        _nova_consoles(site),
        {
            "quota": {"driver": "nova.quota.DbQuotaDriver"},
            "wsgi": {"api_paste_config": site.layout.etc("nova-api") / PIPELINE},
        },
    )


def pipeline(site: Site) -> str:
    """Return nova-api's pipelines: upstream's, with a filter that refuses what instances on bhyve cannot do."""
    return shared.render({
        "composite:osapi_compute": {
            "paste.composite_factory": "beastack.port.nova.api_pipeline:make",
            "upstream": site.layout.venv / "etc/nova/api-paste.ini",
        }
    })  # fmt: skip


def metadata(site: Site) -> Sections:
    """Return nova.conf of the metadata API, which alone in nova knows the agent's signature."""
    signed = {
        "service_metadata_proxy": True,
        "metadata_proxy_shared_secret": site.secrets["metadata-proxy"],
    }
    return shared.merge(_nova(site, "nova-metadata"), _nova_databases(site), {"neutron": signed})


def conductor(site: Site) -> Sections:
    """Return nova.conf of the conductor (nova-manage uses it too)."""
    return shared.merge(
        _nova(site, "nova-conductor"), _nova_databases(site), _attempts(site), {"conductor": {"workers": 1}}
    )


def scheduler(site: Site) -> Sections:
    """Return nova.conf of the scheduler."""
    return shared.merge(
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


def novncproxy(site: Site) -> Sections:
    """Return nova.conf of the VNC proxy."""
    return shared.merge(
        _nova(site, "nova-novncproxy"),
        _nova_databases(site),
        _nova_consoles(site),
        {"DEFAULT": {"web": site.facts.novnc_pages}},
    )


def serialproxy(site: Site) -> Sections:
    """Return nova.conf of the serial console proxy."""
    # The page is served where the websocket is, so that a browser's Origin is the proxy's own host.
    pages = site.layout.code / "beastack" / "site" / "serial_page"
    return shared.merge(
        _nova(site, "nova-serialproxy"), _nova_databases(site), _nova_consoles(site), {"DEFAULT": {"web": pages}}
    )


def compute(site: Site) -> Sections:
    """Return nova.conf of a compute host; it holds no database URL."""
    compute = site.description.compute
    return shared.merge(
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
    return shared.merge(
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
        shared.privsep(
            site, ("nova_sys_admin", "vif_plug_ovs_privileged", "privsep_osbrick", "beastack_bhyve_privileged")
        ),
    )


def _migration(site: Site) -> dict[str, object]:
    """Return how disks go to other hosts."""
    if not site.migration.is_set:
        return {}
    return {"migration_certificates": site.certificates, "migration_port": site.ports.migration}


def _linux_compute(site: Site) -> Sections:
    compute = site.description.compute
    return shared.merge(
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
        shared.privsep(site, ("nova_sys_admin", "vif_plug_ovs_privileged", "privsep_osbrick")),
    )
