"""Routes in a jail's own tables: what the library writes and reads, against netstat(1) and route(8)."""

from __future__ import annotations

import ipaddress
import re

import pytest

from beastack.freebsd import errors, interface, route
from network_lab import Lab, as_nobody, run_at

DOCUMENTATION = "203.0.113.0/24"


@pytest.fixture
def place(lab: Lab) -> tuple[str, str]:
    """A jail with 192.0.2.1/24 and 2001:db8:1::1/64 on an interface: the names of both."""
    name = lab.add_jail()
    one, _ = lab.connect((name, "192.0.2.1/24"), (None, None))
    interface.add_address(one, "2001:db8:1::1/64", jail=name, words=["no_dad", "-ifdisabled"])
    return name, one


def paths(place: str, destination: str) -> list[route.Route]:
    network = ipaddress.ip_network(destination)
    return [each for each in route.list_routes(jail=place) if each.destination == network]


def print_route(place: str, destination: str) -> list[list[str]]:
    """Return netstat's lines about a destination, each as its words."""
    lines = run_at(place, "netstat", "-rn").splitlines()
    return [line.split() for line in lines if line.split()[:1] == [destination]]


def test_the_same_routes_are_listed(place: tuple[str, str]) -> None:
    name, one = place
    route.add_route("0.0.0.0/0", "192.0.2.254", jail=name)
    for family, option in ((4, "-4"), (6, "-6")):
        listed = route.list_routes(family=family, jail=name)  # type: ignore[arg-type]
        lines = [line.split() for line in run_at(name, "netstat", "-rn", option).splitlines()]
        printed = [words for words in lines if len(words) >= 4 and words[0] != "Destination"]
        assert [each.interface for each in listed] == [words[3] for words in printed]
        assert [str(each.gateway).partition("%")[0] for each in listed] == [
            words[1].partition("%")[0] for words in printed
        ]
        assert all(each.destination.version == family for each in listed)
    both = route.list_routes(jail=name)
    assert both == route.list_routes(family=4, jail=name) + route.list_routes(family=6, jail=name)
    (connected,) = paths(name, "192.0.2.0/24")
    assert connected.interface == one and "gateway" not in connected.flags and "up" in connected.flags
    assert str(connected.gateway).startswith("link#")
    assert print_route(name, "192.0.2.0/24") == [["192.0.2.0/24", str(connected.gateway), "U", one]]


def test_the_host(lab: Lab) -> None:
    one, _ = lab.connect((None, "198.51.100.1/30"), (None, None))
    route.add_route(DOCUMENTATION, "198.51.100.2")
    found = route.get_route("203.0.113.9")
    assert str(found.gateway) == "198.51.100.2" and found.interface == one
    assert found.destination in {each.destination for each in route.list_routes(family=4)}
    route.delete_route(DOCUMENTATION)
    assert found.destination not in {each.destination for each in route.list_routes(family=4)}


@pytest.mark.parametrize(
    ("destination", "gateway", "far"),
    [
        (DOCUMENTATION, "192.0.2.2", "203.0.113.9"),
        ("203.0.113.77/32", "192.0.2.2", "203.0.113.77"),
        ("0.0.0.0/0", "192.0.2.2", "203.0.113.9"),
        ("2001:db8:9::/48", "2001:db8:1::2", "2001:db8:9::9"),
        ("2001:db8:9::9/128", "2001:db8:1::2", "2001:db8:9::9"),
        ("::/0", "2001:db8:1::2", "2001:db8:9::9"),
    ],
)
def test_a_way_to_everywhere(place: tuple[str, str], destination: str, gateway: str, far: str) -> None:
    name, one = place
    with pytest.raises(errors.RouteNotFound):
        route.get_route(far, jail=name)
    route.add_route(destination, gateway, jail=name)
    (found,) = paths(name, destination)
    assert str(found.gateway) == gateway and found.interface == one
    assert {"up", "gateway", "static"} <= found.flags
    network = ipaddress.ip_network(destination)
    assert ("host" in found.flags) == (network.prefixlen == network.max_prefixlen)
    got = route.get_route(far, jail=name)
    assert (got.destination, str(got.gateway), got.interface) == (network, gateway, one)
    assert re.search(rf"^\s*gateway: {re.escape(gateway)}$", run_at(name, "route", "-n", "get", *(
        ["-6"] if network.version == 6 else []), far), re.MULTILINE)  # fmt: skip
    with pytest.raises(errors.RouteExists):
        route.add_route(destination, gateway, jail=name)
    other = gateway[:-1] + "3"
    route.change_route(destination, other, jail=name)
    assert [str(each.gateway) for each in paths(name, destination)] == [other]
    route.delete_route(destination, jail=name)
    assert paths(name, destination) == []
    with pytest.raises(errors.RouteNotFound):
        route.delete_route(destination, jail=name)
    with pytest.raises(errors.RouteNotFound):
        route.change_route(destination, gateway, jail=name)


def test_routes_on_the_link(place: tuple[str, str]) -> None:
    name, one = place
    for destination, far in (("169.254.169.254/32", "169.254.169.254"), (DOCUMENTATION, "203.0.113.9"),
                             ("2001:db8:7::/64", "2001:db8:7::1")):  # fmt: skip
        route.add_route(destination, interface=one, jail=name)
        (found,) = paths(name, destination)
        assert found.interface == one and "gateway" not in found.flags
        assert route.get_route(far, jail=name).interface == one
        route.delete_route(destination, jail=name)
    with pytest.raises(errors.InterfaceNotFound):
        route.add_route(DOCUMENTATION, interface="btnowhere", jail=name)


