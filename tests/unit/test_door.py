"""The supervisor's door for privileged daemons, without a supervisor: patience, floods and what is a request."""

from __future__ import annotations

import errno
import os
import selectors
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from beastack.supervisor import door
from beastack.supervisor.door import Asker, Door, parse_request


class House:
    """A door, and what comes in by it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.selector = selectors.DefaultSelector()
        self.said: list[str] = []
        self.asked: list[tuple[Asker, str]] = []
        self.left: list[Asker] = []
        self.error: Exception | None = None
        self.door = Door(self.selector, lambda uid: True, self.take, self.left.append, self.said.append)
        self.door.open(path)

    def take(self, asker: Asker, name: str) -> None:
        if self.error is not None:
            raise self.error
        self.asked.append((asker, name))

    def turn(self) -> None:
        """Handle what has happened so far."""
        while events := self.selector.select(0):
            for key, _ in events:
                key.data()

    def knock(self, data: bytes = b"") -> socket.socket:
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(5)
        connection.connect(str(self.path))
        connection.sendall(data)
        return connection


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[House]:
    monkeypatch.chdir(tmp_path)  # a Unix socket's path is short
    made = House(Path("door"))
    yield made
    for asker in list(made.door.askers):
        made.door.answer(asker)
    assert made.door.listener is not None
    made.door.listener.close()
    made.selector.close()


REQUEST = b'{"op": "helper", "name": "a.b"}\n'


def test_a_request_is_answered_when_there_is_an_answer(house: House) -> None:
    with house.knock(REQUEST) as connection:
        house.turn()
        ((asker, name),) = house.asked
        assert (name, asker.peer.uid) == ("a.b", os.geteuid())
        house.door.answer(asker)
        assert connection.recv(100) == b'{"ok": true}\n'
        assert connection.recv(100) == b""
    assert house.door.askers == [] == house.said


def test_who_leaves_before_the_answer_is_known_to_have_left(house: House) -> None:
    house.knock(REQUEST).close()
    house.turn()
    assert house.left == [house.asked[0][0]]
    house.door.answer(house.left[0])  # comes too late, and harms nobody


def test_who_says_nothing_is_waited_for_only_so_long(house: House) -> None:
    with house.knock() as connection:
        house.turn()
        now = time.monotonic()
        assert now < house.door.next_deadline() <= now + door.PATIENCE
        house.door.tick(now)
        assert len(house.door.askers) == 1
        house.door.tick(now + door.PATIENCE)
        assert b"asked for nothing" in connection.recv(1000)
    assert house.door.askers == []
    assert house.door.next_deadline() == float("inf")


def test_who_waits_for_a_daemon_may_wait_long(house: House) -> None:
    with house.knock(REQUEST):
        house.turn()
        house.door.tick(time.monotonic() + 1000)
        assert len(house.door.askers) == 1


def test_without_descriptors_the_door_is_shut_for_a_while(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    assert house.door.listener is not None
    listener = house.door.listener

    class Full:
        def accept(self) -> None:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

        def fileno(self) -> int:
            return listener.fileno()

    with house.knock(REQUEST):
        house.door.listener = Full()  # type: ignore[assignment]
        house.door._accept()
        assert "nobody can ask" in house.said[0]
        assert house.selector.select(0) == [], "it does not spin"
        house.door.listener = listener
        house.door.tick(time.monotonic() + 2)
        house.turn()
        assert len(house.asked) == 1


def test_a_flood_of_refusals_is_told_by_its_number(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    house.error = ValueError("not for you")
    for _ in range(100):
        house.knock(REQUEST).close()
        house.turn()
    assert len(house.said) == door.REFUSALS_TOLD
    house.door.refusals_until = 0.0
    house.knock(REQUEST).close()
    house.turn()
    assert house.said[door.REFUSALS_TOLD] == "refused 80 more requests for privileged daemons"


def test_an_error_of_ours_is_not_the_end(house: House) -> None:
    house.error = RuntimeError("unexpected")
    with house.knock(REQUEST) as connection:
        house.turn()
        assert connection.recv(1000) == b'{"error": "it cannot be answered"}\n'
    assert "RuntimeError: unexpected" in house.said[0]


@pytest.mark.parametrize("line", [
    b"", b"x", b"[]", b"{}", b'{"op": "helper"}', b'{"op": "status", "name": "a"}', b'{"op": "helper", "name": 1}',
    b'{"op": "helper", "name": "a", "more": 1}', b"[" * 100_000, b"\xff\xfe",
])  # fmt: skip
def test_what_is_no_request(line: bytes) -> None:
    with pytest.raises(ValueError, match="bad request"):
        parse_request(line)
