"""The DHCP driver: upstream's dnsmasq as it is started, read anew and told of guests that are gone, in a jail."""

from __future__ import annotations

import contextlib
import grp
import os
import pwd
import tempfile
from collections.abc import Callable, Iterator, Sequence
from typing import Any
from unittest import mock

from jail_host import BRIDGE

OnFreeBSD = Callable[..., None]
NETWORK = "3f1c5e0e-6c0a-4d51-9c0c-5b1d2c7b9f10"
JAIL = f"qdhcp-{NETWORK}"
DEVICE = "tap11111111-22"
SEAMS = ("N1", "N2", "N4", "N5")

STATEFUL, STATELESS, SLAAC = "dhcpv6-stateful", "dhcpv6-stateless", "slaac"


def make_subnet(number: int, cidr: str, ra_mode: str | None = None, address_mode: str | None = None) -> dict[str, Any]:
    """Return a subnet as the server tells of it; its identifier is ``s`` and the number."""
    return {
        "id": f"s{number}", "cidr": cidr, "ip_version": 6 if ":" in cidr else 4, "enable_dhcp": True,
        "gateway_ip": None, "dns_nameservers": [], "host_routes": [], "subnetpool_id": None, "network_id": NETWORK,
        "ipv6_ra_mode": ra_mode, "ipv6_address_mode": address_mode,
    }  # fmt: skip


def make_port(mac: str, owner: str, *addresses: tuple[str, str], identifier: str = "9") -> dict[str, Any]:
    """Return a port with addresses (subnet, address)."""
    return {
        "id": f"{identifier * 8}-2222-4333-8444-555555555555", "network_id": NETWORK, "mac_address": mac,
        "device_owner": owner, "device_id": "x", "admin_state_up": True, "extra_dhcp_opts": [],
        "fixed_ips": [{"subnet_id": subnet, "ip_address": address} for subnet, address in addresses],
    }  # fmt: skip


V4 = make_subnet(4, "10.0.0.0/24")
ALL_MODES = (
    V4,
    make_subnet(60, "2001:db8::/64", STATEFUL, STATEFUL),
    make_subnet(61, "2001:db8:1::/64", SLAAC, SLAAC),
    make_subnet(62, "2001:db8:2::/64", STATELESS, STATELESS),
    make_subnet(63, "2001:db8:3::/64", None, STATEFUL),
)
ROUTER = make_port("fa:16:3e:00:00:77", "network:router_interface", ("s60", "2001:db8::1"), identifier="7")
ROUTER_4 = make_port("fa:16:3e:00:00:78", "network:router_interface", ("s4", "10.0.0.1"), identifier="8")


@contextlib.contextmanager
def agent_state() -> Iterator[str]:
    """Configure upstream with a state directory, which is given."""
    from neutron.agent import dhcp_agent
    from oslo_config import cfg
    from oslo_log import log

    log.register_options(cfg.CONF)
    dhcp_agent.register_options(cfg.CONF)
    with tempfile.TemporaryDirectory() as directory:
        cfg.CONF([f"--config-file={os.devnull}"], project="neutron")
        cfg.CONF.set_override("state_path", directory)
        cfg.CONF.set_override("interface_driver", "beastack.port.neutron.interface_driver.EpairInterfaceDriver")
        cfg.CONF.set_override("dhcp_driver", "beastack.port.neutron.dhcp_driver.Dnsmasq")
        cfg.CONF.set_override("integration_bridge", BRIDGE, "OVS")
        yield directory


def make_dnsmasq(subnets: Sequence[dict[str, Any]], *ports: dict[str, Any], mtu: int = 1450) -> Any:
    """Return the driver of a network, loaded by its name as the agent does."""
    from neutron.agent.linux import dhcp
    from oslo_config import cfg
    from oslo_utils import importutils

    network = dhcp.NetModel(
        {"id": NETWORK, "subnets": list(subnets), "non_local_subnets": [], "ports": list(ports), "mtu": mtu}
    )
    plugin = mock.Mock(get_ports=lambda **filters: [])
    dnsmasq = importutils.import_class(cfg.CONF.dhcp_driver)(cfg.CONF, network, mock.Mock(), None, plugin)
    dnsmasq.interface_name = DEVICE
    return dnsmasq


def read_words(dnsmasq: Any) -> list[str]:
    words: list[str] = dnsmasq._build_cmdline_callback("/var/run/pid")
    return words


def test_the_command_line_is_upstreams_but_for_what_is_linuxs(on_freebsd: OnFreeBSD) -> None:
    def body() -> None:
        from neutron.agent.linux import dhcp

        with agent_state():
            dnsmasq = make_dnsmasq([V4])
            ours = read_words(dnsmasq)
            upstreams = dhcp.Dnsmasq._build_cmdline_callback(dnsmasq, "/var/run/pid")
        assert "--bind-dynamic" in upstreams
        user, group = pwd.getpwuid(os.geteuid()).pw_name, grp.getgrgid(os.getegid()).gr_name
        assert ours == [
            *(word.replace("--bind-dynamic", "--bind-interfaces") for word in upstreams),
            f"--user={user}", f"--group={group}",
        ]  # fmt: skip

    on_freebsd(body, *SEAMS)


