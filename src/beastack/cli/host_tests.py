"""``beastack test``: the host library's tests and the attacks, run inside a simulated FreeBSD host."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from beastack.cli.debian import install_packages
from beastack.site import guest_image

NAME = "host-tests"


def _guest_image(directory: Path) -> Path:
    install_packages(guest_image.required_packages())
    target = directory / "guest" / "guest.raw"
    target.parent.mkdir(parents=True, exist_ok=True)
    guest_image.build_guest_image(target, directory / "guest-work")
    return target


def run_tests(
    project: Path, venv: Path, directory: Path, variables: Mapping[str, str], further: Sequence[Path],
    attacks: Sequence[str],
) -> int:  # fmt: skip
    """Run tests/host and the attacks inside a fresh simulated host and return the exit status.

    The tests fail too when they touched anything that only Linux has.

    :param further: directories that are shown inside, beside the project and the tests' environment
    :param attacks: arguments for pytest

    :param directory: where the simulator keeps its state between runs
    """
    environment = {
        **variables,
        "FREEBSD_SIM_PYTHON": f"{venv}/bin/python",
        "FREEBSD_SIM_STATE": f"{directory}/simulator",
    }
    simulator = [str(project / "simulator/freebsd-sim")]

    def sim(*arguments: str, **options: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run([*simulator, *arguments], env=environment, text=True, check=False, **options)  # type: ignore[call-overload, no-any-return]

    print("beastack test: tests/host, inside a simulated FreeBSD host", flush=True)
    sim("remove", "--name", NAME, capture_output=True)
    image = _guest_image(directory)
    shares = [f"--share={path}" for path in (project, venv, image.parent, *further)]
    status = sim("start", "--name", NAME, *shares).returncode
    if status != 0:
        return status
    try:
        pytest = [f"{venv}/bin/pytest", "-p", "no:cacheprovider"]
        inside = ["run", "--name", NAME, "--cwd", str(project), "--env", f"PYTHONPATH={project}/src"]
        status = sim(*inside, *pytest, "tests/host", "--host=simulated", f"--guest-image={image}").returncode
        print("beastack test: tests/attack, inside the simulated FreeBSD host", flush=True)
        status |= sim(*inside, *pytest, *attacks).returncode
        listing = sim("status", "--name", NAME, "--linuxisms", "--json", capture_output=True)
        touched = [{"what": "unknown: freebsd-sim status failed"}]
        if listing.returncode == 0:
            touched = json.loads(listing.stdout)["hosts"][0]["linuxisms"]
        for item in touched:
            print(f"beastack test: touched what only Linux has: {item}", flush=True)
        return status or (1 if touched else 0)
    finally:
        sim("remove", "--name", NAME, capture_output=True)
