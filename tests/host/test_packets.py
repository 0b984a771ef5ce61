"""Packets that really cross: epairs, bridges, routing, DHCP, HTTP, taps and VLANs between jails."""

from __future__ import annotations

import json
import os
import select
import socket
import struct
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from beastack.freebsd import interface, jail, neighbour, route, sysctl
from beastack.freebsd.command import CommandError
from beastack.freebsd.interface import MemberSettings, Settings
from conftest import eventually, need_program
from network_lab import Lab, print_interface, run_at
from packet_programs import DHCP_ASK, HTTP_GET, UDP_ASK, UDP_ECHO, UDP_SEND

UNOFFLOADED = Settings(words=["-txcsum", "-txcsum6"])


def ping(place: str | None, address: str, *options: str, limit: int = 5) -> bool:
    """Tell whether an echo is answered within some seconds."""
    try:
        said = run_at(place, "ping", *(["-6"] if ":" in address else []), "-c", str(4 * limit), "-i", "0.25", "-o",
                      "-t", str(limit), *options, address)  # fmt: skip
    except CommandError:
        return False
    return " bytes from " in said


def is_cut_off(place: str | None, address: str, *options: str) -> bool:
    """Tell whether no echo is answered."""
    return not ping(place, address, *options, limit=1)


def wait_for(output: Path, text: str) -> None:
    """Wait until a program has printed something."""
    eventually(lambda: text in output.read_text(), f"{text!r} in {output}", limit=15)


def ask(lab: Lab, client: str, server: str, address: str, port: int = 5000) -> None:
    """Exchange a datagram: the client's question arrives, and the server's answer."""
    output = lab.start_program(server, UDP_ECHO, address, port)
    wait_for(output, "ready")
    assert lab.run_program(client, UDP_ASK, address, port, "hello") == "HELLO"
    assert "hello from " in output.read_text()


def test_an_epair_between_two_jails(lab: Lab) -> None:
    left, right = lab.add_jail(), lab.add_jail()
    _, other = lab.connect((left, "192.0.2.1/24"), (right, "192.0.2.2/24"))
    assert ping(left, "192.0.2.2") and ping(right, "192.0.2.1")
    assert is_cut_off(left, "192.0.2.3")
    ask(lab, left, right, "192.0.2.2")
    ask(lab, right, left, "192.0.2.1")
    assert neighbour.get_neighbour("192.0.2.2", jail=left).mac == interface.read_interface(other, right).mac
    interface.set_down(other, jail=right)
    assert is_cut_off(left, "192.0.2.2")
    interface.set_up(other, jail=right)
    assert ping(left, "192.0.2.2")


def test_ipv6(lab: Lab) -> None:
    left, right = lab.add_jail(), lab.add_jail()
    one, other = lab.connect((left, "2001:db8:1::1/64"), (right, "2001:db8:1::2/64"))
    assert ping(left, "2001:db8:1::2") and ping(right, "2001:db8:1::1")
    ask(lab, left, right, "2001:db8:1::2")
    local = next(each for each in interface.read_interface(other, right).addresses if each.address.is_link_local)
    assert ping(left, f"{local.address}%{one}")
    found = neighbour.get_neighbour("2001:db8:1::2", jail=left)
    assert found.mac == interface.read_interface(other, right).mac


def test_the_host_and_a_jail(lab: Lab) -> None:
    place = lab.add_jail()
    lab.connect((None, "198.51.100.1/30"), (place, "198.51.100.2/30"))
    assert ping(None, "198.51.100.2") and ping(place, "198.51.100.1")


def test_the_loopback_of_a_jail(lab: Lab) -> None:
    left, right = lab.add_jail(), lab.add_jail()
    ask(lab, left, left, "127.0.0.1", 5001)
    output = lab.start_program(right, UDP_ECHO, "127.0.0.1", 5001)
    wait_for(output, "ready")  # the same address and port: each stack has its own


def bridge_jails(lab: Lab, settings: MemberSettings, count: int = 2) -> tuple[str, list[str], list[str]]:
    """Join jails by a bridge on the host: its name, the jails (192.0.2.1 and so on), the members."""
    bridge = lab.add_bridge()
    jails = [lab.add_jail() for _ in range(count)]
    members = []
    for number, name in enumerate(jails, 1):
        member, _ = lab.connect((None, None), (name, f"192.0.2.{number}/24"), UNOFFLOADED)
        interface.add_member(bridge, member, settings)
        members.append(member)
    return bridge, jails, members


