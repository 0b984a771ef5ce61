"""ifconfig(8): what it prints and how it fails, on stacks of the test's own."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from freebsd_sim.commands.ifconfig_bridge import parse_vlans
from freebsd_sim.commands.ifconfig_run import _parse_inet
from freebsd_sim.commands.ifconfig_show import Format
from freebsd_sim.kernel.errors import KernelError
from freebsd_sim.kernel.interface_cloners import split_name
from freebsd_sim.kernel.interface_model import MEMBER_WORDS, format_bits
from network_host import NetworkHost, Result

NEEDS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="makes network namespaces")


@pytest.fixture
def host(tmp_path: Path) -> Iterator[NetworkHost]:
    made = NetworkHost(tmp_path / "root")
    yield made
    made.close()


def test_vlan_sets() -> None:
    assert parse_vlans("none") == set()
    assert parse_vlans("1,5-7") == {1, 5, 6, 7}
    assert len(parse_vlans("all") or ()) == 4094
    assert [parse_vlans(text) for text in ("0", "4095", "7-5", "1,", "x")] == [None] * 5


def test_numbers_of_inet_aton() -> None:
    assert str(_parse_inet("10.1")) == "10.0.0.1"
    assert str(_parse_inet("0xffffff00")) == "255.255.255.0"
    assert str(_parse_inet("010.0.0.1")) == "8.0.0.1"
    for text in ("up", "256.0.0.1", "1.2.3.4.5", "10.0.0.70000", ""):
        with pytest.raises(ValueError):
            _parse_inet(text)


def test_names_of_cloners() -> None:
    assert split_name("tap") == ("tap", None)
    assert split_name("bridge10") == ("bridge", 10)
    for name in ("tap01", "epair3a", "nosuch", "tap3-x", "em0"):
        with pytest.raises(KernelError) as refused:
            split_name(name)
        assert refused.value.name == "EINVAL"


def test_bits_are_named_in_the_order_that_is_printed() -> None:
    assert format_bits(0x943, MEMBER_WORDS) == "<LEARNING,DISCOVER,PRIVATE,AUTOEDGE,AUTOPTP>"
    assert format_bits(0, MEMBER_WORDS) == ""


def test_formats() -> None:
    chosen = Format()
    chosen.choose("inet:dotted,inet6:cidr,ether:dash")
    assert (chosen.inet, chosen.inet6, chosen.ether) == ("dotted", "cidr", "dash")
    chosen.choose("cidr")
    assert (chosen.inet, chosen.inet6) == ("cidr", "cidr")


@NEEDS_ROOT
def test_a_new_stack_has_only_lo0(host: NetworkHost) -> None:
    assert host.run("-l").out == "lo0\n"
    assert host.run("lo0").out.splitlines()[0] == "lo0: flags=8008<LOOPBACK,MULTICAST> metric 0 mtu 16384"
    up = host.run("lo0", "inet", "127.0.0.1/8", "up")
    assert up == Result(0, "", "")
    assert "flags=1008049<UP,LOOPBACK,RUNNING,MULTICAST,LOWER_UP>" in host.run("lo0").out
    assert "\tinet 127.0.0.1 netmask 0xff000000\n" in host.run("lo0").out


@NEEDS_ROOT
def test_one_name_is_printed_and_it_is_the_last(host: NetworkHost) -> None:
    assert host.run("epair", "create").out == "epair0a\n"
    assert host.run("tap3", "create").out == ""
    assert host.run("tap", "create", "name", "first", "name", "second").out == "second\n"
    failed = host.run("tap", "create", "name", "third", "mtu", "1")
    assert failed == Result(1, "third\n", "ifconfig: ioctl SIOCSIFMTU (set mtu): Invalid argument\n")


@NEEDS_ROOT
def test_create_of_what_exists(host: NetworkHost) -> None:
    host.run("tap0", "create")
    assert host.run("tap0", "create") == Result(1, "", "ifconfig: interface tap0 already exists\n")
    assert host.run("tap0", "create", "up") == Result(0, "", "")
    assert "<UP," in host.run("tap0").out


@NEEDS_ROOT
def test_a_plain_address_replaces_the_first_and_alias_adds(host: NetworkHost) -> None:
    host.run("epair", "create")
    host.run("epair0a", "inet", "10.0.0.1/24")
    host.run("epair0a", "inet", "10.0.1.1/24", "alias")
    host.run("epair0a", "inet", "10.0.2.1/24")
    cidr = host.run("-f", "inet:cidr", "epair0a", "inet").out
    assert [line.split()[1] for line in cidr.splitlines() if "\tinet " in line] == ["10.0.1.1/24", "10.0.2.1/24"]
    assert host.run("epair0a", "inet", "10.0.1.1", "-alias").status == 0
    gone = host.run("epair0a", "inet", "10.0.1.1", "-alias")
    assert gone.err == "ifconfig: ioctl (SIOCDIFADDR): Can't assign requested address\n"
    assert host.run("epair0b", "inet", "10.0.2.9/24").err == "ifconfig: ioctl (SIOCAIFADDR): File exists\n"


@NEEDS_ROOT
def test_ipv6_begins_disabled_and_gets_a_link_local_address(host: NetworkHost) -> None:
    host.run("epair", "create")
    assert "nd6 options=29<PERFORMNUD,IFDISABLED,AUTO_LINKLOCAL>" in host.run("epair0a").out
    host.run("epair0a", "ether", "02:00:00:00:00:99")
    host.run("epair0a", "inet6", "fd00::1/64", "no_dad")
    out = host.run("epair0a").out
    assert "\thwaddr " in out
    assert "inet6 fe80::ff:fe00:99%epair0a prefixlen 64 scopeid 0x2" in out.replace(" tentative", "")
    assert "nd6 options=121<PERFORMNUD,AUTO_LINKLOCAL,NO_DAD>" in out


@NEEDS_ROOT
def test_those_without_privilege(host: NetworkHost) -> None:
    host.run("tap", "create")
    assert host.run("tap0", "up", uid=1001).err == "ifconfig: up: permission denied\n"
    assert host.run("tap", "create", uid=1001).err == "ifconfig: SIOCIFCREATE2 (tap): Operation not permitted\n"
    assert host.run("tap0", "destroy", uid=1001).err == "ifconfig: SIOCIFDESTROY: Operation not permitted\n"
    assert host.run("tap0", uid=1001).status == 0


@NEEDS_ROOT
def test_what_is_not_simulated_is_said(host: NetworkHost) -> None:
    for words in (["gif", "create"], ["lo0", "media", "autoselect"], ["lagg0", "create"]):
        refused = host.run(*words)
        assert refused.status == 78
        assert refused.err.startswith("freebsd-sim: not simulated: ")


@NEEDS_ROOT
def test_release_14_prints_otherwise(tmp_path: Path) -> None:
    host = NetworkHost(tmp_path / "root", "14.3")
    try:
        host.run("epair", "create")
        host.run("bridge", "create")
        host.run("bridge0", "addm", "epair0a")
        epair, bridge = host.run("epair0a").out, host.run("bridge0").out
        assert "\toptions=8<VLAN_MTU>\n" in epair
        assert epair.split("\tether ")[1].startswith("02:") and ":0a\n" in epair
        assert "bridge flags" not in bridge
        assert "\t        ifmaxaddr 0 port 2 priority 128 path cost 2000\n" in bridge
        assert host.run("epair0a", "inet", "10.0.0.1/24").status == 0
    finally:
        host.close()
