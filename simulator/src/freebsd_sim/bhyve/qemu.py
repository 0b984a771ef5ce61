"""bhyve's configuration as QEMU's command line.

What QEMU has like bhyve is mapped: places on PCI bus 0, legacy virtio, AHCI,
NVMe, e1000, frame buffer, tablet, UEFI with variables. The rest is refused.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import socket
import stat
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field

from freebsd_sim.bhyve.config import Config, compute_topology, parse_memory
from freebsd_sim.bhyve.errors import ERROR, BhyveExit, device_failure, not_simulated

PROGRAM = "/.sim/linux/usr/bin/qemu-system-x86_64"
FIRMWARE_DIRECTORY = "/usr/share/OVMF"
# Size of the variables file: the firmware that fits it.
FIRMWARE = {131072: ("OVMF_CODE.fd", "OVMF_VARS.fd"), 540672: ("OVMF_CODE_4M.fd", "OVMF_VARS_4M.fd")}
AHCI_PORTS = 6  # of QEMU's controller; bhyve's has 32
OWN_OUI = "58:9c:fc"  # of the FreeBSD foundation, for bhyve
FIRST_VNC_PORT = 5900
# Every device that Linux guests find is one of the old kind, as with bhyve.
LEGACY = {"disable-modern": True, "disable-legacy": "off"}
# system.* and so on of bhyve_config(5): table of -smbios, its field, bhyve's default
SMBIOS = {
    "bios.vendor": ("0", "vendor", "BHYVE"),
    "bios.version": ("0", "version", "14.0"),
    "bios.release_date": ("0", "date", "10/17/2021"),
    "system.manufacturer": ("1", "manufacturer", "FreeBSD"),
    "system.product_name": ("1", "product", "BHYVE"),
    "system.version": ("1", "version", "1.0"),
    "system.serial_number": ("1", "serial", "None"),
    "system.sku": ("1", "sku", "None"),
    "system.family_name": ("1", "family", "Virtual Machine"),
    "board.manufacturer": ("2", "manufacturer", "FreeBSD"),
    "board.product_name": ("2", "product", "BHYVE"),
    "board.version": ("2", "version", "1.0"),
    "board.serial_number": ("2", "serial", "None"),
    "board.asset_tag": ("2", "asset", "None"),
    "board.location": ("2", "location", "None"),
    "chassis.manufacturer": ("3", "manufacturer", "FreeBSD"),
    "chassis.version": ("3", "version", "1.0"),
    "chassis.serial_number": ("3", "serial", "None"),
    "chassis.asset_tag": ("3", "asset", "None"),
    "chassis.sku": ("3", "sku", "None"),
}


@dataclass
class Guest:
    """A command line in the making, the descriptors that go with it, and what to watch."""

    config: Config
    hostname: str
    open_tap: Callable[[str], int]
    argv: list[str] = field(default_factory=list)
    descriptors: list[int] = field(default_factory=list)
    growing: dict[str, str] = field(default_factory=dict)  # node of QEMU: path of a file that may grow
    wait_for_viewer: bool = False
    disks: int = 0
    acpi: bool = True

    @property
    def name(self) -> str:
        """The guest's name."""
        return self.config.get("name") or ""

    def add(self, *words: str) -> None:
        """Append arguments."""
        self.argv += words

    def add_json(self, option: str, value: dict[str, object]) -> None:
        """Append an option whose argument is a JSON object, so that nothing in it needs quoting."""
        self.argv += [option, json.dumps(value)]


def build(guest: Guest, *, acpi_default: bool) -> None:
    """Fill in the command line of a guest, except for monitor and serial ports.

    :raises BhyveExit: bhyve would refuse, or it is something that QEMU does not have
    """
    config = guest.config
    cpus, sockets, cores, threads = compute_topology(config)
    memory = parse_memory(config.get("memory.size") or "") or 0
    guest.acpi = config.get_bool("acpi_tables", default=acpi_default)
    machine = "q35,accel=tcg,sata=off,smbus=off,vmport=off,smm=off" + ("" if guest.acpi else ",acpi=off")
    guest.add("-nodefaults", "-no-user-config", "-no-reboot", "-display", "none", "-vga", "none", "-machine", machine)
    guest.add("-cpu", "max,la57=off", "-m", f"{max(1, memory >> 20)}M")
    guest.add("-smp", f"{cpus},sockets={sockets},cores={cores},threads={threads}")
    local = config.get_bool("rtc.use_localtime", default=True)
    guest.add("-rtc", f"base={'localtime' if local else 'utc'}")
    _add_identity(guest)
    _add_firmware(guest)
    _add_firmware_items(guest)
    for (bus, slot, function), values in config.devices():
        name = values["device"]
        builder = DEVICES.get(name)
        if builder is None:
            known = name in ("passthru", "uart", "virtio-input", "virtio-scsi")
            if known:
                raise not_simulated(f"device {name}")
            text = f'pci slot {bus}:{slot}:{function}: unknown device "{name}"'
            raise device_failure(text, "Invalid argument")
        if bus != 0:
            raise not_simulated("a PCI bus other than 0")
        place: dict[str, object] = {"bus": "pcie.0", "addr": f"{slot:x}.{function}"}
        if function == 0 and any(key[:2] == (bus, slot) and key[2] for key, _ in config.devices()):
            place["multifunction"] = True
        if slot in (0, 31) and function == 0 and builder is not _add_nothing:
            raise not_simulated(f"device {name} in slot {slot}")
        builder(guest, place, values)


