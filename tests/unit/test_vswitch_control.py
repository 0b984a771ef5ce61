"""Asking ovs-vswitchd over its control socket."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from beastack.port.neutron.vswitch_control import Control, ControlError, control_path

Answer = Callable[[dict[str, Any]], bytes]


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[[Answer], str]]:
    listeners: list[socket.socket] = []

    def start(answer: Answer) -> str:
        path = str(tmp_path / "vswitchd.ctl")
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(path)
        listener.listen()
        listeners.append(listener)

        def run() -> None:
            connection, _ = listener.accept()
            with connection:
                while data := connection.recv(65536):
                    if not (text := answer(json.loads(data))):
                        return
                    for start in range(0, len(text), 7):
                        connection.sendall(text[start : start + 7])

        threading.Thread(target=run, daemon=True).start()
        return path

    yield start
    for listener in listeners:
        listener.close()


def test_an_answer_in_pieces(serve: Callable[[Answer], str]) -> None:
    def answer(request: dict[str, Any]) -> bytes:
        said = f"{request['method']} {request['params']} {{}}}}"
        return json.dumps({"id": request["id"], "error": None, "result": said}).encode()

    with Control(serve(answer)) as control:
        assert control.ask("version") == "version [] {}}"
        assert control.ask("dpctl/dump-conntrack", "zone=1") == "dpctl/dump-conntrack ['zone=1'] {}}"


def test_a_refusal(serve: Callable[[Answer], str]) -> None:
    refusal = {"error": "no such\n", "result": None}
    with (
        Control(serve(lambda request: json.dumps({**refusal, "id": request["id"]}).encode())) as control,
        pytest.raises(ControlError, match=r"^x: no such$"),
    ):
        control.ask("x")


def test_no_answer(serve: Callable[[Answer], str]) -> None:
    with Control(serve(lambda request: b'{"id": 99}'), timeout=0.2) as control, pytest.raises(ControlError):
        control.ask("x")


def test_an_end_without_answer(serve: Callable[[Answer], str]) -> None:
    with Control(serve(lambda request: b"")) as control, pytest.raises(ControlError, match="closed"):
        control.ask("x")


def test_nobody_is_there(tmp_path: Path) -> None:
    with pytest.raises(ControlError, match="cannot be asked"):
        Control(str(tmp_path / "none"))


def test_where_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OVS_RUNDIR", "/var/run/site")
    assert control_path() == "/var/run/site/ovs-vswitchd.ctl"
    monkeypatch.delenv("OVS_RUNDIR")
    assert control_path() == "/var/run/openvswitch/ovs-vswitchd.ctl"
