"""The command line: which status each end has, and one line for each error."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
from argparse import Namespace
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import beastack
from beastack.cli import commands
from beastack.cli.main import main, parser
from beastack.freebsd.command import CommandError
from beastack.site.description import DescriptionError
from beastack.site.execute import StepFailed
from beastack.site.layout import FORMAT
from beastack.site.operate import NotASite, SiteError
from beastack.site.plan import Step
from beastack.site.wait import STOPPING, Interrupted, WaitTimeout
from beastack.supervisor.client import SupervisorError

SOURCE = Path(beastack.__file__).resolve().parent.parent


@pytest.fixture(autouse=True)
def signals_as_before() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)
    STOPPING.clear()


@pytest.fixture
def ending(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[BaseException], int]:
    """Run a command that ends with an error."""

    def run(error: BaseException) -> int:
        def status(arguments: Namespace) -> int:
            raise error

        monkeypatch.setitem(commands.VERBS, "status", status)
        return main(["--root", str(tmp_path), "status"])

    return run


def beastack_command(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "beastack", *arguments],
        env={**os.environ, "PYTHONPATH": str(SOURCE)}, capture_output=True, text=True, timeout=60,
    )  # fmt: skip


# Arguments.


def verbs() -> list[str]:
    return sorted(commands.VERBS)


@pytest.mark.parametrize("arguments", [[], *([verb] for verb in verbs()), ["image", "list"], ["image", "add"]])
def test_every_command_explains_itself(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main([*arguments, "--help"])
    assert caught.value.code == 0
    output = capsys.readouterr()
    assert output.out.startswith(f"usage: {' '.join(['beastack', *arguments])}")
    assert output.err == ""


def test_every_command_that_is_offered_is_there(capsys: pytest.CaptureFixture[str]) -> None:
    listed = [line.split()[0] for line in parser().format_help().splitlines() if line.startswith("    ")]
    assert set(verbs()) <= set(listed)


def test_the_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["--version"])
    assert caught.value.code == 0
    assert capsys.readouterr().out == f"beastack {beastack.__version__}\n"


@pytest.mark.parametrize(
    "arguments",
    [[], ["nonsense"], ["up", "--nonsense"], ["openrc", "root"], ["image"], ["image", "add"], ["logs", "-n", "many"]],
)
def test_wrong_arguments_are_status_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.splitlines()[-1].startswith("beastack")


def test_the_root_is_absolute_and_free_of_links(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    monkeypatch.chdir(tmp_path)
    seen: list[Path] = []

    def status(arguments: Namespace) -> int:
        seen.append(arguments.root)
        return 0

    monkeypatch.setitem(commands.VERBS, "status", status)
    assert main(["--root", "link/site", "status"]) == 0
    assert seen == [tmp_path.resolve() / "real" / "site"]


# Errors.


@pytest.mark.parametrize(
    ("error", "status", "line"),
    [
        (SiteError("the disk is full: free some"), 1, "the disk is full: free some"),
        (NotASite("there is no site"), 3, "there is no site"),
        (StepFailed(Step("users", "Make service users"), OSError("no")), 1, "Make service users: no"),
        (CommandError(["useradd"], 9, "", "useradd: exists\n"), 1, "useradd exited with status 9: useradd: exists"),
        (WaitTimeout("it", 3, "two\nlines"), 1, "waited 3 s for it; last seen: two lines"),
        (SupervisorError("it\n  does not\tanswer"), 1, "it does not answer"),
        (KeyboardInterrupt(), 130, "interrupted"),
        (Interrupted("stopped"), 130, "interrupted; what is done stays, and up goes on from there"),
        (PermissionError(errno.EACCES, "Permission denied", "/etc/x"), 1, "/etc/x: permission denied (run as root)"),
        (OSError(errno.ENOSPC, "No space left on device", "/srv"), 1, "/srv: No space left on device"),
        (OSError("odd"), 1, "the system: odd"),
    ],
)
def test_each_error_is_one_line_and_a_status(
    error: BaseException,
    status: int,
    line: str,
    ending: Callable[[BaseException], int],
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert ending(error) == status
    output = capsys.readouterr()
    assert output.err == f"beastack: {line}\n"
    assert output.out == ""


def test_all_that_is_wrong_in_a_description_is_told(
    ending: Callable[[BaseException], int], capsys: pytest.CaptureFixture[str]
) -> None:
    first = DescriptionError(Path("/site.toml"), 2, "site.x", "unknown key")
    first.problems = (first, DescriptionError(Path("/site.toml"), 5, "", "not valid"))
    assert ending(first) == 1
    assert capsys.readouterr().err == (
        "beastack: /site.toml:2: site.x: unknown key\nbeastack: /site.toml:5: not valid\n"
    )


def test_an_error_after_an_interrupt_is_the_interrupt(
    ending: Callable[[BaseException], int], capsys: pytest.CaptureFixture[str]
) -> None:
    STOPPING.set()
    assert ending(StepFailed(Step("users", "Make service users"), Interrupted("stopped"))) == 130
    assert capsys.readouterr().err == "beastack: interrupted; what is done stays, and up goes on from there\n"


@pytest.mark.parametrize("error", [ZeroDivisionError("division by zero"), AssertionError(), KeyError("a\nb")])
def test_a_fault_of_ours_is_one_line_and_a_file(
    error: Exception, ending: Callable[[BaseException], int], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "log").mkdir()
    assert ending(error) == 1
    output = capsys.readouterr().err
    place = tmp_path / "log" / "beastack.log"
    assert output.count("\n") == 1
    assert output.startswith(f"beastack: a fault in beastack itself: {type(error).__name__}: ")
    assert output.endswith(f" (details in {place})\n")
    assert "Traceback" not in output
    assert place.read_text().startswith("Traceback (most recent call last):\n")
    assert type(error).__name__ in place.read_text().splitlines()[-1]


def test_a_fault_of_ours_without_a_place_for_it_is_one_line(
    ending: Callable[[BaseException], int], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert ending(ZeroDivisionError("division by zero")) == 1
    assert capsys.readouterr().err == "beastack: a fault in beastack itself: ZeroDivisionError: division by zero\n"
    assert list(tmp_path.iterdir()) == []


# As a program.


def test_what_there_is_no_site_for(tmp_path: Path) -> None:
    root = tmp_path / "none"
    result = beastack_command("--root", str(root), "openrc")
    assert result.returncode == 3
    assert result.stderr == f"beastack: there is no site at {root} (make one with: beastack up)\n"
    assert result.stdout == ""
    assert not root.exists()


def test_a_wrong_description_names_file_line_and_key(tmp_path: Path) -> None:
    (tmp_path / "site.toml").write_text('[site]\nregion = "ok"\nworkres = 2\n\n[logs]\nlevel = "loud"\n')
    result = beastack_command("--root", str(tmp_path), "openrc")
    assert result.returncode == 1
    lines = result.stderr.splitlines()
    assert [line.split(": ")[:3] for line in lines] == [
        ["beastack", f"{tmp_path}/site.toml:3", "site.workres"],
        ["beastack", f"{tmp_path}/site.toml:6", "logs.level"],
    ]


@pytest.mark.parametrize("verb", ["openrc", "status", "logs", "down", "destroy", "enable", "image list"])
def test_a_site_of_a_newer_release_is_one_line(verb: str, tmp_path: Path) -> None:
    (tmp_path / "site.json").write_text(json.dumps({"format": FORMAT + 1, "version": "9"}))
    result = beastack_command("--root", str(tmp_path), *verb.split())
    assert result.returncode == 1
    assert result.stderr.count("\n") == 1
    if os.geteuid() == 0 or verb in ("openrc", "status", "logs", "image list"):
        assert "was made by a newer beastack" in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["site.json"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may")
def test_up_is_for_root_only(tmp_path: Path) -> None:
    result = beastack_command("--root", str(tmp_path / "site"), "up")
    assert result.returncode == 1
    assert result.stderr == ("beastack: this must be run as root (it installs packages and makes network interfaces)\n")
    assert not (tmp_path / "site").exists()


def test_a_reader_that_leaves_early_is_no_error() -> None:
    program = f"'{sys.executable}' -m beastack describe | head -n 1; exit ${{PIPESTATUS[0]}}"
    result = subprocess.run(
        ["bash", "-c", program],
        env={**os.environ, "PYTHONPATH": str(SOURCE)}, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert result.stdout.startswith("# A site's description.")
    assert result.stderr == ""
    assert result.returncode == 0
