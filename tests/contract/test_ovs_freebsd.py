"""The os-vif plugin: upstream's plugin, over a switch and a host that note what is done to them."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from bhyve_guests import NETWORK, PORTS, UUID

OnFreeBSD = Callable[..., None]
TAP = f"tap{PORTS[0][:11]}"


class Switch:
    """The database's API, as far as the plugin uses it."""

    def __init__(self, ports: tuple[str, ...] = ()) -> None:
        self.ports = set(ports)
        self.calls: list[tuple[Any, ...]] = []

    def _command(self, *call: Any, result: Any = None) -> Any:
        def execute(**named: Any) -> Any:
            self.calls.append(call)
            return result

        return SimpleNamespace(execute=execute)

    def add_br(self, name: str, **named: Any) -> Any:
        """Add a bridge."""
        return self._command("add_br", name, named["datapath_type"])

    def del_port(self, name: str, **named: Any) -> Any:
        """Delete a port."""
        self.ports.discard(name)
        return self._command("del_port", name)

    def list_ports(self, bridge: str) -> Any:
        """Return the ports."""
        return self._command("list_ports", result=sorted(self.ports))

    def add_port(self, bridge: str, name: str) -> Any:
        """Add a port."""
        self.ports.add(name)
        return ("add_port", name)

    def db_set(self, table: str, name: str, *values: Any) -> Any:
        """Set columns."""
        return ("db_set", table, name, dict(values))

    def transaction(self) -> Any:
        """Collect changes."""
        return self

    def __enter__(self) -> Any:
        return SimpleNamespace(add=self.calls.append)

    def __exit__(self, *error: Any) -> None:
        return None


def make_plugin(switch: Switch, opened_by: tuple[int, ...] | None, destroyed: list[str]) -> Any:
    """Return the plugin on a host whose tap is open, closed, or not there (None)."""
    from beastack.port.osvif import ovs_freebsd

    taps = {} if opened_by is None else {TAP: SimpleNamespace(opened_by=opened_by)}

    def destroy(name: str) -> None:
        if opened_by:
            raise ovs_freebsd.InterfaceBusy(["ifconfig", name, "destroy"], None, "", "still open")
        taps.pop(name, None)
        destroyed.append(name)

    ovs_freebsd.find_interface = taps.get  # type: ignore[assignment]
    ovs_freebsd.privileged = SimpleNamespace(destroy_tap=destroy)  # type: ignore[assignment]
    plugin = ovs_freebsd.OvsFreeBSDPlugin.load("ovs_freebsd")
    plugin.ovsdb._ovsdb = switch
    return plugin


def make_vif() -> tuple[Any, Any]:
    """Return an interface and its instance, as nova's VIF driver hands them to os-vif."""
    import os_vif.objects

    os_vif.objects.register_all()
    from os_vif.objects import instance_info, network, vif

    net = network.Network(id=NETWORK, bridge="br-int", mtu=1450)
    profile = vif.VIFPortProfileOpenVSwitch(interface_id=PORTS[0], datapath_type="netdev", create_port=False)
    made = vif.VIFOpenVSwitch(
        id=PORTS[0], address="fa:16:3e:00:00:01", network=net, plugin="ovs_freebsd", vif_name=TAP, port_profile=profile
    )
    return made, instance_info.InstanceInfo(uuid=UUID, name="instance-0000002a")


def test_before_a_start_nothing_is_left_of_the_last(on_freebsd: OnFreeBSD) -> None:
    def body() -> None:
        switch, destroyed = Switch((TAP,)), list[str]()
        make_plugin(switch, (), destroyed).plug(*make_vif())
        assert switch.calls == [("add_br", "br-int", "netdev"), ("del_port", TAP)]
        assert destroyed == [TAP]

    on_freebsd(body)


@pytest.mark.parametrize("there", [True, False])
def test_a_running_guest_keeps_its_port_or_gets_it_back(there: bool, on_freebsd: OnFreeBSD) -> None:
    def body() -> None:
        switch, destroyed = Switch((TAP,) if there else ()), list[str]()
        make_plugin(switch, (549,), destroyed).plug(*make_vif())
        assert switch.ports == {TAP} and not destroyed
        assert not any(call[0] == "del_port" for call in switch.calls)
        columns = [call[3]["external_ids"] for call in switch.calls if call[0] == "db_set"]
        assert columns == [] if there else columns[0]["iface-id"] == PORTS[0]

    on_freebsd(body)


def test_after_a_stop_port_and_tap_go(on_freebsd: OnFreeBSD) -> None:
    def body() -> None:
        for opened_by, gone in ((None, []), ((), [TAP]), ((549,), [])):
            switch, destroyed = Switch((TAP,)), list[str]()
            make_plugin(switch, opened_by, destroyed).unplug(*make_vif())
            assert switch.calls == [("del_port", TAP)] and destroyed == gone
            # No harm in a second time.
            make_plugin(switch, None, destroyed).unplug(*make_vif())

    on_freebsd(body)
