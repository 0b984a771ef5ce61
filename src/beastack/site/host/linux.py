"""A host of kind linux: Debian's packages and users, and who holds a port.

Stock drivers only: QEMU through libvirt, Open vSwitch's userspace datapath.
"""

from __future__ import annotations

import contextlib
import grp
import os
import pwd
from collections.abc import Callable, Sequence
from pathlib import Path

from beastack.freebsd.command import CommandError, CommandNotFound, find_program, run
from beastack.site import guest_image, records
from beastack.site.configuration import Facts
from beastack.site.data_services import Programs
from beastack.site.description import Description
from beastack.site.host import HostError
from beastack.site.layout import Layout
from beastack.site.records import Record

Progress = Callable[[str], None]

#: Debian packages that a site needs (bookworm and trixie), beside python3 itself.
PACKAGES = (
    "python3-venv",
    "mariadb-server-core", "mariadb-client", "rabbitmq-server",
    "openvswitch-switch", "openvswitch-common",
    "libvirt-daemon", "libvirt-daemon-driver-qemu", "libvirt-clients", "python3-libvirt",
    "qemu-system-x86", "qemu-utils", "ovmf", "genisoimage",
    "dnsmasq-base", "dnsmasq-utils", "haproxy", "conntrack", "iptables",
    "iproute2", "iputils-arping", "ethtool", "procps",
    # What the first image is built with, and how one logs in to it.
    *guest_image.required_packages(), "openssh-client",
)  # fmt: skip

#: System services that these packages would start and enable; the site runs its own instead.
SYSTEM_SERVICES = ("rabbitmq-server", "openvswitch-switch", "haproxy", "epmd.socket", "epmd")

POLICY = Path("/usr/sbin/policy-rc.d")
_POLICY_TEXT = "#!/bin/sh\n# Made by beastack while it installs packages; removed right after.\nexit 101\n"


def notes() -> list[str]:
    """Return what the operator should know of this host: nothing."""
    return []


def problems(description: Description) -> list[str]:
    """Return what stops ``up`` on this host before anything is changed: nothing that packages do."""
    return []


def packages(description: Description) -> list[str]:
    """Return the packages that a site needs."""
    return list(PACKAGES)


def missing_packages(names: Sequence[str]) -> list[str]:
    """Return which of the packages are not installed."""
    try:
        listing = run(
            ["dpkg-query", "--show", "--showformat=${Package} ${db:Status-Status}\n", *names], ok=(0, 1)
        ).stdout
    except CommandNotFound as error:
        raise HostError("this host kind needs Debian's package tools (dpkg, apt-get)") from error
    installed = {line.split()[0] for line in listing.splitlines() if line.endswith(" installed")}
    return [name for name in names if name not in installed]


def install_packages(layout: Layout, names: Sequence[str], progress: Progress) -> None:
    """Install Debian packages without letting them start or enable services of their own.

    What is newly installed is recorded, for ``destroy --packages``.

    :raises HostError: a package cannot be fetched or installed
    """
    environment = {"DEBIAN_FRONTEND": "noninteractive"}
    before = _installed()
    enabled_before = _enabled_services()
    progress("refreshing Debian's package lists")
    _apt(["apt-get", "update", "-q"], environment, 300)
    progress(f"installing {len(names)} Debian packages and what they depend on")
    own_policy = not POLICY.exists()
    if own_policy:
        records.add(layout.records, Record("file", str(POLICY)))
        POLICY.write_text(_POLICY_TEXT)
        POLICY.chmod(0o755)
    try:
        _apt(["dpkg", "--configure", "-a"], environment, 900)
        _apt(["apt-get", "install", "-q", "-y", "--no-install-recommends", *names], environment, 1800)
    finally:
        if own_policy:
            with contextlib.suppress(FileNotFoundError):
                POLICY.unlink()
            records.drop(layout.records, Record("file", str(POLICY)))
        new = sorted(_installed() - before)
        if new:
            records.add(layout.records, Record("packages", "debian", " ".join(new)))
    for service in sorted(_enabled_services() - enabled_before):
        progress(f"disabling the system's {service}: the site runs its own")
        run(["systemctl", "disable", service])


def remove_packages(names: Sequence[str]) -> None:
    """Remove packages that ``install_packages`` brought in.

    :raises HostError: apt-get refused
    """
    present = [name for name in names if name not in missing_packages(names)]
    if present:
        _apt(["apt-get", "remove", "-q", "-y", *present], {"DEBIAN_FRONTEND": "noninteractive"}, 900)


def _apt(argv: Sequence[str], environment: dict[str, str], timeout: float) -> None:
    try:
        run([*argv, *(["-o", "DPkg::Lock::Timeout=300"] if argv[0] == "apt-get" else [])],
            env=environment, timeout=timeout)  # fmt: skip
    except CommandError as error:
        lines = [line for line in error.stderr.splitlines() if line.startswith(("E:", "dpkg: error"))]
        why = lines[0] if lines else str(error)
        raise HostError(
            f"Debian's packages cannot be installed: {why} (check the network and apt's sources)"
        ) from error


