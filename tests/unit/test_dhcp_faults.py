"""What the DHCP agent finds wrong with a network."""

from __future__ import annotations

from dataclasses import replace

from beastack.port.neutron.dhcp_faults import Expected, Host, find_fault, find_leftover_devices, find_leftover_jails

DEVICE = "tap01234567-89"
HOST = Host(
    jids={"qdhcp-n": 3}, interfaces=frozenset({"lo0", "e" + DEVICE}), ports={"e" + DEVICE: 7}, process_jids={50: 3}
)
NETWORK = Expected("qdhcp-n", (DEVICE,), 50, True)


def test_nothing_is_wrong() -> None:
    assert find_fault(NETWORK, HOST) is None
    assert find_fault(replace(NETWORK, pid=None), HOST) is None
    assert find_fault(NETWORK, replace(HOST, ports={"e" + DEVICE: None})) is None


def test_each_fault_is_named() -> None:
    faults = {
        "its jail qdhcp-n is not there": find_fault(NETWORK, replace(HOST, jids={"other": 3})),
        "this agent has no port on it": find_fault(replace(NETWORK, devices=()), HOST),
        f"the interface e{DEVICE} is not on the host": find_fault(NETWORK, replace(HOST, interfaces=frozenset())),
        f"the port e{DEVICE} is not in Open vSwitch": find_fault(NETWORK, replace(HOST, ports={})),
        f"Open vSwitch could not open the port e{DEVICE}": find_fault(NETWORK, replace(HOST, ports={"e" + DEVICE: -1})),
        "dnsmasq does not run": find_fault(replace(NETWORK, is_active=False), HOST),
        "dnsmasq (process 50) does not run in the jail qdhcp-n": find_fault(
            NETWORK, replace(HOST, process_jids={50: 0})
        ),
    }
    for expected, found in faults.items():
        assert found == expected


def test_leftover_jails_are_of_this_kind_and_of_no_network() -> None:
    jails = ["qdhcp-a", "qdhcp-b", "qrouter-c", "web", "xqdhcp-d"]
    assert find_leftover_jails(jails, "qdhcp-", {"b"}) == ["qdhcp-a"]


def test_leftover_devices_have_the_very_form() -> None:
    names = ["lo0", "tap01234567-89", "etap01234567-89", "etapother", "etapaaaaaaaa-bb", "eqr-01234567-89"]
    assert find_leftover_devices(names, {"tap01234567-89"}) == {"tapaaaaaaaa-bb"}
