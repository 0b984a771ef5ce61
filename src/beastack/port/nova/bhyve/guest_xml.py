"""A guest's XML: what differs from the one that upstream makes for QEMU.

Upstream's methods make it piece by piece. Those for devices that bhyve has
otherwise are replaced; what upstream makes for no other type than QEMU's is
added at the end.
"""

from __future__ import annotations

import os
import shutil
from typing import Any

import nova.version
from nova import exception
from nova.objects import fields
from nova.virt import hardware
from nova.virt.libvirt import config
from nova.virt.libvirt import utils as libvirt_utils
from oslo_utils import strutils

from beastack.port.nova.bhyve.config import Guest
from beastack.port.nova.bhyve.options import CONF

#: The first libvirt whose bhyve driver has a random number device, and variables of the firmware.
RANDOM_DEVICE = (11, 3, 0)
FIRMWARE_VARIABLES = (11, 4, 0)

#: The one source that libvirt's bhyve driver takes.
RANDOM_SOURCE = "/dev/random"

VIDEO_MODEL = "gop"
USB_CONTROLLER = "nec-xhci"
VARIABLES = "firmware_vars.fd"


class GuestXmlMixin:
    """Firmware, processor, features, video, input and what bhyve is told directly."""

    _host: Any

    def _configure_guest_by_virt_type(
        self, guest: Any, instance: Any, image_meta: Any, flavor: Any, *arguments: Any, **named: Any
    ) -> None:
        firmware = image_meta.properties.get("hw_firmware_type", fields.FirmwareType.UEFI)
        if firmware != fields.FirmwareType.UEFI:
            raise exception.ImageUnacceptable(
                image_id=image_meta.id if "id" in image_meta else "",
                reason=f"guests of bhyve have no firmware {firmware}",
            )
        if hardware.get_secure_boot_constraint(flavor, image_meta) == "required":
            raise exception.SecureBootNotSupported()
        guest.os_loader_type, guest.os_loader_readonly = "pflash", True
        if self._host.has_min_version(lv_ver=FIRMWARE_VARIABLES) and os.path.exists(CONF.bhyve.firmware_variables):
            guest.os_loader = CONF.bhyve.firmware_code
            guest.os_nvram = self._ensure_firmware_variables(instance)
            guest.os_nvram_template = CONF.bhyve.firmware_variables
        else:
            guest.os_loader = CONF.bhyve.firmware

    @staticmethod
    def _ensure_firmware_variables(instance: Any) -> str:
        """Return the file of a guest's UEFI variables, made if it is not there.

        In the instance's directory, it goes when that goes; libvirt would make
        one of root's, and leave it.
        """
        path = os.path.join(libvirt_utils.get_instance_path(instance), VARIABLES)
        if not os.path.exists(path):
            os.makedirs(os.path.dirname(path), exist_ok=True)
            shutil.copyfile(CONF.bhyve.firmware_variables, f"{path}.new")
            os.rename(f"{path}.new", path)
        return path

    def _set_features(self, guest: Any, *arguments: Any, **named: Any) -> None:
        # On FreeBSD 14 a guest has ACPI's tables, which UEFI and the power button need, only if asked.
        guest.add_feature(config.LibvirtConfigGuestFeatureACPI())
        guest.add_feature(config.LibvirtConfigGuestFeatureAPIC())

    def _get_guest_iothread(self) -> None:
        """Return nothing: bhyve has its own threads for its disks."""

    def _get_guest_cpu_config(self, flavor: Any, image_meta: Any, *arguments: Any, **named: Any) -> Any:
        topology = hardware.get_best_cpu_topology(flavor, image_meta)
        cpu = config.LibvirtConfigGuestCPU()
        cpu.sockets, cpu.cores, cpu.threads = topology.sockets, topology.cores, topology.threads
        return cpu

    def _video_model_supported(self, model: str) -> bool:
        return model == VIDEO_MODEL

    def _get_video_type(self, image_meta: Any) -> str:
        wanted = image_meta.properties.get("hw_video_model")
        if wanted and not self._video_model_supported(wanted):
            raise exception.InvalidVideoMode(model=wanted)
        return VIDEO_MODEL

    def _guest_add_keyboard_device(self, guest: Any, image_meta: Any) -> None:
        """Add none: the firmware's video device comes with a PS/2 keyboard."""

    def _guest_add_usb_root_controller(self, guest: Any, *arguments: Any, **named: Any) -> None:
        # One controller for the one tablet: libvirt's bhyve driver refuses either without the other.
        if any(isinstance(device, config.LibvirtConfigGuestInput) for device in guest.devices):
            controller = config.LibvirtConfigGuestUSBHostController()
            controller.index, controller.model = 0, USB_CONTROLLER
            guest.add_device(controller)

    def _get_guest_config(
        self, instance: Any, network_info: Any, image_meta: Any, *arguments: Any, **named: Any
    ) -> Guest:
        made = super()._get_guest_config(instance, network_info, image_meta, *arguments, **named)  # type: ignore[misc]
        if self._wants_random_device(instance.flavor):
            device = config.LibvirtConfigGuestRng()
            device.backend = RANDOM_SOURCE
            made.add_device(device)
        guest = Guest(made)
        guest.arguments = describe_system(instance.uuid)
        return guest

    def _wants_random_device(self, flavor: Any) -> bool:
        allowed = strutils.bool_from_string(flavor.extra_specs.get("hw_rng:allowed", "True"))
        return allowed and bool(self._host.has_min_version(lv_ver=RANDOM_DEVICE))


def describe_system(uuid: str) -> list[str]:
    """Return bhyve's arguments for what the guest reads in SMBIOS, as upstream has it there.

    cloud-init knows OpenStack by it. libvirt's bhyve driver never passes the
    identifier on, and the rest from 12.5 only.
    """
    values = {
        "system.manufacturer": nova.version.vendor_string(),
        "system.product_name": nova.version.product_string(),
        "system.version": nova.version.version_string_with_package(),
        "system.serial_number": uuid,
        "system.family_name": "Virtual Machine",
    }
    return ["-U", uuid, *(word for name, value in values.items() if value for word in ("-o", f"{name}={value}"))]
