"""What the driver says that it can do, so that nothing else is asked of it."""

from __future__ import annotations

from typing import Any

import os_traits  # type: ignore[import-not-found]
from nova import exception

#: Upstream's capabilities of the libvirt driver that bhyve has no counterpart of.
MISSING = (
    "supports_device_tagging", "supports_tagged_attach_interface", "supports_tagged_attach_volume",
    "supports_extend_volume", "supports_multiattach", "supports_accelerators", "supports_pcpus",
    "supports_socket_pci_numa_affinity", "supports_bfv_rescue", "supports_vtpm", "supports_secure_boot",
    "supports_remote_managed_ports", "supports_virtio_fs", "supports_mem_backing_file",
    "supports_address_space_passthrough", "supports_address_space_emulated", "supports_stateless_firmware",
    "supports_ephemeral_encryption", "supports_ephemeral_encryption_luks",
    "supports_image_type_ami", "supports_image_type_aki", "supports_image_type_ari", "supports_image_type_ploop",
)  # fmt: skip

#: Of the traits of what a guest can be given, the ones that hold; upstream takes more from libvirt's version.
HELD = frozenset((
    os_traits.COMPUTE_STORAGE_BUS_VIRTIO, os_traits.COMPUTE_STORAGE_BUS_SATA,
    os_traits.COMPUTE_NET_VIF_MODEL_VIRTIO, os_traits.COMPUTE_NET_VIF_MODEL_E1000,
    os_traits.COMPUTE_GRAPHICS_MODEL_GOP, os_traits.COMPUTE_ARCH_X86_64,
))  # fmt: skip


def limit_traits(traits: dict[str, bool]) -> dict[str, bool]:
    """Return the traits with those of guests' devices held to what there is; a processor's stay."""
    return {name: holds and (name in HELD or not name.startswith("COMPUTE_")) for name, holds in traits.items()}


class CapabilityMixin:
    """Capabilities and traits."""

    capabilities: dict[str, bool]

    def _update_host_specific_capabilities(self) -> None:
        super()._update_host_specific_capabilities()  # type: ignore[misc]
        self._limit_capabilities()

    def _limit_capabilities(self) -> None:
        self.capabilities.update(dict.fromkeys(MISSING, False))

    @property
    def static_traits(self) -> dict[str, bool]:
        """Traits of the host, which do not change while the service runs."""
        return limit_traits(super().static_traits)  # type: ignore[misc]

    def _do_quality_warnings(self) -> None:
        """Say nothing: upstream calls every libvirt type but QEMU's deprecated."""

    def pause(self, instance: Any) -> None:
        """Refuse: bhyve cannot stop a guest and go on later.

        :raises NotImplementedError: always
        """
        raise NotImplementedError("bhyve cannot pause guests")

    def unpause(self, instance: Any) -> None:
        """Refuse, as ``pause``.

        :raises NotImplementedError: always
        """
        raise NotImplementedError("bhyve cannot pause guests")

    def suspend(self, context: Any, instance: Any) -> None:
        """Refuse: bhyve cannot save a guest's memory.

        :raises NotImplementedError: always
        """
        raise NotImplementedError("bhyve cannot suspend guests")

    def resume(self, context: Any, instance: Any, network_info: Any, *arguments: Any, **named: Any) -> None:
        """Refuse, as ``suspend``.

        :raises NotImplementedError: always
        """
        raise NotImplementedError("bhyve cannot suspend guests")

    def attach_volume(self, context: Any, connection_info: Any, instance: Any, *arguments: Any, **named: Any) -> None:
        """Refuse: there are no volumes.

        :raises NotImplementedError: always
        """
        raise NotImplementedError("volumes cannot be attached to guests of bhyve")

    def detach_volume(self, context: Any, connection_info: Any, instance: Any, *arguments: Any, **named: Any) -> None:
        """Refuse, as ``attach_volume``.

        :raises NotImplementedError: always
        """
        raise NotImplementedError("volumes cannot be attached to guests of bhyve")

    def check_can_live_migrate_destination(self, *arguments: Any, **named: Any) -> Any:
        """Refuse before anything is done: bhyve cannot migrate a running guest.

        :raises MigrationPreCheckError: always
        """
        raise exception.MigrationPreCheckError(reason="bhyve cannot migrate running guests")

    check_can_live_migrate_source = check_can_live_migrate_destination
