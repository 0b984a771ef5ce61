"""The console daemon as its users see it: guests, people at consoles, nova-compute."""

from __future__ import annotations

import json
import os
import resource
import socket
import stat
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from beastack.console import console, line, viewer
from beastack.console.client import Client, DaemonUnreachable, LineUnavailable, RequestRefused, TooManyConsoles
from beastack.console.daemon import CannotStart, make_room, parse_arguments
from console_lab import OTHER, UUID, House, eventually, free_port, is_cut, read_until, running, view


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    with running(House(tmp_path, log_bytes=65536, backlog_bytes=4096)) as made:
        yield made


def logged(house: House, text: bytes, uuid: str = UUID) -> None:
    eventually(lambda: text in house.client.read_log(uuid, 1 << 20), f"{text!r} in the log")


def test_a_guest_is_logged_and_served(house: House) -> None:
    guest = house.guest()
    port = house.client.ensure(UUID)
    guest.say(b"booting\r\n\xff\x03")
    logged(house, b"booting\r\n\xff\x03")
    with view(port) as one:
        assert read_until(one, b"\x03") == b"booting\r\n\xff\x03"
        with view(port) as other:
            read_until(other, b"\x03")
            guest.say(b"login: ")
            assert read_until(one, b"login: ") == read_until(other, b"login: ") == b"login: "
            one.sendall(b"ro")
            assert guest.hear(2) == b"ro"
            other.sendall(b"ot\r\x03\x1a")
            assert guest.hear(5) == b"ot\r\x03\x1a"
    logged(house, b"login: ")
    eventually(lambda: house.console()["viewers"] == 0, "both have left")


def test_what_a_terminal_was_asked_before_is_not_asked_again(house: House) -> None:
    guest = house.guest()
    port = house.client.ensure(UUID)
    guest.say(b"one \x1b[6ntwo")
    logged(house, b"one \x1b[6ntwo")
    with view(port) as connection:
        assert read_until(connection, b"two") == b"one two"
        guest.say(b" \x1b[6n.")
        assert read_until(connection, b".") == b" \x1b[6n."


def test_ensure_again_changes_nothing(house: House) -> None:
    house.guest()
    port = house.client.ensure(UUID)
    before = (house.directory / "consoles.json").stat().st_mtime_ns
    assert [house.client.ensure(UUID) for _ in range(3)] == [port] * 3
    assert house.opened == 1
    assert (house.directory / "consoles.json").stat().st_mtime_ns == before
    assert house.client.status()["consoles"] == 1


def test_four_ports_of_a_guest(house: House) -> None:
    guests = [house.guest(UUID, index) for index in range(4)]
    assert len({house.client.ensure(UUID, index=index) for index in range(4)}) == 4
    for index, guest in enumerate(guests):
        guest.say(b"port %d" % index)
    logs = [b"port %d" % index for index in range(4)]
    eventually(lambda: [house.client.read_log(UUID, 9, index=index) for index in range(4)] == logs, "a log for each")
    house.client.remove(UUID)
    assert house.client.list() == []


def test_a_restart_finds_every_console_at_its_port(house: House) -> None:
    guests = {uuid: house.guest(uuid) for uuid in (UUID, OTHER)}
    ports = {uuid: house.client.ensure(uuid) for uuid in guests}
    guests[UUID].say(b"before ")
    logged(house, b"before ")
    with view(ports[UUID]) as connection:
        read_until(connection, b"before ")
        house.stop()
        assert is_cut(connection)
    with pytest.raises(DaemonUnreachable):
        house.client.status()
    assert house.client.read_log(UUID, 100) == b"before "
    guests[UUID].say(b"meanwhile ")  # waits in the line
    house.start()
    guests[UUID].say(b"after")
    logged(house, b"before meanwhile after")
    assert {item["uuid"]: item["port"] for item in house.client.list()} == ports
    with view(ports[UUID]) as connection:
        assert read_until(connection, b"after") == b"before meanwhile after"


def test_a_port_taken_meanwhile_is_given_up(house: House) -> None:
    house.guest()
    port = house.client.ensure(UUID)
    house.stop()
    with socket.create_server(("127.0.0.1", port)):
        house.start()
        assert house.client.ensure(UUID) != port


