"""The interface driver: epairs between the switch and jails, made by upstream's calls and mended after anything."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from jail_host import BRIDGE, Crash, Host, Port

OnFreeBSD = Callable[..., None]
JAIL = "qdhcp-3f1c5e0e-6c0a-4d51-9c0c-5b1d2c7b9f10"
PORT_ID = "11111111-2222-4333-8444-555555555555"
DEVICE, PORT = "tap11111111-22", "etap11111111-22"
MAC = "fa:16:3e:00:00:01"
SEAMS = ("N1", "N2", "N4", "N5")


def make_driver(name: str = "EpairInterfaceDriver") -> Any:
    """Return the driver as the DHCP agent loads it, by its name."""
    from neutron.agent import dhcp_agent
    from neutron.agent.common import utils
    from oslo_config import cfg

    dhcp_agent.register_options(cfg.CONF)
    cfg.CONF.set_override("interface_driver", f"beastack.port.neutron.interface_driver.{name}")
    cfg.CONF.set_override("integration_bridge", BRIDGE, "OVS")
    return utils.load_interface_driver(cfg.CONF, get_networks_callback=None)


def plug(driver: Any) -> None:
    """Do what the DHCP agent does with its port, whatever is there."""
    from neutron.agent.linux import ip_lib

    driver.discard_broken(DEVICE, PORT_ID, MAC, namespace=JAIL)
    ip_lib.IPWrapper().ensure_namespace(JAIL)
    if ip_lib.ensure_device_is_ready(DEVICE, namespace=JAIL):
        driver.set_mtu(DEVICE, 1450, namespace=JAIL)
    else:
        driver.plug("network", PORT_ID, DEVICE, MAC, namespace=JAIL, mtu=1450)


def check_works(host: Host) -> None:
    """Check that frames would pass between the switch and the jail."""
    outer, inner = host.halves[None, PORT], host.halves[JAIL, DEVICE]
    assert len(host.halves) == 2
    assert outer.pair == inner.pair == host.ports[PORT].pair
    assert (outer.up, inner.up, outer.mtu, inner.mtu) == (True, True, 1450, 1450)
    assert (outer.inet6, inner.inet6, inner.mac) == (False, True, MAC)
    assert host.ports[PORT].identifiers == {"iface-id": PORT_ID, "iface-status": "active", "attached-mac": MAC}


def test_plugged_once_and_unplugged(on_freebsd: OnFreeBSD) -> None:
    def body() -> None:
        host = Host()
        with host.stand_in():
            driver = make_driver()
            plug(driver)
            check_works(host)
            unit = host.halves[None, PORT].pair
            plug(driver)
            check_works(host)
            assert host.halves[None, PORT].pair == unit
            for _ in range(2):
                driver.unplug(DEVICE, namespace=JAIL)
                assert (host.halves, host.ports) == ({}, {})
            host.remove_jail(JAIL)
            driver.unplug(DEVICE, namespace=JAIL)

    on_freebsd(body, *SEAMS)


def test_names_are_the_switchs_and_the_jails_alone(on_freebsd: OnFreeBSD) -> None:
    def body() -> None:
        from neutron.agent.linux.dhcp import DictModel

        from beastack.port.neutron.interface_driver import get_port_name

        device = make_driver().get_device_name(DictModel(id=PORT_ID))
        assert (device, get_port_name(device)) == (DEVICE, PORT)
        assert len(PORT) == 15

    on_freebsd(body, *SEAMS)


def test_a_crash_at_any_point_is_mended_by_the_next_plug(on_freebsd: OnFreeBSD) -> None:
    def body() -> None:
        crashes = 0
        for done in range(30):
            host = Host(ports={PORT: Port(None, {"iface-id": PORT_ID, "attached-mac": MAC})})
            with host.stand_in():
                driver = make_driver()
                host.crash_after = done
                try:
                    plug(driver)
                except Crash:
                    crashes += 1
                host.crash_after = None
                plug(driver)
                check_works(host)
        assert 8 < crashes < 30

    on_freebsd(body, *SEAMS)


def test_a_crash_while_it_is_unplugged_leaves_nothing_for_the_next(on_freebsd: OnFreeBSD) -> None:
    def body() -> None:
        for done in range(2):
            host = Host()
            with host.stand_in():
                driver = make_driver()
                plug(driver)
                host.crash_after = done
                with pytest.raises(Crash):
                    driver.unplug(DEVICE, namespace=JAIL)
                host.crash_after = None
                plug(driver)
                check_works(host)

    on_freebsd(body, *SEAMS)


def spoil_pair(host: Host) -> None:
    host.delete_interface(PORT, None)


def spoil_port(host: Host) -> None:
    del host.ports[PORT]


def spoil_jail(host: Host) -> None:
    host.remove_jail(JAIL)


def spoil_place(host: Host) -> None:
    host.halves[None, DEVICE] = host.halves.pop((JAIL, DEVICE))


def spoil_identifier(host: Host) -> None:
    host.ports[PORT].identifiers = {"iface-id": "another"}


def spoil_mac(host: Host) -> None:
    host.halves[JAIL, DEVICE].mac = "02:00:00:00:00:99"


@pytest.mark.parametrize("spoil", [spoil_pair, spoil_port, spoil_jail, spoil_place, spoil_identifier, spoil_mac])
def test_what_a_hand_did_is_mended_by_the_next_plug(on_freebsd: OnFreeBSD, spoil: Callable[[Host], None]) -> None:
    def body() -> None:
        host = Host()
        with host.stand_in():
            driver = make_driver()
            plug(driver)
            spoil(host)
            plug(driver)
            check_works(host)

    on_freebsd(body, *SEAMS)


def test_a_failure_leaves_nothing_behind(on_freebsd: OnFreeBSD) -> None:
    def body() -> None:
        from unittest import mock

        host = Host()
        with host.stand_in():
            driver = make_driver()
            with (
                mock.patch.object(type(driver), "_ovs_add_port", side_effect=TimeoutError("the switch")),
                pytest.raises(TimeoutError),
            ):
                plug(driver)
            assert (host.halves, host.ports) == ({}, {})

    on_freebsd(body, *SEAMS)


def test_without_a_bridge_nothing_is_made(on_freebsd: OnFreeBSD) -> None:
    def body() -> None:
        from unittest import mock

        from neutron.privileged.agent.linux import ip_lib
        from neutron_lib import exceptions

        host = Host(jails={JAIL})
        with host.stand_in(), mock.patch.object(ip_lib, "interface_exists", lambda name, namespace: False):
            with pytest.raises(exceptions.BridgeDoesNotExist):
                make_driver().plug("network", PORT_ID, DEVICE, MAC, namespace=JAIL)
            assert not host.halves

    on_freebsd(body, *SEAMS)
