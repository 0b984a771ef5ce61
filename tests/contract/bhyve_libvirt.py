"""A libvirt binding whose connection answers as libvirt 11.3's bhyve driver does, for tests without a libvirtd.

What that driver does not implement is refused as there. Only the names that
nova uses are here; constants have libvirt's values where they matter.
"""

from __future__ import annotations

import sys
import types
import zlib
from typing import Any
from xml.etree import ElementTree

NO_SUPPORT, NO_DOMAIN, OPERATION_INVALID, OPERATION_FAILED = 3, 42, 55, 9
RUNNING, SHUTOFF = 1, 5

CAPABILITIES = """\
<capabilities>
  <host><cpu><arch>x86_64</arch><model>Skylake-Server-v1</model><vendor>Intel</vendor>
    <topology sockets='1' dies='1' clusters='1' cores='2' threads='1'/></cpu>
    <power_management/><iommu support='no'/></host>
  <guest><os_type>hvm</os_type>
    <arch name='x86_64'><wordsize>64</wordsize><emulator>bhyve</emulator><domain type='bhyve'/></arch></guest>
</capabilities>
"""

DOMAIN_CAPABILITIES = """\
<domainCapabilities>
  <path>/usr/sbin/bhyve</path><domain>bhyve</domain><arch>x86_64</arch>
  <os supported='yes'><loader supported='yes'>
    <value>/usr/local/share/uefi-firmware/BHYVE_UEFI.fd</value>
    <enum name='type'><value>pflash</value></enum><enum name='readonly'><value>yes</value></enum></loader></os>
  <devices>
    <disk supported='yes'><enum name='diskDevice'><value>disk</value><value>cdrom</value></enum>
      <enum name='bus'><value>virtio</value><value>sata</value></enum><enum name='model'/></disk>
    <graphics supported='yes'><enum name='type'><value>vnc</value></enum></graphics>
    <video supported='yes'><enum name='modelType'><value>gop</value></enum></video>
    <hostdev supported='no'/>
    <rng supported='yes'><enum name='model'><value>virtio</value></enum>
      <enum name='backendModel'><value>random</value></enum></rng>
  </devices>
  <features><gic supported='no'/><vmcoreinfo supported='no'/><sev supported='no'/></features>
</domainCapabilities>
"""


class libvirtError(Exception):
    """As the binding's."""

    def __init__(self, message: str, code: int = OPERATION_FAILED) -> None:
        super().__init__(message)
        self.code = code

    def get_error_code(self) -> int:
        """Return the number."""
        return self.code

    def get_error_domain(self) -> int:
        """Return the part of libvirt."""
        return 29

    def get_error_message(self) -> str:
        """Return the text."""
        return str(self)


def refuse(name: str) -> Any:
    """Return a method that is not implemented."""

    def method(*arguments: Any, **named: Any) -> Any:
        raise libvirtError(f"this function is not supported by the connection driver: {name}", NO_SUPPORT)

    return method


class virDomain:
    """A guest. ``pid`` is -1 while it is off; one whose ``dead`` is set runs for libvirt alone."""

    def __init__(self, connection: virConnect, xml: str) -> None:
        self.connection = connection
        self.pid = -1
        self.dead = False
        self.calls: list[str] = []
        self.define(xml)

    def __getattr__(self, name: str) -> Any:
        return refuse(f"virDomain{name[:1].upper()}{name[1:]}")

    def define(self, xml: str) -> None:
        """Take a definition."""
        self.xml = xml
        tree = ElementTree.fromstring(xml)
        self._name, self._uuid = str(tree.findtext("name")), str(tree.findtext("uuid"))

    def connect(self) -> virConnect:
        """Return the connection."""
        return self.connection

    def ID(self) -> int:
        """Return the process's number, or -1."""
        return self.pid

    def name(self) -> str:
        """Return the name."""
        return self._name

    def UUIDString(self) -> str:
        """Return the identifier."""
        return self._uuid

    def XMLDesc(self, flags: int = 0) -> str:
        """Return the definition."""
        return self.xml

    def state(self, flags: int = 0) -> list[int]:
        """Return state and reason."""
        return [RUNNING if self.pid > 0 else SHUTOFF, 1]

    def info(self) -> list[int]:
        """Return state, memory, processors and time; of a dead process there is no time."""
        if self.dead:
            raise libvirtError(f"Unable to obtain information about pid: {self.pid}", 38)
        return [self.state()[0], 524288, 524288, 1, 1_000_000_000]

    def isActive(self) -> int:
        """Tell whether it runs for libvirt."""
        return int(self.pid > 0)

    def isPersistent(self) -> int:
        """Tell that it is defined."""
        return 1

    def createWithFlags(self, flags: int = 0) -> int:
        """Start it."""
        self.calls.append("create")
        self.pid = self.connection.next_pid = self.connection.next_pid + 1
        return 0

    def destroy(self) -> int:
        """Stop it."""
        self.calls.append("destroy")
        if self.pid < 0:
            raise libvirtError("Requested operation is not valid: Domain is not running", OPERATION_INVALID)
        if self.connection.broken_destroy:
            self.connection.broken_destroy -= 1
            raise libvirtError("internal error: Child process (bhyvectl --destroy) unexpected exit status 1", 1)
        self.pid, self.dead = -1, False
        return 0

    def shutdown(self) -> int:
        """Press the button."""
        self.calls.append("shutdown")
        return 0

    def undefineFlags(self, flags: int) -> int:
        """Refuse any flag."""
        if flags:
            raise libvirtError(f"unsupported flags (0x{flags:x}) in function bhyveDomainUndefineFlags", 8)
        return self.undefine()

    def undefine(self) -> int:
        """Forget it."""
        self.connection.domains.pop(self._uuid)
        return 0

    def setMetadata(self, *arguments: Any, **named: Any) -> int:
        """Take metadata."""
        return 0


