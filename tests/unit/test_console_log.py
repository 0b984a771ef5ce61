"""A console's log: never more than its limit, always its newer half, and continued after every kind of end."""

from __future__ import annotations

import os
import random
import stat
from pathlib import Path

import pytest

from beastack.console.log import Log, log_paths, read_tail, remove_log


def size(directory: Path) -> int:
    return sum(path.stat().st_size for path in directory.iterdir())


def test_what_is_written_is_read(tmp_path: Path) -> None:
    log = Log(tmp_path, "a", 1000)
    log.write(b"hello ")
    log.write(b"world")
    assert log.tail(100) == read_tail(tmp_path, "a", 100) == b"hello world"
    assert read_tail(tmp_path, "a", 3) == b"rld"
    assert read_tail(tmp_path, "other", 3) == b""
    assert stat.S_IMODE(log.current.stat().st_mode) == 0o640
    log.close()


def test_the_limit_holds_at_every_moment(tmp_path: Path) -> None:
    rng = random.Random(7)
    written = b""
    log = Log(tmp_path, "a", 1001)
    for turn in range(400):
        data = bytes(rng.randrange(256) for _ in range(rng.choice((0, 1, 7, 400, 499, 500, 501, 1500))))
        log.write(data)
        written += data
        assert size(tmp_path) <= 1001
        tail = log.tail(1000)
        assert written.endswith(tail) and len(tail) >= min(len(written), 500)
        if turn % 17 == 0:  # a new daemon
            log.close()
            log = Log(tmp_path, "a", 1001)
    assert log.lost == 0
    log.close()


def test_an_end_between_two_steps_of_the_turn(tmp_path: Path) -> None:
    log = Log(tmp_path, "a", 20)
    log.write(b"0123456789")
    log.close()
    os.replace(log.current, log.older)  # and then it was killed
    log = Log(tmp_path, "a", 20)
    log.write(b"abc")
    assert log.tail(100) == b"0123456789abc"
    log.close()


def test_a_lowered_limit_is_kept_at_once(tmp_path: Path) -> None:
    log = Log(tmp_path, "a", 200)
    log.write(b"x" * 150)
    log.write(b"0123456789")
    log.close()
    log = Log(tmp_path, "a", 20)
    assert size(tmp_path) <= 20
    assert log.tail(10) == b"0123456789"
    log.close()


def test_without_room_bytes_are_counted_and_nobody_waits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = Log(tmp_path, "a", 20)

    def full(descriptor: int, data: bytes) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        log.write(b"lost")
    log.write(b"kept")
    assert (log.lost, log.tail(100)) == (4, b"kept")
    log.close()


def test_the_directory_away_and_back(tmp_path: Path) -> None:
    directory = tmp_path / "log"
    directory.mkdir()
    log = Log(directory, "a", 20)
    log.write(b"0123456789")
    directory.rename(tmp_path / "away")
    log.write(b"lost")
    (tmp_path / "away").rename(directory)
    log.write(b"kept")
    assert (log.lost, log.tail(100)) == (4, b"0123456789kept")
    log.close()


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "a.log").symlink_to(tmp_path / "target")
    with pytest.raises(OSError):
        Log(tmp_path, "a", 20)
    assert not (tmp_path / "target").exists()


def test_removal(tmp_path: Path) -> None:
    log = Log(tmp_path, "a", 20)
    log.write(b"x" * 15)
    log.close()
    assert [path.exists() for path in log_paths(tmp_path, "a")] == [True, True]
    remove_log(tmp_path, "a")
    remove_log(tmp_path, "a")
    assert list(tmp_path.iterdir()) == []
