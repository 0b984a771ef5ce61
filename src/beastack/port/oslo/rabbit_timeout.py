"""C3: how long a connection to RabbitMQ may stay without an answer from the other side.

Upstream sets two limits on the socket: Python's own, and Linux's
TCP_USER_TIMEOUT by its number, 18, on every system but Windows and macOS.
FreeBSD has no such option and answers ENOPROTOOPT, and upstream's handler of
that error takes an element of the exception (``error[0]``), which is a
TypeError: no connection is ever made.

FreeBSD's counterpart is TCP_MAXUNACKTIME (netinet/tcp.h, tcp(4), since
FreeBSD 14.0): the connection is dropped when no byte sent was acknowledged for
so many seconds; 0 means no limit. Python's socket module does not name it.
"""

from __future__ import annotations

import errno
import functools
import math
import socket
import sys
from collections.abc import Callable
from typing import Any

from beastack.seams.registry import Seam
from beastack.seams.source import FUNCTION

TCP_MAXUNACKTIME = 68  # seconds


def _make(original: Callable[..., None]) -> Callable[..., None]:
    @functools.wraps(original)
    def set_transport_socket_timeout(self: Any, timeout: float | None = None) -> None:
        if not sys.platform.startswith("freebsd"):
            original(self, timeout)
            return
        if self._heartbeat_supported_and_enabled():
            limit = self.heartbeat_timeout_threshold
            timeout = limit if timeout is None else min(limit, timeout)
        try:
            connected = self.channel.connection.sock
        except AttributeError:
            # No channel yet, or a transport without a socket: upstream passes over that, too.
            return
        connected.settimeout(timeout)
        try:
            connected.setsockopt(socket.IPPROTO_TCP, TCP_MAXUNACKTIME, math.ceil(timeout or 0))
        except OSError as error:
            if error.errno != errno.ENOPROTOOPT:  # FreeBSD 13
                raise

    return set_transport_socket_timeout


SEAM = Seam(
    id="C3",
    kind=FUNCTION,
    distribution="oslo.messaging",
    module="oslo_messaging._drivers.impl_rabbit",
    why="sets Linux's TCP_USER_TIMEOUT by number, and fails on the answer that there is no such option: "
    "no service can reach RabbitMQ; here FreeBSD's TCP_MAXUNACKTIME is set",
    since="0.2.0",
    retired_by="oslo.messaging setting the option only where the socket module has it "
    "(or reading the error's errno, without the dead peer's limit)",
    processes=(
        "nova-api", "nova-metadata", "nova-conductor", "nova-scheduler", "nova-novncproxy", "nova-serialproxy",
        "neutron-api", "neutron-rpc", "neutron-periodic",
    ),
    hosts=("freebsd",),
    hashes={"17": "bdc6cecdb8dd5e77", "18": "bdc6cecdb8dd5e77"},
    make={"Connection.set_transport_socket_timeout": _make},
)  # fmt: skip
