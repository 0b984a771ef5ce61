"""A preloaded parent: imports modules once and forks services that share them.

Runs in the site's virtual environment, started by the supervisor with one
end of a socket pair. Messages are JSON, one to a packet:

- ``parent``: fork a further parent (its own channel comes as a descriptor)
- ``spawn``: fork a service (its log and its go pipe come as descriptors, and
  for a privileged daemon the connection that it serves); answered by
  ``spawned`` with the request's token and the pid, or ``refused``

Services are forked twice, so that they belong to the supervisor, which is
the reaper of orphans: it sees their end even when this parent is gone.
"""

from __future__ import annotations

import errno
import gc
import importlib
import importlib.abc
import importlib.machinery
import json
import os
import signal
import socket
import sys
import traceback
from collections.abc import Callable, Sequence
from functools import partial
from types import ModuleType
from typing import Any, NoReturn

from beastack.supervisor.child import become_service, load, set_title
from beastack.supervisor.spec import Parent, parent_from_json, service_from_json

PACKET = 1 << 17


class _Blocker(importlib.abc.MetaPathFinder):
    """Makes the import of some top-level modules fail, as if not installed."""

    def __init__(self, names: Sequence[str]) -> None:
        self.names = frozenset(names)

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname.partition(".")[0] in self.names:
            raise ModuleNotFoundError(f"No module named {fullname!r} (kept out of this process)", name=fullname)
        return None


def main() -> NoReturn:
    """Serve as the root of all parents on the descriptor named in argv."""
    channel = socket.socket(fileno=int(sys.argv[1]))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    message = json.loads(channel.recv(PACKET))
    _serve(channel, parent_from_json(message["parent"]))


def _serve(channel: socket.socket, parent: Parent) -> NoReturn:
    """Import what the parent is for, say so, then fork on request until the channel ends."""
    sys.meta_path[:] = [finder for finder in sys.meta_path if not isinstance(finder, _Blocker)]
    if parent.block:
        sys.meta_path.insert(0, _Blocker(parent.block))
    failed = _import_all(parent.modules) or _prepare(parent)
    try:
        _fork_on_request(channel, parent, failed)
    except OSError as error:
        # The supervisor was killed, or let this parent go: whoever takes over makes its own.
        sys.stderr.write(f"parent {parent.name} ends: {error}\n")
        sys.stderr.flush()
    os._exit(1 if failed else 0)


def _fork_on_request(channel: socket.socket, parent: Parent, failed: str) -> None:
    # Also finds the memory that holds the title, while the environment is as exec left it.
    set_title(f"parent {parent.name}")
    if failed:
        channel.send(json.dumps({"event": "failed", "why": failed}).encode())
        return
    # Collect once, then move what is left out of the collector's sight:
    # a collection in a child would write to, and so unshare, every page.
    gc.collect()
    gc.freeze()
    channel.send(json.dumps({"event": "ready", "pid": os.getpid()}).encode())
    while True:
        data, descriptors, _, _ = socket.recv_fds(channel, PACKET, 4)
        if not data:
            return
        message = json.loads(data)
        if message["op"] == "spawn":
            reply = {"event": "spawned", "token": message["token"]}
            try:
                reply["pid"] = _fork_orphan(partial(_start_service, channel, message, descriptors))
            except OSError as error:
                reply.update(event="refused", why=str(error))
            channel.send(json.dumps(reply).encode())
        elif message["op"] == "parent":
            try:
                _fork_orphan(partial(_start_parent, channel, message, descriptors))
            except OSError:
                traceback.print_exc()  # the supervisor sees the channel end
        for descriptor in descriptors:
            os.close(descriptor)


def _import_all(modules: Sequence[str]) -> str:
    for name in modules:
        try:
            importlib.import_module(name)
        except Exception:
            return f"importing {name}: {traceback.format_exc(limit=-3)}"
    return ""


def _prepare(parent: Parent) -> str:
    if parent.prepare:
        try:
            load(parent.prepare)(*parent.argv)
        except (Exception, SystemExit):
            return f"preparing by {parent.prepare}: {traceback.format_exc(limit=-3)}"
    return ""


def _fork_orphan(body: Callable[[], None]) -> int:
    """Run ``body`` in a grandchild and return its pid; the reaper above inherits it.

    :raises OSError: the system cannot fork now
    """
    read, write = os.pipe()
    try:
        middle = os.fork()
    except OSError:
        os.close(read)
        os.close(write)
        raise
    if middle == 0:
        try:
            pid = os.fork()
            if pid == 0:
                os.close(read)
                os.close(write)
                body()
            else:
                os.write(write, str(pid).encode())
        except BaseException:
            traceback.print_exc()
            sys.stderr.flush()
        finally:
            os._exit(0)
    os.close(write)
    with os.fdopen(read) as stream:
        answer = stream.read()
    os.waitpid(middle, 0)
    if not answer:
        raise OSError(errno.EAGAIN, "a process could not be forked twice")
    return int(answer)


def _start_service(channel: socket.socket, message: dict[str, Any], descriptors: Sequence[int]) -> None:
    channel.close()
    become_service(service_from_json(message["service"]), *descriptors)


def _start_parent(channel: socket.socket, message: dict[str, Any], descriptors: Sequence[int]) -> None:
    channel.close()
    _serve(socket.socket(fileno=descriptors[0]), parent_from_json(message["parent"]))


if __name__ == "__main__":
    main()
