"""Asks the transfer daemon of another host."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Any, BinaryIO, cast

from beastack.transfer import protocol
from beastack.transfer.files import list_pieces
from beastack.transfer.protocol import PATIENCE, PIECE, ProtocolError, make_context, read_line, write_line


class TransferError(Exception):
    """Another host did not do what it was asked; one line says why."""


class Client:
    """This host, towards the others: its certificate, and the port that the daemons listen on."""

    def __init__(self, certificates: Path, port: int) -> None:
        self._certificates = certificates
        self._port = port

    def ask(self, host: str, operation: str, path: str) -> None:
        """Have something done to an instance's directory or a file in it. Raises TransferError."""
        self._exchange(host, {"op": operation, "path": path}, None)

    def send(self, source: Path, host: str, path: str) -> None:
        """Write a file over there as it is here, holes included. Raises TransferError."""
        try:
            descriptor = os.open(source, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise TransferError(f"{source} cannot be read: {error.strerror}") from error
        try:
            size = os.fstat(descriptor).st_size
            self._exchange(host, {"op": protocol.WRITE, "path": path, "size": size}, descriptor)
        finally:
            os.close(descriptor)

    def _exchange(self, host: str, request: dict[str, Any], source: int | None) -> None:
        try:
            context = make_context(self._certificates, server=False)
            with (
                socket.create_connection((host, self._port), timeout=PATIENCE) as plain,
                context.wrap_socket(plain, server_hostname=host) as connection,
            ):
                stream = cast(BinaryIO, connection.makefile("rwb"))
                write_line(stream, request)
                answer = read_line(stream)
                if source is not None and "error" not in answer:
                    _send_pieces(stream, source)
                    answer = read_line(stream)
        except (OSError, ProtocolError) as error:
            raise TransferError(f"{request['op']} {request['path']} on {host}: {error}") from error
        if "error" in answer:
            raise TransferError(f"{request['op']} {request['path']} on {host}: {answer['error']}")


def _send_pieces(stream: BinaryIO, source: int) -> None:
    """Send what a file holds. Raises OSError."""
    for offset, block in list_pieces(source):
        stream.write(PIECE.pack(offset, len(block)))
        stream.write(block)
    stream.write(PIECE.pack(0, 0))
    stream.flush()
