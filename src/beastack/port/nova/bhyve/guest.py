"""A guest as libvirt has it, and the truth about whether it runs.

Every question about the power state comes through here, so that a bhyve that
was killed is noticed by whoever asks first: what libvirt still holds of it is
taken down, and from then on libvirt is right.
"""

from __future__ import annotations

import contextlib
import re
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import libvirt
from lxml import etree  # type: ignore[import-untyped]
from nova import exception
from nova.virt.libvirt import guest as libvirt_guest
from oslo_log import log as logging

from beastack.freebsd import process
from beastack.freebsd.command import CommandError
from beastack.port.nova.bhyve import leftovers, libvirt_hook, liveness, privileged
from beastack.port.nova.bhyve.config import remove_card
from beastack.port.nova.bhyve.liveness import State
from beastack.port.nova.bhyve.next_definition import forget_next, keep_next, read_next
from beastack.port.nova.bhyve.options import CONF

LOG = logging.getLogger(__name__)

RUNNING = libvirt_guest.VIR_DOMAIN_RUNNING

#: Seconds in which libvirt hears of an exit and starts the guest again, if it rebooted, or takes it down.
SETTLED_AFTER = 3.0
INTERVAL = 0.1
#: Seconds after which libvirt does not come back from a start by itself.
HANGS_AFTER = 120.0
#: Characters of bhyve's last words in an error, and bytes of its log that hold one run.
LAST_WORDS, ONE_RUN = 400, 1 << 14

#: Held while libvirt starts a guest: its bhyve driver keeps the name of the pid file of the guest that it starts in
#: one place for all (driver->pidfile in virBhyveProcessStartImpl), and would take one guest's process for another's.
ONE_START = threading.Lock()
#: What libvirt says when it looked for a pid file that is not there yet: not this guest's, whose is written first.
NOT_ITS_FILE = re.compile(r"Domain \S+ didn't show up$")


class TakenForAnother(exception.InternalError):
    """libvirt started a guest while another restarted itself, and mixed up their pid files."""


