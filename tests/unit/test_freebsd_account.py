"""Users and groups: exact commands, what is there already, and each refusal."""

from __future__ import annotations

import grp
import pwd
from collections.abc import Callable, Iterator

import pytest

from beastack.freebsd import account
from beastack.freebsd.account import Group, User
from beastack.freebsd.command import CommandError, CommandNotFound
from beastack.freebsd.errors import AccountExists, AccountNotFound, InvalidArgument, PermissionDenied
from recorded_commands import Commands, play

USERS = [
    pwd.struct_passwd(("root", "*", 0, 0, "Charlie &", "/root", "/bin/sh")),
    pwd.struct_passwd(("nova", "*", 196, 196, "OpenStack Nova", "/var/lib/nova", "/usr/sbin/nologin")),
]
GROUPS = [
    grp.struct_group(("wheel", "*", 0, ["root"])),
    grp.struct_group(("kvm", "*", 300, ["nova", "root"])),
    grp.struct_group(("nova", "*", 196, [])),
]


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch) -> Iterator[Commands]:
    yield from play(monkeypatch)


@pytest.fixture(autouse=True)
def database(monkeypatch: pytest.MonkeyPatch) -> None:
    def user(name: str) -> pwd.struct_passwd:
        return {entry.pw_name: entry for entry in USERS}[name]

    def group(name: str) -> grp.struct_group:
        return {entry.gr_name: entry for entry in GROUPS}[name]

    monkeypatch.setattr(pwd, "getpwnam", user)
    monkeypatch.setattr(pwd, "getpwall", lambda: USERS)
    monkeypatch.setattr(grp, "getgrnam", group)
    monkeypatch.setattr(grp, "getgrall", lambda: GROUPS)


def test_what_is_there() -> None:
    nova = User("nova", 196, 196, "OpenStack Nova", "/var/lib/nova", "/usr/sbin/nologin")
    assert account.read_user("nova") == nova
    assert account.read_user("neutron") is None
    assert account.list_users()[1] == nova
    assert account.read_group("kvm") == Group("kvm", 300, ("nova", "root"))
    assert account.read_group("neutron") is None
    assert [group.name for group in account.list_groups()] == ["wheel", "kvm", "nova"]


def test_the_groups_of_a_user_begin_with_its_own() -> None:
    assert account.groups_of("nova") == ("nova", "kvm")
    assert account.groups_of("root") == ("wheel", "kvm")
    with pytest.raises(KeyError):
        account.groups_of("neutron")


def test_a_user_with_everything(commands: Commands) -> None:
    commands.expect(
        [
            *("pw", "useradd", "-n", "neutron", "-u", "301", "-g", "neutron", "-G", "kvm,network"),
            *("-d", "/var/db/neutron", "-s", "/bin/sh", "-c", "OpenStack Neutron", "-m", "-w", "no"),
        ]
    )
    account.create_user(
        "neutron",
        uid=301,
        group="neutron",
        groups=["kvm", "network"],
        home="/var/db/neutron",
        shell="/bin/sh",
        comment="OpenStack Neutron",
        create_home=True,
    )


def test_a_user_with_nothing_said(commands: Commands) -> None:
    commands.expect("pw useradd -n neutron -d /nonexistent -s /usr/sbin/nologin -w no")
    account.create_user("neutron")


@pytest.mark.parametrize(
    ("act", "argv"),
    [
        (lambda: account.create_group("neutron", gid=301), "pw groupadd -n neutron -g 301"),
        (lambda: account.create_group("neutron"), "pw groupadd -n neutron"),
        (lambda: account.delete_user("nova"), "pw userdel -n nova"),
        (lambda: account.delete_user("nova", remove_home=True), "pw userdel -n nova -r"),
        (lambda: account.delete_group("nova"), "pw groupdel -n nova"),
        (lambda: account.add_member("kvm", "neutron"), "pw groupmod -n kvm -m neutron"),
        (lambda: account.remove_member("kvm", "neutron"), "pw groupmod -n kvm -d neutron"),
    ],
)
def test_each_change_is_one_command(commands: Commands, act: Callable[[], None], argv: str) -> None:
    commands.expect(argv)
    act()


def test_what_is_there_is_not_made_again(commands: Commands) -> None:
    assert not account.ensure_user("nova")
    assert not account.ensure_user("nova", uid=196, home="/elsewhere")
    assert not account.ensure_group("kvm")
    assert not account.ensure_group("kvm", gid=300)
    commands.expect("pw useradd -n neutron -u 301 -g kvm -d /h -s /usr/sbin/nologin -w no")
    commands.expect("pw groupadd -n neutron -g 301")
    assert account.ensure_user("neutron", uid=301, group="kvm", home="/h")
    assert account.ensure_group("neutron", gid=301)


def test_a_name_with_another_number_is_refused(commands: Commands) -> None:
    commands.expect(
        "pw useradd -n nova -u 5 -d /nonexistent -s /usr/sbin/nologin -w no",
        "",
        "pw: login name `nova' already exists\n",
        status=65,
    )
    with pytest.raises(AccountExists):
        account.ensure_user("nova", uid=5)
    commands.expect("pw groupadd -n kvm -g 5", "", "pw: group name `kvm' already exists\n", status=65)
    with pytest.raises(AccountExists):
        account.ensure_group("kvm", gid=5)


@pytest.mark.parametrize(
    ("status", "stderr", "kind"),
    [
        (65, "pw: login name `x' already exists\n", AccountExists),
        (74, "pw: user 'x' already exists\n", AccountExists),
        (65, "pw: uid `301' has already been allocated\n", AccountExists),
        (65, "pw: gid `301' has already been allocated\n", AccountExists),
        (67, "pw: no such user `x'\n", AccountNotFound),
        (67, "pw: no such uid `301'\n", AccountNotFound),
        (65, "pw: unknown group `x'\n", AccountNotFound),
        (65, "pw: unknown gid `301'\n", AccountNotFound),
        (67, "pw: group `x' does not exist\n", AccountNotFound),
        (67, "pw: user `x' does not exist\n", AccountNotFound),
        (77, "pw: you must be root\n", PermissionDenied),
        (74, "pw: group update: Permission denied\n", PermissionDenied),
        (65, "pw: invalid character ` ' at position 1 in userid/group name\n", InvalidArgument),
        (64, "pw: name too long `xxx' (max is 32)\n", InvalidArgument),
        (64, "pw: Bad id 'x': invalid\n", InvalidArgument),
        (65, "pw: cannot remove user 'root'\n", InvalidArgument),
        (70, "pw: unable to allocate a new uid - range fully used\n", CommandError),
    ],
)
def test_each_refusal_has_its_class(commands: Commands, status: int, stderr: str, kind: type[CommandError]) -> None:
    commands.expect("pw userdel -n x", "", stderr, status=status)
    with pytest.raises(CommandError) as caught:
        account.delete_user("x")
    assert type(caught.value) is kind
    assert caught.value.status == status


def test_a_missing_program_is_told(commands: Commands) -> None:
    commands.expect("pw groupdel -n x", status=None)
    with pytest.raises(CommandNotFound):
        account.delete_group("x")
