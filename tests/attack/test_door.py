"""Attacks on the supervisor's door: who asks, for what, and with what in his hands."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

import intruder
from conftest import SOURCE, Target, eventually, kill
from intruder import IS_ROOT, ME, Service, ask, is_over, knock, listen, obtain, request, run_as, say, talk

two_users = pytest.mark.skipif(not IS_ROOT, reason="one user cannot attack another without root's help")


# As it is meant


def test_who_may_ask_gets_a_daemon_that_is_held_tight(target: Target) -> None:
    def work() -> Any:
        with obtain(target.door, "plain") as daemon:
            return talk(daemon)

    report = target.attack(work)
    assert report["argv"] == ["plain"]
    assert report["ids"] == [ME] * 3 + [os.getegid()] * 3
    assert report["environment"] == {"COLOUR": "red"}
    assert report["directory"] == "/"
    assert report["descriptors"] == [0, 1, 2, 3]
    assert report["inherited"] == []
    assert report["no new privileges"] is True
    assert report["limits"]["RLIMIT_CORE"] == [0, 0]
    assert report["limits"]["RLIMIT_NOFILE"][1] <= 8192


@two_users
def test_a_daemon_that_needs_no_privilege_has_none(target: Target) -> None:
    def work() -> Any:
        with obtain(target.door, "humble") as daemon:
            return talk(daemon)

    assert target.attack(work)["ids"][:3] == [target.user] * 3


@two_users
def test_a_user_cannot_signal_what_he_asked_for(target: Target) -> None:
    def work() -> Any:
        with obtain(target.door, "plain") as daemon:
            try:
                os.kill(talk(daemon)["pid"], 9)
            except PermissionError:
                return "refused"

    assert target.attack(work) == "refused"


# Who asks


def test_an_unknown_context(target: Target) -> None:
    def work() -> Any:
        with Service() as service:
            with service.connect() as connection:
                error = ask(target.door, "os.system", connection.fileno())
            return error, is_over(service.accept())

    error, over = target.attack(work)
    assert (error, over) == ("no privileged helper is named 'os.system'", True)
    assert f"refused a privileged daemon to uid {target.user}" in target.log()


def test_a_context_for_somebody_else(target: Target) -> None:
    def work() -> Any:
        with Service() as service, service.connect() as connection:
            return ask(target.door, "strangers", connection.fileno())

    assert target.attack(work) == f"strangers is not for uid {target.user}"
    assert f"strangers is not for uid {target.user}" in target.log()


@two_users
def test_a_user_for_whom_there_is_nothing(target: Target) -> None:
    outsider = 4_000_000

    def work() -> Any:
        with Service() as service, service.connect() as connection:
            return ask(target.door, "plain", connection.fileno())

    assert run_as(outsider, work) == f"there is none for uid {outsider}"


@two_users
def test_a_stranger_cannot_have_the_users_daemon(target: Target) -> None:
    def work() -> Any:
        with Service() as service, service.connect() as connection:
            return ask(target.door, "plain", connection.fileno())

    assert run_as(target.stranger, work) == f"plain is not for uid {target.stranger}"


@two_users
def test_the_control_socket_is_roots(target: Target) -> None:
    def work() -> Any:
        try:
            return say(target.client.path, b'{"op": "shutdown"}\n')
        except OSError as error:
            return type(error).__name__

    assert target.attack(work) in ("", "PermissionError")


# What comes with the request


def hold(kind: str) -> list[Any]:
    """Return things with descriptors that are not a connection to a service of one's own."""
    if kind == "nothing":
        return []
    if kind == "a file":
        return [open("/etc/passwd")]
    if kind == "a device":
        return [open("/dev/null")]
    if kind == "a pipe":
        return [os.fdopen(os.pipe()[0])]
    if kind == "a TCP socket":
        return [socket.socket(socket.AF_INET)]
    if kind == "an unconnected socket":
        return [socket.socket(socket.AF_UNIX)]
    if kind == "a datagram socket":
        return [socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)[0]]
    if kind == "a listening socket":
        return [Service().listener]
    if kind == "two connections":
        return list(socket.socketpair())
    assert kind == "sixty connections"
    return [one for _ in range(30) for one in socket.socketpair()]


@pytest.mark.parametrize("kind", [
    "nothing", "a file", "a device", "a pipe", "a TCP socket", "an unconnected socket", "a datagram socket",
    "a listening socket", "two connections", "sixty connections",
])  # fmt: skip
def test_other_descriptors(target: Target, kind: str) -> None:
    def work() -> Any:
        held = hold(kind)
        return say(target.door, request("plain"), [item.fileno() for item in held])

    assert "descriptor" in json.loads(target.attack(work))["error"]


