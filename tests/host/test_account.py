"""Users and groups: what the library makes and reads, against what pw(8) and id(1) print."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from beastack.freebsd import account, errors
from beastack.freebsd.command import run
from network_lab import as_nobody

USERS = ("btuser", "btother")
GROUPS = ("btgroup", "btsecond", "btuser", "btother")
NOBODY = "btnobody"

Change = Callable[[], object]


def remove_all() -> None:
    """Remove the accounts that these tests make."""
    for user in USERS:
        run(["pw", "userdel", "-n", user], ok=range(256))
    for group in GROUPS:
        run(["pw", "groupdel", "-n", group], ok=range(256))


@pytest.fixture(autouse=True)
def _accounts() -> Iterator[None]:
    remove_all()
    before = account.list_users(), account.list_groups()
    yield
    remove_all()
    assert (account.list_users(), account.list_groups()) == before


def print_user(name: str) -> list[str]:
    """Return the fields that pw(8) prints for a user: name, uid, gid, full name, home, shell."""
    fields = run(["pw", "usershow", "-n", name]).stdout.strip().split(":")
    return [fields[index] for index in (0, 2, 3, 7, 8, 9)]


def print_group(name: str) -> list[str]:
    """Return the fields that pw(8) prints for a group: name, gid, members."""
    fields = run(["pw", "groupshow", "-n", name]).stdout.strip().split(":")
    return [fields[index] for index in (0, 2, 3)]


def test_the_same_accounts_are_listed() -> None:
    users = account.list_users()
    shown = [line.split(":") for line in run(["pw", "usershow", "-a"]).stdout.splitlines()]
    assert [(user.name, str(user.uid)) for user in users] == [(line[0], line[2]) for line in shown]
    groups = account.list_groups()
    lines = [line.split(":") for line in run(["pw", "groupshow", "-a"]).stdout.splitlines()]
    assert [[each.name, str(each.gid), ",".join(each.members)] for each in groups] == [
        [line[0], line[2], line[3]] for line in lines
    ]
    assert account.read_user("root") == next(user for user in users if user.name == "root")
    assert account.read_group("wheel") == next(group for group in groups if group.name == "wheel")
    assert account.groups_of("root")[0] == "wheel"


def test_a_user_of_a_service() -> None:
    account.create_user("btuser", comment="A test's user")
    user = account.read_user("btuser")
    assert user is not None
    assert [user.name, str(user.uid), str(user.gid), user.comment, user.home, user.shell] == print_user("btuser")
    assert (user.comment, user.home, user.shell) == ("A test's user", account.NO_HOME, account.NO_LOGIN)
    assert user in account.list_users()
    password = run(["pw", "usershow", "-n", "btuser"]).stdout.split(":")[1]
    assert password.startswith("*")  # which no password matches
    group = account.read_group("btuser")
    assert group is not None and group.gid == user.gid and group.members == ()
    assert account.groups_of("btuser") == ("btuser",)
    account.delete_user("btuser")
    assert account.read_user("btuser") is None and account.read_group("btuser") is None
    with pytest.raises(KeyError):
        account.groups_of("btuser")


def test_a_user_of_several_groups(tmp_path: Path) -> None:
    home = tmp_path / "home"
    account.create_group("btgroup", gid=61001)
    account.create_group("btsecond")
    account.create_user(
        "btuser",
        uid=61002,
        group="btgroup",
        groups=["btsecond", "operator"],
        home=str(home),
        shell="/bin/sh",
        create_home=True,
    )
    user = account.read_user("btuser")
    assert user is not None and (user.uid, user.gid, user.home, user.shell) == (61002, 61001, str(home), "/bin/sh")
    assert print_user("btuser")[1:3] == ["61002", "61001"]
    assert print_group("btsecond")[2] == "btuser"
    assert account.groups_of("btuser")[0] == "btgroup"
    assert set(account.groups_of("btuser")) == {"btgroup", "btsecond", "operator"}
    assert set(run(["id", "-Gn", "btuser"]).stdout.split()) == set(account.groups_of("btuser"))
    assert home.is_dir() and home.stat().st_uid == 61002 and home.stat().st_gid == 61001
    account.delete_user("btuser", remove_home=True)
    assert not home.exists()
    assert account.read_group("btgroup") is not None  # it has another name than the user
    operators = account.read_group("operator")
    assert operators is not None and "btuser" not in operators.members


def test_a_home_that_stays(tmp_path: Path) -> None:
    home = tmp_path / "home"
    account.create_user("btuser", home=str(home), create_home=True)
    account.delete_user("btuser")
    assert home.is_dir()


def test_members() -> None:
    account.create_group("btgroup")
    account.create_user("btuser")
    account.create_user("btother")
    for _ in range(2):  # the second time it is there already
        account.add_member("btgroup", "btuser")
        account.add_member("btgroup", "btother")
    group = account.read_group("btgroup")
    assert group is not None and group.members == ("btuser", "btother")
    assert print_group("btgroup") == ["btgroup", str(group.gid), "btuser,btother"]
    assert account.groups_of("btuser") == ("btuser", "btgroup")
    for _ in range(2):
        account.remove_member("btgroup", "btuser")
    group = account.read_group("btgroup")
    assert group is not None and group.members == ("btother",)


def test_making_sure() -> None:
    assert account.ensure_group("btgroup", gid=61001)
    assert not account.ensure_group("btgroup", gid=61001)
    assert not account.ensure_group("btgroup")
    with pytest.raises(errors.AccountExists):
        account.ensure_group("btgroup", gid=61003)
    assert account.ensure_user("btuser", uid=61002, group="btgroup", comment="first")
    assert not account.ensure_user("btuser", uid=61002, comment="second")
    assert not account.ensure_user("btuser")
    user = account.read_user("btuser")
    assert user is not None and user.comment == "first"
    with pytest.raises(errors.AccountExists):
        account.ensure_user("btuser", uid=61003)


def test_names_and_numbers_that_are_taken() -> None:
    account.create_group("btgroup", gid=61001)
    account.create_user("btuser", uid=61002)
    with pytest.raises(errors.AccountExists):
        account.create_group("btgroup")
    with pytest.raises(errors.AccountExists):
        account.create_group("btsecond", gid=61001)
    with pytest.raises(errors.AccountExists):
        account.create_user("btuser")
    with pytest.raises(errors.AccountExists):
        account.create_user("btother", uid=61002)
    assert account.read_user("btother") is None and account.read_group("btsecond") is None


def test_names_that_are_not_there() -> None:
    assert account.read_user(NOBODY) is None
    assert account.read_group(NOBODY) is None
    account.create_group("btgroup")
    with pytest.raises(errors.AccountNotFound):
        account.delete_user(NOBODY)
    with pytest.raises(errors.AccountNotFound):
        account.delete_group(NOBODY)
    with pytest.raises(errors.AccountNotFound):
        account.create_user("btuser", group=NOBODY)
    with pytest.raises(errors.AccountNotFound):
        account.create_user("btuser", groups=["btgroup", NOBODY])
    with pytest.raises(errors.AccountNotFound):
        account.add_member("btgroup", NOBODY)
    with pytest.raises(errors.AccountNotFound):
        account.add_member(NOBODY, "root")
    with pytest.raises(errors.AccountNotFound):
        account.remove_member(NOBODY, "root")
    assert account.read_user("btuser") is None


def test_names_that_cannot_be() -> None:
    for name in ("bt user", "bt:user", "bt/user", "-btuser", "bt" + "u" * 40):
        with pytest.raises(errors.InvalidArgument):
            account.create_user(name)
        with pytest.raises(errors.InvalidArgument):
            account.create_group(name)
    with pytest.raises(errors.InvalidArgument):
        account.create_user("btuser", comment="one:two")
    with pytest.raises(errors.InvalidArgument):
        account.create_user("btuser", uid=-5)
    with pytest.raises(errors.InvalidArgument):
        account.delete_user("root")
    assert account.read_user("btuser") is None and account.read_user("root") is not None


def test_others_than_root() -> None:
    account.create_group("btgroup")
    account.create_user("btuser")
    with as_nobody():
        changes: list[Change] = [
            lambda: account.create_user("btother"),
            lambda: account.create_group("btsecond"),
            lambda: account.delete_user("btuser"),
            lambda: account.delete_group("btgroup"),
            lambda: account.add_member("btgroup", "btuser"),
            lambda: account.remove_member("btgroup", "btuser"),
        ]
        for change in changes:
            with pytest.raises(errors.PermissionDenied):
                change()
    assert account.read_user("btuser") is not None and account.read_user("btother") is None
