"""The account files of the host: passwd(5), master.passwd(5), group(5)."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

ID_MAX = 4294967295


@dataclass
class User:
    """A line of master.passwd(5). ``change`` and ``expire`` are seconds since 1970 or 0."""

    name: str
    password: str = "*"
    uid: int = 0
    gid: int = 0
    login_class: str = ""
    change: int = 0
    expire: int = 0
    gecos: str = ""
    home: str = ""
    shell: str = ""

    def master_line(self) -> str:
        """Return the line of master.passwd, without the newline."""
        return (
            f"{self.name}:{self.password}:{self.uid}:{self.gid}:{self.login_class}:{self.change}:{self.expire}"
            f":{self.gecos}:{self.home}:{self.shell}"
        )

    def public_line(self) -> str:
        """Return the line of passwd, without the newline."""
        return f"{self.name}:*:{self.uid}:{self.gid}:{self.gecos}:{self.home}:{self.shell}"


@dataclass
class Group:
    """A line of group(5)."""

    name: str
    password: str = "*"
    gid: int = 0
    members: list[str] = field(default_factory=list)

    def line(self) -> str:
        """Return the line of group, without the newline."""
        return f"{self.name}:{self.password}:{self.gid}:{','.join(self.members)}"


class Accounts:
    """The accounts in one etc directory, as they are now."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.users = self._read_users()
        self.groups = self._read_groups()

    @classmethod
    def of_root(cls, root: Path) -> Accounts:
        """Return the accounts of a root directory."""
        return cls(root / "etc")

    def _lines(self, name: str) -> list[list[str]]:
        try:
            lines = (self.directory / name).read_text().splitlines()
        except OSError:
            return []
        return [line.split(":") for line in lines if line and not line.startswith("#")]

    def _read_users(self) -> list[User]:
        users = []
        for word in self._lines("master.passwd"):
            if len(word) == 10:
                users.append(User(word[0], word[1], int(word[2]), int(word[3]), word[4], int(word[5] or 0),
                                  int(word[6] or 0), *word[7:]))  # fmt: skip
        known = {user.name for user in users}
        for word in self._lines("passwd"):
            # A line that something appended to passwd alone still counts here.
            if len(word) == 7 and word[0] not in known:
                users.append(User(word[0], word[1], int(word[2]), int(word[3]), gecos=word[4], home=word[5],
                                  shell=word[6]))  # fmt: skip
        return users

    def _read_groups(self) -> list[Group]:
        return [
            Group(word[0], word[1], int(word[2]), [name for name in word[3].split(",") if name])
            for word in self._lines("group")
            if len(word) == 4
        ]

    def user(self, name: str) -> User | None:
        """Return a user by name."""
        return next((user for user in self.users if user.name == name), None)

    def user_of(self, uid: int) -> User | None:
        """Return a user by number."""
        return next((user for user in self.users if user.uid == uid), None)

    def group(self, name: str) -> Group | None:
        """Return a group by name."""
        return next((group for group in self.groups if group.name == name), None)

    def group_of(self, gid: int) -> Group | None:
        """Return a group by number."""
        return next((group for group in self.groups if group.gid == gid), None)

    def user_name(self, uid: int) -> str:
        """Return a user's name, or the number when nobody has it."""
        user = self.user_of(uid)
        return user.name if user is not None else str(uid)

    def group_name(self, gid: int) -> str:
        """Return a group's name, or the number when there is none."""
        group = self.group_of(gid)
        return group.name if group is not None else str(gid)

    def groups_of(self, user: User) -> list[int]:
        """Return the groups that a login of a user has: its own first."""
        return [user.gid] + [item.gid for item in self.groups if user.name in item.members and item.gid != user.gid]

    def save(self) -> None:
        """Write the three files."""
        self._write("master.passwd", [user.master_line() for user in self.users], 0o600)
        self._write("passwd", [user.public_line() for user in self.users], 0o644)
        self._write("group", [group.line() for group in self.groups], 0o644)

    def _write(self, name: str, lines: list[str], mode: int) -> None:
        part = self.directory / f".{name}.new"
        part.write_text("".join(line + "\n" for line in lines))
        os.chmod(part, mode)
        part.rename(self.directory / name)
