"""Sockets with FreeBSD's options and addresses, over Linux's.

Options that FreeBSD has are given to Linux under its own number; options that
only Linux has are refused and recorded, whether named or by number. Numbers
and structures: tcp(4), ip(4), ip6(4), unix(4), getsockopt(2).
"""

from __future__ import annotations

import errno
import os
import struct
from types import ModuleType
from typing import Any

from .recorder import record

SOL_SOCKET, IP, TCP, IPV6, AF_UNIX = 1, 0, 6, 41, 1  # as Linux and its Python number them
SOL_LOCAL = 0
LONGEST_PATH = 103  # sun_path[104] and its NUL

LINUX_OPTIONS: dict[tuple[int, int], str] = {
    **{
        (SOL_SOCKET, number): f"SO_{name}"
        for number, name in {
            12: "PRIORITY", 16: "PASSCRED", 17: "PEERCRED", 25: "BINDTODEVICE", 26: "ATTACH_FILTER", 31: "PEERSEC",
            32: "SNDBUFFORCE", 33: "RCVBUFFORCE", 34: "PASSSEC", 36: "MARK", 46: "BUSY_POLL", 49: "INCOMING_CPU",
            50: "ATTACH_BPF", 59: "PEERGROUPS", 60: "ZEROCOPY", 62: "BINDTOIFINDEX",
        }.items()
    },
    **{
        (TCP, number): f"TCP_{name}"
        for number, name in {
            3: "CORK", 7: "SYNCNT", 8: "LINGER2", 9: "DEFER_ACCEPT", 10: "WINDOW_CLAMP", 12: "QUICKACK",
            18: "USER_TIMEOUT", 19: "REPAIR", 25: "NOTSENT_LOWAT", 30: "FASTOPEN_CONNECT", 31: "ULP",
        }.items()
    },
    (IP, 8): "IP_PKTINFO",
    (IP, 10): "IP_MTU_DISCOVER",
    (IP, 11): "IP_RECVERR",
    (IP, 15): "IP_FREEBIND",
    (IP, 19): "IP_TRANSPARENT",
    (IPV6, 23): "IPV6_MTU_DISCOVER",
    (IPV6, 25): "IPV6_RECVERR",
    (IPV6, 75): "IPV6_TRANSPARENT",
    (IPV6, 78): "IPV6_FREEBIND",
}  # fmt: skip

TCP_MAXUNACKTIME = 68
TCP_USER_TIMEOUT = 18
SO_SETFIB = 0x1014

# FreeBSD's option: Linux's.
SAME_MEANING: dict[tuple[int, int], tuple[int, int]] = {
    (SOL_SOCKET, 0x10000): (SOL_SOCKET, 15),  # SO_REUSEPORT_LB: SO_REUSEPORT balances on Linux
    (TCP, 256): (TCP, 4),  # TCP_KEEPIDLE
    (TCP, 512): (TCP, 5),  # TCP_KEEPINTVL
    (TCP, 1024): (TCP, 6),  # TCP_KEEPCNT
    (IP, 24): (IP, 19),  # IP_BINDANY: IP_TRANSPARENT, which needs privilege too
    (IPV6, 64): (IPV6, 75),  # IPV6_BINDANY: IPV6_TRANSPARENT
    (IP, 7): (IP, 8),  # IP_RECVDSTADDR: IP_PKTINFO, see recvmsg
}
NOT_SIMULATED = {
    (SOL_SOCKET, 0x1015): "SO_USER_COOKIE",
    (TCP, 128): "TCP_KEEPINIT",
    (IP, 20): "IP_RECVIF",
}
SPECIAL = {
    (TCP, TCP_MAXUNACKTIME), (SOL_SOCKET, SO_SETFIB), *SAME_MEANING, *NOT_SIMULATED, *LINUX_OPTIONS,
    (SOL_LOCAL, 1), (SOL_LOCAL, 2), (SOL_LOCAL, 3),
}  # fmt: skip

IP_PKTINFO = (IP, 8)
IP_RECVDSTADDR = (IP, 7)  # also IP_SENDSRCADDR


def replace_class(module: ModuleType) -> None:
    """Replace _socket.socket by a subclass; socket.socket is made from it a moment later."""
    real: Any = module.__dict__["socket"]

    class Socket(real):  # type: ignore[misc]
        __slots__ = ()
        __doc__ = real.__doc__

        def setsockopt(self, level: int, option: int, value: Any, *rest: int) -> None:
            if (level, option) in SPECIAL:
                _set_special(self, real, level, option, value, rest)
            else:
                real.setsockopt(self, level, option, value, *rest)

        def getsockopt(self, level: int, option: int, *rest: int) -> Any:
            if (level, option) in SPECIAL:
                return _get_special(self, real, level, option, rest)
            return real.getsockopt(self, level, option, *rest)

        def bind(self, address: Any) -> None:
            if type(address) is not tuple:
                check_path(address)
            real.bind(self, address)

        def connect(self, address: Any) -> None:
            if type(address) is not tuple:
                check_path(address)
            real.connect(self, address)

        def connect_ex(self, address: Any) -> int:
            if type(address) is not tuple:
                check_path(address)
            number: int = real.connect_ex(self, address)
            return number

        def recvmsg(self, *arguments: Any) -> Any:
            data, control, flags, address = real.recvmsg(self, *arguments)
            return data, [translate_received(item) for item in control], flags, address

        def sendmsg(self, buffers: Any, ancdata: Any = (), *rest: Any) -> int:
            sent: int = real.sendmsg(self, buffers, [translate_sent(item) for item in ancdata], *rest)
            return sent

    Socket.__name__ = Socket.__qualname__ = "socket"
    Socket.__module__ = "_socket"
    module.__dict__["socket"] = module.__dict__["SocketType"] = Socket