class BhyveGuest(libvirt_guest.Guest):
    """A guest of libvirt's bhyve driver."""

    def _get_domain_info(self) -> Any:
        # libvirt cannot say more of a dead process than that the guest is running.
        if self._runs_for_libvirt() and self._is_dead():
            LOG.warning("The bhyve of the guest %s is gone, though libvirt has it running: it is taken down", self.name)
            self._take_down()
        try:
            return super()._get_domain_info()
        except libvirt.libvirtError:
            if not (self._runs_for_libvirt() and self._is_dead()):
                raise
            self._take_down()
            return super()._get_domain_info()

    def is_active(self) -> bool:
        """Tell whether the guest runs."""
        return bool(self._get_domain_info()[0] == RUNNING)

    def shutdown(self) -> None:
        """Press the power button, which before the guest has enabled ACPI ends bhyve.

        Nothing is done to a guest that does not run: libvirt would signal the
        number that its process once had.
        """
        if self.is_active():
            super().shutdown()

    def poweroff(self) -> None:
        """End the guest at once; one that is off stays off.

        :raises libvirtError: libvirt did not end it
        """
        if not self.is_active():
            return
        pid = self.find_process()
        found = process.read_process(pid) if pid > 0 else None
        if found is not None and found.state.startswith("T"):
            # Frozen, it would not leave its machine, and whoever destroys that would wait for it.
            privileged.thaw_machine(self.name, pid)
        super().poweroff()

    def launch(self, pause: bool = False) -> Any:
        """Start the guest, and wait until bhyve has set it up.

        :raises InternalError: bhyve ended before that, its last words are in the text; or libvirt took it for another
            guest's twice
        :raises libvirtError: libvirt did not start it
        """
        if pause:
            raise NotImplementedError("bhyve cannot pause a guest")
        changed = read_next(self.uuid)
        if changed is not None:
            self._define(changed)
            forget_next(self.uuid)
        if not self._runs_for_libvirt():
            leftovers.end_machine(self.name)
        # Asked before the start: libvirt may be slow to answer while it restarts the other guest.
        taps = libvirt_hook.find_taps(self.get_xml_desc())
        try:
            return self._start()
        except TakenForAnother as error:
            LOG.warning("The guest %s is started again: %s", self.name, error)
            leftovers.end_machine(self.name)
            # libvirt runs no hook for a guest whose process it did not find.
            leftovers.remove_taps(taps)
        return self._start()

    def _start(self) -> Any:
        with ONE_START, self._unblocking():
            try:
                result = super().launch()
            except libvirt.libvirtError as error:
                if NOT_ITS_FILE.search(str(error)):
                    raise TakenForAnother(str(error)) from error
                raise
        self._await_setup()
        return result

    @contextlib.contextmanager
    def _unblocking(self) -> Iterator[None]:
        """End the guest's bhyve if libvirt does not come back.

        When a start fails libvirt destroys the taps, and waits for the bhyve
        that has them open; whoever asks about any guest waits behind it.
        """
        back = threading.Event()

        def watch() -> None:
            while not back.wait(HANGS_AFTER):
                LOG.warning("libvirt is starting the guest %s for %g s: its bhyve is ended", self.name, HANGS_AFTER)
                try:
                    privileged.end_machine(self.name)
                except (CommandError, TimeoutError) as error:
                    LOG.warning("The bhyve of the guest %s cannot be ended: %s", self.name, error)

        threading.Thread(target=watch, name=f"start-{self.name}", daemon=True).start()
        try:
            yield
        finally:
            back.set()

    def find_process(self) -> int:
        """Return the number of the process now, -1 while the guest is off: libvirt's objects keep an old one."""
        return int(self._domain.connect().lookupByUUIDString(self.uuid).ID())

    def _runs_for_libvirt(self) -> bool:
        return bool(self._domain.state(0)[0] == RUNNING)

    def _is_dead(self) -> bool:
        """Tell whether libvirt goes on taking the guest for running without a bhyve."""
        pid = self.find_process()
        deadline = time.monotonic() + SETTLED_AFTER
        while liveness.look(pid, self.name) in (State.GONE, State.OTHER):
            if time.monotonic() >= deadline:
                return True
            time.sleep(INTERVAL)
            now = self.find_process()
            if now < 0:
                return False
            if now != pid:
                pid, deadline = now, time.monotonic() + SETTLED_AFTER
        return False

    def _take_down(self) -> None:
        self._destroy()
        if self._runs_for_libvirt():
            # bhyve ended before it had made the machine, without which libvirt gives up on the way.
            try:
                privileged.create_machine(self.name)
            except CommandError as error:
                LOG.warning("The guest %s cannot be taken down: %s", self.name, error)
            self._destroy()

    def _destroy(self) -> None:
        try:
            self._domain.destroy()
        except libvirt.libvirtError as error:
            LOG.warning("libvirt did not take the guest %s down: %s", self.name, error)

    def _await_setup(self) -> None:
        deadline = time.monotonic() + CONF.bhyve.start_limit
        while True:
            state = liveness.look(self.find_process(), self.name)
            if state is State.READY:
                return
            # Looked at twice: the first look may have come before the process was bhyve.
            if state is State.OTHER and (other := liveness.find_machine(self.find_process())) not in ("", self.name):
                self._take_down()
                raise TakenForAnother(f"libvirt took the process of {other} for its own")
            if state is not State.STARTING and not self.is_active():
                raise exception.InternalError(f"bhyve could not set the guest up: {self.read_last_words()}")
            if time.monotonic() >= deadline:
                LOG.warning("bhyve is still setting the guest %s up after %g s", self.name, CONF.bhyve.start_limit)
                return
            time.sleep(INTERVAL)

    def read_last_words(self) -> str:
        """Return what bhyve printed in its last run, of a long text both ends: a usage error comes first."""
        text = privileged.read_guest_log(self.name, ONE_RUN)
        # Before each run libvirt writes the arguments, of which the name is the last.
        said = text.rpartition(f" {self.name}\n")[2].strip() or "it said nothing"
        half = LAST_WORDS // 2
        return said if len(said) <= LAST_WORDS else f"{said[:half]} ... {said[-half:]}"

    def get_xml_desc(self, dump_inactive: bool = False, *arguments: Any, **named: Any) -> str:
        """Return the guest's XML, or that of its next start."""
        changed = read_next(self.uuid) if dump_inactive else None
        return changed or str(super().get_xml_desc(dump_inactive, *arguments, **named))

    def attach_device(self, conf: Any, persistent: bool = False, live: bool = False) -> None:
        """Add a device to what the guest has from its next start on: there is no hot plug."""
        self._change_domain(lambda domain: domain.find("devices").append(etree.fromstring(conf.to_xml())))

    def detach_device(self, conf: Any, persistent: bool = False, live: bool = False) -> None:
        """Take an interface, by its MAC address, out of what the guest has from its next start on."""
        self._change_domain(lambda domain: remove_card(domain, conf.mac_addr))

    def _change_domain(self, change: Callable[[Any], None]) -> None:
        domain = etree.fromstring(self.get_xml_desc(dump_inactive=True, dump_sensitive=True))
        change(domain)
        xml = etree.tostring(domain, encoding="unicode")
        if self.is_active():
            keep_next(self.uuid, xml)
        else:
            self._define(xml)

    def _define(self, xml: str) -> None:
        self._domain.connect().defineXML(xml)
