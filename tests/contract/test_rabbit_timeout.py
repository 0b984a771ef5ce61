"""C3: upstream's connection to RabbitMQ, over a socket that knows FreeBSD's options and no other."""

from __future__ import annotations

import types
from collections.abc import Callable
from typing import Any

import pytest

from freebsd import TCP_MAXUNACKTIME, Socket

OnFreeBSD = Callable[..., None]


def make_connection(sock: Any, *, heartbeat: int = 60, supported: bool = True) -> Any:
    """Return upstream's connection with a channel over a socket, without a broker."""
    from oslo_messaging._drivers import impl_rabbit

    connection = object.__new__(impl_rabbit.Connection)
    connection.connection_id = "test"
    connection.heartbeat_timeout_threshold = heartbeat
    connection.connection = types.SimpleNamespace(supports_heartbeats=supported)
    connection._heartbeat_support_log_emitted = False
    connection.channel = types.SimpleNamespace(connection=types.SimpleNamespace(sock=sock))
    return connection


def test_without_it_no_connection_is_made(on_freebsd: OnFreeBSD) -> None:
    def body() -> None:
        with pytest.raises(TypeError):
            make_connection(Socket()).set_transport_socket_timeout()

    on_freebsd(body)


def test_a_dead_peer_is_given_up_as_soon_as_on_linux(on_freebsd: OnFreeBSD) -> None:
    def body() -> None:
        sock = Socket()
        make_connection(sock).set_transport_socket_timeout()
        assert sock.gettimeout() == 60
        assert sock.options == {TCP_MAXUNACKTIME: 60}

    on_freebsd(body, "C3")


#: Heartbeat interval, whether the broker has heartbeats, limit asked for; limit of the socket, and of the peer.
LIMITS = (
    (60, True, None, 60, 60),
    (60, True, 5, 5, 5),
    (60, True, 90, 60, 60),
    (60, True, 0.25, 0.25, 1),
    (0, True, None, None, 0),
    (0, True, 7.5, 7.5, 8),
    (60, False, None, None, 0),
)


def test_the_limit_is_upstreams_in_whole_seconds(on_freebsd: OnFreeBSD) -> None:
    def body() -> None:
        for heartbeat, supported, timeout, on_socket, unacknowledged in LIMITS:
            with Socket() as sock:
                make_connection(sock, heartbeat=heartbeat, supported=supported).set_transport_socket_timeout(timeout)
                assert sock.gettimeout() == on_socket
                assert sock.options == {TCP_MAXUNACKTIME: unacknowledged}

    on_freebsd(body, "C3")


def test_upstreams_limit_for_a_while_and_back(on_freebsd: OnFreeBSD) -> None:
    def body() -> None:
        sock = Socket()
        connection = make_connection(sock)
        with connection._transport_socket_timeout(3):
            assert (sock.gettimeout(), sock.options) == (3, {TCP_MAXUNACKTIME: 3})
        assert (sock.gettimeout(), sock.options) == (60, {TCP_MAXUNACKTIME: 60})

    on_freebsd(body, "C3")


def test_a_transport_without_a_socket(on_freebsd: OnFreeBSD) -> None:
    def body() -> None:
        connection = make_connection(None)
        connection.channel = None
        connection.set_transport_socket_timeout()

    on_freebsd(body, "C3")


def test_freebsd_13_has_no_such_option(on_freebsd: OnFreeBSD) -> None:
    def body() -> None:
        sock = Socket()
        sock.refuses = frozenset((TCP_MAXUNACKTIME,))
        make_connection(sock).set_transport_socket_timeout()
        assert sock.gettimeout() == 60

    on_freebsd(body, "C3")


def test_another_error_is_told(on_freebsd: OnFreeBSD) -> None:
    def body() -> None:
        class Broken(Socket):
            def setsockopt(self, level: int, option: int, value: Any, *rest: Any) -> None:
                raise OSError(22, "Invalid argument")

        with pytest.raises(OSError, match="Invalid argument"):
            make_connection(Broken()).set_transport_socket_timeout()

    on_freebsd(body, "C3")
