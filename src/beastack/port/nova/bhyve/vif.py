"""Guests' interfaces: taps that libvirt makes, and adds to Open vSwitch itself.

Upstream has os-vif make the port, and libvirt take an interface that is there
(type ``ethernet``), which libvirt's bhyve driver does not know. It knows
bridges, and with an Open vSwitch port profile it runs ovs-vsctl(8).
"""

from __future__ import annotations

from typing import Any

from nova.network import model as network_model
from nova.virt.libvirt import vif as libvirt_vif

#: The os-vif plugin, by the name of its entry point.
PLUGIN = "ovs_freebsd"


def give_to_libvirt(vif: Any) -> Any:
    """Have libvirt, not os-vif, make an interface's tap and port, and our plugin see to the rest."""
    vif.plugin = PLUGIN
    profile = vif.port_profile if "port_profile" in vif else None
    for field in ("create_port", "create_tap"):
        if profile is not None and field in profile.fields:
            setattr(profile, field, False)
    return vif


class BhyveVIFDriver(libvirt_vif.LibvirtGenericVIFDriver):
    """Interfaces of guests of bhyve."""

    def get_vif_model(self, image_meta: Any = None, vif_model: Any = None) -> str:
        """Return the image's model, or virtio: libvirt's bhyve driver has no default."""
        return super().get_vif_model(image_meta=image_meta, vif_model=vif_model) or network_model.VIF_MODEL_VIRTIO

    def _set_config_VIFOpenVSwitch(self, instance: Any, vif: Any, conf: Any) -> None:
        super()._set_config_VIFOpenVSwitch(instance, give_to_libvirt(vif), conf)

    def _plug_os_vif(self, instance: Any, vif: Any) -> None:
        super()._plug_os_vif(instance, give_to_libvirt(vif))

    def _unplug_os_vif(self, instance: Any, vif: Any) -> None:
        super()._unplug_os_vif(instance, give_to_libvirt(vif))
