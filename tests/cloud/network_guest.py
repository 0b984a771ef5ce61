#!/usr/bin/env python3
"""Behaves like a guest behind one interface, in the network namespace that it is started in. Linux, root.

Each command prints one JSON object: ``ok``, ``error`` if it is not, and what it
found. Exit status 0 or 1, as ``ok`` is. Commands that go on until they are
told (SIGTERM) or until a limit say ``ready`` on standard error when they have begun.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from guest import dhcp4, forge, http, ipv6, names, ping, sniff, streams
from guest.link import GuestError

Answer = dict[str, Any]


def build_parser() -> argparse.ArgumentParser:
    """Return the grammar of the command line."""
    parser = argparse.ArgumentParser("network_guest.py", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(name: str, text: str, *positional: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=text, description=text)
        for item in positional:
            sub.add_argument(item, type=int if item == "port" else str, metavar=item.upper())
        return sub

    sub = command("dhcp4", "Obtain a lease by DHCP and set the interface by it.", "interface")
    sub.add_argument("--request", metavar="A", help="ask for this address again, as after a reboot")
    sub.add_argument("--release", action="store_true", help="give the lease back and clear the interface")
    _add_common(sub, limit=20)
    sub = command("ipv6", "Find a router, and do SLAAC and DHCPv6 as it says.", "interface")
    sub.add_argument("--mode", choices=ipv6.MODES, default="auto", help="what to do whatever the router says")
    sub.add_argument("--release", action="store_true", help="give DHCPv6's address back at the end")
    _add_common(sub, limit=20)
    sub = command("ping", "Send ICMP echo requests; ok when there was a reply.", "interface", "address")
    sub.add_argument("--count", type=int, metavar="N", help="how many (default 3; with --watch no end)")
    sub.add_argument("--interval", type=float, metavar="S", help="seconds between them (default 0.5; with --watch 0.1)")
    sub.add_argument("--deadline", type=float, metavar="S", help="end after so many seconds in any case")
    sub.add_argument("--size", type=int, default=56, metavar="N", help="octets after the ICMP header")
    sub.add_argument("--whole", action="store_true", help="never fragment")
    sub.add_argument("--watch", type=Path, metavar="FILE", help="go on and on; a line for each reply: TIME NUMBER TRIP")
    sub = command("get", "Make an HTTP request; ok when there was any answer.", "url")
    sub.add_argument("--interface", metavar="IF", help="leave by this interface")
    sub.add_argument("--host-address", metavar="A", help="come from this address of the guest")
    sub.add_argument("--header", action="append", default=[], metavar="K=V", help="a request header (repeatable)")
    sub.add_argument("--method", default="GET", metavar="M")
    sub.add_argument("--data", metavar="TEXT", help="a request body")
    sub.add_argument("--limit", type=float, default=10, metavar="S", help="seconds for each wait")
    sub = command("resolve", "Ask a name server for the addresses of a name.", "name")
    sub.add_argument("--server", required=True, metavar="A")
    sub = command("spoof", "Send forged frames.", "interface")
    sub.add_argument("--kind", choices=forge.KINDS, required=True)
    for part in ("source-mac", "source-ip", "target-mac", "target-ip"):
        sub.add_argument(f"--{part}", metavar="A")
    sub.add_argument("--count", type=int, default=3, metavar="N")
    sub.add_argument("--interval", type=float, default=0.1, metavar="S")
    sub = command("sniff", "Count frames that arrive.", "interface")
    sub.add_argument("--seconds", type=float, default=5, metavar="N")
    sub.add_argument("--filter", action="append", default=[], metavar="WHAT",
                     help="a kind (arp, nd, ra, dhcp-server, forged, ...) or FIELD=VALUE, "
                          f"FIELD one of {', '.join(sniff.FIELDS)}; repeated: all must hold")  # fmt: skip
    sub.add_argument("--enough", type=int, metavar="N", help="end after so many that match")
    sub.add_argument("--keep", type=int, default=20, metavar="N", help="describe so many of them")
    for name, text in (("tcp-serve", "Send back what comes over TCP."), ("udp-serve", "Send back datagrams.")):
        command(name, text, "address", "port").add_argument("--seconds", type=float, metavar="S", help="then end")
    sub = command("tcp-connect", "Connect, and have octets sent back.", "address", "port")
    sub.add_argument("--bytes", type=int, default=0, metavar="N")
    sub.add_argument("--limit", type=float, default=5, metavar="S", help="seconds for each wait")
    for name, text in (
        ("tcp-hold", "Keep a connection with a byte each 0.2 s, and say when it broke."),
        ("udp-hold", "Send a datagram each 0.2 s, and say when answers ceased."),
    ):
        sub = command(name, text, "address", "port")
        sub.add_argument("--seconds", type=float, metavar="S", help="then end")
        sub.add_argument("--patience", type=float, default=3, metavar="S", help="without an answer: broken")
    return parser


def _add_common(sub: argparse.ArgumentParser, limit: float) -> None:
    sub.add_argument("--hostname", metavar="NAME", help="what the guest calls itself")
    sub.add_argument("--limit", type=float, default=limit, metavar="S", help="seconds to wait (default %(default)s)")
    sub.add_argument("--look-only", action="store_true", help="set nothing but the link-local address")


def _dhcp4(options: argparse.Namespace) -> Answer:
    return dhcp4.run(
        options.interface, options.limit, hostname=options.hostname, earlier=options.request, release=options.release,
        apply=not options.look_only,
    )  # fmt: skip


def _ipv6(options: argparse.Namespace) -> Answer:
    return ipv6.run(
        options.interface, options.limit, mode=options.mode, hostname=options.hostname, release=options.release,
        apply=not options.look_only,
    )  # fmt: skip


def _ping(options: argparse.Namespace) -> Answer:
    watched = options.watch is not None
    count = options.count if options.count is not None or watched else 3
    answer = ping.run(
        options.interface, options.address, count=count, interval=options.interval or (0.1 if watched else 0.5),
        deadline=options.deadline, size=options.size, whole=options.whole, watch=options.watch,
    )  # fmt: skip
    return {"ok": answer["received"] > 0, **answer}


def _get(options: argparse.Namespace) -> Answer:
    return http.run(
        options.url, method=options.method, body=options.data, headers=options.header, interface=options.interface,
        own=options.host_address, limit=options.limit,
    )  # fmt: skip


def _spoof(options: argparse.Namespace) -> Answer:
    return forge.run(
        options.interface, options.kind, source_mac=options.source_mac, source=options.source_ip,
        target_mac=options.target_mac, target=options.target_ip, count=options.count, interval=options.interval,
    )  # fmt: skip


def _sniff(options: argparse.Namespace) -> Answer:
    return sniff.run(options.interface, options.seconds, options.filter, options.enough, options.keep)


COMMANDS: dict[str, Callable[[argparse.Namespace], Answer]] = {
    "dhcp4": _dhcp4,
    "ipv6": _ipv6,
    "ping": _ping,
    "get": _get,
    "resolve": lambda options: names.run(options.name, options.server),
    "spoof": _spoof,
    "sniff": _sniff,
    "tcp-serve": lambda options: streams.serve_tcp(options.address, options.port, options.seconds),
    "udp-serve": lambda options: streams.serve_udp(options.address, options.port, options.seconds),
    "tcp-connect": lambda options: streams.connect_tcp(options.address, options.port, options.bytes, options.limit),
    "tcp-hold": lambda options: streams.hold_tcp(options.address, options.port, options.seconds, options.patience),
    "udp-hold": lambda options: streams.hold_udp(options.address, options.port, options.seconds, options.patience),
}


def main() -> int:
    """Run one command, print what it found, and return the exit status."""
    options = build_parser().parse_args()
    try:
        answer = {"ok": True, **COMMANDS[options.command](options)}
    except (GuestError, OSError) as error:
        answer = {"ok": False, "error": str(error)}
    print(json.dumps(answer), flush=True)
    return 0 if answer["ok"] else 1


if __name__ == "__main__":
    sys.exit(main())
