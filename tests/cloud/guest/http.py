"""One HTTP request, from a chosen interface and address, to a literal address with or without a zone."""

from __future__ import annotations

import http.client
import re
import socket
import time
from collections.abc import Sequence
from typing import Any

from guest.link import GuestError

URL = re.compile(r"http://(?:\[(?P<literal>[^\]]+)\]|(?P<name>[^/:\[]+))(?::(?P<port>\d+))?(?P<path>/.*)?")


class Connection(http.client.HTTPConnection):
    """A connection that leaves by an interface and from an address of choice."""

    def __init__(self, host: str, port: int, timeout: float, interface: str | None, own: str | None) -> None:
        super().__init__(host, port, timeout=timeout)
        self.interface, self.own = interface, own

    def connect(self) -> None:
        """Open the connection."""
        family, kind, protocol, _, target = socket.getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM)[0]
        self.sock = socket.socket(family, kind, protocol)
        self.sock.settimeout(self.timeout)
        if self.interface:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, self.interface.encode())
        if self.own:
            self.sock.bind(socket.getaddrinfo(self.own, 0, family, kind)[0][4])
        self.sock.connect(target)


def run(
    url: str, *, method: str = "GET", body: str | None = None, headers: Sequence[str] = (),
    interface: str | None = None, own: str | None = None, limit: float = 10,
) -> dict[str, Any]:  # fmt: skip
    """Make a request and return status, headers and body; any status is an answer.

    :param url: ``http://`` with a name, an IPv4 address or an IPv6 address in brackets, its zone after ``%``
    :param headers: each ``NAME=VALUE``
    :param own: the guest's address that the request comes from
    :param limit: seconds for the connection and for each read
    :raises GuestError: there was no answer
    """
    match = URL.fullmatch(url)
    if match is None:
        raise GuestError(f"not a URL that this understands: {url}")
    host = (match["literal"] or match["name"]).replace("%25", "%")
    port = int(match["port"] or 80)
    began = time.monotonic()
    connection = Connection(host, port, limit, interface, own)
    # A server is never told the zone, which means something here only (RFC 6874).
    shown = f"[{host.partition('%')[0]}]" if match["literal"] else host
    try:
        connection.putrequest(method, match["path"] or "/", skip_host=True)
        connection.putheader("Host", shown if port == 80 else f"{shown}:{port}")
        for item in headers:
            connection.putheader(*item.split("=", 1))
        if body is not None:
            connection.putheader("Content-Length", str(len(body.encode())))
        connection.endheaders(None if body is None else body.encode())
        answer = connection.getresponse()
        text = answer.read().decode(errors="replace")
    except (OSError, http.client.HTTPException) as error:
        raise GuestError(f"{url}: {type(error).__name__}: {error}") from None
    finally:
        connection.close()
    return {
        "status": answer.status, "body": text, "headers": {name.lower(): value for name, value in answer.getheaders()},
        "seconds": round(time.monotonic() - began, 3),
    }  # fmt: skip
