"""Null-modem pairs: names, and opening a side as a raw line."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import termios
from collections.abc import Iterator

import pytest

from beastack.freebsd import nmdm
from beastack.freebsd.nmdm import Pair

INSTANCE = "5d0c1c8e-9f3b-4f5e-8a55-0b6a4b8f2f11"


@pytest.fixture
def terminal() -> Iterator[tuple[int, str]]:
    """A terminal to stand in for a side, with the descriptor of what is behind it."""
    behind, line = os.openpty()
    yield behind, os.ttyname(line)
    os.close(line)
    os.close(behind)


def test_the_nodes_of_a_pair() -> None:
    assert nmdm.name_pair("7") == Pair("/dev/nmdm7A", "/dev/nmdm7B")
    assert nmdm.name_pair(INSTANCE).b == f"/dev/nmdm{INSTANCE}B"
    assert nmdm.name_pair("-vm.1").a == "/dev/nmdm-vm.1A"


@pytest.mark.parametrize("name", ["", "a/b", "a b", "a\0", "ä", "a\n", "..%"])
def test_what_cannot_be_a_node_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="cannot name"):
        nmdm.name_pair(name)


def test_a_name_has_a_limit() -> None:
    longest = "x" * (nmdm.NAME_LIMIT - len("nmdmA"))
    assert nmdm.name_pair(longest).a.endswith("xA")
    with pytest.raises(ValueError, match="too long"):
        nmdm.name_pair(longest + "x")


def test_the_sides_of_a_path() -> None:
    assert nmdm.split_side("/dev/nmdm0A") == ("0", "A")
    assert nmdm.split_side("/dev/nmdmABB") == ("AB", "B")
    assert nmdm.other_side("/dev/nmdm-vm.1A") == "/dev/nmdm-vm.1B"
    assert nmdm.other_side("/dev/nmdm-vm.1B") == "/dev/nmdm-vm.1A"


@pytest.mark.parametrize("path", ["/dev/nmdmA", "/dev/nmdm0", "/dev/nmdm0C", "/tmp/nmdm0A", "nmdm0A", "/dev/ttyu0", ""])
def test_what_is_no_side_is_refused(path: str) -> None:
    with pytest.raises(ValueError, match="no side"):
        nmdm.split_side(path)
    with pytest.raises(ValueError, match="no side"):
        nmdm.open_side(path)


def test_a_side_is_opened_by_its_path(monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[tuple[str, int, int, int | None]] = []

    def open_line(path: str, *, owner: int, group: int, mode: int | None) -> int:
        opened.append((path, owner, group, mode))
        return 9

    monkeypatch.setattr(nmdm, "open_line", open_line)
    assert nmdm.open_side("/dev/nmdm0B", owner=196, group=196, mode=0o600) == 9
    assert opened == [("/dev/nmdm0B", 196, 196, 0o600)]


def test_without_the_module_there_is_no_node() -> None:
    with pytest.raises(FileNotFoundError):
        nmdm.open_side("/dev/nmdm-no-such-pairB")


def test_an_opened_line_is_raw_and_does_not_block(terminal: tuple[int, str]) -> None:
    behind, path = terminal
    descriptor = nmdm.open_line(path)
    try:
        iflag, oflag, cflag, lflag, _ispeed, _ospeed, characters = termios.tcgetattr(descriptor)
        assert not lflag & (termios.ICANON | termios.ECHO | termios.ISIG | termios.IEXTEN)
        assert not oflag & termios.OPOST
        assert not iflag & (termios.ICRNL | termios.IXON | termios.ISTRIP)
        assert cflag & termios.CLOCAL and cflag & termios.CREAD and cflag & termios.CSIZE == termios.CS8
        assert characters[termios.VMIN] in (1, b"\x01")
        assert fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_NONBLOCK
        assert not os.get_inheritable(descriptor)
        with pytest.raises(BlockingIOError):
            os.read(descriptor, 1)
        os.write(behind, b"login:\r\x03\x04")
        assert os.read(descriptor, 64) == b"login:\r\x03\x04"
        os.write(descriptor, b"a\nb")
        assert os.read(behind, 64) == b"a\nb"
    finally:
        os.close(descriptor)


def test_ownership_and_mode_are_set_at_the_open(terminal: tuple[int, str], monkeypatch: pytest.MonkeyPatch) -> None:
    owners: list[tuple[int, int]] = []
    monkeypatch.setattr(os, "fchown", lambda _descriptor, owner, group: owners.append((owner, group)))
    descriptor = nmdm.open_line(terminal[1], owner=196, mode=0o640)
    try:
        assert owners == [(196, -1)]
        assert stat.S_IMODE(os.fstat(descriptor).st_mode) == 0o640
    finally:
        os.close(descriptor)
    os.close(nmdm.open_line(terminal[1]))
    assert owners == [(196, -1)]


def test_what_is_no_terminal_is_refused_and_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    closed: list[int] = []
    close = os.close

    def record(descriptor: int) -> None:
        closed.append(descriptor)
        close(descriptor)

    monkeypatch.setattr(os, "close", record)
    with pytest.raises(OSError) as caught:
        nmdm.open_line("/dev/null")
    assert caught.value.errno == errno.ENOTTY
    assert len(closed) == 1