def test_advertisements_by_the_modes_of_the_subnets(on_freebsd: OnFreeBSD) -> None:
    def body() -> None:
        with agent_state():
            words = read_words(make_dnsmasq(ALL_MODES))
            bare = read_words(make_dnsmasq(ALL_MODES, mtu=0))
        assert sorted(word for word in words if word.startswith("--dhcp-range")) == [
            "--dhcp-range=set:subnet-s4,10.0.0.0,static,255.255.255.0,86400s",
            "--dhcp-range=set:subnet-s60,2001:db8::,static,64,86400s",
            "--dhcp-range=set:subnet-s61,2001:db8:1::,ra-only,64,86400s",
            "--dhcp-range=set:subnet-s62,2001:db8:2::,ra-stateless,64,86400s",
            "--dhcp-range=set:subnet-s63,2001:db8:3::,static,64,86400s",
        ]
        assert words[-2:] == ["--enable-ra", f"--ra-param={DEVICE},mtu:1450,30,0"]
        assert bare[-1] == f"--ra-param={DEVICE},30,0"

    on_freebsd(body, *SEAMS)


def test_a_router_advertises_itself(on_freebsd: OnFreeBSD) -> None:
    def body() -> None:
        from beastack.port.neutron.dhcp_driver import find_advertised

        with agent_state():
            words = read_words(make_dnsmasq(ALL_MODES, ROUTER))
            assert "--enable-ra" not in words
            assert "--dhcp-range=set:subnet-s62,2001:db8:2::,static,64,86400s" in words
            assert not any("subnet-s61" in word for word in words)
            # One that is connected by IPv4 alone does not.
            assert "--enable-ra" in read_words(make_dnsmasq(ALL_MODES, ROUTER_4))
            assert "--enable-ra" not in read_words(make_dnsmasq([V4]))

            def advertised(ra_mode: str | None, address_mode: str | None) -> dict[str, str]:
                subnet = make_subnet(6, "2001:db8::/64", ra_mode, address_mode)
                found: dict[str, str] = find_advertised(make_dnsmasq([subnet]).network)
                return found

            assert advertised(SLAAC, None) == {"s6": "ra-only"}
            # Addresses from some other server.
            assert advertised(STATEFUL, None) == advertised(STATELESS, None) == advertised(None, SLAAC) == {}

    on_freebsd(body, *SEAMS)


def test_name_servers_are_told_for_slaac(on_freebsd: OnFreeBSD) -> None:
    def body() -> None:
        def read_options(*servers: str) -> list[str]:
            subnet = make_subnet(6, "2001:db8::/64", SLAAC, SLAAC) | {"dns_nameservers": list(servers)}
            options: list[str] = make_dnsmasq([subnet])._generate_opts_per_subnet()[0]
            return options

        with agent_state():
            assert read_options() == []
            assert read_options("2001:db8::53", "2001:db8::54") == [
                "tag:subnet-s6,option6:dns-server,[2001:db8::53],[2001:db8::54]"
            ]
            assert read_options("::") == ["tag:subnet-s6,option6:dns-server"]

    on_freebsd(body, *SEAMS)


def test_leases_of_guests_that_are_gone_are_released_from_inside_the_jail(on_freebsd: OnFreeBSD) -> None:
    def body() -> None:
        import sys

        from neutron.privileged.agent.linux import utils

        mac, gone = "fa:16:3e:00:00:01", "fa:16:3e:00:00:02"
        stays = make_port(mac, "compute:nova", ("s4", "10.0.0.5"), ("s60", "2001:db8::5"))
        duid, server = "00:03:00:01:fa:16:3e:00:00:02", "00:01:00:01:2e:aa:bb:cc:fa:16:3e:11:22:33"
        ran: list[list[str]] = []

        with agent_state() as directory:
            leases = f"{directory}/dhcp/{NETWORK}/leases"

            def execute_process(command: list[str], text: Any, variables: Any) -> tuple[str, str, int]:
                ran.append(command)
                os.truncate(leases, 0)
                return "", "", 0

            dnsmasq = make_dnsmasq(ALL_MODES, stays)
            with open(f"{directory}/dhcp/{NETWORK}/host", "w") as hosts:
                hosts.write(f"{mac},a,10.0.0.5\n{gone},tag:dhcpv6,b,[2001:db8::6]\n")
            with open(leases, "w") as file:
                file.write(
                    f"1 {mac} 10.0.0.5 * *\n1 {gone} 10.0.0.6 * ff:01:02\nduid {server}\n1 4711 2001:db8::6 * {duid}\n"
                )
            with mock.patch.object(utils, "execute_process", execute_process):
                dnsmasq._release_unused_leases()
        commands = {tuple(command[:4]) for command in ran}
        program = os.path.realpath(ran[0][4])
        assert commands == {("jexec", JAIL, sys.executable, "-IS")}
        assert os.path.basename(program) == "dhcp_release.py"
        assert sorted(command[5:] for command in ran) == [
            ["4", "10.0.0.0/24", "10.0.0.6", gone, "ff:01:02"],
            ["6", DEVICE, "2001:db8::6", duid, server, "4711"],
        ]

    on_freebsd(body, *SEAMS)


