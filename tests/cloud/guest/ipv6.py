"""How a guest comes to its IPv6 addresses: link-local, a router's word, then SLAAC, DHCPv6, or both."""

from __future__ import annotations

import socket
import time
from typing import Any

from guest import link, router
from guest.dhcp6 import CLIENT_PORT, Client
from guest.frames import ETH_IP6
from guest.link import GuestError, Wire

MODES = ("auto", "slaac", "stateless", "stateful")


def run(
    interface: str, limit: float, *, mode: str = "auto", hostname: str | None = None, release: bool = False,
    apply: bool = True,
) -> dict[str, Any]:  # fmt: skip
    """Configure the interface and return all that was heard.

    :param limit: seconds for a router's answer, and again for DHCPv6
    :param mode: ``auto`` does what the router's flags say; the others try DHCPv6 (or not) whatever they say
    :param release: give DHCPv6's address back at the end
    :raises GuestError: no router answers (in mode auto or slaac), DHCPv6 fails, an address is taken
    """
    began = time.monotonic()
    mac, own = router.raise_link_local(interface)
    # With nobody on the port, Linux would answer a server's unicast with "port unreachable".
    with Wire(interface, ETH_IP6) as wire, socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as quiet:
        quiet.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, interface.encode())
        quiet.bind(("::", CLIENT_PORT))
        said = router.solicit(wire, mac, own, limit)
        if said is None and mode in ("auto", "slaac"):
            raise GuestError(f"no router advertisement within {limit:g} s")
        heard = time.monotonic() - began
        addresses = router.apply_advertisement(interface, mac, said) if said is not None and apply else []
        stateful = mode == "stateful" or (mode == "auto" and said is not None and said["managed"])
        stateless = mode == "stateless" or (mode == "auto" and said is not None and said["other"])
        settings, sent = None, []
        if stateful or stateless:
            client = Client(wire, mac, own, limit)
            if stateful:
                reply, given = client.obtain(hostname)
                if release:
                    client.release(reply)
                elif apply:
                    for item in given:
                        router.add_address(interface, item["address"], 128, item["preferred"], item["valid"])
                addresses += given
            else:
                reply = client.ask_settings()
            settings, sent = reply.settings(), client.sent
    return {
        "mac": mac, "link_local": own, "router": said, "addresses": addresses, "dhcp": settings, "sent": sent,
        "router_seconds": round(heard, 3), "seconds": round(time.monotonic() - began, 3),
        "mtu": link.read_link(interface)["mtu"],
    }  # fmt: skip
