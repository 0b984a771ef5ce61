"""``beastack test --tempest``: upstream's acceptance tests against the running cloud.

Tempest gets a virtual environment of its own, a private workspace in the
site's state directory, and a configuration that says what this cloud is: what
it lacks (routers, volumes, a second host) is declared so, and the tests of it
are skipped and reported as skipped.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from argparse import Namespace
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from beastack.cli.testing import test_directory
from beastack.freebsd.command import SEARCH_PATH, CommandError
from beastack.freebsd.command import run as run_command
from beastack.site import environment, operate, services
from beastack.site.api import Cloud
from beastack.site.configuration import Sections, Site, render
from beastack.site.host import linux_switch
from beastack.site.layout import Layout
from beastack.site.steps import FLAVORS, IMAGE_NAME, Steps
from beastack.supervisor.client import Client, SupervisorError

LOCK = environment.REQUIREMENTS / "tempest.txt"

#: The tests that are run unless others are asked for: Tempest's smoke set of
#: the services there are, and the scenarios through several of them.
SMOKE = r"^tempest\.(api\.(identity|image|compute|network)|scenario)\..*\[(.*,)?smoke(,.*)?\]"
WORKERS = 2

#: What every object that Tempest makes has at the beginning of its name.
PREFIX = "tempest-"

#: Characters of a failure's text that are printed; the whole is in the log.
LONGEST_CAUSE = 240

#: The guest logs in as root and is a busybox: what Tempest takes for granted
#: in a guest is said in that guest's words.  The checks themselves stay: the
#: address, the metadata and the configuration drive are read inside the guest.
GUEST_PROLOGUE = " ".join((
    "set -eu -o pipefail; mkdir -p /mnt;",
    'sudo() { "$@"; };',
    'blkid() { findfs "LABEL=$2"; };',
    'curl() { if [ "$1" = -X ]; then wget -q -O - --post-data "$4" "$5"; else wget -q -O - "$1"; fi; };',
))  # fmt: skip

_LINE = re.compile(
    r"^\{\d+\} (?P<name>.+?)(?: \[(?P<seconds>[\d.]*)s?\])? \.\.\. (?P<outcome>ok|FAILED|SKIPPED)(?:: (?P<reason>.*))?$"
)
_ERROR = re.compile(r"^    (?P<kind>[A-Za-z_][\w.]*): (?P<said>.+)$")
_FIXTURE = re.compile(r"^(?:setUpClass|tearDownClass) \((?P<group>[\w.]+)\)$")


class TempestFailed(operate.SiteError):
    """Tempest cannot be run; one line says why and what to do."""


# What Tempest is told


@dataclass(frozen=True)
class Facts:
    """What the configuration says of the cloud; asked from it, not assumed.

    ``network`` is the network that every project sees, ``external`` its id
    if it is external, ``reachable`` whether this machine is on it.
    """

    auth_url: str
    region: str
    password: str = field(repr=False)
    image: str
    flavor: str
    other_flavor: str
    network: str
    external: str
    reachable: bool
    extensions: tuple[str, ...]
    compute_version: str
    placement_version: str
    disk_formats: tuple[str, ...]
    container_formats: tuple[str, ...]
    hosts: int


def ask(site: Site, cloud: Cloud) -> Facts:
    """Return the facts of a running cloud.

    :raises TempestFailed: the first image, a flavor or the provider network is gone
    :raises CloudError: a service refuses or does not answer
    """
    provider = site.description.network.provider_name
    flavors = [name for name, *_ in FLAVORS][:2]
    found = {
        f"the image {IMAGE_NAME}": cloud.find("image", "/images", "images", IMAGE_NAME),
        **{f"the flavor {name}": cloud.find("compute", "/flavors", "flavors", name) for name in flavors},
        f"the network {provider}": cloud.find("network", "/networks", "networks", provider),
    }
    gone = [what for what, one in found.items() if one is None]
    if gone:
        raise TempestFailed(f"{gone[0]} is gone, and Tempest needs it: make it again, or destroy the site and up")
    image, flavor, other, network = (one for one in found.values() if one is not None)
    schema = cloud.get("image", "/schemas/image")["properties"]
    external = bool(network.get("router:external"))
    return Facts(
        auth_url=site.auth_url,
        region=site.description.site.region,
        password=site.secrets["admin"],
        image=image["id"],
        flavor=flavor["id"],
        other_flavor=other["id"],
        network=provider,
        external=network["id"] if external else "",
        reachable=linux_switch.link_exists(linux_switch.host_pair(site)[0]),
        extensions=tuple(sorted(one["alias"] for one in cloud.items("network", "/extensions", "extensions"))),
        compute_version=_newest(cloud.get("compute", "/")["version"]["version"]),
        placement_version=_newest(cloud.get("placement", "/")["versions"][0]["max_version"]),
        disk_formats=_choices(schema, "disk_format", "raw"),
        container_formats=_choices(schema, "container_format", "bare"),
        hosts=len(cloud.items("compute", "/os-services", "services", {"binary": "nova-compute"})),
    )


def _newest(version: str) -> str:
    if re.fullmatch(r"\d+\.\d+", version) is None:
        raise TempestFailed(f"a service names {version!r} as its newest microversion, which is none")
    return version


def _choices(schema: dict[str, dict[str, list[str | None]]], name: str, common: str) -> tuple[str, ...]:
    """Return what a property may be, the common choice first: Tempest makes its images of the first."""
    choices = [choice for choice in schema[name]["enum"] if choice is not None]
    return tuple(sorted(choices, key=lambda choice: choice != common))


def sections(facts: Facts, workspace: Path) -> Sections:
    """Return tempest.conf: how to reach the cloud, and what it can and cannot do."""
    routers = "router" in facts.extensions
    several = facts.hosts > 1
    return {
        "DEFAULT": {"log_dir": workspace / "log", "log_file": "tempest.log", "debug": False, "use_stderr": False},
        "oslo_concurrency": {"lock_path": workspace / "locks"},
        "auth": {
            "use_dynamic_credentials": True,
            "admin_username": "admin",
            "admin_project_name": "admin",
            "admin_domain_name": "Default",
            "admin_password": facts.password,
            # A network of its own for each project is joined by a router; without
            # routers all of them use the one network that every project sees.
            "create_isolated_networks": routers,
        },
        "identity": {"uri_v3": facts.auth_url, "auth_version": "v3", "region": facts.region},
        "identity-feature-enabled": {
            "trust": True,
            "access_rules": True,
            # keystone.conf leaves both as upstream has them: off.
            "domain_specific_drivers": False,
            "security_compliance": False,
            "immutable_user_source": False,
        },
        # oslo.policy enforces scopes and the new defaults unless told otherwise.
        "enforce_scope": {name: True for name in ("keystone", "glance", "nova", "neutron", "placement")},
        "service_available": {
            "nova": True, "neutron": True, "glance": True, "cinder": False, "swift": False, "horizon": False,
        },
        "compute": {
            "image_ref": facts.image,
            "image_ref_alt": facts.image,
            "flavor_ref": facts.flavor,
            "flavor_ref_alt": facts.other_flavor,
            "fixed_network_name": facts.network,
            "min_microversion": "2.1",
            "max_microversion": facts.compute_version,
            "min_compute_nodes": facts.hosts,
        },
        "placement": {"min_microversion": "1.0", "max_microversion": facts.placement_version},
        "compute-feature-enabled": {
            "disk_config": True,
            "hostname_fqdn_sanitization": True,
            "console_output": True,
            "vnc_console": True,
            "serial_console": True,
            "spice_console": False,
            "pause": True,
            "suspend": True,
            "shelve": True,
            "snapshot": True,
            "rescue": True,
            "config_drive": True,
            "metadata_service": True,
            "interface_attach": True,
            # The guest has no agent that could set a password.
            "change_password": False,
            # Needs image properties that the first image does not have.
            "stable_rescue": False,
            # Hosts share no keys and no storage, and one alone has nowhere to move to.
            "resize": False,
            "cold_migration": False,
            "shelve_migrate": False,
            "live_migration": False,
            "can_migrate_between_any_hosts": several,
            "personality": False,
            # The machine type q35 has no IDE.
            "ide_bus": False,
            "attach_encrypted_volume": False,
            "swap_volume": False,
            "volume_multiattach": False,
            "unified_limits": False,
            "nova_policy_roles": "admin,manager,member,reader,service",
        },
        "image": {
            "disk_formats": ",".join(facts.disk_formats),
            "container_formats": ",".join(facts.container_formats),
        },
        "image-feature-enabled": {
            "import_image": True,
            "os_glance_reserved": True,
            "manage_locations": False,
            "image_conversion": False,
            "image_format_enforcement": True,
            "http_store_enabled": False,
            "store_weight_enabled": False,
        },
        "network": {
            "project_networks_reachable": facts.reachable,
            "public_network_id": facts.external,
            "floating_network_name": facts.network if facts.external else "",
        },
        "network-feature-enabled": {
            "api_extensions": ",".join(facts.extensions),
            "floating_ips": routers and bool(facts.external),
            "ipv6": True,
            "ipv6_subnet_attributes": True,
            "port_admin_state_change": True,
            "port_security": "port-security" in facts.extensions,
        },
        "validation": {
            "run_validation": facts.reachable,
            "connect_method": "fixed",
            "network_for_ssh": facts.network,
            "image_ssh_user": "root",
            "image_alt_ssh_user": "root",
            "ssh_shell_prologue": GUEST_PROLOGUE,
        },
    }  # fmt: skip


def prepare(facts: Facts, workspace: Path, venv: Path) -> None:
    """Write the workspace, which nobody but its owner can read.

    :raises TempestFailed: the virtual environment holds no Tempest
    """
    package = next(venv.glob("lib/python3*/site-packages/tempest"), None)
    if package is None:
        raise TempestFailed(f"{venv} holds no Tempest: remove it and try again")
    for directory in (workspace, workspace / "log", workspace / "locks"):
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        directory.chmod(0o700)
    _write_private(workspace / "tempest.conf", render(sections(facts, workspace)))
    _write_private(
        workspace / ".stestr.conf",
        f"[DEFAULT]\ntest_path={package}/test_discover\ntop_dir={package}\ngroup_regex=([^\\.]*\\.)*\n",
    )
    (workspace / "log" / "tempest.log").unlink(missing_ok=True)


def _write_private(path: Path, text: str) -> None:
    temporary = path.with_name(f".{path.name}.new")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as stream:
        os.fchmod(stream.fileno(), 0o600)
        stream.write(text)
    temporary.replace(path)


# What Tempest answers


@dataclass(frozen=True)
class Outcome:
    """How one test, or the preparation of a class of tests, ended."""

    name: str
    state: str  # passed, failed or skipped
    seconds: float = 0.0
    reason: str = ""


def read_line(line: str) -> Outcome | None:
    """Return what a line of ``tempest run`` says of a test, or None if it says something else."""
    match = _LINE.match(line)
    if match is None:
        return None
    state = {"ok": "passed", "FAILED": "failed", "SKIPPED": "skipped"}[match["outcome"]]
    return Outcome(match["name"], state, float(match["seconds"] or 0), (match["reason"] or "").strip())


def causes(text: str) -> dict[str, str]:
    """Return the error that each failed test of a run's output ended in, shortened to a line."""
    found: dict[str, str] = {}
    name = ""
    for line in text.splitlines():
        outcome = read_line(line)
        if outcome is not None:
            name = outcome.name if outcome.state == "failed" else ""
        elif line.startswith("Captured pythonlogging"):
            name = ""
        elif name and (match := _ERROR.match(line)):
            kind, said = match["kind"].rpartition(".")[2], match["said"]
            found[name] = f"{kind}: {said}" if len(said) <= LONGEST_CAUSE else f"{kind}: {said[:LONGEST_CAUSE]}…"
    return found


