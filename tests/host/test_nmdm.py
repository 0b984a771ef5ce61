"""Null-modem pairs: two processes, one at each side, and what happens when one of them leaves."""

from __future__ import annotations

import contextlib
import os
import pty
import select
import stat
import subprocess
import sys
import termios
import time
from collections.abc import Iterator

import pytest

from beastack.freebsd import kld, nmdm
from beastack.freebsd.command import CommandError, run
from conftest import eventually
from network_lab import NOBODY, as_nobody, new_name

#: Opens a side and sends back what it reads, until its standard input ends.
ECHO = """
import os, select, sys
from beastack.freebsd import nmdm
line = nmdm.open_side(sys.argv[1])
print("open", flush=True)
waiting = b""
while True:
    readable, writable, _ = select.select([0, line], [line] if waiting else [], [])
    if 0 in readable:
        break
    if line in readable:
        waiting += os.read(line, 4096)
    if line in writable:
        try:
            waiting = waiting[os.write(line, waiting[:512]):]
        except BlockingIOError:
            pass
"""

#: Opens a side as a program that knows nothing of non-blocking opens does.
PLAIN = """
import os, sys
print("opening", flush=True)
line = os.open(sys.argv[1], os.O_RDWR | os.O_NOCTTY)
print("open", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def pair() -> nmdm.Pair:
    """Load the module and return a pair that nobody has used."""
    kld.load("nmdm")
    return nmdm.name_pair(f"{new_name('pair')}-{os.getpid()}.1")


@contextlib.contextmanager
def program(code: str, path: str, opened: bool = True) -> Iterator[subprocess.Popen[str]]:
    """Run a program at a side; it ends, and so closes its side, when the block is left."""
    child = subprocess.Popen(
        [sys.executable, "-c", code, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert child.stdin is not None and child.stdout is not None
    try:
        assert child.stdout.readline() == ("open\n" if opened else "opening\n")
        yield child
    finally:
        child.stdin.close()
        child.stdout.close()
        try:
            child.wait(10)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


class Lines:
    """The sides that a test holds open."""

    def __init__(self) -> None:
        self.descriptors: list[int] = []

    def open(self, path: str, *, owner: int = -1, group: int = -1, mode: int | None = None) -> int:
        """Open a side."""
        self.descriptors.append(nmdm.open_side(path, owner=owner, group=group, mode=mode))
        return self.descriptors[-1]

    def close(self, descriptor: int) -> None:
        """Close a side."""
        self.descriptors.remove(descriptor)
        os.close(descriptor)


@pytest.fixture
def lines() -> Iterator[Lines]:
    """Open sides that are closed after the test."""
    held = Lines()
    yield held
    for descriptor in list(held.descriptors):
        held.close(descriptor)


def exchange(line: int, data: bytes, limit: float = 20) -> bytes:
    """Send data and return as many bytes of answer."""
    answer, left, deadline = b"", data, time.monotonic() + limit
    while len(answer) < len(data):
        assert time.monotonic() < deadline, f"{len(answer)} of {len(data)} bytes came back"
        readable, writable, _ = select.select([line], [line] if left else [], [], 1)
        if readable:
            with contextlib.suppress(BlockingIOError):
                answer += os.read(line, 4096)
        if writable:
            with contextlib.suppress(BlockingIOError):
                left = left[os.write(line, left[:512]) :]
    return answer


def read_some(line: int) -> bytes | None:
    """Return what can be read now, or None when the line is alive and silent."""
    try:
        return os.read(line, 4096)
    except BlockingIOError:
        return None


def hangs_up(line: int) -> bool:
    """Tell whether a line has been hung up: its end is read, or it refuses to be used."""
    try:
        return os.read(line, 4096) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True


def name_of(path: str) -> str:
    """Return a node's name in its directory."""
    return path.rpartition("/")[2]


def test_without_the_module() -> None:
    kld.load("nmdm")
    try:
        run(["kldunload", "nmdm"])
    except CommandError:
        pytest.skip("the module is in use")
    try:
        with pytest.raises(FileNotFoundError):
            nmdm.open_side(nmdm.name_pair(new_name("pair")).a)
    finally:
        kld.load("nmdm")


def test_names(pair: nmdm.Pair) -> None:
    assert nmdm.other_side(pair.a) == pair.b and nmdm.other_side(pair.b) == pair.a
    name, side = nmdm.split_side(pair.a)
    assert nmdm.name_pair(name) == pair and side == "A"
    for wrong in ("/dev/null", "/dev/nmdmA", f"/tmp/{name_of(pair.a)}", f"{pair.a}x"):
        with pytest.raises(ValueError, match="side"):
            nmdm.open_side(wrong)
    for wrong in ("", "a/b", "a b", "x" * 300):
        with pytest.raises(ValueError, match="nmdm pair"):
            nmdm.name_pair(wrong)


def test_the_nodes_come_with_the_first_look_and_go_with_the_last_close(pair: nmdm.Pair, lines: Lines) -> None:
    assert name_of(pair.a) not in os.listdir("/dev")
    line = lines.open(pair.b)
    assert {name_of(pair.a), name_of(pair.b)} <= set(os.listdir("/dev"))
    lines.close(line)
    eventually(lambda: not {name_of(pair.a), name_of(pair.b)} & set(os.listdir("/dev")), "the nodes go")


