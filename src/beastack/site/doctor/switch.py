"""The switch: its bridges, flows, ports and taps."""

from __future__ import annotations

from collections.abc import Iterator

from beastack.site.doctor.answers import Object
from beastack.site.doctor.finding import Finding, bad, good, listed
from beastack.site.doctor.view import TAP_NAME, View
from beastack.site.host import ovs

#: The VLAN that neutron's agent puts a port on that it could not bind (neutron, DEAD_VLAN_TAG).
DEAD_VLAN = 4095


def check_switch(view: View) -> Iterator[Finding]:
    """The switch's database answers."""
    answers, seen = view.switch
    if answers:
        yield good("switch", seen)
    else:
        yield bad("switch", seen, f"{view.command('logs', 'ovsdb-server')}; {view.command('up')}")


def check_datapath(view: View) -> Iterator[Finding]:
    """No other userspace datapath stands in the way: there can be one on a host."""
    foreign = view.steps.switch.foreign_datapath(view.layout)
    if foreign is None:
        yield good("datapath", "no other userspace switch runs")
    else:
        remedy = "stop it (systemctl disable --now openvswitch-switch, or another site's beastack down)"
        yield bad("datapath", f"{foreign} holds it", remedy)


def check_bridges(view: View) -> Iterator[Finding]:
    """The bridges are there, in userspace, with their interfaces."""
    wrong = 0
    for name in (*ovs.bridges(view.site), view.layout.interface("tun")):
        bridge = view.bridges.get(name)
        seen, remedy = "", view.redo
        if bridge is None:
            seen = f"{name} is not there"
            if name == view.layout.interface("tun"):
                remedy = view.restart("neutron-ovs-agent")
        elif bridge["datapath_type"] != "netdev":
            seen = f"{name} is of type {bridge['datapath_type'] or 'system'}, not netdev"
            remedy = view.vsctl(f"set Bridge {name} datapath_type=netdev")
        elif name not in view.links:
            seen, remedy = f"{name} has no interface: the switch did not make it", view.restart("ovs-vswitchd")
        if seen:
            wrong += 1
            yield bad("bridges", seen, remedy)
    if not wrong:
        yield good("bridges", listed(view.bridges))


def check_controllers(view: View) -> Iterator[Finding]:
    """The agent is connected to each bridge: nobody else writes their flows."""
    rows = view.table("Controller", "target", "is_connected")
    if not rows or not all(row["is_connected"] for row in rows):
        seen = "neutron's agent is not connected to the bridges: no new port gets flows"
        yield bad("flows", seen, view.restart("neutron-ovs-agent"))
    else:
        yield good("flows", "neutron's agent is connected to the bridges")


def check_host_pair(view: View) -> Iterator[Finding]:
    """The host is on the provider network."""
    near, far = ovs.host_pair(view.site)
    address = ovs.provider_gateway(view.site)
    bridge = ovs.bridges(view.site)[1]
    what = "provider network"
    missing = [name for name in (near, far) if name not in view.links]
    asleep = [name for name in (near, far) if name in view.links and not view.links[name].up]
    if missing:
        yield bad(what, f"the interface {missing[0]} is gone", view.redo)
    elif asleep:
        yield bad(what, f"the interface {asleep[0]} is down", view.words.raise_link.format(asleep[0]))
    elif address not in view.links[near].addresses:
        yield bad(what, f"{near} does not have {address}", view.words.set_address.format(near, address))
    elif far not in view.interfaces:
        yield bad(what, f"{far} is not a port of the switch", view.vsctl("--may-exist add-port", bridge, far))
    else:
        yield good(what, f"the host is {address} on {near}")


def check_interfaces(view: View) -> Iterator[Finding]:
    """No interface of the switch is in error."""
    wrong = [row for row in view.interfaces.values() if row["error"]]
    for row in wrong:
        owner = _owner_of(view, row)
        if row["name"] in view.links:
            remedy = view.restart("ovs-vswitchd")
        elif (server := _server_of(view, row)) is not None:
            remedy = view.openstack("server reboot --hard", server["id"])
        elif TAP_NAME.match(row["name"]):
            remedy = f"{view.vsctl('--if-exists del-port', row['name'])}; {view.restart('neutron-dhcp-agent')}"
        else:
            remedy = view.redo
        yield bad("interfaces", f"{row['name']} ({owner}): {row['error']}", remedy)
    if not wrong:
        yield good("interfaces", f"none of the switch's {len(view.interfaces)} is in error")


def check_taps(view: View) -> Iterator[Finding]:
    """Every tap on the integration bridge is up: one that is down swallows all packets."""
    # One without an interface is in error, and told of there.
    taps = [name for name in view.integration_ports if TAP_NAME.match(name) and name in view.links]
    wrong = 0
    for name in taps:
        link, row = view.links[name], view.interfaces.get(name, {"name": name})
        server = _server_of(view, row)
        # The tap of an instance that does not run waits for it, down or not.
        if server is not None and server["status"] != "ACTIVE":
            continue
        owner = _owner_of(view, row)
        if not link.up:
            wrong += 1
            yield bad("taps", f"{name} of {owner} is down", view.words.raise_link.format(name))
        elif not link.carrier and server is not None and not server.get("OS-EXT-STS:task_state"):
            wrong += 1
            seen = f"{name} of {owner} is connected to no guest"
            yield bad("taps", seen, view.openstack("server reboot --hard", server["id"]))
    if not wrong:
        yield good("taps", f"{len(taps)} on {ovs.bridges(view.site)[0]}, all up")


def check_tags(view: View) -> Iterator[Finding]:
    """No port is on the VLAN where neutron's agent puts what it could not bind."""
    dead = [row["name"] for row in view.table("Port", "name", "tag") if row["tag"] == DEAD_VLAN]
    for name in dead:
        owner = _owner_of(view, view.interfaces.get(name, {"name": name}))
        yield bad("bindings", f"{name} of {owner} is cut off: the agent could not bind it",
                   f"{view.command('logs', 'neutron-ovs-agent')}; {view.restart('neutron-ovs-agent')}")  # fmt: skip
    if not dead:
        yield good("bindings", "no port of the switch is cut off")


def _server_of(view: View, interface: Object) -> Object | None:
    """Return the instance that an interface of the switch belongs to, if nova can say."""
    server_id = (interface.get("external_ids") or {}).get("vm-uuid")
    if not server_id or not view.has("compute"):
        return None
    return next((one for one in view.servers if one["id"] == server_id), None)


def _owner_of(view: View, interface: Object) -> str:
    server = _server_of(view, interface)
    if server is not None:
        return f"instance {server['name']}"
    ids = interface.get("external_ids") or {}
    if ids.get("vm-uuid"):
        return f"instance {ids['vm-uuid']}"
    if TAP_NAME.match(interface["name"]):
        return f"DHCP, port {ids['iface-id']}" if ids.get("iface-id") else "DHCP or nobody"
    return "the switch"
