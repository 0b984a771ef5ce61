"""Which user is at the other end of a Unix socket, as the kernel knows it.

The supervisor reads the same (its ``credentials``); the daemon depends on
nothing but the host library, and needs no more than the user.
"""

from __future__ import annotations

import socket
import struct
import sys

_UCRED = struct.Struct("=3i")  # Linux: pid, uid, gid
# struct xucred of FreeBSD's sys/ucred.h begins with cr_version and cr_uid; its whole size is 88 bytes.
_XUCRED = struct.Struct("=II")
_XUCRED_SIZE = 88
_XUCRED_VERSION = 0
_SOL_LOCAL = 0  # sys/un.h
_LOCAL_PEERCRED = 1


def read_peer_uid(connection: socket.socket) -> int:
    """Return the effective user of the process that connected.

    Source: FreeBSD unix(4) LOCAL_PEERCRED; Linux unix(7) SO_PEERCRED.

    :raises OSError: the kernel does not say
    """
    if sys.platform == "linux":
        data = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
        return int(_UCRED.unpack(data)[1])
    return parse_xucred(connection.getsockopt(_SOL_LOCAL, _LOCAL_PEERCRED, 256))


def parse_xucred(data: bytes) -> int:
    """Return the user in FreeBSD's struct xucred.

    :raises OSError: it holds none
    """
    if len(data) != _XUCRED_SIZE:
        raise OSError(f"the kernel describes a peer in {len(data)} bytes, not {_XUCRED_SIZE}")
    version, uid = _XUCRED.unpack_from(data)
    if version != _XUCRED_VERSION:
        raise OSError(f"the kernel describes a peer in version {version}")
    return int(uid)
