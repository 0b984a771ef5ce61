"""``beastack test``: the project's own tests, in a virtual environment of their own."""

from __future__ import annotations

import os
import subprocess
import sys
from argparse import Namespace
from pathlib import Path

from beastack.cli import contract_tests, functional_tests, host_tests
from beastack.cli.debian import install_packages
from beastack.cli.tempest import command, runner, selection
from beastack.cli.test_runs import TIDY_LIMIT, run_meanwhile, run_pytest
from beastack.freebsd.command import SEARCH_PATH
from beastack.site import environment

PROJECT = Path(__file__).resolve().parents[3]


def test_directory() -> Path:
    """Return where the tests' environment is kept between runs."""
    base = Path("/var/cache") if os.geteuid() == 0 else Path(os.environ.get("HOME", "/tmp")) / ".cache"
    return base / "beastack-test"


def test_environment() -> Path:
    """Return the tests' virtual environment, made if it is not there.

    :raises EnvironmentFailed: a package cannot be fetched
    """
    directory = test_directory()
    venv = directory / "venv"
    lock = environment.REQUIREMENTS / "test.txt"
    if not environment.is_made(venv, lock):
        directory.mkdir(parents=True, exist_ok=True)
        if os.geteuid() == 0 and not _have_ensurepip():
            install_packages(("python3-venv",))
        environment.make(
            venv, (lock,), sys.executable, directory, lambda text: print(f"beastack test: {text}", flush=True)
        )
    return venv


def _have_ensurepip() -> bool:
    import importlib.util

    return importlib.util.find_spec("ensurepip") is not None


def run_tests(arguments: Namespace) -> int:
    """Run the checks and tests, or Tempest, and return the exit status."""
    if arguments.tempest:
        return command.run(arguments, test_directory() / "tempest")
    venv = test_environment()
    variables = {
        **os.environ, "PATH": f"{venv}/bin:{SEARCH_PATH}", "LC_ALL": "C.UTF-8",
        "PYTHONPATH": str(PROJECT / "src"), "BEASTACK": str(PROJECT / "beastack"),
    }  # fmt: skip
    if arguments.arguments:
        # In its place: pytest has the terminal to itself, for a debugger or an interrupt.
        os.chdir(PROJECT)
        os.execve(f"{venv}/bin/pytest", ["pytest", *arguments.arguments], variables)
    status = 0
    for title, argv in (
        ("ruff", ["ruff", "check", "src", "tests", "benchmarks", "simulator"]),
        ("mypy", ["mypy", "src/beastack"]),
        ("mypy, simulator", ["mypy", "simulator/src/freebsd_sim"]),
        ("mypy, benchmarks", ["mypy", "benchmarks"]),
    ):
        print(f"beastack test: {title}", flush=True)
        status |= subprocess.run([f"{venv}/bin/{argv[0]}", *argv[1:]], cwd=PROJECT, env=variables).returncode
    if os.geteuid() != 0:
        print("beastack test: not root, so the tests of simulated hosts and of a whole cloud are left out", flush=True)
    releases = contract_tests.make_environments(test_directory())
    interpreters = {release: release_venv / "bin" / "python" for release, release_venv in releases.items()}
    attacks = ["tests/attack", f"--oslo-python={interpreters[contract_tests.RELEASES[-1]]}"]
    # Neither of the two has use for more than one processor.
    argv = [sys.executable, "-m", "beastack.cli.module_tests", str(PROJECT), str(venv), *attacks]
    with run_meanwhile(argv, variables, tidy=TIDY_LIMIT) as modules:
        status |= run_pytest(PROJECT, venv, variables, "simulator/tests")
        if os.geteuid() == 0:
            shares = [releases[contract_tests.RELEASES[-1]]]
            status |= host_tests.run_tests(PROJECT, venv, test_directory(), variables, shares, attacks)
            status |= functional_tests.run_tests(PROJECT, venv, test_directory(), variables, interpreters)
        status |= _check_conformance_list()
        status |= modules()
    status |= contract_tests.run_upstream_tests(PROJECT, releases, variables, measures_time=True)
    # The tests of clouds wait much: for guests to boot and for agents to report.
    argv = [
        "nice", "-n", "15", sys.executable, "-m", "beastack.cli.contract_tests", str(PROJECT), str(test_directory()),
    ]  # fmt: skip
    # They make nothing that outlives them.
    with run_meanwhile(argv, variables, tidy=0) as seams:
        if os.geteuid() == 0:
            status |= run_pytest(PROJECT, venv, variables, "tests/cloud", "--durations=40", "--durations-min=5")
        print("beastack test: seams, against OpenStack's own code, run meanwhile", flush=True)
        status |= seams()
    return status


def _check_conformance_list() -> int:
    """Check that the Tempest that is locked has every test of SCS-0128's list, and return the exit status."""
    venv = runner.make_environment(
        test_directory() / "tempest", lambda text: print(f"beastack test: Tempest: {text}", flush=True)
    )
    tests = selection.scs_tests()
    unknown = selection.unknown_ids(tests, runner.package_of(venv))
    for name in unknown:
        print(f"beastack test: Tempest has no such test any more: {name}", flush=True)
    there = len(tests) - len(unknown)
    print(f"beastack test: the list of SCS-0128: Tempest has {there} of its {len(tests)} tests", flush=True)
    return 1 if unknown else 0