def test_a_bridge_between_two_jails(lab: Lab) -> None:
    bridge, (left, right), members = bridge_jails(lab, MemberSettings())
    assert ping(left, "192.0.2.2") and ping(right, "192.0.2.1")
    ask(lab, left, right, "192.0.2.2")
    learned = {each.mac: each.member for each in interface.list_bridge_addresses(bridge)}
    for name, member in ((left, members[0]), (right, members[1])):
        inside = next(each for each in interface.list_interfaces(name) if each.name != "lo0")
        assert learned[inside.mac or ""] == member
    interface.flush_bridge(bridge)
    assert interface.list_bridge_addresses(bridge) == ()
    interface.set_down(bridge)
    assert is_cut_off(left, "192.0.2.2")
    interface.set_up(bridge)
    assert ping(left, "192.0.2.2")
    interface.delete_member(bridge, members[1])
    assert is_cut_off(left, "192.0.2.2")
    interface.add_member(bridge, members[1])
    assert ping(left, "192.0.2.2")


def test_a_bridge_has_an_address_itself(lab: Lab) -> None:
    bridge, (left, _), _ = bridge_jails(lab, MemberSettings())
    interface.add_address(bridge, "192.0.2.254/24")
    assert ping(left, "192.0.2.254") and ping(None, "192.0.2.1")


def test_private_members(lab: Lab) -> None:
    bridge, (left, right), members = bridge_jails(lab, MemberSettings(private=True))
    assert is_cut_off(left, "192.0.2.2")
    interface.change_member(bridge, members[0], MemberSettings(private=False))
    assert ping(left, "192.0.2.2") and ping(right, "192.0.2.1")


def test_large_packets(lab: Lab) -> None:
    left, right = lab.add_jail(), lab.add_jail()
    one, other = lab.connect((left, "192.0.2.1/24"), (right, "192.0.2.2/24"), Settings(mtu=9000))
    assert interface.read_interface(one, left).mtu == interface.read_interface(other, right).mtu == 9000
    assert ping(left, "192.0.2.2", "-D", "-s", "8972")
    interface.change_interface(one, Settings(mtu=1500), jail=left)
    assert is_cut_off(left, "192.0.2.2", "-D", "-s", "1473")
    assert ping(left, "192.0.2.2", "-D", "-s", "1472")


def route_jails(lab: Lab) -> tuple[str, str, str]:
    """Join two jails by a third that has a foot in both networks: left, middle, right."""
    left, middle, right = (lab.add_jail() for _ in range(3))
    for side, near, far in ((left, "192.0.2", "2001:db8:1"), (right, "203.0.113", "2001:db8:2")):
        inner, outer = lab.connect((side, f"{near}.2/24"), (middle, f"{near}.1/24"))
        interface.add_address(inner, f"{far}::2/64", jail=side, words=["no_dad", "-ifdisabled"])
        interface.add_address(outer, f"{far}::1/64", jail=middle, words=["no_dad", "-ifdisabled"])
        route.add_route("0.0.0.0/0", f"{near}.1", jail=side)
        route.add_route("::/0", f"{far}::1", jail=side)
    return left, middle, right


def test_a_jail_that_forwards(lab: Lab) -> None:
    left, middle, right = route_jails(lab)
    assert sysctl.read_integer("net.inet.ip.forwarding", jail=middle) == 0
    assert is_cut_off(left, "203.0.113.2") and is_cut_off(left, "2001:db8:2::2")
    sysctl.write_values({"net.inet.ip.forwarding": 1, "net.inet6.ip6.forwarding": 1}, jail=middle)
    assert sysctl.read_integer("net.inet.ip.forwarding", jail=middle) == 1
    assert sysctl.read_integer("net.inet.ip.forwarding", jail=left) == 0
    assert ping(left, "203.0.113.2") and ping(right, "192.0.2.2") and ping(left, "2001:db8:2::2")
    ask(lab, left, right, "203.0.113.2")
    ask(lab, left, right, "2001:db8:2::2", 5002)
    route.add_route("203.0.113.0/24", kind="blackhole", jail=left)
    assert is_cut_off(left, "203.0.113.2")
    route.delete_route("203.0.113.0/24", jail=left)
    assert ping(left, "203.0.113.2")


def test_a_moved_interface_begins_anew(lab: Lab) -> None:
    left, right, third = (lab.add_jail() for _ in range(3))
    _, other = lab.connect((left, "192.0.2.1/24"), (right, "192.0.2.2/24"))
    assert ping(left, "192.0.2.2")
    interface.return_from_jail(other, right)
    interface.move_to_jail(other, third)
    found = interface.read_interface(other, third)
    assert not found.is_up and found.addresses == ()
    assert not [each for each in route.list_routes(jail=right) if each.interface == other]
    assert is_cut_off(left, "192.0.2.2")
    interface.add_address(other, "192.0.2.2/24", jail=third)
    assert ping(left, "192.0.2.2") and ping(third, "192.0.2.1")


