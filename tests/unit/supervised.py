"""What the supervisor's tests have it run: small services that say what they see."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path
from types import FrameType
from typing import NoReturn

#: Who imported this module: in a forked service, its preloaded parent.
LOADED_BY = os.getpid()


def write(path: str, text: str) -> None:
    """Write a file that readers see whole or not at all."""
    Path(f"{path}.new").write_text(text)
    os.replace(f"{path}.new", path)


def append(path: str, text: str) -> None:
    """Add a line to a file that several processes write to."""
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(descriptor, f"{text}\n".encode())
    os.close(descriptor)


def pause() -> NoReturn:
    """Do nothing until a signal ends this process."""
    while True:
        signal.pause()


def await_gate() -> None:
    """Wait until a test makes the file that GATE names."""
    while not os.path.exists(os.environ["GATE"]):
        time.sleep(0.01)


def descriptors() -> list[int]:
    """Return the open descriptors of this process."""
    found = []
    for name in os.listdir("/dev/fd"):
        try:
            os.fstat(int(name))
        except OSError:
            continue  # the one that read the directory
        found.append(int(name))
    return sorted(found)


def tell() -> None:
    """Write what this process sees into the file that REPORT names."""
    mask = os.umask(0)
    os.umask(mask)
    report = {
        "pid": os.getpid(),
        "group": os.getpgid(0),
        "loaded_by": LOADED_BY,
        "argv": sys.argv,
        "env": dict(os.environ),
        "cwd": os.getcwd(),
        "umask": mask,
        "descriptors": descriptors(),
        "blocked": sorted(signal.pthread_sigmask(signal.SIG_BLOCK, ())),
        "ignored": sorted(n for n in signal.valid_signals() if signal.getsignal(n) is signal.SIG_IGN),
    }
    write(os.environ["REPORT"], json.dumps(report))


def serve() -> None:
    """Say what is to be seen, then run until told to end."""
    tell()
    pause()


def serve_deaf() -> None:
    """Run on when told to end."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    serve()


def serve_slow_to_end() -> None:
    """Note when the end is asked for, and end when the gate opens (at once without a gate)."""

    def end(number: int, frame: FrameType | None) -> None:
        append(os.environ["NOTES"], f"asked {sys.argv[0]}")
        if "GATE" in os.environ:
            await_gate()
        append(os.environ["NOTES"], f"ended {sys.argv[0]}")
        os._exit(0)

    signal.signal(signal.SIGTERM, end)
    serve()


def serve_with_workers() -> None:
    """Fork two workers, and a daemon that leaves the group; note the pids of all."""
    children = set()
    for number in range(3):
        pid = os.fork()
        children.add(str(pid))
        if pid == 0:
            if number == 2:
                os.setsid()
            # Deaf, as workers that finish their requests first.
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            append(os.environ["NOTES"], f"{'daemon' if number == 2 else 'worker'} {os.getpid()}")
            pause()
    notes = Path(os.environ["NOTES"])
    # There may be notes of an earlier run; who cleans up needs this one's.
    while not notes.exists() or not children <= set(notes.read_text().split()):
        time.sleep(0.01)
    serve()


def crash() -> None:
    """End at once, badly."""
    append(os.environ["NOTES"], "ran")
    sys.exit("no such luck")


def raise_error() -> None:
    """End with an exception nobody catches."""
    raise RuntimeError("it cannot be")


def work() -> None:
    """Note that the work has begun, and end well when the gate opens."""
    append(os.environ["NOTES"], "began")
    await_gate()


def serve_helper() -> None:
    """Be a privileged daemon: greet the asker, and report."""
    os.write(3, b"hello")
    serve()


if __name__ == "__main__":
    # As a program: the function's name is the last argument.
    globals()[sys.argv[-1]]()