def spread(outcomes: Iterable[Outcome], expected: Sequence[str]) -> list[Outcome]:
    """Return one outcome for each expected test.

    Tempest reports once for a whole class what its preparation ended in; each
    of its tests that was not run gets that.  One that nothing was heard of failed.
    """
    own: dict[str, Outcome] = {}
    groups: dict[str, Outcome] = {}
    for outcome in outcomes:
        match = _FIXTURE.match(outcome.name)
        if match is None:
            own[outcome.name] = outcome
        elif match["group"] not in groups or outcome.state == "failed":
            groups[match["group"]] = outcome
    everyone: list[Outcome] = []
    used: set[str] = set()
    for name in expected:
        group = name.rpartition(".")[0]
        if name in own:
            everyone.append(own[name])
        elif group in groups:
            used.add(group)
            whole = groups[group]
            everyone.append(Outcome(name, whole.state, 0.0, whole.reason or whole.name.partition(" ")[0]))
        else:
            everyone.append(Outcome(name, "failed", 0.0, "it was not run"))
    # A class that failed besides its tests, such as one that could not be cleaned up after them.
    everyone += [one for group, one in groups.items() if group not in used]
    return everyone + [one for name, one in own.items() if name not in expected]


def without_tags(name: str) -> str:
    """Return a listed test's name as it is reported: without what is in brackets."""
    return re.sub(r"\[.*?\]", "", name, count=1)