def test_a_look_is_enough(pair: nmdm.Pair, lines: Lines) -> None:
    assert os.path.exists(pair.b)
    mode = os.stat(pair.a)
    assert stat.S_ISCHR(mode.st_mode)
    assert (stat.S_IMODE(mode.st_mode), mode.st_uid, mode.st_gid) == (0o600, 0, 0)
    lines.open(pair.a)


def test_bytes_both_ways(pair: nmdm.Pair, lines: Lines) -> None:
    line = lines.open(pair.b)
    assert not os.get_inheritable(line) and not os.get_blocking(line) and os.isatty(line)
    every = bytes(range(256))
    with program(ECHO, pair.a):
        assert exchange(line, every) == every
        assert exchange(line, b"\x03\x04\x11\x13\x1a\x1c\r\n\xff\xff\0") == b"\x03\x04\x11\x13\x1a\x1c\r\n\xff\xff\0"
        long = every * 64
        assert exchange(line, long) == long


def test_either_side_may_come_first(pair: nmdm.Pair, lines: Lines) -> None:
    with program(ECHO, pair.a):
        line = lines.open(pair.b)
        assert exchange(line, b"hello") == b"hello"
    lines.close(line)
    eventually(lambda: name_of(pair.a) not in os.listdir("/dev"), "the nodes go")
    line = lines.open(pair.a)  # the sides have equal rights
    with program(ECHO, pair.b):
        assert exchange(line, b"hello") == b"hello"


def test_a_raw_side_outlives_the_other(pair: nmdm.Pair, lines: Lines) -> None:
    line = lines.open(pair.b)
    for turn in range(3):  # as a guest that is started again
        with program(ECHO, pair.a):
            assert exchange(line, b"turn %d" % turn) == b"turn %d" % turn
        time.sleep(0.1)
        assert read_some(line) is None
        assert not hangs_up(line)
        assert name_of(pair.a) in os.listdir("/dev")


def test_a_side_that_minds_carrier_is_hung_up(pair: nmdm.Pair, lines: Lines) -> None:
    line = lines.open(pair.b)
    with program(ECHO, pair.a):
        assert exchange(line, b"hello") == b"hello"
        attributes = termios.tcgetattr(line)
        attributes[2] &= ~termios.CLOCAL
        termios.tcsetattr(line, termios.TCSANOW, attributes)
        assert not hangs_up(line)
    eventually(lambda: hangs_up(line), "the line is hung up")
    with pytest.raises(OSError):
        os.write(line, b"anyone?")
    lines.close(line)
    line = lines.open(pair.b)
    with program(ECHO, pair.a):
        assert exchange(line, b"again") == b"again"


def test_a_plain_open_waits_for_the_other_side(pair: nmdm.Pair, lines: Lines) -> None:
    with program(PLAIN, pair.b, opened=False) as waiting:
        assert waiting.stdout is not None
        assert not select.select([waiting.stdout], [], [], 0.5)[0]
        lines.open(pair.a)
        assert select.select([waiting.stdout], [], [], 10)[0]
        assert waiting.stdout.readline() == "open\n"


def test_writing_never_waits(pair: nmdm.Pair, lines: Lines) -> None:
    line = lines.open(pair.a)
    begin = time.monotonic()
    for _ in range(200):
        with contextlib.suppress(BlockingIOError):
            os.write(line, b"nobody reads this\n" * 32)
    assert time.monotonic() - begin < 5
    reader = lines.open(pair.b)
    with contextlib.suppress(BlockingIOError):
        while os.read(reader, 65536):
            pass


def test_owner_and_mode_last_as_long_as_the_pair(pair: nmdm.Pair, lines: Lines) -> None:
    line = lines.open(pair.b, owner=NOBODY, group=NOBODY, mode=0o640)
    found = os.stat(pair.b)
    assert (found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)) == (NOBODY, NOBODY, 0o640)
    with as_nobody():
        with pytest.raises(PermissionError):
            nmdm.open_side(pair.a)
        os.close(os.open(pair.b, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY))
    lines.close(line)
    eventually(lambda: name_of(pair.b) not in os.listdir("/dev"), "the nodes go")
    line = lines.open(pair.b)
    found = os.stat(pair.b)
    assert (found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)) == (0, 0, 0o600)


def test_other_lines() -> None:
    master, slave = pty.openpty()
    try:
        line = nmdm.open_line(os.ttyname(slave), mode=0o600)
        os.write(master, b"\x03\r\n\xff")
        eventually(lambda: select.select([line], [], [], 0)[0], "bytes")
        assert os.read(line, 100) == b"\x03\r\n\xff"  # raw: no signal, no translation
        assert termios.tcgetattr(line)[2] & termios.CLOCAL
        os.close(line)
    finally:
        os.close(master)
        os.close(slave)
    with pytest.raises(OSError):
        nmdm.open_line("/dev/null")
    null = os.open("/dev/null", os.O_RDWR)
    try:
        with pytest.raises(OSError):
            nmdm.set_raw(null)
    finally:
        os.close(null)
