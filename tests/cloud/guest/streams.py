"""TCP and UDP between guests: a server that sends back what it gets, and clients that say when that stops."""

from __future__ import annotations

import errno
import os
import selectors
import socket
import struct
import time
from typing import Any

from guest.ending import Ending, say_ready
from guest.gaps import Answers
from guest.link import GuestError

PIECE = 65536
BEAT = 0.2  # seconds between the bytes of a held connection
LOOK = 0.2  # seconds between looks whether it is time to end


def open_address(address: str, port: int, kind: socket.SocketKind) -> tuple[socket.socket, tuple[Any, ...]]:
    """Return a new socket for an address, and the address as sockets take it."""
    family, _, protocol, _, target = socket.getaddrinfo(address, port, type=kind)[0]
    return socket.socket(family, kind, protocol), target


def explain(error: OSError) -> str:
    """Return what became of a connection in a word that tests can compare: ``refused``, ``timed out``, ..."""
    if isinstance(error, TimeoutError):
        return "timed out"
    if isinstance(error, ConnectionRefusedError):
        return "refused"
    if isinstance(error, ConnectionResetError):
        return "reset"
    return errno.errorcode.get(error.errno or 0, str(error))


def serve_tcp(address: str, port: int, limit: float | None) -> dict[str, Any]:
    """Send back what comes in on every connection, until it is told to end."""
    ending = Ending(limit)
    listener, target = open_address(address, port, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(target)
    listener.listen()
    say_ready()
    connections = octets = 0
    with selectors.DefaultSelector() as selector:
        selector.register(listener, selectors.EVENT_READ)
        while not ending.is_near:
            for key, _ in selector.select(LOOK):
                if key.fileobj is listener:
                    stream, _ = listener.accept()
                    stream.settimeout(5)
                    selector.register(stream, selectors.EVENT_READ)
                    connections += 1
                    continue
                assert isinstance(key.fileobj, socket.socket)
                try:
                    data = key.fileobj.recv(PIECE)
                    key.fileobj.sendall(data)
                except OSError:
                    data = b""
                octets += len(data)
                if not data:
                    selector.unregister(key.fileobj)
                    key.fileobj.close()
    return {"connections": connections, "bytes": octets}


def serve_udp(address: str, port: int, limit: float | None) -> dict[str, Any]:
    """Send back every datagram, until it is told to end."""
    ending = Ending(limit)
    server, target = open_address(address, port, socket.SOCK_DGRAM)
    server.bind(target)
    server.settimeout(LOOK)
    say_ready()
    datagrams = 0
    while not ending.is_near:
        try:
            data, origin = server.recvfrom(PIECE)
            server.sendto(data, origin)
        except OSError:
            continue
        datagrams += 1
    return {"datagrams": datagrams}


def connect_tcp(address: str, port: int, octets: int, limit: float) -> dict[str, Any]:
    """Connect, have a number of octets sent back, and compare them.

    :param limit: seconds for the connection, and for any wait afterwards
    :raises GuestError: no connection, or what came back differs
    """
    stream, target = open_address(address, port, socket.SOCK_STREAM)
    stream.settimeout(limit)
    began = time.monotonic()
    try:
        stream.connect(target)
        connected = time.monotonic()
        back = 0
        block = os.urandom(PIECE)
        while back < octets:
            piece = block[: min(PIECE, octets - back)]
            stream.sendall(piece)
            answer = bytearray()
            while len(answer) < len(piece):
                data = stream.recv(PIECE)
                if not data:
                    raise GuestError(f"closed after {back + len(answer)} octets")
                answer += data
            if answer != piece:
                raise GuestError(f"what came back differs, after {back} octets")
            back += len(piece)
    except OSError as error:
        raise GuestError(explain(error)) from None
    finally:
        stream.close()
    seconds = time.monotonic() - connected
    return {
        "bytes": octets, "connect_milliseconds": round((connected - began) * 1000, 3), "seconds": round(seconds, 3),
        "bits_per_second": round(octets * 16 / seconds) if octets else None,
    }  # fmt: skip


def hold_tcp(address: str, port: int, limit: float | None, patience: float) -> dict[str, Any]:
    """Keep a connection with a byte each 0.2 s until it breaks, or until it is told to end.

    :param limit: seconds after which it ends in any case
    :param patience: seconds without an answer after which the connection counts as broken
    :raises GuestError: there was no connection to begin with
    """
    ending = Ending(limit)
    stream, target = open_address(address, port, socket.SOCK_STREAM)
    stream.settimeout(patience)
    answers = Answers()
    sent: list[float] = []
    reason = None
    try:
        stream.connect(target)
        stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    except OSError as error:
        raise GuestError(explain(error)) from None
    due = quiet = time.monotonic()
    try:
        while not ending.is_near:
            now = time.monotonic()
            if now >= due:
                stream.send(b".")
                sent.append(now)
                due = max(due + BEAT, now)
            stream.settimeout(max(due - time.monotonic(), 0.001))
            try:
                data = stream.recv(PIECE)
            except TimeoutError:
                if sent and time.monotonic() - quiet > patience:
                    reason = "silent"
                    break
                continue
            if not data:
                reason = "closed"
                break
            quiet = time.monotonic()
            for _ in data:
                if answers.count < len(sent):
                    answers.note(answers.count + 1, quiet - sent[answers.count])
                if answers.count == 1:
                    say_ready()
    except OSError as error:
        reason = explain(error)
    stream.close()
    return _describe_hold(answers, len(sent), reason)


def hold_udp(address: str, port: int, limit: float | None, patience: float) -> dict[str, Any]:
    """Send a datagram each 0.2 s until none has come back for a while, or until it is told to end.

    :param limit: seconds after which it ends in any case
    :param patience: seconds without an answer after which it ends
    """
    ending = Ending(limit)
    server, target = open_address(address, port, socket.SOCK_DGRAM)
    server.connect(target)
    answers = Answers()
    sent: list[float] = []
    reason = refused = None
    due = quiet = time.monotonic()
    while not ending.is_near:
        now = time.monotonic()
        try:
            if now >= due:
                sent.append(now)
                due = max(due + BEAT, now)
                server.send(struct.pack("!I", len(sent)))
            server.settimeout(max(due - time.monotonic(), 0.001))
            (number,) = struct.unpack("!I", server.recv(PIECE))
        except TimeoutError:
            pass
        except OSError as error:
            refused = explain(error)
        else:
            quiet = time.monotonic()
            answers.note(number, quiet - sent[number - 1])
            if answers.count == 1:
                say_ready()
        if time.monotonic() - quiet > patience:
            reason = refused or "silent"
            break
    server.close()
    return _describe_hold(answers, len(sent), reason)


def _describe_hold(answers: Answers, sent: int, reason: str | None) -> dict[str, Any]:
    """Return how it went; ``broke_at`` is when the last answer came, as seconds since 1970."""
    said = answers.describe()
    return {
        "ok": reason is None and answers.count > 0, "sent": sent, "received": answers.count, "reason": reason,
        "broke_at": None if reason is None else said["last"] or said["began"], **said,
    }  # fmt: skip
