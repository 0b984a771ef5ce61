"""FreeBSD's commands: where each stands in the simulated root, and the module here that is that program."""

from __future__ import annotations

# path in the simulated root: module in this package
COMMANDS: dict[str, str] = {
    "/bin/freebsd-version": "freebsd_version",
    "/bin/hostname": "hostname",
    "/bin/kenv": "kenv",
    "/bin/pgrep": "pgrep",
    "/bin/pkill": "pkill",
    "/bin/ps": "ps",
    "/sbin/devfs": "devfs",
    "/sbin/ifconfig": "ifconfig",
    "/sbin/kldload": "kldload",
    "/sbin/kldstat": "kldstat",
    "/sbin/kldunload": "kldunload",
    "/sbin/mount": "mount",
    "/sbin/newfs_msdos": "newfs_msdos",
    "/sbin/ping": "ping",
    "/sbin/ping6": "ping6",
    "/sbin/rcorder": "rcorder",
    "/sbin/route": "route",
    "/sbin/sysctl": "sysctl",
    "/sbin/umount": "umount",
    "/sbin/zfs": "zfs",
    "/sbin/zpool": "zpool",
    "/usr/bin/cpuset": "cpuset",
    "/usr/bin/cu": "cu",
    "/usr/bin/fstat": "fstat",
    "/usr/bin/limits": "limits",
    "/usr/bin/lockf": "lockf",
    "/usr/bin/mdo": "mdo",
    "/usr/bin/netstat": "netstat",
    "/usr/bin/procstat": "procstat",
    "/usr/bin/protect": "protect",
    "/usr/bin/rctl": "rctl",
    "/usr/bin/sockstat": "sockstat",
    "/usr/bin/su": "su",
    "/usr/bin/uname": "uname",
    "/usr/bin/uptime": "uptime",
    "/usr/sbin/arp": "arp",
    "/usr/sbin/bhyve": "bhyve",
    "/usr/sbin/bhyvectl": "bhyvectl",
    "/usr/sbin/bhyveload": "bhyveload",
    "/usr/sbin/daemon": "daemon",
    "/usr/sbin/jail": "jail",
    "/usr/sbin/jexec": "jexec",
    "/usr/sbin/jls": "jls",
    "/usr/sbin/ndp": "ndp",
    "/usr/sbin/pkg": "pkg",
    "/usr/sbin/pw": "pw",
    "/usr/sbin/service": "service",
    "/usr/sbin/setfib": "setfib",
    "/usr/sbin/swapinfo": "swapinfo",
    "/usr/sbin/sysrc": "sysrc",
}

# Other names of the same file.
LINKS: dict[str, str] = {
    "/usr/bin/pgrep": "/bin/pgrep",
    "/usr/bin/pkill": "/bin/pkill",
    "/usr/sbin/rctl": "/usr/bin/rctl",
}


def module_of(program: str) -> str | None:
    """Return the module that is a program (by its plain name), or None."""
    for path, module in COMMANDS.items():
        if path.rpartition("/")[2] == program:
            return module
    return None
