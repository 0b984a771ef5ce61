"""The HTTP server under the APIs, with the cheroot of each release."""

from __future__ import annotations

import contextlib
import http.client
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest


def connect(port: int) -> socket.socket:
    """Connect as soon as the server listens.

    :raises AssertionError: it never does
    """
    deadline = time.monotonic() + 60
    while True:
        try:
            return socket.create_connection(("127.0.0.1", port), timeout=10)
        except ConnectionRefusedError:
            if time.monotonic() > deadline:
                pytest.fail("the server does not listen")
            time.sleep(0.05)


def test_an_idle_connection_holds_no_thread(tmp_path: Path) -> None:
    (tmp_path / "answering.py").write_text(
        "def application(environ, start_response):\n"
        "    start_response('200 OK', [('Content-Length', '2')])\n"
        "    return [b'ok']\n"
    )
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    environment = {
        "BEASTACK_WSGI": "answering:application", "BEASTACK_LISTEN": f"127.0.0.1 {port}", "BEASTACK_THREADS": "1",
        "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path]),
    }  # fmt: skip
    argv = [sys.executable, "-c", "from beastack.supervisor import wsgi; wsgi.serve()"]
    with subprocess.Popen(argv, env={**os.environ, **environment}) as server:
        try:
            with connect(port) as idle, contextlib.closing(http.client.HTTPConnection("127.0.0.1", port)) as client:
                client.timeout = 10
                for _ in range(3):
                    client.request("GET", "/")
                    assert client.getresponse().read() == b"ok"
                idle.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
                assert idle.recv(100).startswith(b"HTTP/1.1 200")
        finally:
            server.terminate()
    assert server.returncode == 0
