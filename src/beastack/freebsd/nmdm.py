"""Null-modem pairs: their names, and opening one side as a raw line.

The kernel makes both nodes of a pair at the first look-up of either name and
removes them when both sides are closed. A guest's process holds side A; the
reader of its console holds side B (nmdm(4)).
"""

from __future__ import annotations

import os
import re
import termios
from dataclasses import dataclass

DIRECTORY = "/dev"
# Bytes of a node's name in devfs; the exact number is unconfirmed.
NAME_LIMIT = 250

_NAME = re.compile(r"[A-Za-z0-9._+:@-]+")
_SIDE = re.compile(r"nmdm(.+)([AB])")


@dataclass(frozen=True)
class Pair:
    """The two nodes of one pair, as paths."""

    a: str
    b: str


def name_pair(name: str) -> Pair:
    """Return the nodes of the pair with that name, which may be any short text.

    :raises ValueError: the name is empty, too long, or holds what a node's name should not
    """
    if not _NAME.fullmatch(name):
        raise ValueError(f"{name!r} cannot name an nmdm pair: letters, digits and . _ + : @ - only")
    if len(f"nmdm{name}A") > NAME_LIMIT:
        raise ValueError(f"an nmdm pair's name of {len(name)} characters is too long: the node may have {NAME_LIMIT}")
    stem = f"{DIRECTORY}/nmdm{name}"
    return Pair(f"{stem}A", f"{stem}B")


def split_side(path: str) -> tuple[str, str]:
    """Return the pair's name and the side, ``A`` or ``B``, of a node's path.

    :raises ValueError: it is no path of an nmdm node
    """
    directory, _, node = path.rpartition("/")
    match = _SIDE.fullmatch(node)
    if directory != DIRECTORY or match is None or not _NAME.fullmatch(match[1]):
        raise ValueError(f"{path!r} is no side of an nmdm pair")
    return match[1], match[2]


def other_side(path: str) -> str:
    """Return the path of the opposite side.

    :raises ValueError: as ``split_side``
    """
    name, side = split_side(path)
    pair = name_pair(name)
    return pair.b if side == "A" else pair.a


def open_side(path: str, *, owner: int = -1, group: int = -1, mode: int | None = None) -> int:
    """Open one side for reading and writing, without blocking, as a raw line.

    It neither waits for the other side nor becomes a controlling terminal.
    Ownership and mode last as long as the pair, so they are set at each open.

    :param owner: numeric uid for the node, -1 to leave it
    :param group: numeric gid for the node, -1 to leave it
    :param mode: permission bits for the node, None to leave them
    :returns: a descriptor that the caller closes; not inherited by programs
    :raises ValueError: as ``split_side``
    :raises FileNotFoundError: the nmdm module is not loaded
    :raises PermissionError: the node belongs to someone else
    :raises OSError: it is open already, or no terminal
    """
    split_side(path)
    return open_line(path, owner=owner, group=group, mode=mode)


def open_line(path: str, *, owner: int = -1, group: int = -1, mode: int | None = None) -> int:
    """Open any terminal as ``open_side`` does, whatever its name."""
    # Without O_NONBLOCK the open would wait for carrier, that is for the other side.
    descriptor = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    try:
        if owner != -1 or group != -1:
            os.fchown(descriptor, owner, group)
        if mode is not None:
            os.fchmod(descriptor, mode)
        set_raw(descriptor)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def set_raw(descriptor: int) -> None:
    """Make a terminal a plain byte pipe that outlives the loss of carrier.

    As cfmakeraw(3), and CLOCAL: without it the reader would be hung up each
    time the guest restarts.

    :raises OSError: the descriptor is no terminal
    """
    try:
        attributes = termios.tcgetattr(descriptor)
        iflag, oflag, cflag, lflag, ispeed, ospeed, characters = attributes
        iflag &= ~(
            termios.BRKINT
            | termios.IGNPAR
            | termios.PARMRK
            | termios.INPCK
            | termios.ISTRIP
            | termios.INLCR
            | termios.IGNCR
            | termios.ICRNL
            | termios.IXON
            | termios.IXOFF
            | termios.IXANY
        )
        iflag |= termios.IGNBRK
        oflag &= ~termios.OPOST
        lflag &= ~(termios.ECHO | termios.ECHONL | termios.ICANON | termios.ISIG | termios.IEXTEN | termios.TOSTOP)
        cflag &= ~(termios.CSIZE | termios.PARENB)
        cflag |= termios.CS8 | termios.CREAD | termios.CLOCAL
        characters[termios.VMIN] = 1
        characters[termios.VTIME] = 0
        termios.tcsetattr(descriptor, termios.TCSANOW, [iflag, oflag, cflag, lflag, ispeed, ospeed, characters])
    except termios.error as error:
        raise OSError(*error.args) from None
