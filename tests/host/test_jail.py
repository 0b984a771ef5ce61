"""Jails: what the library makes and reads, against what jls(8) prints."""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path

import pytest

from beastack.freebsd import errors, interface, jail
from beastack.freebsd.command import CommandError, CommandNotFound, CommandTimeout, run
from beastack.freebsd.interface import Settings
from conftest import eventually
from network_lab import Lab, as_nobody, new_name, print_names, run_at

# Sends a listening socket, made in a jail, out to whoever listens at a path.
SEND_SOCKET = """
import socket, sys
inner = socket.socket()
inner.bind(("127.0.0.1", 7777))
inner.listen()
outer = socket.socket(socket.AF_UNIX)
outer.connect(sys.argv[1])
socket.send_fds(outer, [b"x"], [inner.fileno()])
"""


def test_the_same_jails_are_listed(lab: Lab) -> None:
    made = [lab.add_jail(), lab.add_jail(jail.Parameters(path="/tmp"))]
    listed = jail.list_jails()
    printed = [line.split() for line in run(["jls", "jid", "name", "path", "vnet"]).stdout.splitlines()]
    assert [[str(each.jid), each.name, each.path, "new" if each.vnet else "inherit"] for each in listed] == printed
    assert {each.name for each in listed} >= set(made)
    for each in listed:
        assert jail.read_jail(each.name) == each and not each.dying
        assert jail.jail_exists(each.name)
    assert jail.read_jail(made[1]).path == "/tmp"


def test_the_name_of_a_host(lab: Lab) -> None:
    inherited, own = lab.add_jail(), lab.add_jail(jail.Parameters(hostname="inner.example"))
    assert run_at(own, "hostname") == "inner.example\n"
    assert run_at(inherited, "hostname") == run(["hostname"]).stdout


def test_parameters(lab: Lab) -> None:
    name = lab.add_jail(jail.Parameters(children=3, raw_sockets=False, enforce_statfs=2, allow=("chflags", "mlock")))
    printed = run(
        ["jls", "-j", name, "children.max", "allow.raw_sockets", "enforce_statfs", "allow.chflags", "allow.mlock",
         "allow.mount", "persist", "vnet"]
    ).stdout.split()  # fmt: skip
    assert printed == ["3", "false", "2", "true", "true", "false", "true", "new"]


def test_a_jail_is_made_once(lab: Lab) -> None:
    name = lab.add_jail()
    first = jail.read_jail(name)
    assert jail.create_jail(name) == first
    plain = new_name("plain")
    lab.jails.append(plain)
    run(["jail", "-c", f"name={plain}", "path=/", "persist"])
    assert not jail.read_jail(plain).vnet
    with pytest.raises(errors.JailExists):
        jail.create_jail(plain)


def test_a_fresh_network_stack(lab: Lab) -> None:
    name = new_name("fresh")
    lab.jails.append(name)
    jail.create_jail(name)
    (only,) = interface.list_interfaces(name)
    assert only.name == "lo0" and not only.is_up and only.addresses == () and print_names(name) == ["lo0"]


def test_what_the_host_refuses(lab: Lab) -> None:
    for parameters in (
        jail.Parameters(path="/btnowhere"),
        jail.Parameters(path="/etc/passwd"),
        jail.Parameters(allow=("btnothing",)),
    ):
        with pytest.raises(errors.InvalidArgument):
            jail.create_jail(new_name("wrong"), parameters)
    for name in ("", "12", "a.b", "a*", "-a", "a b", "x" * 256):
        with pytest.raises(ValueError):
            jail.create_jail(name)
    with pytest.raises(ValueError):
        jail.create_jail(new_name("wrong"), jail.Parameters(path="etc"))
    longest = "bt" + "x" * (jail.NAME_LIMIT - 2)
    lab.jails.append(jail.check_name(longest))
    assert jail.create_jail(longest).name == longest
    lab.jails.append(odd := "bt-A_b:c@d+" + new_name(""))
    assert jail.create_jail(odd).name == odd


