"""Routes: what netstat and route print on 14.x and 15.x, what is asked of route, and every refusal."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from beastack.freebsd import route
from beastack.freebsd.command import CommandError, CommandNotFound, Result
from beastack.freebsd.errors import (
    InterfaceNotFound,
    InvalidArgument,
    JailNotFound,
    NetworkUnreachable,
    PermissionDenied,
    RouteExists,
    RouteNotFound,
)
from beastack.freebsd.route import Route

GOLDEN = Path(__file__).parent / "golden" / "freebsd" / "route"
LIST = "netstat --libxo json -rn -4"
MISSING = "route: route has not been found\n"

ip = ipaddress.ip_address
net = ipaddress.ip_network


def golden(name: str) -> str:
    return (GOLDEN / name).read_text()


def words(text: str) -> frozenset[str]:
    return frozenset(text.split())


def table(*entries: str) -> str:
    """An IPv4 table, each entry as «destination gateway flags interface»."""
    rows = []
    for entry in entries:
        destination, gateway, flags, interface = entry.split()
        rows.append(
            f'{{"destination":"{destination}","gateway":"{gateway}","flags":"{flags}","interface-name":"{interface}"}}'
        )
    family = f'{{"address-family":"Internet","rt-entry": [{", ".join(rows)}]}}'
    return (
        f'{{"statistics": {{"route-information": {{"route-table": {{"rt-family": [{family if rows else ""}]}}}}}}}}\n'
    )


class Host:
    """Plays a host: the commands it expects, in order, and what each of them prints."""

    def __init__(self) -> None:
        self.script: list[tuple[list[str], int, str, str]] = []

    def expect(self, command: str, stdout: str = "", stderr: str = "", status: int = 0) -> None:
        self.script.append((command.split(), status, stdout, stderr))

    def run(self, argv: Sequence[str], *, ok: Sequence[int] = (0,), **options: Any) -> Result:
        assert self.script, f"nothing more was expected, but: {list(argv)}"
        expected, status, stdout, stderr = self.script.pop(0)
        assert list(argv) == expected
        if status not in ok:
            raise CommandError(argv, status, stdout, stderr)
        return Result(tuple(argv), status, stdout, stderr)


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> Iterator[Host]:
    played = Host()
    monkeypatch.setattr(route, "run", played.run)
    yield played
    assert played.script == []


# Listing.


def test_routes_of_14(host: Host) -> None:
    host.expect("netstat --libxo json -rn", golden("netstat-14.3.json"))
    assert route.list_routes() == (
        Route(net("0.0.0.0/0"), ip("10.0.0.1"), words("up gateway static"), "em0"),
        Route(net("10.0.0.0/24"), "link#1", words("up"), "em0"),
        Route(net("10.0.0.2/32"), "link#3", words("up host static"), "lo0"),
        Route(net("127.0.0.1/32"), "link#3", words("up host"), "lo0"),
        Route(net("169.254.0.0/16"), "link#4", words("up static"), "epair0a"),
        Route(net("198.51.100.0/24"), ip("127.0.0.1"), words("up gateway static blackhole"), "lo0"),
        Route(net("::/96"), "link#3", words("up static reject"), "lo0"),
        Route(net("::/0"), ip("fe80::1%em0"), words("up gateway static"), "em0"),
        Route(net("::1/128"), "link#3", words("up host static"), "lo0"),
        Route(net("2001:db8:1::/64"), "link#1", words("up"), "em0"),
        Route(net("fe80::/64"), "link#1", words("up"), "em0"),
        Route(net("fe80::5a9c:fcff:fe10:ffab/128"), "link#3", words("up host static"), "lo0"),
    )


def test_routes_of_15(host: Host) -> None:
    host.expect(LIST, golden("netstat-15.1.json"))
    gateway = words("up gateway static")
    assert route.list_routes(family=4) == (
        Route(net("0.0.0.0/0"), ip("192.0.2.1"), gateway, "vtnet0"),
        Route(net("10.1.0.0/16"), ip("192.0.2.5"), gateway, "vtnet0"),
        Route(net("10.1.0.0/16"), ip("192.0.2.6"), gateway, "vtnet0"),
        Route(net("10.2.0.0/16"), ip("192.0.2.9"), words("up gateway dynamic"), "vtnet0", expire=590),
        Route(net("192.0.2.0/24"), "link#1", words("up"), "vtnet0"),
        Route(net("192.0.2.7/32"), "link#2", words("up host static"), "lo0"),
        Route(net("203.0.113.0/24"), "link#2", words("up static reject"), "lo0"),
    )


def test_an_mtu_is_read_where_it_is_shown(host: Host) -> None:
    host.expect(LIST, golden("netstat-wide.json"))
    assert [one.mtu for one in route.list_routes(family=4)] == [1450]


def test_flags_without_words_and_entries_without_gateway_or_interface(host: Host) -> None:
    host.expect(LIST, table("10.0.0.0/8 null UGHRDMdXS123BbLz ---"))
    assert route.list_routes(family=4) == (
        Route(
            net("10.0.0.0/8"),
            None,
            words(
                "up gateway host reject dynamic modified done xresolve static proto1 proto2 proto3 blackhole broadcast"
                " llinfo z"
            ),
            "",
        ),
    )


def test_an_empty_table(host: Host) -> None:
    host.expect("netstat --libxo json -rn -6 -j n", golden("netstat-empty.json"))
    assert route.list_routes(family=6, jail="n") == ()


def test_another_table(host: Host) -> None:
    host.expect("netstat --libxo json -rn -F 1", golden("netstat-fib.json"))
    assert [(str(one.destination), one.interface) for one in route.list_routes(fib=1)] == [("0.0.0.0/0", "em1")]


@pytest.mark.parametrize(
    ("text", "status", "kind"),
    [
        ("netstat: Jail not found", 1, JailNotFound),
        ("netstat: Cannot attach to jail", 1, PermissionDenied),
        ("netstat: 7: invalid fib", 64, InvalidArgument),
    ],
)
def test_a_list_that_is_refused(host: Host, text: str, status: int, kind: type[CommandError]) -> None:
    host.expect("netstat --libxo json -rn -F 7 -j n", stderr=text + "\n", status=status)
    with pytest.raises(kind):
        route.list_routes(fib=7, jail="n")


@pytest.mark.parametrize("output", ["", "Routing tables\n", "{}", '{"statistics": []}'])
def test_output_that_is_not_understood(host: Host, output: str) -> None:
    host.expect("netstat --libxo json -rn", output)
    with pytest.raises(CommandError, match="its output is not understood"):
        route.list_routes()


# Looking up.


@pytest.mark.parametrize("name", ["get-default.txt", "get-default-numeric.txt"])
def test_the_default_route_is_found(host: Host, name: str) -> None:
    host.expect("route -n -4 get 8.8.8.8", golden(name))
    expected = Route(net("0.0.0.0/0"), ip("10.0.0.1"), words("up gateway done static"), "em0", 1500)
    assert route.get_route("8.8.8.8") == expected


def test_an_on_link_route_is_found(host: Host) -> None:
    host.expect("route -n -4 get 10.0.0.77", golden("get-on-link.txt"))
    expected = Route(net("10.0.0.0/24"), None, words("up done pinned"), "em0", 1500)
    assert route.get_route(ip("10.0.0.77")) == expected


def test_a_host_route_is_found(host: Host) -> None:
    host.expect("route -n -4 get 10.0.0.2 -fib 1", golden("get-host.txt"))
    expected = Route(net("10.0.0.2/32"), None, words("up host done static pinned"), "lo0", 16384)
    assert route.get_route("10.0.0.2", fib=1) == expected


def test_a_v6_route_is_found_in_a_jail(host: Host) -> None:
    host.expect("route -j n -n -6 get 2001:db8:5::9", golden("get-v6.txt"))
    expected = Route(
        net("2001:db8:5::/48"),
        ip("fe80::1%epair0b"),
        words("up gateway done static fixedmtu"),
        "epair0b",
        1450,
        3600,
    )
    assert route.get_route("2001:db8:5::9", jail="n") == expected


def test_a_found_route_counts_whatever_the_status(host: Host) -> None:
    host.expect("route -n -4 get 8.8.8.8", golden("get-default.txt"), status=255)
    assert route.get_route("8.8.8.8").interface == "em0"


@pytest.mark.parametrize(
    ("status", "stderr"),
    [(0, MISSING), (3, MISSING), (255, MISSING), (0, ""), (1, "route: message indicates error: No such process\n")],
)
def test_a_missing_route_whatever_the_status(host: Host, status: int, stderr: str) -> None:
    host.expect("route -n -4 get 8.8.8.8", "", stderr, status)
    with pytest.raises(RouteNotFound):
        route.get_route("8.8.8.8")


def test_a_look_up_that_fails_otherwise(host: Host) -> None:
    host.expect("route -j n -n -4 get 8.8.8.8", "", "route: Jail not found\n", 1)
    with pytest.raises(JailNotFound):
        route.get_route("8.8.8.8", jail="n")
    host.expect("route -n -4 get 8.8.8.8", "", "route: something new\n", 71)
    with pytest.raises(CommandError) as caught:
        route.get_route("8.8.8.8")
    assert type(caught.value) is CommandError


# Writing.


@pytest.mark.parametrize(
    ("arguments", "argv"),
    [
        ({"destination": "0.0.0.0/0", "gateway": "10.0.0.1"}, "route -n -4 {} default 10.0.0.1"),
        ({"destination": net("::/0"), "gateway": "fe80::1%em0"}, "route -n -6 {} default fe80::1%em0"),
        ({"destination": "::/0", "gateway": "fe80::1", "interface": "em0"}, "route -n -6 {} default fe80::1%em0"),
        ({"destination": "10.1.0.0/16", "gateway": ip("10.0.0.1")}, "route -n -4 {} -net 10.1.0.0/16 10.0.0.1"),
        (
            {"destination": "10.1.0.0/16", "gateway": "10.0.0.1", "interface": "em0"},
            "route -n -4 {} -net 10.1.0.0/16 10.0.0.1",
        ),
        ({"destination": "10.1.0.9/32", "gateway": "10.0.0.1"}, "route -n -4 {} -host 10.1.0.9 10.0.0.1"),
        ({"destination": "2001:db8::9", "gateway": "2001:db8:1::1"}, "route -n -6 {} -host 2001:db8::9 2001:db8:1::1"),
        (
            {"destination": "169.254.0.0/16", "interface": "epair0b", "jail": "n"},
            "route -j n -n -4 {} -net 169.254.0.0/16 -iface epair0b",
        ),
        (
            {"destination": "2001:db8::/64", "interface": "em0", "fib": 2, "mtu": 1450},
            "route -n -6 {} -net 2001:db8::/64 -iface em0 -fib 2 -mtu 1450",
        ),
        (
            {"destination": "10.0.0.0/8", "kind": "blackhole"},
            "route -n -4 {} -net 10.0.0.0/8 127.0.0.1 -blackhole",
        ),
        ({"destination": "fc00::/7", "kind": "reject"}, "route -n -6 {} -net fc00::/7 ::1 -reject"),
    ],
)
@pytest.mark.parametrize("verb", ["add", "change"])
def test_what_is_asked_of_route(host: Host, verb: str, arguments: dict[str, Any], argv: str) -> None:
    host.expect(argv.format(verb), "add net 10.1.0.0: gateway 10.0.0.1\n")
    {"add": route.add_route, "change": route.change_route}[verb](**arguments)


@pytest.mark.parametrize(
    ("arguments", "argv"),
    [
        ({"destination": "0.0.0.0/0"}, "route -n -4 delete default"),
        ({"destination": "10.1.0.0/16", "gateway": "10.0.0.1"}, "route -n -4 delete -net 10.1.0.0/16 10.0.0.1"),
        (
            {"destination": "10.1.0.0/16", "interface": "em0", "fib": 1, "jail": "n"},
            "route -j n -n -4 delete -net 10.1.0.0/16 -iface em0 -fib 1",
        ),
        ({"destination": "2001:db8::9"}, "route -n -6 delete -host 2001:db8::9"),
    ],
)
def test_deletion(host: Host, arguments: dict[str, Any], argv: str) -> None:
    host.expect(argv)
    route.delete_route(**arguments)


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ({"destination": "10.0.0.0/8"}, "a route to 10.0.0.0/8 needs a gateway or an interface"),
        (
            {"destination": "10.0.0.0/8", "gateway": "::1"},
            "the gateway ::1 of 10.0.0.0/8 is of another address family",
        ),
        ({"destination": "::/0", "gateway": "fe80::1"}, "the link-local gateway fe80::1 of ::/0 needs an interface"),
        (
            {"destination": "10.0.0.0/8", "kind": "reject", "interface": "em0"},
            "a reject route to 10.0.0.0/8 has neither gateway nor interface",
        ),
    ],
)
def test_what_is_no_route(host: Host, arguments: dict[str, Any], why: str) -> None:
    with pytest.raises(ValueError) as caught:
        route.add_route(**arguments)
    assert str(caught.value) == why


@pytest.mark.parametrize(
    ("stdout", "stderr", "status", "kind"),
    [
        ("add net 10.1.0.0: gateway 10.0.0.1 fib 0: route already in table\n", "", 1, RouteExists),
        (
            "add net 10.1.0.0: gateway 10.0.0.1 fib 0: route already in table\n",
            "route: message indicates error: File exists\n",
            1,
            RouteExists,
        ),
        ("", "route: message indicates error: File exists\n", 1, RouteExists),
        ("change net 10.1.0.0: gateway 10.0.0.1 fib 0: not in table\n", MISSING, 1, RouteNotFound),
        ("change net 10.1.0.0: gateway 10.0.0.1 fib 0: not in table\n", "", 1, RouteNotFound),
        ("", MISSING, 1, RouteNotFound),
        ("add net 10.1.0.0: gateway 10.0.0.1 fib 0: Network is unreachable\n", "", 1, NetworkUnreachable),
        ("", "route: message indicates error: Network is unreachable\n", 1, NetworkUnreachable),
        ("add net 10.1.0.0: gateway 10.0.0.1 fib 0: gateway uses the same route\n", "", 1, InvalidArgument),
        ("add net 10.1.0.0: gateway 10.0.0.1 fib 0: entry in use\n", "", 1, InvalidArgument),
        ("", "route: must be root to alter routing table\n", 77, PermissionDenied),
        ("", "route: message indicates error: Operation not permitted\n", 1, PermissionDenied),
        ("", "route: Cannot attach to jail\n", 1, PermissionDenied),
        ("", "route: Jail not found\n", 1, JailNotFound),
        ("", "route: interface 'em9' does not exist\n", 65, InterfaceNotFound),
        ("", "route: bad address: 10.0.0\n", 68, InvalidArgument),
        ("", "route: bad mask length: 77\n", 68, InvalidArgument),
        ("", "route: malformed address, bits set after mask; 10 means 0.0.0.10\n", 68, InvalidArgument),
        ("", "route: 77: invalid prefixlen\n", 64, InvalidArgument),
        ("", "route: invalid fib number: 9\n", 64, InvalidArgument),
        ("", "route: bad keyword: foo\nroute: usage: route ...\n", 64, InvalidArgument),
        ("", "route: destination parameter required\n", 64, InvalidArgument),
        ("add net 10.1.0.0: gateway 10.0.0.1 fib 0: not enough memory\n", "", 1, CommandError),
    ],
)
def test_every_refusal(host: Host, stdout: str, stderr: str, status: int, kind: type[CommandError]) -> None:
    host.expect("route -n -4 add -net 10.1.0.0/16 10.0.0.1", stdout, stderr, status)
    with pytest.raises(CommandError) as caught:
        route.add_route("10.1.0.0/16", "10.0.0.1")
    assert type(caught.value) is kind
    assert (caught.value.status, caught.value.stdout, caught.value.stderr) == (status, stdout, stderr)


def test_a_missing_program_is_told_as_one(monkeypatch: pytest.MonkeyPatch) -> None:
    def miss(argv: Sequence[str], **options: Any) -> Result:
        raise CommandNotFound(argv, None, "", "[Errno 2] No such file or directory: 'route'")

    monkeypatch.setattr(route, "run", miss)
    with pytest.raises(CommandNotFound):
        route.add_route("10.1.0.0/16", "10.0.0.1")


INVALID = (
    "add net 10.1.0.0: gateway 10.0.0.1 fib 0: Invalid argument\n",
    "route: message indicates error: Invalid argument\n",
    1,
)


def test_an_invalid_gateway_on_no_connected_network_is_unreachable(host: Host) -> None:
    host.expect("route -n -4 add -net 10.1.0.0/16 10.0.0.1", *INVALID)
    host.expect("route -n -4 get 10.0.0.1", "", MISSING, 3)
    with pytest.raises(NetworkUnreachable):
        route.add_route("10.1.0.0/16", "10.0.0.1")
    host.expect("route -j n -n -4 add -net 10.1.0.0/16 10.0.0.1 -fib 1", *INVALID)
    host.expect("route -j n -n -4 get 10.0.0.1 -fib 1", golden("get-default.txt"))
    with pytest.raises(NetworkUnreachable):
        route.add_route("10.1.0.0/16", "10.0.0.1", fib=1, jail="n")


def test_what_is_invalid_otherwise(host: Host) -> None:
    host.expect("route -n -4 add -net 10.1.0.0/16 10.0.0.1", *INVALID)
    host.expect("route -n -4 get 10.0.0.1", golden("get-on-link.txt"))
    with pytest.raises(InvalidArgument):
        route.add_route("10.1.0.0/16", "10.0.0.1")
    host.expect("route -n -4 add -net 10.1.0.0/16 -iface em0", *INVALID)
    with pytest.raises(InvalidArgument):
        route.add_route("10.1.0.0/16", interface="em0")


# Replacing.

TO = "-net 10.1.0.0/16 10.0.0.1"
EXISTS = ("add net 10.1.0.0: gateway 10.0.0.1 fib 0: route already in table\n", "", 1)
ABSENT = ("change net 10.1.0.0: gateway 10.0.0.1 fib 0: not in table\n", MISSING, 1)
OLD = "10.1.0.0/16 10.0.0.9 UGS em0"
NEW = "10.1.0.0/16 10.0.0.1 UGS em0"


def replace() -> None:
    route.replace_route("10.1.0.0/16", "10.0.0.1")


def test_a_route_that_is_not_there_is_added(host: Host) -> None:
    host.expect(LIST, table("10.0.0.0/24 link#1 U em0"))
    host.expect(f"route -n -4 add {TO}")
    replace()


def test_a_route_that_is_there_is_left_alone(host: Host) -> None:
    host.expect(LIST, table(NEW))
    replace()


def test_another_gateway_is_exchanged_in_one_step(host: Host) -> None:
    host.expect(LIST, table(OLD))
    host.expect(f"route -n -4 change {TO}")
    host.expect(LIST, table(NEW))
    replace()


def test_everything_stays_in_the_jail_and_in_the_table(host: Host) -> None:
    host.expect("netstat --libxo json -rn -4 -F 2 -j n", table(OLD))
    host.expect(f"route -j n -n -4 change {TO} -fib 2 -mtu 1450")
    host.expect("netstat --libxo json -rn -4 -F 2 -j n", table(NEW))
    route.replace_route("10.1.0.0/16", "10.0.0.1", mtu=1450, fib=2, jail="n")


def test_a_route_with_an_mtu_is_always_written(host: Host) -> None:
    host.expect(LIST, table(NEW))
    host.expect(f"route -n -4 change {TO} -mtu 1450")
    host.expect(LIST, table(NEW))
    route.replace_route("10.1.0.0/16", "10.0.0.1", mtu=1450)


def test_a_route_added_by_another_meanwhile_is_changed(host: Host) -> None:
    host.expect(LIST, table())
    host.expect(f"route -n -4 add {TO}", *EXISTS)
    host.expect(f"route -n -4 change {TO}")
    host.expect(LIST, table(NEW))
    replace()


def test_a_route_deleted_by_another_meanwhile_is_added(host: Host) -> None:
    host.expect(LIST, table(OLD))
    host.expect(f"route -n -4 change {TO}", *ABSENT)
    host.expect(LIST, table())
    host.expect(f"route -n -4 add {TO}")
    replace()


def test_several_paths_become_one_without_a_gap(host: Host) -> None:
    # The routing-socket build changes only a path over the gateway that it is given.
    host.expect(LIST, table(OLD, "10.1.0.0/16 10.0.0.8 UGS em0"))
    host.expect(f"route -n -4 change {TO}", *ABSENT)
    host.expect(LIST, table(OLD, "10.1.0.0/16 10.0.0.8 UGS em0"))
    host.expect(f"route -n -4 add {TO}")
    host.expect("route -n -4 delete -net 10.1.0.0/16 10.0.0.9")
    host.expect("route -n -4 delete -net 10.1.0.0/16 10.0.0.8", *ABSENT)
    replace()


def test_paths_beside_the_wanted_one_go(host: Host) -> None:
    host.expect(LIST, table(OLD, NEW))
    host.expect(f"route -n -4 change {TO}")
    host.expect(LIST, table(OLD, NEW))
    host.expect("route -n -4 delete -net 10.1.0.0/16 10.0.0.9")
    replace()


def test_a_destination_for_one_path_only_has_a_gap_at_worst(host: Host) -> None:
    host.expect(LIST, table("10.1.0.0/16 link#1 US em0"))
    host.expect(f"route -n -4 change {TO}", *ABSENT)
    host.expect(LIST, table("10.1.0.0/16 link#1 US em0"))
    host.expect(f"route -n -4 add {TO}", *EXISTS)
    host.expect("route -n -4 delete -net 10.1.0.0/16")
    host.expect(f"route -n -4 add {TO}")
    replace()


def test_the_network_of_an_interfaces_own_address_stays(host: Host) -> None:
    host.expect(LIST, table("10.1.0.0/16 link#1 U em0"))
    host.expect(f"route -n -4 change {TO}", *EXISTS)
    with pytest.raises(RouteExists):
        replace()
    host.expect(LIST, table("10.1.0.0/16 link#1 U em0"))
    route.replace_route("10.1.0.0/16", interface="em0")


def test_on_link_routes_are_compared_by_interface(host: Host) -> None:
    host.expect(LIST, table("10.1.0.0/16 link#1 US em0"))
    host.expect("route -n -4 change -net 10.1.0.0/16 -iface em1")
    host.expect(LIST, table("10.1.0.0/16 link#2 US em1"))
    route.replace_route("10.1.0.0/16", interface="em1")


def test_blackholes_are_compared_by_their_kind(host: Host) -> None:
    host.expect(LIST, table("10.1.0.0/16 127.0.0.1 UGSB lo0"))
    route.replace_route("10.1.0.0/16", kind="blackhole")
    host.expect(LIST, table("10.1.0.0/16 link#1 USB lo0"))
    host.expect("route -n -4 change -net 10.1.0.0/16 127.0.0.1 -reject")
    host.expect(LIST, table("10.1.0.0/16 link#1 USR lo0"))
    route.replace_route("10.1.0.0/16", kind="reject")


@pytest.mark.parametrize("gateway", ["fe80::1%em0", "fe80::1"])
def test_link_local_gateways_are_compared_with_their_zone(host: Host, gateway: str) -> None:
    listing = golden("netstat-14.3.json")
    host.expect("netstat --libxo json -rn -6", listing)
    route.replace_route("::/0", gateway, interface="em0")
    host.expect("netstat --libxo json -rn -6", listing)
    host.expect("route -n -6 change default fe80::1%em1")
    host.expect("netstat --libxo json -rn -6", listing.replace("fe80::1%em0", "fe80::1%em1").replace('"em0"', '"em1"'))
    route.replace_route("::/0", "fe80::1%em1")
