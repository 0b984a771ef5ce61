"""A service that asks for one privileged daemon: measures it, then keeps it until it is ended.

Usage: python client.py CONTEXT ENTRY_POINT ARGUMENTS HELPER_COMMAND CONFIG CALLS

``ARGUMENTS`` is JSON. Runs in the virtual environment with the OpenStack
release; prints its figures as one line of JSON.
"""

from __future__ import annotations

import json
import logging
import signal
import sys
import threading
import time
from typing import Any

from oslo_config import cfg
from oslo_log import log
from oslo_utils import importutils

THREADS = 8
SPAN = 2.0  # seconds at most for each measurement


class Pids(logging.Handler):
    """Takes the daemon's pid from the record in which it tells it."""

    def __init__(self) -> None:
        super().__init__()
        self.pid = 0

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        if text.startswith("privsep daemon running as pid "):
            self.pid = int(text.rsplit(maxsplit=1)[1])


def main() -> None:
    """Measure."""
    name, function, arguments, command, config, calls = sys.argv[1:]
    log.register_options(cfg.CONF)
    context = importutils.import_class(name)
    cfg.CONF([f"--config-file={config}"], project="privsep", default_config_files=[])
    cfg.CONF.set_override("helper_command", command, group=context.cfg_section)
    log.setup(cfg.CONF, "client", fix_eventlet=False)
    pids = Pids()
    logging.getLogger().addHandler(pids)
    logging.getLogger("oslo_privsep").setLevel(logging.INFO)
    entry = importutils.import_class(function)
    values = json.loads(arguments)
    began = time.perf_counter()
    context.start()
    started = time.perf_counter() - began
    entry(*values)
    first = time.perf_counter() - began
    figures = {"start": started, "first call": first, **round_trips(entry, values, int(calls))}
    figures["rate"] = rate(entry, values)
    while not pids.pid:
        entry(*values)
    print(json.dumps({**figures, "pid": pids.pid}), flush=True)
    signal.pause()


def round_trips(entry: Any, values: list[Any], calls: int) -> dict[str, float]:
    """Return the median and the 99th percentile of a call, in seconds."""
    taken: list[float] = []
    end = time.perf_counter() + SPAN
    while len(taken) < calls and time.perf_counter() < end:
        began = time.perf_counter()
        entry(*values)
        taken.append(time.perf_counter() - began)
    taken.sort()
    return {"p50": taken[len(taken) // 2], "p99": taken[len(taken) * 99 // 100]}


def rate(entry: Any, values: list[Any]) -> float:
    """Return calls per second of several threads."""
    counts = [0] * THREADS
    began = time.perf_counter()
    end = began + SPAN

    def work(number: int) -> None:
        while time.perf_counter() < end:
            entry(*values)
            counts[number] += 1

    threads = [threading.Thread(target=work, args=(number,)) for number in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(counts) / (time.perf_counter() - began)


if __name__ == "__main__":
    main()
