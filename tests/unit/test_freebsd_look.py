"""What doctor looks at on a FreeBSD host."""

from __future__ import annotations

import ipaddress

import pytest

from beastack.freebsd import interface, process
from beastack.freebsd.errors import JailNotFound
from beastack.freebsd.interface import Address, Interface, Words
from beastack.site.host import freebsd_look


def test_interfaces_as_doctor_wants_them(monkeypatch: pytest.MonkeyPatch) -> None:
    interfaces = (
        Interface("em0", Words(1, ("UP",)), 1500),
        Interface("tap1", Words(1, ("UP",)), 1450, status="no carrier"),
        Interface("und", Words(1, ()), 1500, addresses=(Address(ipaddress.ip_address("10.9.0.2"), 24),)),
    )
    monkeypatch.setattr(interface, "list_interfaces", lambda: interfaces)
    assert freebsd_look.list_links() == [
        ("em0", frozenset({"UP", "LOWER_UP"}), ()),
        ("tap1", frozenset({"UP"}), ()),
        ("und", frozenset({"LOWER_UP"}), ("10.9.0.2/24",)),
    ]


def test_programs_of_a_jail(monkeypatch: pytest.MonkeyPatch) -> None:
    found = (process.Process(9, 1, 4, 0, "S", 1, 1, 0.0, "/usr/local/sbin/dnsmasq --no-hosts"),)
    monkeypatch.setattr(process, "list_jailed", lambda name: found)
    assert freebsd_look.programs_in("qdhcp-x") == ["dnsmasq"]

    def gone(name: str) -> tuple[process.Process, ...]:
        raise JailNotFound(["ps", "-J", name], 1, "", "not found")

    monkeypatch.setattr(process, "list_jailed", gone)
    assert freebsd_look.programs_in("qdhcp-x") == []
