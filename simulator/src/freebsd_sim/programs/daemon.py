"""daemon(8): run a command in the background, and watch over it.

Runs by itself: arguments as of daemon(8), which is why nothing of this package is imported by its full name.
"""

from __future__ import annotations

import contextlib
import fcntl
import getopt
import os
import pwd
import re
import selectors
import signal
import sys
import syslog
import time
from dataclasses import dataclass, field

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from title import set_name, set_title  # type: ignore[import-not-found,unused-ignore]

USAGE = """\
usage: daemon [-cfHrS] [-p child_pidfile] [-P supervisor_pidfile]
              [-u user] [-o output_file] [-t title]
              [-l syslog_facility] [-s syslog_priority]
              [-T syslog_tag] [-m output_mask] [-R restart_delay_secs]
command arguments ...
  --change-dir         -c         Change the current working directory to root
  --close-fds          -f         Set stdin, stdout, stderr to /dev/null
  --sighup             -H         Close and re-open output file on SIGHUP
  --syslog             -S         Send output to syslog
  --output-file        -o <file>  Append output of the child process to file
  --output-mask        -m <mask>  What to send to syslog/file
                                  1=stdout, 2=stderr, 3=both
  --child-pidfile      -p <file>  Write PID of the child process to file
  --supervisor-pidfile -P <file>  Write PID of the supervisor process to file
  --restart            -r         Restart child if it terminates (1 sec delay)
  --restart-delay      -R <N>     Restart child if it terminates after N sec
  --title              -t <title> Set the title of the supervisor process
  --user               -u <user>  Drop privileges, run as given user
  --syslog-priority    -s <prio>  Set syslog priority
  --syslog-facility    -l <flty>  Set syslog facility
  --syslog-tag         -T <tag>   Set syslog tag
  --help               -h         Show this help
"""
LONG = {
    "change-dir": "c", "close-fds": "f", "sighup": "H", "syslog": "S", "output-file=": "o", "output-mask=": "m",
    "child-pidfile=": "p", "supervisor-pidfile=": "P", "restart": "r", "restart-delay=": "R", "title=": "t",
    "user=": "u", "syslog-priority=": "s", "syslog-facility=": "l", "syslog-tag=": "T", "help": "h",
}  # fmt: skip
PRIORITIES = {
    "alert": 1, "crit": 2, "debug": 7, "emerg": 0, "err": 3, "error": 3, "info": 6, "notice": 5, "panic": 0,
    "warn": 4, "warning": 4,
}  # fmt: skip
FACILITIES = {
    "auth": 4, "authpriv": 10, "cron": 9, "daemon": 3, "ftp": 11, "kern": 0, "lpr": 6, "mail": 2, "news": 7,
    "security": 4, "syslog": 5, "user": 1, "uucp": 8, **{f"local{number}": 16 + number for number in range(8)},
}  # fmt: skip
SUPERVISING = set("lopPrsST")


@dataclass
class Options:
    """What the command line asked for."""

    flags: set[str] = field(default_factory=set)
    values: dict[str, str] = field(default_factory=dict)
    mask: int = 3
    delay: int = 1
    priority: int = PRIORITIES["notice"]
    facility: int = FACILITIES["daemon"]
    command: list[str] = field(default_factory=list)


def fail(status: int, text: str) -> None:
    """Print a line and end."""
    sys.stderr.write(f"daemon: {text}\n")
    sys.exit(status)


def leading_number(text: str, base: int) -> int | None:
    """Return the number that a text begins with, as strtol(3) does."""
    found = re.match(r"\s*[-+]?(0[xX][0-9a-fA-F]+|\d+)", text)
    if found is None:
        return None
    digits = found[0].strip()
    return int(digits, 16 if base == 0 and "x" in digits.lower() else 10)


