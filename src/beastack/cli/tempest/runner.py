"""Tempest itself: its virtual environment, its workspace, and a run of it."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from beastack.cli.tempest.facts import TempestFailed
from beastack.cli.tempest.private_files import make_private, write_private
from beastack.cli.tempest.selection import Case, listed
from beastack.freebsd.command import SEARCH_PATH, CommandError
from beastack.freebsd.command import run as run_command
from beastack.site import environment

LOCK = environment.REQUIREMENTS / "tempest.txt"

#: Seconds that a test may take; none takes longer unless it hangs.
TEST_LIMIT = 1800


def make_environment(directory: Path, say: Callable[[str], None]) -> Path:
    """Return Tempest's virtual environment, made in ``directory`` if it is not there.

    :raises EnvironmentFailed: a package cannot be fetched
    """
    venv = directory / "venv"
    if not environment.is_made(venv, LOCK):
        directory.mkdir(parents=True, exist_ok=True)
        environment.make(venv, (LOCK,), sys.executable, directory, say)
    return venv


def package_of(venv: Path) -> Path:
    """Return Tempest's code. Raises TempestFailed where there is none."""
    package = next(venv.glob("lib/python3*/site-packages/tempest"), None)
    if package is None:
        raise TempestFailed(f"{venv} holds no Tempest: remove it and try again")
    return package


@dataclass(frozen=True)
class Runner:
    """Tempest in its virtual environment, with a workspace that nobody but its owner can read."""

    venv: Path
    workspace: Path

    @property
    def log(self) -> Path:
        """All that a run says."""
        return self.workspace / "log" / "run.log"

    @property
    def version(self) -> str:
        """Tempest's version."""
        info = next(self.venv.glob("lib/python3*/site-packages/tempest-*.dist-info"), None)
        return info.name.removeprefix("tempest-").removesuffix(".dist-info") if info else "of an unknown version"

    def prepare(self, configuration: str) -> None:
        """Write the workspace.

        :raises TempestFailed: the virtual environment holds no Tempest
        """
        package = package_of(self.venv)
        for directory in (self.workspace, self.workspace / "log", self.workspace / "locks"):
            make_private(directory)
        # A file there means an account in use, also after a run that was killed.
        for lock in (self.workspace / "locks").iterdir():
            lock.unlink()
        write_private(self.workspace / "tempest.conf", configuration)
        write_private(
            self.workspace / ".stestr.conf",
            f"[DEFAULT]\ntest_path={package}/test_discover\ntop_dir={package}\ngroup_regex=([^\\.]*\\.)*\n",
        )
        (self.workspace / "log" / "tempest.log").unlink(missing_ok=True)

    def tests(self, options: Sequence[str]) -> list[Case]:
        """Return the tests that options of ``tempest run`` select.

        :raises TempestFailed: they cannot be listed
        """
        variables = self._variables()
        try:
            if not (self.workspace / ".stestr").exists():
                run_command([f"{self.venv}/bin/stestr", "init"], env=variables, cwd=self.workspace)
            result = run_command(self._argv(["--list-tests", *options]), timeout=300, env=variables, cwd=self.workspace)
        except CommandError as error:
            raise TempestFailed(f"Tempest cannot list its tests: {error}") from error
        return listed(result.stdout.splitlines())

    def load_list(self, tests: Sequence[Case]) -> list[str]:
        """Return options of ``tempest run`` that select exactly these tests."""
        chosen = self.workspace / "tests.lst"
        write_private(chosen, "".join(f"{test.line}\n" for test in tests))
        return ["--load-list", str(chosen)]

    def stream(self, options: Sequence[str]) -> Iterator[str]:
        """Run Tempest and give its lines as they come; keep all of them in a file.

        :raises TempestFailed: it did not come to an end of its own
        """
        write_private(self.log, "")
        with self.log.open("a") as keep, subprocess.Popen(
            self._argv(options), cwd=self.workspace, env=self._variables(), text=True, errors="replace",
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
        ) as child:  # fmt: skip
            try:
                for line in child.stdout or ():
                    keep.write(line)
                    keep.flush()
                    yield line.rstrip("\n")
            except BaseException:
                _stop(child)
                raise
        if child.returncode not in (0, 1):
            last = next((line for line in reversed(self.log.read_text().splitlines()) if line.strip()), "")
            raise TempestFailed(f"Tempest ended with status {child.returncode}: {last} (see {self.log})")

    def _argv(self, options: Sequence[str]) -> list[str]:
        return [f"{self.venv}/bin/tempest", "run", "--config-file", str(self.workspace / "tempest.conf"), *options]

    def _variables(self) -> dict[str, str]:
        return {
            "PATH": f"{self.venv}/bin:{SEARCH_PATH}", "LC_ALL": "C.UTF-8", "HOME": str(self.workspace),
            "PYTHONUNBUFFERED": "1", "PYTHON": f"{self.venv}/bin/python", "OS_TEST_TIMEOUT": str(TEST_LIMIT),
        }  # fmt: skip


def _stop(child: subprocess.Popen[str]) -> None:
    """End Tempest and its workers."""
    for number, patience in ((signal.SIGINT, 20.0), (signal.SIGKILL, 5.0)):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(patience)
            return
