"""The daemon of a host with guests that takes the disks of instances from other hosts of the cloud.

Usage: daemon.py --listen ADDRESS --port N --instances DIR --certificates DIR --libvirt URI

It runs as nova-compute's user, whose files these are, and does for whoever
has a certificate of the cloud's authority what ``files`` allows.
"""

from __future__ import annotations

import argparse
import os
import socket
import socketserver
import ssl
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO, cast

from beastack.freebsd.command import CommandError, run
from beastack.transfer import protocol
from beastack.transfer.files import Files
from beastack.transfer.protocol import PATIENCE, ProtocolError, make_context, parse_place, read_line, write_line

#: Connections at the same time; more wait to be accepted.
CONNECTIONS = 16


class Daemon(socketserver.ThreadingTCPServer):
    """Listens, and serves each connection in a thread."""

    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 64

    def __init__(self, address: tuple[str, int], context: ssl.SSLContext, files: Files) -> None:
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        self.context, self.files = context, files
        self._places = threading.BoundedSemaphore(CONNECTIONS)
        super().__init__(address, Connection)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Serve a connection when there is a place for it."""
        self._places.acquire()
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Serve a connection and give its place back."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._places.release()


class Connection(socketserver.BaseRequestHandler):
    """One connection: one request."""

    def handle(self) -> None:
        """Serve it; whatever goes wrong with it is said, and ends nothing else."""
        server = cast(Daemon, self.server)
        peer = self.client_address[0]
        self.request.settimeout(PATIENCE)
        try:
            with server.context.wrap_socket(self.request, server_side=True) as connection:
                stream = cast(BinaryIO, connection.makefile("rwb"))
                answer: dict[str, Any] = {}
                try:
                    say(f"{peer}: {perform(server.files, stream)}")
                except (ProtocolError, CommandError, OSError) as error:
                    reason = (
                        f"{error.filename}: {error.strerror}" if isinstance(error, FileNotFoundError) else str(error)
                    )
                    answer = {"error": reason}
                    say(f"{peer}: refused: {reason}")
                write_line(stream, answer)
        except OSError as error:
            say(f"{peer}: {error}")


def perform(files: Files, stream: BinaryIO) -> str:
    """Do what a request says, and return that in words.

    :raises ProtocolError: it is none, or not allowed
    :raises OSError: it cannot be done
    """
    request = read_line(stream)
    operation = request.get("op")
    if operation not in protocol.OPERATIONS:
        raise ProtocolError(f"what can be asked for: {', '.join(protocol.OPERATIONS)}")
    whole = operation in (protocol.MAKE_DIRECTORY, protocol.REMOVE_DIRECTORY)
    place = parse_place(request.get("path"), directory=whole)
    if operation == protocol.WRITE:
        size = request.get("size")
        if isinstance(size, bool) or not isinstance(size, int) or size < 0:
            raise ProtocolError("a file has a size in bytes")
        files.write(place, size, stream, lambda: write_line(stream, {}))
    else:
        {
            protocol.MAKE_DIRECTORY: files.make_directory, protocol.REMOVE_DIRECTORY: files.remove_directory,
            protocol.TOUCH: files.touch, protocol.REMOVE: files.remove,
        }[operation](place)  # fmt: skip
    return f"{operation} {place.uuid}{'' if place.file is None else '/' + place.file}"


def is_defined(libvirt: str, uuid: str) -> bool:
    """Return whether libvirt has a guest. Raises CommandError when libvirt does not answer."""
    listing = run(["virsh", "--connect", libvirt, "--quiet", "list", "--all", "--uuid"], timeout=30).stdout
    return uuid in listing.split()


def say(text: str) -> None:
    """Write a line to the daemon's log, standard error."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def main(words: Sequence[str] | None = None) -> int:
    """Run the daemon; return its exit status."""
    parser = argparse.ArgumentParser("beastack.transfer.daemon", description="Takes instances' disks from other hosts.")
    parser.add_argument("--listen", required=True, metavar="ADDRESS")
    parser.add_argument("--port", required=True, type=int)
    parser.add_argument("--instances", required=True, type=Path, metavar="DIR")
    parser.add_argument("--certificates", required=True, type=Path, metavar="DIR")
    parser.add_argument("--libvirt", required=True, metavar="URI")
    given = parser.parse_args(words)
    os.umask(0o022)
    files = Files(given.instances, lambda uuid: is_defined(given.libvirt, uuid))
    try:
        daemon = Daemon((given.listen, given.port), make_context(given.certificates, server=True), files)
    except OSError as error:
        say(f"the transfer daemon cannot start: {error}")
        return 1
    with daemon:
        daemon.serve_forever()
    return 0


if __name__ == "__main__":
    sys.exit(main())