@two_users
def test_a_connection_to_somebody_elses_socket(target: Target) -> None:
    directory = Path(target.root / "open")
    directory.mkdir(mode=0o755)
    directory.chmod(0o755)
    path = directory / "root.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        path.chmod(0o777)
        listener.listen(8)

        def work() -> Any:
            with socket.socket(socket.AF_UNIX) as connection:
                connection.connect(str(path))
                return ask(target.door, "plain", connection.fileno())

        assert target.attack(work) == f"its descriptor leads to a socket of uid {ME}"


@two_users
def test_symbolic_links_to_somebody_elses_socket(target: Target) -> None:
    def work() -> Any:
        with Service() as service:
            link = f"{service.directory}/link"
            os.symlink(target.door, link)
            command = [sys.executable, "-I", str(SOURCE / "beastack/supervisor/request.py"), str(target.door)]
            arguments = ["--privsep_context", "plain", "--privsep_sock_path", link]
            try:
                done = subprocess.run([*command, *arguments], capture_output=True, text=True, timeout=intruder.LIMIT)
            finally:
                os.unlink(link)
            return [done.returncode, done.stderr]

    status, said = target.attack(work)
    assert (status, said) == (1, f"its descriptor leads to a socket of uid {ME}\n")


def test_a_path_is_nothing_that_can_be_asked_with(target: Target) -> None:
    def work() -> Any:
        with Service() as service, service.connect() as connection:
            text = json.dumps({"op": "helper", "name": "plain", "argv": ["/etc/shadow"]}).encode() + b"\n"
            return say(target.door, text, [connection.fileno()])

    assert json.loads(target.attack(work))["error"].startswith("bad request")


# What is said

REQUESTS = {
    "nothing": b"\n",
    "no JSON": b"helper plain\n",
    "binary": bytes(range(256)).replace(b"\n", b"") + b"\n",
    "a list": b"[]\n",
    "a number": b"1e999\n",
    "deep": b"[" * 900 + b"\n",
    "no name": b'{"op": "helper"}\n',
    "a name that is none": b'{"op": "helper", "name": ["plain"]}\n',
    "a null byte": b'{"op": "helper", "name": "plain\\u0000"}\n',
    "a surrogate": b'{"op": "helper", "name": "\\ud800"}\n',
    "more": b'{"op": "helper", "name": "plain", "env": {"LD_PRELOAD": "/tmp/x.so"}}\n',
    "two requests": request("plain") * 2,
    "shutdown": b'{"op": "shutdown"}\n',
    "define": b'{"op": "define", "services": [], "parents": [], "helpers": []}\n',
    "status": b'{"op": "status"}\n',
    "task": b'{"op": "task", "name": "plain"}\n',
    "too long a name": request("x" * 2000),
    "a megabyte": b"x" * (1 << 20),
    "a megabyte of lines": b"\n" * (1 << 20),
}


@pytest.mark.parametrize("kind", REQUESTS)
def test_malformed_and_oversized_requests(target: Target, kind: str) -> None:
    def work() -> Any:
        with Service() as service, service.connect() as connection:
            return say(target.door, REQUESTS[kind], [connection.fileno()])

    answer = target.attack(work)
    assert not answer or "error" in json.loads(answer.splitlines()[0]), "the flood may lose the answer, not win"
    assert not target.daemons()


def test_a_name_cannot_write_its_own_lines_into_the_log(target: Target) -> None:
    def work() -> Any:
        with Service() as service, service.connect() as connection:
            return ask(target.door, "x\n2026-01-01 00:00:00 the supervisor ends", connection.fileno())

    target.attack(work)
    assert "\n2026-01-01 00:00:00 the supervisor ends" not in target.log()


def test_a_request_in_pieces(target: Target) -> None:
    def work() -> Any:
        with Service() as service, service.connect() as connection, knock(target.door) as asking:
            data = request("plain")
            socket.send_fds(asking, [data[:1]], [connection.fileno()])
            for number in range(1, len(data)):
                asking.send(data[number : number + 1])
            answer = listen(asking)
            with service.accept() as daemon:
                return answer, talk(daemon)["argv"]

    assert target.attack(work) == ['{"ok": true}\n', ["plain"]]


# Too many, too slow, too early


