"""Simulated hosts as seen from Linux: start, stop, and run commands inside."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from freebsd_sim import linux, protocol, root
from freebsd_sim.kernel import Release

DEFAULT_STATE = Path("/var/lib/freebsd-sim")
DEFAULT_NAME = "freebsd"
RELEASES = ("14.3", "14.4", "15.0", "15.1")
DEFAULT_RELEASE = "15.0"
NAME = re.compile(r"[a-z][a-z0-9-]{0,30}")
START_LIMIT = 60.0
STOP_LIMIT = 20.0

# What the simulated kernel itself runs with, on the Linux side.
KERNEL_ENVIRONMENT = {
    "PYTHONPATH": str(root.PACKAGE.parent),
    "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
    "LC_ALL": "C.UTF-8",
}
PATH = "/sbin:/bin:/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin:/root/bin"


class HostError(Exception):
    """What the user asked for cannot be done; the text is one line that says why and what to do."""


@dataclass(frozen=True)
class Host:
    """One simulated host, by its name, below a state directory."""

    name: str
    state: Path = DEFAULT_STATE

    def __post_init__(self) -> None:
        if not NAME.fullmatch(self.name):
            raise HostError(f"{self.name!r} is no name for a host: lower case letters, digits and hyphens, at most 31")

    @property
    def directory(self) -> Path:
        """Everything of this host."""
        return self.state / "hosts" / self.name

    @property
    def root(self) -> Path:
        """The host's root directory (what is mounted over it can be seen inside only)."""
        return self.directory / "root"

    @property
    def log(self) -> Path:
        """What the simulated kernel has to say."""
        return self.directory / "kernel.log"

    @property
    def linuxisms(self) -> Path:
        """The record of calls that only Linux has."""
        return self.root / ".sim/linuxisms"

    def exists(self) -> bool:
        """Tell whether the host was made, running or not."""
        return (self.directory / "settings.json").exists()

    def settings(self) -> dict[str, object]:
        """Return what the host was made with."""
        try:
            text = (self.directory / "settings.json").read_text()
        except FileNotFoundError:
            raise HostError(f"there is no simulated host {self.name}: freebsd-sim start --name {self.name}") from None
        settings: dict[str, object] = json.loads(text)
        return settings

    def pid(self) -> int | None:
        """Return the number of the host's process 1 as Linux counts, or None when it does not run."""
        try:
            pid = int((self.directory / "pid").read_text())
            line = Path(f"/proc/{pid}/cmdline").read_bytes()
        except (FileNotFoundError, ValueError, ProcessLookupError):
            return None
        return pid if b"freebsd_sim.init" in line and str(self.directory).encode() in line else None

    @contextlib.contextmanager
    def _only_one(self) -> Iterator[None]:
        self.state.mkdir(parents=True, exist_ok=True)
        (self.state / "hosts").mkdir(exist_ok=True)
        with open(self.state / f"{self.name}.lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def start(
        self, release: str | None, shares: Sequence[str], native: Path, libvirt: Path | None, *, bare: bool = False
    ) -> bool:
        """Start the host, making it first if need be; returns False when it runs already.

        :param release: the FreeBSD release to be; None for what it was, or the default
        :param bare: a new host has no packages but Python
        :raises HostError: it did not start
        """
        with self._only_one():
            if self.pid() is not None:
                return False
            old = self.settings() if self.exists() else {}
            settings = {
                "name": self.name,
                "release": release or old.get("release") or DEFAULT_RELEASE,
                "root": str(self.root),
                "state": str(self.directory),
                "shares": list(shares) or old.get("shares") or [],
                "bare": bool(old.get("bare")) if old else bare,
                "libvirt": str(libvirt) if libvirt else None,
            }
            self.directory.mkdir(exist_ok=True)
            self.directory.chmod(0o755)
            number = str(settings["release"])
            root.populate(self.root, self.name, Release(number), native, libvirt, bare=bool(settings["bare"]))
            root.clear_run(self.root)
            (self.directory / "settings.json").write_text(json.dumps(settings) + "\n")
            self._launch(settings)
            return True

    def _launch(self, settings: Mapping[str, object]) -> None:
        reading, writing = os.pipe()
        with open(self.log, "ab") as log:
            subprocess.run(
                [sys.executable, "-m", "freebsd_sim.init", json.dumps(settings), str(writing)],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, pass_fds=[writing], check=False,
                env=KERNEL_ENVIRONMENT,
                timeout=START_LIMIT,
            )  # fmt: skip
        os.close(writing)
        with open(reading, "rb") as pipe:
            answer = pipe.read().decode(errors="replace")
        if answer != "ok":
            raise HostError(f"{self.name} did not start: {answer or 'it ended without a word'}; more in {self.log}")

    def start_services(self) -> None:
        """Run rc(8)'s local scripts, as the last part of a boot; what they print goes to the host's log."""
        with self.log.open("ab") as log:
            child = os.fork()
            if child == 0:
                for descriptor in (1, 2):
                    os.dup2(log.fileno(), descriptor)
                os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
                os._exit(self.run(["/bin/sh", "/etc/rc", "autoboot"]))
            os.waitpid(child, 0)

    def stop(self) -> bool:
        """End every process of the host; returns False when it was not running."""
        with self._only_one():
            pid = self.pid()
            if pid is None:
                return False
            os.kill(pid, signal.SIGKILL)
            deadline = time.monotonic() + STOP_LIMIT
            while self.pid() is not None:
                if time.monotonic() > deadline:
                    raise HostError(f"process {pid} of {self.name} does not end")
                time.sleep(0.02)
            (self.directory / "pid").unlink(missing_ok=True)
            return True

    def remove(self) -> None:
        """Stop the host and delete everything of it."""
        self.stop()
        with self._only_one():
            shutil.rmtree(self.directory, ignore_errors=True)
            (self.state / f"{self.name}.lock").unlink(missing_ok=True)

    def call(self, name: str, **arguments: object) -> tuple[object, list[int]]:
        """Make a system call of the simulated kernel from outside.

        :raises HostError: the host does not run
        :raises OSError: the kernel refused
        """
        if self.pid() is None:
            self.settings()
            raise HostError(f"{self.name} is not running: freebsd-sim start --name {self.name}")
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as stream:
            # A path below /proc/self/fd is short enough for any state directory.
            directory = os.open(self.root / ".sim", os.O_PATH)
            try:
                stream.connect(f"/proc/self/fd/{directory}/kernel.sock")
            finally:
                os.close(directory)
            return protocol.system_call(stream, name, **arguments)

    def run(
        self, argv: Sequence[str], *, jail: str | None = None, user: str | None = None, cwd: str = "/",
        environ: Mapping[str, str] | None = None,
    ) -> int:  # fmt: skip
        """Run a command inside with this process's standard descriptors and return its exit status.

        A status above 128 means that it was ended by the signal of that number less 128.
        """
        _, namespaces = self.call("enter")
        environment = {"PATH": PATH, "HOME": "/root", "USER": "root", "SHELL": "/bin/sh", "LANG": "C.UTF-8"}
        if "TERM" in os.environ:
            environment["TERM"] = os.environ["TERM"]
        environment.update(environ or {})
        if jail is not None:
            argv = ["/usr/sbin/jexec", *(["-u", user] if user else []), jail, *argv]
        elif user is not None:
            argv = ["/usr/bin/su", "-m", user, "-c", 'exec "$0" "$@"', *argv]
        child = os.fork()
        if child == 0:
            _become(namespaces, argv, cwd, environment)
        for descriptor in namespaces:
            os.close(descriptor)
        return _await(child)

    def run_outside(self, argv: Sequence[str], *, jail: str | None = None) -> int:
        """Run a program of Linux in the network of the host or of a jail, and return its exit status as ``run`` does.

        It has Linux's file system and this process's environment, working
        directory and descriptors, does not show in the host's process table,
        and ends with the host: it stands for a machine behind an interface.
        """
        try:
            _, namespaces = self.call("enter", jail=jail)
        except OSError as error:
            raise HostError(str(error.strerror)) from None
        child = os.fork()
        if child == 0:
            _become_outside(namespaces, argv)
        for descriptor in namespaces:
            os.close(descriptor)
        return _await(child)


