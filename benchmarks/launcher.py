"""Starts programs and reaps them: the root of the stock layout's process tree.

Run as ``python -m benchmarks.launcher``. Each line on standard input is one
program (JSON: argv, env, user, log, umask); the answer is its pid. At the end
of the input every process below this one is stopped. As the reaper of
orphans it keeps daemons that detach themselves in the tree.
"""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import signal
import subprocess
import sys
import threading
import time
from types import FrameType
from typing import Any

from beastack.site.host.linux import descendants
from beastack.supervisor import process

PATIENCE = 10.0  # seconds between the request to end and the order


def main() -> int:
    """Serve until the input ends."""
    process.become_reaper()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _leave)
    threading.Thread(target=_reap, daemon=True).start()
    started: list[tuple[int, str | None]] = []
    try:
        for line in sys.stdin:
            pid = _start(json.loads(line))
            started.append((pid, process.start_time(pid)))
            sys.stdout.write(f"{pid}\n")
            sys.stdout.flush()
    finally:
        _end_all(started)
    return 0


def _leave(number: int, frame: FrameType | None) -> None:
    sys.exit(0)


def _start(order: dict[str, Any]) -> int:
    identity: dict[str, Any] = {}
    if order["user"] != "root":
        entry = pwd.getpwnam(order["user"])
        groups = os.getgrouplist(order["user"], entry.pw_gid)
        identity = {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": groups}
    with open(order["log"], "ab") as log:
        # A group of its own, not a session: a session leader would be hung up with a guest's pty.
        child = subprocess.Popen(
            order["argv"], env=order["env"], cwd="/", stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            umask=order["umask"], process_group=0, **identity,
        )  # fmt: skip
    child.returncode = 0  # reaped here, not by the object
    return child.pid


def _reap() -> None:
    while True:
        try:
            os.waitpid(-1, 0)
        except ChildProcessError:
            time.sleep(0.05)


def _end_all(started: list[tuple[int, str | None]]) -> None:
    """Ask what was started here to end (masters end their workers, services their daemons); then make it."""
    for pid, identity in started:
        process.send_signal(pid, identity, signal.SIGTERM)
    _await_end(PATIENCE)
    for pid in descendants(os.getpid())[1:]:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    _await_end(5.0)


def _await_end(patience: float) -> None:
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline and len(descendants(os.getpid())) > 1:
        time.sleep(0.05)


if __name__ == "__main__":
    sys.exit(main())
