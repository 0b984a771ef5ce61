"""N3: routes as messages, and their replacement and deletion."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from beastack.freebsd.errors import InterfaceNotFound, InvalidArgument
from beastack.port.neutron import ip_lib_routes
from beastack.port.neutron.ip_lib_links import Unsupported
from ip_lib_host import JAIL, LINKS, LIST, LOOPBACK, NETSTAT, PORT, READ, play_all
from recorded_commands import Commands

NAME = "tap12345678-9a"
ROUTES = ["netstat", "--libxo", "json", "-rn"]


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> Iterator[Commands]:
    yield from play_all(monkeypatch)


def entry(destination: str, gateway: str, interface: str, *flags: str) -> dict[str, Any]:
    return {"destination": destination, "gateway": gateway, "flags": "", "flags_pretty": ["up", *flags],
            "interface-name": interface}  # fmt: skip


def table(entries: Sequence[dict[str, Any]], family: str = "Internet") -> str:
    groups = [{"address-family": family, "rt-entry": list(entries)}]
    return json.dumps({"statistics": {"route-information": {"route-table": {"rt-family": groups}}}})


def expect_list(host: Commands, entries: Sequence[dict[str, Any]], version: int = 4) -> None:
    host.expect(LIST, LOOPBACK + PORT)
    host.expect(NETSTAT, LINKS)
    argv = [*ROUTES, f"-{version}", "-j", JAIL]
    host.expect(argv, table(entries, "Internet" if version == 4 else "Internet6"))


def summary(message: dict[str, Any]) -> tuple[Any, ...]:
    found = dict(message["attrs"])
    names = ("RTA_DST", "RTA_GATEWAY", "RTA_PREFSRC", "RTA_OIF", "RTA_TABLE", "RTA_PRIORITY")
    return (*(found.get(name) for name in names), message["dst_len"], message["scope"], message["proto"])


def test_a_table_of_ipv4(host: Commands) -> None:
    expect_list(
        host,
        [
            entry("default", "10.0.0.1", NAME, "gateway", "static"),
            entry("10.0.0.0/24", "link#17", NAME),
            entry("10.0.0.2", "link#4", "lo0", "host", "static"),
            entry("10.5.0.0/16", "link#17", NAME, "static"),
            entry("127.0.0.1", "link#4", "lo0", "host"),
            entry("192.0.2.0/24", "127.0.0.1", "lo0", "gateway", "static", "blackhole"),
            entry("198.51.100.0/24", "link#9", "gone"),
        ],
    )
    assert [summary(message) for message in ip_lib_routes.list_messages(JAIL, 4)] == [
        (None, "10.0.0.1", None, 17, 254, None, 0, 0, 4),
        ("10.0.0.0", None, "10.0.0.2", 17, 254, None, 24, 253, 2),
        ("10.5.0.0", None, None, 17, 254, None, 16, 253, 4),
    ]


def test_a_table_of_ipv6(host: Commands) -> None:
    expect_list(
        host,
        [
            entry("default", f"fe80::1%{NAME}", NAME, "gateway", "static"),
            entry("::1", "link#4", "lo0", "host", "static"),
            entry("2001:db8::/64", "link#17", NAME),
            entry(f"fe80::%{NAME}/64", "link#17", NAME),
            entry("fe80::%lo0/64", "link#4", "lo0"),
            entry("ff02::/16", "link#17", NAME),
        ],
        6,
    )
    assert [summary(message) for message in ip_lib_routes.list_messages(JAIL, 6)] == [
        (None, "fe80::1", None, 17, 254, 1024, 0, 0, 4),
        ("2001:db8::", None, None, 17, 254, 256, 64, 0, 2),
        ("fe80::", None, None, 17, 254, 256, 64, 0, 2),
    ]


def test_a_gateway_of_our_own_is_the_interface_that_has_it(host: Commands) -> None:
    expect_list(host, [entry("default", "10.0.0.2", "lo0", "gateway", "static")])
    assert [summary(message)[3] for message in ip_lib_routes.list_messages(JAIL, 4, device=NAME)] == [17]


def test_routes_of_an_interface_that_is_not_there(host: Commands) -> None:
    host.expect(LIST, LOOPBACK)
    with pytest.raises(InterfaceNotFound):
        ip_lib_routes.list_messages(JAIL, 4, device=NAME)


def test_other_tables_are_empty_and_refuse(host: Commands) -> None:
    host.expect(LIST, LOOPBACK)
    assert ip_lib_routes.list_messages(JAIL, 4, table=100) == []
    ip_lib_routes.remove_route(JAIL, 4, "10.9.0.0/16", device=None, via="10.0.0.1", table=100)
    with pytest.raises(Unsupported, match="100"):
        ip_lib_routes.set_route(JAIL, 4, None, device=None, via="10.0.0.1", table=100)


def test_the_only_route_there_was_is_changed(host: Commands) -> None:
    old, new = (entry("default", f"10.0.0.{last}", NAME, "gateway", "static") for last in (1, 9))
    host.expect([*ROUTES, "-4", "-j", JAIL], table([old]))
    host.expect(f"route -j {JAIL} -n -4 change default 10.0.0.9")
    host.expect([*ROUTES, "-4", "-j", JAIL], table([new]))
    ip_lib_routes.set_route(JAIL, 4, None, device=NAME, via="10.0.0.9", table=254)


def test_an_on_link_route(host: Commands) -> None:
    host.expect([*ROUTES, "-4", "-j", JAIL], table([]))
    host.expect(f"route -j {JAIL} -n -4 add -net 10.5.0.0/16 -iface {NAME}")
    ip_lib_routes.set_route(JAIL, 4, "10.5.1.2/16", device=NAME, via=None, table=None)


def test_a_link_local_gateway_has_its_zone(host: Commands) -> None:
    host.expect([*ROUTES, "-6", "-j", JAIL], table([], "Internet6"))
    host.expect(f"route -j {JAIL} -n -6 add default fe80::1%{NAME}")
    ip_lib_routes.set_route(JAIL, 6, None, device=NAME, via="fe80::1", table=None)


def weighed(gateway: str, weight: int) -> dict[str, Any]:
    return {**entry("10.9.0.0/16", gateway, NAME, "gateway", "static"), "weight": weight}


def test_several_gateways_are_one_route(host: Commands) -> None:
    entries = [weighed("10.0.0.1", 10), weighed("10.0.0.3", 1), entry("10.0.0.0/24", "link#17", NAME)]
    expect_list(host, entries)
    host.expect([*ROUTES, "-4", "-j", JAIL], table(entries))
    connected, several = ip_lib_routes.list_messages(JAIL, 4)
    assert connected["dst_len"] == 24
    hops = dict(several["attrs"])["RTA_MULTIPATH"]
    assert [(hop["oif"], hop["hops"], hop["attrs"]) for hop in hops] == [
        (17, 9, [["RTA_GATEWAY", "10.0.0.1"]]),
        (17, 0, [["RTA_GATEWAY", "10.0.0.3"]]),
    ]


def test_several_gateways_take_the_place_of_others(host: Commands) -> None:
    entries = [weighed("10.0.0.1", 10), weighed("10.0.0.3", 1)]
    host.expect([*ROUTES, "-4", "-j", JAIL], table(entries))
    host.expect([*ROUTES, "-4", "-j", JAIL], table(entries))
    host.expect(f"route -j {JAIL} -n -4 delete -net 10.9.0.0/16 10.0.0.3")
    host.expect(f"route -j {JAIL} -n -4 add -net 10.9.0.0/16 10.0.0.4 -weight 2")
    via = [{"via": "10.0.0.1", "weight": 10}, {"device": NAME, "via": "10.0.0.4", "weight": 2}]
    ip_lib_routes.set_route(JAIL, 4, "10.9.0.0/16", device=None, via=via, table=None)


def test_several_gateways_are_deleted(host: Commands) -> None:
    host.expect(f"route -j {JAIL} -n -4 delete -net 10.9.0.0/16 10.0.0.1")
    host.expect(f"route -j {JAIL} -n -4 delete -net 10.9.0.0/16 10.0.0.4", "", "route: route has not been found\n", 1)
    via = [{"via": "10.0.0.1"}, {"via": "10.0.0.4"}]
    ip_lib_routes.remove_route(JAIL, 4, "10.9.0.0/16", device=None, via=via, table=None)


def test_a_route_that_is_not_there_is_deleted_in_silence(host: Commands) -> None:
    host.expect(f"route -j {JAIL} -n -4 delete -net 10.9.0.0/16 10.0.0.1", "", "route: route has not been found\n", 1)
    ip_lib_routes.remove_route(JAIL, 4, "10.9.0.0/16", device=NAME, via="10.0.0.1", table=None)


def test_the_route_of_an_address_stays_with_it(host: Commands) -> None:
    said = "delete net 10.0.0.0: gateway tap12345678-9a fib 0: entry in use\n"
    host.expect(f"route -j {JAIL} -n -4 delete -net 10.0.0.0/24 -iface {NAME}", said, "", 1)
    host.expect(READ, PORT)
    ip_lib_routes.remove_route(JAIL, 4, "10.0.0.0/24", device=NAME, via=None, table=None)
    host.expect(f"route -j {JAIL} -n -4 delete -net 10.7.0.0/24 -iface {NAME}", said, "", 1)
    host.expect(READ, PORT)
    with pytest.raises(InvalidArgument):
        ip_lib_routes.remove_route(JAIL, 4, "10.7.0.0/24", device=NAME, via=None, table=None)