def parse(arguments: list[str]) -> Options:
    """Read the command line; a bad one ends the program."""
    options = Options()
    try:
        found, options.command = getopt.getopt(arguments, "cfHSp:P:ru:o:s:l:t:m:R:T:h", list(LONG))
    except getopt.GetoptError as error:
        text = "option requires an argument" if "requires argument" in error.msg else "illegal option"
        sys.stderr.write(f"daemon: {text} -- {error.opt}\n{USAGE}")
        sys.exit(1)
    for name, value in found:
        letter = LONG.get(f"{name[2:]}=", LONG.get(name[2:], "")) if name.startswith("--") else name[1]
        options.flags.add(letter)
        options.values[letter] = value
        if letter == "h":
            sys.stderr.write(USAGE)
            sys.exit(0)
        if letter == "l":
            if value not in FACILITIES:
                fail(5, "unrecognized syslog facility")
            options.facility = FACILITIES[value]
        elif letter == "s":
            if value not in PRIORITIES:
                fail(4, "unrecognized syslog priority")
            options.priority = PRIORITIES[value]
        elif letter == "m":
            mask = leading_number(value, 10)
            if mask is None or not 0 <= mask <= 3:
                fail(6, "unrecognized listening mask")
            options.mask = mask or 0
        elif letter == "R":
            delay = leading_number(value, 0)
            if delay is None or delay < 1:
                fail(6, "invalid restart delay")
            options.delay = delay or 1
    if not options.command:
        sys.stderr.write(USAGE)
        sys.exit(1)
    return options


