"""``beastack test``: the seams against upstream's own code, for every supported release of it.

Two sets for each release, in a virtual environment that holds that release
and nothing running: the contract tests (tests/contract), which run upstream's
code through each seam, and upstream's own unit tests of the modules that
seams touch, which have to end with the seams as they end without.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from beastack.site import environment

RELEASES = ("2026.1", "2026.2")

#: Seconds that one run of upstream's tests may take: they get what the tests of clouds leave of the processors.
LIMIT = 2400

MODES = ("without", "installed", "effective")


@dataclass(frozen=True)
class Group:
    """Unit tests of upstream's that are run together: modules, or packages with all of theirs.

    ``leave_out`` names modules or classes.
    ``differ`` names tests (by the end of their id) that cannot end alike
    where a seam takes effect, because they look at the very call that the
    system has not got. They have to differ, too: a name that is listed in
    vain is an error.

    ``releases`` are those that it is run of: what takes long is run of the
    release that sites install. ``measures_time``: not beside anything else, which
    would take the time from them.
    """

    name: str
    modules: tuple[str, ...]
    leave_out: tuple[str, ...] = ()
    differ: tuple[str, ...] = ()
    releases: tuple[str, ...] = RELEASES
    measures_time: bool = False


#: Upstream's tests of nova's libvirt driver, and those modules of it whose tests hold the tables that seams add to.
LIBVIRT = "nova.tests.unit.virt.libvirt"
TOUCHED = ("test_blockinfo", "test_config", "test_guest", "test_vif")

GROUPS = (
    # With "nova" below these are the whole package; first, because they take longest.
    Group("nova driver", (f"{LIBVIRT}.test_driver",), releases=RELEASES[-1:]),
    Group("nova libvirt", (LIBVIRT,), leave_out=("test_driver", *TOUCHED), releases=RELEASES[-1:]),
    Group(
        "oslo.messaging",
        ("oslo_messaging.tests.drivers.test_impl_rabbit",),
        measures_time=True,
        # Hundreds of replies over queues in memory, and threads that spin on a lock: no socket, and minutes.
        leave_out=("TestSendReceive", "ConnectionLockTestCase"),
    ),
    Group(
        "oslo.privsep",
        tuple(f"oslo_privsep.tests.unit.test_{name}" for name in ("capabilities", "comm", "priv_context", "daemon")),
        # prctl(2), capset(2) and capget(2), mocked.
        differ=tuple(
            f"test_capabilities.TestCapabilities.{name}"
            for name in (
                "test_drop_all_caps_except", "test_drop_all_caps_except_error", "test_get_caps",
                "test_get_caps_error", "test_set_keepcaps", "test_set_keepcaps_error",
            )
        ),
    ),
    Group("oslo.utils", ("oslo_utils.tests.test_netutils",)),
    Group(
        "neutron",
        tuple(
            f"neutron.tests.unit.agent.{name}"
            for name in (
                "linux.test_utils", "linux.test_ip_lib", "linux.test_external_process", "linux.test_interface",
                "metadata.test_driver",
            )
        ),
        differ=(
            # open("/proc/34/cmdline"), mocked.
            *(
                f"test_utils.TestGetCmdlineFromPid.test_cmdline_{name}"
                for name in (
                    "process_disappearing", "separated_with_null_char", "separated_with_space_char",
                    "with_single_argument",
                )
            ),
            # The words of ip(8) and of Linux's sysctl(8), and netlink itself, mocked.
            *(
                f"test_ip_lib.TestIpNetnsCommand.test_{name}"
                for name in ("add_namespace", "execute", "execute_env_var_prepend")
            ),
            *(
                f"test_ip_lib.TestIpNeighCommand.test_{name}"
                for name in (
                    "add_entry", "add_entry_nonexistent_namespace", "add_entry_other_error", "delete_entry",
                    "delete_entry_not_exist", "dump_entries",
                )
            ),
            "test_ip_lib.TestSysctl.test_disable_ipv6_when_ipv6_globally_enabled",
            # /dev/log and "interface" in haproxy's configuration.
            *(
                f"test_driver.TestMetadataDriverProcess.test_{name}"
                for name in (
                    "spawn_metadata_proxy", "spawn_metadata_proxy_custom_haproxy_timeouts",
                    "spawn_metadata_proxy_dad_failed",
                    "spawn_metadata_proxy_no_matching_configurations", "spawn_rate_limited_metadata_proxy",
                )
            ),
        ),
    ),
    Group(
        "nova",
        tuple(f"{LIBVIRT}.{name}" for name in TOUCHED),
        # The attribute of <loader> that an old libvirt refuses, and the seam leaves out.
        differ=tuple(
            f"test_config.LibvirtConfigGuestTest.test_config_uefi_autoconfigure{end}"
            for end in ("", "_secure", "_stateless")
        ),
    ),
)  # fmt: skip


def lock_files(release: str) -> tuple[Path, Path]:
    """Return the lists of packages of a release, and of what its tests need."""
    return environment.REQUIREMENTS / f"openstack-{release}.txt", environment.REQUIREMENTS / "contract.txt"


def make_environment(release: str, directory: Path) -> Path:
    """Return the virtual environment of a release, made if it is not there.

    :raises EnvironmentFailed: a package cannot be fetched
    """
    venv = directory / "contract" / release
    locks = lock_files(release)
    if not environment.is_made(venv, *locks):
        venv.parent.mkdir(parents=True, exist_ok=True)
        environment.make(
            venv, locks, sys.executable, directory,
            lambda text: print(f"beastack test: OpenStack {release}: {text}", flush=True),
        )  # fmt: skip
    return venv


def make_environments(directory: Path) -> dict[str, Path]:
    """Return the virtual environment of every supported release.

    :param directory: where they are kept between runs
    :raises EnvironmentFailed: a package cannot be fetched
    """
    return {release: make_environment(release, directory) for release in RELEASES}


def run_contract_tests(project: Path, environments: Mapping[str, Path], variables: Mapping[str, str]) -> int:
    """Run the contract tests against every supported release, and return the exit status."""
    status = 0
    with ThreadPoolExecutor(max_workers=len(environments)) as pool:
        runs = {release: pool.submit(run_contract, project, venv, variables) for release, venv in environments.items()}
        for release, future in runs.items():
            print(f"beastack test: tests/contract, OpenStack {release}", flush=True)
            code, output = future.result()
            print(output, end="", flush=True)
            status |= code
    return status


def run_upstream_tests(
    project: Path, environments: Mapping[str, Path], variables: Mapping[str, str], *, measures_time: bool
) -> int:
    """Run upstream's own tests of what the seams touch, with and without them, and return the exit status.

    :param measures_time: those that measure time, or the others
    """
    groups = [group for group in GROUPS if group.measures_time == measures_time]
    began = time.monotonic()
    status = 0
    # Much of it is waiting in upstream's tests.
    with ThreadPoolExecutor(max_workers=max(4, os.cpu_count() or 1)) as pool:
        upstream = {
            (release, group.name, mode): pool.submit(run_upstream, project, venv, group, mode, variables)
            for group in groups for release, venv in environments.items() if release in group.releases for mode in MODES
        }  # fmt: skip
        for release in RELEASES:
            for group in (each for each in groups if release in each.releases):
                without, *others = (upstream[release, group.name, mode].result() for mode in MODES)
                problems = compare(group, without, *others)
                if problems:
                    # Some of upstream's tests measure time, which a busy machine takes from them.
                    print(f"beastack test: {group.name}, OpenStack {release}: trying again", flush=True)
                    again = (run_upstream(project, environments[release], group, mode, variables) for mode in MODES)
                    problems = compare(group, *again)
                print(
                    f"beastack test: upstream's own tests of {group.name}, OpenStack {release}: "
                    f"{len(without)} end {'not ' if problems else ''}as they should with the seams", flush=True,
                )  # fmt: skip
                for problem in problems:
                    print(f"beastack test: {problem}", flush=True)
                status |= bool(problems)
    print(f"beastack test: seams held against upstream in {time.monotonic() - began:.0f} s", flush=True)
    return status


def _environment(project: Path, venv: Path, variables: Mapping[str, str]) -> dict[str, str]:
    return {
        **variables, "PATH": f"{venv}/bin:{variables.get('PATH', '')}",
        "PYTHONPATH": f"{project}/src:{project}/tests/contract", "PYTHONPYCACHEPREFIX": f"{venv}/pycache",
        "OS_NOVA_DISABLE_EVENTLET_PATCHING": "1",
    }  # fmt: skip


def run_contract(project: Path, venv: Path, variables: Mapping[str, str]) -> tuple[int, str]:
    """Run tests/contract with a release's interpreter; return pytest's status and output."""
    result = subprocess.run(
        [f"{venv}/bin/python", "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--rootdir={project}", "-c",
         f"{project}/tests/contract/pytest.ini", f"{project}/tests/contract"],
        env=_environment(project, venv, variables), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        errors="replace",
    )  # fmt: skip
    return result.returncode, result.stdout


def run_upstream(project: Path, venv: Path, group: Group, mode: str, variables: Mapping[str, str]) -> dict[str, str]:
    """Run upstream's tests in one mode and return how each ended, by its id; nothing if they could not be run."""
    output = venv / f"upstream-{group.name}-{mode}.json"
    output.unlink(missing_ok=True)
    leave_out = [word for name in group.leave_out for word in ("--leave-out", name)]
    with (venv / f"upstream-{group.name}-{mode}.log").open("w") as log:
        try:
            subprocess.run(
                [f"{venv}/bin/python", str(project / "tests/contract/run_upstream.py"), mode, str(output), *leave_out,
                 *group.modules],
                env=_environment(project, venv, variables), stdin=subprocess.DEVNULL, stdout=log,
                stderr=subprocess.STDOUT, timeout=LIMIT, check=True,
            )  # fmt: skip
            states: dict[str, str] = json.loads(output.read_text())["states"]
        except (subprocess.SubprocessError, OSError, ValueError) as error:
            print(f"beastack test: {group.name}, {mode}: {error} (see {log.name})", flush=True)
            return {}
    return states