def _add_identity(guest: Guest) -> None:
    config = guest.config
    given = config.get("uuid")
    if given is None:
        digest = hashlib.md5(f"{guest.name}{guest.hostname}".encode(), usedforsecurity=False).digest()
        identity = uuid.UUID(bytes=digest, version=3)
    else:
        try:
            identity = uuid.UUID(given)
        except ValueError:
            raise BhyveExit(ERROR) from None
    guest.add("-uuid", str(identity))
    tables: dict[str, list[str]] = {}
    for variable, (table, name, default) in SMBIOS.items():
        value = (config.get(variable) or default).replace(",", ",,")
        tables.setdefault(table, []).append(f"{name}={value}")
    for table, fields in tables.items():
        guest.add("-smbios", f"type={table}," + ",".join(fields))


def _add_firmware(guest: Guest) -> None:
    rom, variables = guest.config.get("bootrom"), guest.config.get("bootvars")
    if rom is None:
        raise not_simulated("a guest without a boot ROM")
    try:
        with open(rom, "rb"):
            pass
        size = None if variables is None else os.stat(variables).st_size
    except OSError as error:
        raise BhyveExit(ERROR, f'Error opening bootrom "{error.filename}": {error.strerror}\n') from None
    sizes = [item for item in FIRMWARE if os.path.exists(f"{FIRMWARE_DIRECTORY}/{FIRMWARE[item][0]}")]
    if size is None:
        size = next(iter(sizes), 0)
    if size not in sizes:
        raise not_simulated(f"a variables file of {size} bytes")
    code, template = (f"{FIRMWARE_DIRECTORY}/{file}" for file in FIRMWARE[size])
    if variables is None:
        # The variables live as long as the guest.
        store = os.memfd_create("variables")
        with open(template, "rb") as file:
            os.write(store, file.read())
        guest.descriptors.append(store)
        guest.add("-add-fd", f"fd={store},set=9")
        variables = "/dev/fdset/9"
    for node, path, fixed in (("rom", code, True), ("vars", variables, False)):
        blockdev = {"driver": "file", "filename": path, "node-name": node, "read-only": fixed, "locking": "off"}
        guest.add_json("-blockdev", dict(blockdev))
    guest.add("-machine", "pflash0=rom,pflash1=vars")


def _add_firmware_items(guest: Guest) -> None:
    for name, value in guest.config.below("fwcfg").items():
        item, _, kind = name.rpartition(".")
        guest.add("-fw_cfg", f"name={item},{kind}={value.replace(',', ',,')}")


def _add_nothing(guest: Guest, place: dict[str, object], values: dict[str, str]) -> None:
    """Stand for what QEMU's machine has anyway."""


def _add_disk(guest: Guest, values: dict[str, str], prefix: str = "", *, read_only: bool = False) -> dict[str, object]:
    """Add the storage of a disk and return the properties of the device in front of it."""
    path = values.get(prefix + "path")
    if path is None:
        raise device_failure("Could not open backing file: No such file or directory", "No such file or directory")
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        mode = os.fstat(descriptor).st_mode
        os.close(descriptor)
    except OSError as error:
        raise device_failure(f"Could not open backing file: {error.strerror}", error.strerror or "") from None
    node = f"disk{guest.disks}"
    guest.disks += 1
    fixed = read_only or _is_set(values, prefix + "ro")
    special = stat.S_ISBLK(mode) or stat.S_ISCHR(mode)
    trim = "ignore" if fixed or _is_set(values, prefix + "nodelete") else "unmap"
    blockdev: dict[str, object] = {
        "driver": "host_device" if special else "file", "filename": path, "node-name": f"{node}-file",
        "read-only": fixed, "discard": trim, "locking": "off",
    }  # fmt: skip
    guest.add_json("-blockdev", blockdev)
    above = {"driver": "raw", "file": f"{node}-file", "node-name": node, "read-only": fixed, "discard": trim}
    guest.add_json("-blockdev", dict(above))
    if not special and not fixed:
        guest.growing[node] = path
    properties: dict[str, object] = {
        "drive": node,
        "bootindex": int(values.get(prefix + "bootindex", 100 + guest.disks)),
    }
    logical, _, physical = values.get(prefix + "sectorsize", "").partition("/")
    if logical:
        properties["logical_block_size"] = int(logical)
        properties["physical_block_size"] = int(physical or logical)
    return properties


