"""Who is at the other end of a Unix socket, as the kernel knows it."""

from __future__ import annotations

import socket
import struct
import sys
from dataclasses import dataclass

_UCRED = struct.Struct("=3i")
# struct xucred of sys/ucred.h, 64-bit: cr_version, cr_uid, cr_ngroups, padding, cr_groups[16], padding, cr_pid.
_XUCRED = struct.Struct("=IIh2x16I4xi")
_XUCRED_SIZE = 88
_XUCRED_VERSION = 0
_SOL_LOCAL = 0  # sys/un.h
_LOCAL_PEERCRED = 1


@dataclass(frozen=True)
class Peer:
    """A process at the moment it connected (seen by a server) or listened (seen by a client)."""

    uid: int
    gid: int
    pid: int


def read_peer(connection: socket.socket) -> Peer:
    """Return who is at the other end of a connected Unix stream socket.

    Source: unix(7) SO_PEERCRED; FreeBSD unix(4) LOCAL_PEERCRED.

    :raises OSError: it is not such a socket, or the kernel does not say
    """
    connection.getpeername()  # Linux names the owner of a listening socket too, which nobody is connected to
    if sys.platform == "linux":
        return parse_ucred(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size))
    return parse_xucred(connection.getsockopt(_SOL_LOCAL, _LOCAL_PEERCRED, 256))


def parse_ucred(data: bytes) -> Peer:
    """Return the peer in Linux's struct ucred.

    :raises OSError: it holds none
    """
    if len(data) != _UCRED.size:
        raise OSError(f"the kernel describes a peer in {len(data)} bytes, not {_UCRED.size}")
    pid, uid, gid = _UCRED.unpack(data)
    if pid <= 0 or uid < 0:
        raise OSError("the kernel does not know the peer")
    return Peer(uid, gid, pid)


def parse_xucred(data: bytes) -> Peer:
    """Return the peer in FreeBSD's struct xucred.

    :raises OSError: it holds none
    """
    if len(data) != _XUCRED_SIZE:
        raise OSError(f"the kernel describes a peer in {len(data)} bytes, not {_XUCRED_SIZE}")
    version, uid, count, *groups, pid = _XUCRED.unpack_from(data)
    if version != _XUCRED_VERSION:
        raise OSError(f"the kernel describes a peer in version {version}")
    if not 1 <= count <= len(groups):
        raise OSError(f"the kernel describes a peer with {count} groups")
    return Peer(uid, groups[0], pid)