# What Tempest leaves


def leftovers(cloud: Cloud) -> list[str]:
    """Return what bears a name of Tempest's in the cloud, as ``kind name``."""
    found: list[str] = []
    collections: tuple[tuple[str, str, str, dict[str, str]], ...] = (
        ("identity", "/projects", "projects", {}),
        ("identity", "/users", "users", {}),
        ("identity", "/domains", "domains", {}),
        ("compute", "/servers", "servers", {"all_tenants": "1"}),
        ("compute", "/flavors", "flavors", {"is_public": "None"}),
        ("image", "/images", "images", {"limit": "1000"}),
        ("network", "/networks", "networks", {}),
        ("network", "/subnets", "subnets", {}),
        ("network", "/ports", "ports", {}),
        ("network", "/security-groups", "security_groups", {}),
    )
    for service, path, key, query in collections:
        for item in cloud.items(service, path, key, query):
            if str(item.get("name", "")).startswith(PREFIX):
                found.append(f"{key[:-1].replace('_', ' ')} {item['name']}")
    projects = {item["id"] for item in cloud.items("identity", "/projects", "projects")}
    for path, key in (("/networks", "networks"), ("/ports", "ports"), ("/security-groups", "security_groups")):
        for item in cloud.items("network", path, key):
            owner = item.get("project_id")
            if owner and owner not in projects and not str(item["name"]).startswith(PREFIX):
                found.append(f"{key[:-1].replace('_', ' ')} {item['name'] or item['id']} of a project that is gone")
    return sorted(found)