class virConnect:
    """A connection; what the driver does not implement is refused."""

    def __init__(self, version: int = 11_003_000) -> None:
        self.version = version
        self.domains: dict[str, virDomain] = {}
        self.next_pid = 5000
        #: How often ``destroy`` is to fail for the lack of a machine.
        self.broken_destroy = 0
        self.refused: set[str] = set()

    def __getattr__(self, name: str) -> Any:
        self.refused.add(name)
        return refuse(f"virConnect{name[:1].upper()}{name[1:]}")

    def getLibVersion(self) -> int:
        """Return libvirt's version."""
        return self.version

    def getVersion(self) -> int:
        """Return FreeBSD's version: the driver has no other."""
        return 15_000_000

    def getType(self) -> str:
        """Return the driver's name."""
        return "BHYVE"

    def getHostname(self) -> str:
        """Return the host's name."""
        return "host1"

    def getInfo(self) -> list[Any]:
        """Return the node as FreeBSD's code has it: no topology."""
        return ["x86_64", 16384, 4, 2400, 1, 1, 4, 1]

    def getCapabilities(self) -> str:
        """Return the host's capabilities."""
        return CAPABILITIES

    def getDomainCapabilities(self, *arguments: Any, **named: Any) -> str:
        """Return what guests can have."""
        return DOMAIN_CAPABILITIES

    def getCPUStats(self, *arguments: Any) -> dict[str, int]:
        """Return the processors' time."""
        return {"kernel": 1, "idle": 2, "user": 3, "iowait": 0}

    def getCPUMap(self, flags: int = 0) -> Any:
        """Fail, as on FreeBSD."""
        raise libvirtError("node online CPU map not implemented on this platform", NO_SUPPORT)

    def compareCPU(self, *arguments: Any) -> int:
        """Find it the same."""
        return 2

    def baselineCPU(self, *arguments: Any) -> str:
        """Return the host's model."""
        return "<cpu mode='custom' match='exact'><model>Skylake-Server</model><vendor>Intel</vendor></cpu>"

    def listAllDomains(self, flags: int = 0) -> list[virDomain]:
        """Return all guests."""
        return list(self.domains.values())

    def lookupByUUIDString(self, uuid: str) -> virDomain:
        """Return one guest."""
        if uuid not in self.domains:
            raise libvirtError(f"Domain not found: no domain with matching uuid '{uuid}'", NO_DOMAIN)
        return self.domains[uuid]

    def defineXML(self, xml: str) -> virDomain:
        """Take a definition."""
        made = virDomain(self, xml)
        there = self.domains.get(made.UUIDString())
        if there is None:
            self.domains[made.UUIDString()] = made
            return made
        there.define(xml)
        return there

    def domainEventRegisterAny(self, *arguments: Any) -> int:
        """Take a callback."""
        return 0

    def registerCloseCallback(self, *arguments: Any) -> int:
        """Take a callback."""
        return 0


def install_binding(connection: virConnect) -> None:
    """Make ``import libvirt`` give a binding that opens this connection, and one that was imported before do so."""
    there = sys.modules.get("libvirt")
    if there is not None:
        there.connection = connection  # type: ignore[attr-defined]
        return
    binding = types.ModuleType("libvirt")
    known = {
        "VIR_ERR_NO_SUPPORT": NO_SUPPORT, "VIR_ERR_NO_DOMAIN": NO_DOMAIN,
        "VIR_ERR_OPERATION_INVALID": OPERATION_INVALID,
        "VIR_DOMAIN_UNDEFINE_MANAGED_SAVE": 1, "VIR_DOMAIN_UNDEFINE_NVRAM": 4, "VIR_DOMAIN_UNDEFINE_KEEP_NVRAM": 8,
        "VIR_DOMAIN_XML_INACTIVE": 2, "VIR_DOMAIN_XML_SECURE": 1, "VIR_DOMAIN_XML_MIGRATABLE": 8,
    }  # fmt: skip

    def give(name: str) -> int:
        if not name.startswith("VIR_"):
            raise AttributeError(name)
        return known.get(name, 1000 + zlib.crc32(name.encode()) % 100_000)

    binding.__getattr__ = give  # type: ignore[method-assign]
    members: dict[str, Any] = {
        "libvirtError": libvirtError, "virDomain": virDomain, "virConnect": virConnect,
        "openAuth": lambda *arguments: binding.connection, "connection": connection,
        "registerErrorHandler": lambda *arguments: None,
        "virEventRegisterDefaultImpl": lambda: None, "getVersion": lambda: binding.connection.version,
    }  # fmt: skip
    for name, value in members.items():
        setattr(binding, name, value)
    sys.modules["libvirt"] = binding
