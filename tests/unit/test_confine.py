"""What a privileged daemon gives up: what is asked of each kernel, and what this one then says."""

from __future__ import annotations

import ctypes
import json
import os
import resource
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from beastack.supervisor import confine

SOURCE = Path(__file__).resolve().parents[2] / "src"


class Library:
    """A C library that notes what is called."""

    def __init__(self, result: int = 0) -> None:
        self.result = result
        self.calls: list[tuple[object, ...]] = []

    def prctl(self, *arguments: int) -> int:
        self.calls.append(("prctl", *arguments))
        return self.result

    def procctl(self, idtype: int, number: ctypes.c_int64, command: int, data: object) -> int:
        value = ctypes.cast(data, ctypes.POINTER(ctypes.c_int)).contents.value  # type: ignore[arg-type]
        self.calls.append(("procctl", idtype, number.value, command, value))
        return self.result


def on(monkeypatch: pytest.MonkeyPatch, platform: str, result: int = 0) -> Library:
    library = Library(result)
    monkeypatch.setattr(confine, "sys", SimpleNamespace(platform=platform))
    monkeypatch.setattr(ctypes, "CDLL", lambda *_, **__: library)
    return library


def test_freebsd(monkeypatch: pytest.MonkeyPatch) -> None:
    library = on(monkeypatch, "freebsd15")
    confine.refuse_new_privileges()
    confine.refuse_tracing()
    assert library.calls == [("procctl", 0, 0, 19, 1), ("procctl", 0, 0, 7, 2)]


def test_linux(monkeypatch: pytest.MonkeyPatch) -> None:
    library = on(monkeypatch, "linux")
    confine.refuse_new_privileges()
    confine.refuse_tracing()
    assert library.calls == [("prctl", 38, 1, 0, 0, 0)]


@pytest.mark.parametrize("platform", ["linux", "freebsd15"])
def test_a_kernel_that_refuses_is_an_error(monkeypatch: pytest.MonkeyPatch, platform: str) -> None:
    on(monkeypatch, platform, -1)
    with pytest.raises(OSError, match="giving up"):
        confine.refuse_new_privileges()


def test_limits_are_only_lowered() -> None:
    code = (
        "import json, resource\n"
        "from beastack.supervisor import confine\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (100, 200))\n"
        "confine.limit_resources()\n"
        "confine.limit_resources()\n"
        "print(json.dumps([resource.getrlimit(which) for which in (resource.RLIMIT_NOFILE, resource.RLIMIT_CORE)]))\n"
    )
    env = {**os.environ, "PYTHONPATH": str(SOURCE)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=env)
    assert json.loads(done.stdout) == [[100, 200], [0, 0]]


def test_no_limit_is_larger_than_any() -> None:
    assert confine._lower(5, resource.RLIM_INFINITY) == confine._lower(resource.RLIM_INFINITY, 5) == 5
    assert confine._lower(7, 5) == 5
    assert confine._lower(resource.RLIM_INFINITY, resource.RLIM_INFINITY) == resource.RLIM_INFINITY
