"""Open vSwitch in simulated hosts: the data plane of a network node, and what goes wrong with it on FreeBSD."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from conftest import Simulator

LIMIT = 20.0  # seconds

PREPARE = """\
set -e
export OVS_RUNDIR=/var/run/openvswitch
service ovsdb-server onestart
service ovs-vswitchd onestart
ovs-vsctl --no-wait init
ovs-vsctl add-br br-int -- set bridge br-int datapath_type=netdev
"""
# A jail with an address, behind a port of br-int.
PLUG = """\
set -e
jail -c name=$0 path=/ vnet persist host=inherit allow.raw_sockets
a=$(ifconfig epair create)
b=${a%a}b
ifconfig $a -txcsum -txcsum6
ifconfig $a name p-$0 mtu 1450 up
ovs-vsctl add-port br-int p-$0
ifconfig $b name t-$0 mtu 1450
ifconfig t-$0 vnet $0
jexec $0 ifconfig lo0 inet 127.0.0.1/8 up
jexec $0 ifconfig t-$0 inet $1/24 alias
jexec $0 ifconfig t-$0 inet6 $2/64 no_dad alias
"""
UNDERLAY = """\
set -e
ovs-vsctl add-br br-und -- set bridge br-und datapath_type=netdev
ovs-vsctl add-br br-tun -- set bridge br-tun datapath_type=netdev
ifconfig em0 up
ovs-vsctl add-port br-und em0
ifconfig br-und inet $0/24 alias
ovs-vsctl add-port br-int to-tun -- set interface to-tun type=patch options:peer=to-int
ovs-vsctl add-port br-tun to-int -- set interface to-int type=patch options:peer=to-tun
ovs-vsctl add-port br-tun vx -- set interface vx type=vxlan options:local_ip=$0 options:remote_ip=$1 options:key=7
"""
SERVE = """\
import socket
with socket.create_server(("0.0.0.0", 5001)) as server:
    connection, _ = server.accept()
    print(sum(iter(lambda: len(connection.recv(65536)), 0)))
"""
SEND = """\
import socket, sys
with socket.create_connection((sys.argv[1], 5001), 10) as connection:
    for _ in range(160):
        connection.sendall(bytes(65536))
"""
# What a guest does with a tap: opens it, says something, keeps it open for a moment.
GUEST = """\
import os, sys, time
tap = os.open("/dev/" + sys.argv[1], os.O_RDWR)
os.system("ifconfig " + sys.argv[1] + " up")
time.sleep(0.3)
os.write(tap, b"\\xff" * 6 + bytes.fromhex(sys.argv[2].replace(":", "")) + b"\\x88\\xb5" + bytes(60))
time.sleep(0.5)
"""
# Checks UDP datagrams to port 9999 as they come off the wire.
CHECK = """\
import json, socket, struct
raw = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0800))
raw.settimeout(15)
print("ready", flush=True)
while True:
    frame = raw.recv(4096)
    packet = frame[14:]
    if packet[9] == 17 and packet[22:24] == struct.pack("!H", 9999):
        break
length = struct.unpack("!H", packet[24:26])[0]
data = packet[12:20] + struct.pack("!HH", 17, length) + packet[20 : 20 + length] + b"\\0" * (length % 2)
total = sum(struct.unpack(f"!{len(data) // 2}H", data))
while total >> 16:
    total = (total & 0xFFFF) + (total >> 16)
