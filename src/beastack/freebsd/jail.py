"""vnet jails, used as network namespaces: create, read, enter, remove.

A jail here shares the host's file system (``path=/``) and has its own network
stack. It lives in the kernel only: nothing is written to disk, and a reboot
ends it. Output of jail(8) is never trusted, because it differs with the way
the jail was defined: exit status and jls(8) decide.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from beastack.freebsd.command import DEFAULT_TIMEOUT, CommandError, CommandNotFound, Result, run
from beastack.freebsd.errors import (
    InterfaceExists,
    InterfaceNotFound,
    InvalidArgument,
    JailDying,
    JailExists,
    JailNotFound,
    PermissionDenied,
    ProcessNotFound,
    translate,
)
from beastack.freebsd.interface import list_names, return_from_jail
from beastack.freebsd.process import list_processes

#: Bytes, MAXHOSTNAMELEN - 1 (sys/kern/kern_jail.c).
NAME_LIMIT = 255
#: Seconds that a removed jail may go on dying before that is an error.
REMOVAL_LIMIT = 60.0

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_:@+-]*")
#: What each network stack has of its own, under the same name everywhere: it cannot and need not come home.
_OWN_INTERFACE = re.compile(r"(lo|enc|pflog|pfsync|ipfw|ipfwlog)\d+")

# Texts of jail(8), jls(8), and of the kernel through them (usr.sbin/jail, sys/kern/kern_jail.c).
_JAIL_ERRORS: tuple[tuple[str, type[CommandError]], ...] = (
    ("already exists", JailExists),
    ("is dying", JailDying),
    ("not found", JailNotFound),
    ("prison limit exceeded", PermissionDenied),
    ("Operation not permitted", PermissionDenied),
    ("No such file or directory", InvalidArgument),
    ("Not a directory", InvalidArgument),
    ("not an absolute pathname", InvalidArgument),
    ("unknown parameter", InvalidArgument),
    ("name cannot be numeric", InvalidArgument),
    ("File name too long", InvalidArgument),
    ("vnet cannot be changed after creation", InvalidArgument),
    ("vnet jails cannot have IP address restrictions", InvalidArgument),
    ("new jail must persist or attach", InvalidArgument),
    ("Invalid argument", InvalidArgument),
)


@dataclass(frozen=True)
class Jail:
    """One jail as jls(8) shows it.

    ``vnet`` is true for a network stack of its own, false for the host's.
    """

    jid: int
    name: str
    path: str
    vnet: bool
    dying: bool = False


@dataclass(frozen=True)
class Parameters:
    """What can be chosen for a new vnet jail (jail(8), JAIL PARAMETERS).

    ``hostname`` None takes the host's name and host UUID, from which MAC
    addresses are made. ``children`` is how many jails it may hold itself.
    ``allow`` lists further ``allow.*`` permissions without that prefix.
    """

    path: str = "/"
    hostname: str | None = None
    children: int = 0
    raw_sockets: bool = True
    enforce_statfs: int = 1
    allow: tuple[str, ...] = ()


def check_name(name: str) -> str:
    """Return a name that can be given to a jail and to every command that takes one.

    Stricter than the kernel: no dot (it separates parent and child), not only
    digits (that is a jid), nothing that jail(8) or jls(8) give a meaning.

    :raises ValueError: with one line that says what is wrong
    """
    if not name:
        raise ValueError("a jail name cannot be empty")
    if len(name.encode()) > NAME_LIMIT:
        raise ValueError(f"a jail name has at most {NAME_LIMIT} bytes, this one has {len(name.encode())}")
    if name.isdigit():
        raise ValueError(f"the jail name {name!r} is a number, which means the jail of that jid")
    if "." in name:
        raise ValueError(f"the jail name {name!r} has a dot, which means a jail inside another one")
    if "*" in name:
        raise ValueError(f"the jail name {name!r} has a wildcard")
    if not _NAME.fullmatch(name):
        raise ValueError(f"the jail name {name!r} may only have letters, digits and _ : @ + -, and not begin with -")
    return name


def create_jail(name: str, parameters: Parameters | None = None) -> Jail:
    """Create a vnet jail that persists, or find it already there.

    Its network stack holds only lo0, down and without an address. A jail of
    that name that is still dying does not stand in the way.

    :raises ValueError: the name or the path is not valid
    :raises JailExists: there is a jail of that name without a network stack of its own
    :raises PermissionDenied: not root, or we are in a jail ourselves whose children.max is used up
    :raises InvalidArgument: jail(8) refuses a parameter
    """
    check_name(name)
    chosen = parameters or Parameters()
    if not chosen.path.startswith("/"):
        raise ValueError(f"the path of jail {name!r} is not absolute: {chosen.path!r}")
    try:
        _run(["jail", "-c", f"name={name}", *_list_parameters(chosen)])
    except JailExists:
        found = read_jail(name)
        if not found.vnet:
            raise
        return found
    return read_jail(name)


def _list_parameters(chosen: Parameters) -> list[str]:
    host = "host=inherit" if chosen.hostname is None else f"host.hostname={chosen.hostname}"
    return [
        f"path={chosen.path}",
        "vnet",
        "persist",
        host,
        f"children.max={chosen.children}",
        f"allow.raw_sockets={int(chosen.raw_sockets)}",
        f"enforce_statfs={chosen.enforce_statfs}",
        *(f"allow.{name}" for name in chosen.allow),
    ]


def list_jails(*, dying: bool = False) -> tuple[Jail, ...]:
    """Return the jails that can be seen from here, optionally with those that are dying."""
    found = _read_table(["-d"] if dying else [], ["jid", "name", "path", "vnet"])
    # Asked second: what is in the first answer only is dying, or already gone.
    alive = {int(row["jid"]) for row in _read_table([], ["jid"])} if dying else {int(row["jid"]) for row in found}
    return tuple(_parse_jail(row, dying=int(row["jid"]) not in alive) for row in found)


def read_jail(name: str) -> Jail:
    """Return one jail.

    :raises JailNotFound: there is none of that name
    :raises JailDying: it was removed, but something still holds it
    """
    check_name(name)
    rows = _read_table(["-j", name], ["jid", "name", "path", "vnet"])
    if not rows:
        raise JailNotFound(["jls", "-j", name], 0, "", f'jail "{name}" not found')
    return _parse_jail(rows[0], dying=False)


def jail_exists(name: str) -> bool:
    """Tell whether a jail of that name is there and alive."""
    check_name(name)
    try:
        _run(["jls", "-j", name, "jid"])
    except (JailNotFound, JailDying):
        return False
    return True


def find_jail_of_process(pid: int) -> str | None:
    """Return the name of the jail a process is in, or None for the host (ps(1), keyword jail).

    :raises ProcessNotFound: there is no such process
    """
    result = run(["ps", "-o", "jail=", "-p", str(pid)], ok=(0, 1))
    if result.status != 0 or not result.stdout.strip():
        raise ProcessNotFound(result.argv, result.status, result.stdout, result.stderr or f"there is no process {pid}")
    name = result.stdout.strip()
    return None if name in ("-", "0") else name


def remove_jail(
    name: str,
    *,
    bring_home: Callable[[str], None] | None = None,
    limit: float = REMOVAL_LIMIT,
    interval: float = 0.2,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> tuple[str, ...]:
    """Remove a jail and wait until the kernel has let go of it.

    Its interfaces come home first, so that none of them depends on when the
    network stack is torn down; they arrive down and without addresses, and
    the caller decides what becomes of them. A jail that is not there is no
    error.

    :param bring_home: called with the name of each interface instead of
        ``ifconfig IF -vnet NAME``; what it leaves inside is the kernel's to
        return or destroy
    :param limit: seconds to wait for the end of its dying
    :param interval: seconds between two looks
    :returns: the names of the interfaces that were brought home
    :raises InterfaceExists: one of them would meet its own name here; nothing was changed
    :raises JailDying: it was removed but still dies after ``limit``; the text says what holds it
    :raises PermissionDenied: the caller is not root
    """
    check_name(name)
    moved: tuple[str, ...] = ()
    try:
        jid = read_jail(name).jid
        moved = _empty_jail(name, bring_home)
        _run(["jail", "-R", name])
    except JailNotFound:
        return moved
    except JailDying:
        rows = _read_table(["-d"], ["jid", "name"])
        jids = [int(row["jid"]) for row in rows if row["name"] == name]
        if not jids:
            return moved
        jid = max(jids)
    _wait_until_gone(name, jid, limit, interval, clock, sleep)
    return moved


def _empty_jail(name: str, bring_home: Callable[[str], None] | None) -> tuple[str, ...]:
    inside = [one for one in list_names(name) if not _OWN_INTERFACE.fullmatch(one)]
    if not inside:
        return ()
    # The kernel does not look at names on the way back (sys/net/if.c): the host would have two of one name.
    here = set(list_names())
    for one in inside:
        if one in here or inside.count(one) > 1:
            raise InterfaceExists(
                ["ifconfig", one, "-vnet", name], None, "", f"there is an interface {one} here already"
            )
    for one in inside:
        try:
            if bring_home is not None:
                bring_home(one)
            else:
                return_from_jail(one, name)
        except InterfaceNotFound:
            # Destroyed meanwhile, perhaps with the other half of its pair.
            continue
    return tuple(inside)


def _wait_until_gone(
    name: str,
    jid: int,
    limit: float,
    interval: float,
    clock: Callable[[], float],
    sleep: Callable[[float], None],
) -> None:
    deadline = clock() + limit
    while True:
        rows = _read_table(["-d"], ["jid", "name"])
        if not any(int(row["jid"]) == jid and row["name"] == name for row in rows):
            return
        if clock() >= deadline:
            text = f"jail {name} (jid {jid}) is still dying after {limit:g} s: {_describe_holders(jid)}"
            raise JailDying(["jail", "-R", name], None, "", text)
        sleep(interval)


def _describe_holders(jid: int) -> str:
    # ps -J cannot find a dying jail, so all processes are listed.
    try:
        held = [f"{one.pid} ({one.arguments})" for one in list_processes() if one.jid == jid]
    except CommandError as error:
        return f"what holds it cannot be listed ({error})"
    if held:
        return f"process {', '.join(held)}"
    return "no process is in it; an open socket, file or tap of its network stack may hold it"


def wrap_command(name: str, argv: Sequence[str]) -> list[str]:
    """Return the argv that runs a command inside a jail."""
    return ["jexec", check_name(name), *argv]


def run_in_jail(
    name: str,
    argv: Sequence[str],
    *,
    timeout: float = DEFAULT_TIMEOUT,
    stdin: str | None = None,
    env: Mapping[str, str] | None = None,
    ok: Sequence[int] = (0,),
) -> Result:
    """Run a command inside a jail, with our environment and / as its directory (jexec(8)).

    jexec replaces itself by the command, and exits 1 when it cannot: its own
    failures are told apart from the command's by what it prints.

    :raises CommandNotFound: the jail has no such program
    :raises JailNotFound: there is no such jail
    :raises PermissionDenied: the jail cannot be entered, or the program not be executed
    :raises CommandError: as for ``command.run``
    """
    wrapped = wrap_command(name, argv)
    try:
        result = run(wrapped, timeout=timeout, stdin=stdin, env=env, ok=ok)
    except CommandError as error:
        refusal = _read_refusal(argv, error.argv, error.status, error.stdout, error.stderr)
        if refusal is not None:
            raise refusal from error
        raise
    refusal = _read_refusal(argv, result.argv, result.status, result.stdout, result.stderr)
    if refusal is not None:
        raise refusal
    return result


def _read_refusal(
    inner: Sequence[str], argv: Sequence[str], status: int | None, stdout: str, stderr: str
) -> CommandError | None:
    """Return jexec's own failure as an exception, or None when the command itself has ended."""
    if status != 1 or stdout:
        return None
    for line in stderr.splitlines():
        if line.startswith(f"jexec: execvp: {inner[0]}: "):
            if line.endswith("No such file or directory"):
                return CommandNotFound(inner, status, stdout, stderr)
            return PermissionDenied(argv, status, stdout, stderr)
        if line.startswith("jexec: jail ") and line.endswith(" not found"):
            return JailNotFound(argv, status, stdout, stderr)
        if line.startswith("jexec: jail ") and line.endswith(" is dying"):
            return JailDying(argv, status, stdout, stderr)
        if line.startswith("jexec: jail_attach("):
            # A jail that goes away between look-up and attach is an invalid argument to the kernel.
            kind = JailNotFound if line.endswith("Invalid argument") else PermissionDenied
            return kind(argv, status, stdout, stderr)
    return None


