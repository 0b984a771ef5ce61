"""Guests' serial lines: the console daemon reads them, logs them and serves them.

A line is an nmdm pair named after the instance. The daemon has the host's
side open from before the guest starts until the instance is deleted, through
every reboot: without a reader the guest's output is lost.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

from nova import exception
from nova.console import type as console_type
from nova.virt import hardware
from oslo_log import log as logging

from beastack.console.client import Client, ConsoleError
from beastack.console.names import PORTS, make_key
from beastack.port.nova.bhyve.config import NullModem
from beastack.port.nova.bhyve.options import CONF
from beastack.port.nova.virt_type import VIRT_TYPE

LOG = logging.getLogger(__name__)

#: The first libvirt whose bhyve driver gives a guest more than one serial line.
SEVERAL_LINES = (11, 6, 0)
LOG_BYTES = 100 * 1024  # as upstream's MAX_CONSOLE_BYTES


class ConsoleMixin:
    """The driver's methods for consoles; VNC is upstream's."""

    _host: Any

    @property
    def _consoles(self) -> Client | None:
        directory = CONF.bhyve.console_directory
        return Client(Path(directory)) if directory else None

    def _create_consoles(self, guest_cfg: Any, instance: Any, flavor: Any, image_meta: Any) -> None:
        count = hardware.get_number_of_serial_ports(flavor, image_meta)
        self._check_number_of_serial_console(count)
        for index in range(count):
            pair = make_key(instance.uuid, index).pair
            guest_cfg.add_device(NullModem(pair.a, pair.b))
            self._ensure_console(instance, index)

    def _check_number_of_serial_console(self, num_ports: int) -> None:
        allowed = PORTS if self._host.has_min_version(lv_ver=SEVERAL_LINES) else 1
        if num_ports > allowed:
            raise exception.SerialPortNumberLimitExceeded(allowed=allowed, virt_type=VIRT_TYPE)

    def _ensure_console(self, instance: Any, index: int = 0) -> int | None:
        """Have the daemon read a line, and return the port that it serves it at; None without the daemon."""
        if self._consoles is None:
            return None
        try:
            return self._consoles.ensure(instance.uuid, index=index)
        except ConsoleError as error:
            # A guest without a console is better than none.
            LOG.warning("The console cannot be had: %s", error, instance=instance)
            return None

    def _remove_consoles(self, instance: Any) -> None:
        """Have the daemon let an instance's lines and logs go."""
        if self._consoles is None:
            return
        try:
            self._consoles.remove(instance.uuid)
        except ConsoleError as error:
            LOG.warning("The console cannot be removed: %s", error, instance=instance)

    def _remove_other_consoles(self, uuids: Collection[str]) -> None:
        """Have the daemon let every line and log go but those of these instances."""
        if self._consoles is None:
            return
        try:
            self._consoles.remove_others(uuids)
        except (ConsoleError, OSError) as error:
            LOG.warning("Consoles of instances that are gone cannot be removed: %s", error)

    def get_console_output(self, context: Any, instance: Any) -> bytes:
        """Return the last bytes that a guest has printed.

        :raises ConsoleNotAvailable: there is no console daemon, or it has no log
        """
        self._host.get_guest(instance)
        if self._consoles is None:
            raise exception.ConsoleNotAvailable()
        try:
            return self._consoles.read_log(instance.uuid, LOG_BYTES)
        except OSError as error:
            LOG.warning("The console's log cannot be read: %s", error, instance=instance)
            raise exception.ConsoleNotAvailable() from error

    def get_serial_console(self, context: Any, instance: Any) -> Any:
        """Return where the guest's first serial line is served.

        :raises ConsoleTypeUnavailable: there is no console daemon, or it does not have the line
        """
        self._host.get_guest(instance)
        port = self._ensure_console(instance)
        if port is None:
            raise exception.ConsoleTypeUnavailable(console_type="serial")
        return console_type.ConsoleSerial(host=CONF.serial_console.proxyclient_address, port=port)