def _installed() -> set[str]:
    listing = run(["dpkg-query", "--show", "--showformat=${Package} ${db:Status-Status}\n"]).stdout
    return {line.split()[0] for line in listing.splitlines() if line.endswith(" installed")}


def _enabled_services() -> set[str]:
    if not Path("/run/systemd/system").exists():
        return set()
    enabled = set()
    for service in SYSTEM_SERVICES:
        if run(["systemctl", "is-enabled", service], ok=range(256)).stdout.strip() == "enabled":
            enabled.add(service)
    return enabled


# Users


def missing_users(names: Sequence[str]) -> list[str]:
    """Return which of the users do not exist."""
    return [name for name in names if not user_exists(name)]


def user_exists(name: str) -> bool:
    """Return whether a user of this name exists."""
    try:
        pwd.getpwnam(name)
    except KeyError:
        return False
    return True


def add_user(layout: Layout, name: str) -> None:
    """Make a system user with a group of its own, no home and no login; recorded.

    :raises CommandError: useradd refused
    """
    records.add(layout.records, Record("user", name))
    with contextlib.suppress(KeyError):
        grp.getgrnam(name)
        run(["groupdel", name])
    run(["useradd", "--system", "--user-group", "--no-create-home", "--home-dir", "/nonexistent",
         "--shell", "/usr/sbin/nologin", "--comment", "Beastack service", name])  # fmt: skip


def remove_user(name: str) -> None:
    """Remove a user that ``add_user`` made; one that is gone already is no error.

    :raises CommandError: userdel refused (the user still runs processes)
    """
    if user_exists(name):
        run(["userdel", name])


# Ports


def port_holder(port: int) -> str | None:
    """Return who listens on a TCP port, as ``NAME (pid N)``, or None when nobody does.

    Source: proc(5), /proc/net/tcp: state 0A is LISTEN; field 9 is the socket's inode.
    """
    inodes = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        with contextlib.suppress(FileNotFoundError), open(table) as stream:
            for line in list(stream)[1:]:
                fields = line.split()
                if fields[3] == "0A" and int(fields[1].rpartition(":")[2], 16) == port:
                    inodes.add(f"socket:[{fields[9]}]")
    if not inodes:
        return None
    for process in Path("/proc").iterdir():
        if not process.name.isdigit():
            continue
        with contextlib.suppress(OSError):
            for descriptor in (process / "fd").iterdir():
                if os.readlink(descriptor) in inodes:
                    return f"{(process / 'comm').read_text().strip()} (pid {process.name})"
    return "a process that cannot be seen from here"


def memory_of(pid: int) -> int | None:
    """Return the proportional set size of a process in bytes (proc(5), smaps_rollup); None if it is gone."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    return None


def descendants(pid: int) -> list[int]:
    """Return all processes below a process, itself included."""
    children: dict[int, list[int]] = {}
    for process in Path("/proc").iterdir():
        if process.name.isdigit():
            with contextlib.suppress(OSError):
                fields = (process / "stat").read_text().rpartition(")")[2].split()
                children.setdefault(int(fields[1]), []).append(int(process.name))
    found, queue = [], [pid]
    while queue:
        current = queue.pop()
        found.append(current)
        queue += children.get(current, [])
    return found


def available_memory() -> int | None:
    """Return how many bytes another program may have (proc(5), meminfo); None if the kernel does not say."""
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return None


def boot_name() -> str:
    """Return a text that is another one after each start of the machine (random(4))."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def programs() -> Programs:
    """Return where Debian's packages put the data services' programs."""
    versions = sorted(Path("/usr/lib/rabbitmq/lib").glob("rabbitmq_server-*"))
    return Programs(
        mariadbd="/usr/sbin/mariadbd",
        mariadb_install_db="/usr/bin/mariadb-install-db",
        rabbitmq_server="/usr/lib/rabbitmq/bin/rabbitmq-server",
        rabbitmq_home=str(versions[-1]) if versions else "",
        epmd=find_program("epmd") or "/usr/bin/epmd",
    )


def facts(layout: Layout) -> Facts:
    """Return what configuration needs to know of this host."""
    return Facts(
        cpus=os.cpu_count() or 1,
        hostname=host_name(),
        novnc_pages=str(layout.data("novnc")),
        python=os.path.realpath("/usr/bin/python3"),
        helper=str(layout.code / "beastack" / "supervisor" / "request.py"),
    )


def host_name() -> str:
    """Return the name of this host as OpenStack will know it: the short host name."""
    return os.uname().nodename.partition(".")[0] or "localhost"
