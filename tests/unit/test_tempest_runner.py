"""Tempest's workspace: private, and fresh for each run."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from beastack.cli.tempest.configuration import sections
from beastack.cli.tempest.facts import TempestFailed
from beastack.cli.tempest.runner import Runner
from beastack.cli.tempest.selection import Case
from beastack.site.configuration import render
from tempest_facts import FACTS

CONFIGURATION = render(sections(FACTS, "other-image-id", Path("/site/data/tempest"), None))


def runner_at(tmp_path: Path) -> Runner:
    """Return a runner whose environment looks as if it held Tempest."""
    venv = tmp_path / "venv"
    (venv / "lib/python3.11/site-packages/tempest/test_discover").mkdir(parents=True)
    return Runner(venv, tmp_path / "site" / "tempest")


def test_the_password_is_in_one_private_file(tmp_path: Path) -> None:
    runner = runner_at(tmp_path)
    runner.prepare(CONFIGURATION)
    files = [path for path in runner.workspace.rglob("*") if path.is_file()]
    holders = [path.name for path in files if FACTS.password in path.read_text()]
    assert holders == ["tempest.conf"]
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}
    directories = [runner.workspace, *(path for path in runner.workspace.rglob("*") if path.is_dir())]
    assert {stat.S_IMODE(path.stat().st_mode) for path in directories} == {0o700}


def test_a_workspace_with_loose_permissions_is_tightened(tmp_path: Path) -> None:
    runner = runner_at(tmp_path)
    runner.workspace.mkdir(parents=True, mode=0o755)
    (runner.workspace / "tempest.conf").write_text("")
    (runner.workspace / "tempest.conf").chmod(0o644)
    runner.prepare(CONFIGURATION)
    assert stat.S_IMODE(runner.workspace.stat().st_mode) == 0o700
    assert stat.S_IMODE((runner.workspace / "tempest.conf").stat().st_mode) == 0o600


def test_accounts_that_a_killed_run_held_are_free_again(tmp_path: Path) -> None:
    runner = runner_at(tmp_path)
    runner.prepare(CONFIGURATION)
    (runner.workspace / "locks" / "0a1b2c").write_text("a test that is gone")
    runner.prepare(CONFIGURATION)
    assert list((runner.workspace / "locks").iterdir()) == []


def test_an_environment_without_tempest_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(TempestFailed, match="holds no Tempest") as caught:
        Runner(tmp_path / "venv", tmp_path / "work").prepare(CONFIGURATION)
    assert "\n" not in str(caught.value)


def test_tests_are_chosen_by_a_file_of_exactly_these(tmp_path: Path) -> None:
    runner = runner_at(tmp_path)
    runner.prepare(CONFIGURATION)
    option, path = runner.load_list([Case("tempest.api.A.one[id-1,smoke]"), Case("tempest.api.A.two[id-2]")])
    assert option == "--load-list"
    assert Path(path).read_text() == "tempest.api.A.one[id-1,smoke]\ntempest.api.A.two[id-2]\n"