def test_a_lease_that_cannot_be_released_is_no_error(on_freebsd: OnFreeBSD) -> None:
    def body() -> None:
        from neutron.privileged.agent.linux import utils

        with agent_state():
            dnsmasq = make_dnsmasq([V4])
            with mock.patch.object(utils, "execute_process") as ran:
                dnsmasq._release_lease("fa:16:3e:00:00:01", "10.9.9.9", 4)
                dnsmasq._release_lease("fa:16:3e:00:00:01", "2001:db8::6", 6, "*", "00:01", "1")
                assert not ran.called
                ran.return_value = ("", f'jexec: jail "{JAIL}" not found\n', 1)
                dnsmasq._release_lease("fa:16:3e:00:00:01", "10.0.0.9", 4)
                assert ran.called

    on_freebsd(body, *SEAMS)


def test_it_is_started_anew_when_a_router_comes_or_goes(on_freebsd: OnFreeBSD) -> None:
    def body() -> None:
        from beastack.port.neutron import dhcp_driver

        def reload(running: str | None, *ports: dict[str, Any]) -> str:
            dnsmasq = make_dnsmasq(ALL_MODES, *ports)
            manager = mock.Mock(cmdline=running, active=running is not None)
            with (
                mock.patch.object(dnsmasq, "_get_process_manager", return_value=manager),
                mock.patch.object(dhcp_driver.Dnsmasq, "restart") as restart,
                mock.patch.object(dhcp_driver.dhcp.Dnsmasq, "reload_allocations") as upstreams,
            ):
                dnsmasq.reload_allocations()
            assert restart.called != upstreams.called
            return "restart" if restart.called else "reload"

        with agent_state():
            assert reload("dnsmasq --enable-ra", ROUTER) == reload("dnsmasq") == "restart"
            assert reload("dnsmasq --enable-ra") == reload("dnsmasq", ROUTER) == reload(None) == "reload"

    on_freebsd(body, *SEAMS)


def test_it_is_started_when_its_addresses_can_be_bound(on_freebsd: OnFreeBSD) -> None:
    def body() -> None:
        from neutron.agent.linux import ip_lib

        from beastack.port.neutron import dhcp_driver

        answers = iter(((True, False), (True, False), (False, False)))

        def list_addresses(self: Any, **filters: Any) -> list[dict[str, Any]]:
            tentative, failed = next(answers)
            return [{"cidr": "2001:db8::2/64", "tentative": tentative, "dadfailed": failed}]

        with agent_state(), mock.patch.object(ip_lib.IpAddrCommand, "list", list_addresses):
            dnsmasq = make_dnsmasq(ALL_MODES)
            with mock.patch.object(dhcp_driver.dhcp.Dnsmasq, "spawn_process") as spawn:
                dnsmasq.spawn_process()
                assert spawn.called
                assert next(answers, None) is None
                # A duplicate is not waited for.
                answers = iter(((True, True),))
                dnsmasq.spawn_process()
                # Without IPv6 subnets nothing is asked.
                make_dnsmasq([V4]).spawn_process()
                assert spawn.call_count == 3

    on_freebsd(body, *SEAMS)


def test_a_device_that_does_not_work_is_taken_away_before_it_is_reused(on_freebsd: OnFreeBSD) -> None:
    def body() -> None:
        from neutron.agent.linux.dhcp import DictModel

        from beastack.port.neutron import dhcp_driver

        port = make_port("fa:16:3e:00:00:01", "network:dhcp", identifier="1")
        with agent_state():
            manager = make_dnsmasq([V4]).device_manager
            assert isinstance(manager, dhcp_driver.DeviceManager)
            assert manager.fill_dhcp_udp_checksums(namespace=JAIL) is None
            network = make_dnsmasq([V4]).network
            with (
                mock.patch.object(dhcp_driver.dhcp.DeviceManager, "setup_dhcp_port", return_value=DictModel(port)),
                mock.patch.object(manager.driver, "discard_broken") as discard,
            ):
                assert manager.setup_dhcp_port(network).id == port["id"]
        assert discard.call_args == mock.call(DEVICE, port["id"], port["mac_address"], namespace=JAIL)

    on_freebsd(body, *SEAMS)
