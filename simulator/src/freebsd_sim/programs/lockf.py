"""lockf(1): run a command while a file is locked. Runs by itself."""

from __future__ import annotations

import errno
import fcntl
import getopt
import os
import signal
import sys
import time

USAGE = "usage: lockf [-knsw] [-t seconds] file command [arguments]\n       lockf [-s] [-t seconds] fd\n"
EX_USAGE, EX_UNAVAILABLE, EX_OSERR, EX_CANTCREAT, EX_SOFTWARE, EX_TEMPFAIL = 64, 69, 71, 73, 70, 75


def fail(status: int, text: str) -> None:
    """Print a line and end."""
    sys.stderr.write(f"lockf: {text}\n")
    sys.exit(status)


def acquire(path: str, flags: int, deadline: float | None) -> int | None:
    """Return the descriptor of a locked file, or None when time is up."""
    while True:
        try:
            descriptor = os.open(path, os.O_RDONLY | flags | os.O_CLOEXEC, 0o666)
        except OSError as error:
            status = EX_UNAVAILABLE if error.errno == errno.ENOENT else EX_CANTCREAT
            fail(status, f"cannot open {path}: {error.strerror}")
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | (fcntl.LOCK_NB if deadline is not None else 0))
                break
            except OSError:
                if deadline is not None and time.monotonic() >= deadline:
                    os.close(descriptor)
                    return None
                time.sleep(0.05)
        # The holder before may have removed the file.
        try:
            if os.stat(path).st_ino == os.fstat(descriptor).st_ino:
                return descriptor
        except OSError:
            pass
        os.close(descriptor)


def main() -> None:
    """Run the command line."""
    try:
        options, words = getopt.getopt(sys.argv[1:], "sknpt:wT")
    except getopt.GetoptError as error:
        sys.stderr.write(f"lockf: illegal option -- {error.opt}\n{USAGE}")
        sys.exit(EX_USAGE)
    flags = dict(options)
    if len(words) < 2:
        if len(words) == 1 and words[0].isdigit():
            fail(78, "freebsd-sim: not simulated: locking a descriptor")
        sys.stderr.write(USAGE)
        sys.exit(EX_USAGE)
    deadline = None
    if "-t" in flags:
        if not flags["-t"].isdigit():
            fail(EX_USAGE, f'invalid timeout "{flags["-t"]}"')
        deadline = time.monotonic() + int(flags["-t"])
    path, *command = words
    descriptor = acquire(path, 0 if "-n" in flags else os.O_CREAT, deadline)
    if descriptor is None:
        if "-s" not in flags:
            sys.stderr.write(f"lockf: {path}: already locked\n")
        sys.exit(EX_TEMPFAIL)
    child = os.fork()
    if child == 0:
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        try:
            os.execvp(command[0], command)
        except OSError as error:
            sys.stderr.write(f"lockf: {command[0]}: {error.strerror}\n")
        os._exit(1)
    for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN if number != signal.SIGTERM else lambda *_: os.kill(child, signal.SIGTERM))
    _, status = os.waitpid(child, 0)
    if "-k" not in flags:
        try:
            os.unlink(path)
        except OSError:
            pass
    sys.exit(os.WEXITSTATUS(status) if os.WIFEXITED(status) else EX_SOFTWARE)


if __name__ == "__main__":
    main()
