"""netstat -i: the counters of interfaces."""

from __future__ import annotations

import ipaddress
from typing import Any

from freebsd_sim.call import Call
from freebsd_sim.commands.addresses import format_scoped
from freebsd_sim.commands.libxo import format_document
from freebsd_sim.kernel.interface_model import Interface
from freebsd_sim.kernel.jails import Jail

# Places in a line of Linux's /proc/net/dev (net/core/net-procfs.c).
COUNTERS = {
    "rx_bytes": 0, "rx_packets": 1, "rx_errors": 2, "rx_dropped": 3, "tx_bytes": 8, "tx_packets": 9, "tx_errors": 10,
    "collisions": 13,
}  # fmt: skip
FIELDS = {
    "received-packets": "rx_packets", "received-errors": "rx_errors", "dropped-packets": "rx_dropped",
    "received-bytes": "rx_bytes", "sent-packets": "tx_packets", "send-errors": "tx_errors", "sent-bytes": "tx_bytes",
    "collisions": "collisions",
}  # fmt: skip
OF_ADDRESSES = ("received-packets", "received-bytes", "sent-packets", "sent-bytes")


def show(call: Call, jail: Jail, family: int, chosen: dict[str, str], as_json: bool) -> str:
    """Return the table, a row for each interface and one for each of its addresses."""
    with call.kernel.lock:
        counters = _read_counters(jail)
        rows = []
        for interface in call.kernel.interfaces.list(jail):
            if chosen.get("I", interface.name) != interface.name:
                continue
            for network, address in _places(interface, family):
                rows.append((interface, network, address, counters.get(interface.linux_name, {})))
    with_bytes = "b" in chosen
    if as_json:
        items = [_describe(*row, with_bytes=with_bytes) for row in rows]
        return format_document({"statistics": {"interface": items}})
    return _format(rows, with_bytes, "d" in chosen)


def _places(interface: Interface, family: int) -> list[tuple[str, str]]:
    places = [] if family else [(f"<Link#{interface.index}>", interface.mac if interface.is_ether else interface.name)]
    for record in interface.addresses:
        if family in (0, record.address.version):
            scope = interface if record.is_link_local else None
            network = record.network.network_address
            name = f"{format_scoped(network, scope)}/{record.prefixlen}"
            if record.address.version == 4 and record.network == ipaddress.ip_network("127.0.0.0/8"):
                name = "127.0.0.0/8"
            places.append((name, format_scoped(record.address, scope)))
    return places


def _read_counters(jail: Jail) -> dict[str, dict[str, int]]:
    """Return the counters of each link by its name in Linux."""
    return jail.network.stack.run(_read_counters_here)


def _read_counters_here() -> dict[str, dict[str, int]]:
    found = {}
    # /proc/net is the main thread's; this thread is in another namespace.
    with open("/proc/thread-self/net/dev") as file:
        for line in file.readlines()[2:]:
            name, _, numbers = line.rpartition(":")
            words = numbers.split()
            found[name.strip()] = {counter: int(words[place]) for counter, place in COUNTERS.items()}
    return found


def _describe(
    interface: Interface, network: str, address: str, counters: dict[str, int], *, with_bytes: bool
) -> dict[str, Any]:
    item: dict[str, Any] = {
        "name": interface.name, "flags": f"0x{interface.flags & 0xFFFF:x}", "mtu": interface.mtu,
        "network": network, "address": address,
    }  # fmt: skip
    for name, counter in FIELDS.items():
        if ("bytes" in name and not with_bytes) or (not network.startswith("<") and name not in OF_ADDRESSES):
            continue
        item[name] = counters.get(counter, 0)
    return item


def _format(rows: list[tuple[Interface, str, str, dict[str, int]]], with_bytes: bool, with_drops: bool) -> str:
    def name_of(interface: Interface) -> str:
        return interface.name + ("" if interface.up else "*")

    name_width = max([5, *(len(name_of(row[0])) for row in rows)])
    network_width = max([len("Network "), *(len(row[1]) for row in rows)])
    address_width = max([len("Address "), *(len(row[2]) for row in rows)])
    packets = max([8, *(len(str(row[3].get(name, 0))) + 1 for row in rows for name in ("rx_packets", "tx_packets"))])
    octets = max([10, *(len(str(row[3].get(name, 0))) + 1 for row in rows for name in ("rx_bytes", "tx_bytes"))])
    words = [f"{'Name':<{name_width}}", f"{'Mtu':>5}", f"{'Network':<{network_width}} ",
             f"{'Address':<{address_width}}", f"{'Ipkts':>{packets}}", "Ierrs", "Idrop"]  # fmt: skip
    words += [f"{'Ibytes':>{octets}}"] if with_bytes else []
    words += [f"{'Opkts':>{packets}}", "Oerrs"]
    words += [f"{'Obytes':>{octets}}"] if with_bytes else []
    words += [f"{'Coll':>5}", *([" Drop"] if with_drops else [])]
    lines = [" ".join(words)]
    for interface, network, address, counters in rows:
        link = network.startswith("<")

        def show_number(name: str, width: int, shown: bool, counters: dict[str, int] = counters) -> str:
            return f"{counters.get(name, 0) if shown else '-':>{width}}"

        words = [f"{name_of(interface):<{name_width}}", f"{interface.mtu:>5}", f"{network:<{network_width}} ",
                 f"{address:<{address_width}}", show_number("rx_packets", packets, True),
                 show_number("rx_errors", 5, link), show_number("rx_dropped", 5, link)]  # fmt: skip
        words += [show_number("rx_bytes", octets, True)] if with_bytes else []
        words += [show_number("tx_packets", packets, True), show_number("tx_errors", 5, link)]
        words += [show_number("tx_bytes", octets, True)] if with_bytes else []
        words += [show_number("collisions", 5, link), *([f"{'0' if link else '-':>5}"] if with_drops else [])]
        lines.append(" ".join(words))
    return "".join(f"{line}\n" for line in lines)
