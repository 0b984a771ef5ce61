"""The host as a whole: starting, entering, stopping, several of them, and what a program inside sees of Linux."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from conftest import ENVIRONMENT, SOURCE, Simulator

Run = Callable[..., Any]


def test_a_host_starts_once_and_stops_once(simulator: Simulator) -> None:
    assert simulator.run("start", "--name", "one", "--without-libvirt").returncode == 0
    again = simulator.run("start", "--name", "one", "--without-libvirt")
    assert again.returncode == 0 and "running already" in again.stdout
    assert simulator.run("stop", "--name", "one").stdout == "one is stopped\n"
    assert simulator.run("stop", "--name", "one").stdout == "one was not running\n"
    done = simulator.run("run", "--name", "one", "true")
    assert done.returncode == 1 and "not running" in done.stderr and done.stderr.count("\n") == 1
    assert simulator.run("remove", "--name", "one").returncode == 0
    assert simulator.run("remove", "--name", "one").returncode == 1


def test_wrong_input_gets_one_line(simulator: Simulator, host: Run) -> None:
    for arguments in (
        ("run", "--name", "nosuch", "true"), ("run", "--name", "shared"), ("start", "--name", "UPPER"),
        ("start", "--name", "two", "--share", "/nonexistent"), ("link", "seg", "shared"), ("link", "seg", "shared:EM"),
        ("link", "seg", "nosuch:em0"), ("unlink", "nosuch"), ("status", "--name", "nosuch"),
        ("run", "--name", "shared", "--env", "X", "true"),
    ):  # fmt: skip
        done = simulator.run(*arguments)
        assert done.returncode == 1, arguments
        assert done.stderr.startswith("freebsd-sim: ") and done.stderr.count("\n") == 1, done.stderr
    simulator.run("unlink", "seg")


def test_ports_lead_to_a_host_and_end_with_it(simulator: Simulator) -> None:
    simulator.start("lead")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    program = f"import socket; s = socket.create_server(('127.0.0.1', {port})); print('ready', flush=True)\n"
    program += "while True:\n  c = s.accept()[0]\n  c.sendall(b'<' + c.recv(100) + b'>'); c.close()"
    argv = [*simulator.argv("run", "--name", "lead"), "python3", "-c", program]
    with subprocess.Popen(argv, env=ENVIRONMENT, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None and server.stdout.readline() == "ready\n"
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port))
        for _ in range(2):
            assert simulator.run("forward", "--name", "lead", str(port)).returncode == 0
        for word in (b"one", b"two"):
            with socket.create_connection(("127.0.0.1", port)) as connection:
                connection.sendall(word)
                connection.shutdown(socket.SHUT_WR)
                assert connection.makefile("rb").read() == b"<" + word + b">"
        listing = json.loads(simulator.run("status", "--name", "lead", "--json").stdout)
        assert listing["hosts"][0]["forwarded"] == [port]
        assert "forward" not in simulator.inside("ps -axo command", "lead").stdout
        simulator.start("rival")
        refused = simulator.run("forward", "--name", "rival", str(port))
        assert refused.returncode == 1 and f"port {port}" in refused.stderr and refused.stderr.count("\n") == 1
        simulator.run("stop", "--name", "lead")
    assert simulator.run("forward", "--name", "rival", str(port)).returncode == 0
    assert simulator.run("forward", "--name", "rival").returncode == 0
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port))
    for name in ("lead", "rival"):
        simulator.run("remove", "--name", name)


def test_the_disk_outlives_a_stop_and_memory_does_not(simulator: Simulator) -> None:
    simulator.start("disk")
    simulator.inside("echo kept > /var/db/note; ifconfig bridge create", "disk")
    simulator.run("stop", "--name", "disk")
    simulator.start("disk")
    assert simulator.inside("cat /var/db/note; ifconfig -l", "disk").stdout == "kept\nlo0\n"
    simulator.run("remove", "--name", "disk")


def test_a_stopped_host_leaves_no_process(simulator: Simulator) -> None:
    simulator.start("gone")
    subprocess.Popen(
        [
            sys.executable,
            "-m",
            "freebsd_sim.cli",
            "--state",
            str(simulator.state),
            "run",
            "--name",
            "gone",
            "sleep",
            "987",
        ],
        env={"PYTHONPATH": str(SOURCE), "PATH": os.environ["PATH"]},
    )
    _eventually(lambda: _processes("sleep 987"))
    simulator.run("stop", "--name", "gone")
    _eventually(lambda: not _processes("sleep 987"))
    simulator.run("remove", "--name", "gone")


def test_exit_statuses_and_streams_pass_through(simulator: Simulator, host: Run) -> None:
    done = host("echo out; echo err >&2; exit 7")
    assert (done.returncode, done.stdout, done.stderr) == (7, "out\n", "err\n")
    assert simulator.run("run", "--name", "shared", "cat", stdin="typed").stdout == "typed"
    assert host("kill -9 $$").returncode == 128 + 9
    assert simulator.run("run", "--name", "shared", "nosuchprogram").returncode == 127


def test_a_command_runs_as_a_user_and_in_a_jail(simulator: Simulator, host: Run) -> None:
    def run(*arguments: str) -> tuple[int, str, str]:
        done = simulator.run("run", "--name", "shared", *arguments)
        return done.returncode, done.stdout, done.stderr

    host("jail -c name=cell vnet persist")
    assert run("--user", "www", "id", "-un") == (0, "www\n", "")
    assert run("--user", "www", "printf", "%s|", "a b", "$c") == (0, "a b|$c|", "")
    assert run("--jail", "cell", "ifconfig", "-l") == (0, "lo0\n", "")
    assert run("--jail", "cell", "--user", "www", "id", "-un") == (0, "www\n", "")
    assert run("--user", "nosuch", "true") == (1, "", "su: unknown login: nosuch\n")
    assert run("--jail", "nosuch", "true") == (1, "", 'jexec: jail "nosuch" not found\n')
    assert host("su -m www -c 'su root -c id'").stderr == "su: Sorry\n"
    host("jail -R cell")


def test_a_program_of_linux_runs_in_the_network_of_a_host_or_jail(simulator: Simulator, host: Run) -> None:
    def outside(*arguments: str) -> tuple[int, str]:
        done = simulator.run("outside", "--name", "shared", *arguments)
        return done.returncode, done.stdout

    host("jail -c name=behind vnet persist; jexec behind ifconfig epair create")
    assert outside("--jail", "behind", "sh", "-c", "uname -s; exit 3") == (3, "Linux\n")
    names = outside("--jail", "behind", "ls", "/sys/class/net")[1].split()
    assert {"epair0a", "epair0b", "lo0"} <= set(names)
    assert "epair0a" not in outside("ls", "/sys/class/net")[1]
    assert outside("sh", "-c", "kill -9 $$")[0] == 128 + 9
    assert simulator.run("outside", "--name", "shared", "cat", stdin="typed").stdout == "typed"
    assert outside("nosuchprogram")[0] == 127
    done = simulator.run("outside", "--name", "shared", "--jail", "nosuch", "true")
    assert (done.returncode, done.stderr) == (1, 'freebsd-sim: jail "nosuch" not found\n')
    host("jail -R behind")


def test_a_program_of_linux_is_hidden_and_ends_with_its_host(simulator: Simulator) -> None:
    simulator.start("guested")
    ended: list[int] = []

    def stay() -> None:
        ended.append(simulator.run("outside", "--name", "guested", "sleep", "986").returncode)

    thread = threading.Thread(target=stay)
    thread.start()
    _eventually(lambda: _processes("sleep 986"))
    assert "sleep" not in simulator.inside("ps ax; pgrep -l sleep", "guested").stdout.replace("pgrep -l sleep", "")
    simulator.run("stop", "--name", "guested")
    thread.join(20)
    assert ended == [128 + 9] and not _processes("sleep 986")
    simulator.run("remove", "--name", "guested")


def test_linux_is_not_to_be_seen(host: Run) -> None:
    assert host("ls /proc /sys").stdout == "/proc:\n\n/sys:\n"
    linux = ("ip", "iptables", "nft", "systemctl", "modprobe", "brctl", "tc", "ss", "unshare", "nsenter", "sudo")
    for program in linux:
        assert host(f"command -v {program}").returncode != 0, program
    assert host("uname -s").stdout == "FreeBSD\n"
    for path in ("/sbin/ifconfig", "/usr/sbin/jail", "/usr/sbin/bhyve", "/usr/sbin/pw"):
        assert host(f"command -v {path.rpartition('/')[2]}").stdout == f"{path}\n"


def test_a_killed_command_does_not_interrupt_the_kernel(host: Run) -> None:
    host("for i in 1 2 3 4 5 6 7 8; do ifconfig epair create >/dev/null & kill -9 $! 2>/dev/null; done; wait")
    names = host("ifconfig -l").stdout.split()
    halves = {name for name in names if name.startswith("epair")}
    assert {name[:-1] + "ab"["ba".index(name[-1])] for name in halves} == halves

    def is_clean() -> bool:
        # A killed command's work may only now have come to its end.
        host("for i in $(ifconfig -l); do case $i in epair*a) ifconfig $i destroy;; esac; done")
        return bool(host("ifconfig -l").stdout == "lo0\n")

    _eventually(is_clean)


def test_fifty_commands_at_once_leave_a_consistent_state(host: Run) -> None:
    script = "name=$(ifconfig epair create) && ifconfig $name name pair$0 up && ifconfig pair$0 destroy"
    results: list[int] = []

    def run_one(number: int) -> None:
        results.append(host(script.replace("$0", str(number))).returncode)

    threads = [threading.Thread(target=run_one, args=(number,)) for number in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [0] * 50
    assert host("ifconfig -l").stdout == "lo0\n"


def test_two_hosts_on_a_segment_reach_each_other(simulator: Simulator) -> None:
    simulator.start("left")
    simulator.start("right")
    try:
        assert simulator.run("link", "wire", "left:em0", "right:em0").returncode == 0
        assert simulator.run("link", "wire", "left:em0").returncode == 0
        simulator.run("stop", "--name", "left")
        simulator.start("left")
        assert simulator.run("link", "wire", "left:em0").returncode == 0
        assert simulator.inside("ifconfig em0 inet 192.0.2.1/24 up", "left").returncode == 0
        assert simulator.inside("ifconfig em0 inet 192.0.2.2/24 up", "right").returncode == 0
        done = simulator.inside("ping -c 2 -t 10 192.0.2.2", "left")
        assert done.returncode == 0, done.stdout + done.stderr
        assert "wire" in json.loads(simulator.run("status", "--json").stdout)["segments"]
        assert simulator.run("unlink", "wire").returncode == 0
        _eventually(lambda: simulator.inside("ifconfig -l", "left").stdout == "lo0\n")
    finally:
        simulator.run("unlink", "wire")
        simulator.run("remove", "--name", "left")
        simulator.run("remove", "--name", "right")


def test_a_dead_kernel_takes_the_host_with_it(simulator: Simulator) -> None:
    simulator.start("panic")
    pid = json.loads(simulator.run("status", "--name", "panic", "--json").stdout)["hosts"][0]["pid"]
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    os.kill(int(children[0]), signal.SIGKILL)
    _eventually(lambda: not Path(f"/proc/{pid}").exists())
    assert "stopped" in simulator.run("status", "--name", "panic").stdout
    simulator.start("panic")
    assert simulator.inside("echo back", "panic").stdout == "back\n"
    simulator.run("remove", "--name", "panic")


def _processes(line: str) -> list[str]:
    found = []
    for process in Path("/proc").iterdir():
        if process.name.isdigit():
            try:
                text = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
            except OSError:
                continue
            if text == line:
                found.append(process.name)
    return found


def _eventually(condition: Callable[[], Any], limit: float = 20) -> None:
    deadline = time.monotonic() + limit
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)
