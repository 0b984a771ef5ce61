"""Services: an rc script of our own under service(8), and the variables of rc.conf(5) under sysrc(8)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from beastack.freebsd import errors, jail, process, service
from beastack.freebsd.command import CommandError, run
from conftest import eventually
from network_lab import Lab, as_nobody
from slow_jail import dying_jail

NAME = "bt_sleeper"
WORDS = "bt_words"
SCRIPTS = Path("/usr/local/etc/rc.d")
PIDFILE = Path(f"/var/run/{NAME}.pid")
NOWHERE = "btnowhere"

SLEEPER = f"""\
#!/bin/sh
# PROVIDE: {NAME}
# REQUIRE: LOGIN
# KEYWORD: shutdown
. /etc/rc.subr
name={NAME}
rcvar={NAME}_enable
load_rc_config $name
: ${{{NAME}_enable:="NO"}}
pidfile={PIDFILE}
procname="/usr/sbin/daemon"
command="/usr/sbin/daemon"
command_args="-f -P ${{pidfile}} -r -t {NAME} /bin/sleep 600"
run_rc_command "$1"
"""

#: A service without a process: it tells its state itself, and one of its verbs fails.
TELLER = f"""\
#!/bin/sh
# PROVIDE: {WORDS}
. /etc/rc.subr
name={WORDS}
rcvar={WORDS}_enable
load_rc_config $name
: ${{{WORDS}_enable:="NO"}}
start_cmd="echo it did not work >&2; false"
stop_cmd="false"
status_cmd="echo all is well"
run_rc_command "$1"
"""


@pytest.fixture(autouse=True)
def _scripts() -> Iterator[None]:
    """Put the scripts in place, and remove them and what they left."""
    SCRIPTS.mkdir(parents=True, exist_ok=True)
    for name, text in ((NAME, SLEEPER), (WORDS, TELLER)):
        (SCRIPTS / name).write_text(text)
        (SCRIPTS / name).chmod(0o555)
    yield
    run(["service", NAME, "onestop"], ok=range(256))
    for name in (NAME, WORDS):
        (SCRIPTS / name).unlink()
        run(["sysrc", "-ix", f"{name}_enable"], ok=range(256))
    PIDFILE.unlink(missing_ok=True)


@pytest.fixture
def file(tmp_path: Path) -> str:
    """Return a file to keep variables in, which is not there yet."""
    return str(tmp_path / "rc.conf")


def print_status(name: str = NAME) -> tuple[int, str]:
    """Return the exit status and the text of ``service NAME onestatus``."""
    result = run(["service", name, "onestatus"], ok=range(256))
    return result.status, result.stdout.strip()


def running() -> service.Status:
    """Wait until the service's daemon has written its number, and return the status."""
    status: service.Status = eventually(lambda: (s := service.read_status(NAME)).running and s, f"{NAME} runs")
    return status


def test_start_and_stop() -> None:
    assert service.read_status(NAME) == service.Status(False, (), f"{NAME} is not running.")
    service.start(NAME, one=True)
    status = running()
    (pid,) = status.pids
    assert (0, status.text) == print_status() == (0, f"{NAME} is running as pid {pid}.")
    assert service.parse_status(run(["service", NAME, "onestatus"])) == status
    assert PIDFILE.read_text().strip() == str(pid)
    (child,) = eventually(lambda: process.children(pid, process.list_processes()), "the daemon's child")
    assert child.arguments == "/bin/sleep 600"
    found = process.read_process(pid)
    assert found is not None and found.title == f"daemon: {NAME}[{child.pid}]" and found.ppid == 1
    service.start(NAME, one=True)  # once more is no error
    assert service.read_status(NAME).pids == (pid,)
    again = run(["service", NAME, "onestart"], ok=(1,))
    assert f"{NAME} already running?" in again.stderr and f"(pid={pid})." in again.stderr
    service.stop(NAME)
    assert not process.exists(pid) and not process.exists(child.pid)
    assert not service.read_status(NAME).running
    service.stop(NAME)  # neither is this
    assert f"{NAME} not running?" in run(["service", NAME, "onestop"], ok=(1,)).stderr


def test_restart() -> None:
    service.restart(NAME, one=True)  # one that does not run is started
    (first,) = running().pids
    service.restart(NAME, one=True)
    (second,) = running().pids
    assert first != second and not process.exists(first)


