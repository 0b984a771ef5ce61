"""Makes an interpreter on Linux say that it is FreeBSD's, as far as the code under seams can see.

Not the simulated host: only what upstream asks about its system before and in
the functions that seams replace, so that these can be run anywhere.
"""

from __future__ import annotations

import builtins
import errno
import os
import platform
import socket
import sys
from typing import Any

TCP_USER_TIMEOUT = 18  # Linux's number, which FreeBSD has no option for
TCP_MAXUNACKTIME = 68  # FreeBSD's, in seconds (netinet/tcp.h)


def say_freebsd() -> None:
    """Change what this interpreter says of its system, for the rest of its life."""
    # These look at the system once, when they are imported, for what they themselves call.
    import asyncio  # noqa: F401
    import ctypes.util  # noqa: F401
    import multiprocessing.util  # noqa: F401
    import subprocess  # noqa: F401
    import sysconfig
    import uuid  # noqa: F401

    import psutil  # noqa: F401

    sysconfig.get_config_vars()
    sys.platform = "freebsd15"
    platform.system = lambda: "FreeBSD"
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        del socket.TCP_USER_TIMEOUT


def hide_proc() -> None:
    """Make /proc look empty to all but psutil, which has no other way to ask on Linux."""
    really_open, really_exists = builtins.open, os.path.exists

    def is_hidden(path: Any) -> bool:
        caller = sys._getframe(2).f_globals.get("__name__", "")
        return str(path).startswith("/proc") and not caller.startswith("psutil")

    def open_elsewhere(path: Any, *arguments: Any, **named: Any) -> Any:
        if is_hidden(path):
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
        return really_open(path, *arguments, **named)

    def exists(path: Any) -> bool:
        return not is_hidden(path) and really_exists(path)

    builtins.open = open_elsewhere
    os.path.exists = exists


class Socket(socket.socket):
    """A TCP socket that takes FreeBSD's options and refuses Linux's; ``options`` holds what was set."""

    options: dict[int, int]
    refuses: frozenset[int] = frozenset((TCP_USER_TIMEOUT,))

    def setsockopt(self, level: int, option: int, value: Any, *rest: Any) -> None:
        """Note an option of TCP.

        :raises OSError: there is no such option
        """
        assert level == socket.IPPROTO_TCP
        if option in self.refuses:
            raise OSError(errno.ENOPROTOOPT, "Protocol not available")
        self.options = {**getattr(self, "options", {}), option: value}
