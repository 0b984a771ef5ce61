"""Processes: the table, titles, children, signals and ends, against what ps(1) prints."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from beastack.freebsd import errors, jail, process, sysctl
from beastack.freebsd.command import run
from conftest import eventually
from network_lab import NOBODY, Lab
from slow_jail import dying_jail

Start = Callable[..., "subprocess.Popen[bytes]"]


@pytest.fixture
def start() -> Iterator[Start]:
    """Start programs that are killed after the test."""
    started: list[subprocess.Popen[bytes]] = []

    def begin(*argv: str, program: str | None = None) -> subprocess.Popen[bytes]:
        child = subprocess.Popen(argv, executable=program, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
        started.append(child)
        # Until the child has become its program it shows the command line of this one.
        eventually(lambda: process.read_arguments(child.pid)[-1:] == argv[-1:], "the program runs")
        return child

    yield begin
    for child in started:
        table = process.list_processes()
        for each in (*process.descendants(child.pid, table), None):
            with contextlib.suppress(ProcessLookupError):
                os.kill(child.pid if each is None else each.pid, signal.SIGKILL)
        child.communicate()


def start_orphan(script: str) -> int:
    """Start a program in the background that belongs to init(8), and return its number."""
    return int(run(["sh", "-c", f"( {script} ) >/dev/null 2>&1 </dev/null & echo $!"]).stdout)


def gone_pid() -> int:
    """Return the number of a process that has just ended."""
    child = subprocess.Popen(["true"])
    child.wait()
    return child.pid


@contextlib.contextmanager
def as_somebody_else() -> Iterator[None]:
    """Act for another user: a signal is allowed by the real user, too."""
    os.setresgid(NOBODY, NOBODY, 0)
    os.setresuid(NOBODY, NOBODY, 0)
    try:
        yield
    finally:
        os.setresuid(0, 0, 0)
        os.setresgid(0, 0, 0)


def print_columns(pid: int, columns: str) -> list[str]:
    """Return what ps(1) prints about a process, column by column."""
    words = [word for column in columns.split() for word in ("-o", f"{column}=")]
    return run(["ps", "-ww", *words, "-p", str(pid)]).stdout.split()


def test_the_table(start: Start) -> None:
    child = start("/bin/sleep", "600")
    table = {each.pid: each for each in process.list_processes()}
    assert {1, os.getpid(), child.pid} <= set(table)
    assert (table[1].ppid, table[1].uid, table[1].jid) == (0, 0, 0)
    found = table[child.pid]
    assert (found.ppid, found.jid, found.uid) == (os.getpid(), 0, 0)
    assert print_columns(child.pid, "ppid jid uid") == [str(os.getpid()), "0", "0"]
    assert found.arguments == found.title == "/bin/sleep 600"
    assert not found.is_zombie
    assert 0 < found.rss <= found.vsz
    rss, vsz = (int(word) * 1024 for word in print_columns(child.pid, "rss vsz"))
    assert found.vsz == vsz and rss / 2 <= found.rss <= rss * 2  # pages come and go
    shown = {int(word) for word in run(["ps", "-axww", "-o", "pid="]).stdout.split()}
    assert {1, os.getpid(), child.pid} <= shown
    printed = run(["ps", "-ww", "-o", "pid,ppid,jid,uid,state,rss,vsz,time,args", "-p", str(child.pid)]).stdout
    (parsed,) = process.parse_table(printed)
    assert (parsed.pid, parsed.ppid, parsed.arguments) == (found.pid, found.ppid, found.arguments)
    again = process.read_process(child.pid)
    assert again is not None and (again.pid, again.arguments) == (child.pid, found.arguments)


def test_processor_time() -> None:
    begin = time.process_time()
    while time.process_time() - begin < 0.3:
        sum(range(1000))
    found = process.read_process(os.getpid())
    assert found is not None
    used = sum(os.times()[:2])
    assert abs(found.cpu_time - used) < 0.5 and found.cpu_time >= 0.25
    (text,) = print_columns(os.getpid(), "time")
    assert 0 <= process.parse_time(text) - found.cpu_time < 1


def test_processes_that_are_not_there() -> None:
    pid = gone_pid()
    assert process.read_process(pid) is None
    assert not process.exists(pid)
    with pytest.raises(errors.ProcessNotFound):
        process.read_arguments(pid)
    with pytest.raises(errors.ProcessNotFound):
        process.send_signal(pid, signal.SIGTERM)
    process.wait_gone(pid, 0)
    process.stop(pid, 0)
    for wrong in (0, -1):
        for look in (process.read_process, process.read_arguments, process.exists):
            with pytest.raises(ValueError, match="no process number"):
                look(wrong)
        with pytest.raises(ValueError, match="no process number"):
            process.send_signal(wrong, signal.SIGTERM)


def test_titles(start: Start) -> None:
    child = start("btguest: one", "600", program="/bin/sleep")
    found = process.read_process(child.pid)
    assert found is not None
    assert found.arguments == "btguest: one 600 (sleep)"
    assert found.title == "btguest: one 600"
    assert [each.pid for each in process.find_by_title("btguest: one 600")] == [child.pid]
    table = process.list_processes()
    assert [each.pid for each in process.find_by_title("btguest: one 600", table)] == [child.pid]
    assert [each.pid for each in process.find_by_title("btguest: one 600 (sleep)", table)] == [child.pid]
    assert process.find_by_title("btguest: one", table) == ()
    assert run(["pgrep", "-fx", "btguest: one 600"]).stdout == f"{child.pid}\n"


def test_a_title_that_a_program_gave_itself(tmp_path: Path) -> None:
    pidfile = tmp_path / "pid"
    run(["daemon", "-f", "-P", str(pidfile), "-t", "btwatch", "/bin/sleep", "600"])
    supervisor = int(eventually(lambda: pidfile.exists() and pidfile.read_text().strip(), "a pid"))
    try:
        (child,) = eventually(lambda: process.children(supervisor, process.list_processes()), "a child")
        title = f"daemon: btwatch[{child.pid}]"
        (found,) = eventually(lambda: process.find_by_title(title), "the title")
        assert found.pid == supervisor
        assert " ".join(process.read_arguments(supervisor)) == title
    finally:
        process.stop(supervisor, 10)
    assert not process.exists(child.pid)


def test_the_dead_that_nobody_waited_for(start: Start) -> None:
    child = start("btguest: dead", "600", program="/bin/sleep")
    child.kill()
    found = eventually(
        lambda: next((e for e in process.list_processes() if e.pid == child.pid and e.is_zombie), None), "an end"
    )
    assert found.state.startswith("Z") and print_columns(child.pid, "state")[0].startswith("Z")
    assert process.find_by_title(found.arguments) == ()
    assert process.exists(child.pid)
    with pytest.raises(TimeoutError):
        process.wait_gone(child.pid, 0.2)
    with pytest.raises(TimeoutError):
        process.stop(child.pid, 0.1, after_kill=0.1)
    child.wait()
    process.wait_gone(child.pid, 5)


def test_command_lines_word_by_word(start: Start) -> None:
    words = ("/bin/sh", "-c", "sleep 600; :", "a word", "", 'with "quotes"', "last")
    child = start(*words)
    assert process.read_arguments(child.pid) == words
    printed = run(["procstat", "--libxo", "json", "arguments", str(child.pid)]).stdout
    assert process.parse_arguments(printed, child.pid) == words
    assert process.parse_arguments(printed, 1) is None
    assert process.read_arguments(1)
    assert process.read_arguments(os.getpid())[-1] == sys.orig_argv[-1]


def test_children_and_theirs(start: Start) -> None:
    top = start("/bin/sh", "-c", "sh -c 'sleep 601 & sleep 602 & wait' & sleep 603 & wait", "top")
    found = eventually(lambda: len(d := process.descendants(top.pid, process.list_processes())) == 4 and d, "all run")
    table = process.list_processes()
    below = process.children(top.pid, table)
    assert {each.arguments for each in below} == {"sh -c sleep 601 & sleep 602 & wait", "sleep 603"}
    (middle,) = (each for each in below if each.arguments.startswith("sh"))
    assert {each.arguments for each in process.children(middle.pid, table)} == {"sleep 601", "sleep 602"}
    assert [each.ppid for each in found].count(middle.pid) == 2
    order = [each.pid for each in found]
    assert all(order.index(each.ppid) < order.index(each.pid) for each in found if each.ppid in order)
    assert top.pid in {each.pid for each in process.children(os.getpid(), table)}
    assert process.children(gone_pid(), table) == ()


def test_jailed_processes(lab: Lab) -> None:
    name = lab.add_jail()
    assert process.list_jailed(name) == ()
    lab.start(["/bin/sleep", "654"], name)
    (found,) = eventually(lambda: [e for e in process.list_jailed(name) if e.arguments == "/bin/sleep 654"], "a sleep")
    assert found.jid == jail.read_jail(name).jid
    assert {each.jid for each in process.list_jailed(name)} == {found.jid}
    assert found.pid in {each.pid for each in process.list_jailed(str(found.jid))}
    alone = process.read_process(found.pid)
    assert alone is not None and alone.jid == found.jid and process.is_same(found)
    assert [str(found.jid)] == print_columns(found.pid, "jid")
    assert process.find_by_title("/bin/sleep 654")[0].pid == found.pid
    inside = run(["jexec", name, "ps", "-axww", "-o", "pid="]).stdout.split()
    assert str(found.pid) in inside and str(os.getpid()) not in inside
    process.stop(found.pid, 10)


def test_jails_that_are_not_there(lab: Lab) -> None:
    for missing in ("btnowhere", "99999"):
        with pytest.raises(errors.JailNotFound):
            process.list_jailed(missing)
    with dying_jail(lab) as name, pytest.raises(errors.JailNotFound):
        process.list_jailed(name)


def test_signals(start: Start) -> None:
    child = start("/bin/sh", "-c", "trap 'echo caught; exit 7' USR1; echo ready; while :; do sleep 0.1; done", "x")
    assert child.stdout is not None and child.stdout.readline() == b"ready\n"
    assert process.exists(child.pid)
    process.send_signal(child.pid, signal.SIGUSR1)
    assert child.stdout.readline() == b"caught\n"
    assert child.wait(10) == 7
    assert not process.exists(child.pid)


def test_waiting_for_an_end() -> None:
    pid = start_orphan("exec sleep 0.5")
    with pytest.raises(TimeoutError, match=str(pid)):
        process.wait_gone(pid, 0.05)
    begin = time.monotonic()
    process.wait_gone(pid, 10)
    assert time.monotonic() - begin < 5
    assert process.read_process(pid) is None


def test_stopping() -> None:
    pid = start_orphan("exec sleep 600")
    begin = time.monotonic()
    process.stop(pid, 10)
    assert time.monotonic() - begin < 5
    assert not process.exists(pid)
    other = start_orphan("exec sleep 600")
    process.stop(other, 10, first=signal.SIGHUP)
    assert not process.exists(other)


def test_stopping_one_that_will_not() -> None:
    pid = start_orphan("trap '' TERM; exec sleep 600")
    eventually(lambda: process.read_arguments(pid) == ("sleep", "600"), "the program runs")
    begin = time.monotonic()
    process.stop(pid, 0.5)
    assert 0.5 <= time.monotonic() - begin < 5
    assert not process.exists(pid)


def test_processes_of_others(start: Start) -> None:
    child = start("/bin/sleep", "600")
    hidden = sysctl.read_integer("security.bsd.see_other_uids") == 0
    with as_somebody_else():
        assert process.exists(child.pid) is not hidden
        refusal = errors.ProcessNotFound if hidden else errors.PermissionDenied
        with pytest.raises(refusal):
            process.send_signal(child.pid, signal.SIGTERM)
        if not hidden:
            with pytest.raises(errors.PermissionDenied):
                process.stop(child.pid, 0.1)
    assert child.poll() is None


def test_numbers_are_used_again(start: Start) -> None:
    child = start("/bin/sleep", "600")
    found = process.read_process(child.pid)
    assert found is not None and process.is_same(found)
    assert not process.is_same(dataclasses.replace(found, arguments="bhyve: guest"))
    assert not process.is_same(dataclasses.replace(found, jid=12345))
    child.kill()
    child.wait()
    assert not process.is_same(found)
