"""Who is at the other end of a socket: recorded answers of both kernels, then this one's."""

from __future__ import annotations

import os
import socket
import sys

import pytest

from beastack.supervisor.credentials import Peer, parse_ucred, parse_xucred, read_peer

# struct ucred of a process 4242 of uid 1001 and gid 1002, x86-64.
UCRED = bytes.fromhex("92100000 e9030000 ea030000")

# struct xucred of the same on FreeBSD amd64, with groups 1002 and 5.
XUCRED = bytes.fromhex("00000000 e9030000 0200 0000 ea030000 05000000" + "00000000" * 14 + "00000000 92100000 00000000")


def test_linux() -> None:
    assert parse_ucred(UCRED) == Peer(uid=1001, gid=1002, pid=4242)


def test_freebsd() -> None:
    assert len(XUCRED) == 88
    assert parse_xucred(XUCRED) == Peer(uid=1001, gid=1002, pid=4242)


def test_the_uid_of_nobody_is_not_negative() -> None:
    nobody = b"\xfe\xff\xff\xff"
    assert parse_xucred(XUCRED[:4] + nobody + XUCRED[8:]).uid == 4294967294


@pytest.mark.parametrize("data", [
    b"", XUCRED[:87], XUCRED + bytes(4), b"\x01" + XUCRED[1:], XUCRED[:8] + bytes(2) + XUCRED[10:],
    XUCRED[:8] + b"\x11\x00" + XUCRED[10:], XUCRED[:8] + b"\xff\xff" + XUCRED[10:],
])  # fmt: skip
def test_what_freebsd_never_says(data: bytes) -> None:
    with pytest.raises(OSError, match="describes"):
        parse_xucred(data)


@pytest.mark.parametrize("data", [b"", UCRED[:8], UCRED + bytes(4), bytes(4) + b"\xff" * 8])
def test_what_linux_says_of_nobody(data: bytes) -> None:
    with pytest.raises(OSError):
        parse_ucred(data)


@pytest.mark.skipif(sys.platform != "linux", reason="the other kernel's is in tests/attack")
def test_this_kernel() -> None:
    one, two = socket.socketpair()
    with one, two:
        assert read_peer(one) == Peer(os.geteuid(), os.getegid(), os.getpid())
    with socket.socket(socket.AF_UNIX) as unconnected, pytest.raises(OSError):
        read_peer(unconnected)
    with socket.socket(socket.AF_INET) as other, pytest.raises(OSError):
        read_peer(other)