def test_a_child_that_dies_comes_back() -> None:
    service.start(NAME, one=True)
    (pid,) = running().pids
    (child,) = eventually(lambda: process.children(pid, process.list_processes()), "the daemon's child")
    process.send_signal(child.pid, 9)
    eventually(
        lambda: [c for c in process.children(pid, process.list_processes()) if c.pid != child.pid and not c.is_zombie],
        "another child",
    )
    assert running().pids == (pid,)


def test_enabled_or_not() -> None:
    assert service.enabling_variable(NAME) == f"{NAME}_enable"
    assert not service.is_enabled(NAME)
    for refused in (service.start, service.restart):
        with pytest.raises(errors.ServiceDisabled) as disabled:
            refused(NAME)
        assert disabled.value.status == 0
        assert f"Set {NAME}_enable to YES in /etc/rc.conf" in disabled.value.stdout
    assert not service.read_status(NAME).running
    service.enable(NAME)
    assert service.is_enabled(NAME)
    assert run(["sysrc", "-n", f"{NAME}_enable"]).stdout == "YES\n"
    assert str(SCRIPTS / NAME) in run(["service", "-e"]).stdout.splitlines()
    service.start(NAME)
    (pid,) = running().pids
    service.restart(NAME)
    assert running().pids != (pid,)
    service.disable(NAME)
    assert not service.is_enabled(NAME)
    assert service.read_status(NAME).running  # it goes on until it is stopped
    service.stop(NAME, one=False)
    assert not service.read_status(NAME).running
    service.stop(NAME, one=False)


def test_the_scripts_own_verbs() -> None:
    run(["service", NAME, "enable"])
    assert service.is_enabled(NAME)
    run(["service", NAME, "disable"])
    assert service.read_variable(f"{NAME}_enable") == "NO"
    for word, wanted in (("on", True), ("True", True), ("1", True), ("off", False), ("maybe", False)):
        service.write_variable(f"{NAME}_enable", word)
        assert service.is_enabled(NAME) is wanted
        assert (run(["service", NAME, "enabled"], ok=(0, 1)).status == 0) is wanted


def test_services_that_tell_their_state_themselves() -> None:
    assert service.read_status(WORDS) == service.Status(True, (), "all is well")
    with pytest.raises(CommandError, match="it did not work") as failed:
        service.start(WORDS, one=True)
    assert failed.value.status == 1 and type(failed.value) is CommandError
    with pytest.raises(CommandError):
        service.stop(WORDS)
    with pytest.raises(CommandError):
        service.restart(WORDS, one=True)


def test_services_that_are_not_there() -> None:
    for use in (service.start, service.stop, service.restart, service.read_status):
        with pytest.raises(errors.ServiceNotFound) as missing:
            use(NOWHERE)
        assert missing.value.status == 1
    (SCRIPTS / WORDS).chmod(0o444)
    with pytest.raises(errors.ServiceNotFound):
        service.read_status(WORDS)
    with pytest.raises(ValueError, match="rc script"):
        service.start("../bt")


def test_services_in_a_jail(lab: Lab) -> None:
    name = lab.add_jail()
    service.start(NAME, one=True, jail=name)
    status = eventually(lambda: (s := service.read_status(NAME, jail=name)).running and s, "it runs in the jail")
    (pid,) = status.pids
    found = process.read_process(pid)
    assert found is not None and found.jid == jail.read_jail(name).jid
    # The number is in a file that both share, but the host's service is another one.
    assert not service.read_status(NAME).running
    service.restart(NAME, one=True, jail=name)
    eventually(lambda: service.read_status(NAME, jail=name).running, "it runs again")
    service.stop(NAME, jail=name)
    assert not service.read_status(NAME, jail=name).running and not process.exists(pid)
    with pytest.raises(errors.ServiceNotFound):
        service.start(NOWHERE, jail=name)
    with pytest.raises(errors.ServiceDisabled):
        service.start(NAME, jail=name)


def test_jails_that_are_not_there(lab: Lab) -> None:
    for use in (service.start, service.stop, service.restart, service.read_status):
        with pytest.raises(errors.JailNotFound):
            use(NAME, jail=NOWHERE)
    with pytest.raises(errors.JailNotFound):
        service.read_variable("hostname", jail=NOWHERE)
    with pytest.raises(errors.JailNotFound):
        service.write_variable(f"{NAME}_enable", "YES", jail=NOWHERE)
    with pytest.raises(errors.JailNotFound):
        service.delete_variable(f"{NAME}_enable", jail=NOWHERE)
    assert not service.is_enabled(NAME)


