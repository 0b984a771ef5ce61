"""Networks: bound ports, DHCP, and what belongs to nothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from beastack.site import services
from beastack.site.doctor.answers import Object
from beastack.site.doctor.finding import Finding, bad, good
from beastack.site.doctor.view import TAP_NAME, View


def check_bindings(view: View) -> Iterator[Finding]:
    """No port of an instance failed to be bound."""
    names = {one["id"]: one["name"] for one in view.servers}
    failed = [port for port in view.ports if port.get("binding:vif_type") == "binding_failed"]
    for port in failed:
        owner = names.get(port.get("device_id", ""), port.get("device_owner") or "nobody")
        if port.get("device_owner") == "network:dhcp":
            remedy = view.restart("neutron-dhcp-agent")
        else:
            remedy = view.openstack("server remove port", port.get("device_id", ""), port["id"]) + ", then add it again"
        yield bad("ports of networks", f"{port['id']} of {owner} could not be bound to a host", remedy)
    if not failed:
        yield good("ports of networks", f"{len(view.ports)}, all bound")


def check_dhcp(view: View) -> Iterator[Finding]:
    """Each network with DHCP is served: by a namespace with dnsmasq and the metadata proxy in it."""
    if "neutron-dhcp-agent" not in {unit.name for unit in services.units(view.site.description)}:
        yield good("DHCP", "answered by the openvswitch agent (network.dhcp)")
        return
    served = {one["network_id"] for one in view.subnets if one["enable_dhcp"]}
    ports = [port for port in view.ports if port["device_owner"] == "network:dhcp"]
    wrong = 0
    for network_id in sorted(served & view.networks.keys()):
        own = [port for port in ports if port["network_id"] == network_id]
        for seen, remedy in _dhcp_problems(view, network_id, own):
            wrong += 1
            yield bad("DHCP", f"network {view.networks[network_id]['name']}: {seen}", remedy)
    if not wrong:
        yield good("DHCP", f"{len(served)} network{'' if len(served) == 1 else 's'} served")


def _dhcp_problems(view: View, network_id: str, ports: Sequence[Object]) -> Iterator[tuple[str, str]]:
    restart = view.restart("neutron-dhcp-agent")
    if not ports:
        add = view.openstack("network agent add network --dhcp AGENT", network_id)
        yield "no DHCP agent serves it", f"{add} (AGENT from network agent list), or {view.redo}"
        return
    here = [port for port in ports if port.get("binding:host_id") == view.site.hostname]
    if not here:
        return
    namespace = f"qdhcp-{network_id}"
    if namespace not in view.namespaces:
        yield f"the namespace {namespace} is gone", restart
        return
    programs = view.programs_in(namespace)
    if "dnsmasq" not in programs:
        yield f"no dnsmasq runs in {namespace}: guests get no address", restart
    if "haproxy" not in programs:
        yield f"no haproxy runs in {namespace}: guests get no metadata", restart
    for port in here:
        if port["status"] != "ACTIVE":
            yield f"its DHCP port {port['id']} is {port['status']}", view.restart("neutron-ovs-agent")


def check_leftovers(view: View) -> Iterator[Finding]:
    """No tap and no namespace belongs to nothing."""
    # The host first: what is made or removed meanwhile must not look left over.
    taps, attached = [name for name in view.links if TAP_NAME.match(name)], set(view.integration_ports)
    names = [name for name in view.namespaces if name.startswith("qdhcp-")]
    known, networks = {f"tap{port['id'][:11]}" for port in view.ports}, set(view.networks)
    if {*taps} - known or {name.removeprefix("qdhcp-") for name in names} - networks:
        # What is removed by this finding's remedy is asked for twice: an answer can be too short, from a
        # neutron that has only just started, and something may have been made since.
        known |= {f"tap{port['id'][:11]}" for port in view.admin.items("network", "/ports", "ports")}
        networks |= {one["id"] for one in view.admin.items("network", "/networks", "networks")}
    ours = set(view.steps.switch.dhcp_namespaces(view.site))
    shared = "unless another cloud on this host uses it: "
    wrong = 0
    for name in sorted({*taps, *(port for port in attached if TAP_NAME.match(port))} - known):
        remove = view.words.delete_link.format(name)
        if name in attached:
            remedy = view.vsctl("--if-exists del-port", name) + (f"; {remove}" if name in view.links else "")
        elif not view.steps.switch.link_exists(name) or view.links[name].carrier:
            continue  # gone by now; or in use, by something that is not ours
        else:
            remedy = shared + remove
        wrong += 1
        yield bad("leftovers", f"the tap {name} belongs to no port of neutron's", remedy)
    for name in names:
        if name.removeprefix("qdhcp-") in networks or (name not in ours and view.programs_in(name)):
            continue
        wrong += 1
        remedy = ("" if name in ours else shared) + view.words.delete_namespace.format(name)
        yield bad("leftovers", f"the namespace {name} belongs to no network of neutron's", remedy)
    if not wrong:
        yield good("leftovers", "no tap or namespace belongs to nothing")