class PidFile:
    """A pidfile(3): locked as long as the daemon lives."""

    def __init__(self, path: str) -> None:
        self.path = os.path.abspath(path)
        try:
            self.descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            fail(2, f"pidfile ``{path}'': {error.strerror}")
        try:
            fcntl.flock(self.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            with open(path) as file:
                pid = file.read().strip() or "0"
            fail(3, f"process already running, pid: {pid}")
        os.ftruncate(self.descriptor, 0)
        os.set_inheritable(self.descriptor, False)

    def write(self, pid: int) -> None:
        """Write a pid."""
        os.ftruncate(self.descriptor, 0)
        os.pwrite(self.descriptor, str(pid).encode(), 0)

    def remove(self) -> None:
        """Remove the file."""
        with contextlib.suppress(OSError):
            os.unlink(self.path)
        os.close(self.descriptor)


class Supervisor:
    """The process that watches over the child."""

    def __init__(self, options: Options, child_file: PidFile | None, own_file: PidFile | None) -> None:
        self.options = options
        self.child_file = child_file
        self.own_file = own_file
        self.output: int | None = None
        self.terminating = False
        self.reopening = False
        self.child = 0
        self.to_syslog = bool(options.flags & set("STls"))

    def open_output(self) -> None:
        """Open the output file; ends the program when that fails."""
        path = self.options.values.get("o")
        if path is None:
            return
        try:
            self.output = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC, 0o600)
        except OSError as error:
            fail(7, f"open: {error.strerror}")
        self.options.values["o"] = os.path.abspath(path)

    def _reopen(self) -> None:
        self.reopening = False
        if self.output is not None:
            os.close(self.output)
            self.output = None
        with contextlib.suppress(OSError):
            path = self.options.values["o"]
            self.output = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC, 0o600)

    def _on_term(self, *_: object) -> None:
        self.terminating = True
        if self.child > 0:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.child, signal.SIGTERM)

    def _on_hup(self, *_: object) -> None:
        self.reopening = True

    def run(self) -> None:
        """Start the child, again and again if asked, until it ends or SIGTERM comes."""
        wake_read, wake_write = os.pipe()
        os.set_blocking(wake_write, False)
        signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
        signal.signal(signal.SIGTERM, self._on_term)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        if "H" in self.options.flags and self.output is not None:
            signal.signal(signal.SIGHUP, self._on_hup)
        if self.to_syslog:
            tag = self.options.values.get("T", "daemon")
            syslog.openlog(tag, syslog.LOG_PID | syslog.LOG_NDELAY, self.options.facility << 3)
        restarting = bool(self.options.flags & set("rR"))
        while True:
            self._run_once(wake_read)
            if self.terminating or not restarting:
                break
            end = time.monotonic() + self.options.delay
            while not self.terminating and time.monotonic() < end:
                time.sleep(max(0.0, min(0.2, end - time.monotonic())))
            if self.terminating:
                break
        for file in (self.child_file, self.own_file):
            if file is not None:
                file.remove()
        sys.exit(1)

    def _run_once(self, wake: int) -> None:
        read, write = os.pipe()
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        self.child = os.fork()
        if self.child == 0:
            signal.set_wakeup_fd(-1)
            for number in (signal.SIGTERM, signal.SIGCHLD, signal.SIGHUP):
                signal.signal(number, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
            if self.options.mask & 2:
                os.dup2(write, 2)
            if self.options.mask & 1:
                os.dup2(write, 1)
            execute(self.options, self.child_file)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
        os.close(write)
        title = self.options.values.get("t", self.options.command[0])
        set_title(f"daemon: {title}[{self.child}]")
        try:
            self._listen(read, wake)
        finally:
            os.close(read)

    def _listen(self, read: int, wake: int) -> None:
        """Pass output on until the child has ended and closed it, or SIGTERM came."""
        selector = selectors.DefaultSelector()
        selector.register(wake, selectors.EVENT_READ)
        selector.register(read, selectors.EVENT_READ)
        open_, gone = True, False
        with selector:
            while not self.terminating and (open_ or not gone):
                for key, _ in selector.select():
                    data = os.read(key.fd, 4096)
                    if key.fd == read and data:
                        self._pass_on(data)
                    elif key.fd == read:
                        selector.unregister(read)
                        open_ = False
                if self.reopening:
                    self._reopen()
                if not gone:
                    with contextlib.suppress(ChildProcessError):
                        gone = os.waitpid(self.child, os.WNOHANG)[0] == self.child
                    if gone:
                        self.child = 0

    def _pass_on(self, data: bytes) -> None:
        if self.to_syslog:
            for line in data.decode(errors="replace").splitlines():
                syslog.syslog(self.options.priority, line)
        if self.output is not None:
            os.write(self.output, data)
        if not self.to_syslog and self.output is None and "f" not in self.options.flags:
            os.write(1, data)


def execute(options: Options, child_file: PidFile | None) -> None:
    """Become the command."""
    if child_file is not None:
        child_file.write(os.getpid())
    user = options.values.get("u")
    if user is not None:
        try:
            entry = pwd.getpwnam(user)
        except KeyError:
            fail(1, f"unknown user: {user}")
        try:
            os.initgroups(entry.pw_name, entry.pw_gid)
            os.setgid(entry.pw_gid)
            os.setuid(entry.pw_uid)
        except OSError:
            fail(1, "failed to set user environment")
        os.environ.update(USER=entry.pw_name, HOME=entry.pw_dir, SHELL=entry.pw_shell or "/bin/sh")
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        os.execvp(options.command[0], options.command)
    except OSError as error:
        sys.stderr.write(f"daemon: {options.command[0]}: {error.strerror}\n")
    os._exit(1)


def detach(options: Options) -> None:
    """daemon(3): go on in a child, in a session of its own."""
    if os.fork() != 0:
        os._exit(0)
    os.setsid()
    if "c" in options.flags:
        os.chdir("/")
    if "f" in options.flags:
        null = os.open("/dev/null", os.O_RDWR)
        for descriptor in range(3):
            os.dup2(null, descriptor)


def main() -> None:
    """Run the command line."""
    set_name("daemon")
    options = parse(sys.argv[1:])
    supervisor = Supervisor(options, None, None)
    supervisor.open_output()
    if "p" in options.values:
        supervisor.child_file = PidFile(options.values["p"])
    if "P" in options.values:
        supervisor.own_file = PidFile(options.values["P"])
    detach(options)
    if supervisor.own_file is not None:
        supervisor.own_file.write(os.getpid())
    if options.flags & SUPERVISING:
        supervisor.run()
    execute(options, None)


if __name__ == "__main__":
    main()
