"""Holds nova-compute still right before it asks something of its host, so that a test can kill it there.

Test code: the tests put it into the site's Python environment, where each
interpreter begins it at its start (``*.pth``). It does nothing until an
instance is made or deleted for whose name the tests' directory has a plan:

- ``NAME.spawn`` or ``NAME.delete`` with nothing in it: every call is noted in
  ``NAME.spawn.seen``, a line each;
- with a line of it, ``NUMBER`` a tab and the call: at the NUMBERth such call
  the thread says so by ``NAME.spawn.held`` and waits for ``NAME.spawn.go``.

Calls are programs started, files made, renamed and removed, sockets of Unix
that are connected to (all of these by Python's audit events), and libvirt's
functions, transactions of Open vSwitch's database and privileged functions.
What a privileged function does goes on in a daemon, where calls are held in
the same way; they begin with ``as root:``. ``NAME.spawn.held`` has the number
of the process in it.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import re
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

#: nova.compute.manager's functions, and what they do to their ``instance``.
OPERATIONS = {"_do_build_and_run_instance": "spawn", "do_terminate_instance": "delete"}

#: What differs from one instance to the next.
_NAMES = (
    (re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"), "UUID"),
    (re.compile(r"tap[0-9a-f]{8}-[0-9a-f]{2}"), "TAP"),
    (re.compile(r"instance-[0-9a-f]{8}"), "MACHINE"),
    (re.compile(r"\b[0-9a-f]{32,40}\b"), "HASH"),
    (re.compile(r"(?<=-p )\d+|\b\d{3,}\b"), "N"),
    (re.compile(r"/tmp/\w+|tmp\w{8}"), "TEMPORARY"),
)

_directory = ""
_mine = threading.local()
_counts: Counter[tuple[str, str, str]] = Counter()
_wrapped: set[str] = set()


def begin(directory: str) -> None:
    """Listen to what this interpreter does; plans are in the directory."""
    global _directory
    if not _directory:
        _directory = directory
        sys.addaudithook(_hear)


def _hear(event: str, arguments: tuple[Any, ...]) -> None:
    describe = _EVENTS.get(event)
    if describe is None or getattr(_mine, "busy", False):
        return
    _mine.busy = True
    try:
        _wrap_others()
        call = describe(*arguments)
        if call:
            _pass(call)
    finally:
        _mine.busy = False


def _describe_open(path: Any, mode: Any, flags: int) -> str:
    return f"make {path}" if flags & os.O_CREAT and isinstance(path, str) and not path.startswith("/dev") else ""


def _describe_connection(connection: Any, address: Any) -> str:
    return f"connect to {os.path.basename(address)}" if isinstance(address, str) else ""


_EVENTS: dict[str, Callable[..., str]] = {
    "subprocess.Popen": lambda program, words, *rest: f"run {' '.join(map(str, words))}",
    "os.mkdir": lambda path, *rest: f"mkdir {path}",
    "os.rename": lambda old, new, *rest: f"rename {old} {new}",
    "os.remove": lambda path, *rest: f"remove {path}",
    "os.rmdir": lambda path, *rest: f"rmdir {path}",
    "open": _describe_open,
    "socket.connect": _describe_connection,
}


def _wrap_others() -> None:
    """Wrap what tells of itself by no event, as soon as it has been imported."""
    binding = sys.modules.get("libvirtmod")
    # The binding's Python half comes last, and is whole then.
    if binding is not None and hasattr(sys.modules.get("libvirt"), "virDomain") and "libvirt" not in _wrapped:
        _wrapped.add("libvirt")
        for name in dir(binding):
            if name.startswith(("virDomain", "virConnect")) and callable(getattr(binding, name)):
                _wrap(binding, name, lambda *arguments, name=name: f"libvirt {name}")
    daemon = sys.modules.get("oslo_privsep.daemon")
    if hasattr(daemon, "Daemon") and "privsep" not in _wrapped:
        _wrapped.add("privsep")
        _wrap(daemon._ClientChannel, "remote_call", _announce)  # type: ignore[union-attr]
        _wrap_daemon(daemon.Daemon)  # type: ignore[union-attr]
    transactions = sys.modules.get("ovsdbapp.backend.ovs_idl.transaction")
    if hasattr(transactions, "Transaction") and "ovsdb" not in _wrapped:
        _wrapped.add("ovsdb")
        _wrap(
            transactions.Transaction, "commit",  # type: ignore[union-attr]
            lambda transaction: "ovsdb " + ", ".join(type(one).__name__ for one in transaction.commands),
        )  # fmt: skip


def _wrap(owner: Any, name: str, describe: Callable[..., str]) -> None:
    function = getattr(owner, name)

    @functools.wraps(function)
    def wrapped(*arguments: Any, **named: Any) -> Any:
        if not getattr(_mine, "busy", False):
            _mine.busy = True
            try:
                _pass(describe(*arguments, **named))
            finally:
                _mine.busy = False
        return function(*arguments, **named)

    setattr(owner, name, wrapped)


def _announcement_of(name: str, arguments: Any, named: Any) -> str:
    """Return the path of the file by which a privileged call's daemon is told of the operation."""
    words = json.dumps([name, arguments, named], default=str, sort_keys=True)
    return os.path.join(_directory, f"privileged-{hashlib.sha1(words.encode()).hexdigest()}")