print(json.dumps(total == 0xFFFF))
"""

Run = Callable[..., Any]


def in_host(simulator: Simulator, name: str, script: str, *arguments: str) -> str:
    """Run a shell script in a host and return what it printed; fail the test when it fails."""
    done = simulator.run("run", "--name", name, "/bin/sh", "-c", script, *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def pings(simulator: Simulator, name: str, jail: str, target: str, *options: str, limit: float = LIMIT) -> bool:
    """Tell whether a jail reaches an address within a time."""
    deadline = time.monotonic() + limit
    while True:
        words = ["ping", *options, "-q", "-c", "1", "-t", "1", target]
        if simulator.run("run", "--name", name, "--jail", jail, *words).returncode == 0:
            return True
        if time.monotonic() > deadline:
            return False


@pytest.fixture(scope="module")
def node(simulator: Simulator) -> Iterator[Run]:
    """A host with a switch and two jails on it; a function that runs shell scripts there."""
    simulator.start("node")
    in_host(simulator, "node", PREPARE)
    for number, jail in enumerate(("one", "two"), 1):
        in_host(simulator, "node", PLUG, jail, f"10.9.0.{number}", f"fd00:9::{number}")
    yield lambda script, *arguments: in_host(simulator, "node", script, *arguments)
    simulator.run("remove", "--name", "node")


def remake(node: Run) -> None:
    """Destroy the epair of jail one and make it again under the same names."""
    node(
        "set -e; ifconfig p-one destroy; a=$(ifconfig epair create); ifconfig $a -txcsum -txcsum6;"
        " ifconfig $a name p-one mtu 1450 up; ifconfig ${a%a}b name t-one; ifconfig t-one mtu 1450 vnet one;"
        " jexec one ifconfig t-one inet 10.9.0.1/24 alias; jexec one ifconfig t-one inet6 fd00:9::1/64 no_dad alias"
    )


def test_jails_reach_each_other_through_the_switch(simulator: Simulator, node: Run) -> None:
    assert pings(simulator, "node", "one", "10.9.0.2")
    assert pings(simulator, "node", "one", "fd00:9::2", "-6")
    assert pings(simulator, "node", "one", "10.9.0.2", "-D", "-s", "1422")
    done = node(
        "jexec two python3.11 -c \"$0\" & for i in 1 2 3 4 5 6 7 8 9; do"
        " jexec one python3.11 -c \"$1\" 10.9.0.2 2>/dev/null && break; sleep 0.2; done; wait", SERVE, SEND,
    )  # fmt: skip
    assert int(done) == 160 * 65536
    assert node("ifconfig br-int").startswith("br-int: flags=1028943<UP,")


def test_the_switch_says_what_freebsds_build_can(node: Run) -> None:
    kinds = node("ovs-vsctl get Open_vSwitch . iface_types")
    assert "internal" in kinds and "vxlan" in kinds and "afxdp" not in kinds and "dpdk" not in kinds
    assert node("ovs-vsctl get Open_vSwitch . datapath_types") == "[netdev]\n"
    refused = node("ovs-vsctl add-br br-sys 2>&1; ifconfig br-sys 2>&1 || true; ovs-vsctl del-br br-sys")
    assert "Error detected while setting up 'br-sys'" in refused and "br-sys does not exist" in refused


def test_an_epair_that_is_made_again_is_dead_until_its_port_is_made_again(simulator: Simulator, node: Run) -> None:
    assert pings(simulator, "node", "one", "10.9.0.2")
    remake(node)
    assert not pings(simulator, "node", "one", "10.9.0.2", limit=2)
    assert "PROMISC" not in node("ifconfig p-one")
    # Nothing is sent to it either.
    simulator.run("run", "--name", "node", "--jail", "two", "ping", "-q", "-c", "1", "-t", "1", "10.9.0.1")
    assert node("netstat -i -I p-one --libxo json").count('"sent-packets":0') == 1
    # One transaction leaves the switch's port as it is: it goes by the name.
    node("ovs-vsctl del-port p-one -- add-port br-int p-one")
    assert not pings(simulator, "node", "one", "10.9.0.2", limit=2)
    node("ovs-vsctl del-port p-one; ovs-vsctl add-port br-int p-one")
    assert pings(simulator, "node", "one", "10.9.0.2") and pings(simulator, "node", "two", "fd00:9::1", "-6")
    assert "PPROMISC" in node("ifconfig p-one")


def test_a_tap_that_is_made_again_is_dead_until_its_port_is_made_again(node: Run) -> None:
    def is_heard(mac: str) -> bool:
        node('python3.11 -c "$0" guest0 "$1"', GUEST, mac)
        return mac in node("ovs-appctl fdb/show br-int")

    node("ifconfig tap create name guest0; ovs-vsctl add-port br-int guest0")
    assert is_heard("02:00:00:00:09:01")
    node("ifconfig guest0 destroy; ifconfig tap create name guest0")
    assert not is_heard("02:00:00:00:09:02")
    node("ovs-vsctl del-port guest0; ovs-vsctl add-port br-int guest0")
    assert is_heard("02:00:00:00:09:03")
    node("ovs-vsctl del-port guest0; ifconfig guest0 destroy")


def test_frames_longer_than_the_capture_length_are_lost(simulator: Simulator, node: Run) -> None:
    node("for j in one two; do ifconfig p-$j mtu 9000; jexec $j ifconfig t-$j mtu 9000; done")
    assert pings(simulator, "node", "one", "10.9.0.2", "-s", "2000")
    assert not pings(simulator, "node", "one", "10.9.0.2", "-s", "2030", limit=1)
    node("for j in one two; do ifconfig p-$j mtu 1450; jexec $j ifconfig t-$j mtu 1450; done")


def test_the_switch_sets_no_mtu(node: Run) -> None:
    assert "mtu 1450" in node("ifconfig p-one") and "mtu 1500" in node("ifconfig br-int")
    node("ovs-vsctl set interface br-int mtu_request=1400; ovs-vsctl remove interface br-int mtu_request 1400")
    assert "mtu 1500" in node("ifconfig br-int")


@pytest.mark.parametrize("offload", [True, False])
def test_a_switch_sees_the_checksums_that_an_epair_does_not_compute(
    simulator: Simulator, node: Run, offload: bool
) -> None:
    sign = "" if offload else "-"
    node(f"jexec one ifconfig t-one {sign}txcsum {sign}txcsum6")
    assert ("TXCSUM" in node("ifconfig p-one")) is offload
    send = "import socket; socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'any', ('10.9.0.2', 9999))"
    results: list[str] = []

    def check() -> None:
        done = simulator.run("outside", "--name", "node", "--jail", "two", "python3", "-c", CHECK)
        results.append(done.stdout + done.stderr)

    thread = threading.Thread(target=check)
    thread.start()
    while thread.is_alive():
        node('jexec one python3.11 -c "$0"', send)
        thread.join(0.2)
    assert json.loads(results[0].splitlines()[-1]) is not offload, results


def test_taps_of_a_switch_outlive_it_and_stop_the_next(simulator: Simulator, node: Run) -> None:
    node("ifconfig br-int inet 10.8.0.1/24 alias")
    names = "ovs-netdev br-int"
    for end in ("service ovs-vswitchd onestop", "kill -9 $(cat /var/run/openvswitch/ovs-vswitchd.pid); sleep 0.5"):
        node(end)
        left = node("ifconfig br-int; ifconfig -l")
        assert "<UP," not in left and "inet " not in left and "no carrier" in left and "ovs-netdev" in left
        started = node("service ovs-vswitchd onestart 2>&1")
        assert "ovs-netdev: creating tap device failed: File exists" in started
        node("service ovs-vswitchd onestop")
        node(f"for i in {names}; do ifconfig $i destroy; done; service ovs-vswitchd onestart")
        assert pings(simulator, "node", "one", "10.9.0.2")
        assert "inet " not in node("ifconfig br-int")
    node("ovs-appctl -t ovs-vswitchd exit --cleanup; while pgrep -x ovs-vswitchd >/dev/null; do sleep 0.1; done")
    assert "ovs-netdev" not in node("ifconfig -l") and "br-int" not in node("ifconfig -l")
    node("service ovs-vswitchd onestart")
    assert pings(simulator, "node", "one", "10.9.0.2")


def test_jails_of_two_hosts_reach_each_other_by_vxlan(simulator: Simulator) -> None:
    try:
        for number, name in enumerate(("west", "east"), 1):
            simulator.start(name)
            assert simulator.run("link", "vxlan-test", f"{name}:em0").returncode == 0
            in_host(simulator, name, PREPARE)
            in_host(simulator, name, UNDERLAY, f"192.0.2.{number}", f"192.0.2.{3 - number}")
            in_host(simulator, name, PLUG, "cell", f"10.9.0.{number}", f"fd00:9::{number}")
        assert pings(simulator, "west", "cell", "10.9.0.2")
        assert pings(simulator, "east", "cell", "fd00:9::1", "-6")
        # A full packet of the inner network fits the outer one.
        assert pings(simulator, "west", "cell", "10.9.0.2", "-D", "-s", "1422")
    finally:
        simulator.run("unlink", "vxlan-test")
        for name in ("west", "east"):
            simulator.run("remove", "--name", name)
