"""The one runner: every command that touches the host goes through here.

Commands are argv lists, never shell text; they run in the C locale with a
fixed search path, always with a time limit, and a failure is a typed error
that carries argv, exit status and standard error.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

SEARCH_PATH = "/sbin:/bin:/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin"
DEFAULT_TIMEOUT = 60.0
KILL_LIMIT = 5.0

_held: list[int] = []


def hold_in_commands(descriptor: int) -> None:
    """Let every command started from now on inherit an open descriptor.

    A lock that is held so is free only when the commands have ended too: a
    killed program's successor can wait for what it left running.
    """
    _held.append(descriptor)


def release_in_commands(descriptor: int) -> None:
    """End what ``hold_in_commands`` began, before the descriptor is closed."""
    _held.remove(descriptor)


@dataclass(frozen=True)
class Result:
    """What a finished command left: its argv, exit status and output."""

    argv: tuple[str, ...]
    status: int
    stdout: str
    stderr: str


class CommandError(Exception):
    """A command that could not be started, failed, or ran out of time.

    ``status`` is the exit status, negative for a signal (as in subprocess),
    or None when the command never finished.
    """

    def __init__(self, argv: Sequence[str], status: int | None, stdout: str, stderr: str) -> None:
        self.argv = tuple(argv)
        self.status = status
        self.stdout = stdout
        self.stderr = stderr
        super().__init__(self._summary())

    def _summary(self) -> str:
        ending = "did not run to its end" if self.status is None else f"exited with status {self.status}"
        last = [line.strip() for line in self.stderr.splitlines() if line.strip()][-1:]
        last = last or [line.strip() for line in self.stdout.splitlines() if line.strip()][-1:]
        text = f"{Path(self.argv[0]).name} {ending}"
        return f"{text}: {last[0]}" if last else text


class CommandNotFound(CommandError):
    """The program is not installed, or not on the fixed search path."""

    def _summary(self) -> str:
        return f"the program {self.argv[0]} is not installed"


class CommandTimeout(CommandError):
    """The command was still running at its time limit and was killed."""

    def _summary(self) -> str:
        return f"{Path(self.argv[0]).name} {self.stderr}"


def clean_environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the environment commands run in: C locale, fixed path, plus extra.

    Only what reaches package registries through a proxy, a private
    certificate store or a mirror is taken from the caller's environment.
    """
    passed = (
        "HOME", "TMPDIR", "http_proxy", "https_proxy", "no_proxy",
        "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR",
        "PIP_CERT", "PIP_INDEX_URL", "PIP_CONFIG_FILE", "UV_INDEX_URL", "UV_DEFAULT_INDEX",
    )  # fmt: skip
    environment = {name: os.environ[name] for name in passed if name in os.environ}
    environment.update({"PATH": SEARCH_PATH, "LC_ALL": "C", "LANG": "C"})
    environment.update(extra or {})
    return environment


def find_program(name: str) -> str | None:
    """Return the full path of a program on the fixed search path, or None."""
    return shutil.which(name, path=SEARCH_PATH)


def run(
    argv: Sequence[str],
    *,
    timeout: float = DEFAULT_TIMEOUT,
    stdin: str | None = None,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    ok: Sequence[int] = (0,),
    user: int | None = None,
    group: int | None = None,
) -> Result:
    """Run one command to its end and return its result.

    :param timeout: seconds until the command is killed
    :param stdin: text for standard input; without it, an empty input
    :param env: added to the clean environment
    :param ok: exit statuses that are not an error
    :param user: numeric uid to run as (with ``group``, and no other groups)
    :raises CommandNotFound: the program does not exist
    :raises CommandTimeout: the time limit passed
    :raises CommandError: it cannot be started, or its exit status is not in ``ok``
    """
    try:
        process = subprocess.Popen(
            list(argv),
            stdin=subprocess.DEVNULL if stdin is None else subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=clean_environment(env),
            cwd=cwd,
            text=True,
            errors="replace",
            user=user,
            group=group,
            extra_groups=None if user is None else [],
            # An interrupt on the terminal is for us: we decide what ends.
            process_group=0,
            pass_fds=_held,
        )
    except FileNotFoundError as error:
        if cwd is not None and not cwd.is_dir():
            raise CommandError(argv, None, "", f"there is no directory {cwd}") from error
        raise CommandNotFound(argv, None, "", str(error)) from error
    except OSError as error:
        raise CommandError(argv, None, "", f"it cannot be started: {error.strerror or error}") from error
    try:
        stdout, stderr = process.communicate(stdin, timeout=timeout)
    except subprocess.TimeoutExpired as error:
        ended = _kill_group(process)
        said = f"was still running after {timeout:g} s" + ("" if ended else " and cannot be killed")
        raise CommandTimeout(argv, None, "", said) from error
    except BaseException:
        _kill_group(process)
        raise
    if process.returncode not in ok:
        raise CommandError(argv, process.returncode, stdout, stderr)
    return Result(tuple(argv), process.returncode, stdout, stderr)


def _kill_group(process: subprocess.Popen[str]) -> bool:
    """Kill a command and what it started; returns whether it ended.

    A process that waits in the kernel (as a tap's destruction may) outlives
    even SIGKILL, and nobody should wait for it.
    """
    try:
        os.killpg(process.pid, 9)
    except ProcessLookupError:
        pass
    for stream in (process.stdin, process.stdout, process.stderr):
        if stream is not None:
            with contextlib.suppress(OSError):
                stream.close()
    try:
        process.wait(KILL_LIMIT)
    except subprocess.TimeoutExpired:
        return False
    return True
