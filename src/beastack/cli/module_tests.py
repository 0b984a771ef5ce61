"""``beastack test``: the tests that need no host: of modules, and the attacks on the privilege separation."""

from __future__ import annotations

import os
import pwd
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from beastack.cli.test_runs import run_pytest, run_tests
from beastack.freebsd.command import run


def main(project: Path, venv: Path, attacks: Sequence[str]) -> int:
    """Run the unit tests, and the attacks also as nobody, and return the exit status.

    :param attacks: the attacks' directory, and options for them
    """
    status = run_pytest(project, venv, os.environ, "tests/unit")
    status |= run_pytest(project, venv, os.environ, *attacks)
    if os.geteuid() == 0:
        status |= _attack_as_nobody(project, venv, attacks)
    return status


def _attack_as_nobody(project: Path, venv: Path, attacks: Sequence[str]) -> int:
    """Run the attacks as nobody, from a copy that everybody can read, and return the exit status."""
    print("beastack test: tests/attack, as nobody", flush=True)
    nobody = pwd.getpwnam("nobody")
    with tempfile.TemporaryDirectory(prefix="beastack-attack-", dir="/var/tmp") as name:
        copy = Path(name)
        copy.chmod(0o755)
        for part in ("src", "tests/attack", "docs"):
            shutil.copytree(project / part, copy / part, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(project / "pyproject.toml", copy)
        run(["chmod", "-R", "a+rX", str(copy)])
        return run_tests(
            [f"{venv}/bin/pytest", "-p", "no:cacheprovider", *attacks], cwd=copy,
            env={**os.environ, "PYTHONPATH": f"{copy}/src", "HOME": "/nonexistent", "PYTHONDONTWRITEBYTECODE": "1"},
            user=nobody.pw_uid, group=nobody.pw_gid, extra_groups=[],
        )  # fmt: skip


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:]))
