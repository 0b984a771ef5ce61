"""The firewall driver and its connection tracking, under upstream's code and upstream's tests."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Apart = Callable[[Callable[[], None]], None]

#: Upstream's own tests of the driver; each must pass with ours in its place.
UPSTREAM = "neutron.tests.unit.agent.linux.openvswitch_firewall.test_firewall"

WEB = "tcp,orig=(src=10.0.0.9,dst=10.0.0.5,sport=40000,dport=80),reply=(x),zone=1"
WEB6 = "tcp,orig=(src=fd00::9,dst=fd00::5,sport=40000,dport=80),reply=(x),zone=1"
OUT = "udp,orig=(src=10.0.0.5,dst=10.0.0.9,sport=5,dport=53),reply=(x),zone=1"
PING = "icmp,orig=(src=10.0.0.5,dst=10.0.0.9,id=7,type=8,code=0),reply=(x),zone=1"
PING6 = "icmpv6,orig=(src=fd00::9,dst=fd00::5,id=7,type=128,code=0),reply=(x),zone=1,mark=1"
OTHER = "tcp,orig=(src=10.0.0.9,dst=10.0.0.6,sport=40000,dport=80),reply=(x),zone=1"
TUPLES = {
    WEB: "ct_nw_src=10.0.0.9,ct_nw_dst=10.0.0.5,ct_nw_proto=6,ct_tp_src=40000,ct_tp_dst=80",
    WEB6: "ct_ipv6_src=fd00::9,ct_ipv6_dst=fd00::5,ct_nw_proto=6,ct_tp_src=40000,ct_tp_dst=80",
    OUT: "ct_nw_src=10.0.0.5,ct_nw_dst=10.0.0.9,ct_nw_proto=17,ct_tp_src=5,ct_tp_dst=53",
    PING: "ct_nw_src=10.0.0.5,ct_nw_dst=10.0.0.9,ct_nw_proto=1,icmp_id=7,icmp_type=8,icmp_code=0",
    OTHER: "ct_nw_src=10.0.0.9,ct_nw_dst=10.0.0.6,ct_nw_proto=6,ct_tp_src=40000,ct_tp_dst=80",
}
MARKED = {f"{line},mark=1": text for line, text in TUPLES.items()}


class FakeControl:
    """ovs-vswitchd with a table of connections."""

    lines: list[str] = []  # noqa: RUF012
    deleted: list[str] = []  # noqa: RUF012
    dumps = 0

    def __enter__(self) -> FakeControl:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def ask(self, command: str, zone: str, *words: str) -> str:
        """Answer the two commands that are used."""
        assert zone == "zone=1"
        if command == "dpctl/dump-conntrack":
            type(self).dumps += 1
            return "\n".join(self.lines)
        assert command == "dpctl/flush-conntrack"
        self.deleted.extend(words)
        return ""


def quiet(manager: Any) -> Any:
    """Return a manager whose thread waits elsewhere, so that its queue is the test's."""
    import queue

    manager._queue = queue.Queue()
    return manager


def run_once(manager: Any, lines: Any) -> set[str]:
    """Have a manager do what waits, over these connections; return what was deleted."""
    from unittest import mock

    FakeControl.lines, FakeControl.deleted, FakeControl.dumps = list(lines), [], 0
    with mock.patch("beastack.port.neutron.conntrack.Control", FakeControl):
        manager._process_queue()
    return set(FakeControl.deleted)


def port(**more: Any) -> dict[str, Any]:
    """Return the agent's view of a port with two addresses in zone 1."""
    from unittest import mock

    of_port = mock.Mock(vlan_tag=1, lla_address="fe80::5")
    return {"device": "p", "fixed_ips": ["10.0.0.5", "fd00::5"], "of_port": of_port, **more}


