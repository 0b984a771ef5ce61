"""The program that stands for a guest in cloud tests: its frames, and itself against dnsmasq."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

CLOUD = Path(__file__).resolve().parents[1] / "cloud"
sys.path.append(str(CLOUD))

from guest import dhcp4, dhcp6, forge, frames, router, sniff  # noqa: E402
from guest.link import GuestError  # noqa: E402

GUEST_MAC, SERVER_MAC = "fa:16:3e:00:00:01", "fa:16:3e:00:00:02"
GUEST_LOCAL, SERVER_LOCAL = "fe80::f816:3eff:fe00:1", "fe80::f816:3eff:fe00:2"

needs_namespaces = pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("dnsmasq") is None or shutil.which("unshare") is None,
    reason="makes network namespaces (root) and runs dnsmasq in one",
)


# Frames


def test_a_checksum_over_itself_is_zero() -> None:
    assert frames.compute_checksum(bytes.fromhex("0001f203f4f5f6f7")) == 0x220D  # RFC 1071, section 3
    assert frames.compute_checksum(bytes.fromhex("0001f203f4f5f6f7220d")) == 0


@pytest.mark.parametrize(("source", "target"), [("10.0.0.1", "10.0.0.2"), ("2001:db8::1", "2001:db8::2")])
def test_a_datagram_is_read_as_it_was_built(source: str, target: str) -> None:
    kind = frames.ETH_IP6 if ":" in source else frames.ETH_IP
    data = frames.build_ethernet(SERVER_MAC, GUEST_MAC, kind, frames.build_udp(source, 1, target, 2, b"x"))
    frame = frames.parse_frame(data)
    assert (frame.source, frame.target, frame.source_port, frame.target_port) == (source, target, 1, 2)
    assert (frame.payload, frame.is_sound) == (b"x", True)
    spoiled = data[: -len(data) + 54] + bytes((data[54] ^ 1,)) + data[55:] if ":" in source else data[:42] + b"y"
    assert not frames.parse_frame(spoiled.ljust(60, b"\0")).is_sound


def test_a_frame_that_is_cut_short_is_refused() -> None:
    data = frames.build_ethernet(SERVER_MAC, GUEST_MAC, frames.ETH_IP, b"\x45\0")
    with pytest.raises(frames.FrameError):
        frames.parse_frame(data[:17])


def test_an_address_made_of_a_mac() -> None:
    assert frames.link_local(GUEST_MAC) == GUEST_LOCAL
    assert frames.link_local(GUEST_MAC, "2001:db8:9::/64") == "2001:db8:9:0:f816:3eff:fe00:1"


def test_classless_routes() -> None:
    value = bytes.fromhex("20a9fea9fe0a090002000a09000111c0a8800a090001")
    assert dhcp4.parse_routes(value) == [
        ("169.254.169.254/32", "10.9.0.2"), ("0.0.0.0/0", "10.9.0.1"), ("192.168.128.0/17", "10.9.0.1"),
    ]  # fmt: skip


def test_domain_names_refer_to_earlier_ones() -> None:
    value = b"\x03eng\x05apple\x03com\x00\x09marketing\xc0\x04"  # RFC 3397, section 2
    assert dhcp4.parse_names(value) == ["eng.apple.com", "marketing.apple.com"]
    with pytest.raises(GuestError):
        dhcp4.parse_names(b"\x01a\xc0\x02")


def reply(kind: int, number: int) -> bytes:
    asked = dhcp4.build_message(kind, GUEST_MAC, number, {dhcp4.SERVER: bytes((10, 0, 0, 1))})
    return b"\x02" + asked[1:]


def test_a_reply_to_somebody_else_is_not_ours() -> None:
    packet = frames.build_udp("10.0.0.1", 67, "10.0.0.2", 68, reply(dhcp4.OFFER, 7))
    frame = frames.parse_frame(frames.build_ethernet(GUEST_MAC, SERVER_MAC, frames.ETH_IP, packet))
    assert dhcp4.parse_reply(frame, GUEST_MAC, 8) is None
    assert dhcp4.parse_reply(frame, SERVER_MAC, 7) is None
    ours = dhcp4.parse_reply(frame, GUEST_MAC, 7)
    assert ours is not None and (ours.kind, ours.server, ours.server_mac) == (dhcp4.OFFER, "10.0.0.1", SERVER_MAC)


def test_dhcpv6_that_gives_no_address_says_why() -> None:
    none = dhcp6.build_option(dhcp6.STATUS, b"\0\x02no addresses available")
    answer = dhcp6.Reply(dhcp6.ADVERTISE, [(dhcp6.IA_NA, bytes(12) + none)], "fe80::1", SERVER_MAC)
    with pytest.raises(GuestError, match="status 2 from fe80::1: no addresses available"):
        answer.addresses()


@pytest.mark.parametrize("kind", forge.KINDS)
def test_forged_frames_are_sound_but_for_their_lie(kind: str) -> None:
    build, is_ip6, target, target_mac = forge.KINDS[kind]
    source = SERVER_LOCAL if is_ip6 else "10.0.0.1"
    frame = frames.parse_frame(build(forge.Lie(GUEST_MAC, source, target_mac, target)))
    assert frame.is_sound and frame.source == source and frame.source_mac == GUEST_MAC
    assert sniff.matches(frame, ["forged" if kind[:2] in ("ma", "ip") else kind, f"from-ip={source}"])


def test_a_forged_router_is_read_like_a_true_one() -> None:
    build, _, target, target_mac = forge.KINDS["ra"]
    said = router.parse_advertisement(frames.parse_frame(build(forge.Lie(GUEST_MAC, SERVER_LOCAL, target_mac, target))))
    assert said is not None
    assert (said["router"], said["router_mac"], said["lifetime"]) == (SERVER_LOCAL, GUEST_MAC, 1800)
    assert (said["managed"], said["prefixes"][0]["prefix"]) == (False, "2001:db8:bad::/64")


# The program


DNSMASQ = (
    "--keep-in-foreground", "--conf-file=/dev/null", "--no-resolv", "--no-hosts", "--user=root", "--pid-file=",
    "--interface=server0", "--bind-interfaces", "--dhcp-authoritative", "--no-ping", "--domain=example.test",
    "--local=/example.test/",
    f"--dhcp-host={GUEST_MAC},web,10.9.0.15,[2001:db8:9::15]",
    "--dhcp-range=10.9.0.0,static,255.255.255.0,600",
    "--dhcp-option=option:mtu,1400", "--dhcp-option=option:dns-server,10.9.0.3",
    "--dhcp-option=option:classless-static-route,169.254.169.254/32,10.9.0.2,0.0.0.0/0,10.9.0.1",
    "--dhcp-range=2001:db8:9::10,2001:db8:9::20,slaac,64,600", "--enable-ra", "--ra-param=server0,mtu:1400,0,1800",
    "--dhcp-option=option6:dns-server,[2001:db8:9::3]",
)  # fmt: skip

# SIOCETHTOOL with ETHTOOL_STXCSUM (linux/ethtool.h): argv is the interface, and 0 or 1.
SET_TXCSUM = """
import array, fcntl, socket, struct, sys
value = array.array("I", [0x17, int(sys.argv[2])])
request = struct.pack("16sP16x", sys.argv[1].encode(), value.buffer_info()[0])
fcntl.ioctl(socket.socket(socket.AF_INET, socket.SOCK_DGRAM), 0x8946, request)
"""

SERVE_HTTP = """
import http.server, socket, sys
class Server(http.server.HTTPServer):
    address_family = socket.AF_INET6
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = f"{self.headers['Host']} {self.headers['X-Asked']} {self.client_address[0]}".encode()
        self.send_response(200 if self.path == "/there" else 404)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *_):
        pass