def test_a_jail_that_is_being_removed(lab: Lab) -> None:
    with dying_jail(lab) as name:
        for use in (service.start, service.stop, service.restart, service.read_status, service.is_enabled):
            with pytest.raises(errors.JailDying):
                use(NAME, jail=name)
        with pytest.raises(errors.JailDying):
            service.write_variable(f"{NAME}_enable", "YES", jail=name)
        with pytest.raises(errors.JailDying):
            service.delete_variable(f"{NAME}_enable", jail=name)


def test_variables_of_a_jail(lab: Lab) -> None:
    name = lab.add_jail()  # it shares the host's files
    service.enable(NAME, jail=name)
    assert service.is_enabled(NAME, jail=name) and service.is_enabled(NAME)
    service.disable(NAME, jail=name)
    assert not service.is_enabled(NAME, jail=name)
    service.append_to_variable(f"{NAME}_enable", "YES", jail=name)
    assert service.read_variable(f"{NAME}_enable", jail=name) == "NO YES"
    service.remove_from_variable(f"{NAME}_enable", "NO", jail=name)
    assert service.delete_variable(f"{NAME}_enable", jail=name)
    assert not service.delete_variable(f"{NAME}_enable", jail=name)
    assert service.read_variable(f"{NAME}_enable") is None


def test_variables(file: str) -> None:
    assert service.read_variable("bt_words", file=file) is None
    service.write_variable("bt_words", "one two", file=file)
    assert Path(file).read_text() == 'bt_words="one two"\n'
    assert service.read_variable("bt_words", file=file) == "one two"
    assert run(["sysrc", "-f", file, "-n", "bt_words"]).stdout == "one two\n"
    service.write_variable("bt_empty", "", file=file)
    assert service.read_variable("bt_empty", file=file) == ""
    service.write_variable("bt_words", "it's 50% of /dev/nmdm0A; #1 {x}", file=file)
    assert service.read_variable("bt_words", file=file) == "it's 50% of /dev/nmdm0A; #1 {x}"
    assert run(["sh", "-c", f'. {file}; echo "$bt_words"']).stdout == "it's 50% of /dev/nmdm0A; #1 {x}\n"
    assert service.delete_variable("bt_words", file=file)
    assert not service.delete_variable("bt_words", file=file)
    assert service.read_variable("bt_words", file=file) is None
    assert Path(file).read_text() == 'bt_empty=""\n'
    assert service.read_variable("bt_empty") is None  # /etc/rc.conf does not know it
    assert service.read_variable("hostname") == run(["sysrc", "-n", "hostname"]).stdout.removesuffix("\n")
    service.enable("bt-words.x", file=file)
    assert service.read_variable("bt_words_x_enable", file=file) == "YES"
    service.disable("bt-words", variable="bt_other_enable", file=file)
    assert service.read_variable("bt_other_enable", file=file) == "NO"


def test_lists(file: str) -> None:
    for word in ("nmdm", "vmm", "nmdm", "if_tuntap", "-x", "/a/b"):
        service.append_to_variable("bt_list", word, file=file)
    assert service.read_variable("bt_list", file=file) == "nmdm vmm if_tuntap -x /a/b"
    for word in ("vmm", "vmm", "-x", "missing"):
        service.remove_from_variable("bt_list", word, file=file)
    assert service.read_variable("bt_list", file=file) == "nmdm if_tuntap /a/b"
    service.remove_from_variable("bt_other", "word", file=file)
    assert service.read_variable("bt_other", file=file) in (None, "")


def test_values_that_the_shell_would_act_on(file: str) -> None:
    for value in ("$HOME", "`id`", 'a"b', "a\\b", "a\nb"):
        with pytest.raises(ValueError, match="shell"):
            service.write_variable("bt_words", value, file=file)
        with pytest.raises(ValueError, match="shell"):
            service.append_to_variable("bt_words", value, file=file)
    with pytest.raises(ValueError, match="no name of an rc"):
        service.read_variable("bt words")
    assert not Path(file).exists()


def test_others_than_root(file: str) -> None:
    service.write_variable(f"{NAME}_enable", "NO")
    with as_nobody():
        with pytest.raises(errors.PermissionDenied):
            service.enable(NAME)
        with pytest.raises(errors.PermissionDenied):
            service.write_variable("bt_words", "x")
        with pytest.raises(errors.PermissionDenied):
            service.append_to_variable(f"{NAME}_enable", "x")
        with pytest.raises(errors.PermissionDenied):
            service.remove_from_variable(f"{NAME}_enable", "NO")
        with pytest.raises(errors.PermissionDenied):
            service.delete_variable(f"{NAME}_enable")
        assert service.read_variable(f"{NAME}_enable") == "NO"