def test_removal_takes_the_log_along_unless_told_otherwise(house: House) -> None:
    for uuid in (UUID, OTHER):
        house.guest(uuid).say(b"hello")
        house.client.ensure(uuid)
        logged(house, b"hello", uuid)
    port = house.console()["port"]
    with view(port) as connection:
        read_until(connection, b"hello")
        house.client.remove(UUID, keep_log=True)
        assert is_cut(connection)
    house.client.remove(OTHER)
    assert house.client.read_log(UUID, 100) == b"hello"
    assert house.client.read_log(OTHER, 100) == b""
    house.client.remove(UUID)
    house.client.remove(UUID)
    assert os.listdir(house.directory / "log") == []
    with pytest.raises(ConnectionRefusedError):
        view(port)
    house.restart()
    assert house.client.list() == []


def test_a_port_is_not_given_to_the_next_instance(house: House) -> None:
    house.guest(UUID)
    house.guest(OTHER)
    first = house.client.ensure(UUID)
    house.client.remove(UUID)
    house.restart()
    assert house.client.ensure(OTHER) != first


def test_a_viewer_that_does_not_read_is_cut_and_nobody_waits(house: House) -> None:
    guest, port = house.guest(), house.client.ensure(UUID)
    block = b"0123456789abcdef" * 1024
    with view(port) as slow, view(port) as quick:
        eventually(lambda: house.console()["viewers"] == 2, "both are there")
        quick.setblocking(False)
        deadline = time.monotonic() + 60
        while house.console()["viewers"] == 2:
            assert time.monotonic() < deadline, "the slow one is cut"
            for _ in range(viewer.OUTPUT_LIMIT // len(block) // 2):
                guest.say(block)
                with pytest.raises(BlockingIOError):
                    while quick.recv(1 << 20):
                        pass
        guest.say(b"the end")
        quick.settimeout(5)
        read_until(quick, b"the end")
        assert is_cut(slow)
    logged(house, b"the end")
    assert house.console()["lost"] == 0
    assert sum(path.stat().st_size for path in (house.directory / "log").iterdir()) <= 65536


def test_who_types_more_than_a_guest_reads_waits(house: House) -> None:
    guest, port = house.guest(), house.client.ensure(UUID)
    text = bytes(range(256)) * 2048
    with view(port) as connection:
        connection.setblocking(False)
        sent = heard = 0
        deadline = time.monotonic() + 60
        while heard < len(text):
            assert time.monotonic() < deadline
            try:
                sent += connection.send(text[sent : sent + 65536]) if sent < len(text) else 0
            except BlockingIOError:
                pass
            data = guest.hear(1)
            assert data == text[heard : heard + len(data)]
            heard += len(data)


def test_input_that_no_guest_takes_grows_stale(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(line, "STALE", 0.3)
    with running(House(tmp_path)) as house:
        guest, port = house.guest(), house.client.ensure(UUID)
        with view(port) as one, view(port) as other:
            one.sendall(b"x" * 65536)
            one.close()
            eventually(lambda: house.console()["viewers"] == 1, "who has left is noticed")
            time.sleep(0.7)  # what is not taken in this time is thrown away
            guest.hear(1 << 20, 1)  # what was in the terminal itself
            other.sendall(b"fresh")
            assert guest.hear(5, 5) == b"fresh"


def test_a_lost_line_is_opened_again(house: House) -> None:
    house.guest()
    port = house.client.ensure(UUID)
    house.forget_guest()
    eventually(lambda: house.console()["state"] == "lost", "the loss is noticed")
    with pytest.raises(LineUnavailable):
        house.client.ensure(UUID)
    guest = house.guest()
    assert house.client.ensure(UUID) == port
    guest.say(b"again")
    logged(house, b"again")
    house.forget_guest()
    house.guest().say(b"by itself")
    logged(house, b"by itself")


def test_what_cannot_be_opened_leaves_nothing(house: House) -> None:
    with pytest.raises(LineUnavailable, match="No such file"):
        house.client.ensure(UUID)
    assert house.client.list() == []
    with pytest.raises(ValueError, match="no instance"):
        house.client.ensure("nonsense")
    with pytest.raises(RequestRefused, match="the line of this console"):
        house.client.ensure(UUID, "/dev/nmdm0B")


def test_a_line_that_comes_with_the_next_start(house: House) -> None:
    house.guest()
    port = house.client.ensure(UUID)
    house.stop()
    house.forget_guest()
    house.start()
    assert house.console()["state"] == "lost"
    house.guest().say(b"late")
    logged(house, b"late")
    assert house.client.ensure(UUID) == port


def test_a_tcp_console_is_found_whenever_its_bhyve_runs(tmp_path: Path) -> None:
    bhyve_port = free_port(1)
    address, where = ("127.0.0.1", bhyve_port), f"tcp:127.0.0.1:{bhyve_port}"
    first = bhyve_port + 1
    with running(House(tmp_path, tcp_lines=range(bhyve_port, first), ports=range(first, first + 30))) as house:
        port = house.client.ensure(UUID, where)
        for turn in range(2):
            with socket.create_server(address) as bhyve:
                bhyve.settimeout(5)
                house.client.ensure(UUID, where)  # looks at once
                guest, _ = bhyve.accept()
                with guest, view(port) as connection:
                    guest.sendall(b"boot %d" % turn)
                    read_until(connection, b"boot %d" % turn)
                    connection.sendall(b"hi")
                    guest.settimeout(5)
                    assert guest.recv(2) == b"hi"
            eventually(lambda: house.console()["state"] != "open", "its end is noticed")
        assert house.client.read_log(UUID, 100) == b"boot 0boot 1"
        house.guest()
        assert house.client.ensure(UUID) == port, "the instance has an nmdm line now"
        assert house.console()["line"] == f"/dev/nmdm{UUID}B"


def test_a_connection_that_reached_itself() -> None:
    with socket.socket() as one, socket.create_server(("127.0.0.1", 0)) as server:
        one.bind(("127.0.0.1", 0))
        one.connect(one.getsockname())
        assert line.reached_itself(one)
        with view(server.getsockname()[1]) as other:
            assert not line.reached_itself(other)


def test_nobody_wakes_an_idle_daemon(tmp_path: Path) -> None:
    house = House(tmp_path)
    house.guest()
    daemon = house.make()
    daemon.handle({"op": "add", "uuid": UUID, "line": f"/dev/nmdm{UUID}B"})
    assert daemon.loop.patience() is None
    daemon.close()
    house.close()


def test_whoever_comes_to_a_full_console_takes_the_place_of_the_first(house: House) -> None:
    house.guest()
    port = house.client.ensure(UUID)
    views = [view(port) for _ in range(console.VIEWERS)]
    eventually(lambda: house.console()["viewers"] == console.VIEWERS, "all are there")
    views.append(view(port))
    assert is_cut(views[0])
    house.guest().say(b"hello")
    for each in views[1:]:
        read_until(each, b"hello")
        each.close()
    views[0].close()


def test_what_a_lost_removal_left_behind(house: House) -> None:
    third = OTHER[:-1] + "2"
    for uuid in (UUID, OTHER, third):
        house.guest(uuid)
        house.client.ensure(uuid)
    house.client.remove(OTHER, keep_log=True)
    house.client.remove_others([UUID])
    assert [item["uuid"] for item in house.client.list()] == [UUID]
    assert os.listdir(house.directory / "log") == [f"{UUID}.log"]


def test_a_daemon_that_is_being_started_is_waited_for(house: House) -> None:
    house.guest()
    house.stop()
    timer = threading.Timer(0.3, house.start)
    timer.start()
    house.client.ensure(UUID)
    timer.join()


def test_a_list_that_could_not_be_written_is_written_later(house: House) -> None:
    for uuid in (UUID, OTHER):
        house.guest(uuid)
        house.client.ensure(uuid)
    blocked = house.directory / "consoles.json.new"
    blocked.mkdir()
    with pytest.raises(RequestRefused, match="cannot be written"):
        house.client.remove(UUID)
    blocked.rmdir()
    house.client.remove(UUID)
    house.restart()
    assert [item["uuid"] for item in house.client.list()] == [OTHER]
    blocked.mkdir()
    with pytest.raises(RequestRefused, match="cannot be written"):
        house.client.ensure(UUID)
    blocked.rmdir()
    assert [item["uuid"] for item in house.client.list()] == [OTHER], "nothing half added"


def test_descriptors_are_enough_or_there_are_fewer_consoles(monkeypatch: pytest.MonkeyPatch) -> None:
    limits = [(100, 10000)]
    monkeypatch.setattr(resource, "getrlimit", lambda which: limits[-1])
    monkeypatch.setattr(resource, "setrlimit", lambda which, new: limits.append(new))
    config = parse_arguments(["--directory", "/c"])
    assert make_room(config) == config
    soft, hard = limits[-1]
    assert hard == 10000 and soft > 3 * config.consoles + config.viewers
    assert make_room(config) == config and len(limits) == 2
    limits.append((100, 1000))
    fewer = make_room(config).consoles
    assert 100 < fewer < 333


def test_numbers_are_bounded(tmp_path: Path) -> None:
    with running(House(tmp_path, consoles=1, viewers=3)) as house:
        house.guest(UUID)
        house.guest(OTHER)
        port = house.client.ensure(UUID)
        with pytest.raises(TooManyConsoles, match="1 consoles"):
            house.client.ensure(OTHER)
        views = [view(port) for _ in range(3)]
        eventually(lambda: house.client.status()["viewers"] == 3, "three viewers")
        with view(port) as fourth:
            assert is_cut(fourth)
        views.pop().close()
        eventually(lambda: house.client.status()["viewers"] == 2, "room again")
        views.append(view(port))
        eventually(lambda: house.client.status()["viewers"] == 3, "three viewers")
        for each in views:
            each.close()


def test_no_port_left(tmp_path: Path) -> None:
    first = free_port(1)
    with running(House(tmp_path, ports=range(first, first + 1))) as house:
        house.guest(UUID)
        house.guest(OTHER)
        house.client.ensure(UUID)
        with pytest.raises(TooManyConsoles, match="no port"):
            house.client.ensure(OTHER)
        house.client.remove(UUID)
        house.client.ensure(OTHER)


def test_modes(house: House) -> None:
    house.guest()
    house.client.ensure(UUID)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in house.directory.rglob("*")}
    assert modes["control.sock"] == 0o660
    assert modes["consoles.json"] == modes["lock"] == 0o600
    assert modes[f"{UUID}.log"] == 0o640


def test_one_directory_has_one_daemon(house: House) -> None:
    with pytest.raises(CannotStart, match="another"):
        house.make()
    house.client.status()


def test_fewer_consoles_allowed_than_there_are(house: House) -> None:
    house.guest()
    house.client.ensure(UUID)
    house.stop()
    house.options["consoles"] = 0
    with pytest.raises(CannotStart, match="room for 0"):
        house.make()


@pytest.mark.parametrize(
    "text",
    [
        *("", "{", "[]", "null", '{"version": 2}', "[" * 100000),
        '{"version": 1, "next_port": 0, "consoles": [{}]}',
        '{"version": 1, "next_port": 0, "consoles": [{"uuid": "x", "index": 0, "line": "/dev/null", "port": 1}]}',
    ],
)
def test_a_broken_list_is_set_aside(tmp_path: Path, text: str) -> None:
    (tmp_path / "consoles.json").write_text(text)
    with running(House(tmp_path)) as house:
        house.guest()
        house.client.ensure(UUID)
        assert (tmp_path / "consoles.json.bad").read_text() == text
        assert len(json.loads((tmp_path / "consoles.json").read_text())["consoles"]) == 1


def test_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    config = parse_arguments(["--directory", "/c", "--peer", "root", "--ports", "10000:10009", "--log-bytes", "5000"])
    assert (config.directory, config.peers, config.log_bytes) == (Path("/c"), frozenset({0}), 5000)
    assert config.ports == range(10000, 10010)
    for wrong in (
        "", "--directory relative", "--directory /x --peer nobody-such", "--directory /x --ports 1:5",
        "--directory /x --ports 5000:4000", "--directory /x --ports x", "--directory /x --ports 20000:20001",
        "--directory /x --log-bytes 0", "--directory /x --viewers -1",
    ):  # fmt: skip
        with pytest.raises(SystemExit):
            parse_arguments(wrong.split())
        assert "error:" in capsys.readouterr().err


def test_a_directory_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(OSError):
        House(tmp_path / "absent").make()
    with pytest.raises(DaemonUnreachable):
        Client(tmp_path / "absent").status()
    assert Client(tmp_path / "absent").read_log(UUID, 10) == b""
