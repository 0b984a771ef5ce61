"""What a tap that is not promiscuous does with a guest's frames: unicast that is not for its own address is dropped.

FreeBSD's driver drops such a frame before BPF or a bridge can see it
(sys/net/if_tuntap.c). Linux does not, so a small program in front of the
link's receive path does it here.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import struct

from pyroute2 import NetlinkError

from freebsd_sim.kernel.stack import Stack

# linux/bpf.h, linux/if_link.h
SYS_BPF = {"x86_64": 321, "aarch64": 280}
BPF_PROG_LOAD = 5
BPF_PROG_TYPE_XDP = 6
XDP_FLAGS_SKB_MODE = 2
XDP_DROP, XDP_PASS = 1, 2
DETACH = -1

_libc = ctypes.CDLL(None, use_errno=True)


def _instruction(code: int, target: int = 0, source: int = 0, offset: int = 0, value: int = 0) -> bytes:
    return struct.pack("=BBhI", code, target | source << 4, offset, value)


def make_program(mac: str) -> bytes:
    """Return the program that lets pass multicast and what is for one address."""
    octets = bytes(int(part, 16) for part in mac.split(":"))
    first, last = struct.unpack("=IH", octets)
    load_word, load_half, load_byte = 0x61, 0x69, 0x71
    return b"".join(
        [
            _instruction(load_word, 2, 1, 0),  # r2 = data
            _instruction(load_word, 3, 1, 4),  # r3 = data_end
            _instruction(0xBF, 4, 2),  # r4 = r2
            _instruction(0x07, 4, value=14),  # r4 += an Ethernet header
            _instruction(0x2D, 4, 3, 8),  # if r4 > r3: pass
            _instruction(load_byte, 5, 2, 0),
            _instruction(0x57, 5, value=1),
            _instruction(0x55, 5, offset=5),  # if r5 & 1: pass
            _instruction(load_word, 5, 2, 0),
            _instruction(0xB4, 6, value=first),
            _instruction(0x5D, 5, 6, 4),  # if the first four octets differ: drop
            _instruction(load_half, 5, 2, 4),
            _instruction(0x55, 5, offset=2, value=last),  # if the last two differ: drop
            _instruction(0xB7, 0, value=XDP_PASS),
            _instruction(0x95),
            _instruction(0xB7, 0, value=XDP_DROP),
            _instruction(0x95),
        ]
    )


def _load(program: bytes) -> int:
    code = ctypes.create_string_buffer(program, len(program))
    licence = ctypes.create_string_buffer(b"Dual BSD/GPL")
    request = struct.pack(
        "=IIQQ104x", BPF_PROG_TYPE_XDP, len(program) // 8, ctypes.addressof(code), ctypes.addressof(licence)
    )
    attributes = ctypes.create_string_buffer(request, len(request))
    descriptor = _libc.syscall(SYS_BPF[os.uname().machine], BPF_PROG_LOAD, attributes, len(request))
    if descriptor < 0:
        raise OSError(ctypes.get_errno(), "bpf")
    return int(descriptor)


def set_filter(stack: Stack, index: int, mac: str | None) -> None:
    """Let a link drop unicast that is not for an address; None lets everything in. Nothing is said if Linux cannot."""
    with contextlib.suppress(OSError, KeyError, NetlinkError):
        descriptor = DETACH if mac is None else _load(make_program(mac))
        try:
            attributes = [("IFLA_XDP_FD", descriptor), ("IFLA_XDP_FLAGS", XDP_FLAGS_SKB_MODE)]
            stack.ipr.link("set", index=index, IFLA_XDP={"attrs": attributes})
        finally:
            if descriptor >= 0:
                os.close(descriptor)