# The command


def run(arguments: Namespace) -> int:
    """Run Tempest and return 0 only if no test failed and nothing was left.

    :raises TempestFailed: it cannot be run
    """
    layout = Layout(arguments.root)
    site = operate.open_site(layout, operate.read_description(layout, arguments.site))
    refusal = why_not_up(site)
    if refusal:
        sys.stderr.write(f"beastack: {refusal}\n")
        return 3
    venv = tempest_environment()
    cloud = Steps(site).admin()
    workspace = layout.data("tempest")
    prepare(ask(site, cloud), workspace, venv)
    earlier = leftovers(cloud)
    chosen = selection(arguments.arguments)
    expected = [without_tags(name) for name in _listed(venv, workspace, chosen)]
    if not expected:
        raise TempestFailed("no test has such a name")
    version = _version(venv)
    print(f"beastack test: Tempest {version}, {len(expected)} tests, against {site.auth_url}", flush=True)
    began = time.monotonic()
    outcomes = []
    for line in _stream(venv, workspace, [*chosen, *(() if arguments.arguments else ("--concurrency", str(WORKERS)))]):
        outcome = read_line(line)
        if outcome is not None:
            outcomes.append(outcome)
            note = f": {outcome.reason}" if outcome.reason else ""
            print(f"{outcome.state:<7} {outcome.seconds:6.1f} s  {outcome.name}{note}", flush=True)
    why = causes((workspace / "log" / "run.log").read_text(errors="replace"))
    outcomes = [replace(one, reason=why[one.name]) if one.name in why else one for one in outcomes]
    everyone = spread(outcomes, expected)
    left = leftovers(cloud)
    return report(everyone, [one for one in left if one not in earlier], earlier, time.monotonic() - began, workspace)


def report(
    everyone: Sequence[Outcome], left: Sequence[str], earlier: Sequence[str], seconds: float, workspace: Path
) -> int:
    """Print the totals, each failure and what was left, and return the exit status."""
    states = {state: [one for one in everyone if one.state == state] for state in ("passed", "failed", "skipped")}
    print()
    totals = ", ".join(f"{len(some)} {state}" for state, some in states.items())
    print(f"{len(everyone)} tests in {seconds:.0f} s: {totals}")
    for one in states["failed"]:
        print(f"failed: {one.name}{': ' + one.reason if one.reason else ''}")
    for what in left:
        print(f"left in the cloud: {what}")
    for what in earlier:
        print(f"was in the cloud before: {what}")
    if states["failed"]:
        print(f"Each failure with its requests: {workspace / 'log' / 'run.log'}")
    return 1 if states["failed"] or left else 0