def _await(child: int) -> int:
    """Wait for a child, pass signals on to it, and return the exit status that tells how it ended."""
    for number in (signal.SIGINT, signal.SIGQUIT):
        signal.signal(number, signal.SIG_IGN)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda got, _: os.kill(child, got))
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


def _become(namespaces: Sequence[int], argv: Sequence[str], cwd: str, environment: Mapping[str, str]) -> None:
    """Enter the namespaces and execute the command, in the child of a fork; never returns."""
    try:
        mounts, *others, top = namespaces
        for descriptor in others:
            linux.setns(descriptor)
        linux.setns(mounts, linux.CLONE_NEWNS)
        os.fchdir(top)
        os.chroot(".")
        for descriptor in namespaces:
            os.close(descriptor)
        # Only a child is in the process namespace; this one passes on how it ended.
        child = os.fork()
        if child:
            os._exit(_await(child))
        os.chdir(cwd)
        os.execvpe(argv[0], list(argv), dict(environment))
    except OSError as error:
        _refuse(argv, error)


def _become_outside(namespaces: Sequence[int], argv: Sequence[str]) -> None:
    """Enter the process and network namespaces alone and execute a program of Linux; never returns."""
    try:
        _, processes, network, *_ = namespaces
        linux.setns(processes, linux.CLONE_NEWPID)
        linux.setns(network, linux.CLONE_NEWNET)
        for descriptor in namespaces:
            os.close(descriptor)
        child = os.fork()
        if child:
            os._exit(_await(child))
        linux.unshare(linux.CLONE_NEWNS)
        linux.mount("none", "/", flags=linux.MS_REC | linux.MS_SLAVE)
        linux.mount("proc", "/proc", "proc")
        linux.mount("sysfs", "/sys", "sysfs")
        os.execvp(argv[0], list(argv))
    except OSError as error:
        _refuse(argv, error)


def _refuse(argv: Sequence[str], error: OSError) -> None:
    print(f"freebsd-sim: {error.filename or argv[0]}: {error.strerror}", file=sys.stderr)
    os._exit(127 if isinstance(error, FileNotFoundError) else 126)


def all_hosts(state: Path) -> list[Host]:
    """Return every host below a state directory, by name."""
    directory = state / "hosts"
    names = sorted(item.name for item in directory.iterdir()) if directory.is_dir() else []
    return [host for host in (Host(name, state) for name in names if NAME.fullmatch(name)) if host.exists()]
