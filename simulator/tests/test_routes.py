"""Routes, neighbours and the programs that look at them: what they print, and that packets follow."""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any, cast

import pytest

from freebsd_sim.commands.addresses import parse_ipv4
from freebsd_sim.commands.ndp import format_seconds
from freebsd_sim.commands.netstat import name_destination, name_gateway
from freebsd_sim.kernel.interface_model import Interface
from freebsd_sim.kernel.routes import Route

Run = Callable[..., Any]


def make_interface(name: str, index: int) -> Interface:
    return cast(Interface, SimpleNamespace(name=name, index=index))


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("10.0.0.1", "10.0.0.1"), ("10.1", "10.0.0.1"), ("10", "0.0.0.10"), ("0x0a000001", "10.0.0.1"), ("x", None),
        ("10.0.0.300", None),
    ],
)  # fmt: skip
def test_ipv4_addresses_are_read_as_inet_aton_does(text: str, address: str | None) -> None:
    assert parse_ipv4(text) == (ipaddress.IPv4Address(address) if address else None)


def test_times_are_printed_as_ndp_does() -> None:
    assert [format_seconds(number) for number in (0, 59, 60, 86398, 86400)] == [
        "0s", "59s", "1m0s", "23h59m58s", "1d0h0m0s",
    ]  # fmt: skip


def test_routes_are_named_as_netstat_does() -> None:
    em0 = make_interface("em0", 3)
    link_local = ipaddress.ip_network("fe80::/64")
    assert name_destination(Route(ipaddress.ip_network("0.0.0.0/0"), em0)) == "default"
    assert name_destination(Route(ipaddress.ip_network("::/0"), em0)) == "default"
    assert name_destination(Route(ipaddress.ip_network("10.0.0.0/8"), em0)) == "10.0.0.0/8"
    assert name_destination(Route(link_local, em0, scope=em0)) == "fe80::%em0/64"
    assert name_gateway(Route(link_local, em0)) == "link#3"
    assert name_gateway(Route(link_local, em0, gateway=ipaddress.ip_address("fe80::1"))) == "fe80::1%em0"


def test_flags_come_in_netstats_order() -> None:
    route = Route(
        ipaddress.ip_network("10.0.0.1/32"), make_interface("lo0", 1), ipaddress.ip_address("10.0.0.2"), host=True,
        static=True, blackhole=True,
    )  # fmt: skip
    assert route.flags == ["up", "gateway", "host", "static", "blackhole"]


def test_the_table_is_ordered_by_address_with_the_scope_inside() -> None:
    low, high = make_interface("a", 2), make_interface("b", 7)
    prefix = ipaddress.ip_network("fe80::/64")
    ways = [
        Route(prefix, high, scope=high),
        Route(ipaddress.ip_network("fe80::1/128"), low, host=True, scope=low),
        Route(prefix, low, scope=low),
    ]
    assert sorted(ways, key=lambda way: way.order) == [ways[2], ways[1], ways[0]]


# Hosts


@pytest.fixture(scope="module")
def pair(host: Run) -> Iterator[Run]:
    """Two vnets, left (10.0.0.1, 2001:db8::1) and right (.2), and a net 10.9.0.0/24 on right's loopback."""
    host(
        "jail -c name=left vnet persist; jail -c name=right vnet persist; ifconfig epair50 create;"
        "ifconfig epair50a vnet left; ifconfig epair50b vnet right;"
        "ifconfig -j left lo0 inet 127.0.0.1/8; ifconfig -j right lo0 inet 127.0.0.1/8;"
        "ifconfig -j left epair50a inet 10.0.0.1/24; ifconfig -j right epair50b inet 10.0.0.2/24;"
        "ifconfig -j left epair50a inet6 2001:db8::1/64 no_dad; ifconfig -j right epair50b inet6 2001:db8::2/64 no_dad;"
        "ifconfig -j right lo0 inet 10.9.0.1/32 alias"
    )
    yield host
    host("jail -R left; jail -R right; ifconfig epair50a destroy")


def table(host: Run, jail: str, family: str = "Internet") -> dict[str, dict[str, Any]]:
    document = json.loads(host(f"netstat -j {jail} --libxo json -rn").stdout)
    families = document["statistics"]["route-information"]["route-table"]["rt-family"]
    for item in families:
        if item["address-family"] == family:
            return {entry["destination"]: entry for entry in item["rt-entry"]}
    return {}


def test_packets_follow_a_route(pair: Run) -> None:
    assert pair("jexec left ping -c 1 -W 300 10.9.0.1").returncode == 2
    assert pair("route -j left -n add 10.9.0.0/24 10.0.0.2").returncode == 0
    answered = pair("jexec left ping -c 1 10.9.0.1")
    assert answered.returncode == 0
    assert answered.stdout.startswith(
        "PING 10.9.0.1 (10.9.0.1): 56 data bytes\n64 bytes from 10.9.0.1: icmp_seq=0 ttl=64"
    )
    assert pair("route -j left -n change -blackhole 10.9.0.0/24 127.0.0.1").returncode == 0
    assert pair("jexec left ping -c 1 -W 300 10.9.0.1").returncode == 2
    assert table(pair, "left")["10.9.0.0/24"]["flags"] == "USB"
    assert pair("route -j left -n delete 10.9.0.0/24").returncode == 0


