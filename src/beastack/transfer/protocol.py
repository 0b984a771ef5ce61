"""What is said between two hosts: one request for each connection, one answer.

A request is a line of JSON: ``op`` (one of ``OPERATIONS``), ``path`` (as nova
has it: the same on both hosts' instance directories or not, only its last two
parts count) and, to write, ``size`` in bytes. The answer is a line of JSON:
``{}``, or an ``error`` in words. To write, there is one before the pieces
too, so that a refusal does not meet a file on its way. A piece is an offset, a
length (``PIECE``) and that many bytes; one of no length is the last. What no
piece covers is a hole.
"""

from __future__ import annotations

import json
import re
import ssl
import struct
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

MAKE_DIRECTORY, REMOVE_DIRECTORY, TOUCH, REMOVE, WRITE = (
    "make-directory",
    "remove-directory",
    "touch",
    "remove",
    "write",
)
OPERATIONS = (MAKE_DIRECTORY, REMOVE_DIRECTORY, TOUCH, REMOVE, WRITE)

LONGEST_LINE = 4096
#: Offset and length of a piece, in bytes.
PIECE = struct.Struct("!QQ")
BLOCK = 1 << 20
#: Seconds without a byte until the other side is given up.
PATIENCE = 60.0

_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_FILE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}")


class ProtocolError(Exception):
    """What the other side said is none of this protocol, or it refused; in words."""


@dataclass(frozen=True)
class Place:
    """An instance's directory, or a file in it."""

    uuid: str
    file: str | None


def parse_place(path: object, *, directory: bool) -> Place:
    """Return what the last parts of a path name.

    :raises ProtocolError: no instance, or not such a place
    """
    parts = PurePosixPath(path).parts if isinstance(path, str) else ()
    uuid, file = (parts[-1:], None) if directory else (parts[-2:-1], parts[-1] if parts else "")
    if not uuid or not _UUID.fullmatch(uuid[0]) or not (file is None or _FILE.fullmatch(file)):
        raise ProtocolError(f"{path!r} is no {'directory' if directory else 'file'} of an instance")
    return Place(uuid[0], file)


def write_line(stream: BinaryIO, message: dict[str, Any]) -> None:
    """Send a line. Raises OSError."""
    stream.write(json.dumps(message).encode() + b"\n")
    stream.flush()


def read_line(stream: BinaryIO) -> dict[str, Any]:
    """Return the message of a line.

    :raises ProtocolError: it is none
    :raises OSError: the connection is gone
    """
    line = stream.readline(LONGEST_LINE)
    try:
        message = json.loads(line) if line.endswith(b"\n") else None
    except ValueError:
        message = None
    if not isinstance(message, dict):
        raise ProtocolError("the other side broke off" if not line else "the other side speaks something else")
    return message


def make_context(directory: Path, *, server: bool) -> ssl.SSLContext:
    """Return the terms of a connection: the newest TLS, and a certificate of the cloud's authority on both sides.

    :raises OSError: the files of the certificate are not there, or not what they should be
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if server else ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(directory / "authority.pem")
    context.load_cert_chain(directory / "certificate.pem", directory / "key.pem")
    return context
