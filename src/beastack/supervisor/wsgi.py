"""Serve one WSGI application over HTTP with cheroot, in a process of its own."""

from __future__ import annotations

import logging
import os
import signal
import sys
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

from cheroot import wsgi

from beastack.supervisor.child import load

LOG = logging.getLogger("beastack.wsgi")


class _Input:
    """A request's body that an application may close: the connection goes on for the next request.

    PEP 3333 lets nobody but the server close it, and some applications do;
    cheroot would then answer the connection's next request with an error.
    """

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._stream)

    def close(self) -> None:
        """Do nothing."""


class _Server(wsgi.Server):
    """Gives a connection to a thread when it has something to read, the first time as well.

    cheroot hands a new connection to a thread at once: a client that only
    connects would hold a thread until its time is up.
    """

    def process_conn(self, conn: Any) -> None:
        """Take a connection that is new, or that has become readable."""
        if conn.last_used is None:
            self.put_conn(conn)
        else:
            super().process_conn(conn)


def _keeping_input_open(application: Callable[..., Any]) -> Callable[..., Any]:
    def call(environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
        environ["wsgi.input"] = _Input(environ["wsgi.input"])
        return application(environ, start_response)

    return call


def serve() -> None:
    """Serve what the environment names, until SIGTERM.

    ``BEASTACK_WSGI``: module:attribute of the application; imported here, after the fork.
    ``BEASTACK_LISTEN``: HOST PORT. Several workers listen at the same port,
    and the kernel spreads connections over them (SO_REUSEPORT).
    ``BEASTACK_THREADS``: requests served at once.
    ``BEASTACK_WARM``: module:function called once before the first request,
    for what the application would otherwise build on first use, and build
    wrongly when two requests are the first.
    """
    signal.signal(signal.SIGTERM, _leave)
    host, port = os.environ["BEASTACK_LISTEN"].split()
    application = load(os.environ["BEASTACK_WSGI"])
    if os.environ.get("BEASTACK_WARM"):
        load(os.environ["BEASTACK_WARM"])()
    server = _Server(
        (host, int(port)),
        _keeping_input_open(application),
        numthreads=int(os.environ["BEASTACK_THREADS"]),
        server_name="beastack",
        request_queue_size=128,
        # Clients keep connections open between calls; a thread is not held by an idle one.
        timeout=75,
        reuse_port=True,
    )
    server.error_log = _log_error
    server.safe_start()


def _leave(number: int, frame: FrameType | None) -> None:
    sys.exit(0)


def _log_error(msg: str = "", level: int = logging.INFO, traceback: bool = False) -> None:
    LOG.log(level, msg, exc_info=traceback)
