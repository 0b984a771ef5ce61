"""Interfaces of the simulated kernel: taps, bridges, vnets and what Linux programs do, with real links."""

from __future__ import annotations

import ctypes
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from freebsd_sim.kernel.errors import KernelError
from network_host import NetworkHost

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="makes network namespaces")

LIMIT = 5.0  # seconds
# What Open vSwitch does: tun devices that go when the process does.
SWITCH = """
import fcntl, os, struct, sys
held = []
for name in sys.argv[1:]:
    held.append(os.open("/dev/net/tun", os.O_RDWR))
    fcntl.ioctl(held[-1], 0x400454CA, struct.pack("16sH22x", name.encode(), 0x1002))
print("ready", flush=True)
sys.stdin.readline()
os.close(held[0])
print("closed", flush=True)
sys.stdin.readline()
"""


@pytest.fixture
def host(tmp_path: Path) -> Iterator[NetworkHost]:
    made = NetworkHost(tmp_path / "root")
    yield made
    made.close()


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + LIMIT
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.02)


def start_switch(host: NetworkHost, *names: str) -> subprocess.Popen[str]:
    descriptor = host.kernel.jails.host.stack.fd
    return subprocess.Popen(
        [sys.executable, "-c", SWITCH, *names], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True, preexec_fn=lambda: ctypes.CDLL(None).setns(descriptor, 0x40000000),
    )  # fmt: skip


def test_a_tap_has_one_opener_and_loses_everything_but_itself_at_close(host: NetworkHost) -> None:
    host.run("tap", "create", "up")
    node = host.kernel.root / "dev/tap0"
    assert node.stat().st_mode & 0o777 == 0o600
    descriptor = host.kernel.interfaces.open_tap("tap0", os.getpid())
    assert f"\tOpened by PID {os.getpid()}\n" in host.run("tap0").out
    host.run("tap0", "inet", "10.0.0.1/24")
    with pytest.raises(KernelError) as refused:
        host.kernel.interfaces.open_tap("tap0", 1)
    assert refused.value.name == "EBUSY"
    os.close(descriptor)
    wait_until(lambda: "Opened" not in host.run("tap0").out)
    out = host.run("tap0").out
    assert "flags=8802<BROADCAST,SIMPLEX,MULTICAST>" in out
    assert "status: no carrier" in out and "inet " not in out


def test_link0_keeps_a_tap_up_at_close(host: NetworkHost) -> None:
    host.run("tap", "create", "link0", "up")
    os.close(host.kernel.interfaces.open_tap("tap0", os.getpid()))
    wait_until(lambda: "Opened" not in host.run("tap0").out)
    assert "<UP,BROADCAST,SIMPLEX,LINK0,MULTICAST>" in host.run("tap0").out


def test_a_renamed_tap_keeps_its_node_and_gets_another(host: NetworkHost) -> None:
    host.run("tap", "create", "name", "mine")
    assert sorted(os.listdir(host.kernel.root / "dev")) == ["mine", "tap0"]
    assert host.run("tap", "create").out == "tap1\n"
    os.close(host.kernel.interfaces.open_tap("tap0", 1))
    host.run("mine", "destroy")
    assert os.listdir(host.kernel.root / "dev") == ["tap1"]


def test_destroying_an_open_tap_waits_and_later_destroys_wait_behind_it(host: NetworkHost) -> None:
    host.run("tap", "create")
    host.run("bridge", "create")
    descriptor = host.kernel.interfaces.open_tap("tap0", os.getpid())
    first = threading.Thread(target=lambda: host.run("tap0", "destroy"))
    first.start()
    wait_until(lambda: host.kernel.interfaces.detaching is not None)
    second = threading.Thread(target=lambda: host.run("bridge0", "destroy"))
    second.start()
    time.sleep(0.2)
    assert first.is_alive() and second.is_alive()
    assert host.run("-l").out == "lo0 tap0 bridge0\n"
    os.close(descriptor)
    first.join(LIMIT)
    second.join(LIMIT)
    assert host.run("-l").out == "lo0\n"


def test_taps_of_a_switch_that_dies_stay_and_keep_their_names(host: NetworkHost) -> None:
    switch = start_switch(host, "br-int", "ovs-netdev")
    assert switch.stdout is not None and switch.stdin is not None
    switch.stdout.readline()
    assert f"Opened by PID {switch.pid}" in host.run("br-int").out
    assert "<UP," in host.run("br-int").out
    switch.stdin.write("\n")
    switch.stdin.flush()
    switch.stdout.readline()
    wait_until(lambda: host.run("-l").out == "lo0 ovs-netdev\n")
    switch.kill()
    switch.communicate()
    wait_until(lambda: "Opened" not in host.run("ovs-netdev").out)
    assert "flags=8802<BROADCAST,SIMPLEX,MULTICAST>" in host.run("ovs-netdev").out
    successor = start_switch(host, "ovs-netdev")
    assert "busy" in successor.communicate()[1]
    assert host.run("ovs-netdev", "destroy").status == 0
    assert host.run("-l").out == "lo0\n"


