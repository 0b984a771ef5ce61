"""N3: network namespaces are vnet jails, and which of the host's jails are the agents'.

A file in /var/run/netns, where Linux has a mount point, says so: the agents
look for it there, and it holds the number of the jail. A jail of the same
name with another number was made by someone else, and is neither listed nor
removed. A crash between the making of a jail and that of its file is told by
a second file, which is written before.

/var/run is emptied when the host starts, as jails are gone then.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from beastack.freebsd import command, jail
from beastack.freebsd.command import CommandError
from beastack.freebsd.errors import (
    InterfaceNotFound,
    InvalidArgument,
    JailDying,
    JailExists,
    JailNotFound,
    PermissionDenied,
    translate,
)
from beastack.freebsd.interface import destroy_interface, list_interfaces, return_from_jail
from beastack.freebsd.process import list_jailed

#: What goes without a jail: it has no children of its own, and sees no more mounts than its own root's.
PARAMETERS = (
    "path=/", "vnet", "persist", "host=inherit", "children.max=0", "allow.raw_sockets=1", "enforce_statfs=1",
)  # fmt: skip

# Texts of jail(8) (usr.sbin/jail).
_ERRORS: tuple[tuple[str, type[CommandError]], ...] = (
    ("already exists", JailExists),
    ("not found", JailNotFound),
    ("prison limit exceeded", PermissionDenied),
    ("Operation not permitted", PermissionDenied),
    ("name cannot be numeric", InvalidArgument),
    ("File name too long", InvalidArgument),
)


class ForeignJail(Exception):
    """There is a jail of that name, and it was not made by an agent."""


@dataclass(frozen=True)
class Markers:
    """The files that say which jails are the agents'; all of it is root's."""

    directory: Path = Path("/var/run/netns")
    unfinished: Path = Path("/var/run/beastack-netns")

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Keep other threads and daemons from making and removing meanwhile."""
        for directory in (self.directory, self.unfinished):
            directory.mkdir(mode=0o755, parents=True, exist_ok=True)
        # Opened anew each time: a lock is of the open file, so that threads exclude each other as well.
        descriptor = os.open(self.unfinished, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def begin(self, name: str) -> bool:
        """Note that a jail is about to be made, and tell whether that was noted before and never finished."""
        file = self.unfinished / name
        if file.exists():
            return True
        file.touch()
        return False

    def finish(self, name: str, jid: int | None) -> None:
        """Note that a jail was made; None: that it was not."""
        if jid is not None:
            made = self.unfinished / f"{name}.new"
            made.write_text(f"{jid}\n")
            made.rename(self.directory / name)
        (self.unfinished / name).unlink(missing_ok=True)

    def read(self, name: str) -> int | None:
        """Return the number of the jail that was made by that name, None for none."""
        try:
            return int((self.directory / name).read_text())
        except (OSError, ValueError):
            return None

    def is_unfinished(self, name: str) -> bool:
        """Tell whether a jail of that name was about to be made when its maker ended."""
        return (self.unfinished / name).exists()

    def remove(self, name: str) -> None:
        """Forget a jail."""
        for directory in (self.directory, self.unfinished):
            (directory / name).unlink(missing_ok=True)

    def names(self) -> list[str]:
        """Return the names of all jails that were made, or about to be."""
        found: set[str] = set()
        for directory in (self.directory, self.unfinished):
            with contextlib.suppress(FileNotFoundError):
                found.update(name for name in os.listdir(directory) if "." not in name)
        return sorted(found)


MARKERS = Markers()


def create_namespace(name: str, markers: Markers = MARKERS) -> None:
    """Make a vnet jail; one of ours that is there already is no error.

    :raises ForeignJail: there is one of that name that is not ours
    :raises ValueError: it is no name for a jail
    """
    jail.check_name(name)
    with markers.lock():
        unfinished = markers.begin(name)
        try:
            jid = _make_jail(name)
            while jid is None:
                # There is one already, unless it has gone again meanwhile.
                jid = _adopt_jail(name, markers.read(name), unfinished) or _make_jail(name)
        except CommandError as error:
            # One that never ended may have made it all the same.
            if error.status is not None:
                markers.finish(name, None)
            raise
        except ForeignJail:
            markers.finish(name, None)
            raise
        markers.finish(name, jid)


def _adopt_jail(name: str, known: int | None, unfinished: bool) -> int | None:
    jid = list_jids().get(name)
    if jid is None or jid == known or unfinished:
        return jid
    raise ForeignJail(f"there is a jail {name} already, and it is not one of neutron's")


def _make_jail(name: str) -> int | None:
    """Return the number of the new jail, or None when there is one of that name."""
    # -i: print the number, and nothing else (jail(8)).
    try:
        result = command.run(["jail", "-i", "-c", f"name={name}", *PARAMETERS])
    except CommandError as error:
        failure = translate(error, _ERRORS)
        if isinstance(failure, JailExists):
            return None
        raise failure from None
    return int(result.stdout)


def remove_namespace(name: str, markers: Markers = MARKERS) -> None:
    """Remove a jail of ours with its interfaces and processes; one that is not there is no error.

    As with a namespace of Linux, its epairs and other cloned interfaces go
    with it, and only hardware comes back to the host.

    :raises ForeignJail: it is not ours
    """
    jail.check_name(name)
    with markers.lock():
        jids = list_jids()
        if name not in jids:
            markers.remove(name)
            return
        if not is_ours(name, jids, markers):
            raise ForeignJail(f"the jail {name} is not one of neutron's and stays")
        jid = jids[name]
    with contextlib.suppress(JailNotFound, JailDying):
        _destroy_interfaces(name)
    # What still holds it (a socket that lingers) is the kernel's to end: its interfaces are gone, and its name is free.
    try:
        command.run(["jail", "-R", name])
    except CommandError as error:
        failure = translate(error, _ERRORS)
        if not isinstance(failure, JailNotFound):
            raise failure from None
    with markers.lock():
        if markers.read(name) in (jid, None):
            markers.remove(name)


def _destroy_interfaces(name: str) -> None:
    for interface in list_interfaces(name):
        if interface.kind in ("lo", "enc", "pflog", "pfsync", "ipfw", "ipfwlog"):
            continue
        try:
            destroy_interface(interface.name, jail=name, missing_ok=True)
        except InvalidArgument:
            with contextlib.suppress(InterfaceNotFound):
                return_from_jail(interface.name, name)


def list_namespaces(markers: Markers = MARKERS) -> list[str]:
    """Return the names of our jails; files of jails that are gone are removed."""
    marked = markers.names()
    jids = list_jids()
    ours = [name for name in marked if is_ours(name, jids, markers)]
    if len(ours) < len(marked):
        with markers.lock():
            jids = list_jids()
            for name in set(markers.names()) - set(jids):
                markers.remove(name)
    return ours


def is_ours(name: str, jids: dict[str, int], markers: Markers = MARKERS) -> bool:
    """Tell whether a jail (by the numbers of all there are) was made by an agent."""
    if name not in jids:
        return False
    return markers.read(name) == jids[name] or markers.is_unfinished(name)


def check_namespace(name: str, markers: Markers = MARKERS) -> None:
    """Do nothing if there is a jail of ours of that name.

    :raises JailNotFound: there is none
    """
    jid = markers.read(name)
    if jid is None or list_jids().get(name) != jid:
        raise JailNotFound(["jls", "-j", name, "jid"], 1, "", f'jls: jail "{name}" not found')


def list_pids(name: str, markers: Markers = MARKERS) -> list[int]:
    """Return the processes in a jail of ours, none if it is not there."""
    if markers.read(name) is None:
        return []
    try:
        return [each.pid for each in list_jailed(name)]
    except JailNotFound:
        return []


def list_jids() -> dict[str, int]:
    """Return the number of each jail that is not dying, by its name (jls(8))."""
    argv = ["jls", "--libxo", "json", "jid", "name"]
    result = command.run(argv)
    try:
        return {str(row["name"]): int(row["jid"]) for row in json.loads(result.stdout)["jail-information"]["jail"]}
    except (ValueError, KeyError, TypeError) as error:
        raise CommandError(argv, result.status, result.stdout, f"its output is not understood: {error!r}") from error
