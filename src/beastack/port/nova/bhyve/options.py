"""The driver's own options, group ``[bhyve]`` of nova-compute's configuration.

Imports nothing of nova: the privileged daemon reads them, too.
"""

from __future__ import annotations

from oslo_config import cfg

CONF = cfg.CONF

FIRMWARE_DIRECTORY = "/usr/local/share/uefi-firmware"  # where the package edk2-bhyve has its files

GROUP = cfg.OptGroup("bhyve", title="bhyve guests")

OPTIONS = [
    cfg.StrOpt(
        "firmware",
        default=f"{FIRMWARE_DIRECTORY}/BHYVE_UEFI.fd",
        help="UEFI firmware of guests whose variables are not kept.",
    ),
    cfg.StrOpt(
        "firmware_code",
        default=f"{FIRMWARE_DIRECTORY}/BHYVE_UEFI_CODE.fd",
        help="UEFI firmware of guests with variables of their own (libvirt 11.4 and later).",
    ),
    cfg.StrOpt(
        "firmware_variables",
        default=f"{FIRMWARE_DIRECTORY}/BHYVE_UEFI_VARS.fd",
        help="What a guest's UEFI variables begin with. Where it is missing they are not kept.",
    ),
    cfg.StrOpt(
        "zfs_dataset",
        default="",
        help="The ZFS dataset that has the guests' disks as volumes, with [libvirt] images_type = default. "
        "Nothing else may be in it.",
    ),
    cfg.FloatOpt(
        "state_poll_interval",
        default=5.0,
        min=0.5,
        help="Seconds between two looks at the guests' states: libvirt tells of no stop that it was not asked for.",
    ),
    cfg.FloatOpt("start_limit", default=30.0, min=1.0, help="Seconds that bhyve may take to set a guest up."),
    cfg.StrOpt("guest_log_directory", default="/var/log/libvirt/bhyve", help="Where libvirt keeps what bhyve printed."),
    cfg.StrOpt("guest_state_directory", default="/var/run/libvirt/bhyve", help="Where libvirt notes running guests."),
    cfg.StrOpt(
        "migration_certificates",
        default="",
        help="Directory of this host's certificate for the transfer daemons of other hosts (authority.pem, "
        "certificate.pem, key.pem). Without one disks are copied as upstream does, by ssh.",
    ),
    cfg.PortOpt("migration_port", default=16636, help="Port of the transfer daemons."),
    cfg.StrOpt(
        "console_directory",
        default="",
        help="The console daemon's directory. Without one nobody reads the guests' serial lines.",
    ),
]


def register() -> None:
    """Make the options known; a second time changes nothing."""
    CONF.register_group(GROUP)
    CONF.register_opts(OPTIONS, group=GROUP)


register()