def test_a_tap_that_is_not_promiscuous_drops_unicast_for_others(host: NetworkHost) -> None:
    host.run("tap", "create", "up")
    stack = host.kernel.jails.host.stack
    descriptor = host.kernel.interfaces.open_tap("tap0", os.getpid())
    mac = host.kernel.interfaces.find_tap("tap0").mac

    def listen() -> socket.socket:
        link = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
        link.bind(("tap0", 0x88B5))
        link.settimeout(0.3)
        return link

    reader = stack.run(listen)

    def arrives(target: str) -> bool:
        os.write(descriptor, bytes.fromhex(target.replace(":", "") + "02aabbccddee88b5") + bytes(50))
        try:
            return bool(reader.recv(2000))
        except TimeoutError:
            return False

    assert [arrives(mac), arrives("ff:ff:ff:ff:ff:ff"), arrives("02:11:22:33:44:55")] == [True, True, False]
    host.run("tap0", "promisc")
    host.run("tap0")
    assert arrives("02:11:22:33:44:55")
    reader.close()
    os.close(descriptor)


def test_checksums_are_left_uncomputed_until_txcsum_is_off(host: NetworkHost) -> None:
    host.add_jail("j")
    host.run("epair", "create")
    host.run("epair0b", "vnet", "j")
    host.run("epair0a", "inet", "10.0.0.1/24")
    host.run("-j", "j", "epair0b", "inet", "10.0.0.2/24")
    inside, outside = host.kernel.jails.get("j").stack, host.kernel.jails.host.stack

    def listen() -> socket.socket:
        link = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
        link.bind(("epair0a", 0x0800))
        link.settimeout(LIMIT)
        return link

    def is_right() -> bool:
        with outside.run(listen) as reader, inside.run(socket.socket, socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.sendto(b"even", ("10.0.0.1", 6000))
            frame = reader.recv(2000)
            while frame[23] != socket.IPPROTO_UDP:
                frame = reader.recv(2000)
        segment = frame[34 : 14 + int.from_bytes(frame[16:18], "big")]
        data = frame[26:34] + b"\0\x11" + len(segment).to_bytes(2, "big") + segment
        total = sum(int.from_bytes(data[at : at + 2], "big") for at in range(0, len(data), 2))
        return total % 0xFFFF == 0

    assert not is_right()
    host.run("epair0a", "-txcsum", "-txcsum6")
    assert is_right()


def test_the_halves_of_an_epair_go_together_even_from_afar(host: NetworkHost) -> None:
    host.add_jail("j")
    host.run("epair", "create")
    host.run("epair0b", "vnet", "j")
    assert host.run("-j", "j", "-l").out == "lo0 epair0b\n"
    host.run("epair0a", "destroy")
    assert host.run("-j", "j", "-l").out == "lo0\n"


def test_moving_loses_addresses_groups_and_bridge_and_keeps_the_rest(host: NetworkHost) -> None:
    host.add_jail("j")
    host.run("epair", "create")
    host.run("epair0b", "descr", "long text " * 30, "mtu", "1400", "group", "mine", "inet", "10.0.0.1/24")
    before = host.kernel.interfaces.get(host.kernel.jails.host, "epair0b")
    mac, index = before.mac, before.index
    assert host.run("epair0b", "vnet", "j").status == 0
    inside = host.run("-j", "j", "epair0b").out
    assert f"\tether {mac}\n" in inside and "mtu 1400" in inside and "description: long text" in inside
    assert "inet 10" not in inside and "groups: epair\n" in inside and "UP," not in inside.replace("LOWER_UP", "")
    assert before.index == index
    host.run("bridge", "create")
    host.run("bridge0", "addm", "epair0a")
    host.run("epair0a", "vnet", "j")
    assert "member:" not in host.run("bridge0").out


def test_a_name_that_is_there_is_refused_on_entering_and_doubled_on_return(host: NetworkHost) -> None:
    host.add_jail("j")
    host.run("epair", "create")
    host.run("epair", "create")
    host.run("epair0b", "vnet", "j")
    host.run("epair1b", "name", "epair0b")
    assert host.run("epair0b", "vnet", "j").err == "ifconfig: SIOCSIFVNET: File exists\n"
    host.kernel.jails.remove(host.kernel.jails.get("j"))
    wait_until(lambda: host.run("-l").out.split().count("epair0b") == 2)
    host.run("epair0b", "mtu", "1300")
    assert [line.split()[-1] for line in host.run("epair0b").out.splitlines() if "mtu" in line] == ["1300", "1500"]


def test_what_a_jail_made_dies_with_it(host: NetworkHost) -> None:
    host.add_jail("j")
    assert host.run("-j", "j", "epair", "create").out == "epair0a\n"
    host.run("-j", "j", "tap", "create")
    host.kernel.jails.remove(host.kernel.jails.get("j"))
    wait_until(lambda: host.run("-j", "j", "-l").status == 1)
    assert host.run("-l").out == "lo0\n"
    assert host.run("tap", "create").out == "tap0\n"


def test_units_are_counted_as_the_cloners_do(host: NetworkHost) -> None:
    host.add_jail("j")
    host.run("tap", "create", "name", "x")
    assert host.run("-j", "j", "tap", "create").out == "tap1\n"
    host.run("bridge", "create", "name", "y")
    assert host.run("bridge", "create").out == "bridge1\n"
    assert host.run("-j", "j", "bridge", "create").out == "bridge0\n"


def test_members_have_no_addresses_and_the_bridge_sets_their_mtu(host: NetworkHost) -> None:
    host.run("epair", "create")
    host.run("epair", "create")
    host.run("bridge", "create")
    host.run("epair0a", "mtu", "1400")
    host.run("bridge0", "addm", "epair0a", "addm", "epair1a")
    assert "mtu 1400" in host.run("bridge0").out and "mtu 1400" in host.run("epair1a").out
    assert host.run("epair1a", "mtu", "1400").err == "ifconfig: ioctl SIOCSIFMTU (set mtu): Operation not supported\n"
    assert host.run("epair1a", "inet", "10.0.0.1/24").err == "ifconfig: ioctl (SIOCAIFADDR): Invalid argument\n"
    host.run("epair0b", "inet", "10.0.0.1/24")
    assert host.run("bridge0", "addm", "epair0b").err == "ifconfig: BRDGADD epair0b: Invalid argument\n"
    host.kernel.sysctls.write("net.link.bridge.member_ifaddrs", 1)
    assert host.run("bridge0", "addm", "epair0b").status == 0


def test_a_bridge_levels_the_checksums_of_its_members(host: NetworkHost) -> None:
    for cloner in ("epair", "epair", "bridge", "tap"):
        host.run(cloner, "create")
    host.run("bridge0", "addm", "epair0a", "addm", "tap0")
    assert "options=200009<RXCSUM,VLAN_MTU,RXCSUM_IPV6>" in host.run("epair0b").out
    host.run("bridge0", "deletem", "tap0")
    assert "options=60000b<" in host.run("epair0b").out
    host.run("epair1a", "-txcsum", "-txcsum6")
    host.run("bridge0", "addm", "epair1a")
    assert "options=200009<" in host.run("epair0a").out


def test_frames_cross_vlans(host: NetworkHost) -> None:
    host.add_jail("j")
    host.run("epair", "create")
    host.run("epair0b", "vnet", "j")
    host.run("epair0a", "up")
    host.run("-j", "j", "epair0b", "up")
    host.run("vlan", "create", "vlan", "7", "vlandev", "epair0a", "inet", "10.7.0.1/24")
    host.run("-j", "j", "epair0b.7", "create", "inet", "10.7.0.2/24")

    def answers() -> bool:
        command = ["ping", "-c1", "-W1", "10.7.0.2"]
        return host.kernel.jails.host.stack.run(lambda: subprocess.run(command, capture_output=True).returncode) == 0

    wait_until(answers)
    host.run("epair0a", "destroy")
    assert "parent interface: <none>" in host.run("vlan0").out


def test_a_vxlan_without_remote_or_with_a_taken_vni_is_up_and_not_running(host: NetworkHost) -> None:
    words = ["vxlanid", "108", "vxlanlocal", "192.0.2.1", "vxlanremote", "192.0.2.2"]
    assert host.run("vxlan", "create", *words, "up").out == "vxlan0\n"
    assert "RUNNING" in host.run("vxlan0").out and "mtu 1450" in host.run("vxlan0").out
    assert host.run("vxlan", "create", *words, "up").status == 0
    assert "RUNNING" not in host.run("vxlan1").out and "<UP," in host.run("vxlan1").out
    host.run("vxlan", "create", "vxlanid", "5", "up")
    assert "RUNNING" not in host.run("vxlan2").out and "mtu 1470" in host.run("vxlan2").out


def test_a_loaded_ipfw_lets_nothing_through_until_it_is_switched_off(host: NetworkHost) -> None:
    modules, sysctls, cell = host.kernel.modules, host.kernel.sysctls, host.add_jail("cell")
    host.run("epair", "create")
    host.run("epair0b", "vnet", "cell")
    host.run("epair0a", "inet", "192.0.2.1/24", "up")
    host.run("epair0b", "inet", "192.0.2.2/24", "up", jail=cell)

    def send() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.sendto(b"any", ("192.0.2.1", 9))

    cell.stack.run(send)
    loaded = modules.load("ipfw")
    for jail in (cell, host.add_jail("late")):
        assert sysctls.read_int("net.inet.ip.fw.enable", jail) == 1
    with pytest.raises(PermissionError):
        cell.stack.run(send)
    sysctls.write("net.inet.ip.fw.enable", 0, cell)
    cell.stack.run(send)
    sysctls.write("net.inet.ip.fw.enable", 1, cell)
    with pytest.raises(PermissionError):
        cell.stack.run(send)
    sysctls.write("net.inet.ip.fw.enable", 0, cell)
    modules.unload(loaded)
    cell.stack.run(send)
    sysctls.environment["net.inet.ip.fw.default_to_accept"] = "1"
    modules.load("ipfw")
    # The module's own variables begin anew with it.
    assert sysctls.read_int("net.inet.ip.fw.enable", cell) == 1
    cell.stack.run(send)
