"""Interfaces that come and go: bhyve has no hot plug, so they do when nova next starts the guest.

Upstream's methods change what libvirt has of the guest through the guest
object, which here changes the definition that nova's next start takes (a
guest that reboots itself keeps what it has). The port of a running guest stays
down until then, and neutron says so; an interface that is taken away loses its
network at once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from nova import exception
from nova.compute import power_state
from oslo_log import log as logging

LOG = logging.getLogger(__name__)


class InterfaceMixin:
    """Attaching and detaching interfaces."""

    _host: Any

    def attach_interface(self, context: Any, instance: Any, image_meta: Any, vif: Any) -> None:
        """Give an instance an interface, from its next start on.

        :raises InterfaceAttachFailed: libvirt did not take it
        """
        super().attach_interface(context, instance, image_meta, vif)  # type: ignore[misc]
        self._tell_when(instance, vif, "attached")

    def detach_interface(self, context: Any, instance: Any, vif: Any) -> None:
        """Take an interface from an instance: its network now, its card at the next start."""
        super().detach_interface(context, instance, vif)  # type: ignore[misc]
        self._tell_when(instance, vif, "detached")

    def _detach_with_retry(
        self, guest: Any, instance_uuid: str, get_device_conf_func: Callable[..., Any], device_name: str,
        *arguments: Any, **named: Any,
    ) -> None:  # fmt: skip
        device = get_device_conf_func(from_persistent_config=True)
        if device is None:
            raise exception.DeviceNotFound(device=device_name)
        guest.detach_device(device, persistent=True)

    def _tell_when(self, instance: Any, vif: Any, done: str) -> None:
        if self._host.get_guest(instance).get_power_state(self._host) == power_state.RUNNING:
            LOG.warning("The card of port %s is %s when nova next starts the guest", vif["id"], done, instance=instance)
