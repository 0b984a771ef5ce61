"""The last steps of a child process between fork and the service's own code."""

from __future__ import annotations

import importlib
import os
import pwd
import signal
import sys
from typing import NoReturn

from beastack.supervisor import confine
from beastack.supervisor.spec import Service

#: The descriptor on which a privileged daemon finds its service.
CONNECTION = 3

_DEFAULT = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD, signal.SIGUSR1)
# What an interpreter ignores from its start, and what a program must not inherit as ignored.
# Source: Python's signal module documentation; subprocess.Popen, restore_signals.
_BROKEN = (signal.SIGPIPE, signal.SIGXFSZ)


def become_service(service: Service, log: int, go: int, connection: int = -1) -> NoReturn:
    """Turn this freshly forked process into the service; never returns.

    ``go`` is a pipe: one byte means that the supervisor has recorded this
    process; its end without a byte means that nobody has, and that nobody
    would ever stop this process again. ``connection``, if there is one,
    becomes descriptor ``CONNECTION``; beyond it nothing is left open.
    """
    try:
        # A group of its own, but not a session: a session leader that opens
        # a guest's pty would make it its controlling terminal and be hung up
        # when the guest ends.
        os.setpgid(0, 0)
        if os.read(go, 1) != b"g":
            os._exit(0)
        _attach_streams(log, connection)
        for number in _DEFAULT:
            signal.signal(number, signal.SIG_DFL)
        for number in _BROKEN:
            signal.signal(number, signal.SIG_DFL if service.parent is None else signal.SIG_IGN)
        signal.set_wakeup_fd(-1)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        os.umask(service.umask)
        os.environ.clear()
        os.environ.update(service.env)
        sys.argv = list(service.argv)
        os.chdir(service.cwd)
        if service.before_drop:
            load(service.before_drop)()
        if service.confined:
            confine.limit_resources()
        drop_privileges(service.user)
        if service.confined:
            # The user's change would undo it on some systems: last.
            if not service.new_privileges:
                confine.refuse_new_privileges()
            confine.refuse_tracing()
        if service.parent is None:
            os.execve(service.argv[0], list(service.argv), dict(service.env))
        set_title(service.name)
        load(service.target)()
        status = 0
    except SystemExit as end:
        status = _exit_status(end.code)
    except BaseException as error:  # a traceback in the log is the service's last word
        sys.excepthook(type(error), error, error.__traceback__)
        status = 1
    _leave(status)


def _attach_streams(log: int, connection: int) -> None:
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.dup2(log, 1)
    os.dup2(log, 2)
    first = 3
    if connection >= 0:
        os.dup2(connection, CONNECTION)
        os.set_inheritable(CONNECTION, False)
        first = CONNECTION + 1
    os.closerange(first, max(os.sysconf("SC_OPEN_MAX") if os.sysconf("SC_OPEN_MAX") > 0 else 1024, 1024))
    sys.stdin = open(0)  # noqa: SIM115 (the process's own standard stream)
    sys.stdout = open(1, "w", buffering=1)  # noqa: SIM115
    sys.stderr = open(2, "w", buffering=1)  # noqa: SIM115
    sys.__stdin__, sys.__stdout__, sys.__stderr__ = sys.stdin, sys.stdout, sys.stderr  # type: ignore[misc]


def drop_privileges(user: str) -> None:
    """Become ``user`` for good, with its groups and no way back.

    Order as setgroups(2) on FreeBSD 15 wants it: supplementary groups,
    then the group ids, then the user ids.

    :raises KeyError: there is no such user
    :raises OSError: the kernel refused
    """
    if user == "root":
        return
    entry = pwd.getpwnam(user)
    os.setgroups(os.getgrouplist(user, entry.pw_gid))
    os.setresgid(entry.pw_gid, entry.pw_gid, entry.pw_gid)
    os.setresuid(entry.pw_uid, entry.pw_uid, entry.pw_uid)
    confine.refuse_new_privileges()


def set_title(name: str) -> None:
    """Name this process for ps(1), where the setproctitle library is at hand.

    BEASTACK_ROOT in the environment tells the sites of a machine apart.
    """
    try:
        from setproctitle import setproctitle
    except ImportError:
        return
    setproctitle(f"beastack: {name} {os.environ.get('BEASTACK_ROOT', '')}".rstrip())


def load(target: str):  # type: ignore[no-untyped-def]
    """Return the object that ``module:attribute`` names."""
    module, _, attribute = target.partition(":")
    found = importlib.import_module(module)
    for part in attribute.split("."):
        found = getattr(found, part)
    return found


def _exit_status(code: object) -> int:
    if code is None:
        return 0
    if isinstance(code, int):
        return code
    sys.stderr.write(f"{code}\n")
    return 1


def _leave(status: int) -> NoReturn:
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            pass
    os._exit(status & 0xFF)