def test_a_removed_jails_interface_serves_another(lab: Lab) -> None:
    left, right = lab.add_jail(), lab.add_jail()
    _, other = lab.connect((left, "192.0.2.1/24"), (right, "192.0.2.2/24"))
    assert ping(left, "192.0.2.2")
    assert jail.remove_jail(right, limit=90) == (other,)
    found = interface.read_interface(other)
    assert not found.is_up and found.addresses == ()
    third = lab.add_jail()
    interface.move_to_jail(other, third)
    interface.add_address(other, "192.0.2.2/24", jail=third)
    interface.set_up(other, jail=third)
    assert ping(left, "192.0.2.2")


def test_vlans_on_an_epair(lab: Lab) -> None:
    left, right = lab.add_jail(), lab.add_jail()
    one, other = lab.connect((left, None), (right, None), UNOFFLOADED)
    for place, parent, last in ((left, one, 1), (right, other, 2)):
        for tag in (10, 20):
            name = lab.track(f"{parent}.{tag}", place)
            interface.create_vlan(name, parent, tag, Settings(up=True), jail=place)
            if (place, tag) != (right, 20):
                interface.add_address(name, f"192.0.{tag}.{last}/24", jail=place)
    assert ping(left, "192.0.10.2")
    ask(lab, left, right, "192.0.10.2")
    interface.add_address(f"{other}.20", "192.0.20.2/24", jail=right)
    assert ping(left, "192.0.20.2")


def test_a_vxlan_between_two_jails(lab: Lab) -> None:
    left, right = lab.add_jail(), lab.add_jail()
    lab.connect((left, "192.0.2.1/24"), (right, "192.0.2.2/24"))
    for place, own, far in ((left, 1, 2), (right, 2, 1)):
        name = lab.track(f"btvx{own}", place)
        interface.create_vxlan(name, 99, Settings(up=True), local=f"192.0.2.{own}", remote=f"192.0.2.{far}", jail=place)
        interface.add_address(name, f"198.51.100.{own}/24", jail=place)
    assert ping(left, "198.51.100.2")
    ask(lab, right, left, "198.51.100.1")


def test_dhcp(lab: Lab) -> None:
    dnsmasq = need_program("dnsmasq")
    server, client = lab.add_jail(), lab.add_jail()
    one, other = lab.connect((server, "192.0.2.1/24"), (client, "192.0.2.250/24"), UNOFFLOADED)
    interface.change_interface(other, Settings(mac="02:b7:00:00:00:99"), jail=client)
    output = lab.start(
        [dnsmasq, "--conf-file=/dev/null", "--keep-in-foreground", "--log-facility=-", "--log-dhcp", "--port=0",
         "--user=root", "--pid-file", "--no-ping", "--dhcp-authoritative", f"--interface={one}", "--bind-interfaces",
         "--except-interface=lo0", "--dhcp-range=192.0.2.10,192.0.2.20,255.255.255.0,1h",
         "--dhcp-host=02:b7:00:00:00:99,192.0.2.15", "--domain=bt.example", f"--dhcp-leasefile={lab.directory}/leases"],
        server,
    )  # fmt: skip
    wait_for(output, "DHCP, IP range 192.0.2.10 -- 192.0.2.20")
    found = json.loads(lab.run_program(client, DHCP_ASK, "192.0.2.250", "192.0.2.255", "02:b7:00:00:00:99"))
    assert found == {
        "address": "192.0.2.15", "server": "192.0.2.1", "seconds": 3600, "router": "192.0.2.1",
        "mask": "255.255.255.0", "domain": "bt.example",
    }  # fmt: skip
    assert "02:b7:00:00:00:99 192.0.2.15" in (lab.directory / "leases").read_text()
    interface.add_address(other, "192.0.2.15/24", jail=client)
    interface.remove_address(other, "192.0.2.250/24", jail=client)
    assert ping(server, "192.0.2.15")


def test_haproxy(lab: Lab) -> None:
    haproxy = need_program("haproxy")
    server, client = lab.add_jail(), lab.add_jail()
    one, _ = lab.connect((server, "192.0.2.1/24"), (client, "192.0.2.2/24"))
    interface.add_address(one, "169.254.169.254/32", jail=server)
    route.add_route("169.254.169.254/32", "192.0.2.1", jail=client)
    configuration = lab.directory / "haproxy.cfg"
    configuration.write_text(
        "defaults\n mode http\n timeout connect 5s\n timeout client 5s\n timeout server 5s\n"
        "frontend metadata\n bind 169.254.169.254:80\n"
        ' http-request return status 200 content-type text/plain string "served in a jail"\n'
    )
    lab.start([haproxy, "-db", "-f", str(configuration)], server)

    def get() -> str | None:
        try:
            return lab.run_program(client, HTTP_GET, "169.254.169.254", "/")
        except CommandError:
            return None

    assert eventually(get, "an answer of haproxy", limit=15) == "200 served in a jail"
    with pytest.raises(CommandError):
        lab.run_program(server, HTTP_GET, "127.0.0.1", "/")


