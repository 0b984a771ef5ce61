"""The DHCP agent that looks after what it made, over upstream's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Apart = Callable[[Callable[[], None]], None]

NETWORK, PORT = "11111111-2222-3333-4444-555555555555", "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee"
DEVICE = "tapaaaaaaaa-bb"


def make_agent() -> Any:
    """Return an agent that serves one network, on a host where all is well (``agent.host_picture``)."""
    import types
    from unittest import mock

    from neutron.agent import dhcp_agent as upstream_main
    from neutron.agent.dhcp import agent as upstream
    from neutron.agent.linux import dhcp
    from neutron.common import utils
    from oslo_config import cfg

    # The driver's neighbours are not what is looked at here.
    from beastack.port.neutron import dhcp_agent
    from beastack.port.neutron.dhcp_faults import Host

    upstream_main.register_options(cfg.CONF)
    cfg.CONF([], project="neutron")
    cfg.CONF.set_override("host", "here")
    with mock.patch("oslo_utils.fileutils.ensure_tree"):
        agent = dhcp_agent.DhcpAgent(host="here", conf=cfg.CONF)
    with mock.patch.object(upstream, "loopingcall"):
        agent.cache = upstream.NetworkCache()
    agent.plugin_rpc = mock.Mock()
    agent._process_monitor, agent.dhcp_version = mock.Mock(), None
    manager = types.SimpleNamespace(pid=50, active=True)
    driver = mock.Mock()
    driver.device_manager.get_interface_name.side_effect = lambda network, port: "tap" + port.id[:11]
    driver._get_process_manager.return_value = manager
    agent.dhcp_driver_cls = lambda *arguments: driver
    agent.manager = manager
    port = dhcp.DictModel(
        id=PORT, network_id=NETWORK, device_owner="network:dhcp",
        device_id=utils.get_dhcp_agent_device_id(NETWORK, "here"),
        fixed_ips=[dhcp.DictModel(subnet_id="s", ip_address="10.0.0.2")],
    )  # fmt: skip
    subnet = dhcp.DictModel(
        id="s", enable_dhcp=True, cidr="10.0.0.0/24", ip_version=4, ipv6_address_mode=None, ipv6_ra_mode=None
    )
    agent.cache.put(
        dhcp.NetModel(id=NETWORK, admin_state_up=True, subnets=[subnet], non_local_subnets=[], ports=[port])
    )
    agent.host_picture = Host({"qdhcp-" + NETWORK: 3}, frozenset({"e" + DEVICE}), {"e" + DEVICE: 7}, {50: 3})
    agent._read_host = lambda: agent.host_picture
    return agent


def look(agent: Any, addresses: Any = ("10.0.0.2",)) -> list[str]:
    """Have an agent look at its networks; return the reasons for which it has one configured again."""
    from unittest import mock

    agent.needs_resync_reasons.clear()
    found = [{"name": DEVICE, "cidr": f"{address}/24"} for address in addresses]
    with mock.patch("neutron.agent.linux.ip_lib.get_devices_with_ip", return_value=found):
        agent.check_networks()
    assert set(agent.needs_resync_reasons) <= {NETWORK}
    return list(agent.needs_resync_reasons[NETWORK]) if agent.needs_resync_reasons else []


def test_what_is_damaged_is_configured_again(apart: Apart) -> None:
    def body() -> None:
        from dataclasses import replace

        agent = make_agent()
        well = agent.host_picture
        assert look(agent) == []
        agent.host_picture = replace(well, jids={})
        assert look(agent) == [f"its jail qdhcp-{NETWORK} is not there"]
        agent.host_picture = replace(well, ports={})
        assert look(agent) == [f"the port e{DEVICE} is not in Open vSwitch"]
        agent.host_picture = well
        assert look(agent, ["10.0.0.3"]) == [f"the interface {DEVICE} in its jail has no address 10.0.0.2"]
        agent.manager.active = False
        assert look(agent) == ["dnsmasq does not run"]
        # What is scheduled already is left alone.
        agent.check_networks()
        assert len(agent.needs_resync_reasons[NETWORK]) == 1

    apart(body)


def test_what_it_does_not_serve_is_left_alone(apart: Apart) -> None:
    def body() -> None:
        from dataclasses import replace

        from neutron.agent.linux import dhcp

        agent = make_agent()
        agent.host_picture = replace(agent.host_picture, jids={})
        network = agent.cache.get_network_by_id(NETWORK)
        network.admin_state_up = False
        assert look(agent) == []
        network.admin_state_up = True
        network.subnets[0].segment_id = "g"
        assert look(agent) == []
        # As upstream knows networks by their directories before it has asked the server.
        agent.cache.put(dhcp.NetModel({"id": NETWORK, "subnets": [], "non_local_subnets": [], "ports": []}))
        assert look(agent) == []

    apart(body)


def test_leftovers_are_removed_and_nothing_else(apart: Apart) -> None:
    def body() -> None:
        from unittest import mock

        from neutron.agent.linux import dhcp

        agent = make_agent()
        failed = dhcp.NetModel(id="failed", subnets=[], non_local_subnets=[], ports=[])
        agent.plugin_rpc.get_active_networks_info.return_value = [failed]
        jails = ["qdhcp-" + NETWORK, "qdhcp-failed", "qdhcp-gone", "qrouter-x"]
        names = ("lo0", "em0", "e" + DEVICE, "etap00000000-00", "tap22222222-22")
        with (
            mock.patch("neutron.agent.linux.ip_lib.list_network_namespaces", return_value=jails),
            mock.patch("neutron.agent.linux.ip_lib.delete_network_namespace") as delete,
            mock.patch("beastack.port.neutron.dhcp_agent.list_names", return_value=names),
            mock.patch("neutron.agent.common.ovs_lib.OVSBridge") as bridge,
            mock.patch("neutron.agent.common.utils.load_interface_driver") as load,
        ):
            load.return_value.get_device_name.side_effect = lambda port: "tap" + port.id[:11]
            bridge.return_value.get_port_name_list.return_value = ["e" + DEVICE, "etap11111111-11"]
            agent.remove_leftovers()
        assert delete.mock_calls == [mock.call("qdhcp-gone")]
        assert load.return_value.unplug.mock_calls == [mock.call("tap00000000-00"), mock.call("tap11111111-11")]

    apart(body)


def test_only_a_complete_synchronization_counts(apart: Apart) -> None:
    def body() -> None:
        from unittest import mock

        agent = make_agent()
        agent._pool_size = 1
        agent.plugin_rpc.get_active_networks_info.side_effect = RuntimeError("no server")
        agent.sync_state()
        assert not agent._is_complete
        agent.plugin_rpc.get_active_networks_info.side_effect = None
        agent.plugin_rpc.get_active_networks_info.return_value = []
        with mock.patch.object(agent, "disable_dhcp_helper"):
            agent.sync_state([NETWORK])
            assert not agent._is_complete
            agent.sync_state()
        assert agent._is_complete

    apart(body)


def test_what_fails_in_a_pool_of_threads_is_tried_again(apart: Apart) -> None:
    def check() -> None:
        from unittest import mock

        from neutron.agent.linux import ip_lib

        from beastack.port.neutron import dhcp_agent

        agent = make_agent()
        network = agent.cache.get_network_by_id(NETWORK)
        failure = ip_lib.AddressNotReady(address="fe80::a9fe:a9fe", reason="not present")
        for method, argument, inner in (
            ("configure_dhcp_for_network", network, "call_driver"),
            ("refresh_dhcp_helper", NETWORK, "safe_get_network_info"),
        ):
            agent.needs_resync_reasons.clear()
            with mock.patch.object(agent, inner, side_effect=failure), mock.patch.object(dhcp_agent.LOG, "exception"):
                getattr(agent, method)(argument)
            assert dict(agent.needs_resync_reasons) == {NETWORK: [failure]}, method

    apart(check)


def test_main_starts_this_agent_as_upstream_starts_its_own(apart: Apart) -> None:
    def body() -> None:
        import inspect
        from unittest import mock

        from neutron.agent import dhcp_agent as upstream
        from oslo_utils import importutils

        from beastack.port.neutron import dhcp_agent

        # Line by line: what upstream's main does more, ours has to do, too.
        def steps(function: Any) -> list[str]:
            lines = inspect.getsource(function).splitlines()
            words = [
                "register_options",
                "init(",
                "setup_logging",
                "setup_gmr",
                "setup_privsep",
                "Service.create",
                "launch",
            ]
            return [word for line in lines for word in words if word in line]

        assert steps(upstream.main) == steps(dhcp_agent.main)
        with (
            mock.patch.object(dhcp_agent, "upstream_main"),
            mock.patch.object(dhcp_agent, "common_config"),
            mock.patch.object(dhcp_agent, "agent_config"),
            mock.patch.object(dhcp_agent, "service"),
            mock.patch.object(dhcp_agent, "cfg"),
            mock.patch.object(dhcp_agent.neutron_service.Service, "create") as create,
        ):
            dhcp_agent.main()
        assert importutils.import_class(create.call_args.kwargs["manager"]) is dhcp_agent.DhcpAgent

    apart(body)
