"""The connection to libvirt's bhyve driver, and what the host has.

libvirt knows little of FreeBSD's processors, and gives FreeBSD's version as
that of its hypervisor: every comparison with a version of QEMU would come out
true.
"""

from __future__ import annotations

from typing import Any

import nova.conf
from nova.virt.libvirt import host
from oslo_log import log as logging

from beastack.freebsd import cpu, memory
from beastack.port.nova.bhyve.guest import BhyveGuest
from beastack.port.nova.bhyve.next_definition import forget_next

LOG = logging.getLogger(__name__)
CONF = nova.conf.CONF


class BhyveHost(host.Host):
    """A host whose libvirt has the bhyve driver."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._cpu: cpu.Cpu | None = None

    def get_guest(self, instance: Any) -> BhyveGuest:
        """Return an instance's guest.

        :raises InstanceNotFound: libvirt does not have it
        """
        return BhyveGuest(self._get_domain(instance))

    def list_guests(self, only_running: bool = True) -> list[BhyveGuest]:
        """Return all guests."""
        return [BhyveGuest(domain) for domain in self.list_instance_domains(only_running=only_running)]

    def write_instance_config(self, xml: str) -> BhyveGuest:
        """Define a guest, anew and as a whole."""
        guest = BhyveGuest(super().write_instance_config(xml)._domain)
        forget_next(guest.uuid)
        return guest

    def _version_check(self, lv_ver: Any = None, hv_ver: Any = None, hv_type: Any = None, **named: Any) -> bool:
        # Whatever it is compared with, it is not a version of bhyve.
        return hv_ver is None and super()._version_check(lv_ver=lv_ver, hv_type=hv_type, **named)

    def read_processors(self) -> cpu.Cpu:
        """Return what the host's processors are; they do not change while it runs."""
        if self._cpu is None:
            self._cpu = cpu.read_cpu()
        return self._cpu

    def get_available_cpus(self) -> set[int]:
        """Return the numbers of the host's processors."""
        return set(range(self.read_processors().count))

    def get_online_cpus(self) -> set[int]:
        """Return the numbers of the processors that run: FreeBSD does not stop any."""
        return self.get_available_cpus()

    @property
    def has_hyperthreading(self) -> bool:
        """Whether a core has several threads."""
        return self.read_processors().topology.threads > 1

    def get_hostname(self) -> str:
        """Return the name that the cloud has for this host: the machine may call itself otherwise."""
        return str(CONF.host)

    @staticmethod
    def _get_avail_memory_kb() -> int:
        return memory.read_memory().available // 1024

    def get_cpu_model_names(self) -> list[str]:
        """Return nothing: a guest's processor is always the host's."""
        return []

    def _list_devices(self, cap: Any, flags: int = 0) -> list[str]:
        return []

    def list_all_devices(self, flags: int = 0) -> list[Any]:
        """Return nothing: libvirt has no device list here."""
        return []

    @property
    def supports_remote_managed_ports(self) -> bool:
        """There are none."""
        return False

    @property
    def supports_virtio_fs(self) -> bool:
        """Bhyve has no such device."""
        return False

    @property
    def supports_mem_backing_file(self) -> bool:
        """Guests' memory is the kernel's."""
        return False

    @property
    def supports_secure_boot(self) -> bool:
        """The firmware has no keys."""
        return False

    @property
    def supports_mem_encryption(self) -> bool:
        """There is none."""
        return False

    def _kernel_supports_amd_sev(self, *arguments: Any, **named: Any) -> bool:
        # Upstream asks Linux's /sys.
        return False
