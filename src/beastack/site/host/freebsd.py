"""A host of kind freebsd: packages and users, and who holds a port.

The places are those of FreeBSD's packages (hier(7), /usr/local). It runs
on FreeBSD, real or simulated; a simulated host has no package manager, and
whoever starts it brings the packages' programs.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path

from beastack.freebsd import account, memory, process, uptime
from beastack.freebsd.command import CommandError, CommandNotFound, find_program, run
from beastack.site import records
from beastack.site.configuration import Facts
from beastack.site.data_services import Programs
from beastack.site.description import Description
from beastack.site.host import HostError
from beastack.site.layout import Layout
from beastack.site.records import Record

Progress = Callable[[str], None]

#: Packages that a control host needs, and those of a host with networks; and a file that each brings.
CONTROL_PACKAGES = {
    "mariadb118-server": "/usr/local/libexec/mariadbd",
    "mariadb118-client": "/usr/local/bin/mariadb",
    "rabbitmq": "/usr/local/sbin/rabbitmq-server",
}
NETWORK_PACKAGES = {
    "openvswitch": "/usr/local/sbin/ovs-vswitchd",
    "dnsmasq": "/usr/local/sbin/dnsmasq",
    "haproxy": "/usr/local/sbin/haproxy",
}
GUEST_PACKAGES = {
    "libvirt": "/usr/local/sbin/libvirtd",
    "edk2-bhyve": "/usr/local/share/uefi-firmware/BHYVE_UEFI.fd",
    "qemu-tools": "/usr/local/bin/qemu-img",
    "cdrtools": "/usr/local/bin/mkisofs",
}
PACKAGES = {**CONTROL_PACKAGES, **NETWORK_PACKAGES, **GUEST_PACKAGES}
ERLANG_PROGRAMS = Path("/usr/local/lib")
NOVNC = Path("/usr/local/libexec/novnc")
PYTHONS = tuple(f"/usr/local/bin/python3.{minor}" for minor in (11, 12, 13))


# Packages


def packages(description: Description) -> list[str]:
    """Return the packages that a site needs."""
    host = description.host
    return [
        *(CONTROL_PACKAGES if host.has_control else ()),
        *(NETWORK_PACKAGES if host.has_network else ()),
        *(GUEST_PACKAGES if host.has_guests else ()),
    ]


def missing_packages(names: Sequence[str]) -> list[str]:
    """Return which of the packages are not installed, by the file that each brings."""
    return [name for name in names if not os.path.exists(PACKAGES[name])]


def install_packages(layout: Layout, names: Sequence[str], progress: Progress) -> None:
    """Install packages with pkg(8); recorded for ``destroy``.

    :raises HostError: pkg refused, or there is none
    """
    if not names:
        return
    progress(f"installing {len(names)} packages and what they depend on")
    try:
        run(["pkg", "install", "-y", *names], timeout=1800, env={"ASSUME_ALWAYS_YES": "yes"})
    except CommandNotFound as error:
        raise HostError(f"this host has no pkg: bring {', '.join(names)} some other way, then try again") from error
    except CommandError as error:
        raise HostError(f"the packages cannot be installed: {error} (check pkg's repositories)") from error
    records.add(layout.records, Record("packages", "freebsd", " ".join(names)))


def remove_packages(names: Sequence[str]) -> None:
    """Remove packages that ``install_packages`` brought in. Raises CommandError."""
    run(["pkg", "delete", "-y", *names], timeout=900)


# Users


def user_exists(name: str) -> bool:
    """Return whether a user of this name exists."""
    return account.read_user(name) is not None


def missing_users(names: Sequence[str]) -> list[str]:
    """Return which of the users do not exist."""
    return [name for name in names if not user_exists(name)]


def add_user(layout: Layout, name: str) -> None:
    """Make a user with a group of its own, no home and no login; recorded. Raises CommandError."""
    records.add(layout.records, Record("user", name))
    account.ensure_group(name)
    account.ensure_user(name, group=name, home="/nonexistent", shell="/usr/sbin/nologin", comment="Beastack service")


def add_to_group(group: str, user: str) -> None:
    """Put a user of the site into a group of the site. Raises CommandError."""
    account.add_member(group, user)


def remove_user(name: str) -> None:
    """Remove a user that ``add_user`` made, and its group; one that is gone already is no error."""
    if user_exists(name):
        account.delete_user(name)
    if account.read_group(name) is not None:
        account.delete_group(name)


# Processes


def port_holder(port: int) -> str | None:
    """Return who listens on a TCP port, as ``NAME (pid N)``, or None when nobody does. Source: sockstat(1)."""
    for line in run(["sockstat", "-46ln", "-P", "tcp"]).stdout.splitlines()[1:]:
        fields = line.split()
        if len(fields) >= 6 and fields[5].rpartition(":")[2] == str(port):
            return f"{fields[1]} (pid {fields[2]})"
    return None


def memory_of(pid: int) -> int | None:
    """Return the resident memory of a process in bytes (shared pages count in each); None if it is gone."""
    found = process.read_process(pid)
    return None if found is None else found.rss


def descendants(pid: int) -> list[int]:
    """Return all processes below a process, itself included."""
    table = process.list_processes()
    return [pid, *(below.pid for below in process.descendants(pid, table))]


def available_memory() -> int | None:
    """Return an estimate of how many bytes another program may have."""
    return memory.read_memory().available


def boot_name() -> str:
    """Return a text that is another one after each start of the machine (kern.boottime)."""
    return str(int(uptime.read_uptime().boot_time))


# What configuration needs


def programs() -> Programs:
    """Return where FreeBSD's packages put the data services' programs."""
    homes = sorted(ERLANG_PROGRAMS.glob("rabbitmq_server-*"))
    erlang = sorted(ERLANG_PROGRAMS.glob("erlang*/bin/epmd"), key=_number)
    return Programs(
        mariadbd="/usr/local/libexec/mariadbd",
        mariadb_install_db="/usr/local/bin/mariadb-install-db",
        rabbitmq_server=str(homes[-1] / "sbin/rabbitmq-server") if homes else "/usr/local/sbin/rabbitmq-server",
        rabbitmq_home=str(homes[-1]) if homes else "",
        epmd=str(erlang[-1]) if erlang else find_program("epmd") or "/usr/local/bin/epmd",
        path=str(erlang[-1].parent) if erlang else "",
    )


def _number(path: Path) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", str(path)))


def facts(layout: Layout) -> Facts:
    """Return what configuration needs to know of this host."""
    return Facts(
        cpus=os.cpu_count() or 1,
        hostname=os.uname().nodename.partition(".")[0] or "localhost",
        novnc_pages=str(layout.data("novnc")),
        python=next((python for python in PYTHONS if os.path.exists(python)), PYTHONS[0]),
        helper=str(layout.code / "beastack" / "supervisor" / "request.py"),
    )


def console_pages(layout: Layout) -> None:
    """Make the package's noVNC pages the site's.

    :raises HostError: they are not installed
    """
    target = layout.data("novnc")
    if not (NOVNC / "vnc_lite.html").exists():
        raise HostError(f"there are no noVNC pages in {NOVNC}: pkg install novnc")
    target.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(FileNotFoundError):
        target.unlink()
    target.symlink_to(NOVNC)
