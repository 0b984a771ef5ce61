"""Bridges: what is run for members, parameters and the address table."""

from __future__ import annotations

import pytest

from beastack.freebsd import interface
from beastack.freebsd.interface import MemberSettings
from beastack.freebsd.interface_bridge import format_vlan_set
from beastack.freebsd.interface_parse import parse_vlan_set
from fake_ifconfig import FakeIfconfig


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> FakeIfconfig:
    return FakeIfconfig(monkeypatch)


def test_members(fake: FakeIfconfig) -> None:
    interface.add_member("brX", "tap0")
    interface.add_member("brX", "tap0", MemberSettings(private=True, stp=False), jail="j")
    interface.add_member("brX", "tap0", MemberSettings(untagged=10, tagged={20, 21, 22, 30}, priority=64))
    interface.change_member("brX", "tap0", MemberSettings(private=False, untagged=10, tagged=()), jail="j")
    interface.delete_member("brX", "tap0", jail="j")
    assert fake.calls == [
        "brX addm tap0",
        "-j j brX addm tap0 private tap0 -stp tap0",
        "brX addm tap0 untagged 10 tagged 20-22,30 ifpriority tap0 64",
        "-j j brX ifuntagged tap0 10 iftagged tap0 none -private tap0",
        "-j j brX deletem tap0",
    ]


def test_every_member_setting(fake: FakeIfconfig) -> None:
    settings = MemberSettings(
        private=True,
        discover=False,
        learn=True,
        sticky=False,
        stp=True,
        edge=False,
        auto_edge=True,
        point_to_point=False,
        auto_point_to_point=True,
        max_addresses=5,
        path_cost=2000,
        priority=128,
    )
    interface.change_member("brX", "t", settings)
    assert fake.calls == [
        "brX private t -discover t learn t -sticky t stp t -edge t autoedge t -ptp t autoptp t "
        "ifmaxaddr t 5 ifpathcost t 2000 ifpriority t 128"
    ]


def test_a_bridges_own_parameters_and_addresses(fake: FakeIfconfig) -> None:
    interface.change_bridge("brX", max_addresses=100, timeout=30, vlan_filter=True, default_untagged=1)
    interface.change_bridge("brX", vlan_filter=False, default_untagged=0, jail="j")
    interface.add_bridge_address("brX", "tap0", "02:00:00:00:00:01")
    interface.add_bridge_address("brX", "tap0", "02:00:00:00:00:01", vlan=7, jail="j")
    interface.delete_bridge_address("brX", "02:00:00:00:00:01", vlan=7)
    interface.flush_bridge("brX")
    interface.flush_bridge("brX", static=True, jail="j")
    assert fake.calls == [
        "brX maxaddr 100 timeout 30 vlanfilter defuntagged 1",
        "-j j brX -vlanfilter -defuntagged",
        "brX static tap0 02:00:00:00:00:01",
        "-j j brX static tap0 02:00:00:00:00:01 vlan 7",
        "brX deladdr 02:00:00:00:00:01 vlan 7",
        "brX flush",
        "-j j brX flushall",
    ]


@pytest.mark.parametrize(("tags", "text"), [({5}, "5"), ({1, 2, 3, 7, 9, 8}, "1-3,7-9"), (set(), "none")])
def test_vlan_sets(tags: set[int], text: str) -> None:
    assert format_vlan_set(tags) == text
    assert parse_vlan_set("" if text == "none" else text) == tags