def test_routes_to_nowhere(place: tuple[str, str]) -> None:
    name, _ = place
    kinds: tuple[route.Kind, ...] = ("blackhole", "reject")
    for destination in (DOCUMENTATION, "2001:db8:8::/48"):
        for kind in kinds:
            route.add_route(destination, kind=kind, jail=name)
            (found,) = paths(name, destination)
            assert kind in found.flags
            assert ("B" if kind == "blackhole" else "R") in print_route(name, destination)[0][2]
            route.delete_route(destination, jail=name)
    with pytest.raises(ValueError):
        route.add_route(DOCUMENTATION, "192.0.2.2", kind="blackhole", jail=name)


def test_a_link_local_gateway(place: tuple[str, str]) -> None:
    name, one = place
    route.add_route("2001:db8:9::/48", "fe80::1", interface=one, jail=name)
    (found,) = paths(name, "2001:db8:9::/48")
    assert found.interface == one and int(ipaddress.IPv6Address(str(found.gateway))) & 0xFFFF == 1
    assert print_route(name, "2001:db8:9::/48")[0][1] == f"fe80::1%{one}"
    route.replace_route("2001:db8:9::/48", f"fe80::2%{one}", jail=name)
    assert [words[1] for words in print_route(name, "2001:db8:9::/48")] == [f"fe80::2%{one}"]
    route.delete_route("2001:db8:9::/48", f"fe80::2%{one}", jail=name)
    with pytest.raises(ValueError):
        route.add_route("2001:db8:9::/48", "fe80::1", jail=name)


def test_several_paths(place: tuple[str, str]) -> None:
    name, _ = place
    for gateway in ("192.0.2.2", "192.0.2.3", "192.0.2.4"):
        route.add_route(DOCUMENTATION, gateway, jail=name)
    assert {str(each.gateway) for each in paths(name, DOCUMENTATION)} == {"192.0.2.2", "192.0.2.3", "192.0.2.4"}
    assert len(print_route(name, DOCUMENTATION)) == 3
    with pytest.raises(errors.RouteExists):
        route.add_route(DOCUMENTATION, "192.0.2.3", jail=name)
    route.delete_route(DOCUMENTATION, "192.0.2.3", jail=name)
    assert {str(each.gateway) for each in paths(name, DOCUMENTATION)} == {"192.0.2.2", "192.0.2.4"}
    route.replace_route(DOCUMENTATION, "192.0.2.5", jail=name)
    assert [str(each.gateway) for each in paths(name, DOCUMENTATION)] == ["192.0.2.5"]


def test_replacing(place: tuple[str, str]) -> None:
    name, one = place
    steps: list[dict[str, str]] = [
        {"gateway": "192.0.2.2"}, {"gateway": "192.0.2.2"}, {"gateway": "192.0.2.3"}, {"interface": one},
        {"kind": "blackhole"}, {"kind": "reject"}, {"gateway": "192.0.2.4"},
    ]  # fmt: skip
    for step in steps:
        route.replace_route(DOCUMENTATION, jail=name, **step)  # type: ignore[arg-type]
        (found,) = paths(name, DOCUMENTATION)
        if "gateway" in step:
            assert str(found.gateway) == step["gateway"]
        elif "interface" in step:
            assert found.interface == one and "gateway" not in found.flags
        else:
            assert step["kind"] in found.flags
    route.replace_route("0.0.0.0/0", "192.0.2.2", jail=name)
    route.replace_route("::/0", "2001:db8:1::2", jail=name)
    route.replace_route("::/0", "2001:db8:1::3", jail=name)
    assert [str(each.gateway) for each in paths(name, "::/0")] == ["2001:db8:1::3"]


def test_an_mtu(place: tuple[str, str]) -> None:
    name, _ = place
    route.add_route(DOCUMENTATION, "192.0.2.2", mtu=1400, jail=name)
    assert route.get_route("203.0.113.1", jail=name).mtu == 1400


def test_what_the_host_refuses(place: tuple[str, str]) -> None:
    name, one = place
    with pytest.raises(errors.NetworkUnreachable):
        route.add_route(DOCUMENTATION, "198.51.100.9", jail=name)
    with pytest.raises(errors.NetworkUnreachable):
        route.add_route("2001:db8:9::/48", "2001:db8:ffff::1", jail=name)
    for call in (
        lambda: route.list_routes(jail="btnojail"),
        lambda: route.get_route("192.0.2.2", jail="btnojail"),
        lambda: route.add_route(DOCUMENTATION, "192.0.2.2", jail="btnojail"),
    ):
        with pytest.raises(errors.JailNotFound):
            call()
    with pytest.raises(errors.InvalidArgument):
        route.list_routes(fib=65000, jail=name)
    with pytest.raises(errors.InvalidArgument):
        route.add_route(DOCUMENTATION, "192.0.2.2", fib=65000, jail=name)
    assert route.list_routes(fib=0, jail=name) == route.list_routes(jail=name)
    for arguments in ((DOCUMENTATION,), (DOCUMENTATION, "2001:db8:1::2"), ("203.0.113.1/24", "192.0.2.2")):
        with pytest.raises(ValueError):
            route.add_route(*arguments, jail=name)
    with pytest.raises(errors.RouteExists):
        route.change_route("192.0.2.0/24", "192.0.2.9", jail=name)
    assert paths(name, "192.0.2.0/24")[0].interface == one


def test_without_privilege(lab: Lab) -> None:
    lab.connect((None, "198.51.100.1/30"), (None, None))
    with as_nobody():
        assert route.get_route("198.51.100.2").destination == ipaddress.ip_network("198.51.100.0/30")
        with pytest.raises(errors.PermissionDenied):
            route.add_route(DOCUMENTATION, "198.51.100.2")
        with pytest.raises(errors.PermissionDenied):
            route.delete_route("198.51.100.0/30")
