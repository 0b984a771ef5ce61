"""Ports of Linux's loopback that lead to a host's: how programs of Linux reach what listens on a host's loopback.

One process for each host. It listens where it was started, and then enters
the host's network and process namespaces, so that it connects from inside and
ends with the host.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from freebsd_sim import linux
from freebsd_sim.host import KERNEL_ENVIRONMENT, Host, HostError

LOOPBACK = "127.0.0.1"
CHUNK = 65536
STOP_LIMIT = 10.0


def forward(host: Host, ports: Sequence[int]) -> bool:
    """Let ports of Linux's loopback lead to the same ports of the host's; returns False when they do already.

    Other ports than these lead there no longer.

    :raises HostError: the host does not run, or a port is taken
    """
    _, namespaces = host.call("enter")
    listeners: list[socket.socket] = []
    try:
        before = forwarded(host)
        if sorted(before) == sorted(ports):
            return False
        if before:
            _end(host)
        if not ports:
            return True
        listeners = [_listen(port) for port in ports]
        _, processes, network, *_ = namespaces
        descriptors = [processes, network, *(listener.fileno() for listener in listeners)]
        with host.log.open("ab") as log:
            subprocess.run(
                [sys.executable, "-m", "freebsd_sim.forward", str(host.directory), *map(str, descriptors)],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, pass_fds=descriptors, env=KERNEL_ENVIRONMENT,
                start_new_session=True, check=True,
            )  # fmt: skip
        return True
    except subprocess.CalledProcessError as error:
        raise HostError(f"ports cannot be forwarded: more in {host.log}") from error
    finally:
        for listener in listeners:
            listener.close()
        for descriptor in namespaces:
            os.close(descriptor)


def forwarded(host: Host) -> list[int]:
    """Return the ports that lead to the host."""
    try:
        record = json.loads(_record(host.directory).read_text())
        line = Path(f"/proc/{record['pid']}/cmdline").read_bytes()
    except (OSError, ValueError):
        return []
    ours = b"freebsd_sim.forward" in line and str(host.directory).encode() in line
    return list(record["ports"]) if ours else []


def _record(directory: Path) -> Path:
    return directory / "forward.json"


def _end(host: Host) -> None:
    pid = json.loads(_record(host.directory).read_text())["pid"]
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    deadline = time.monotonic() + STOP_LIMIT
    while forwarded(host):
        if time.monotonic() > deadline:
            raise HostError(f"process {pid}, which forwards ports to {host.name}, does not end")
        time.sleep(0.02)


def _listen(port: int) -> socket.socket:
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((LOOPBACK, port))
        listener.listen()
    except OSError as error:
        listener.close()
        raise HostError(f"port {port} of this machine's loopback cannot be had: {error.strerror}") from None
    return listener


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(CHUNK):
            writer.write(data)
            await writer.drain()
        if writer.can_write_eof():
            writer.write_eof()


async def _relay(port: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        inner_reader, inner_writer = await asyncio.open_connection(LOOPBACK, port)
    except OSError:
        writer.transport.abort()  # nobody listens there: the caller is refused as well as can be
        return
    try:
        await asyncio.gather(_pump(reader, inner_writer), _pump(inner_reader, writer))
    finally:
        for each in (inner_writer, writer):
            each.close()


async def _serve(listeners: Sequence[socket.socket]) -> None:
    servers = [
        await asyncio.start_server(functools.partial(_relay, listener.getsockname()[1]), sock=listener)
        for listener in listeners
    ]
    await asyncio.gather(*(server.serve_forever() for server in servers))


def main() -> None:
    """Enter the host and serve in a child, which process 1 of the host adopts; its number is noted by Linux's count."""
    directory = Path(sys.argv[1])
    processes, network, *numbers = map(int, sys.argv[2:])
    listeners = [socket.socket(fileno=number) for number in numbers]
    linux.setns(processes, linux.CLONE_NEWPID)
    linux.setns(network, linux.CLONE_NEWNET)
    child = os.fork()
    if child == 0:
        asyncio.run(_serve(listeners))
        return
    temporary = _record(directory).with_suffix(".new")
    temporary.write_text(json.dumps({"pid": child, "ports": [listener.getsockname()[1] for listener in listeners]}))
    temporary.replace(_record(directory))
    os._exit(0)


if __name__ == "__main__":
    main()