def test_every_call_that_upstream_makes(apart: Apart) -> None:
    def body() -> None:
        from unittest import mock

        with mock.patch("threading.Thread"):
            from beastack.port.neutron.conntrack import UserspaceConntrackManager

            manager = quiet(UserspaceConntrackManager())

        def by_rule(rule: dict[str, Any]) -> set[str]:
            manager.delete_conntrack_state_by_rule([port()], rule)
            return run_once(manager, TUPLES)

        assert by_rule({"ethertype": "IPv4", "direction": "ingress"}) == {TUPLES[WEB]}
        assert by_rule({"ethertype": "IPv6", "direction": "ingress", "protocol": "tcp"}) == {TUPLES[WEB6]}
        assert by_rule({"ethertype": "IPv4", "direction": "egress"}) == {TUPLES[OUT], TUPLES[PING]}
        assert by_rule({"ethertype": "IPv4", "direction": "egress", "protocol": "udp"}) == {TUPLES[OUT]}
        assert by_rule({"ethertype": "IPv4", "direction": "egress", "protocol": "1"}) == {TUPLES[PING]}
        assert by_rule({"ethertype": "IPv4", "direction": "ingress", "protocol": "udp"}) == set()

        manager.delete_conntrack_state_by_remote_ips([port()], "IPv4", {"10.0.0.9"})
        assert run_once(manager, TUPLES) == {TUPLES[WEB], TUPLES[OUT], TUPLES[PING]}
        # Both directions were asked for, and one dump served them.
        assert FakeControl.dumps == 1
        manager.delete_conntrack_state_by_remote_ips([port()], "IPv4", {"10.0.0.8"})
        assert run_once(manager, TUPLES) == set()
        manager.delete_conntrack_state_by_remote_ips([port()], "IPv4", {("10.0.0.9", "fa:16:3e:00:00:09")})
        assert run_once(manager, TUPLES) == {TUPLES[WEB], TUPLES[OUT], TUPLES[PING]}
        # Of all protocols, but for ICMPv6: ovs-vswitchd would abort.
        manager.delete_conntrack_state_by_remote_ips([port()], "IPv6", set(), mark="0x1")
        assert run_once(manager, [*MARKED, WEB6, PING6]) == {TUPLES[WEB6]}
        assert run_once_marked(manager) == {TUPLES[WEB], TUPLES[OUT], TUPLES[PING]}

        manager.forget_addresses(1, ["10.0.0.5", "fd00::5"])
        assert run_once(manager, [*TUPLES, PING6]) == {TUPLES[WEB], TUPLES[WEB6], TUPLES[OUT], TUPLES[PING]}

    def run_once_marked(manager: Any) -> set[str]:
        manager.delete_conntrack_state_by_remote_ips([port()], "IPv4", set(), mark="0x1")
        assert run_once(manager, TUPLES) == set()
        manager.delete_conntrack_state_by_remote_ips([port()], "IPv4", set(), mark="0x1")
        return run_once(manager, MARKED)

    apart(body)


def test_ports_without_a_zone_and_errors_harm_nothing(apart: Apart) -> None:
    def body() -> None:
        from unittest import mock

        with mock.patch("threading.Thread"):
            from beastack.port.neutron.conntrack import UserspaceConntrackManager

            manager = quiet(UserspaceConntrackManager())
        without = {"device": "q", "fixed_ips": ["10.0.0.6"]}
        manager.delete_conntrack_state_by_rule([without], {"ethertype": "IPv4", "direction": "ingress"})
        manager.delete_conntrack_state_by_rule(
            [port()], {"ethertype": "IPv4", "direction": "ingress", "protocol": "nonsense"}
        )
        manager.delete_conntrack_state_by_rule([port()], {"ethertype": "IPv4", "direction": "ingress"})
        assert run_once(manager, TUPLES) == {TUPLES[WEB]}
        # Nobody listens.
        manager.delete_conntrack_state_by_rule([port()], {"ethertype": "IPv4", "direction": "ingress"})
        with mock.patch.dict("os.environ", {"OVS_RUNDIR": "/nowhere"}):
            manager._process_queue()

    apart(body)


def make_driver() -> Any:
    """Return our driver over a bridge that takes everything."""
    from unittest import mock

    from neutron.agent.linux.openvswitch_firewall import firewall
    from neutron.conf.agent import securitygroups_rpc

    from beastack.port.neutron.ovs_firewall import FreeBSDOVSFirewallDriver

    securitygroups_rpc.register_securitygroups_opts()
    with (
        mock.patch("threading.Thread"),
        mock.patch.object(firewall.ConjIdMap, "_init_max_id", return_value=8),
        mock.patch.object(firewall.OVSFirewallDriver, "_initialize_firewall"),
        mock.patch.object(firewall.iptables, "Helper"),
    ):
        driver = FreeBSDOVSFirewallDriver(mock.MagicMock())
    quiet(driver.ipconntrack)
    return driver


def add_port(driver: Any, name: str, addresses: list[str], groups: list[str]) -> dict[str, Any]:
    """Have the driver know a port in zone 1."""
    from unittest import mock

    from neutron.agent.linux.openvswitch_firewall import firewall

    view = {"device": name, "fixed_ips": addresses, "security_groups": groups, "mac_address": "fa:16:3e:00:00:05"}
    ovs_port = mock.Mock(vif_mac="fa:16:3e:00:00:05", ofport=len(driver.sg_port_map.ports) + 1)
    of_port = firewall.OFPort(view, ovs_port, 1)
    driver.sg_port_map.create_port(of_port, view)
    return {**view, "of_port": of_port}


