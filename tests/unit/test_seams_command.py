"""``beastack seams``: the page, the data, and the check of what is installed."""

from __future__ import annotations

import json
import os
import re
import shutil
from argparse import Namespace
from pathlib import Path

import pytest

from beastack.cli import seams as command
from beastack.cli.contract_tests import GROUPS, MODES, RELEASES, Group, compare, lock_files
from beastack.cli.main import main
from beastack.port.seams import ALL, installed_on
from beastack.site.operate import SiteError


@pytest.fixture
def venv(tmp_path: Path) -> Path:
    """An environment without the code of any seam."""
    packages = tmp_path / "venv" / "lib" / "python3.11" / "site-packages"
    for seam in ALL:
        info = packages / f"{seam.distribution.replace('.', '_')}-{next(iter(seam.hashes))}.dist-info"
        info.mkdir(parents=True, exist_ok=True)
        version = next(iter(seam.hashes))
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {seam.distribution}\nVersion: {version}.0\n")
        file = packages.joinpath(*seam.module.split(".")).with_suffix(".py")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("def nothing():\n    pass\n")
    return tmp_path / "venv"


@pytest.mark.parametrize("host", ["freebsd", "linux"])
def test_the_page_tells_of_each_seam_of_a_kind_of_host(host: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["seams", "--host", host]) == 0
    text = capsys.readouterr().out
    for seam in ALL:
        assert (f"\n{seam.id}  {seam.target}  ({seam.kind})\n" in text) == (seam in installed_on(host))
    assert text.count("retired by:") == text.count("why:") == text.count("since:") == len(installed_on(host))
    headings = {f"{seam.id}  {seam.target}  ({seam.kind})" for seam in ALL}
    assert all(len(line) <= 100 or " " not in line.strip() for line in text.splitlines() if line not in headings)
    assert text.startswith(f"{len(installed_on(host))} seam")


def test_all_of_them_with_those_that_are_not_in_use(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["seams", "--all", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["id"] for row in rows] == [seam.id for seam in ALL]
    assert {row["id"]: row["installed_on"] for row in rows}["N1"] == ["freebsd"]
    assert all(row["hashes"] and row["why"] and row["retired_by"] for row in rows)


def test_where_nothing_is_installed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--root", str(tmp_path), "seams", "--check"]) == 3
    assert capsys.readouterr().err.startswith(f"beastack: nothing is installed in {tmp_path}/venv (")


def test_a_seam_that_does_not_fit_is_one_line_and_status_1(venv: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--root", str(venv.parent), "seams", "--check", "--host", "freebsd"]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(": ")[1] for line in lines] == [f"seam {seam.id}" for seam in installed_on("freebsd")]
    assert "oslo.messaging 17.0" in lines[2] and "impl_rabbit.py" in lines[2]


def test_a_distribution_that_is_missing(venv: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.rmtree(next(venv.glob("lib/python3.11/site-packages/nova-*.dist-info")))
    assert main(["seams", "--check", "--venv", str(venv), "--host", "linux", "--json"]) == 1
    answer = json.loads(capsys.readouterr().out)
    assert answer["fits"] is False
    assert "nova is not installed" in {row["id"]: row for row in answer["seams"]}["L1"]["problem"]


def test_the_brave_may_go_on(venv: Path, capsys: pytest.CaptureFixture[str]) -> None:
    allowed = ["--allow-changed", "K1", "--allow-changed", "L1"]
    assert main(["seams", "--check", "--venv", str(venv), "--host", "linux", *allowed]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("K1  allowed all the same: seam K1: ")
    assert lines[1].startswith("L1  allowed all the same: seam L1: ")


def test_what_is_allowed_is_passed_on_to_the_services(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BEASTACK_ALLOW_CHANGED", "C1")
    command.pass_on(Namespace(allow_changed=["L1"]))
    assert os.environ["BEASTACK_ALLOW_CHANGED"] == "C1,L1"
    with pytest.raises(SiteError, match="there is no seam X9"):
        command.pass_on(Namespace(allow_changed=["X9"]))


# How upstream's tests have to end.

GROUP = Group("g", ("m",), differ=("T.test_b",))


@pytest.mark.parametrize(
    ("installed", "effective", "problem"),
    [
        ({}, {"T.test_b": "failed"}, ""),
        ({"T.test_a": "failed"}, {"T.test_b": "failed"}, "m.T.test_a: passed without seams, failed with the seams"),
        ({"T.test_b": "failed"}, {"T.test_b": "failed"}, "m.T.test_b: passed without seams, failed with the seams"),
        ({}, {"T.test_b": "failed", "T.test_a": "skipped"}, "m.T.test_a: passed without seams, skipped where"),
        ({}, {}, "T.test_b is declared to differ"),
    ],
)
def test_only_declared_differences_pass(installed: dict[str, str], effective: dict[str, str], problem: str) -> None:
    without = {"m.T.test_a": "passed", "m.T.test_b": "passed"}
    ended = [{**without, **{f"m.{name}": state for name, state in some.items()}} for some in (installed, effective)]
    problems = compare(GROUP, without, *ended)
    assert len(problems) == (1 if problem else 0)
    assert not problem or problems[0].startswith(problem)


def test_tests_that_did_not_run_are_a_failure() -> None:
    assert compare(GROUP, {}, {}, {}) == ["g: upstream's tests could not be run"]
    assert compare(GROUP, {"m.T.test_a": "failed"}, {}, {})[0].endswith("could not be run")


def test_every_seam_and_release_is_held() -> None:
    packages = {module.partition(".")[0] for group in GROUPS for module in group.modules}
    # Keystone's own tests want python-ldap, which has to be compiled, and libraries in versions of their own.
    assert {seam.module.partition(".")[0] for seam in ALL} - {"keystone"} == packages
    for release in RELEASES:
        assert packages == {name.partition(".")[0] for group in GROUPS if release in group.releases
                            for name in group.modules}  # fmt: skip
    assert len(MODES) == 3
    assert all(lock.is_file() for release in RELEASES for lock in lock_files(release))
    assert set(RELEASES) == set(command.RELEASES)


#: More than this many seams, and upstream would better be changed.
MOST = 22

WORDS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
         "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen", "twenty", "twenty-one",
         "twenty-two")  # fmt: skip


def named_seams(text: str) -> list[str]:
    """Return the seams that a text names: ``C1, C2``, and ``V1 to V6`` for all between."""
    found = []
    for kind, first, last in re.findall(r"\b([A-Z])(\d)(?: to [A-Z](\d))?\b", text):
        found += [f"{kind}{number}" for number in range(int(first), int(last or first) + 1)]
    return found


@pytest.mark.parametrize("host", ["freebsd", "linux"])
def test_the_readme_names_and_counts_the_seams_of_each_kind_of_host(host: str) -> None:
    lines = (Path(__file__).parents[2] / "README.md").read_text().splitlines()
    rows = lines[lines.index("| host | seams |") + 2 :]
    text = next(row for row in rows if row.startswith(f"| `{host}` |")).split("|")[2].strip()
    ids = [seam.id for seam in installed_on(host)]
    assert sorted(named_seams(text)) == sorted(ids)
    if len(ids) > 1:
        assert text.startswith(f"{WORDS[len(ids)]}: ")


def test_there_are_few_and_every_one_is_in_use() -> None:
    assert len(ALL) <= MOST
    assert {seam.id for seam in ALL} == {seam.id for host in ("freebsd", "linux") for seam in installed_on(host)}
