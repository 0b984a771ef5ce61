"""One question to a name server (RFC 1035): the addresses of a name."""

from __future__ import annotations

import os
import socket
import struct
from typing import Any

from guest.link import GuestError

PORT = 53
A, AAAA, INTERNET = 1, 28, 1
LIMIT = 5.0  # seconds
#: Where a name in an answer refers to an earlier one.
REFERENCE = 0xC0


def ask(name: str, kind: int, server: str) -> list[str]:
    """Return the addresses of a kind that a server knows of a name; none if it does not know the name.

    :raises GuestError: no answer, or a refusal
    """
    number = os.urandom(2)
    labels = b"".join(bytes((len(label),)) + label.encode() for label in name.rstrip(".").split("."))
    question = number + struct.pack("!HHHHH", 0x0100, 1, 0, 0, 0) + labels + b"\0" + struct.pack("!HH", kind, INTERNET)
    family, _, protocol, _, target = socket.getaddrinfo(server, PORT, type=socket.SOCK_DGRAM)[0]
    with socket.socket(family, socket.SOCK_DGRAM, protocol) as query:
        query.settimeout(LIMIT)
        try:
            query.connect(target)
            query.send(question)
            answer = query.recv(4096)
        except OSError as error:
            raise GuestError(f"{name}: no answer from {server}: {error}") from None
    flags, _, answers = struct.unpack_from("!HHH", answer, 2)
    if answer[:2] != number or flags & 15 not in (0, 3):
        raise GuestError(f"{name}: {server} refused (code {flags & 15})")
    return _read_addresses(answer, len(question), answers, kind)


def _read_addresses(answer: bytes, position: int, count: int, wanted: int) -> list[str]:
    found = []
    for _ in range(count):
        while answer[position] and answer[position] < REFERENCE:
            position += 1 + answer[position]
        position += 2 if answer[position] else 1
        kind, _, _, length = struct.unpack_from("!HHIH", answer, position)
        position += 10
        if kind == wanted:
            family = socket.AF_INET if kind == A else socket.AF_INET6
            found.append(socket.inet_ntop(family, answer[position : position + length]))
        position += length
    return found


def run(name: str, server: str) -> dict[str, Any]:
    """Return all addresses that a server knows of a name, IPv4 first.

    A server without others to ask refuses the kind that it knows none of.

    :raises GuestError: it refuses both kinds, or does not answer
    """
    found: list[str] = []
    refusals = []
    for kind in (A, AAAA):
        try:
            found += ask(name, kind, server)
        except GuestError as error:
            refusals.append(error)
    if len(refusals) == 2:
        raise refusals[0]
    return {"addresses": found}
