"""The program that gives addresses back to a DHCP server, byte for byte."""

from __future__ import annotations

import ipaddress
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from beastack.port.neutron import dhcp_release

PROGRAM = Path(dhcp_release.__file__)
MAC = "fa:16:3e:00:00:01"


def test_a_release_names_the_lease_and_the_server() -> None:
    message = dhcp_release.make_release("10.0.0.5", MAC, "10.0.0.2", None, 0x01020304)
    assert message[:8] == bytes((1, 1, 6, 0, 1, 2, 3, 4))
    assert message[12:16] == ipaddress.ip_address("10.0.0.5").packed  # ciaddr
    assert message[16:28] == bytes(12)
    assert message[28:44] == bytes.fromhex("fa163e000001").ljust(16, b"\0")
    assert message[236:] == bytes((99, 130, 83, 99, 53, 1, 7, 54, 4, 10, 0, 0, 2, 255))


def test_a_release_with_the_clients_own_identifier() -> None:
    assert dhcp_release.make_release("10.0.0.5", MAC, "10.0.0.2", "ff:01:0a", 1)[-6:] == b"\x3d\x03\xff\x01\x0a\xff"
    assert dhcp_release.make_release("10.0.0.5", MAC, "10.0.0.2", "text", 1)[-7:] == b"\x3d\x04text\xff"


def test_a_release_of_dhcpv6() -> None:
    message = dhcp_release.make_release_6("2001:db8::5", "00:03", "00:01:02", "4711", 0xABCDEF)
    address = ipaddress.ip_address("2001:db8::5").packed
    assert message == (
        bytes.fromhex("08abcdef" + "00010002" + "0003" + "00020003" + "000102" + "00080002" + "0000")
        + bytes.fromhex("00030028" + "00001267" + "00" * 8 + "00050018") + address + bytes(8)
    )  # fmt: skip


def test_a_temporary_address_is_released_as_such() -> None:
    message = dhcp_release.make_release_6("2001:db8::5", "00:03", "00:01:02", "T1", 1)
    assert bytes.fromhex("00040020" + "00000001" + "00050018") in message


@pytest.mark.parametrize("words", [[], ["4"], ["4", "10.0.0.0/24"], ["6", "tap0", "2001:db8::5"], ["5", "a", "b", "c"]])
def test_wrong_arguments(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert dhcp_release.main(words) == 2
    assert "Usage" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words",
    [
        ["4", "no subnet", "10.0.0.5", MAC],
        ["4", "10.0.0.0/24", "10.0.0.5", "no MAC"],
        ["6", "no-interface", "2001:db8::5", "00:03", "00:01", "1"],
    ],
)
def test_what_cannot_be_sent_is_one_line(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert dhcp_release.main(words) == 1
    assert capsys.readouterr().err.startswith("dhcp_release: ")


def dnsmasq_is_usable() -> bool:
    if os.geteuid() != 0 or sys.platform != "linux" or not shutil.which("dnsmasq", path="/usr/sbin:/sbin"):
        return False
    return subprocess.run(["unshare", "--net", "true"], capture_output=True, check=False).returncode == 0


SERVER = """
set -e
ip link set lo up
ip link add tap0 type veth peer name v1
ip link set tap0 up
ip link set v1 up
ip address add 10.0.0.2/24 broadcast + dev tap0
ip address add 2001:db8::2/64 dev tap0 nodad
exec dnsmasq --keep-in-foreground --no-hosts --no-resolv --pid-file= --dhcp-leasefile={leases} --bind-interfaces \
    --dhcp-range=10.0.0.0,static,255.255.255.0 --dhcp-range=2001:db8::,static,64 --conf-file=/dev/null \
    --user=root --group=root --port=0 --except-interface=v1 --log-facility={log}
"""


def eventually(condition: Callable[[], bool], limit: float = 10) -> None:
    deadline = time.monotonic() + limit
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.skipif(not dnsmasq_is_usable(), reason="root, network namespaces and dnsmasq are needed")
def test_dnsmasq_takes_leases_back(tmp_path: Path) -> None:
    leases, log = tmp_path / "leases", tmp_path / "log"
    server_id, client = "00:01:00:01:2e:aa:bb:cc:fa:16:3e:11:22:33", "00:03:00:01:fa:16:3e:00:00:01"
    kept = f"duid {server_id}\n0 2 2001:db8::6 * 00:03:00:01:fa:16:3e:00:00:02\n"
    leases.write_text(
        f"0 {MAC} 10.0.0.5 * *\n0 fa:16:3e:00:00:02 10.0.0.6 * ff:01:02\n{kept}0 1 2001:db8::5 * {client}\n"
    )
    server = subprocess.Popen(["unshare", "--net", "sh", "-c", SERVER.format(leases=leases, log=log)])
    try:
        eventually(lambda: log.exists() and "started" in log.read_text())
        # Until the interface's link-local address is known to be no duplicate, nothing can be sent from it.
        inside = ["nsenter", f"--net=/proc/{server.pid}/ns/net"]
        show = [*inside, "ip", "-6", "address", "show", "dev", "tap0", "tentative"]
        eventually(lambda: not subprocess.run(show, capture_output=True, check=True).stdout)
        for words in (
            ["4", "10.0.0.0/24", "10.0.0.5", MAC],
            ["4", "10.0.0.0/24", "10.0.0.6", "fa:16:3e:00:00:02", "ff:01:02"],
            ["6", "tap0", "2001:db8::5", client, server_id, "1"],
        ):
            subprocess.run([*inside, sys.executable, "-IS", str(PROGRAM), *words], check=True)
        eventually(lambda: leases.read_text() == kept)
    finally:
        server.kill()
        server.wait()