def why_not_up(site: Site) -> str:
    """Return why Tempest cannot be run against the site, or nothing."""
    down = f"the site at {site.layout.root} is down (start it with: beastack up)"
    try:
        running = Client(site.layout.root).services()
    except SupervisorError:
        return down
    idle = sorted(name for name, item in running.items() if item["state"] != "running")
    if len(idle) == len(running):
        return down
    if idle:
        return f"the cloud is not up: {', '.join(idle)} does not run (see beastack status)"
    steps = Steps(site)
    for unit in services.UNITS:
        if unit.wsgi:
            answers, seen = steps.http_answers(unit)
            if not answers:
                return f"the cloud is not up: {unit.name} does not answer ({seen})"
    return ""


def selection(extra: Sequence[str]) -> list[str]:
    """Return the arguments that select tests: the smoke set, a regular expression, or what ``tempest run`` takes."""
    if not extra:
        return ["--regex", SMOKE]
    if extra[0].startswith("-"):
        return list(extra)
    return ["--regex", "|".join(extra)]


def tempest_environment() -> Path:
    """Return Tempest's virtual environment, made if it is not there.

    :raises EnvironmentFailed: a package cannot be fetched
    """
    directory = test_directory() / "tempest"
    venv = directory / "venv"
    if not environment.is_made(venv, LOCK):
        directory.mkdir(parents=True, exist_ok=True)
        environment.make(venv, (LOCK,), sys.executable, directory, _say)
    return venv


def _say(text: str) -> None:
    print(f"beastack test: {text}", flush=True)


def _variables(venv: Path, workspace: Path) -> dict[str, str]:
    return {
        "PATH": f"{venv}/bin:{SEARCH_PATH}", "LC_ALL": "C.UTF-8", "HOME": str(workspace), "PYTHONUNBUFFERED": "1",
        "PYTHON": f"{venv}/bin/python",
        # No test takes longer unless it hangs.
        "OS_TEST_TIMEOUT": "1200",
    }  # fmt: skip


def _version(venv: Path) -> str:
    info = next(venv.glob("lib/python3*/site-packages/tempest-*.dist-info"), None)
    return info.name.removeprefix("tempest-").removesuffix(".dist-info") if info else "of an unknown version"


def _argv(venv: Path, workspace: Path, options: Sequence[str]) -> list[str]:
    return [f"{venv}/bin/tempest", "run", "--config-file", str(workspace / "tempest.conf"), *options]


def _listed(venv: Path, workspace: Path, options: Sequence[str]) -> list[str]:
    variables = _variables(venv, workspace)
    try:
        if not (workspace / ".stestr").exists():
            run_command([f"{venv}/bin/stestr", "init"], env=variables, cwd=workspace)
        result = run_command(
            _argv(venv, workspace, ["--list-tests", *options]), timeout=300, env=variables, cwd=workspace
        )
    except CommandError as error:
        raise TempestFailed(f"Tempest cannot list its tests: {error}") from error
    return [line for line in result.stdout.splitlines() if line.startswith("tempest.")]


def _stream(venv: Path, workspace: Path, options: Sequence[str]) -> Iterator[str]:
    """Run Tempest and give its lines as they come; keep all of them in a file."""
    log = workspace / "log" / "run.log"
    _write_private(log, "")
    with log.open("a") as keep, subprocess.Popen(
        _argv(venv, workspace, options), cwd=workspace, env=_variables(venv, workspace), text=True, errors="replace",
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
        last = next((line for line in reversed(log.read_text().splitlines()) if line.strip()), "")
        raise TempestFailed(f"Tempest ended with status {child.returncode}: {last} (see {log})")


def _stop(child: subprocess.Popen[str]) -> None:
    """End Tempest and its workers."""
    for number, patience in ((signal.SIGINT, 20.0), (signal.SIGKILL, 5.0)):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(patience)
            return
