"""A host of kind freebsd: packages and users, and who holds a port.

The places are those of FreeBSD's packages (hier(7), /usr/local). It runs
on FreeBSD, real or simulated.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from beastack.freebsd import account, memory, process, uptime
from beastack.freebsd.command import find_program, run
from beastack.site import records
from beastack.site.configuration import Facts
from beastack.site.data_services import Programs
from beastack.site.host.freebsd_packages import (
    console_pages,
    install_packages,
    link_modules,
    missing_packages,
    notes,
    packages,
    problems,
    remove_packages,
)
from beastack.site.layout import Layout
from beastack.site.records import Record

__all__ = [
    "add_to_group", "add_user", "available_memory", "boot_name", "console_pages", "descendants", "facts",
    "install_packages", "link_modules", "memory_of", "missing_packages", "missing_users", "notes", "packages",
    "port_holder", "problems", "programs", "remove_packages", "remove_user", "user_exists",
]  # fmt: skip

ERLANG_PROGRAMS = Path("/usr/local/lib")


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
        # The one that runs this: its version is in the names of the packages.
        python=f"/usr/local/bin/python3.{sys.version_info.minor}",
        helper=str(layout.code / "beastack" / "supervisor" / "request.py"),
    )
