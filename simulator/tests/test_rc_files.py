"""rc.conf(5) files, lists in them, and mac_do(4) rules."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from freebsd_sim.commands.mdo import Credentials, allows
from freebsd_sim.commands.rc_files import parse_line
from freebsd_sim.commands.sysrc import append, remove, write_variable

SCRIPTS = Path(__file__).resolve().parents[1] / "src/freebsd_sim/rc"


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ('a="b c"', ("a", "b c")),
        ("a=b # c", ("a", "b")),
        ("a='$b'", ("a", "$b")),
        ('a="$b x"', ("a", "known x")),
        ("  # a=b", None),
        (r'a="\"q\""', ("a", '"q"')),
    ],
)
def test_lines(line: str, found: tuple[str, str] | None) -> None:
    assert parse_line(line, {"b": "known"}) == found


def test_lists_grow_and_shrink() -> None:
    assert append("a b", "b c") == "a b c"
    assert append("", "x") == "x"
    assert append("a,b", ",c") == "a,b,c"
    assert remove("a b c", "b") == "a c"


def test_a_variable_keeps_its_line(tmp_path: Path) -> None:
    file = tmp_path / "rc.conf"
    file.write_text('# first\na="1"\nb="2"\n')
    write_variable(file, "a", 'x"y')
    assert file.read_text() == '# first\na="x\\"y"\nb="2"\n'
    write_variable(file, "a", None)
    assert file.read_text() == '# first\nb="2"\n'


@pytest.mark.parametrize("script", [path for path in SCRIPTS.rglob("*") if path.is_file()], ids=lambda path: path.name)
def test_scripts_are_shell(script: Path) -> None:
    subprocess.run(["sh", "-n", str(script)], check=True)


@pytest.mark.parametrize(
    ("rules", "allowed"),
    [
        ("uid=1001>uid=0,gid=*,+gid=*", True),
        ("uid=1001>any", True),
        ("uid=1002>any", False),
        ("uid=1001>uid=0,gid=0", False),
        ("uid=1001>uid=0", False),
        ("", False),
    ],
)
def test_becoming_root_with_its_groups(rules: str, allowed: bool) -> None:
    assert allows(rules, Credentials(1001, 1001, [1001]), Credentials(0, 0, [0, 5])) is allowed


def test_only_the_user_changes_without_gid_clauses() -> None:
    now = Credentials(1001, 1001, [1001])
    assert allows("uid=1001>uid=0", now, Credentials(0, 1001, [1001]))
