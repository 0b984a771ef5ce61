"""The one runner: what a command gets, what its end is told as, and that none outlives its limit."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType

import pytest

import beastack
from beastack.freebsd.command import (
    SEARCH_PATH,
    CommandError,
    CommandNotFound,
    CommandTimeout,
    Result,
    clean_environment,
    find_program,
    run,
)
from beastack.site.wait import wait_until
from beastack.supervisor import process

SOURCE = Path(beastack.__file__).resolve().parent.parent

#: Starts a child of its own, says which, and goes on for longer than any test.
LINGER = "sleep 300 & echo $! > child.new; mv child.new child; wait"


def eventually(condition: Callable[[], bool], what: str) -> None:
    wait_until(lambda: (condition(), ""), what=what, timeout=30, interval=0.02)


def is_gone(pid: int) -> bool:
    return process.start_time(pid) is None


# What a command gets.


def test_a_result_is_what_the_command_left() -> None:
    argv = ["sh", "-c", "echo out; echo err >&2"]
    assert run(argv) == Result(tuple(argv), 0, "out\n", "err\n")


def test_arguments_are_never_shell_text() -> None:
    assert run(["printf", "%s|", "$HOME; echo no", "two words", ""]).stdout == "$HOME; echo no|two words||"


def test_the_environment_is_the_c_locale_and_a_fixed_path(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        monkeypatch.delenv(name)
    for name, value in {
        "LANG": "de_DE.UTF-8",
        "LC_ALL": "de_DE.UTF-8",
        "PATH": "/somewhere",
        "PYTHONPATH": "/else",
        "LD_PRELOAD": "",
        "HOME": "/home/of/someone",
        "https_proxy": "http://proxy.example:3128",
    }.items():
        monkeypatch.setenv(name, value)
    seen = dict(line.split("=", 1) for line in run(["env"], env={"ADDED": "1"}).stdout.splitlines())
    assert seen == {
        "LANG": "C",
        "LC_ALL": "C",
        "PATH": SEARCH_PATH,
        "HOME": "/home/of/someone",
        "https_proxy": "http://proxy.example:3128",
        "ADDED": "1",
    }


def test_what_is_added_wins() -> None:
    assert clean_environment({"LC_ALL": "C.UTF-8"})["LC_ALL"] == "C.UTF-8"


def test_programs_of_the_callers_own_path_are_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("uname", "only-here"):
        (tmp_path / name).write_text("#!/bin/sh\necho an impostor\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert run(["uname"]).stdout == os.uname().sysname + "\n"
    with pytest.raises(CommandNotFound):
        run(["only-here"])
    assert find_program("only-here") is None
    assert find_program("sh") in ("/bin/sh", "/usr/bin/sh")


def test_standard_input_is_empty_unless_given() -> None:
    assert run(["cat"]).stdout == ""
    assert run(["cat"], stdin="one\ntwo").stdout == "one\ntwo"


def test_more_input_and_output_than_a_pipe_holds_does_not_hang() -> None:
    text = "0123456789abcde\n" * 65536
    assert run(["cat"], stdin=text).stdout == text


def test_a_command_runs_where_it_is_told(tmp_path: Path) -> None:
    assert run(["pwd", "-P"], cwd=tmp_path).stdout == f"{tmp_path.resolve()}\n"


def test_output_that_is_not_text_is_not_an_error() -> None:
    assert run(["printf", r"a\377b"]).stdout == "a\N{REPLACEMENT CHARACTER}b"


def test_a_command_is_a_process_group_of_its_own() -> None:
    program = "import os; print(os.getpgrp() == os.getpid(), os.getpgrp())"
    own, group = run([sys.executable, "-c", program]).stdout.split()
    assert own == "True"
    assert int(group) != os.getpgrp()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can run commands as another user")
def test_another_user_has_no_groups_of_ours() -> None:
    result = run(["sh", "-c", "id -u; id -g; id -G"], user=65534, group=65534)
    assert result.stdout == "65534\n65534\n65534\n"


# How it ended.


@pytest.mark.parametrize(
    ("script", "summary"),
    [
        ("echo first >&2; echo ' last ' >&2; echo >&2; exit 3", "sh exited with status 3: last"),
        ("echo only on standard output; exit 1", "sh exited with status 1: only on standard output"),
        ("echo out; echo err >&2; exit 4", "sh exited with status 4: err"),
        ("exit 5", "sh exited with status 5"),
        ("kill -9 $$", "sh exited with status -9"),
    ],
)
def test_the_summary_is_one_line_with_the_last_words(script: str, summary: str) -> None:
    with pytest.raises(CommandError) as caught:
        run(["/bin/sh", "-c", script])
    assert str(caught.value) == summary


def test_an_error_carries_argv_status_and_output() -> None:
    argv = ["sh", "-c", "echo out; echo err >&2; exit 3"]
    with pytest.raises(CommandError) as caught:
        run(argv)
    error = caught.value
    assert type(error) is CommandError
    assert (error.argv, error.status, error.stdout, error.stderr) == (tuple(argv), 3, "out\n", "err\n")


def test_statuses_that_are_no_error() -> None:
    assert run(["sh", "-c", "exit 7"], ok=(0, 7)).status == 7
    with pytest.raises(CommandError):
        run(["true"], ok=(1,))


def test_a_program_that_is_not_installed() -> None:
    with pytest.raises(CommandNotFound) as caught:
        run(["no-such-program", "--really"])
    assert caught.value.argv == ("no-such-program", "--really")
    assert caught.value.status is None
    assert str(caught.value) == "the program no-such-program is not installed"


def test_a_missing_directory_is_not_a_missing_program(tmp_path: Path) -> None:
    with pytest.raises(CommandError) as caught:
        run(["true"], cwd=tmp_path / "nowhere")
    assert str(tmp_path / "nowhere") in str(caught.value)


@pytest.mark.parametrize(("text", "mode"), [("#!/bin/sh\n", 0o644), ("not a program", 0o755)])
def test_a_program_that_cannot_be_started_is_a_command_error(tmp_path: Path, text: str, mode: int) -> None:
    program = tmp_path / "program"
    program.write_text(text)
    program.chmod(mode)
    with pytest.raises(CommandError):
        run([str(program)])


def test_at_its_limit_a_command_goes_with_all_it_started(tmp_path: Path) -> None:
    with pytest.raises(CommandTimeout) as caught:
        run(["/bin/sh", "-c", LINGER], cwd=tmp_path, timeout=2)
    assert str(caught.value) == "sh was still running after 2 s"
    assert caught.value.argv == ("/bin/sh", "-c", LINGER)
    assert caught.value.status is None
    child = int((tmp_path / "child").read_text())
    eventually(lambda: is_gone(child), "the child to be gone")


def test_an_interrupted_wait_leaves_nothing_running(tmp_path: Path) -> None:
    def interrupt(number: int, frame: FrameType | None) -> None:
        if (tmp_path / "child").exists():
            signal.setitimer(signal.ITIMER_REAL, 0)
            raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, 0.05, 0.05)
    try:
        with pytest.raises(KeyboardInterrupt):
            run(["sh", "-c", LINGER], cwd=tmp_path, timeout=60)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    child = int((tmp_path / "child").read_text())
    eventually(lambda: is_gone(child), "the child to be gone")


# What it holds.

HOLDER = """
import fcntl, sys
from beastack.freebsd.command import hold_in_commands, run
stream = open("lock", "w")
fcntl.flock(stream, fcntl.LOCK_EX)
if sys.argv[1] == "hold":
    hold_in_commands(stream.fileno())
