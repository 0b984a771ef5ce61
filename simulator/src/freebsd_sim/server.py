"""Serves the commands and system calls of a host's processes: one thread for each connection."""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import select
import socket
import struct
import sys
import threading
import traceback
from pathlib import Path

from freebsd_sim import commands, protocol
from freebsd_sim.call import Call, CommandExit, Exec
from freebsd_sim.kernel import Kernel
from freebsd_sim.kernel.errors import KernelError

INTERNAL_ERROR = 70  # EX_SOFTWARE of sysexits(3)


def log(text: str) -> None:
    """Write a line to the host's log."""
    print(text, file=sys.stderr, flush=True)


class Server:
    """The kernel's side of /.sim/kernel.sock."""

    def __init__(self, kernel: Kernel, path: Path) -> None:
        self.kernel = kernel
        path.unlink(missing_ok=True)
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.listener.bind(str(path))
        path.chmod(0o777)
        self.listener.listen(512)

    def serve(self) -> None:
        """Accept connections for ever."""
        while True:
            stream, _ = self.listener.accept()
            threading.Thread(target=self._serve_one, args=(stream,), daemon=True).start()

    def _serve_one(self, stream: socket.socket) -> None:
        descriptors: list[int] = []
        try:
            with stream, contextlib.suppress(protocol.Gone, ConnectionError):
                while True:
                    data, descriptors = protocol.receive(stream)
                    peer = struct.unpack("=iii", stream.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
                    if data[:1] == b"C":
                        self._command(stream, data, descriptors, peer)
                        return
                    self._system_call(stream, data, peer)
        finally:
            for descriptor in descriptors:
                os.close(descriptor)

    def _system_call(self, stream: socket.socket, data: bytes, peer: tuple[int, int, int]) -> None:
        given: list[int] = []
        try:
            arguments = json.loads(data[1:])
            handler = self.kernel.system_calls.get(arguments.pop("call"))
            if handler is None:
                raise KernelError("ENOSYS")
            result, given = handler(self.kernel, peer[0], peer[1], arguments)
            answer = {"result": result}
        except KernelError as error:
            answer = {"errno": error.name, "text": error.text}
        except Exception:
            log(traceback.format_exc())
            answer = {"errno": "EIO", "text": "internal error of the simulator"}
        protocol.send(stream, b"R" + json.dumps(answer).encode(), given)
        for descriptor in given:
            os.close(descriptor)

    def _command(self, stream: socket.socket, data: bytes, descriptors: list[int], peer: tuple[int, int, int]) -> None:
        argv, cwd, environ = protocol.unpack_command(data)
        pid, uid, gid = peer
        call = Call(
            argv=argv, environ=environ, cwd=cwd, pid=pid, uid=uid, gid=gid, groups=_groups_of(stream, gid),
            jail=self.kernel.jails.of_process(pid), kernel=self.kernel,
            stdin=descriptors[0], stdout=descriptors[1], stderr=descriptors[2],
            caller_gone=lambda: _is_gone(stream),
        )  # fmt: skip
        result = run_command(call)
        if isinstance(result, Exec):
            space = [result.jail.stack.fd] if result.jail is not None else None
            protocol.send(stream, protocol.pack_exec(result, environ), space)
        else:
            protocol.send(stream, b"X%d" % result)


def run_command(call: Call) -> int | Exec:
    """Run the module that is the command and return its exit status, or what to become."""
    name = commands.module_of(call.argv[0])
    try:
        if name is None:
            raise CommandExit(INTERNAL_ERROR, f"freebsd-sim: there is no command {call.argv[0]}")
        module = importlib.import_module(f"freebsd_sim.commands.{name}")
        result: int | Exec = module.main(call)
        return result
    except CommandExit as error:
        if error.text:
            call.err(error.text + "\n")
        return error.status
    except Exception as error:
        log(f"{' '.join(call.argv)}\n{traceback.format_exc()}")
        call.err(f"freebsd-sim: internal error: {type(error).__name__}: {error}\n")
        return INTERNAL_ERROR


def _groups_of(stream: socket.socket, gid: int) -> list[int]:
    peergroups = 59  # SO_PEERGROUPS of asm-generic/socket.h
    try:
        raw = stream.getsockopt(socket.SOL_SOCKET, peergroups, 4 * 1024)
    except OSError:
        return [gid]
    return list(struct.unpack(f"={len(raw) // 4}I", raw))


def _is_gone(stream: socket.socket) -> bool:
    poll = select.poll()
    poll.register(stream, select.POLLRDHUP | select.POLLHUP)
    return bool(poll.poll(0))