def _is_set(values: dict[str, str], name: str) -> bool:
    return Config(values).get_bool(name, default=False)


def _identify(path: str) -> str:
    """Return the identity that a disk has by default: a hash of its path."""
    digest = hashlib.md5(path.encode(), usedforsecurity=False).hexdigest().upper()
    return f"BHYVE-{digest[:4]}-{digest[4:8]}-{digest[8:12]}"


def _add_virtio_block(guest: Guest, place: dict[str, object], values: dict[str, str]) -> None:
    disk = _add_disk(guest, values)
    serial = values.get("serial") or values.get("ser") or _identify(values["path"])
    guest.add_json("-device", {"driver": "virtio-blk-pci", **place, **disk, "serial": serial[:20], **LEGACY})


def _add_nvme(guest: Guest, place: dict[str, object], values: dict[str, str]) -> None:
    if "ram" in values:
        raise not_simulated("an nvme device in memory")
    disk = _add_disk(guest, values)
    serial = values.get("ser") or _identify(values["path"])
    guest.add_json("-device", {"driver": "nvme", **place, **disk, "serial": serial[:20]})


def _add_ahci(guest: Guest, place: dict[str, object], values: dict[str, str]) -> None:
    controller = f"ahci{guest.disks}"
    guest.add_json("-device", {"driver": "ich9-ahci", "id": controller, **place})
    ports = sorted({int(match[1]) for match in (re.match(r"port\.(\d+)\.path$", name) for name in values) if match})
    for port in ports:
        if port >= AHCI_PORTS:
            raise not_simulated(f"more than {AHCI_PORTS} ports on an ahci device")
        prefix = f"port.{port}."
        cd = values.get(prefix + "type") == "cd"
        disk = _add_disk(guest, values, prefix, read_only=cd)
        serial = values.get(prefix + "ser") or _identify(values[prefix + "path"])
        driver = "ide-cd" if cd else "ide-hd"
        model = {"model": values[prefix + "model"]} if prefix + "model" in values else {}
        guest.add_json(
            "-device", {"driver": driver, "bus": f"{controller}.{port}", **disk, "serial": serial[:20], **model}
        )


def _choose_mac(guest: Guest, place: dict[str, object], values: dict[str, str]) -> str:
    given = values.get("mac")
    if given is None:
        slot, _, function = str(place["addr"]).partition(".")
        text = f"{int(slot, 16)}-{function}-{guest.name}"
        digest = hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()
        return f"{OWN_OUI}:{digest[:2]}:{digest[2:4]}:{digest[4:6]}"
    if not re.fullmatch(r"[0-9a-fA-F]{1,2}(:[0-9a-fA-F]{1,2}){5}", given) or int(given.partition(":")[0], 16) & 1:
        raise device_failure(f"Invalid MAC address {given}", "Invalid argument")
    return ":".join(f"{int(part, 16):02x}" for part in given.split(":"))


def _add_network(guest: Guest, place: dict[str, object], values: dict[str, str]) -> None:
    backend = values.get("backend", "")
    mac = _choose_mac(guest, place, values)
    netdev = f"net{str(place['addr']).replace('.', '-')}"
    if re.match(r"tap|vmnet", backend):
        try:
            descriptor = guest.open_tap(backend)
        except OSError as error:
            raise device_failure(f"open of tap device /dev/{backend} failed", error.strerror or "") from None
        guest.descriptors.append(descriptor)
        guest.add("-netdev", f"tap,id={netdev},fd={descriptor}")
    elif backend == "slirp":
        forwards = f",hostfwd={values['hostfwd']}" if "hostfwd" in values else ""
        closed = "" if _is_set(values, "open") else ",restrict=on"
        guest.add("-netdev", f"user,id={netdev}{closed}{forwards}")
    elif re.match(r"ngd|netgraph|vale|netmap", backend):
        raise not_simulated(f"network backend {backend}")
    else:
        raise device_failure(f"net backend {backend}: unknown", "Invalid argument")
    device: dict[str, object] = {**place, "netdev": netdev, "mac": mac, "romfile": ""}
    if values["device"] == "e1000":
        guest.add_json("-device", {"driver": "e1000", **device})
        return
    if "mtu" in values:
        device["host_mtu"] = int(values["mtu"])
    guest.add_json("-device", {"driver": "virtio-net-pci", **device, **LEGACY})


