"""Where Tempest runs: on the site's machine, or in the network of its simulated host."""

from __future__ import annotations

import json
from pathlib import Path
from typing import NoReturn

import pytest

from beastack.cli import main, simulated
from beastack.cli.tempest import command
from beastack.cli.tempest.facts import TempestFailed
from beastack.site.layout import Layout


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> simulated.Simulator:
    """The simulated host of a site of kind freebsd on Linux."""
    monkeypatch.setattr(simulated.sys, "platform", "linux")
    monkeypatch.delenv(simulated.ENTERED, raising=False)
    layout = Layout(tmp_path)
    layout.marker.write_text(json.dumps({"format": 1, "host": {"kind": "freebsd", "role": "all"}}))
    found = simulated.host_of(layout)
    assert found is not None
    return found


def test_a_site_of_this_machine_has_no_simulated_host(
    host: simulated.Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(simulated.sys, "platform", "freebsd15")
    assert simulated.host_of(host.layout) is None
    monkeypatch.setattr(simulated.sys, "platform", "linux")
    host.layout.marker.write_text(json.dumps({"format": 1, "host": {"kind": "linux", "role": "all"}}))
    assert simulated.host_of(host.layout) is None


@pytest.mark.parametrize("words", [
    ["--tempest"], ["--tempest", "scs", "--json"], ["--tempest", "scs", "--", "test_ports", "test_networks"],
    ["--tempest", "--", "--regex", "x"],
])  # fmt: skip
def test_it_is_the_same_command_in_the_hosts_network(
    host: simulated.Simulator, monkeypatch: pytest.MonkeyPatch, words: list[str]
) -> None:
    became: list[tuple[list[str], dict[str, str]]] = []

    def execve(program: str, argv: list[str], environment: dict[str, str]) -> NoReturn:
        became.append((argv, environment))
        raise SystemExit(0)

    monkeypatch.setattr(simulated.os, "execve", execve)
    monkeypatch.setattr(simulated.Simulator, "is_running", lambda self: True)
    monkeypatch.setattr(command, "make_environment", lambda directory, say: directory)
    arguments = main.parser().parse_args(["--root", str(host.layout.root), "test", *words])
    with pytest.raises(SystemExit):
        command.run(arguments, Path("/nowhere"))
    ((argv, environment),) = became
    assert argv[1:4] == ["outside", "--name", host.name]
    inner = argv[argv.index("--") + 2 :]
    assert vars(main.parser().parse_args(inner)) == vars(arguments)
    # In there it knows where it is, and does not ask the simulator again.
    assert not host.is_entered()
    monkeypatch.setenv(simulated.ENTERED, environment[simulated.ENTERED])
    assert host.is_entered()


def test_a_simulated_host_that_does_not_run_is_said_to(
    host: simulated.Simulator, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(simulated.Simulator, "is_running", lambda self: False)
    monkeypatch.setattr(command, "make_environment", lambda directory, say: directory)
    assert main.main(["--root", str(host.layout.root), "test", "--tempest"]) == 3
    assert capsys.readouterr().err == f"beastack: the simulated host {host.name} does not run (beastack up)\n"


def test_there_is_one_run_at_a_time(tmp_path: Path) -> None:
    with command.only_run(tmp_path), pytest.raises(TempestFailed, match="already"), command.only_run(tmp_path):
        pass
    with command.only_run(tmp_path):
        pass


def test_json_is_of_tempest_alone(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main.main(["test", "--json"])
    assert caught.value.code == 2
    assert "--json goes with test --tempest" in capsys.readouterr().err


def test_a_name_where_a_set_belongs_is_told_where_names_go(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main.main(["test", "--tempest", "test_ports"])
    assert caught.value.code == 2
    assert "'test_ports' is not smoke or scs (a test's name goes after --: --tempest -- test_ports)" in (
        capsys.readouterr().err
    )
