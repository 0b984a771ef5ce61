"""Users and groups: pw(8) makes and removes them, the system's own database says what is there."""

from __future__ import annotations

import grp
import pwd
from collections.abc import Sequence
from dataclasses import dataclass

from beastack.freebsd import command
from beastack.freebsd.command import CommandError
from beastack.freebsd.errors import AccountExists, AccountNotFound, InvalidArgument, PermissionDenied, translate

NO_LOGIN = "/usr/sbin/nologin"
NO_HOME = "/nonexistent"

# What pw(8) prints when it refuses (usr.sbin/pw); it quotes names in several ways.
_REFUSALS: tuple[tuple[str, type[CommandError]], ...] = (
    ("already exists", AccountExists),
    ("has already been allocated", AccountExists),
    ("no such user", AccountNotFound),
    ("no such uid", AccountNotFound),
    ("unknown group", AccountNotFound),
    ("unknown gid", AccountNotFound),
    ("does not exist", AccountNotFound),
    ("you must be root", PermissionDenied),
    ("Permission denied", PermissionDenied),
    ("invalid character", InvalidArgument),
    ("name too long", InvalidArgument),
    ("Bad id", InvalidArgument),
    ("cannot remove user 'root'", InvalidArgument),
)


@dataclass(frozen=True)
class User:
    """One user; ``comment`` is the full name."""

    name: str
    uid: int
    gid: int
    comment: str
    home: str
    shell: str


@dataclass(frozen=True)
class Group:
    """One group; ``members`` does not name users whose first group it is."""

    name: str
    gid: int
    members: tuple[str, ...]


def read_user(name: str) -> User | None:
    """Return a user, or None."""
    try:
        return _as_user(pwd.getpwnam(name))
    except KeyError:
        return None


def read_group(name: str) -> Group | None:
    """Return a group, or None."""
    try:
        return _as_group(grp.getgrnam(name))
    except KeyError:
        return None


def list_users() -> tuple[User, ...]:
    """Return all users, in the order of the database."""
    return tuple(_as_user(entry) for entry in pwd.getpwall())


def list_groups() -> tuple[Group, ...]:
    """Return all groups, in the order of the database."""
    return tuple(_as_group(entry) for entry in grp.getgrall())


def groups_of(name: str) -> tuple[str, ...]:
    """Return the names of all groups a user is in, the first group first.

    :raises KeyError: there is no such user
    """
    first = pwd.getpwnam(name).pw_gid
    entries = grp.getgrall()
    names = [entry.gr_name for entry in entries if entry.gr_gid == first][:1]
    names += [entry.gr_name for entry in entries if name in entry.gr_mem and entry.gr_name not in names]
    return tuple(names)


def create_group(name: str, *, gid: int | None = None) -> None:
    """Make a group; without a number pw(8) chooses one.

    :raises AccountExists: the name or the number is taken
    :raises InvalidArgument: the name holds a character that names cannot have, or is too long
    :raises PermissionDenied: not root
    """
    number = [] if gid is None else ["-g", str(gid)]
    _run(["pw", "groupadd", "-n", name, *number])


def create_user(
    name: str,
    *,
    uid: int | None = None,
    group: str | None = None,
    groups: Sequence[str] = (),
    home: str = NO_HOME,
    shell: str = NO_LOGIN,
    comment: str = "",
    create_home: bool = False,
) -> None:
    """Make a user that cannot log in by password.

    :param uid: the number; without it pw(8) chooses one
    :param group: the first group, which must exist; without it, one of the user's name
    :param groups: further groups, which must exist
    :param create_home: also make the directory, from the skeleton
    :raises AccountExists: the name or the number is taken
    :raises AccountNotFound: a group does not exist
    :raises InvalidArgument: the name or the comment holds a character that it cannot have
    :raises PermissionDenied: not root
    """
    argv = ["pw", "useradd", "-n", name]
    if uid is not None:
        argv += ["-u", str(uid)]
    if group is not None:
        argv += ["-g", group]
    if groups:
        argv += ["-G", ",".join(groups)]
    argv += ["-d", home, "-s", shell]
    if comment:
        argv += ["-c", comment]
    if create_home:
        argv.append("-m")
    # "no" is a password that nothing matches; it is the default only until /etc/pw.conf says otherwise.
    _run([*argv, "-w", "no"])


def ensure_group(name: str, *, gid: int | None = None) -> bool:
    """Make a group unless it is there with that number; return whether it was made.

    :raises AccountExists: it is there with another number
    """
    found = read_group(name)
    if found is not None and gid in (None, found.gid):
        return False
    create_group(name, gid=gid)
    return True


def ensure_user(
    name: str,
    *,
    uid: int | None = None,
    group: str | None = None,
    groups: Sequence[str] = (),
    home: str = NO_HOME,
    shell: str = NO_LOGIN,
    comment: str = "",
    create_home: bool = False,
) -> bool:
    """Make a user unless one of that name and number is there; return whether it was made.

    A user that is there keeps its home, shell and groups.

    :raises AccountExists: it is there with another number; otherwise as ``create_user``
    """
    found = read_user(name)
    if found is not None and uid in (None, found.uid):
        return False
    create_user(
        name,
        uid=uid,
        group=group,
        groups=groups,
        home=home,
        shell=shell,
        comment=comment,
        create_home=create_home,
    )
    return True


def delete_user(name: str, *, remove_home: bool = False) -> None:
    """Remove a user, and its own group if that has no other members.

    :param remove_home: also remove the home directory and all in it
    :raises AccountNotFound: there is no such user
    :raises InvalidArgument: it is root
    :raises PermissionDenied: not root
    """
    _run(["pw", "userdel", "-n", name, *(["-r"] if remove_home else [])])


def delete_group(name: str) -> None:
    """Remove a group.

    :raises AccountNotFound: there is no such group
    :raises PermissionDenied: not root
    """
    _run(["pw", "groupdel", "-n", name])


def add_member(group: str, user: str) -> None:
    """Put a user into a group; one that is in it stays.

    :raises AccountNotFound: there is no such group or user
    :raises PermissionDenied: not root
    """
    _run(["pw", "groupmod", "-n", group, "-m", user])


def remove_member(group: str, user: str) -> None:
    """Take a user out of a group; one that is not in it is no error.

    :raises AccountNotFound: there is no such group
    :raises PermissionDenied: not root
    """
    _run(["pw", "groupmod", "-n", group, "-d", user])


def _as_user(entry: pwd.struct_passwd) -> User:
    return User(entry.pw_name, entry.pw_uid, entry.pw_gid, entry.pw_gecos, entry.pw_dir, entry.pw_shell)


def _as_group(entry: grp.struct_group) -> Group:
    return Group(entry.gr_name, entry.gr_gid, tuple(entry.gr_mem))


def _run(argv: Sequence[str]) -> None:
    try:
        command.run(argv)
    except CommandError as error:
        if error.status is None:
            raise
        raise translate(error, _REFUSALS) from None