run(["sh", "-c", "echo $$ > command.new; mv command.new command; exec sleep 300"], timeout=300)
"""


@pytest.mark.parametrize("how", ["hold", "keep"])
def test_a_lock_held_in_commands_stays_until_they_end(tmp_path: Path, how: str) -> None:
    def is_free() -> bool:
        with (tmp_path / "lock").open("w") as stream:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
        return True

    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, how], cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(SOURCE)}
    )
    command = 0
    try:
        eventually((tmp_path / "command").exists, "the command to run")
        command = int((tmp_path / "command").read_text())
        assert not is_free()
        holder.kill()
        holder.wait()
        assert not is_gone(command)
        assert is_free() == (how == "keep")
        os.kill(command, signal.SIGKILL)
        eventually(is_free, "the lock to be free")
    finally:
        holder.kill()
        holder.wait()
        if command and not is_gone(command):
            os.kill(command, signal.SIGKILL)


def test_a_command_that_outlives_its_kill_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    def wait(self: subprocess.Popen[str], timeout: float | None = None) -> int:
        raise subprocess.TimeoutExpired("sleep", timeout or 0)

    monkeypatch.setattr(subprocess.Popen, "wait", wait)
    with pytest.raises(CommandTimeout, match="cannot be killed"):
        run(["sleep", "60"], timeout=0.2)
