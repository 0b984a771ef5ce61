"""The runner of commands on the host: environment, input, users, time limits and what cannot be started."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import pytest

from beastack.freebsd import command, process
from conftest import eventually
from network_lab import NOBODY


def test_what_a_command_leaves() -> None:
    result = command.run(["sh", "-c", "echo out; echo err >&2; exit 3"], ok=(0, 3))
    assert result == command.Result(("sh", "-c", "echo out; echo err >&2; exit 3"), 3, "out\n", "err\n")
    with pytest.raises(command.CommandError, match=r"sh exited with status 4: last words") as failed:
        command.run(["sh", "-c", "echo first; echo last words >&2; exit 4"])
    assert (failed.value.status, failed.value.stdout, failed.value.stderr) == (4, "first\n", "last words\n")
    with pytest.raises(command.CommandError) as killed:
        command.run(["sh", "-c", "kill -9 $$"])
    assert killed.value.status == -9


def test_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("BT_SECRET", "x")
    monkeypatch.setenv("PATH", "/nonexistent")
    monkeypatch.setenv("LANG", "de_DE.UTF-8")
    lines = command.run(["env"], env={"BT_GIVEN": "y"}).stdout.splitlines()
    assert {"LC_ALL=C", "LANG=C", f"PATH={command.SEARCH_PATH}", "BT_GIVEN=y"} <= set(lines)
    assert "BT_SECRET=x" not in lines
    assert set(command.clean_environment({"BT_GIVEN": "y"})) == {line.partition("=")[0] for line in lines}
    assert command.run(["cat"], stdin="one\ntwo").stdout == "one\ntwo"
    assert command.run(["cat"]).stdout == ""
    assert command.run(["pwd"], cwd=tmp_path).stdout == f"{tmp_path}\n"


def test_programs() -> None:
    assert command.find_program("ifconfig") == "/sbin/ifconfig"
    assert command.find_program("btnowhere") is None
    with pytest.raises(command.CommandNotFound, match="the program btnowhere is not installed"):
        command.run(["btnowhere"])


def test_what_cannot_be_started(tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text("#!/bin/sh\n")
    with pytest.raises(command.CommandError, match="cannot be started: Permission denied") as refused:
        command.run([str(script)])
    assert refused.value.status is None
    with pytest.raises(command.CommandError, match="there is no directory"):
        command.run(["true"], cwd=tmp_path / "nowhere")


def test_another_user() -> None:
    words = command.run(["sh", "-c", "id -u; id -g; id -G"], user=NOBODY, group=NOBODY).stdout.split()
    assert words == [str(NOBODY)] * 3


def test_the_time_limit(tmp_path: Path) -> None:
    pidfile = tmp_path / "pid"
    begin = time.monotonic()
    with pytest.raises(command.CommandTimeout, match=r"still running after 0\.5 s"):
        command.run(["sh", "-c", f"sleep 600 & echo $! > {pidfile}; wait"], timeout=0.5)
    assert time.monotonic() - begin < 5
    # What the command had started went with it.
    pid = int(pidfile.read_text())
    eventually(lambda: not process.exists(pid), "the command's child has ended", 5)


def test_descriptors_that_commands_hold() -> None:
    reader, writer = os.pipe()
    write = [sys.executable, "-c", f"import os; os.write({writer}, b'held')"]
    command.hold_in_commands(writer)
    try:
        command.run(write)
        assert os.read(reader, 100) == b"held"
        command.release_in_commands(writer)
        assert "Bad file descriptor" in command.run(write, ok=(1,)).stderr
    finally:
        os.close(reader)
        os.close(writer)
