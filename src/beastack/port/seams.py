"""Every seam there is, and which parent installs which on what kind of host.

The only list: the modules that install seams take theirs from here, and
``beastack seams`` prints it. Nothing of upstream is imported by it.
"""

from __future__ import annotations

from collections.abc import Mapping

from beastack.port.keystone import request_token
from beastack.port.neutron import (
    haproxy_config,
    ip_lib_seam,
    namespace_jail,
    process_cmdline,
    process_running,
    sysctl_keys,
)
from beastack.port.nova import (
    disk_bus_default,
    disk_buses,
    driver_path,
    libvirt_platform,
    loader_secure,
    remote_files,
    vif_models,
    virt_type,
)
from beastack.port.oslo import ipv6_enabled, privsep_capabilities, privsep_names, rabbit_timeout
from beastack.seams.registry import Seam

ALL: tuple[Seam, ...] = (
    privsep_capabilities.SEAM,
    privsep_names.SEAM,
    rabbit_timeout.SEAM,
    ipv6_enabled.SEAM,
    request_token.SEAM,
    loader_secure.SEAM,
    virt_type.SEAM,
    libvirt_platform.SEAM,
    disk_buses.SEAM,
    disk_bus_default.SEAM,
    vif_models.SEAM,
    driver_path.SEAM,
    remote_files.SEAM,
    process_running.SEAM,
    process_cmdline.SEAM,
    ip_lib_seam.SEAM,
    namespace_jail.SEAM,
    sysctl_keys.SEAM,
    haproxy_config.SEAM,
)

#: What is installed: kind of host, then preloaded parent. A seam that is in
#: none of them is ready and tested, and no service needs it yet.
INSTALLED: Mapping[str, Mapping[str, tuple[Seam, ...]]] = {
    "linux": {"keystone": (request_token.SEAM,), "nova": (loader_secure.SEAM,)},
    "freebsd": {
        "keystone": (request_token.SEAM,),
        "nova": (
            rabbit_timeout.SEAM,
            virt_type.SEAM,
            libvirt_platform.SEAM,
            disk_buses.SEAM,
            disk_bus_default.SEAM,
            vif_models.SEAM,
            driver_path.SEAM,
            remote_files.SEAM,
        ),
        "neutron": (
            rabbit_timeout.SEAM,
            ipv6_enabled.SEAM,
            process_running.SEAM,
            process_cmdline.SEAM,
            ip_lib_seam.SEAM,
            namespace_jail.SEAM,
            sysctl_keys.SEAM,
            haproxy_config.SEAM,
        ),
        "privileged": (privsep_capabilities.SEAM, privsep_names.SEAM),
    },
}


def installed_on(host: str) -> tuple[Seam, ...]:
    """Return the seams that a host of some kind has, each once, in the order of the list.

    :raises KeyError: there is no such kind of host
    """
    ids = {seam.id for seams in INSTALLED[host].values() for seam in seams}
    return tuple(seam for seam in ALL if seam.id in ids)