INGRESS_80 = {
    "ethertype": "IPv4", "direction": "ingress", "protocol": "tcp", "port_range_min": 80, "port_range_max": 80,
}  # fmt: skip
EGRESS = {"ethertype": "IPv4", "direction": "egress"}


def test_it_is_loaded_as_upstream_loads_drivers(apart: Apart) -> None:
    def body() -> None:
        from neutron.agent import firewall

        loaded = firewall.load_firewall_driver_class("beastack.port.neutron.ovs_firewall.FreeBSDOVSFirewallDriver")
        assert loaded.__name__ == "FreeBSDOVSFirewallDriver"
        assert loaded.provides_arp_spoofing_protection

    apart(body)


def test_a_marked_connection_is_forgotten_only_when_it_is_allowed(apart: Apart) -> None:
    def body() -> None:
        driver = make_driver()
        driver.update_security_group_rules("g", [INGRESS_80, EGRESS])
        view = add_port(driver, "p", ["10.0.0.5"], ["g"])

        def changed() -> set[str]:
            driver._delete_invalid_conntrack_entries_for_port([view])
            return run_once(driver.ipconntrack, MARKED)

        assert changed() == {TUPLES[WEB], TUPLES[OUT], TUPLES[PING]}
        driver.update_security_group_rules("g", [EGRESS])
        assert changed() == {TUPLES[OUT], TUPLES[PING]}
        driver.update_security_group_rules("g", [{**INGRESS_80, "source_ip_prefix": "10.0.1.0/24"}])
        assert changed() == set()
        driver.update_security_group_rules("g", [{**INGRESS_80, "source_ip_prefix": "10.0.0.0/24"}])
        assert changed() == {TUPLES[WEB]}
        driver.update_security_group_rules("g", [{**INGRESS_80, "port_range_min": 81, "port_range_max": 90}])
        assert changed() == set()
        driver.update_security_group_rules("g", [{**EGRESS, "protocol": "icmp"}])
        assert changed() == {TUPLES[PING]}
        # Members of a remote group, with MAC addresses as the server gives them.
        driver.update_security_group_rules("g", [{**INGRESS_80, "remote_group_id": "r"}])
        assert changed() == set()
        driver.update_security_group_members("r", {"IPv4": [("10.0.0.9", "fa:16:3e:00:00:09")], "IPv6": []})
        assert changed() == {TUPLES[WEB]}
        driver.update_security_group_members("r", {"IPv4": [], "IPv6": []})
        assert changed() == set()
        # The other end is here, too, and forbids it.
        driver.update_security_group_rules("g", [INGRESS_80, EGRESS])
        driver.update_security_group_rules("none", [])
        add_port(driver, "q", ["10.0.0.9"], ["none"])
        assert changed() == set()

    apart(body)


def test_what_a_port_had_open_goes_with_it(apart: Apart) -> None:
    def body() -> None:
        driver = make_driver()
        view = add_port(driver, "p", ["10.0.0.5", "fd00::5"], ["g"])
        driver.remove_port_filter(view)
        assert run_once(driver.ipconntrack, TUPLES) == {TUPLES[WEB], TUPLES[WEB6], TUPLES[OUT], TUPLES[PING]}

        view = add_port(driver, "p", ["10.0.0.5"], ["g"])
        driver.filter_defer_apply_on()
        driver.remove_port_filter(view)
        assert driver.ipconntrack._queue.empty()
        driver.filter_defer_apply_off()
        assert run_once(driver.ipconntrack, TUPLES) >= {TUPLES[WEB]}
        # One that was never filtered has nothing to forget.
        driver.remove_port_filter(view)
        assert driver.ipconntrack._queue.empty()

    apart(body)


def test_upstreams_own_tests_pass_with_it(apart: Apart) -> None:
    def body() -> None:
        import io
        import unittest

        from neutron.agent.linux.openvswitch_firewall import firewall
        from neutron.conf.plugins.ml2.drivers import ovs_conf

        from beastack.port.neutron.ovs_firewall import FreeBSDOVSFirewallDriver

        # Some of the tests rely on others for it.
        ovs_conf.register_ovs_agent_opts()
        firewall.OVSFirewallDriver = FreeBSDOVSFirewallDriver
        suite = unittest.defaultTestLoader.loadTestsFromName(UPSTREAM)
        result = unittest.TextTestRunner(stream=io.StringIO()).run(suite)
        assert result.testsRun > 80
        assert not result.errors and not result.failures, "\n".join(
            text[-1500:] for _, text in result.errors + result.failures
        )

    apart(body)
