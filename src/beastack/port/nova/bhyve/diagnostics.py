"""Figures about one guest, as far as there are any."""

from __future__ import annotations

from typing import Any

from lxml import etree  # type: ignore[import-untyped]
from oslo_utils import units

HOST_SYSTEM = "freebsd"


class DiagnosticsMixin:
    """Diagnostics of instances."""

    _host: Any

    def get_diagnostics(self, instance: Any) -> dict[str, Any]:
        """Return memory (KiB), time of all processors (ns), and the guest's devices, in upstream's old form."""
        guest = self._host.get_guest(instance)
        _, most, _, count, time = guest._get_domain_info()
        devices = etree.fromstring(guest.get_xml_desc()).find("devices")
        figures = {"memory": most, "cpus": count, "cpu_time": time}
        figures.update({f"{disk.get('dev')}_bus": disk.get("bus") for disk in devices.findall("disk/target")})
        figures.update({f"{tap.get('dev')}_type": "bridge" for tap in devices.findall("interface/target")})
        return figures

    def get_instance_diagnostics(self, instance: Any) -> Any:
        """Return upstream's object, with what libvirt has no figures of named and counted.

        libvirt's bhyve driver has statistics of disks and cards from 11.7,
        and of single processors not at all.
        """
        found = super().get_instance_diagnostics(instance)  # type: ignore[misc]
        found.hypervisor_os = HOST_SYSTEM
        guest = self._host.get_guest(instance)
        _, most, used, count, time = guest._get_domain_info()
        # MiB, as nova's API documents it; upstream divides KiB by too much.
        found.memory_details.maximum, found.memory_details.used = most // units.Ki, used // units.Ki
        for number in range(found.num_cpus, count):
            found.add_cpu(id=number, time=time if count == 1 else None)
        devices = etree.fromstring(guest.get_xml_desc()).find("devices")
        for _ in range(found.num_disks, len(devices.findall("disk"))):
            found.add_disk()
        known = {card.mac_address for card in found.nic_details}
        for address in (card.find("mac").get("address") for card in devices.findall("interface")):
            if address not in known:
                found.add_nic(mac_address=address)
        return found
