"""Messages between the processes of a simulated host and its kernel, over a unix socket.

A message is a 4-byte length in the machine's byte order and that many bytes,
with descriptors passed beside the length. The first byte is its kind:

"C": a command (native/simcall.c). Strings that end with NUL: the number of
arguments, the arguments, the working directory, the environment. Three
descriptors: standard input, output and error. Answered by "X" and the exit
status, or by "E" and what to become.

"S": a system call: a JSON object {"call": NAME, ...arguments}. Answered by
"R" and a JSON object {"result": ...} or {"errno": NAME, "text": TEXT}, with
the descriptors that the call gives.
"""

from __future__ import annotations

import json
import socket
import struct
from typing import Any

from freebsd_sim.call import Exec

SOCKET = ".sim/kernel.sock"  # below the host's root
LONGEST = 64 << 20


class Gone(Exception):
    """The other side closed the connection in the middle of a message."""


def send(stream: socket.socket, data: bytes, descriptors: list[int] | None = None) -> None:
    """Send one message, with descriptors if there are any."""
    header = struct.pack("=I", len(data))
    if descriptors:
        socket.send_fds(stream, [header], descriptors)
        stream.sendall(data)
    else:
        stream.sendall(header + data)


def receive(stream: socket.socket) -> tuple[bytes, list[int]]:
    """Receive one message and its descriptors.

    :raises Gone: the connection ended
    """
    header, descriptors, _, _ = socket.recv_fds(stream, 4, 16)
    while 0 < len(header) < 4:
        more = stream.recv(4 - len(header))
        if not more:
            raise Gone
        header += more
    if not header:
        raise Gone
    (length,) = struct.unpack("=I", header)
    if length > LONGEST:
        raise Gone
    parts: list[bytes] = []
    while length:
        part = stream.recv(min(length, 1 << 20))
        if not part:
            raise Gone
        parts.append(part)
        length -= len(part)
    return b"".join(parts), list(descriptors)


def unpack_command(data: bytes) -> tuple[list[str], str, dict[str, str]]:
    """Return the arguments, working directory and environment of a "C" message."""
    fields = data[1:].decode(errors="surrogateescape").split("\0")[:-1]
    count = int(fields[0])
    argv, cwd, rest = fields[1 : count + 1], fields[count + 1], fields[count + 2 :]
    environ = dict(item.partition("=")[::2] for item in rest if "=" in item)
    return argv, cwd, environ


def pack_exec(become: Exec, environ: dict[str, str]) -> bytes:
    """Return an "E" message; ``environ`` is used when the command names no other."""
    chosen = environ if become.environ is None else become.environ
    groups = become.groups
    fields = [
        "E" + str(-1 if become.uid is None else become.uid),
        str(-1 if become.gid is None else become.gid),
        str(-1 if groups is None else len(groups)),
        *(str(group) for group in groups or ()),
        become.cwd or "",
        become.fail_text,
        str(become.fail_status),
        become.program or become.argv[0],
        str(len(become.argv)),
        *become.argv,
        *(f"{name}={value}" for name, value in chosen.items()),
    ]
    return ("\0".join(fields) + "\0").encode(errors="surrogateescape")


def system_call(stream: socket.socket, call: str, **arguments: Any) -> tuple[Any, list[int]]:
    """Make a system call over a connection and return its result and descriptors.

    :raises OSError: the kernel refused; ``strerror`` is its text
    :raises Gone: the kernel ended
    """
    send(stream, b"S" + json.dumps({"call": call, **arguments}).encode())
    data, descriptors = receive(stream)
    answer = json.loads(data[1:])
    if "errno" in answer:
        raise OSError(0, answer["text"], call)
    return answer["result"], descriptors
