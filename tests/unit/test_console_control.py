"""The console daemon's control socket against whoever wishes it ill, and the opener against a daemon that does."""

from __future__ import annotations

import errno
import json
import os
import random
import signal
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from beastack.console import control, opener
from beastack.console.client import RequestRefused
from beastack.console.names import Key
from beastack.console.opener import OpenerGone
from beastack.freebsd import nmdm
from console_lab import OTHER, UUID, Guest, House, eventually, running

PAIR = f"/dev/nmdm{UUID}B"


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    with running(House(tmp_path)) as made:
        yield made


def ask(house: House, data: bytes) -> bytes:
    """Send bytes and the end of them, and return what comes back."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(5)
        connection.connect(str(house.directory / "control.sock"))
        connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)
        with connection.makefile("rb") as stream:
            return stream.read()


def test_a_stranger_is_turned_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control, "read_peer_uid", lambda connection: 4242)
    with running(House(tmp_path)) as house, pytest.raises(RequestRefused, match="uid 4242"):
        house.client.status()


@pytest.mark.parametrize(
    "request_",
    [
        *("", "nonsense", "[]", "null", '"add"', "{}", '{"op": "open"}', '{"op": []}', '{"op": "status", "x": 1}'),
        *('{"op": "add"}', '{"op": "add", "uuid": 1, "line": 2}', '{"op": "remove", "uuid": "../x"}', "[" * 1000),
        *("x" * 900, '{"op": "status"}\n{"op": "status"}', f'{{"op": "remove", "uuid": "{UUID}", "keep_log": 1}}'),
        f'{{"op": "add", "uuid": "{UUID}", "line": "{PAIR}", "index": true}}',
        f'{{"op": "add", "uuid": "{UUID}", "line": "{PAIR}", "path": "/tmp/x"}}',
        f'{{"op": "add", "uuid": "{OTHER}", "line": "{PAIR}"}}',
    ],
)
def test_what_is_no_request(house: House, request_: str) -> None:
    assert json.loads(ask(house, request_.encode() + b"\n"))["error"]["kind"] == "request"
    assert house.client.status()["consoles"] == 0


def test_half_a_request_has_no_answer(house: House) -> None:
    assert ask(house, b'{"op": "status"}') == ask(house, b"") == b""


def test_the_socket_outlives_what_comes_in(house: House) -> None:
    house.guest()
    port = house.client.ensure(UUID)
    rng = random.Random(11)
    valid = [
        json.dumps({"op": "add", "uuid": OTHER, "line": f"/dev/nmdm{OTHER}B"}).encode() + b"\n",
        json.dumps({"op": "remove", "uuid": OTHER, "keep_log": False}).encode() + b"\n",
        b'{"op": "list"}\n',
        b'{"op": "status"}\n',
    ]
    descriptors = len(os.listdir("/proc/self/fd"))
    for _ in range(1500):
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(5)
            connection.connect(str(house.directory / "control.sock"))
            try:
                connection.sendall(spoil(rng, rng.choice(valid)))
                if rng.random() < 0.8:
                    connection.shutdown(socket.SHUT_WR)
                    answer = connection.recv(65536)
                    assert not answer or {"ok", "error"} & set(json.loads(answer))
            except (BrokenPipeError, ConnectionResetError):
                pass
    assert house.console()["port"] == port
    eventually(lambda: len(os.listdir("/proc/self/fd")) <= descriptors, "no descriptor is left open")


def spoil(rng: random.Random, request: bytes) -> bytes:
    """Change a request here and there."""
    data = bytearray(request)
    for _ in range(rng.randrange(4)):
        kind, where = rng.randrange(4), rng.randrange(len(data) + 1)
        if kind == 0:
            data[where:where] = bytes(rng.randrange(256) for _ in range(rng.choice((1, 3, 2000))))
        elif kind == 1:
            del data[where : where + rng.randrange(9)]
        elif kind == 2:
            data[where:where] = rng.choice((b'"', b"{", b"\\u0000", b"1e999", b"\n", b"null", b"NaN", b"-1"))
        else:
            data = data[:where]
    return bytes(data)


def test_who_says_nothing_keeps_nobody_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control, "PATIENCE", 0.5)
    with running(House(tmp_path)) as house:
        silent = []
        for _ in range(control.CONNECTIONS + 8):
            connection = socket.socket(socket.AF_UNIX)
            connection.connect(str(tmp_path / "control.sock"))
            silent.append(connection)
        assert house.client.status()["consoles"] == 0
        for connection in silent:
            connection.close()


@pytest.fixture
def channel(monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """An opener in a thread, for lines that are ptys."""
    guest = Guest()

    def open_side(path: str) -> int:
        if path == Key(OTHER).pair.b:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
        assert path == PAIR
        return nmdm.open_line(guest.path)

    monkeypatch.setattr(nmdm, "open_side", open_side)
    monkeypatch.setattr(signal, "signal", lambda number, action: None)  # it is no process here
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.settimeout(5)
    monkeypatch.setattr(opener, "_channel", ours)
    thread = threading.Thread(target=opener.serve, args=(theirs,))
    thread.start()
    yield ours
    ours.close()
    thread.join()
    theirs.close()
    guest.close()


def test_the_opener_opens_lines_of_consoles_and_nothing_else(channel: socket.socket) -> None:
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        line = opener.open_side_b(Key(UUID))
        assert os.isatty(line) and not os.get_inheritable(line) and not os.get_blocking(line)
        os.close(line)
    with pytest.raises(FileNotFoundError):
        opener.open_side_b(Key(OTHER))
    for wrong in (b"/dev/null", b"0", b"../nmdm0B", UUID.upper().encode(), UUID.encode() + b"A", b"\xff", b"x" * 5000):
        channel.send(wrong)
        assert channel.recv(64) == b"%d" % errno.EINVAL
    assert len(os.listdir("/proc/self/fd")) == before


def test_an_opener_that_has_ended(channel: socket.socket) -> None:
    channel.shutdown(socket.SHUT_RDWR)
    with pytest.raises(OpenerGone):
        opener.open_side_b(Key(UUID))
