"""Jails: parameters in their textual form, the tree of jails, and how jails go."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import pytest

from freebsd_sim.call import NotSimulated
from freebsd_sim.commands.jail_script import OwnParameters, make_script
from freebsd_sim.commands.libxo import format_document
from freebsd_sim.kernel.errors import KernelError
from freebsd_sim.kernel.jail_parameters import Table, negative_name

Run = Callable[..., Any]

GONE_LIMIT = 10.0  # seconds; far more than a jail that nothing holds needs to go


# Parameters


@pytest.mark.parametrize(
    ("name", "value", "stored", "text"),
    [
        ("persist", None, "persist", "true"),
        ("nopersist", None, "persist", "false"),
        ("persist", "0", "persist", "false"),
        ("persist", "TRUE", "persist", "true"),
        ("allow.noraw_sockets", None, "allow.raw_sockets", "false"),
        ("allow.noraw_sockets", "false", "allow.raw_sockets", "true"),
        ("allow.mount.nodevfs", None, "allow.mount.devfs", "false"),
        ("vnet", None, "vnet", "new"),
        ("vnet", "inherit", "vnet", "inherit"),
        ("children.max", "20", "children.max", "20"),
        ("children.max", None, "children.max", "0"),
        ("host.hostname", None, "host.hostname", ""),
        ("ip4.addr", "-", "ip4.addr", ""),
    ],
)
def test_a_parameter_has_one_textual_form(name: str, value: str | None, stored: str, text: str) -> None:
    parameter, imported = Table((15, 0)).import_value(name, value)
    assert (parameter.name, imported) == (stored, text)


@pytest.mark.parametrize(
    ("name", "value", "complaint"),
    [
        ("foo", None, "unknown parameter: foo"),
        ("novnet", None, "unknown parameter: novnet"),
        ("persist", "maybe", 'persist: unknown boolean value "maybe"'),
        ("vnet", "maybe", 'vnet: unknown jailsys value "maybe"'),
        ("children.max", "1x", 'children.max: non-integer value "1x"'),
        ("ip4.addr", "10.0.0.1,x", "ip4.addr: not an IPv4 address: x"),
    ],
)
def test_libjail_says_what_is_wrong(name: str, value: str | None, complaint: str) -> None:
    with pytest.raises(KernelError) as caught:
        Table((15, 0)).import_value(name, value)
    assert caught.value.text == complaint


def test_meta_came_with_14_4() -> None:
    assert "meta" in Table((14, 4)).parameters
    assert "meta" not in Table((14, 3)).parameters
    assert "allow.unprivileged_parent_tampering" not in Table((14, 4)).parameters


def test_the_negative_form_is_at_the_last_part() -> None:
    assert negative_name("persist") == "nopersist"
    assert negative_name("allow.mount.devfs") == "allow.mount.nodevfs"


def test_libxo_puts_blanks_before_containers_only() -> None:
    document = {"a": {"b": [{"c": 1, "d": ["x", "y"], "e": True}, {"c": 2, "d": []}]}}
    expected = '{"__version": "2", "a": {"b": [{"c":1, "d": ["x","y"],"e":true}, {"c":2, "d": []}]}}\n'
    assert format_document(document, "2") == expected


# The program's own parameters


def test_jails_own_parameters_are_kept_apart() -> None:
    own = OwnParameters()
    assert own.add("exec.start", "a b") and own.add("vnet.interface", "x,y") and own.add("exec.noclean", None)
    assert not own.add("persist", None)
    assert (own.start, own.interfaces, own.is_true("exec.clean")) == (["a b"], ["x", "y"], False)
    own.add("mount.devfs", None)
    with pytest.raises(NotSimulated):
        own.check()


def test_commands_run_in_order_and_a_shell_is_used_for_signs() -> None:
    own = OwnParameters(before_creation=["one two", "a; b"])
    script = make_script(0, own, None, ["/usr/sbin/jail", "-c", "name=x"]).argv[2]
    assert script.index("one two") < script.index("/bin/sh -c 'a; b'") < script.index("exec /usr/sbin/jail -c name=x")


# Hosts


def parameters_of(host: Run, jail: str, *names: str) -> dict[str, str]:
    listing = json.loads(host(f"jls -j {jail} --libxo json {' '.join(names)}").stdout)
    (found,) = listing["jail-information"]["jail"]
    assert isinstance(found, dict)
    return found


def wait_until(condition: Callable[[], bool], what: str, limit: float = GONE_LIMIT) -> None:
    end = time.monotonic() + limit
    while not condition():
        assert time.monotonic() < end, f"{what} did not happen within {limit} s"
        time.sleep(0.05)


def test_a_fresh_vnet_is_empty(host: Run) -> None:
    host("jail -c name=fresh vnet persist")
    assert host("jexec fresh ifconfig -l").stdout == "lo0\n"
    assert host("jexec fresh netstat -rn").stdout == "Routing tables\n"
    forwarding = host("sysctl -n -j fresh net.inet.ip.forwarding net.inet6.ip6.forwarding").stdout
    assert forwarding == "0\n0\n"
    assert host("jail -R fresh").returncode == 0


def test_the_hostname_is_empty_own_or_inherited(host: Run) -> None:
    host("jail -c name=h1 persist; jail -c name=h2 persist host.hostname=own; jail -c name=h3 persist host=inherit")
    name = host("hostname").stdout.strip()
    assert host("jls -j h1 host.hostname").stdout == '""\n'
    assert host("jls -j h2 host host.hostname").stdout == "new own\n"
    assert host("jls -j h3 host host.hostname").stdout == f"inherit {name}\n"
    assert parameters_of(host, "h1", "host.hostuuid") == {"host.hostuuid": "00000000-0000-0000-0000-000000000000"}
    host("jail -R h1; jail -R h2; jail -R h3")


def test_a_jail_without_a_vnet_uses_its_parents_stack(host: Run) -> None:
    host("jail -c name=shared persist; jail -c name=outer vnet persist children.max=1; jail -c name=outer.x persist")
    assert host("jexec shared ifconfig -l").stdout == host("ifconfig -l").stdout
    assert host("jexec outer.x ifconfig -l").stdout == "lo0\n"
    assert host("jls -n -j shared vnet ip4").stdout == "vnet=inherit ip4=disable\n"
    host("jail -R shared; jail -R outer")


def test_a_jid_file_tells_what_was_made(host: Run) -> None:
    host("jail -J /tmp/jid -c name=filed vnet persist 'meta=a b'")
    jid = host("jls -j filed jid").stdout.strip()
    assert host("cat /tmp/jid").stdout == f'jid={jid}\tname=filed\tvnet\tpersist\tmeta="a b"\n'
    host("jail -R filed")


def test_a_jail_that_failed_to_be_made_leaves_nothing(host: Run) -> None:
    before = host("ls /tmp | wc -l; jls -d name").stdout
    assert host("jail -c name=half vnet persist vnet.interface=none0").returncode == 1
    assert host("ls /tmp | wc -l; jls -d name").stdout == before


def test_permissions_never_exceed_the_parents(host: Run) -> None:
    host("jail -c name=p vnet persist children.max=3 allow.mount")
    assert host("jail -c name=p.c vnet persist allow.mount").returncode == 0
    refused = host("jail -c name=p.d vnet persist allow.raw_sockets")
    assert refused.stderr == "jail: jail_set: Operation not permitted\n" and refused.returncode == 1
    assert host("jail -c name=p.d vnet persist children.max=3").returncode == 1
    assert host("jail -m name=p children.max=1; jls -j p children.max children.cur").stdout == "1 1\n"
    host("jail -R p")
    assert host("jls -c -j p.c").returncode == 1


def test_renaming_a_jail_renames_what_is_below_it(host: Run) -> None:
    host("jail -i -c name=old vnet persist children.max=1; jail -c name=old.child vnet persist")
    jid = host("jls -j old jid").stdout.strip()
    assert host(f"jail -m jid={jid} name=newer").returncode == 0
    assert host("jls -j newer.child name").stdout == "newer.child\n"
    host("jail -R newer")


def test_only_root_makes_and_removes_jails(host: Run) -> None:
    host("jail -c name=mine vnet persist")
    as_user = "jexec -u daemon other"
    host("jail -c name=other vnet persist children.max=5")
    assert host(f"{as_user} jail -c name=x vnet persist").stderr == "jail: jail_set: Operation not permitted\n"
    host("jail -c name=other.x vnet persist")
    assert host(f"{as_user} jail -R x").stderr == "jail: x: jail_remove: Operation not permitted\n"
    refused = host(f"{as_user} jexec x true")
    assert refused.returncode == 1 and refused.stderr.endswith(": Operation not permitted\n")
    host("jail -R other; jail -R mine")


def test_removal_kills_and_sigterm_comes_first(host: Run) -> None:
    host("jail -c name=kill vnet persist; jexec kill sleep 321 >/dev/null 2>&1 &")
    wait_until(lambda: host("pgrep -f 'sleep 321'").returncode == 0, "the start of a process")
    told = host("jail -v -r kill")
    assert told.stdout.startswith("kill: sent SIGTERM to: ") and told.stdout.endswith("kill: removed\n")
    assert host("pgrep -f 'sleep 321'").returncode == 1
    host("jail -c name=kill vnet persist; jexec kill sh -c 'trap \"\" TERM; sleep 322; sleep 322' >/dev/null 2>&1 &")
    wait_until(lambda: host("pgrep -f 'sleep 322'").returncode == 0, "the start of a process")
    begin = time.monotonic()
    assert host("jail -R kill").returncode == 0
    wait_until(lambda: host("pgrep -f 'sleep 322'").returncode == 1, "the end of a killed process")
    assert time.monotonic() - begin < GONE_LIMIT
    wait_until(lambda: host("jls -d -j kill jid").returncode == 1, "the end of the jail")


TIME_WAIT = """
import socket
s = socket.socket(); s.bind(("127.0.0.1", 7000)); s.listen()
c = socket.create_connection(("127.0.0.1", 7000)); a, _ = s.accept()
c.close(); a.recv(1); a.close(); s.close()
"""


def test_a_socket_in_time_wait_keeps_a_jail_dying(host: Run) -> None:
    host("jail -c name=dy vnet persist; ifconfig -j dy lo0 inet 127.0.0.1/8")
    host("ifconfig epair77 create; ifconfig epair77b vnet dy")
    host(f"cat > /tmp/tw.py <<'X'\n{TIME_WAIT}\nX\n")
    assert host("jexec dy /usr/local/bin/python3.11 /tmp/tw.py").returncode == 0
    assert host("jail -R dy").returncode == 0
    assert host("jls -c -j dy").returncode == 1
    assert host("jls -d -j dy name dying").stdout == "dy true\n"
    assert host("jls -j dy").stderr == 'jls: jail "dy" is dying\n'
    assert host("jexec dy true").stderr == 'jexec: jail "dy" is dying\n'
    assert host("jail -r dy").stderr == 'jail: "dy" not found\n'
    # Its interfaces are not back yet, and its name is free again.
    assert "epair77b" not in host("ifconfig -l").stdout.split()
    assert host("jail -c name=dy vnet persist").returncode == 0
    assert host("jls -dn -j dy dying").stdout == "nodying\n"
    host("jail -R dy")


def test_a_jail_without_persist_goes_with_its_last_process(host: Run) -> None:
    host("jail -c name=short vnet command=/bin/sleep 2 >/dev/null 2>&1 &")
    wait_until(lambda: host("jls -c -j short").returncode == 0, "the start of a jail")
    wait_until(lambda: host("jls -c -j short").returncode == 1, "the end of a jail")


def test_what_is_not_simulated_is_refused(host: Run) -> None:
    for command in (
        "jail -c name=x persist ip4.addr=10.0.0.1", "jail -c name=x persist mount.devfs", "jail -e :",
        "jail / host 10.0.0.1 /bin/sh", "jls --libxo xml", "route monitor", "netstat -s", "arp -f /x", "sockstat -u",
        "ping -f 10.0.0.1",
    ):  # fmt: skip
        done = host(command)
        assert done.returncode == 78 and done.stderr.startswith("freebsd-sim: not simulated: "), command