def start_daemon(
    name: str,
    argv: Sequence[str],
    *,
    pidfile: Path,
    output: Path | None = None,
    user: str | None = None,
    env: Mapping[str, str] | None = None,
    timeout: float = DEFAULT_TIMEOUT,
) -> int | None:
    """Start a program inside a jail that goes on without us (daemon(8)).

    daemon(8) locks the pid file, so a second start finds the first. A program
    that cannot be executed is only to be seen in ``output``: daemon(8) has
    returned by then. The pid in the pid file is valid on the host too.

    :param output: file for what the program prints; without it, nowhere
    :param user: name of the user to run as
    :returns: the pid of what was running already, or None when it was started now
    :raises JailNotFound: there is no such jail
    :raises InvalidArgument: the pid file or the output file cannot be opened
    """
    # Without -f the program would hold the pipes we read from, and we would wait for its end.
    command = ["daemon", "-f", "-p", str(pidfile)]
    if output is not None:
        command += ["-o", str(output)]
    if user is not None:
        command += ["-u", user]
    try:
        run_in_jail(name, [*command, *argv], env=env, timeout=timeout)
    except CommandError as error:
        running = re.search(r"process already running, pid: (\d+)", error.stderr)
        if error.status == 3 and running:
            return int(running[1])
        if error.status in (2, 7):
            raise InvalidArgument(error.argv, error.status, error.stdout, error.stderr) from error
        raise
    return None


def _run(argv: Sequence[str]) -> Result:
    try:
        return run(argv)
    except CommandError as error:
        # It never ended: what Python says of a missing program is not a refusal of the host.
        if error.status is None:
            raise
        raise translate(error, _JAIL_ERRORS) from error


def _read_table(options: Sequence[str], parameters: Sequence[str]) -> list[dict[str, Any]]:
    argv = ["jls", "--libxo", "json", *options, *parameters]
    result = _run(argv)
    try:
        rows = json.loads(result.stdout)["jail-information"]["jail"]
        return [dict(row) for row in rows]
    except (ValueError, KeyError, TypeError) as error:
        raise CommandError(argv, result.status, result.stdout, f"its output is not understood: {error!r}") from error


def _parse_jail(row: Mapping[str, Any], *, dying: bool) -> Jail:
    return Jail(
        jid=int(row["jid"]),
        name=str(row["name"]),
        path=str(row.get("path", "")),
        vnet=row.get("vnet") == "new",
        dying=dying,
    )