def _add_random(guest: Guest, place: dict[str, object], values: dict[str, str]) -> None:
    guest.add_json("-device", {"driver": "virtio-rng-pci", **place, **LEGACY})


def _add_share(guest: Guest, place: dict[str, object], values: dict[str, str]) -> None:
    path, name = values.get("path", ""), values.get("sharename", "")
    if not os.path.isdir(path):
        raise device_failure(f"virtio-9p: {path}", "No such file or directory")
    identity = f"share{str(place['addr']).replace('.', '-')}"
    fixed = ",readonly=on" if _is_set(values, "ro") else ""
    guest.add("-fsdev", f"local,id={identity},path={path.replace(',', ',,')},security_model=passthrough{fixed}")
    guest.add_json("-device", {"driver": "virtio-9p-pci", **place, "fsdev": identity, "mount_tag": name, **LEGACY})


def _add_console(guest: Guest, place: dict[str, object], values: dict[str, str]) -> None:
    bus = f"serial{str(place['addr']).replace('.', '-')}"
    guest.add_json("-device", {"driver": "virtio-serial-pci", "id": bus, **place, **LEGACY})
    for number in range(16):
        name, path = values.get(f"port.{number}.name"), values.get(f"port.{number}.path")
        if name is None or path is None:
            continue
        if os.path.lexists(path):
            raise device_failure(f"virtio-console: bind({path}): Address already in use", "Address already in use")
        identity = f"{bus}-{number}"
        guest.add("-chardev", f"socket,id={identity},path={path.replace(',', ',,')},server=on,wait=off")
        guest.add_json("-device", {"driver": "virtserialport", "bus": f"{bus}.0", "chardev": identity, "name": name})


def _add_usb(guest: Guest, place: dict[str, object], values: dict[str, str]) -> None:
    guest.add_json("-device", {"driver": "qemu-xhci", "id": "xhci", **place})
    for name, value in values.items():
        if name.startswith("slot."):
            if value != "tablet":
                raise device_failure(f'xhci: unknown device "{value}"', "Invalid argument")
            guest.add_json("-device", {"driver": "usb-tablet", "bus": "xhci.0"})


def _add_sound(guest: Guest, place: dict[str, object], values: dict[str, str]) -> None:
    guest.add("-audiodev", "none,id=audio")
    guest.add_json("-device", {"driver": "intel-hda", "id": "hda", **place})
    guest.add_json("-device", {"driver": "hda-duplex", "bus": "hda.0", "audiodev": "audio"})


def _add_frame_buffer(guest: Guest, place: dict[str, object], values: dict[str, str]) -> None:
    address = values.get("rfb", "")
    if address.startswith("unix:"):
        listen = address.replace(",", ",,")
    else:
        match = re.fullmatch(r"(?:(\[[0-9a-fA-F:.]*\]|[^:]*):)?(\d+)", address or "5900")
        if match is None:
            raise device_failure(f'Invalid fbuf address "{address}"', "Invalid argument")
        host, port = match[1] or "127.0.0.1", int(match[2])
        if port < FIRST_VNC_PORT:
            raise not_simulated(f"a VNC port below {FIRST_VNC_PORT}")
        _check_port(host.strip("[]"), port)
        listen = f"{host}:{port - FIRST_VNC_PORT}"
    if "password" in values:
        guest.add("-object", f"secret,id=vnc-password,data={values['password'].replace(',', ',,')}")
        listen += ",password-secret=vnc-password"
    guest.add("-vnc", listen)
    size: dict[str, object] = {"xres": int(values.get("w", "1024")), "yres": int(values.get("h", "768"))}
    guest.add_json("-device", {"driver": "VGA", **place, **size, "edid": True})
    guest.wait_for_viewer = _is_set(values, "wait")
    if guest.wait_for_viewer:
        guest.add("-S")


def _check_port(host: str, port: int) -> None:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM) as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            trial.bind((host, port))
        except OSError as error:
            raise device_failure(f"bind: {error.strerror}", error.strerror or "") from None


DEVICES: dict[str, Callable[[Guest, dict[str, object], dict[str, str]], None]] = {
    "ahci": _add_ahci,
    "ahci-cd": _add_ahci,
    "ahci-hd": _add_ahci,
    "amd_hostbridge": _add_nothing,
    "e1000": _add_network,
    "fbuf": _add_frame_buffer,
    "hda": _add_sound,
    "hostbridge": _add_nothing,
    "lpc": _add_nothing,
    "nvme": _add_nvme,
    "virtio-9p": _add_share,
    "virtio-blk": _add_virtio_block,
    "virtio-console": _add_console,
    "virtio-net": _add_network,
    "virtio-rnd": _add_random,
    "xhci": _add_usb,
}