@pytest.fixture
def tap(lab: Lab) -> Iterator[tuple[str, int]]:
    """A tap that is up and open: its name and the descriptor."""
    name = lab.add_tap()
    descriptor = os.open(f"/dev/{interface.read_interface(name).driver_name}", os.O_RDWR | os.O_NONBLOCK)
    interface.set_up(name)
    try:
        yield name, descriptor
    finally:
        os.close(descriptor)


def read_frames(descriptor: int, wanted: int, limit: float = 5) -> Iterator[bytes]:
    """Yield the frames of an Ethernet type that come out of a tap."""
    deadline = time.monotonic() + limit
    while (left := deadline - time.monotonic()) > 0:
        if select.select([descriptor], [], [], left)[0]:
            frame = os.read(descriptor, 65536)
            if struct.unpack_from("!H", frame, 12)[0] == wanted:
                yield frame


def add_up(data: bytes) -> int:
    """Return the ones' complement sum of RFC 1071."""
    total: int = sum(struct.unpack(f"!{(len(data) + 1) // 2}H", data + bytes(len(data) % 2)))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total


def test_a_tap_carries_frames(lab: Lab, tap: tuple[str, int]) -> None:
    name, descriptor = tap
    interface.add_address(name, "192.0.2.1/24")
    mac = bytes.fromhex((interface.read_interface(name).mac or "").replace(":", ""))
    guest = bytes.fromhex("02b700000055")
    request = struct.pack("!HHBBH6s4s6s4s", 1, 0x800, 6, 4, 1, guest, socket.inet_aton("192.0.2.9"), bytes(6),
                          socket.inet_aton("192.0.2.1"))  # fmt: skip
    os.write(descriptor, b"\xff" * 6 + guest + b"\x08\x06" + request)
    answers = (frame for frame in read_frames(descriptor, 0x806) if frame[20:22] == b"\x00\x02")
    answer = next(answers)
    assert answer[:6] == guest and answer[22:28] == mac and answer[28:32] == socket.inet_aton("192.0.2.1")
    assert neighbour.get_neighbour("192.0.2.9").mac == "02:b7:00:00:00:55"


def test_a_tap_on_a_bridge_sees_good_checksums(lab: Lab, tap: tuple[str, int]) -> None:
    name, descriptor = tap
    bridge, place = lab.add_bridge(), lab.add_jail()
    member, inside = lab.connect((None, None), (place, "192.0.2.1/24"), UNOFFLOADED)
    for each, where in ((member, None), (inside, place)):
        assert not {"TXCSUM", "TXCSUM_IPV6"} & set(interface.read_interface(each, where).options.names)
        assert "TXCSUM" not in print_interface(each, where)
    interface.add_member(bridge, member)
    interface.add_member(bridge, name)
    neighbour.add_neighbour("192.0.2.9", "02:b7:00:00:00:55", jail=place)
    lab.start_program(place, UDP_SEND, "192.0.2.9", 4000, "is this sum right?")
    seen = next(frame for frame in read_frames(descriptor, 0x800) if frame[23] == socket.IPPROTO_UDP)
    header, datagram = seen[14:34], seen[34:]
    length = struct.unpack_from("!H", datagram, 4)[0]
    assert datagram[8:length] == b"is this sum right?" and seen[:6] == bytes.fromhex("02b700000055")
    assert add_up(header) == 0xFFFF
    assert add_up(header[12:20] + struct.pack("!HH", socket.IPPROTO_UDP, length) + datagram[:length]) == 0xFFFF


def test_a_tap_in_a_jail(lab: Lab, tap: tuple[str, int]) -> None:
    name, descriptor = tap
    place = lab.add_jail()
    interface.move_to_jail(name, place)
    interface.add_address(name, "192.0.2.1/24", jail=place)
    interface.set_up(name, jail=place)
    assert interface.read_interface(name, place).opened_by == (os.getpid(),)
    neighbour.add_neighbour("192.0.2.9", "02:b7:00:00:00:55", jail=place)
    lab.start_program(place, UDP_SEND, "192.0.2.9", 4000, "from a jail")
    seen = next(frame for frame in read_frames(descriptor, 0x800) if frame[23] == socket.IPPROTO_UDP)
    assert seen.endswith(b"from a jail")
    interface.return_from_jail(name, place)
    assert interface.read_interface(name).opened_by == (os.getpid(),)
