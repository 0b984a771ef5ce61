"""How processes are told: names, arguments, times, signals."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from freebsd_sim.commands.pgrep import find_signal, translate_pattern
from freebsd_sim.commands.ps_columns import (
    View,
    format_command,
    format_cpu_time,
    format_elapsed,
    format_state,
)
from freebsd_sim.kernel.accounts import Accounts
from freebsd_sim.kernel.processes import Process, name_program, read_process

PROGRAMS = Path(__file__).resolve().parents[1] / "src/freebsd_sim/programs"


def make_process(comm: str, argv: list[str], state: str = "S", **more: int) -> Process:
    process = read_process(os.getpid(), 0, 0.0)
    process.comm, process.argv, process.state, process.foreground = comm, argv, state, False
    for name, value in more.items():
        setattr(process, name, value)
    return process


@pytest.fixture
def view(tmp_path: Path) -> View:
    return View(Accounts(tmp_path), {}, 1 << 30, 0.0, False)


@pytest.mark.parametrize(
    ("comm", "argv", "name"),
    [
        ("sh", ["/bin/sh", "-c", "true"], "sh"),
        ("neutron-dhcp-ag", ["/usr/local/bin/python3.11", "/usr/local/bin/neutron-dhcp-agent"], "python3.11"),
        ("a-very-long-nam", ["/x/a-very-long-name-of-mine"], "a-very-long-name-of"),
        ("bhyve", ["bhyve: guest"], "bhyve"),
    ],
)
def test_a_script_has_its_interpreters_name(comm: str, argv: list[str], name: str) -> None:
    assert name_program(comm, argv) == name


def test_a_title_is_followed_by_the_name(view: View) -> None:
    assert format_command(make_process("bhyve", ["bhyve: guest"]), view) == "bhyve: guest (bhyve)"
    assert format_command(make_process("sh", ["-sh"]), view) == "-sh (sh)"
    assert format_command(make_process("sleep", ["/bin/sleep", "5"]), view) == "/bin/sleep 5"
    assert format_command(make_process("zfskern", []), view) == "[zfskern]"
    assert format_command(make_process("sh", [], "Z"), view) == "<defunct>"


def test_states(view: View) -> None:
    process = make_process("sh", ["sh"], sid=os.getpid(), jid=3, nice=5)
    assert format_state(process, view) == "SNsJ"


def test_times() -> None:
    assert format_cpu_time(0.024) == "0:00.02"
    assert format_cpu_time(3725.5) == "62:05.50"
    assert format_elapsed(59) == "00:59"
    assert format_elapsed(3600) == "01:00:00"
    assert format_elapsed(90061) == "1-01:01:01"


def test_signals_have_freebsds_numbers() -> None:
    assert find_signal("TERM") == (15, 15)
    assert find_signal("SIGUSR1") == (30, 10)
    assert find_signal("30") == (30, 10)
    assert find_signal("9") == (9, 9)
    assert find_signal("x") is None


def test_classes_in_patterns() -> None:
    assert translate_pattern("a[[:digit:]]+") == "a[0-9]+"


def run_program(name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-I", "-S", str(PROGRAMS / f"{name}.py"), *arguments],
        capture_output=True, text=True, timeout=20,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "status", "text"),
    [
        (("-m", "9", "true"), 6, "daemon: unrecognized listening mask\n"),
        (("-R", "0", "true"), 6, "daemon: invalid restart delay\n"),
        (("-s", "x", "true"), 4, "daemon: unrecognized syslog priority\n"),
        (("-l", "x", "true"), 5, "daemon: unrecognized syslog facility\n"),
        (("-o", "/nonexistent/x", "true"), 7, "daemon: open: No such file or directory\n"),
    ],
)
def test_daemon_refuses(arguments: tuple[str, ...], status: int, text: str) -> None:
    done = run_program("daemon", *arguments)
    assert (done.returncode, done.stderr) == (status, text)


def test_lockf_runs_and_removes_the_lock(tmp_path: Path) -> None:
    done = run_program("lockf", str(tmp_path / "lock"), "sh", "-c", "exit 7")
    assert done.returncode == 7
    assert not (tmp_path / "lock").exists()