def check_path(address: Any) -> None:
    """Refuse the address of a unix socket that FreeBSD would refuse.

    :raises OSError: ENOENT for what is an abstract address on Linux; a path longer than 103 bytes
    """
    path = os.fsencode(address) if isinstance(address, str) else address
    if not isinstance(path, (bytes, bytearray)):
        return
    if path[:1] in (b"", b"\0"):
        record("socket", f"abstract unix socket {bytes(path)!r}")
        raise FileNotFoundError(errno.ENOENT, "No such file or directory")
    if len(path) > LONGEST_PATH:
        raise OSError("AF_UNIX path too long")


def _refuse() -> OSError:
    return OSError(errno.ENOPROTOOPT, "Protocol not available")


def _refuse_if_absent(self: Any, level: int, option: int) -> None:
    name = LINUX_OPTIONS.get((level, option))
    if level == SOL_LOCAL and self.family == AF_UNIX:
        name = None
    if name is not None:
        record("setsockopt", name)
        raise _refuse()
    if (level, option) in NOT_SIMULATED:
        text = f"Protocol not available (freebsd-sim: not simulated: {NOT_SIMULATED[level, option]})"
        raise OSError(errno.ENOPROTOOPT, text)


def _set_special(self: Any, real: Any, level: int, option: int, value: Any, rest: tuple[int, ...]) -> None:
    _refuse_if_absent(self, level, option)
    if level == SOL_LOCAL and self.family == AF_UNIX:
        raise OSError(errno.ENOPROTOOPT, "Protocol not available (freebsd-sim: not simulated: LOCAL_CREDS)")
    if (level, option) == (SOL_SOCKET, SO_SETFIB):
        if _number(value) != 0:  # net.fibs is 1: there is no other table
            raise OSError(errno.EINVAL, "Invalid argument")
    elif (level, option) == (TCP, TCP_MAXUNACKTIME):
        real.setsockopt(self, TCP, TCP_USER_TIMEOUT, _number(value) * 1000)
    elif (level, option) in SAME_MEANING:
        real.setsockopt(self, *SAME_MEANING[level, option], value, *rest)
    else:
        real.setsockopt(self, level, option, value, *rest)


def _get_special(self: Any, real: Any, level: int, option: int, rest: tuple[int, ...]) -> Any:
    if level == SOL_LOCAL and self.family == AF_UNIX:
        if option != 1:
            raise _refuse()
        credentials = read_peer(self, real)
        return credentials[: rest[0]] if rest and rest[0] else 0  # as an int it is the structure's version
    _refuse_if_absent(self, level, option)
    if (level, option) == (SOL_SOCKET, SO_SETFIB):
        raise _refuse()  # it can only be set
    if (level, option) == (TCP, TCP_MAXUNACKTIME):
        return real.getsockopt(self, TCP, TCP_USER_TIMEOUT) // 1000
    level, option = SAME_MEANING.get((level, option), (level, option))
    return real.getsockopt(self, level, option, *rest)


def _number(value: Any) -> int:
    if isinstance(value, int):
        return value
    return int(struct.unpack("=i", value)[0])


def read_peer(self: Any, real: Any) -> bytes:
    """Return the peer's struct xucred, 88 bytes as on amd64.

    :raises OSError: ENOTCONN without a peer, EINVAL for a datagram socket
    """
    if self.type & 0xF == 2:
        raise OSError(errno.EINVAL, "Invalid argument")
    pid, uid, gid = struct.unpack("=iIi", real.getsockopt(self, SOL_SOCKET, 17, 12))
    if pid == 0 and gid == -1:
        raise OSError(errno.ENOTCONN, "Socket is not connected")
    raw = real.getsockopt(self, SOL_SOCKET, 59, 64)  # SO_PEERGROUPS
    others = [group for group in struct.unpack(f"={len(raw) // 4}I", raw) if group != gid]
    groups = [gid, *others][:16]
    padded = groups + [0] * (16 - len(groups))
    return struct.pack("=IIh2x16I4xi4x", 0, uid, len(groups), *padded, pid)


def translate_received(item: tuple[int, int, bytes]) -> tuple[int, int, bytes]:
    """Return ancillary data under FreeBSD's type: a destination address for Linux's packet information."""
    if item[:2] == IP_PKTINFO:
        return (*IP_RECVDSTADDR, item[2][8:12])  # in_pktinfo: index, local address, destination in the header
    return item


def translate_sent(item: tuple[int, int, Any]) -> tuple[int, int, Any]:
    """Return ancillary data under Linux's type."""
    if tuple(item[:2]) == IP_RECVDSTADDR:
        return (*IP_PKTINFO, struct.pack("=i4s4s", 0, bytes(item[2]), bytes(4)))
    return item