server = Server(("fe80::a9fe:a9fe", 80, 0, socket.if_nametoindex("server0")), Handler)
print("ready", file=sys.stderr, flush=True)
server.serve_forever()
"""


@dataclass
class Place:
    """A network namespace, held by a process that sleeps."""

    holder: subprocess.Popen[bytes]

    @classmethod
    def create(cls) -> Place:
        holder = subprocess.Popen(["unshare", "--net", "sleep", "600"])
        own = os.readlink("/proc/self/ns/net")
        deadline = time.monotonic() + 10
        while os.readlink(f"/proc/{holder.pid}/ns/net") == own:
            assert holder.poll() is None and time.monotonic() < deadline, "no network namespace"
            time.sleep(0.01)
        return cls(holder)

    def inside(self, *argv: str) -> list[str]:
        return ["nsenter", f"--net=/proc/{self.holder.pid}/ns/net", *argv]

    def run(self, *argv: str) -> str:
        return subprocess.run(self.inside(*argv), check=True, capture_output=True, text=True).stdout

    def start(self, *argv: str) -> subprocess.Popen[str]:
        """Start a program and wait until it says that it is ready."""
        started = subprocess.Popen(
            self.inside(*argv), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )  # fmt: skip
        assert started.stderr is not None
        line = started.stderr.readline()
        assert line == "ready\n", line + started.stderr.read()
        return started

    def guest(self, *arguments: str, status: int = 0) -> Any:
        argv = self.inside(sys.executable, str(CLOUD / "network_guest.py"), *arguments)
        done = subprocess.run(argv, capture_output=True, text=True, timeout=60)
        assert done.returncode == status, done.stdout + done.stderr
        return json.loads(done.stdout)

    def start_guest(self, *arguments: str) -> subprocess.Popen[str]:
        return self.start(sys.executable, str(CLOUD / "network_guest.py"), *arguments)


def finish(started: subprocess.Popen[str], number: int | None = signal.SIGTERM) -> Any:
    """End a program, or wait for its end, and return what it says."""
    if number is not None:
        started.send_signal(number)
    said, complaint = started.communicate(timeout=20)
    assert said, complaint
    return json.loads(said)


@dataclass
class Pair:
    """A guest and a server on one wire."""

    guest: Place
    server: Place
    leases: Path

    def set_txcsum(self, on: bool) -> None:
        self.server.run(sys.executable, "-c", SET_TXCSUM, "server0", str(int(on)))


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    places = [Place.create(), Place.create()]
    guest, server = places
    leases = tmp_path_factory.mktemp("dnsmasq") / "leases"
    dnsmasq = None
    try:
        subprocess.run(
            ["ip", "link", "add", "guest0", "address", GUEST_MAC, "netns", str(guest.holder.pid), "type", "veth",
             "peer", "name", "server0", "address", SERVER_MAC, "netns", str(server.holder.pid)], check=True,
        )  # fmt: skip
        made = Pair(guest, server, leases)
        made.set_txcsum(False)
        server.run("ip", "link", "set", "lo", "up")
        server.run("ip", "link", "set", "server0", "up")
        for address in ("10.9.0.1/24", "2001:db8:9::1/64", "fe80::a9fe:a9fe/64"):
            server.run("ip", "address", "add", address, "dev", "server0", *(["nodad"] if ":" in address else []))
        argv = server.inside("dnsmasq", *DNSMASQ, f"--dhcp-leasefile={leases}")
        dnsmasq = subprocess.Popen(argv, stderr=subprocess.DEVNULL)
        yield made
    finally:
        for process in (dnsmasq, *(place.holder for place in places)):
            if process is not None:
                process.kill()
                process.wait()


@needs_namespaces
def test_a_lease_is_obtained_and_set(pair: Pair) -> None:
    lease = pair.guest.guest("dhcp4", "guest0", "--hostname", "web")
    assert (lease["address"], lease["prefix"], lease["mtu"]) == ("10.9.0.15", 24, 1400)
    assert lease["routes"] == [["169.254.169.254/32", "10.9.0.2"], ["0.0.0.0/0", "10.9.0.1"]]
    assert (lease["dns"], lease["domain"], lease["hostname"]) == (["10.9.0.3"], "example.test", "web")
    assert (lease["server"], lease["server_mac"], lease["lease"]) == ("10.9.0.1", SERVER_MAC, 600)
    assert lease["mac"] == GUEST_MAC and lease["sent"][-1] == "REQUEST"
    assert "169.254.169.254 via 10.9.0.2" in pair.guest.run("ip", "route")
    assert "default via 10.9.0.1" in pair.guest.run("ip", "route")
    assert json.loads(pair.guest.run("ip", "-j", "link", "show", "guest0"))[0]["mtu"] == 1400
    said = pair.guest.guest("resolve", "web.example.test", "--server", "10.9.0.1")
    assert "10.9.0.15" in said["addresses"]
    assert pair.guest.guest("resolve", "nobody.example.test", "--server", "10.9.0.1")["addresses"] == []
    again = pair.guest.guest("dhcp4", "guest0", "--request", "10.9.0.15")
    assert (again["address"], again["sent"]) == ("10.9.0.15", ["REQUEST"])
    assert pair.guest.guest("ping", "guest0", "10.9.0.1", "--count", "1")["received"] == 1


@needs_namespaces
def test_a_lease_is_given_back(pair: Pair) -> None:
    pair.guest.guest("dhcp4", "guest0")
    assert GUEST_MAC in pair.leases.read_text()
    pair.guest.guest("dhcp4", "guest0", "--release")
    deadline = time.monotonic() + 5
    while GUEST_MAC in pair.leases.read_text():
        assert time.monotonic() < deadline, "the server still has the lease"
        time.sleep(0.05)
    assert "inet " not in pair.guest.run("ip", "-4", "address", "show", "guest0")


@needs_namespaces
def test_an_address_of_another_network_is_refused(pair: Pair) -> None:
    said = pair.guest.guest("dhcp4", "guest0", "--request", "10.8.0.15", status=1)
    assert "DHCP REQUEST refused by 10.9.0.1" in said["error"]


@needs_namespaces
def test_a_checksum_that_was_never_computed_is_an_error(pair: Pair) -> None:
    pair.set_txcsum(True)
    try:
        said = pair.guest.guest("dhcp4", "guest0", status=1)
        assert said["error"] == f"bad checksum in DHCP OFFER from 10.9.0.1 ({SERVER_MAC})"
    finally:
        pair.set_txcsum(False)


@needs_namespaces
def test_a_router_is_heard_and_addresses_are_made(pair: Pair) -> None:
    said = pair.guest.guest("ipv6", "guest0", "--hostname", "web")
    assert said["link_local"] == GUEST_LOCAL
    heard = said["router"]
    assert (heard["managed"], heard["other"], heard["mtu"], heard["lifetime"]) == (True, True, 1400, 1800)
    assert [(item["prefix"], item["autonomous"]) for item in heard["prefixes"]] == [("2001:db8:9::/64", True)]
    found = {item["by"]: (item["address"], item["prefix"]) for item in said["addresses"]}
    assert found == {"slaac": ("2001:db8:9:0:f816:3eff:fe00:1", 64), "dhcp": ("2001:db8:9::15", 128)}
    assert (said["dhcp"]["dns"], said["dhcp"]["fqdn"]) == (["2001:db8:9::3"], "web.example.test")
    assert said["sent"] == ["SOLICIT", "REQUEST"]
    assert pair.guest.guest("ping", "guest0", "2001:db8:9::1", "--count", "1")["received"] == 1
    assert "default via fe80::" in pair.guest.run("ip", "-6", "route")
    asked = pair.guest.guest("ipv6", "guest0", "--mode", "stateless", "--look-only")
    assert asked["sent"] == ["INFORMATION-REQUEST"] and asked["dhcp"]["dns"] == ["2001:db8:9::3"]
    assert pair.guest.guest("ipv6", "guest0", "--release")["sent"] == ["SOLICIT", "REQUEST", "RELEASE"]


@needs_namespaces
def test_an_outage_is_measured(pair: Pair, tmp_path: Path) -> None:
    pair.guest.guest("dhcp4", "guest0")
    pings = pair.guest.start_guest("ping", "guest0", "10.9.0.1", "--watch", str(tmp_path / "replies"))
    time.sleep(0.4)
    pair.server.run("ip", "link", "set", "server0", "down")
    time.sleep(0.6)
    pair.server.run("ip", "link", "set", "server0", "up")
    time.sleep(1)
    said = finish(pings)
    assert said["ok"] and 0.5 < said["longest_gap"] < 1.8
    assert len((tmp_path / "replies").read_text().splitlines()) == said["received"]


@needs_namespaces
def test_nobody_answers_and_large_requests_are_not_cut(pair: Pair) -> None:
    pair.guest.guest("dhcp4", "guest0")
    said = pair.guest.guest("ping", "guest0", "10.9.0.99", "--count", "2", "--interval", "0.1", status=1)
    assert (said["sent"], said["received"], said["ok"]) == (2, 0, False)
    large = ("ping", "guest0", "10.9.0.1", "--count", "1", "--whole", "--size")
    assert pair.guest.guest(*large, "1372")["received"] == 1
    assert pair.guest.guest(*large, "1373", status=1)["errors"] == {"EMSGSIZE": 1}


@needs_namespaces
def test_a_link_local_server_is_asked(pair: Pair) -> None:
    pair.guest.run("ip", "link", "set", "guest0", "up")
    pair.server.run("ip", "address", "replace", "fe80::a9fe:a9fe/64", "dev", "server0", "nodad")
    server = pair.server.start(sys.executable, "-c", SERVE_HTTP)
    try:
        url = "http://[fe80::a9fe:a9fe%guest0]/there"
        said = pair.guest.guest("get", url, "--interface", "guest0", "--header", "X-Asked=yes",
                                "--host-address", f"{GUEST_LOCAL}%guest0")  # fmt: skip
        assert (said["status"], said["body"]) == (200, f"[fe80::a9fe:a9fe] yes {GUEST_LOCAL}")
        assert pair.guest.guest("get", url.replace("there", "not"))["status"] == 404
        assert "ConnectionRefusedError" in pair.guest.guest("get", url.replace("]/", "]:81/"), status=1)["error"]
    finally:
        server.kill()
        server.communicate()


@needs_namespaces
@pytest.mark.parametrize("kind", ["mac", "ip6", "arp", "dhcp-server", "ra"])
def test_what_is_forged_is_counted(pair: Pair, kind: str) -> None:
    source = SERVER_LOCAL if kind in ("ip6", "ra") else "10.9.0.77"
    wanted = "forged" if kind in ("mac", "ip6") else kind
    sniffer = pair.server.start_guest("sniff", "server0", "--filter", wanted, "--filter", f"from-ip={source}",
                                      "--enough", "2")  # fmt: skip
    sent = pair.guest.guest("spoof", "guest0", "--kind", kind, "--source-ip", source, "--count", "2")
    said = finish(sniffer, None)
    assert (said["count"], said["bad_checksums"]) == (2, 0)
    assert said["frames"][0]["from_mac"] == sent["source_mac"]
    assert (sent["source_mac"] == GUEST_MAC) is (kind != "mac")


@needs_namespaces
def test_streams_are_carried_and_their_end_is_said(pair: Pair) -> None:
    pair.guest.guest("dhcp4", "guest0")
    server = pair.server.start_guest("tcp-serve", "10.9.0.1", "7")
    sent = pair.guest.guest("tcp-connect", "10.9.0.1", "7", "--bytes", "200000")
    assert sent["bytes"] == 200000 and sent["bits_per_second"] > 0
    assert pair.guest.guest("tcp-connect", "10.9.0.1", "8", status=1)["error"] == "refused"
    lives = pair.guest.start_guest("tcp-hold", "10.9.0.1", "7")
    breaks = pair.guest.start_guest("tcp-hold", "10.9.0.1", "7", "--patience", "1")
    time.sleep(0.5)
    alive = finish(lives)
    assert alive["ok"] and alive["reason"] is None and alive["received"] >= 2
    pair.server.run("ip", "link", "set", "server0", "down")
    cut = time.time()
    broken = finish(breaks, None)
    pair.server.run("ip", "link", "set", "server0", "up")
    assert not broken["ok"] and broken["reason"] in ("silent", "EHOSTUNREACH")
    assert abs(broken["broke_at"] - cut) < 0.5
    assert finish(server)["connections"] == 3


@needs_namespaces
def test_datagrams_are_carried_and_their_end_is_said(pair: Pair) -> None:
    pair.guest.guest("dhcp4", "guest0")
    server = pair.server.start_guest("udp-serve", "10.9.0.1", "7")
    hold = pair.guest.start_guest("udp-hold", "10.9.0.1", "7", "--patience", "1")
    time.sleep(0.5)
    assert finish(server)["datagrams"] >= 2
    said = finish(hold, None)
    assert (said["ok"], said["reason"]) == (False, "refused")
