"""The device part of bhyve's command line: ``-s slot,device,...`` and ``-l device,...`` as configuration variables."""

from __future__ import annotations

import re

from freebsd_sim.bhyve.config import Config
from freebsd_sim.bhyve.errors import ERROR, EX_USAGE, BhyveExit, errx

DEVICES = (
    "ahci", "ahci-hd", "ahci-cd", "amd_hostbridge", "e1000", "fbuf", "hda", "hostbridge", "lpc", "nvme", "passthru",
    "uart", "virtio-9p", "virtio-blk", "virtio-console", "virtio-input", "virtio-net", "virtio-rnd", "virtio-scsi",
    "xhci",
)  # fmt: skip
LPC_DEVICES = ("bootrom", "com1", "com2", "com3", "com4", "tpm", "pc-testdev")
COM_PORTS = ("com1", "com2", "com3", "com4")
LAST_SLOT = 31
LAST_FUNCTION = 7
LAST_BUS = 255


def parse_slot(config: Config, text: str) -> None:
    """Take one -s argument.

    :raises BhyveExit: it is malformed, the place is taken, or it is "help"
    """
    if text.startswith("help"):
        raise BhyveExit(0, out="".join(f"{name}\n" for name in DEVICES))
    place, comma, rest = text.partition(",")
    numbers = re.fullmatch(r"(?:(?:(\d+):)?(\d+):(\d+)|(\d+))", place)
    if not comma or numbers is None:
        raise _bad_slot(text)
    bus = int(numbers[1] or 0)
    slot = int(numbers[2] or numbers[4] or 0)
    function = int(numbers[3] or 0)
    device, _, options = rest.partition(",")
    if bus > LAST_BUS or slot > LAST_SLOT or function > LAST_FUNCTION or not device:
        raise _bad_slot(text)
    node = f"pci.{bus}.{slot}.{function}"
    if config.get(f"{node}.device") is not None:
        raise BhyveExit(ERROR, f"pci slot {bus}:{slot}:{function} already occupied!\n")
    config.set(f"{node}.device", device)
    for name, value in _parse_options(device, options):
        config.set(f"{node}.{name}", value)


def _bad_slot(text: str) -> BhyveExit:
    return BhyveExit(ERROR, f'Invalid PCI slot info field "{text}"\n')


def _parse_options(device: str, text: str) -> list[tuple[str, str]]:
    words = text.split(",") if text else []
    if device in ("virtio-blk", "ahci-hd", "ahci-cd", "nvme"):
        return _parse_disk(device, words)
    if device == "ahci":
        return _parse_ahci(words)
    if device in ("virtio-net", "e1000"):
        first = [("backend", words[0])] if words else []
        return [*first, *_parse_pairs(words[1:])]
    if device == "fbuf":
        return [("rfb" if name == "tcp" else name, value) for name, value in _parse_pairs(words)]
    if device == "xhci":
        return [(f"slot.{number}.device", word) for number, word in enumerate(words, 1)]
    if device == "virtio-9p" and words:
        share, _, path = words[0].partition("=")
        return [("sharename", share), ("path", path), *_parse_pairs(words[1:])]
    if device == "virtio-console":
        pairs = _parse_pairs(words)
        ports = [(f"port.{number}.name", name) for number, (name, _) in enumerate(pairs)]
        return ports + [(f"port.{number}.path", path) for number, (_, path) in enumerate(pairs)]
    return _parse_pairs(words)


def _parse_pairs(words: list[str]) -> list[tuple[str, str]]:
    return [(name, value if equals else "true") for name, equals, value in (word.partition("=") for word in words)]


def _parse_disk(device: str, words: list[str]) -> list[tuple[str, str]]:
    if not words:
        return []
    prefix = "port.0." if device.startswith("ahci") else ""
    port = [("port.0.type", device.removeprefix("ahci-"))] if prefix else []
    if device == "nvme" and words[0].startswith("ram="):
        return _parse_pairs(words)
    options = [("path", words[0]), *_parse_pairs(words[1:])]
    return port + [(prefix + name, value) for name, value in options]


def _parse_ahci(words: list[str]) -> list[tuple[str, str]]:
    options: list[tuple[str, str]] = []
    port = -1
    for word in words:
        kind, colon, path = word.partition(":")
        if colon and kind in ("hd", "cd"):
            port += 1
            options += [(f"port.{port}.type", kind), (f"port.{port}.path", path)]
        else:
            name, equals, value = word.partition("=")
            options.append((f"port.{max(port, 0)}.{name}", value if equals else "true"))
    return options


def parse_lpc(config: Config, text: str) -> None:
    """Take one -l argument.

    :raises BhyveExit: there is no such device, or it is "help"
    """
    if text == "help":
        raise BhyveExit(0, out="".join(f"{name}\n" for name in LPC_DEVICES))
    device, _, rest = text.partition(",")
    name = device.lower()
    if name == "bootrom":
        rom, _, variables = rest.partition(",")
        if rom:
            config.set("bootrom", rom)
        words = [word for word in variables.split(",") if word]
        if words and "=" not in words[0]:
            config.set("bootvars", words.pop(0))
        for option, value in _parse_pairs(words):
            config.set("lpc.fwcfg" if option == "fwcfg" else f"lpc.bootrom.{option}", value)
    elif name in COM_PORTS:
        config.set(f"lpc.{name}.path", rest)
    elif name == "tpm":
        kind, _, path = rest.partition(",")
        config.set("tpm.type", kind)
        config.set("tpm.path", path)
    elif name == "fwcfg":
        config.set("lpc.fwcfg", rest)
    elif name == "pc-testdev":
        config.set("lpc.pc-testdev", "true")
    else:
        raise errx(EX_USAGE, f"invalid lpc device configuration '{text}'")
