"""bhyve's command line (bhyve(8), usr.sbin/bhyve/bhyverun.c): options in, configuration variables out."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from freebsd_sim.bhyve import devices
from freebsd_sim.bhyve.config import Config, check_dump, compute_topology, parse_file, parse_memory
from freebsd_sim.bhyve.errors import ERROR, EX_USAGE, USAGE, BhyveExit, errx, not_simulated

# getopt(3)'s string of 14.x and 15.x on amd64; -n came with 15.0.
OPTIONS = "aehuwxACDHIPSWYk:f:o:p:G:c:s:m:l:K:U:r:"
OPTIONS_15 = OPTIONS + "n:"

USAGE_TEXT = """\
Usage: bhyve [-aCDeHhPSuWwxY]
             [-c [[cpus=]numcpus][,sockets=n][,cores=n][,threads=n]]
             [-f name[=value]] [-G port] [-k config_file] [-l lpc] [-m mem]
             [-o var=value] [-p vcpu:hostcpu] [-r file]
             [-s slot,driver,configinfo] [-U uuid] vmname
       -a: local apic is in xAPIC mode (deprecated)
       -C: include guest memory in core file
       -c: number of CPUs and/or topology specification
       -D: destroy on power-off
       -e: exit on unhandled I/O access
       -f: fw_cfg entry
       -G: start a debug server
       -H: vmexit from the guest on HLT
       -h: help
       -k: key=value flat config file
       -K: PS2 keyboard layout
       -l: LPC device configuration
       -m: memory size
       -o: set config 'var' to 'value'
       -P: vmexit from the guest on pause
       -p: pin 'vcpu' to 'hostcpu'
       -r: path to checkpoint file
       -S: guest memory cannot be swapped
       -s: <slot,driver,configinfo> PCI slot config
       -U: UUID
       -u: RTC keeps UTC time
       -W: force virtio to use single-vector MSI
       -w: ignore unimplemented MSRs
       -x: local APIC is in x2APIC mode
       -Y: disable MPtable generation
"""

# option: the variable it sets, and to what
FLAGS = {
    "a": ("x86.x2apic", "false"),
    "A": ("acpi_tables", "true"),
    "C": ("memory.guest_in_core", "true"),
    "D": ("destroy_on_poweroff", "true"),
    "e": ("x86.strictio", "true"),
    "H": ("x86.vmexit_on_hlt", "true"),
    "P": ("x86.vmexit_on_pause", "true"),
    "S": ("memory.wired", "true"),
    "u": ("rtc.use_localtime", "false"),
    "w": ("x86.strictmsr", "false"),
    "W": ("virtio_msix", "false"),
    "x": ("x86.x2apic", "true"),
    "Y": ("x86.mptable", "false"),
}
DEFAULTS = {
    "memory.size": "256M",
    "x86.strictmsr": "true",
    "lpc.fwcfg": "bhyve",
}

ReadFile = Callable[[str], str]  # raises OSError


def parse(argv: Sequence[str], read_file: ReadFile, options: str = OPTIONS_15) -> Config:
    """Return the configuration that a command line asks for; the guest's name is in ``name``.

    ``argv`` is without the program's name. Nothing but -k's file is looked at.

    :raises BhyveExit: the command line is wrong, or asks for something else than a guest
    """
    config = Config(DEFAULTS)
    words = list(argv)
    while words and words[0].startswith("-") and words[0] != "-":
        word = words.pop(0)
        if word == "--":
            break
        letters = word[1:]
        while letters:
            letter, letters = letters[0], letters[1:]
            position = options.find(letter) if letter != ":" else -1
            if position < 0:
                raise BhyveExit(USAGE, f"bhyve: illegal option -- {letter}\n{USAGE_TEXT}")
            value = ""
            if options[position + 1 : position + 2] == ":":
                if not letters and not words:
                    raise BhyveExit(USAGE, f"bhyve: option requires an argument -- {letter}\n{USAGE_TEXT}")
                value, letters = letters or words.pop(0), ""
            _take_option(config, letter, value, read_file)
    if len(words) > 1:
        raise BhyveExit(USAGE, USAGE_TEXT)
    if words:
        config.set("name", words[0])
    if config.get("name") is None:
        raise BhyveExit(USAGE, USAGE_TEXT)
    check_dump(config)
    compute_topology(config)
    size = config.get("memory.size") or ""
    if parse_memory(size) is None:
        raise errx(EX_USAGE, f"invalid memsize '{size}'")
    return config


def _take_option(config: Config, letter: str, value: str, read_file: ReadFile) -> None:
    if letter in FLAGS:
        config.set(*FLAGS[letter])
    elif letter == "h":
        raise BhyveExit(0, USAGE_TEXT)
    elif letter == "c":
        _take_topology(config, value)
    elif letter == "m":
        config.set("memory.size", value)
    elif letter == "s":
        devices.parse_slot(config, value)
    elif letter == "l":
        devices.parse_lpc(config, value)
    elif letter == "o":
        name, _, text = value.partition("=")
        if not name or not text:
            raise errx(EX_USAGE, f"invalid configuration option '{value}'")
        config.set(name, text)
    elif letter == "k":
        try:
            text = read_file(value)
        except OSError as error:
            raise errx(ERROR, f"Failed to open configuration file {value}: {error.strerror}") from None
        parse_file(config, value, text)
    elif letter == "p":
        if not re.fullmatch(r"\d+:\d+", value):
            raise errx(EX_USAGE, f"invalid vcpu pinning configuration '{value}'")
        vcpu, _, host = value.partition(":")
        config.set(f"vcpu.{vcpu}.cpuset", host)
    elif letter == "U":
        config.set("uuid", value)
    elif letter == "K":
        config.set("keyboard.layout", value)
    elif letter == "f":
        _take_firmware_item(config, value)
    elif letter in "Gnr":
        raise not_simulated(f"option -{letter}")
    # -I does nothing: the I/O APIC is always there.


def _take_topology(config: Config, text: str) -> None:
    for word in text.split(",") if text else ["1"]:
        name, equals, value = word.partition("=")
        if not equals:
            config.set("cpus", word)
        elif name in ("cpus", "sockets", "cores", "threads"):
            config.set(name, value)
        else:
            raise errx(EX_USAGE, f"invalid cpu topology '{text}'")


def _take_firmware_item(config: Config, text: str) -> None:
    name, _, rest = text.partition(",")
    kind, equals, value = rest.partition("=")
    if not name or kind not in ("string", "file") or not equals:
        raise errx(EX_USAGE, f"invalid fwcfg item '{text}'")
    config.set(f"fwcfg.{name}.{kind}", value)
