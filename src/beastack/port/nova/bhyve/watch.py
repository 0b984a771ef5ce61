"""Notices guests that stopped: libvirt's bhyve driver tells of no stop that it was not asked for.

One list of guests and one of processes at each look, whatever their number.
Only a guest whose process is missing is asked about in earnest.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from nova.virt import event as virtevent
from oslo_log import log as logging

from beastack.freebsd import process
from beastack.port.nova.bhyve import leftovers, liveness, privileged
from beastack.port.nova.bhyve.guest import BhyveGuest
from beastack.port.nova.bhyve.liveness import State

LOG = logging.getLogger(__name__)

#: Seconds until the next look when libvirt could not be asked.
PAUSE = 30.0

Emit = Callable[[virtevent.LifecycleEvent], None]


def find_stopped(before: Mapping[str, bool], now: Mapping[str, bool]) -> list[str]:
    """Return the ids of the guests that ran, are still there, and do not run any more."""
    return [uuid for uuid, runs in before.items() if runs and now.get(uuid) is False]


class Watcher:
    """Looks at the guests of a host for as long as the service runs."""

    def __init__(self, list_domains: Callable[[], list[Any]], emit: Emit, interval: float) -> None:
        self._list = list_domains
        self._emit = emit
        self._interval = interval
        self._known: dict[str, bool] = {}
        self._lost: dict[str, list[int]] = {}

    def start(self) -> None:
        """Start looking, in a thread."""
        threading.Thread(target=self._run, name="watch-guests", daemon=True).start()

    def _run(self) -> None:
        while True:
            try:
                self.look()
                pause = self._interval
            except Exception as error:
                LOG.warning("The guests' states cannot be read; again in %g s: %s", PAUSE, error)
                pause = PAUSE
            time.sleep(pause)

    def look(self) -> None:
        """Look once, and tell of each guest that stopped since the last look."""
        domains = self._list()
        # In this order: a process that began after the list was made is not missed.
        table = liveness.read_table() if domains else {}
        now = {domain.UUIDString(): self._runs(domain, table) for domain in domains}
        stopped = find_stopped(self._known, now)
        self._known = now
        for uuid in stopped:
            LOG.info("The guest %s stopped by itself, or was stopped by another", uuid)
            self._emit(virtevent.LifecycleEvent(uuid, virtevent.EVENT_LIFECYCLE_STOPPED))
        self._end_lost([domain.name() for domain in domains if domain.ID() <= 0], table)

    def _end_lost(self, off: list[str], table: Mapping[int, process.Process]) -> None:
        """End each bhyve whose guest is off for libvirt at two looks: who started it was killed over it."""
        machines = liveness.find_machines(table.values())
        lost = {name: machines[name] for name in off if name in machines}
        for name, pids in lost.items():
            if self._lost.get(name) == pids:
                leftovers.end_machine(name)
        self._lost = lost

    @staticmethod
    def _runs(domain: Any, table: Mapping[int, process.Process]) -> bool:
        pid = domain.ID()
        if pid <= 0:
            return False
        if liveness.look_in(table, pid, domain.name()) in (State.READY, State.STARTING):
            return True
        return BhyveGuest(domain).is_active()


def thaw_all(domains: list[Any]) -> None:
    """Let every guest go on that a service killed in the middle of a snapshot left frozen."""
    table = liveness.read_table() if domains else {}
    for domain in domains:
        found = table.get(domain.ID())
        if found is not None and found.state.startswith("T"):
            LOG.warning("The guest %s was left frozen, and goes on", domain.name())
            privileged.thaw_machine(domain.name(), found.pid)