def test_a_jail_that_is_not_there(tmp_path: Path) -> None:
    assert not jail.jail_exists("btnojail")
    assert jail.remove_jail("btnojail") == ()
    for call in (
        lambda: jail.read_jail("btnojail"),
        lambda: jail.run_in_jail("btnojail", ["true"]),
        lambda: jail.start_daemon("btnojail", ["sleep", "9"], pidfile=tmp_path / "pid"),
    ):
        with pytest.raises(errors.JailNotFound):
            call()


def test_jails_in_jails(lab: Lab) -> None:
    full = lab.add_jail()
    with pytest.raises(CommandError, match="Operation not permitted"):
        jail.run_in_jail(full, ["jail", "-c", "name=btinner", "path=/", "persist"])
    roomy = lab.add_jail(jail.Parameters(children=1))
    jail.run_in_jail(roomy, ["jail", "-c", "name=btinner", "path=/", "vnet", "persist"])
    assert jail.run_in_jail(roomy, ["jls", "name"]).stdout.split() == ["btinner"]
    assert f"{roomy}.btinner" in {each.name for each in jail.list_jails()}
    with pytest.raises(CommandError, match=r"prison limit exceeded|Operation not permitted"):
        jail.run_in_jail(roomy, ["jail", "-c", "name=btsecond", "path=/", "persist"])
    jail.run_in_jail(roomy, ["jail", "-R", "btinner"])


def test_commands_inside(lab: Lab) -> None:
    name = lab.add_jail()
    assert jail.wrap_command(name, ["a", "b"]) == ["jexec", name, "a", "b"]
    assert jail.run_in_jail(name, ["pwd"]).stdout == "/\n"
    assert jail.run_in_jail(name, ["cat"], stdin="in and out").stdout == "in and out"
    assert jail.run_in_jail(name, ["printenv", "BT"], env={"BT": "given"}).stdout == "given\n"
    assert jail.run_in_jail(name, ["sh", "-c", "exit 7"], ok=(7,)).status == 7
    assert jail.run_in_jail(name, ["sysctl", "-n", "security.jail.jailed"]).stdout == "1\n"
    with pytest.raises(CommandError) as caught:
        jail.run_in_jail(name, ["sh", "-c", "exit 1"])
    assert type(caught.value) is CommandError and caught.value.status == 1
    with pytest.raises(CommandNotFound):
        jail.run_in_jail(name, ["btnoprogram"])
    with pytest.raises(errors.PermissionDenied):
        jail.run_in_jail(name, ["/etc/passwd"])
    with pytest.raises(CommandTimeout):
        jail.run_in_jail(name, ["sleep", "30"], timeout=0.3)


def test_which_jail_a_process_is_in(lab: Lab) -> None:
    name = lab.add_jail()
    pidfile = lab.directory / "sleep.pid"
    assert jail.start_daemon(name, ["sleep", "100"], pidfile=pidfile) is None
    pid = int(eventually(lambda: pidfile.exists() and pidfile.read_text(), "the pid file", limit=10))
    assert jail.find_jail_of_process(pid) == name
    assert run(["ps", "-o", "jail=", "-p", str(pid)]).stdout.strip() == name
    assert run(["ps", "-J", name, "-o", "pid="]).stdout.split().count(str(pid)) == 1
    assert jail.find_jail_of_process(os.getpid()) is None
    assert jail.start_daemon(name, ["sleep", "100"], pidfile=pidfile) == pid
    jail.remove_jail(name)
    with pytest.raises(errors.ProcessNotFound):
        eventually(lambda: jail.find_jail_of_process(pid) and None, "the end of the process", limit=10)


def test_daemons(lab: Lab) -> None:
    name = lab.add_jail()
    output, pidfile = lab.directory / "said", lab.directory / "pid"
    jail.start_daemon(
        name, ["sh", "-c", "echo $BT $(id -u); exec sleep 100"], pidfile=pidfile, output=output, env={"BT": "word"},
    )  # fmt: skip
    assert eventually(lambda: output.exists() and output.read_text(), "what it says", limit=10) == "word 0\n"
    lab.directory.chmod(0o755)
    jail.start_daemon(
        name, ["sh", "-c", "id -u; exec sleep 100"], user="nobody",
        pidfile=lab.directory / "pid2", output=lab.directory / "said2",
    )  # fmt: skip
    eventually(lambda: (lab.directory / "said2").read_text() == "65534\n", "the number of nobody", limit=10)
    with pytest.raises(errors.InvalidArgument):
        jail.start_daemon(name, ["sleep", "1"], pidfile=lab.directory / "no" / "pid")


