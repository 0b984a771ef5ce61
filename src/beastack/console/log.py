"""A console's log: two files that together never hold more than the limit, and at least its newer half.

``NAME.log`` is written; full, it becomes ``NAME.log.1``. Neither a restart
nor a SIGKILL between any two of these steps loses or exceeds anything: what
is there is found and continued.
"""

from __future__ import annotations

import os
from pathlib import Path

MODE = 0o640  # the group may read: the directory's, which new files take over

_ATTEMPTS = 8


def log_paths(directory: Path, name: str) -> tuple[Path, Path]:
    """Return the files of a log, the older one first."""
    current = directory / f"{name}.log"
    return current.with_name(f"{current.name}.1"), current


class Log:
    """A log that is being written. ``lost`` counts the bytes that the file system had no room for.

    :raises OSError: the file cannot be opened
    """

    def __init__(self, directory: Path, name: str, limit: int) -> None:
        self.older, self.current = log_paths(directory, name)
        self.half = limit // 2
        self.lost = 0
        for path in (self.older, self.current):
            _shorten(path, self.half)
        self._descriptor = -1
        self._size = 0
        self._open()

    def _open(self) -> None:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        self._descriptor = os.open(self.current, flags, MODE)
        os.fchmod(self._descriptor, MODE)
        self._size = os.fstat(self._descriptor).st_size

    def write(self, data: bytes) -> None:
        """Append; what cannot be written is counted and forgotten, for the guest must not wait for a disk."""
        rest = memoryview(data)
        try:
            while rest:
                if self._descriptor < 0:
                    self._open()
                if self._size >= self.half:
                    self._turn()
                written = os.write(self._descriptor, rest[: self.half - self._size])
                self._size += written
                rest = rest[written:]
        except OSError:
            self.lost += len(rest)

    def _turn(self) -> None:
        os.replace(self.current, self.older)
        self.close()
        self._open()

    def tail(self, count: int) -> bytes:
        """Return the last bytes."""
        try:
            return _read_tail(self.older, self.current, count)
        except OSError:
            return b""

    def close(self) -> None:
        """Write no more."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def read_tail(directory: Path, name: str, count: int) -> bytes:
    """Return the last bytes of a log, which may be written meanwhile; none if there is no log.

    :raises OSError: it cannot be read
    """
    return _read_tail(*log_paths(directory, name), count)


def remove_log(directory: Path, name: str) -> None:
    """Remove a log's files; one that is not there is no error."""
    for path in log_paths(directory, name):
        path.unlink(missing_ok=True)


def _read_tail(older: Path, current: Path, count: int) -> bytes:
    data = b""
    for _ in range(_ATTEMPTS):
        before = _identity(current)
        data = _read_end(current, count)
        if len(data) < count:
            data = _read_end(older, count - len(data)) + data
        if _identity(current) == before:
            break  # else the files have changed places in between
    return data


def _identity(path: Path) -> int:
    try:
        return path.stat().st_ino
    except FileNotFoundError:
        return 0


def _read_end(path: Path, count: int) -> bytes:
    try:
        with path.open("rb") as stream:
            end = stream.seek(0, os.SEEK_END)
            stream.seek(max(0, end - count))
            return stream.read(count)
    except FileNotFoundError:
        return b""


def _shorten(path: Path, size: int) -> None:
    """Keep the end of a file that is too long: the limit has been lowered."""
    try:
        if path.stat().st_size <= size:
            return
    except FileNotFoundError:
        return
    end = _read_end(path, size)
    fresh = path.with_name(f"{path.name}.new")
    fresh.unlink(missing_ok=True)
    with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, MODE), "wb") as stream:
        stream.write(end)
    os.replace(fresh, path)
