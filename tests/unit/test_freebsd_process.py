"""Processes: the table, command lines, signals, and waiting for an end."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator

import pytest

from beastack.freebsd import process
from beastack.freebsd.command import CommandError
from beastack.freebsd.errors import JailNotFound, PermissionDenied, ProcessNotFound
from beastack.freebsd.process import Process
from recorded_commands import Clock, Commands, golden, play

COLUMNS = "pid,ppid,jid,uid,state,rss,vsz,time,args"
GUEST = Process(1500, 1, 0, 0, "SC", 2097152 * 1024, 2200000 * 1024, 754.05, "bhyve: instance-0000002a (bhyve)")


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch) -> Iterator[Commands]:
    yield from play(monkeypatch)


class Kernel:
    """Plays kill(2): which processes are there, and which signals they take."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.signals: list[tuple[int, int]] = []
        self.alive = True
        self.error: type[OSError] | None = None
        self.ends_on = {int(signal.SIGKILL)}
        monkeypatch.setattr(os, "kill", self.kill)

    def kill(self, pid: int, number: int) -> None:
        if number:
            self.signals.append((pid, number))
        if self.error is not None:
            raise self.error(1, "Operation not permitted")
        if not self.alive:
            raise ProcessLookupError(3, "No such process")
        if number in self.ends_on:
            self.alive = False


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> Kernel:
    return Kernel(monkeypatch)


# The table.


def test_the_table_of_a_14_host(commands: Commands) -> None:
    commands.expect(f"ps -axww -o {COLUMNS}", golden("process/ps-14.4.txt"))
    table = process.list_processes()
    assert [one.pid for one in table] == [0, 1, 812, 901, 950, 1500, 1501]
    assert table[0] == Process(0, 0, 0, 0, "DLs", 1584 * 1024, 0, 62.5, "[kernel]")
    agent = "/usr/local/bin/python3.11 /usr/local/bin/neutron-dhcp-agent"
    agent += " --config-file /usr/local/etc/neutron/dhcp agent.ini"
    assert table[2] == Process(812, 1, 0, 0, "Ss", 28528 * 1024, 45000 * 1024, 1234 * 60 + 5.67, agent)
    assert table[5] == GUEST
    assert table[4].is_zombie and not table[5].is_zombie


def test_the_table_of_a_15_host(commands: Commands) -> None:
    commands.expect(f"ps -axww -o {COLUMNS}", golden("process/ps-15.1.txt"))
    table = process.list_processes()
    assert [(one.pid, one.ppid, one.jid, one.uid) for one in table] == [
        (1, 0, 0, 0),
        (700, 1, 0, 0),
        (701, 700, 0, 196),
        (702, 701, 3, 0),
    ]
    assert table[1].title == "daemon: nova-compute[701]"
    assert table[2].title == table[2].arguments == "nova-compute"


def test_children_and_their_children() -> None:
    table = process.parse_table(golden("process/ps-14.4.txt"))
    assert [one.pid for one in process.children(812, table)] == [901, 950]
    assert [one.pid for one in process.children(0, table)] == [1]
    assert [one.pid for one in process.descendants(1, table)] == [812, 1500, 901, 950, 1501]
    assert process.descendants(1501, table) == ()


def test_a_guest_is_found_by_its_exact_title(commands: Commands) -> None:
    table = process.parse_table(golden("process/ps-14.4.txt"))
    assert process.find_by_title("bhyve: instance-0000002a", table) == (GUEST,)
    assert process.find_by_title("bhyve: instance-0000002", table) == ()
    assert process.find_by_title("<defunct>", table) == ()
    commands.expect(f"ps -axww -o {COLUMNS}", golden("process/ps-15.1.txt"))
    assert [one.pid for one in process.find_by_title("nova-compute")] == [701]


def test_the_processes_of_a_jail(commands: Commands) -> None:
    commands.expect(f"ps -ww -o {COLUMNS} -J qdhcp-1", golden("process/ps-15.1.txt"))
    assert len(process.list_jailed("qdhcp-1")) == 4
    commands.expect(f"ps -ww -o {COLUMNS} -J qdhcp-1", golden("process/ps-none.txt"), status=1)
    assert process.list_jailed("qdhcp-1") == ()
    commands.expect(f"ps -ww -o {COLUMNS} -J gone", "", "ps: Invalid jail ID: gone\n", status=1)
    with pytest.raises(JailNotFound):
        process.list_jailed("gone")
    commands.expect(f"ps -ww -o {COLUMNS} -J x", "", "ps: something else\n", status=1)
    with pytest.raises(CommandError) as caught:
        process.list_jailed("x")
    assert type(caught.value) is CommandError


def test_one_process(commands: Commands) -> None:
    read = f"ps -ww -o {COLUMNS} -p 1500"
    heading, *rows = golden("process/ps-14.4.txt").splitlines(keepends=True)
    row = next(row for row in rows if row.split()[0] == "1500")
    commands.expect(read, heading + row)
    assert process.read_process(1500) == GUEST
    commands.expect(read, heading, status=1)
    assert process.read_process(1500) is None
    commands.expect(read, heading + row)
    assert process.is_same(GUEST)
    commands.expect(read, heading + row.replace("0000002a", "0000002b"))
    assert not process.is_same(GUEST)
    commands.expect(read, heading, status=1)
    assert not process.is_same(GUEST)


