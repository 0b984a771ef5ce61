"""Figures about one guest, as far as there are any."""

from __future__ import annotations

from typing import Any

from lxml import etree  # type: ignore[import-untyped]

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
        """Return upstream's object: libvirt's bhyve driver has statistics of disks and interfaces from 11.7."""
        found = super().get_instance_diagnostics(instance)  # type: ignore[misc]
        found.hypervisor_os = HOST_SYSTEM
        return found