def _announce(channel: Any, name: str, arguments: Any, named: Any, timeout: Any = None) -> str:
    """Tell the daemon for which operation it will be asked, and describe the call."""
    found = _find_operation()
    if found is not None and os.path.exists(os.path.join(_directory, ".".join(found))):
        path = _announcement_of(name, arguments, named)
        with open(f"{path}.{threading.get_ident()}", "w", encoding="utf-8") as stream:
            json.dump(found, stream)
        os.rename(stream.name, path)
    return f"privileged {name}"


def _wrap_daemon(daemon: Any) -> None:
    """Have what the daemon's threads do count as the operation's for which it was asked."""
    function = daemon._process_cmd

    @functools.wraps(function)
    def wrapped(self: Any, number: Any, command: Any, *call: Any) -> Any:
        _mine.operation = None
        if len(call) == 3:
            try:
                with open(_announcement_of(*call), encoding="utf-8") as stream:
                    _mine.operation = tuple(json.load(stream))
            except FileNotFoundError:
                pass
        return function(self, number, command, *call)

    daemon._process_cmd = wrapped


def _find_operation() -> tuple[str, str] | None:
    """Return the instance's name and what is done to it, if this thread makes or deletes one."""
    frame = sys._getframe(2)
    while frame is not None:
        operation = OPERATIONS.get(frame.f_code.co_name)
        instance = frame.f_locals.get("instance") if operation else None
        if instance is not None:
            return str(instance.display_name), str(operation)
        frame = frame.f_back  # type: ignore[assignment]
    return None


def _pass(call: str) -> None:
    served = getattr(_mine, "operation", None)
    found = served or _find_operation()
    if found is None:
        return
    name, operation = found
    plan = os.path.join(_directory, f"{name}.{operation}")
    try:
        with open(plan, encoding="utf-8") as stream:
            wanted = stream.read()
    except FileNotFoundError:
        return
    for pattern, word in _NAMES:
        call = pattern.sub(word, call)
    if served:
        call = f"as root: {call}"
    _counts[name, operation, call] += 1
    line = f"{_counts[name, operation, call]}\t{call}"
    if not wanted:
        with open(f"{plan}.seen", "a", encoding="utf-8") as stream:
            stream.write(f"{line}\n")
    elif line == wanted:
        with open(f"{plan}.going", "w", encoding="utf-8") as stream:
            stream.write(str(os.getpid()))
        os.rename(f"{plan}.going", f"{plan}.held")
        while not os.path.exists(f"{plan}.go"):
            time.sleep(0.05)
