"""rc scripts and rc.conf variables."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from beastack.freebsd import service
from beastack.freebsd.command import CommandError, CommandNotFound
from beastack.freebsd.errors import (
    InvalidArgument,
    JailDying,
    JailNotFound,
    PermissionDenied,
    ServiceDisabled,
    ServiceNotFound,
)
from beastack.freebsd.service import Status
from recorded_commands import Commands, golden, play


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch) -> Iterator[Commands]:
    yield from play(monkeypatch)


# Scripts.


@pytest.mark.parametrize(
    ("act", "argv"),
    [
        (lambda: service.start("mysql-server"), "service mysql-server start"),
        (lambda: service.start("haproxy", one=True), "service haproxy onestart"),
        (lambda: service.start("haproxy", jail="j1"), "service -j j1 haproxy start"),
        (lambda: service.stop("haproxy"), "service haproxy onestop"),
        (lambda: service.stop("haproxy", one=False, jail="j1"), "service -j j1 haproxy stop"),
        (lambda: service.restart("haproxy"), "service haproxy restart"),
        (lambda: service.restart("haproxy", one=True), "service haproxy onerestart"),
    ],
)
def test_each_action_is_one_command(commands: Commands, act: Callable[[], None], argv: str) -> None:
    commands.expect(argv, "Starting haproxy.\n")
    act()
    assert commands.options == {"timeout": service.START_TIMEOUT}


def test_a_time_limit_can_be_given(commands: Commands) -> None:
    commands.expect("service haproxy start")
    service.start("haproxy", timeout=5)
    assert commands.options == {"timeout": 5}


def test_what_runs_already_and_what_does_not_run_are_no_errors(commands: Commands) -> None:
    commands.expect("service haproxy start", "", "haproxy already running?  (pid=812).\n", status=1)
    service.start("haproxy")
    commands.expect("service haproxy onestop", "", "haproxy not running? (check /var/run/haproxy.pid).\n", status=1)
    service.stop("haproxy")


@pytest.mark.parametrize("act", [service.start, service.restart])
def test_a_service_that_is_not_enabled_is_refused_though_its_script_succeeds(
    commands: Commands, act: Callable[[str], None]
) -> None:
    said = golden("service/disabled-14.4.txt")
    verb = "start" if act is service.start else "restart"
    commands.expect(f"service nova_compute {verb}", said.replace("'start'", f"'{verb}'"))
    with pytest.raises(ServiceDisabled) as caught:
        act("nova_compute")
    assert caught.value.status == 0


@pytest.mark.parametrize(
    ("stdout", "stderr", "kind"),
    [
        (golden("service/missing-15.1.txt"), "", ServiceNotFound),
        ("", "/etc/rc.d/x: unknown directive 'y'.\n", InvalidArgument),
        ("", 'jexec: jail "j" not found\n', JailNotFound),
        ("", "jexec: jail 99 not found\n", JailNotFound),
        ("", 'jexec: jail "j" is dying\n', JailDying),
        ("", "jexec: jail_attach(4): Operation not permitted\n", PermissionDenied),
        ("", "/var/run/x.pid: Permission denied\n", PermissionDenied),
        ("", "/usr/local/etc/rc.d/x: WARNING: failed to start x\n", CommandError),
    ],
)
@pytest.mark.parametrize("act", [service.start, service.stop, service.restart])
def test_each_refusal_has_its_class(
    commands: Commands, act: Callable[[str], None], stdout: str, stderr: str, kind: type[CommandError]
) -> None:
    verb = "onestop" if act is service.stop else act.__name__
    commands.expect(f"service x {verb}", stdout, stderr, status=1)
    with pytest.raises(CommandError) as caught:
        act("x")
    assert type(caught.value) is kind


@pytest.mark.parametrize(
    ("file", "status", "expected"),
    [
        ("status-running-14.4.txt", 0, (True, (1234,))),
        ("status-several-15.1.txt", 0, (True, (811, 812, 813))),
        ("status-stopped-15.1.txt", 1, (False, ())),
    ],
)
def test_the_status(commands: Commands, file: str, status: int, expected: tuple[bool, tuple[int, ...]]) -> None:
    said = golden(f"service/{file}")
    commands.expect("service x onestatus", said, status=status)
    assert service.read_status("x") == Status(*expected, said.strip())


def test_a_status_in_words_of_its_own(commands: Commands) -> None:
    commands.expect("service -j j1 x onestatus", "all fine\n")
    assert service.read_status("x", jail="j1") == Status(True, (), "all fine")
    commands.expect("service x onestatus", "half of it\n", status=3)
    assert service.read_status("x") == Status(False, (), "half of it")


def test_no_script_has_no_status(commands: Commands) -> None:
    commands.expect("service no_such onestatus", golden("service/missing-15.1.txt"), status=1)
    with pytest.raises(ServiceNotFound):
        service.read_status("no_such")
    commands.expect("service no_such onestatus", status=None)
    with pytest.raises(CommandNotFound):
        service.read_status("no_such")


@pytest.mark.parametrize("name", ["", "-e", "a b", "../x", "a;b"])
def test_what_is_no_script_is_refused(commands: Commands, name: str) -> None:
    with pytest.raises(ValueError, match="no name of an rc script"):
        service.start(name)


# Variables.


@pytest.mark.parametrize(
    ("act", "argv"),
    [
        (lambda: service.enable("nova_compute"), ["sysrc", "nova_compute_enable=YES"]),
        (lambda: service.disable("ovs-vswitchd"), ["sysrc", "ovs_vswitchd_enable=NO"]),
        (
            lambda: service.enable("mysql-server", variable="mysql_enable", file="/etc/rc.conf.d/mysql", jail="j1"),
            ["sysrc", "-j", "j1", "-f", "/etc/rc.conf.d/mysql", "mysql_enable=YES"],
        ),
        (
            lambda: service.write_variable("mysql_args", "--port 3307 --x='y'"),
            ["sysrc", "mysql_args=--port 3307 --x='y'"],
        ),
        (lambda: service.append_to_variable("kld_list", "_x"), ["sysrc", "kld_list+= _x"]),
        (
            lambda: service.append_to_variable("kld_list", "vmm", file="/tmp/rc.conf"),
            ["sysrc", "-f", "/tmp/rc.conf", "kld_list+= vmm"],
        ),
        (lambda: service.remove_from_variable("kld_list", "vmm"), ["sysrc", "kld_list-= vmm"]),
    ],
)
def test_each_change_of_rc_conf_is_one_command(commands: Commands, act: Callable[[], None], argv: list[str]) -> None:
    commands.expect(argv, "x: old -> new\n")
    act()


def test_a_variable_is_read(commands: Commands) -> None:
    commands.expect("sysrc -n kld_list", "if_epair if_bridge\n")
    assert service.read_variable("kld_list") == "if_epair if_bridge"
    commands.expect("sysrc -j j1 -f /x -n empty", "\n")
    assert service.read_variable("empty", file="/x", jail="j1") == ""
    commands.expect("sysrc -n none", "", "sysrc: unknown variable 'none'\n", status=1)
    assert service.read_variable("none") is None


def test_a_variable_is_deleted_or_was_not_there(commands: Commands) -> None:
    commands.expect("sysrc -f /x -x a")
    assert service.delete_variable("a", file="/x")
    commands.expect("sysrc -x a", "", "sysrc: unknown variable 'a'\n", status=1)
    assert not service.delete_variable("a")


@pytest.mark.parametrize(
    ("value", "enabled"),
    [("YES", True), ("yes", True), ("On", True), ("TRUE", True), ("1", True), ("NO", False), ("", False), ("2", False)],
)
def test_enabled_is_what_the_scripts_take_for_yes(commands: Commands, value: str, enabled: bool) -> None:
    commands.expect("sysrc -n ovs_vswitchd_enable", f"{value}\n")
    assert service.is_enabled("ovs-vswitchd") is enabled


def test_a_service_of_which_nothing_is_said_is_not_enabled(commands: Commands) -> None:
    commands.expect("sysrc -n mysql_enable", "", "sysrc: unknown variable 'mysql_enable'\n", status=1)
    assert not service.is_enabled("mysql-server", variable="mysql_enable")


@pytest.mark.parametrize(
    ("stderr", "kind"),
    [
        ("sysrc: cannot create /etc/rc.conf: permission denied\n", PermissionDenied),
        ("sysrc: /etc/rc.conf: Permission denied\n", PermissionDenied),
        ('jexec: jail "j" not found\n', JailNotFound),
        ("sysrc: something else\n", CommandError),
    ],
)
def test_each_refusal_of_rc_conf_has_its_class(commands: Commands, stderr: str, kind: type[CommandError]) -> None:
    acts: list[tuple[Callable[[], object], str]] = [
        (lambda: service.write_variable("a", "b"), "sysrc a=b"),
        (lambda: service.read_variable("a"), "sysrc -n a"),
        (lambda: service.delete_variable("a"), "sysrc -x a"),
    ]
    for act, argv in acts:
        commands.expect(argv, "", stderr, status=1)
        with pytest.raises(CommandError) as caught:
            act()
        assert type(caught.value) is kind


@pytest.mark.parametrize("value", ["$(reboot)", "`x`", 'a"b', "a\\b", "a\nb"])
def test_what_the_shell_would_act_on_is_refused(commands: Commands, value: str) -> None:
    for act in (service.write_variable, service.append_to_variable, service.remove_from_variable):
        with pytest.raises(ValueError, match="shell would act on"):
            act("a", value)


@pytest.mark.parametrize("key", ["", "-x", "a-b", "1a", "a=b", "a b"])
def test_what_is_no_variable_is_refused(commands: Commands, key: str) -> None:
    for act in (service.read_variable, service.delete_variable):
        with pytest.raises(ValueError, match="no name of an rc"):
            act(key)
    with pytest.raises(ValueError, match="no name of an rc"):
        service.write_variable(key, "x")
