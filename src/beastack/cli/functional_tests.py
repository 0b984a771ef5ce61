"""``beastack test``: upstream's own functional tests, unchanged, in a simulated FreeBSD host with the seams in place.

They make real jails, interfaces, addresses and routes. What cannot pass
there is declared, with the reason, in tests/functional/not_applicable.toml:
all other tests have to pass, and those must not.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
import tomllib
from collections.abc import Mapping
from pathlib import Path

NAME = "functional-tests"

#: Seconds that one release's tests may take.
LIMIT = 600

MODULES = (
    "neutron.tests.functional.agent.linux.test_ip_lib",
    "neutron.tests.functional.privileged.agent.linux.test_ip_lib",
    "neutron.tests.functional.agent.l3.test_namespace_manager",
)


def read_declared(project: Path) -> dict[str, str]:
    """Return the tests that do not apply, by id, with the reasons.

    :raises ValueError: the file is not as it should be
    """
    tables = tomllib.loads((project / "tests/functional/not_applicable.toml").read_text(encoding="utf-8"))
    return {f"{module}.{test}": str(reason) for module, tests in tables.items() for test, reason in tests.items()}


def compare(states: Mapping[str, str], reasons: Mapping[str, str], declared: Mapping[str, str]) -> list[str]:
    """Return what is wrong with how the tests ended.

    :param states: ``passed``, ``failed``, ``skipped`` (by upstream itself) ..., by id
    :param reasons: what a test said, by id; the last line of it is told
    :param declared: the tests that must fail, by id
    """
    if "passed" not in states.values():
        return ["upstream's tests could not be run", *(text for text in list(reasons.values())[:1])]
    problems = []
    for name, state in sorted(states.items()):
        if name in declared:
            if state != "failed":
                problems.append(f"{name} is declared not to apply, and ends as {state!r}")
        elif state not in ("passed", "skipped"):
            said = (reasons.get(name, "").strip().splitlines() or ["nothing said"])[-1]
            problems.append(f"{name} ends as {state!r}: {said}")
    return problems + [
        f"{name} is declared not to apply, and is not there" for name in sorted(set(declared) - set(states))
    ]


def run_tests(
    project: Path, venv: Path, directory: Path, variables: Mapping[str, str], interpreters: Mapping[str, Path]
) -> int:
    """Run upstream's tests of every release inside a fresh simulated host and return the exit status.

    :param venv: the environment that the simulator itself runs in
    :param directory: where the simulator keeps its state between runs
    :param interpreters: the Python of each release's environment, by the release's name
    """
    environment = {
        **variables,
        "FREEBSD_SIM_PYTHON": f"{venv}/bin/python",
        "FREEBSD_SIM_STATE": f"{directory}/simulator",
    }
    simulator = [str(project / "simulator/freebsd-sim")]

    def sim(*arguments: str, **options: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run([*simulator, *arguments], env=environment, text=True, check=False, **options)  # type: ignore[call-overload, no-any-return]

    print("beastack test: upstream's functional tests, inside a simulated FreeBSD host", flush=True)
    declared = read_declared(project)
    with tempfile.TemporaryDirectory(prefix="beastack-functional-", dir="/var/tmp") as output:

        def run_release(release: str) -> list[str]:
            python = interpreters[release]
            result = Path(output) / f"{release}.json"
            inside = ["run", "--name", NAME, "--cwd", str(project), "--env", f"PYTHONPATH={project}/src",
                      "--env", f"PYTHONPYCACHEPREFIX={python.parent.parent}/pycache"]  # fmt: skip
            command = [str(python), str(project / "tests/functional/run_upstream.py"), str(result), *MODULES]
            try:
                with (Path(output) / f"{release}.log").open("w") as log:
                    sim(*inside, *command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, timeout=LIMIT)
                found = json.loads(result.read_text())
            except (subprocess.TimeoutExpired, OSError, ValueError) as error:
                text = (Path(output) / f"{release}.log").read_text()[-2000:]
                return [f"{release}: the tests could not be run: {error}\n{text}"]
            problems = compare(found["states"], found["reasons"], declared)
            passed = sum(state == "passed" for state in found["states"].values())
            print(
                f"beastack test: upstream's functional tests, OpenStack {release}: {passed} of {len(found['states'])} "
                f"pass, {len(declared)} do not apply, {len(problems)} problems", flush=True,
            )  # fmt: skip
            return [f"{release}: {problem}" for problem in problems]

        sim("remove", "--name", NAME, capture_output=True)
        shares = [
            f"--share={path}" for path in (project, venv, *(p.parent.parent for p in interpreters.values()), output)
        ]
        status = sim("start", "--name", NAME, "--without-libvirt", *shares).returncode
        if status != 0:
            return status
        try:
            # One after the other: some tests have names of their own for interfaces, which would meet on the host.
            problems = [problem for release in interpreters for problem in run_release(release)]
            listing = sim("status", "--name", NAME, "--linuxisms", "--json", capture_output=True)
            touched = ["unknown: freebsd-sim status failed"]
            if listing.returncode == 0:
                touched = [str(item) for item in json.loads(listing.stdout)["hosts"][0]["linuxisms"]]
            problems += [f"touched what only Linux has: {item}" for item in touched]
            for problem in problems:
                print(f"beastack test: {problem}", flush=True)
            return 1 if problems else 0
        finally:
            sim("remove", "--name", NAME, capture_output=True)
