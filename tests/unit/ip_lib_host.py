"""A host of recorded answers for the parts of seam N3: every command they run, through whichever module."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from beastack.freebsd import interface_run, jail, neighbour, process, route
from beastack.port.neutron import ip_lib_indexes
from recorded_commands import Commands, play

JAIL = "qdhcp-3f1f9a0e-6d0c-4a39-9a3e-0d7f1c2b4a55"

LOOPBACK = (
    "lo0: flags=1008049<UP,LOOPBACK,RUNNING,MULTICAST,LOWER_UP> metric 0 mtu 16384\n"
    "\toptions=680003<RXCSUM,TXCSUM,LINKSTATE,RXCSUM_IPV6,TXCSUM_IPV6>\n"
    "\tinet 127.0.0.1 netmask 0xff000000\n"
    "\tinet6 ::1 prefixlen 128\n"
    "\tinet6 fe80::1%lo0 prefixlen 64 scopeid 0x4\n"
    "\tgroups: lo\n"
    "\tnd6 options=21<PERFORMNUD,AUTO_LINKLOCAL>\n"
    "\tdrivername: lo0\n"
)
PORT = (
    "tap12345678-9a: flags=1008843<UP,BROADCAST,RUNNING,SIMPLEX,MULTICAST,LOWER_UP> metric 0 mtu 1450\n"
    f"\tdescription: beastack made this for jail {JAIL}\n"
    "\toptions=8<VLAN_MTU>\n"
    "\tether fa:16:3e:00:00:01\n"
    "\thwaddr 58:9c:fc:10:2a:71\n"
    "\tinet 10.0.0.2 netmask 0xffffff00 broadcast 10.0.0.255\n"
    "\tinet 169.254.169.254 netmask 0xffffffff broadcast 169.254.169.254\n"
    "\tinet6 2001:db8::2 prefixlen 64 tentative\n"
    "\tinet6 2001:db8:1::2 prefixlen 64 duplicated\n"
    "\tinet6 2001:db8:2::2 prefixlen 64 autoconf\n"
    "\tgroups: epair\n"
    "\tmedia: Ethernet 10Gbase-T (10Gbase-T <full-duplex>)\n"
    "\tstatus: active\n"
    "\tnd6 options=29<PERFORMNUD,IFDISABLED,AUTO_LINKLOCAL>\n"
    "\tdrivername: epair3b\n"
)
LINKS = (
    '{"statistics": {"interface": ['
    '{"name":"lo0","flags":"0x8049","mtu":16384,"network":"<Link#4>","address":"lo0"},'
    '{"name":"lo0","flags":"0x8049","mtu":16384,"network":"127.0.0.0/8","address":"127.0.0.1"},'
    '{"name":"tap12345678-9a","flags":"0x8843","mtu":1450,"network":"<Link#17>","address":"fa:16:3e:00:00:01"}]}}'
)
LIST = f"ifconfig -j {JAIL} -D -a"
READ = f"ifconfig -j {JAIL} -D tap12345678-9a"
NETSTAT = f"netstat -j {JAIL} --libxo json -in"


def play_all(monkeypatch: pytest.MonkeyPatch) -> Iterator[Commands]:
    """Put recorded answers in the place of every runner; nothing is remembered of the jails of other tests."""
    monkeypatch.setattr(ip_lib_indexes, "_known", {})
    for commands in play(monkeypatch):
        for module in (interface_run, jail, neighbour, route):
            monkeypatch.setattr(module, "run", commands.run)
        if hasattr(process, "run"):
            monkeypatch.setattr(process, "run", commands.run)
        yield commands
