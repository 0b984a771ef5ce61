"""rc scripts and the rc.conf variables that steer them: service(8) and sysrc(8)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from beastack.freebsd import command
from beastack.freebsd.command import CommandError, Result
from beastack.freebsd.errors import (
    InvalidArgument,
    JailDying,
    JailNotFound,
    PermissionDenied,
    ServiceDisabled,
    ServiceNotFound,
    translate,
)

START_TIMEOUT = 120.0

# What service(8), rc.subr(8) and sysrc(8) print when they refuse; service(8) does so on standard output.
_REFUSALS: tuple[tuple[str, type[CommandError]], ...] = (
    ("does not exist in /etc/rc.d or the local startup", ServiceNotFound),
    ("unknown directive", InvalidArgument),
    # jexec(8), which -j goes through.
    (" is dying", JailDying),
    ("jexec: jail ", JailNotFound),
    ("Permission denied", PermissionDenied),
    # sysrc(8) itself; the exact text is unconfirmed.
    ("permission denied", PermissionDenied),
    ("Operation not permitted", PermissionDenied),
)
_DISABLED = re.compile(r"^Cannot '\w+' .*\. Set \S+ to YES in ", re.MULTILINE)
_RUNNING = re.compile(r"^.* is running as pid ([0-9 ]+?)\s*\.\s*$", re.MULTILINE)
_SERVICE = re.compile(r"[A-Za-z0-9_.][A-Za-z0-9_.-]*")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
# rc.conf is shell text inside double quotes: these would be run or end the quotes.
_UNSAFE = re.compile(r'["$`\\\n\0]')
_YES = frozenset({"yes", "true", "on", "1"})


@dataclass(frozen=True)
class Status:
    """``pids`` is empty for a script that tells the state in words of its own (``text``)."""

    running: bool
    pids: tuple[int, ...]
    text: str


def start(name: str, *, one: bool = False, jail: str | None = None, timeout: float = START_TIMEOUT) -> None:
    """Start a service; one that runs already is no error.

    A daemon that keeps the script's standard output open makes this wait for
    its end: such a script must use daemon(8) with ``-f`` or ``-o``.

    :param one: start it although rc.conf does not enable it
    :raises ServiceNotFound: there is no such script
    :raises ServiceDisabled: rc.conf does not enable it (the script itself exits with 0 then)
    :raises CommandError: it did not start
    """
    result = _service(name, "onestart" if one else "start", jail, timeout, ok=(0, 1))
    if result.status == 0:
        _refuse_disabled(result)
    elif "already running?" not in result.stderr + result.stdout:
        raise translate(CommandError(result.argv, result.status, result.stdout, result.stderr), _REFUSALS)


def stop(name: str, *, one: bool = True, jail: str | None = None, timeout: float = START_TIMEOUT) -> None:
    """Stop a service and wait for its processes; one that does not run is no error.

    :param one: stop it although rc.conf does not enable it
    :raises ServiceNotFound: there is no such script
    :raises CommandError: it did not stop
    """
    result = _service(name, "onestop" if one else "stop", jail, timeout, ok=(0, 1))
    if result.status and "not running?" not in result.stderr + result.stdout:
        raise translate(CommandError(result.argv, result.status, result.stdout, result.stderr), _REFUSALS)


def restart(name: str, *, one: bool = False, jail: str | None = None, timeout: float = START_TIMEOUT) -> None:
    """Stop and start a service; one that did not run is started.

    :raises ServiceNotFound: there is no such script
    :raises ServiceDisabled: rc.conf does not enable it
    :raises CommandError: it did not start
    """
    _refuse_disabled(_service(name, "onerestart" if one else "restart", jail, timeout))


def parse_status(result: Result) -> Status:
    """Read the answer to ``status``: the exit status decides, the text may name processes."""
    match = _RUNNING.search(result.stdout)
    pids = tuple(int(word) for word in match[1].split()) if match else ()
    return Status(result.status == 0, pids, result.stdout.strip())


def read_status(name: str, *, jail: str | None = None) -> Status:
    """Tell whether a service runs, enabled or not.

    :raises ServiceNotFound: there is no such script
    """
    # Not "status": older rc.subr(8) answers that with 0 for a service that is not enabled.
    result = _service(name, "onestatus", jail, command.DEFAULT_TIMEOUT, ok=range(256))
    known = translate(CommandError(result.argv, result.status, result.stdout, result.stderr), _REFUSALS)
    if result.status and known.__class__ is not CommandError:
        raise known
    return parse_status(result)


def enabling_variable(name: str) -> str:
    """Return the usual rc.conf variable of a script; some scripts use another (``mysql-server``)."""
    return name.replace("-", "_").replace(".", "_") + "_enable"


def is_enabled(name: str, *, variable: str | None = None, jail: str | None = None) -> bool:
    """Tell whether rc.conf enables a service, as rc.subr(8)'s checkyesno would.

    :param variable: the script's variable if it is not the usual one
    """
    value = read_variable(variable or enabling_variable(name), jail=jail)
    return value is not None and value.lower() in _YES


def enable(name: str, *, variable: str | None = None, file: str | None = None, jail: str | None = None) -> None:
    """Make a service start at boot; raises as ``write_variable``."""
    write_variable(variable or enabling_variable(name), "YES", file=file, jail=jail)


def disable(name: str, *, variable: str | None = None, file: str | None = None, jail: str | None = None) -> None:
    """Make a service not start at boot; raises as ``write_variable``."""
    write_variable(variable or enabling_variable(name), "NO", file=file, jail=jail)


def read_variable(key: str, *, file: str | None = None, jail: str | None = None) -> str | None:
    """Return an rc.conf variable, or None if no file sets it.

    :param file: look in this file alone
    """
    argv = _sysrc(["-n"], _checked(key), file, jail)
    try:
        result = command.run(argv)
    except CommandError as error:
        if error.status is not None and "unknown variable" in error.stderr:
            return None
        raise _translated(error) from None
    return result.stdout.removesuffix("\n")


def write_variable(key: str, value: str, *, file: str | None = None, jail: str | None = None) -> None:
    """Set an rc.conf variable.

    :param file: write to this file, which is made if needed, instead of /etc/rc.conf
    :raises ValueError: the value holds characters that the shell would act on
    :raises PermissionDenied: not root
    """
    _run(_sysrc([], f"{_checked(key)}={_safe(value)}", file, jail))


def append_to_variable(key: str, word: str, *, file: str | None = None, jail: str | None = None) -> None:
    """Add a word to a list (``kld_list``); one that is in it is not added again.

    :raises ValueError, PermissionDenied: as ``write_variable``
    """
    # sysrc(8) takes a first character that is no letter, digit, dot or slash as
    # the list's separator; a blank in front keeps it to blanks.
    _run(_sysrc([], f"{_checked(key)}+= {_safe(word)}", file, jail))


def remove_from_variable(key: str, word: str, *, file: str | None = None, jail: str | None = None) -> None:
    """Take a word out of a list; one that is not in it is no error.

    :raises ValueError, PermissionDenied: as ``write_variable``
    """
    _run(_sysrc([], f"{_checked(key)}-= {_safe(word)}", file, jail))


def delete_variable(key: str, *, file: str | None = None, jail: str | None = None) -> bool:
    """Remove a variable from rc.conf; return whether it was there.

    :raises PermissionDenied: not root
    """
    try:
        command.run(_sysrc(["-x"], _checked(key), file, jail))
    except CommandError as error:
        if error.status is not None and "unknown variable" in error.stderr:
            return False
        raise _translated(error) from None
    return True


def _service(name: str, action: str, jail: str | None, timeout: float, ok: Sequence[int] = (0,)) -> Result:
    if not _SERVICE.fullmatch(name):
        raise ValueError(f"{name!r} is no name of an rc script")
    inside = [] if jail is None else ["-j", jail]
    try:
        return command.run(["service", *inside, name, action], timeout=timeout, ok=ok)
    except CommandError as error:
        raise _translated(error) from None


def _refuse_disabled(result: Result) -> None:
    if _DISABLED.search(result.stdout):
        raise ServiceDisabled(result.argv, result.status, result.stdout, result.stderr)


def _sysrc(options: Sequence[str], word: str, file: str | None, jail: str | None) -> list[str]:
    inside = [] if jail is None else ["-j", jail]
    where = [] if file is None else ["-f", file]
    return ["sysrc", *inside, *where, *options, word]


def _checked(key: str) -> str:
    if not _VARIABLE.fullmatch(key):
        raise ValueError(f"{key!r} is no name of an rc.conf variable")
    return key


def _safe(value: str) -> str:
    if _UNSAFE.search(value):
        raise ValueError(f"{value!r} holds characters that the shell would act on in rc.conf")
    return value


def _run(argv: Sequence[str]) -> None:
    try:
        command.run(argv)
    except CommandError as error:
        raise _translated(error) from None


def _translated(error: CommandError) -> CommandError:
    return error if error.status is None else translate(error, _REFUSALS)