def test_ping_over_ipv6(pair: Run) -> None:
    answered = pair("jexec left ping -6 -n -c 2 -i 0.1 2001:db8::2")
    assert answered.returncode == 0, answered.stderr
    assert "16 bytes from 2001:db8::2, icmp_seq=1 hlim=64 time=" in answered.stdout
    assert "2 packets transmitted, 2 packets received, 0.0% packet loss" in answered.stdout
    assert pair("jexec left ping6 -c 1 2001:db8::2").returncode == 0


def test_ping_says_what_fails(pair: Run) -> None:
    assert pair("ping -c 1 nosuch.example").returncode == 68
    no_route = pair("jexec left ping -c 1 -W 100 192.0.2.1")
    assert no_route.returncode == 2 and no_route.stderr == "ping: sendto: No route to host\n"
    assert pair("jexec left ping -c 1 -S 10.0.0.77 10.0.0.2").stderr == "ping: bind: Can't assign requested address\n"


def test_static_routes_outlive_a_link_that_goes_down(pair: Run) -> None:
    pair("route -j left -n add 10.9.0.0/24 10.0.0.2; ifconfig -j left epair50a down; ifconfig -j left epair50a up")
    assert table(pair, "left")["10.9.0.0/24"]["flags"] == "UGS"
    assert pair("jexec left ping -c 1 10.9.0.1").returncode == 0
    pair("route -j left -n delete 10.9.0.0/24")


def test_two_gateways_are_two_ways(pair: Run) -> None:
    pair("route -j left -n add 10.8.0.0/24 10.0.0.2; route -j left -n add 10.8.0.0/24 10.0.0.3")
    listed = pair("netstat -j left -rn -4").stdout
    assert listed.count("10.8.0.0/24") == 2
    assert pair("route -j left -n delete 10.8.0.0/24").returncode == 1
    assert pair("route -j left -n delete 10.8.0.0/24 10.0.0.3").returncode == 0
    assert pair("route -j left -n delete 10.8.0.0/24").returncode == 0


def test_routes_of_an_interface_go_with_it(pair: Run) -> None:
    pair("ifconfig epair51 create; ifconfig epair51a vnet left; ifconfig -j left epair51a inet 10.5.0.1/24")
    pair("route -j left -n add 10.6.0.0/16 10.5.0.2")
    assert "10.6.0.0/16" in table(pair, "left")
    pair("ifconfig epair51b destroy")
    assert not {"10.5.0.0/24", "10.6.0.0/16"} & table(pair, "left").keys()


def test_neighbours_appear_when_spoken_to(pair: Run) -> None:
    assert pair("jexec left ping -q -c 1 10.0.0.2").returncode == 0
    document = json.loads(pair("jexec left arp --libxo json -an").stdout)
    entries = {entry["ip-address"]: entry for entry in document["arp"]["arp-cache"]}
    assert entries["10.0.0.1"]["permanent"] is True
    assert entries["10.0.0.2"]["interface"] == "epair50a" and 1100 < entries["10.0.0.2"]["expires"] <= 1200
    assert pair("jexec left arp -n 10.0.0.2").stdout.startswith("? (10.0.0.2) at ")
    neighbours = json.loads(pair("jexec left ndp --libxo json -an").stdout)["ndp"]["neighbor-cache"]
    assert any(entry["address"] == "2001:db8::1" and entry.get("permanent") for entry in neighbours)


LISTENER = 'import socket,time; s=socket.socket(); s.bind(("10.0.0.1",7123)); s.listen(); time.sleep(30)'


def test_sockstat_shows_the_sockets_of_one_vnet(pair: Run) -> None:
    pair(f"jexec left /usr/local/bin/python3.11 -c '{LISTENER}' >/dev/null 2>&1 & sleep 1")
    shown = pair("sockstat -j left -4 -l -n -P tcp -p 7123").stdout.splitlines()
    assert shown[0] == "USER     COMMAND    PID   FD  PROTO  LOCAL ADDRESS         FOREIGN ADDRESS      "
    assert shown[1].startswith("0        python3.11") and shown[1].endswith("tcp4   10.0.0.1:7123         *:*")
    assert pair("sockstat -4 -l -q -P tcp -p 7123").stdout == ""
    pair("pkill -f s.listen")


def test_only_root_changes_routes_and_everybody_reads_them(pair: Run) -> None:
    refused = pair("jexec -u daemon left route -n add default 10.0.0.2")
    assert (refused.returncode, refused.stderr) == (77, "route: must be root to alter routing table\n")
    assert pair("jexec -u daemon left route -n get 10.0.0.2").returncode == 0
    assert pair("jexec -u daemon left arp -d 10.0.0.2").stderr == "arp: delete 10.0.0.2: Operation not permitted\n"
