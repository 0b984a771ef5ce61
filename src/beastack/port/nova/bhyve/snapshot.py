"""Images of guests' disks: as after a power failure, if the guest was running.

bhyve has no snapshots and does not tell a guest to write its caches. A ZFS
volume has a moment of its own; a file has not, so the guest's process is
stopped while the file is read.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from nova import exception
from nova.compute import power_state
from oslo_log import log as logging

from beastack.freebsd.command import CommandError
from beastack.port.nova.bhyve import privileged
from beastack.port.nova.bhyve.imagebackend_zfs import uses_volumes

LOG = logging.getLogger(__name__)

#: The image's property that says what kind of snapshot it is, and its value.
PROPERTY, CONSISTENCY = "snapshot_consistency", "crash"


class SnapshotMixin:
    """Snapshots of instances to Glance."""

    _host: Any
    _requires_quiesce: Callable[[Any], bool]

    def snapshot(self, context: Any, instance: Any, image_id: str, update_task_state: Any) -> None:
        """Make an image of an instance's root disk.

        :raises InstanceQuiesceNotSupported: the guest runs, and its image requires that its file systems are quiet
        """
        if instance.power_state == power_state.RUNNING and self._requires_quiesce(instance.image_meta):
            raise exception.InstanceQuiesceNotSupported(instance_id=instance.uuid)
        try:
            super().snapshot(context, instance, image_id, update_task_state)  # type: ignore[misc]
        finally:
            # Upstream lets the guest go on after most failures, and not after all.
            self._thaw(instance)

    def _create_snapshot_metadata(
        self, image_meta: Any, instance: Any, *arguments: Any, **named: Any
    ) -> dict[str, Any]:
        made: dict[str, Any] = super()._create_snapshot_metadata(image_meta, instance, *arguments, **named)  # type: ignore[misc]
        if instance.power_state == power_state.RUNNING:
            made["properties"][PROPERTY] = CONSISTENCY
        return made

    def _needs_suspend_resume_for_snapshot(self, *arguments: Any, **named: Any) -> bool:
        return False

    def _suspend_guest_for_snapshot(
        self, context: Any, live_snapshot: bool, current_power_state: int, instance: Any
    ) -> None:
        if current_power_state == power_state.RUNNING and not uses_volumes():
            guest = self._host.get_guest(instance)
            privileged.freeze_machine(guest.name, guest.find_process())

    def _resume_guest_after_snapshot(
        self, context: Any, live_snapshot: bool, original_power_state: int, instance: Any, guest: Any
    ) -> None:
        self._thaw(instance)

    def _thaw(self, instance: Any) -> None:
        if uses_volumes():
            return
        try:
            guest = self._host.get_guest(instance)
            pid = guest.find_process()
            if pid > 0:
                privileged.thaw_machine(guest.name, pid)
        except (CommandError, exception.InstanceNotFound) as error:
            LOG.warning("The guest was not there any more when its snapshot was made: %s", error, instance=instance)
