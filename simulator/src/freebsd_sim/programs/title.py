"""The title of a process, as setproctitle(3) sets it; for programs that run by themselves."""

from __future__ import annotations

import ctypes
import sys

PR_SET_NAME = 15  # sys/prctl.h


def set_name(name: str) -> None:
    """Set what ps(1) shows as the command's name."""
    ctypes.CDLL(None).prctl(PR_SET_NAME, name.encode()[:15], 0, 0, 0)


def set_title(title: str) -> bool:
    """Write a title over the arguments of this process; False when their place is not found.

    The kernel lets arguments and environment follow one another on the stack;
    a title that is longer than the arguments goes on into the environment,
    which Linux reads too once the last argument's end is overwritten.
    """
    environ = ctypes.POINTER(ctypes.c_void_p).in_dll(ctypes.CDLL(None), "environ")
    first = environ[0] if environ else None
    if not first:
        return False
    arguments = b"".join(word.encode(errors="surrogateescape") + b"\0" for word in sys.orig_argv)
    start = first - len(arguments)
    if ctypes.string_at(start, len(arguments)) != arguments:
        return False
    room = len(arguments)
    index = 0
    while environ[index] and environ[index] == start + room:
        room += len(ctypes.string_at(environ[index])) + 1
        index += 1
    text = title.encode(errors="surrogateescape")[: room - 1]
    ctypes.memset(start, 0, room)
    ctypes.memmove(start, text, len(text))
    return True