def compare(
    group: Group, without: Mapping[str, str], installed: Mapping[str, str], effective: Mapping[str, str]
) -> list[str]:
    """Return what is wrong with how upstream's tests ended: the seams may change nothing but what is declared."""
    if not without or "passed" not in without.values():
        return [f"{group.name}: upstream's tests could not be run"]
    problems = [f"{name} ends as {state!r} without any seam" for name, state in sorted(without.items())
                if state not in ("passed", "skipped", "expected failure")]  # fmt: skip
    problems += _differences(without, installed, "with the seams installed")
    wrong = _differences(without, effective, "where the seams take effect", (declared := group.differ))
    # A test may be new in one of the releases.
    alike = [
        name for name in declared
        if (there := [test for test in without if test.endswith(name)])
        and all(effective.get(test) == without[test] for test in there)
    ]  # fmt: skip
    return (
        problems + wrong + [f"{name} is declared to differ where the seams take effect, and does not" for name in alike]
    )


def _differences(
    without: Mapping[str, str], other: Mapping[str, str], where: str, declared: Sequence[str] = ()
) -> list[str]:
    names = sorted(name for name in {*without, *other} if not name.endswith(tuple(declared)))
    return [
        f"{name}: {without.get(name, 'not there')} without seams, {other.get(name, 'not there')} {where}"
        for name in names if without.get(name) != other.get(name)
    ]  # fmt: skip


def main() -> int:
    """Run both sets; the arguments are the project's directory and the environments'."""
    project, directory = map(Path, sys.argv[1:])
    environments = make_environments(directory)
    status = run_contract_tests(project, environments, os.environ)
    return status | run_upstream_tests(project, environments, os.environ, measures_time=False)


if __name__ == "__main__":
    sys.exit(main())
