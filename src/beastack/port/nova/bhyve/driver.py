"""nova-compute's driver for bhyve: upstream's libvirt driver over libvirt's bhyve driver.

Small hooks, each in the file of its subject; everything else is upstream's.
"""

from __future__ import annotations

from typing import Any

import nova.conf
from nova import exception
from nova.virt.libvirt import driver
from oslo_log import log as logging

from beastack.freebsd import sysctl
from beastack.freebsd.command import CommandError
from beastack.port.nova.bhyve import disks, leftovers, libvirt_hook, watch
from beastack.port.nova.bhyve.capabilities import CapabilityMixin
from beastack.port.nova.bhyve.config_drive import ConfigDriveMixin
from beastack.port.nova.bhyve.consoles import ConsoleMixin
from beastack.port.nova.bhyve.diagnostics import DiagnosticsMixin
from beastack.port.nova.bhyve.disks import DiskMixin
from beastack.port.nova.bhyve.guest_xml import GuestXmlMixin
from beastack.port.nova.bhyve.host import BhyveHost
from beastack.port.nova.bhyve.interfaces import InterfaceMixin
from beastack.port.nova.bhyve.snapshot import SnapshotMixin
from beastack.port.nova.bhyve.vif import BhyveVIFDriver

LOG = logging.getLogger(__name__)
CONF = nova.conf.CONF

URI = "bhyve:///system"

#: Whether users see each other's processes: guests' belong to root.
VISIBILITY = ("security.bsd.see_other_uids", "security.bsd.see_other_gids")


class BhyveDriver(
    CapabilityMixin, GuestXmlMixin, ConsoleMixin, DiskMixin, ConfigDriveMixin, InterfaceMixin, SnapshotMixin,
    DiagnosticsMixin, driver.LibvirtDriver,
):  # fmt: skip
    """Guests of bhyve."""

    def __init__(self, virtapi: Any, read_only: bool = False) -> None:
        super().__init__(virtapi, read_only)
        # Nothing has connected yet with what upstream made.
        self._host = BhyveHost(
            self._uri(), read_only, lifecycle_event_handler=self.emit_event, conn_event_handler=self._handle_conn_event
        )
        self.vif_driver = BhyveVIFDriver(self._host)
        self.image_backend.BACKEND.update(disks.choose_backends())
        self._limit_capabilities()

    @staticmethod
    def _uri() -> str:
        return str(CONF.libvirt.connection_uri or URI)

    def init_host(self, host: str) -> None:
        """Make ready, and begin to look after the guests.

        :raises InvalidConfiguration: options, or settings of the system, with which guests could come to harm
        """
        disks.check_configuration()
        check_visibility()
        super().init_host(host)
        domains = self._list_domains()
        watch.thaw_all(domains)
        leftovers.remove_unfinished()
        directories = leftovers.list_directory(CONF.instances_path)
        self._remove_other_consoles({*directories, *(domain.UUIDString() for domain in domains)})
        watch.Watcher(self._list_domains, self.emit_event, CONF.bhyve.state_poll_interval).start()

    def _destroy(self, instance: Any) -> None:
        super()._destroy(instance)
        leftovers.end_machine(instance.name)

    def _cleanup(self, context: Any, instance: Any, network_info: Any, *arguments: Any, **named: Any) -> None:
        # A delete that failed has taken the ports from what nova knows; libvirt knows them until it is undefined.
        try:
            taps = libvirt_hook.find_taps(self._host.get_guest(instance).get_xml_desc())
        except exception.InstanceNotFound:
            taps = []
        super()._cleanup(context, instance, network_info, *arguments, **named)
        known = {vif["devname"] for vif in network_info or ()}
        forgotten = [tap for tap in taps if tap not in known]
        if forgotten:
            leftovers.remove_taps(forgotten)

    def power_off(self, instance: Any, *arguments: Any, **named: Any) -> None:
        """Stop a guest, and see that its network is gone: libvirt may have been killed before it took that down."""
        super().power_off(instance, *arguments, **named)
        self.unplug_vifs(instance, instance.get_network_info())

    def _list_domains(self) -> list[Any]:
        return list(self._host.list_instance_domains(only_running=False))


def check_visibility() -> None:
    """Refuse a system that hides root's processes: every guest would be taken for dead.

    :raises InvalidConfiguration: it does
    """
    try:
        values = sysctl.read_values((), optional=VISIBILITY)
    except CommandError as error:
        raise exception.InvalidConfiguration(
            f"whether guests' processes can be seen cannot be told: {error}"
        ) from error
    hidden = [name for name in VISIBILITY if name in values and values.integer(name) == 0]
    if hidden:
        raise exception.InvalidConfiguration(f"set {' and '.join(hidden)} to 1: guests' processes cannot be seen")
