"""vnet jails: names, creation, listing, entering, daemons inside, and removal with its wait."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from beastack.freebsd import jail
from beastack.freebsd.command import CommandError, CommandNotFound, CommandTimeout, Result
from beastack.freebsd.errors import (
    InterfaceExists,
    InterfaceNotFound,
    InvalidArgument,
    JailDying,
    JailExists,
    JailNotFound,
    PermissionDenied,
    ProcessNotFound,
)
from beastack.freebsd.jail import Jail, Parameters
from beastack.freebsd.process import Process

GOLDEN = Path(__file__).parent / "golden" / "freebsd" / "jail"
DHCP = "qdhcp-3f1f9a0e-6d0c-4a39-9a3e-0d7f1c2b4a55"
READ = "jls --libxo json -j {} jid name path vnet"
DYING = "jls --libxo json -d jid name"
CREATE = "jail -c name={} path=/ vnet persist host=inherit children.max=0 allow.raw_sockets=1 enforce_statfs=1"


def golden(name: str) -> str:
    return (GOLDEN / name).read_text()


def rows(*entries: str) -> str:
    return '{"__version": "2", "jail-information": {"jail": [' + ", ".join(entries) + "]}}\n"


def row(jid: int, name: str, vnet: str = "new") -> str:
    return f'{{"jid":"{jid}","name":"{name}","path":"/","vnet":"{vnet}"}}'


class Host:
    """Plays a host: the commands it expects, in order, and what each of them prints."""

    def __init__(self) -> None:
        self.script: list[tuple[list[str], int | None, str, str]] = []
        self.last: dict[str, Any] = {}

    def expect(self, command: str | Sequence[str], stdout: str = "", stderr: str = "", status: int | None = 0) -> None:
        argv = command.split() if isinstance(command, str) else list(command)
        self.script.append((argv, status, stdout, stderr))

    def run(self, argv: Sequence[str], *, ok: Sequence[int] = (0,), **options: Any) -> Result:
        assert self.script, f"nothing more was expected, but: {list(argv)}"
        expected, status, stdout, stderr = self.script.pop(0)
        assert list(argv) == expected
        self.last = options
        if status is None:
            raise CommandTimeout(argv, None, "", stderr)
        if status not in ok:
            raise CommandError(argv, status, stdout, stderr)
        return Result(tuple(argv), status, stdout, stderr)

    def list_names(self, name: str | None = None) -> tuple[str, ...]:
        where = [] if name is None else ["-j", name]
        return tuple(self.run(["ifconfig", *where, "-l"]).stdout.split())

    def return_from_jail(self, name: str, source: str) -> None:
        try:
            self.run(["ifconfig", name, "-vnet", source])
        except CommandError as error:
            raise InterfaceNotFound(error.argv, error.status, error.stdout, error.stderr) from error

    def list_processes(self) -> tuple[Process, ...]:
        listed = self.run(["ps"]).stdout.splitlines()
        fields = [line.split(None, 2) for line in listed]
        return tuple(
            Process(int(pid), 1, int(jid), 0, "I", 4096, 8192, 0.0, arguments) for pid, jid, arguments in fields
        )


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> Iterator[Host]:
    played = Host()
    monkeypatch.setattr(jail, "run", played.run)
    monkeypatch.setattr(jail, "list_names", played.list_names)
    monkeypatch.setattr(jail, "return_from_jail", played.return_from_jail)
    monkeypatch.setattr(jail, "list_processes", played.list_processes)
    yield played
    assert played.script == []


class Clock:
    """Time that passes only by sleeping."""

    def __init__(self) -> None:
        self.now = 100.0
        self.slept: list[float] = []

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


# Names.


@pytest.mark.parametrize("name", [DHCP, "qrouter_1:A", "ovnmeta-x", "a", "0x1", "x" * 255])
def test_names_that_are_valid(name: str) -> None:
    assert jail.check_name(name) == name


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("", "a jail name cannot be empty"),
        ("12", "the jail name '12' is a number, which means the jail of that jid"),
        ("0", "the jail name '0' is a number, which means the jail of that jid"),
        ("a.b", "the jail name 'a.b' has a dot, which means a jail inside another one"),
        ("*", "the jail name '*' has a wildcard"),
        ("q*", "the jail name 'q*' has a wildcard"),
        ("x" * 256, "a jail name has at most 255 bytes, this one has 256"),
        ("a b", "the jail name 'a b' may only have letters, digits and _ : @ + -, and not begin with -"),
        ("-r", "the jail name '-r' may only have letters, digits and _ : @ + -, and not begin with -"),
        ("a=b", "the jail name 'a=b' may only have letters, digits and _ : @ + -, and not begin with -"),
        ("a\n", "the jail name 'a\\n' may only have letters, digits and _ : @ + -, and not begin with -"),
    ],
)
def test_names_that_are_not(host: Host, name: str, why: str) -> None:
    for refuse in (jail.check_name, jail.create_jail, jail.read_jail, jail.jail_exists, jail.remove_jail):
        with pytest.raises(ValueError) as caught:
            refuse(name)
        assert str(caught.value) == why


# Creation.


def test_a_jail_is_created_and_read_back(host: Host) -> None:
    host.expect(CREATE.format(DHCP))
    host.expect(READ.format(DHCP), rows(row(3, DHCP)))
    assert jail.create_jail(DHCP) == Jail(3, DHCP, "/", vnet=True)


def test_the_parameters_of_a_jail(host: Host) -> None:
    host.expect(
        "jail -c name=n path=/usr/jails/n vnet persist host.hostname=n.example children.max=2 allow.raw_sockets=0"
        " enforce_statfs=2 allow.mlock allow.socket_af"
    )
    host.expect(READ.format("n"), rows(row(4, "n")))
    chosen = Parameters(
        "/usr/jails/n", "n.example", 2, raw_sockets=False, enforce_statfs=2, allow=("mlock", "socket_af")
    )
    assert jail.create_jail("n", chosen).jid == 4


def test_a_relative_path_is_refused(host: Host) -> None:
    with pytest.raises(ValueError, match=r"^the path of jail 'n' is not absolute: 'jails/n'$"):
        jail.create_jail("n", Parameters("jails/n"))


def test_a_jail_that_is_there_is_found(host: Host) -> None:
    host.expect(CREATE.format("n"), stderr='jail: "n" already exists\n', status=1)
    host.expect(READ.format("n"), rows(row(8, "n")))
    assert jail.create_jail("n") == Jail(8, "n", "/", vnet=True)


def test_a_jail_with_the_stack_of_the_host_is_not_what_was_wanted(host: Host) -> None:
    host.expect(CREATE.format("n"), stderr='jail: "n" already exists\n', status=1)
    host.expect(READ.format("n"), rows(row(8, "n", "inherit")))
    with pytest.raises(JailExists):
        jail.create_jail("n")


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("jail: jail_set: Operation not permitted", PermissionDenied),
        ("jail: prison limit exceeded", PermissionDenied),
        ("jail: path /nowhere: No such file or directory", InvalidArgument),
        ("jail: path /etc/fstab: Not a directory", InvalidArgument),
        ("jail: path x: not an absolute pathname", InvalidArgument),
        ("jail: unknown parameter: allow.nothing", InvalidArgument),
        ("jail: name cannot be numeric (unless it is the jid)", InvalidArgument),
        ("jail: jail_set: File name too long", InvalidArgument),
        ("jail: vnet cannot be changed after creation", InvalidArgument),
        ("jail: vnet jails cannot have IP address restrictions", InvalidArgument),
        ("jail: new jail must persist or attach", InvalidArgument),
        ("jail: jail_set: Invalid argument", InvalidArgument),
        ("jail: something new", CommandError),
    ],
)
def test_what_creation_can_be_refused_for(host: Host, text: str, kind: type[CommandError]) -> None:
    host.expect(CREATE.format("n"), stderr=text + "\n", status=1)
    with pytest.raises(CommandError) as caught:
        jail.create_jail("n")
    assert type(caught.value) is kind
    assert caught.value.stderr == text + "\n"


def test_a_time_limit_is_told_as_one(host: Host) -> None:
    host.expect(CREATE.format("n"), stderr="was still running after 60 s", status=None)
    with pytest.raises(CommandTimeout):
        jail.create_jail("n")


# Listing.


def test_jails_of_14(host: Host) -> None:
    host.expect("jls --libxo json jid name path vnet", golden("jls-14.3.json"))
    assert jail.list_jails() == (Jail(3, DHCP, "/", vnet=True), Jail(7, "web", "/usr/jails/web", vnet=False))


def test_jails_of_15(host: Host) -> None:
    host.expect("jls --libxo json jid name path vnet", golden("jls-15.1.json"))
    assert jail.list_jails() == (Jail(12, "qrouter_1:A", "/", vnet=True),)


def test_no_jails(host: Host) -> None:
    host.expect("jls --libxo json jid name path vnet", golden("jls-empty.json"))
    assert jail.list_jails() == ()


def test_dying_jails(host: Host) -> None:
    host.expect("jls --libxo json -d jid name path vnet", golden("jls-dying.json"))
    host.expect("jls --libxo json jid", golden("jls-jids.json"))
    assert [(one.name, one.dying) for one in jail.list_jails(dying=True)] == [
        (DHCP, False),
        ("web", False),
        ("old", True),
    ]


@pytest.mark.parametrize("output", ["", "garbage", "{}", '{"jail-information": 3}'])
def test_output_that_is_not_understood(host: Host, output: str) -> None:
    host.expect("jls --libxo json jid name path vnet", output)
    with pytest.raises(CommandError, match="its output is not understood"):
        jail.list_jails()


@pytest.mark.parametrize(
    ("text", "kind"),
    [('jls: jail "n" not found', JailNotFound), ('jls: jail "n" is dying', JailDying)],
)
def test_a_jail_that_cannot_be_read(host: Host, text: str, kind: type[CommandError]) -> None:
    host.expect(READ.format("n"), stderr=text + "\n", status=1)
    with pytest.raises(kind):
        jail.read_jail("n")
    host.expect("jls -j n jid", stderr=text + "\n", status=1)
    assert not jail.jail_exists("n")


def test_a_jail_that_exists(host: Host) -> None:
    host.expect("jls -j n jid", "3\n")
    assert jail.jail_exists("n")


def test_existence_that_cannot_be_told(host: Host) -> None:
    host.expect("jls -j n jid", stderr="jls: unknown parameter: jid\n", status=1)
    with pytest.raises(InvalidArgument):
        jail.jail_exists("n")


def test_the_jail_of_a_process(host: Host) -> None:
    host.expect("ps -o jail= -p 812", f"{DHCP}\n")
    assert jail.find_jail_of_process(812) == DHCP
    host.expect("ps -o jail= -p 1", "-\n")
    assert jail.find_jail_of_process(1) is None
    host.expect("ps -o jail= -p 99999", "", status=1)
    with pytest.raises(ProcessNotFound, match="there is no process 99999"):
        jail.find_jail_of_process(99999)


# Entering.


def test_a_command_inside(host: Host) -> None:
    host.expect("jexec n ping -c 1 10.0.0.1", "1 packets\n", "noise\n")
    assert jail.run_in_jail("n", ["ping", "-c", "1", "10.0.0.1"], timeout=5, env={"A": "1"}).stdout == "1 packets\n"
    assert host.last == {"timeout": 5, "stdin": None, "env": {"A": "1"}}
    assert jail.wrap_command("n", ["true"]) == ["jexec", "n", "true"]


def test_a_command_that_is_missing_inside(host: Host) -> None:
    host.expect("jexec n dig x", stderr="jexec: execvp: dig: No such file or directory\n", status=1)
    with pytest.raises(CommandNotFound, match=r"^the program dig is not installed$") as caught:
        jail.run_in_jail("n", ["dig", "x"])
    assert caught.value.argv == ("dig", "x")


def test_a_missing_command_is_no_answer_even_when_its_status_would_be(host: Host) -> None:
    host.expect("jexec n grep x", stderr="jexec: execvp: grep: No such file or directory\n", status=1)
    with pytest.raises(CommandNotFound):
        jail.run_in_jail("n", ["grep", "x"], ok=(0, 1))


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ('jexec: jail "n" not found', JailNotFound),
        ('jexec: jail "n" is dying', JailDying),
        ("jexec: jail_attach(3): Operation not permitted", PermissionDenied),
        ("jexec: jail_attach(3): Invalid argument", JailNotFound),
        ("jexec: execvp: x: Permission denied", PermissionDenied),
    ],
)
def test_a_jail_that_cannot_be_entered(host: Host, text: str, kind: type[CommandError]) -> None:
    host.expect("jexec n x", stderr=text + "\n", status=1)
    with pytest.raises(kind):
        jail.run_in_jail("n", ["x"])


@pytest.mark.parametrize(
    ("status", "stdout", "stderr"),
    [
        (1, "", "cat: /a: No such file or directory\n"),
        (1, "some output\n", "jexec: execvp: x: No such file or directory\n"),
        (2, "", "jexec: execvp: x: No such file or directory\n"),
        (1, "", "jexec: execvp: other: No such file or directory\n"),
    ],
)
def test_the_failure_of_the_command_itself(host: Host, status: int, stdout: str, stderr: str) -> None:
    host.expect("jexec n x", stdout, stderr, status)
    with pytest.raises(CommandError) as caught:
        jail.run_in_jail("n", ["x"])
    assert type(caught.value) is CommandError
    host.expect("jexec n x", stdout, stderr, status)
    assert jail.run_in_jail("n", ["x"], ok=(0, 1, 2)).status == status


# Daemons.


def test_a_daemon_inside(host: Host) -> None:
    host.expect("jexec n daemon -f -p /var/run/x.pid dnsmasq -k")
    assert jail.start_daemon("n", ["dnsmasq", "-k"], pidfile=Path("/var/run/x.pid")) is None
    host.expect("jexec n daemon -f -p /var/run/x.pid -o /var/log/x.log -u nobody dnsmasq -k")
    jail.start_daemon(
        "n", ["dnsmasq", "-k"], pidfile=Path("/var/run/x.pid"), output=Path("/var/log/x.log"), user="nobody"
    )


def test_a_daemon_that_runs_already(host: Host) -> None:
    host.expect("jexec n daemon -f -p /p x", stderr="daemon: process already running, pid: 812\n", status=3)
    assert jail.start_daemon("n", ["x"], pidfile=Path("/p")) == 812


@pytest.mark.parametrize(
    ("status", "text", "kind"),
    [
        (2, "daemon: pidfile ``/p'': No such file or directory", InvalidArgument),
        (7, "daemon: open: /o: Is a directory", InvalidArgument),
        (1, 'jexec: jail "n" not found', JailNotFound),
        (1, "usage: daemon ...", CommandError),
    ],
)
def test_a_daemon_that_cannot_be_started(host: Host, status: int, text: str, kind: type[CommandError]) -> None:
    host.expect("jexec n daemon -f -p /p x", stderr=text + "\n", status=status)
    with pytest.raises(CommandError) as caught:
        jail.start_daemon("n", ["x"], pidfile=Path("/p"))
    assert type(caught.value) is kind


# Removal.


def test_interfaces_come_home_before_the_jail_goes(host: Host) -> None:
    clock = Clock()
    host.expect(READ.format("n"), rows(row(9, "n")))
    host.expect("ifconfig -j n -l", "lo0 pflog0 epair0b tap-1\n")
    host.expect("ifconfig -l", "em0 lo0 pflog0 epair0a\n")
    host.expect("ifconfig epair0b -vnet n")
    host.expect("ifconfig tap-1 -vnet n")
    host.expect("jail -R n")
    host.expect(DYING, rows(row(3, DHCP), row(9, "n")))
    host.expect(DYING, rows(row(3, DHCP)))
    moved = jail.remove_jail("n", interval=0.5, clock=clock, sleep=clock.sleep)
    assert moved == ("epair0b", "tap-1")
    assert clock.slept == [0.5]


def test_interfaces_brought_home_by_the_caller(host: Host) -> None:
    brought: list[str] = []
    host.expect(READ.format("n"), rows(row(9, "n")))
    host.expect("ifconfig -j n -l", "lo0 epair0b\n")
    host.expect("ifconfig -l", "em0 lo0\n")
    host.expect("jail -R n")
    host.expect(DYING, rows())
    assert jail.remove_jail("n", bring_home=brought.append) == ("epair0b",)
    assert brought == ["epair0b"]


def test_a_jail_without_interfaces(host: Host) -> None:
    host.expect(READ.format("n"), rows(row(9, "n")))
    host.expect("ifconfig -j n -l", "lo0\n")
    host.expect("jail -R n")
    host.expect(DYING, rows())
    assert jail.remove_jail("n") == ()


def test_a_name_clash_stops_removal_before_anything_is_changed(host: Host) -> None:
    host.expect(READ.format("n"), rows(row(9, "n")))
    host.expect("ifconfig -j n -l", "lo0 tap-1 eth0\n")
    host.expect("ifconfig -l", "em0 lo0 eth0\n")
    with pytest.raises(InterfaceExists, match="there is an interface eth0 here already"):
        jail.remove_jail("n")


def test_an_interface_that_went_meanwhile(host: Host) -> None:
    host.expect(READ.format("n"), rows(row(9, "n")))
    host.expect("ifconfig -j n -l", "lo0 epair0b\n")
    host.expect("ifconfig -l", "lo0\n")
    host.expect(
        "ifconfig epair0b -vnet n", stderr="ifconfig: SIOCSIFRVNET(9, epair0b): Device not configured\n", status=1
    )
    host.expect("jail -R n")
    host.expect(DYING, rows())
    jail.remove_jail("n")


def test_a_jail_that_is_not_there_is_removed_already(host: Host) -> None:
    host.expect(READ.format("n"), stderr='jls: jail "n" not found\n', status=1)
    assert jail.remove_jail("n") == ()


def test_a_jail_that_somebody_else_removes_meanwhile(host: Host) -> None:
    host.expect(READ.format("n"), rows(row(9, "n")))
    host.expect("ifconfig -j n -l", "lo0\n")
    host.expect("jail -R n", stderr='jail: "n" not found\n', status=1)
    jail.remove_jail("n")


def test_a_jail_that_is_dying_already_is_waited_for(host: Host) -> None:
    host.expect(READ.format("n"), stderr='jls: jail "n" is dying\n', status=1)
    host.expect(DYING, rows(row(9, "n")))
    host.expect(DYING, rows())
    jail.remove_jail("n")


def test_a_new_jail_of_the_same_name_is_not_waited_for(host: Host) -> None:
    host.expect(READ.format("n"), rows(row(9, "n")))
    host.expect("ifconfig -j n -l", "lo0\n")
    host.expect("jail -R n")
    host.expect(DYING, rows(row(10, "n")))
    jail.remove_jail("n")


def test_removal_not_allowed(host: Host) -> None:
    host.expect(READ.format("n"), rows(row(9, "n")))
    host.expect("ifconfig -j n -l", "lo0\n")
    host.expect("jail -R n", stderr="jail: n: jail_remove: Operation not permitted\n", status=1)
    with pytest.raises(PermissionDenied):
        jail.remove_jail("n")


def keep_dying(host: Host) -> None:
    host.expect(READ.format("n"), rows(row(9, "n")))
    host.expect("ifconfig -j n -l", "lo0\n")
    host.expect("jail -R n")
    for _ in range(4):
        host.expect(DYING, rows(row(9, "n")))


def test_what_holds_a_jail_that_keeps_dying(host: Host) -> None:
    clock = Clock()
    keep_dying(host)
    host.expect("ps", "1 0 /sbin/init\n812 3 dnsmasq -k\n813 9 /usr/local/sbin/haproxy -f /var/db/y\n814 9 sh\n")
    with pytest.raises(JailDying) as caught:
        jail.remove_jail("n", limit=3, interval=1, clock=clock, sleep=clock.sleep)
    assert caught.value.stderr == (
        "jail n (jid 9) is still dying after 3 s: process 813 (/usr/local/sbin/haproxy -f /var/db/y), 814 (sh)"
    )
    assert clock.slept == [1, 1, 1]


def test_nothing_seen_holds_a_jail_that_keeps_dying(host: Host) -> None:
    clock = Clock()
    keep_dying(host)
    host.expect("ps", "1 0 /sbin/init\n")
    with pytest.raises(JailDying, match=r"no process is in it; an open socket, file or tap"):
        jail.remove_jail("n", limit=3, interval=1, clock=clock, sleep=clock.sleep)


def test_what_holds_it_cannot_be_told(host: Host) -> None:
    clock = Clock()
    keep_dying(host)
    host.expect("ps", stderr="ps: out of memory\n", status=1)
    with pytest.raises(JailDying, match=r"what holds it cannot be listed \(ps exited with status 1: ps: out of memory"):
        jail.remove_jail("n", limit=3, interval=1, clock=clock, sleep=clock.sleep)
