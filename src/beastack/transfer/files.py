"""What may be done to the instances of a host from another one: few things, below one directory, by no link."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from beastack.transfer.protocol import BLOCK, PIECE, Place, ProtocolError

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class Files:
    """The directory of instances.

    ``is_here`` says whether this host has an instance (its guest is defined):
    nobody else may touch that one's files.
    """

    def __init__(self, directory: Path, is_here: Callable[[str], bool]) -> None:
        self.directory = directory
        self._is_here = is_here

    def make_directory(self, place: Place) -> None:
        """Make an instance's directory; one that is there stays."""
        self._check(place)
        with contextlib.suppress(FileExistsError):
            (self.directory / place.uuid).mkdir(mode=0o755)

    def remove_directory(self, place: Place) -> None:
        """Remove an instance's directory with all that is in it; one that is gone is no error."""
        self._check(place)
        with contextlib.suppress(FileNotFoundError):
            shutil.rmtree(self.directory / place.uuid)

    def touch(self, place: Place) -> None:
        """Make an empty file, which must not be there."""
        with self._opened(place) as (directory, name):
            os.close(os.open(name, _new_file(), 0o644, dir_fd=directory))

    def remove(self, place: Place) -> None:
        """Remove a file; one that is gone is no error."""
        with self._opened(place) as (directory, name), contextlib.suppress(FileNotFoundError):
            os.unlink(name, dir_fd=directory)

    def write(self, place: Place, size: int, source: BinaryIO, ready: Callable[[], None] = lambda: None) -> None:
        """Write a file of so many bytes from the pieces that follow: whole, or not at all.

        :param ready: called when the pieces can come
        :raises ProtocolError: the pieces do not fit, or break off
        """
        with self._opened(place) as (directory, name):
            part = f".{name}.part"
            with contextlib.suppress(FileNotFoundError):
                os.unlink(part, dir_fd=directory)
            descriptor = os.open(part, _new_file(), 0o644, dir_fd=directory)
            try:
                with open(descriptor, "wb", buffering=0) as target:
                    os.ftruncate(target.fileno(), size)
                    ready()
                    _write_pieces(source, target.fileno(), size)
                    os.fsync(target.fileno())
                os.replace(part, name, src_dir_fd=directory, dst_dir_fd=directory)
            except BaseException:
                os.unlink(part, dir_fd=directory)
                raise

    def _check(self, place: Place) -> None:
        if self._is_here(place.uuid):
            raise ProtocolError(f"the instance {place.uuid} is on this host: its files are not another's to change")

    @contextlib.contextmanager
    def _opened(self, place: Place) -> Iterator[tuple[int, str]]:
        """Give the descriptor of an instance's directory, and the name of a file in it."""
        self._check(place)
        descriptor = os.open(self.directory / place.uuid, _DIRECTORY)
        try:
            yield descriptor, place.file or ""
        finally:
            os.close(descriptor)


def _new_file() -> int:
    return os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


def _write_pieces(source: BinaryIO, target: int, size: int) -> None:
    while True:
        header = source.read(PIECE.size)
        if len(header) != PIECE.size:
            raise ProtocolError("the file broke off")
        offset, length = PIECE.unpack(header)
        if length == 0:
            return
        if offset + length > size:
            raise ProtocolError(f"a piece ends at {offset + length}, after the {size} bytes of the file")
        while length:
            block = source.read(min(length, BLOCK))
            if not block:
                raise ProtocolError("the file broke off")
            view = memoryview(block)
            while view:
                written = os.pwrite(target, view, offset)
                view, offset, length = view[written:], offset + written, length - written


def list_pieces(descriptor: int) -> Iterator[tuple[int, bytes]]:
    """Give what a file holds, block by block with its offset, leaving out holes and blocks of zeros."""
    size, position = os.fstat(descriptor).st_size, 0
    zeros = bytes(BLOCK)
    while position < size:
        try:
            start = os.lseek(descriptor, position, os.SEEK_DATA)
        except OSError:
            return  # nothing but a hole up to the end
        end = os.lseek(descriptor, start, os.SEEK_HOLE)
        while start < end:
            block = os.pread(descriptor, min(BLOCK, end - start), start)
            if not block:
                return
            if block != zeros[: len(block)]:
                yield start, block
            start += len(block)
        position = end
