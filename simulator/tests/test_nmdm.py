"""nmdm(4): pairs of terminals with carrier, on a devpts of this test's own."""

from __future__ import annotations

import os
import select
import subprocess
import sys
import termios
import time
import tty
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from freebsd_sim.kernel.errors import KernelError
from freebsd_sim.kernel.nmdm import Nmdm, split_name

NEEDS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="mounts a file system")
LIMIT = 5.0


def wait_until(condition: Any) -> None:
    deadline = time.monotonic() + LIMIT
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.01)


def read_some(descriptor: int) -> bytes:
    ready, _, _ = select.select([descriptor], [], [], LIMIT)
    assert ready, "nothing to read"
    try:
        return os.read(descriptor, 4096)
    except OSError:
        return b""


@pytest.mark.parametrize(("name", "parts"), [("nmdm0A", ("nmdm0", "A")), ("nmdm-inst42B", ("nmdm-inst42", "B"))])
def test_names(name: str, parts: tuple[str, str]) -> None:
    assert split_name(name) == parts


@pytest.mark.parametrize("name", ["nmdmA", "nmdm0", "nmdm0C", "tap0A", "nmdm/xA", "nmdm" + "x" * 250 + "A"])
def test_bad_names(name: str) -> None:
    with pytest.raises(KernelError) as caught:
        split_name(name)
    assert caught.value.name == "ENOENT"


@pytest.fixture
def nmdm(tmp_path: Path) -> Any:
    """The device on a fresh devpts, in a mount namespace that is not this process's if that can be helped."""
    points = tmp_path / "dev/pts"
    points.mkdir(parents=True)
    mounted = subprocess.run(
        ["mount", "-t", "devpts", "-o", "newinstance,ptmxmode=0666", "devpts", str(points)], check=False
    )
    if mounted.returncode != 0:
        pytest.skip("no devpts can be mounted here")
    modules = SimpleNamespace(is_loaded=lambda name: name == "nmdm")
    try:
        yield Nmdm(SimpleNamespace(root=tmp_path, modules=modules))  # type: ignore[arg-type]
    finally:
        subprocess.run(["umount", "-l", str(points)], check=True)


def open_side(nmdm: Nmdm, name: str, *, clocal: bool) -> int:
    terminal = nmdm.lookup(name)
    before = nmdm.pairs[name[:-1]].sides[name[-1]].opens
    descriptor = os.open(nmdm.kernel.root / terminal.lstrip("/"), os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
    tty.setraw(descriptor)
    if clocal:
        mode = termios.tcgetattr(descriptor)
        mode[2] |= termios.CLOCAL
        termios.tcsetattr(descriptor, termios.TCSANOW, mode)
    wait_until(lambda: nmdm.pairs[name[:-1]].sides[name[-1]].opens > before)
    return descriptor


@NEEDS_ROOT
class TestPair:
    def test_first_look_up_makes_both_nodes(self, nmdm: Nmdm) -> None:
        nmdm.lookup("/dev/nmdm0A")
        for side in "AB":
            assert (nmdm.devices / f"nmdm0{side}").is_char_device()
            assert (nmdm.devices / f"nmdm0{side}").stat().st_mode & 0o777 == 0o600

    def test_bytes_cross(self, nmdm: Nmdm) -> None:
        a, b = open_side(nmdm, "nmdm0A", clocal=True), open_side(nmdm, "nmdm0B", clocal=True)
        os.write(a, b"login: \r\n")
        assert read_some(b) == b"login: \r\n"
        os.write(b, b"root\r")
        assert read_some(a) == b"root\r"

    def test_what_was_written_before_is_kept(self, nmdm: Nmdm) -> None:
        a = open_side(nmdm, "nmdm0A", clocal=True)
        os.write(a, b"early")
        b = open_side(nmdm, "nmdm0B", clocal=True)
        assert read_some(b) == b"early"

    def test_writing_to_nobody_fails_in_the_end_instead_of_waiting(self, nmdm: Nmdm) -> None:
        a = open_side(nmdm, "nmdm0A", clocal=True)
        with pytest.raises(BlockingIOError):
            for _ in range(1000):
                os.write(a, b"x" * 1024)
                time.sleep(0.001)

    def test_closing_hangs_the_other_up(self, nmdm: Nmdm) -> None:
        a, b = open_side(nmdm, "nmdm0A", clocal=True), open_side(nmdm, "nmdm0B", clocal=False)
        os.close(a)
        assert read_some(b) == b""

    def test_with_clocal_the_other_stays_and_works_again(self, nmdm: Nmdm) -> None:
        a, b = open_side(nmdm, "nmdm0A", clocal=True), open_side(nmdm, "nmdm0B", clocal=True)
        os.write(a, b"bye")
        os.close(a)
        assert read_some(b) == b"bye"
        wait_until(lambda: not nmdm.has_carrier("nmdm0B"))
        a = open_side(nmdm, "nmdm0A", clocal=True)
        assert nmdm.has_carrier("nmdm0B")
        os.write(a, b"again")
        assert read_some(b) == b"again"

    def test_the_pair_goes_with_its_last_user(self, nmdm: Nmdm) -> None:
        a, b = open_side(nmdm, "nmdm0A", clocal=True), open_side(nmdm, "nmdm0B", clocal=True)
        os.close(a)
        wait_until(lambda: not nmdm.has_carrier("nmdm0B"))
        assert nmdm.in_use()
        os.close(b)
        wait_until(lambda: not nmdm.in_use())
        assert not (nmdm.devices / "nmdm0A").is_symlink()

    def test_killed_user_closes(self, nmdm: Nmdm) -> None:
        b = open_side(nmdm, "nmdm0B", clocal=True)
        terminal = nmdm.devices.parent / nmdm.lookup("nmdm0A").lstrip("/")
        code = f"import os,time; os.open({str(terminal)!r}, os.O_RDWR|os.O_NOCTTY); time.sleep(60)"
        child = subprocess.Popen([sys.executable, "-c", code])
        wait_until(lambda: nmdm.has_carrier("nmdm0B"))
        child.kill()
        child.wait()
        wait_until(lambda: not nmdm.has_carrier("nmdm0B"))
        os.close(b)

    def test_module_not_loaded(self, nmdm: Nmdm) -> None:
        nmdm.kernel.modules.is_loaded = lambda name: False  # type: ignore[method-assign]
        with pytest.raises(KernelError):
            nmdm.lookup("nmdm0A")
