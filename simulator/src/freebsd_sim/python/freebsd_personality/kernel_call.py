"""System calls to the simulated kernel: process 1 of the host, over STATE/kernel.sock.

A message is a 4-byte length and that many bytes; a call is "S" and a JSON
object, the answer "R" and a JSON object, with the descriptors that it gives.
"""

from __future__ import annotations

import array
import errno
import json
import os
import struct
from typing import Any

from .recorder import STATE


def call_kernel(call: str, **arguments: Any) -> tuple[Any, list[int]]:
    """Make a system call; return its result and descriptors.

    :raises OSError: what the kernel refuses, with this system's number for the errno's name
    """
    import _socket

    stream = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC)
    try:
        stream.connect(f"{STATE}/kernel.sock")
        data = b"S" + json.dumps({"call": call, **arguments}).encode()
        stream.sendall(struct.pack("=I", len(data)) + data)
        return _receive(stream, call)
    finally:
        stream.close()


def _receive(stream: Any, call: str) -> tuple[Any, list[int]]:
    import _socket

    header, control, _, _ = stream.recvmsg(4, _socket.CMSG_SPACE(16 * 4), _socket.MSG_CMSG_CLOEXEC)
    descriptors = array.array("i")
    for _level, _type, data in control:
        descriptors.frombytes(data[: len(data) - len(data) % descriptors.itemsize])
    header += _read(stream, 4 - len(header))
    (length,) = struct.unpack("=I", header)
    answer = json.loads(_read(stream, length)[1:])
    if "errno" in answer:
        for descriptor in descriptors:
            os.close(descriptor)
        raise OSError(getattr(errno, answer["errno"], errno.EIO), answer["text"])
    return answer["result"], list(descriptors)


def _read(stream: Any, length: int) -> bytes:
    data = b""
    while len(data) < length:
        part = stream.recv(length - len(data))
        if not part:
            raise OSError(errno.EIO, "the simulated kernel is gone")
        data += part
    return data