@pytest.mark.parametrize(("text", "seconds"), [("0:00.03", 0.03), ("1234:05.67", 74045.67), ("1:00:00.50", 3600.5)])
def test_processor_time(text: str, seconds: float) -> None:
    assert process.parse_time(text) == pytest.approx(seconds)


# Command lines.


@pytest.mark.parametrize(
    ("file", "pid", "words"),
    [
        (
            "procstat-14.4.json",
            812,
            (
                "/usr/local/bin/python3.11",
                "/usr/local/bin/neutron-dhcp-agent",
                "--config-file",
                "/usr/local/etc/neutron/dhcp agent.ini",
                "",
            ),
        ),
        ("procstat-15.1.json", 1500, ("bhyve: instance-0000002a",)),
        ("procstat-unreadable.json", 17, ()),
    ],
)
def test_the_words_of_a_command_line_stay_apart(
    commands: Commands, file: str, pid: int, words: tuple[str, ...]
) -> None:
    commands.expect(f"procstat --libxo json arguments {pid}", golden(f"process/{file}"))
    assert process.read_arguments(pid) == words


def test_no_such_process_has_no_command_line(commands: Commands) -> None:
    commands.expect("procstat --libxo json arguments 5", golden("process/procstat-none.json"))
    with pytest.raises(ProcessNotFound):
        process.read_arguments(5)
    gone = "procstat: sysctl(kern.proc): No such process\nprocstat: procstat_getprocs()\n"
    commands.expect("procstat --libxo json arguments 5", '{"procstat": ', stderr=gone, status=1)
    with pytest.raises(ProcessNotFound):
        process.read_arguments(5)
    commands.expect("procstat --libxo json arguments 5", stderr="procstat: no memory\n", status=1)
    with pytest.raises(CommandError, match="no memory"):
        process.read_arguments(5)
    commands.expect("procstat --libxo json arguments 5", "  PID COMM ARGS\n")
    with pytest.raises(ValueError):
        process.read_arguments(5)


# Signals and ends.


def test_a_process_is_there_though_it_belongs_to_someone_else(kernel: Kernel) -> None:
    assert process.exists(1500)
    kernel.error = PermissionError
    assert process.exists(1500)
    kernel.error = None
    kernel.alive = False
    assert not process.exists(1500)


@pytest.mark.parametrize("pid", [0, -1])
def test_groups_of_processes_are_never_meant(commands: Commands, kernel: Kernel, pid: int) -> None:
    for question in (process.exists, process.read_process, process.read_arguments):
        with pytest.raises(ValueError, match="no process number"):
            question(pid)
    with pytest.raises(ValueError, match="no process number"):
        process.send_signal(pid, signal.SIGTERM)
    assert kernel.signals == []


def test_each_refused_signal_has_its_class(kernel: Kernel) -> None:
    kernel.error = PermissionError
    with pytest.raises(PermissionDenied) as denied:
        process.send_signal(7, signal.SIGTERM)
    assert denied.value.argv == ("kill", "-15", "7")
    assert str(denied.value) == "kill exited with status 1: kill: 7: Operation not permitted"
    kernel.error, kernel.alive = None, False
    with pytest.raises(ProcessNotFound):
        process.send_signal(7, signal.SIGTERM)


def test_waiting_ends_with_the_process(kernel: Kernel) -> None:
    clock = Clock()

    def sleep(seconds: float) -> None:
        clock.sleep(seconds)
        if len(clock.slept) == 3:
            kernel.alive = False

    process.wait_gone(7, 10, interval=0.5, clock=clock.read, sleep=sleep)
    assert clock.slept == [0.5, 0.5, 0.5]


def test_waiting_has_a_limit(kernel: Kernel) -> None:
    clock = Clock()
    with pytest.raises(TimeoutError, match=r"process 7 was still there after 1\.2 s"):
        process.wait_gone(7, 1.2, interval=0.5, clock=clock.read, sleep=clock.sleep)
    assert clock.slept == pytest.approx([0.5, 0.5, 0.2])


def test_stopping_asks_first_and_kills_at_the_end_of_the_grace(kernel: Kernel) -> None:
    clock = Clock()
    process.stop(7, 2, clock=clock.read, sleep=clock.sleep)
    assert kernel.signals == [(7, signal.SIGTERM), (7, signal.SIGKILL)]
    assert sum(clock.slept) == pytest.approx(2)


def test_stopping_what_obeys_or_is_gone_kills_nothing(kernel: Kernel) -> None:
    kernel.ends_on.add(signal.SIGINT)
    process.stop(7, 2, first=signal.SIGINT)
    assert kernel.signals == [(7, signal.SIGINT)]
    process.stop(7, 2)
    assert kernel.signals == [(7, signal.SIGINT), (7, signal.SIGTERM)]


def test_what_outlives_the_kill_is_told(kernel: Kernel) -> None:
    kernel.ends_on.clear()
    clock = Clock()
    with pytest.raises(TimeoutError, match="after 5 s"):
        process.stop(7, 1, clock=clock.read, sleep=clock.sleep)


def test_a_real_process_ends() -> None:
    with subprocess.Popen(["sleep", "60"]) as child:
        assert process.exists(child.pid)
        process.send_signal(child.pid, signal.SIGKILL)
        child.wait(20)
    process.wait_gone(child.pid, 10)
    with pytest.raises(ProcessNotFound):
        process.send_signal(child.pid, signal.SIGTERM)


def test_a_line_of_another_form_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown form"):
        process.parse_table("PID\n 1 2 3\n")