def test_removal_brings_interfaces_home(lab: Lab) -> None:
    name = lab.add_jail()
    one, other = lab.connect((name, "192.0.2.1/24"), (None, None), Settings(mtu=1400, description="mine"))
    tap = lab.add_tap()
    interface.move_to_jail(tap, name)
    asked: list[str] = []

    def bring_home(each: str) -> None:
        asked.append(each)
        interface.return_from_jail(each, name)

    assert set(jail.remove_jail(name, bring_home=bring_home)) == {one, tap} == set(asked)
    assert not jail.jail_exists(name)
    found = interface.read_interface(one)
    assert not found.is_up and found.addresses == () and (found.mtu, found.description) == (1400, "mine")
    assert {one, other, tap} <= set(print_names())


def test_what_the_kernel_brings_home(lab: Lab) -> None:
    name = lab.add_jail()
    one, _ = lab.connect((name, "192.0.2.1/24"), (None, None))
    inside = new_name("in")
    interface.create_bridge(inside, jail=name)
    run(["jail", "-R", name])
    found = eventually(lambda: interface.find_interface(one), "the interface's return", limit=90)
    assert not found.is_up and found.addresses == ()
    assert inside not in print_names() and name not in run(["jls", "-d", "name"]).stdout.split()


def test_removal_looks_at_names_first(lab: Lab) -> None:
    name = lab.add_jail()
    tap = lab.add_tap()
    inside = lab.add_tap(place=name)
    interface.rename_interface(inside, tap, jail=name)
    with pytest.raises(errors.InterfaceExists):
        jail.remove_jail(name)
    assert jail.jail_exists(name) and print_names(name) == ["lo0", tap]
    interface.destroy_interface(tap, jail=name)


def test_a_jail_that_dies_slowly(lab: Lab) -> None:
    name = lab.add_jail()
    one, _ = lab.connect((name, None), (None, None))
    path = lab.directory / "s"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        jail.run_in_jail(name, [sys.executable, "-c", SEND_SOCKET, str(path)])
        stream, _ = listener.accept()
        with stream:
            _, held, _, _ = socket.recv_fds(stream, 1, 1)
    try:
        with pytest.raises(errors.JailDying, match="is still dying"):
            jail.remove_jail(name, limit=0.5)
        assert one in print_names()  # it was brought home before
        with pytest.raises(errors.JailDying):
            jail.read_jail(name)
        assert not jail.jail_exists(name)
        assert name not in {each.name for each in jail.list_jails()}
        dying = [each for each in jail.list_jails(dying=True) if each.name == name]
        assert [each.dying for each in dying] == [True]
        assert name in run(["jls", "-d", "name"]).stdout.split()
        with pytest.raises((errors.JailDying, errors.JailNotFound)):
            jail.run_in_jail(name, ["true"])
        with pytest.raises(errors.JailDying):
            interface.move_to_jail(one, name)
        assert jail.create_jail(name).jid != dying[0].jid
        assert [each.dying for each in jail.list_jails(dying=True) if each.name == name].count(True) == 1
        assert jail.run_in_jail(name, ["echo", "again"]).stdout == "again\n"
    finally:
        os.close(held[0])
    eventually(
        lambda: not [each for each in jail.list_jails(dying=True) if each.dying and each.name == name],
        "the end of the dying jail", limit=90,
    )  # fmt: skip
    assert jail.jail_exists(name)


def test_without_privilege(lab: Lab) -> None:
    name = lab.add_jail()
    with as_nobody():
        assert jail.read_jail(name).name == name
        for call in (
            lambda: jail.create_jail(new_name("no")),
            lambda: jail.remove_jail(name),
            lambda: jail.run_in_jail(name, ["true"]),
        ):
            with pytest.raises(errors.PermissionDenied):
                call()
    assert jail.jail_exists(name)
    assert run_at(name, "echo", "alive") == "alive\n"
