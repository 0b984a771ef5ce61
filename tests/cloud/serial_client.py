"""Types into a serial console by its websocket, and prints what comes back. Linux, standard library.

Run with the console's URL, what to type, and a text: it ends when that has come back. Source: RFC 6455.
"""

from __future__ import annotations

import base64
import os
import socket
import struct
import sys
import urllib.parse

LIMIT = 120  # seconds without a word
TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10


def open_socket(url: str) -> socket.socket:
    """Connect, and agree to speak websocket.

    :raises ConnectionError: the server did not agree
    """
    parts = urllib.parse.urlsplit(url)
    assert parts.hostname is not None
    connection = socket.create_connection((parts.hostname, parts.port or 80), timeout=LIMIT)
    key = base64.b64encode(os.urandom(16)).decode()
    connection.sendall(
        f"GET {parts.path or '/'}?{parts.query} HTTP/1.1\r\nHost: {parts.netloc}\r\nUpgrade: websocket\r\n"
        f"Connection: Upgrade\r\nSec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n"
        "Sec-WebSocket-Protocol: binary\r\n\r\n".encode()
    )
    answer = b""
    while not answer.endswith(b"\r\n\r\n"):
        byte = connection.recv(1)
        if not byte:
            break
        answer += byte
    if not answer.startswith(b"HTTP/1.1 101 "):
        raise ConnectionError(answer.decode(errors="replace"))
    return connection


def send(connection: socket.socket, kind: int, data: bytes) -> None:
    """Send one short frame, masked as a client's are."""
    assert len(data) < 126
    mask = os.urandom(4)
    masked = bytes(byte ^ mask[index % 4] for index, byte in enumerate(data))
    connection.sendall(struct.pack("BB", 0x80 | kind, 0x80 | len(data)) + mask + masked)


def receive(connection: socket.socket) -> tuple[int, bytes]:
    """Return the next frame's kind and content."""
    first, length = _read(connection, 2)
    if length == 126:
        (length,) = struct.unpack(">H", _read(connection, 2))
    elif length == 127:
        (length,) = struct.unpack(">Q", _read(connection, 8))
    return first & 0x0F, _read(connection, length)


def _read(connection: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        more = connection.recv(size - len(data))
        if not more:
            raise ConnectionError("the server hung up")
        data += more
    return data


def main(url: str, typed: str, awaited: str) -> None:
    """Type, and print until the text has come."""
    connection = open_socket(url)
    send(connection, BINARY, typed.encode())
    said = ""
    while awaited not in said:
        kind, content = receive(connection)
        if kind in (TEXT, BINARY):
            said += content.decode(errors="replace")
        elif kind == PING:
            send(connection, PONG, content)
        elif kind == CLOSE:
            break
    print(said)


if __name__ == "__main__":
    main(*sys.argv[1:])