def test_a_thousand_requests_at_once(target: Target) -> None:
    def work() -> Any:
        results: list[str] = []
        daemons: list[socket.socket] = []

        def one() -> None:
            try:
                daemons.append(obtain(target.door, "plain"))
                results.append("started")
            except (AssertionError, OSError, ValueError) as error:
                results.append(type(error).__name__)

        threads = [threading.Thread(target=one) for _ in range(1000)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        alive = [talk(daemon)["pid"] for daemon in daemons]
        return {"answers": len(results), "started": results.count("started"), "alive": len(set(alive))}

    done: list[Any] = []
    attack = threading.Thread(target=lambda: done.append(target.attack(work)))
    attack.start()
    slowest = 0.0
    while attack.is_alive():
        began = time.monotonic()
        target.status()
        slowest = max(slowest, time.monotonic() - began)
        time.sleep(0.05)
    attack.join()
    found = done[0]
    assert found["answers"] == 1000
    assert 1 <= found["started"] == found["alive"] <= 32, "as many as a user may have of a context"
    assert slowest < 5, "meanwhile root is answered"
    assert "more requests for privileged daemons" in target.log() or target.log().count("refused") < 10_000


def test_connections_that_say_nothing_leave_room_for_others(target: Target) -> None:
    def work() -> Any:
        silent: list[socket.socket] = []
        refused = 0
        while len(silent) < 64:
            silent.append(knock(target.door))
            time.sleep(0.002)  # no more at once than the listener keeps in store
        for _ in range(100):
            with knock(target.door) as connection:
                refused += "too many" in listen(connection)
        for connection in silent:
            connection.close()
        return refused

    def ask_again() -> Any:
        with Service() as service, service.connect() as connection:
            return ask(target.door, "plain", connection.fileno())

    assert target.attack(work) == 100
    eventually(lambda: target.attack(ask_again) == "", "room for another")


def test_whoever_asks_and_leaves_has_nothing_started_for_him(target: Target) -> None:
    def work() -> Any:
        for _ in range(50):
            with Service() as service, service.connect() as connection, knock(target.door) as asking:
                socket.send_fds(asking, [request("plain")], [connection.fileno()])
        return True

    assert target.attack(work)


def test_a_socket_that_lingers_does_not_hold_the_supervisor_up(target: Target) -> None:
    """The last one to close such a socket waits for its data to be taken (SO_LINGER): not us."""

    def work() -> Any:
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            listener.listen(1)
            full = socket.socket()
            full.connect(listener.getsockname())
            taker, _ = listener.accept()
            full.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\x1e\0\0\0")
            full.setblocking(False)
            try:
                while True:
                    full.send(bytes(1 << 16))
            except BlockingIOError:
                pass
            with knock(target.door) as asking:
                socket.send_fds(asking, [request("plain")], [full.fileno()])
                full.close()
                answer = listen(asking)
            with knock(target.door) as asking:  # and one that is never even read
                socket.send_fds(asking, [b"x" * 1025], [taker.fileno()] * 3)
            taker.close()
            return answer

    began = time.monotonic()
    assert "Unix stream socket" in target.attack(work)
    target.status()
    assert time.monotonic() - began < 15


# Daemons that do not start, or end


@pytest.mark.parametrize(("name", "why"), [("unloadable", "no_such_module"), ("crashes", "")])
def test_a_daemon_that_fails_at_its_start_is_not_waited_for(target: Target, name: str, why: str) -> None:
    def work() -> Any:
        with Service() as service:
            with service.connect() as connection:
                error = ask(target.door, name, connection.fileno())
            with service.accept() as daemon:
                return error, is_over(daemon)

    error, over = target.attack(work)
    assert over, "the service hears of it at once"
    assert why in error


def test_a_daemon_killed_in_the_middle_of_a_call(target: Target) -> None:
    result: list[Any] = []

    def work() -> Any:
        with obtain(target.door, "plain") as daemon, obtain(target.door, "plain") as other:
            daemon.sendall(b"report\n")
            assert daemon.makefile().readline()
            daemon.sendall(b"sleep\n")
            return is_over(daemon), talk(other)["argv"]

    attack = threading.Thread(target=lambda: result.append(target.attack(work)))
    attack.start()
    pids = eventually(lambda: found if len(found := target.daemons()) == 2 else None, "two daemons")
    time.sleep(0.5)  # until it is in its call; a little earlier is no less of an attack
    kill(pids[0])
    attack.join()
    assert result == [[True, ["plain"]]], "its service hears of it, the other daemon goes on"


def test_daemons_end_with_whom_they_serve(target: Target) -> None:
    def work() -> Any:
        daemons = [obtain(target.door, "plain") for _ in range(5)]
        return [talk(daemon)["pid"] for daemon in daemons]

    assert len(target.attack(work)) == 5
    eventually(lambda: not target.daemons(), "their end")
