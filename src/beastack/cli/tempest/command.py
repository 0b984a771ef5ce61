"""``beastack test --tempest``: from the running cloud to a result."""

from __future__ import annotations

import contextlib
import fcntl
import json
import sys
import time
from argparse import Namespace
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from beastack.cli import simulated
from beastack.cli.tempest import accounts, leftovers, report, second_image
from beastack.cli.tempest.configuration import sections
from beastack.cli.tempest.facts import Facts, TempestFailed, ask
from beastack.cli.tempest.leftovers import Leftover
from beastack.cli.tempest.outcomes import Outcome, causes, read_line, settled, spread
from beastack.cli.tempest.private_files import make_private
from beastack.cli.tempest.runner import Runner, make_environment
from beastack.cli.tempest.selection import Case, matching, own_list, scs_tests, smoke_options
from beastack.site import operate, services
from beastack.site.api import Cloud
from beastack.site.configuration import Site, render
from beastack.site.layout import Layout
from beastack.site.steps import Steps
from beastack.site.wait import STOPPING
from beastack.supervisor.client import Client, SupervisorError

WORKERS = 2

Say = Callable[[str], None]


def run(arguments: Namespace, directory: Path) -> int:
    """Run Tempest and return 0 only if no test failed and nothing was left.

    :param directory: where Tempest's virtual environment is kept between runs
    :raises TempestFailed: it cannot be run
    """
    layout = Layout(arguments.root)
    site = operate.open_site(layout, operate.read_description(layout, arguments.site))

    def say(text: str) -> None:
        print(text, file=sys.stderr if arguments.json else sys.stdout, flush=True)

    # Where there is a way to PyPI: the network of a simulated host has none.
    venv = make_environment(directory, lambda text: say(f"beastack test: {text}"))
    host = simulated.host_of(layout)
    if host is not None and not host.is_entered():
        if not host.is_running():
            raise NotUp(f"the simulated host {host.name} does not run (beastack up)")
        host.enter(_again(arguments))
    refusal = why_not_up(site)
    if refusal:
        raise NotUp(refusal)
    workspace = layout.data("tempest")
    make_private(workspace)
    with only_run(workspace):
        result = _run(site, Runner(venv, workspace), arguments, say)
    print(json.dumps(report.document(result), indent=1) if arguments.json else f"\n{report.text(result)}")
    return result.status


def _again(arguments: Namespace) -> list[str]:
    """Return this command's arguments, to be given to it in another place."""
    return [
        "--root", str(arguments.root), *(("--site", str(arguments.site)) if arguments.site else ()),
        "test", "--tempest", arguments.tempest, *(("--json",) if arguments.json else ()), "--", *arguments.arguments,
    ]  # fmt: skip


@contextlib.contextmanager
def only_run(workspace: Path) -> Iterator[None]:
    """Hold the workspace for one run. Raises TempestFailed if there is another."""
    with (workspace / "lock").open("a") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise TempestFailed("Tempest runs against this site already: wait for it") from None
        yield


def _run(site: Site, runner: Runner, arguments: Namespace, say: Say) -> report.Result:
    steps = Steps(site)
    cloud = steps.admin()
    facts = ask(site, cloud)
    accounts_file = runner.workspace / "accounts.yaml" if arguments.tempest == "scs" else None
    earlier = leftovers.leftovers(cloud)
    with contextlib.ExitStack() as provided:
        image = second_image.provided(cloud, steps.image_file(), steps.image_properties())
        other_image = provided.enter_context(image) or facts.image
        runner.prepare(render(sections(facts, other_image, runner.workspace, accounts_file)))
        options, expected = _select(runner, arguments)
        say(f"beastack test: Tempest {runner.version}, {len(expected)} tests, against {site.auth_url}")
        if accounts_file:
            provided.enter_context(accounts.provided(cloud, WORKERS, accounts_file))
        began = time.monotonic()
        try:
            outcomes = _outcomes(runner, options, expected, say)
        except KeyboardInterrupt:
            # The run is ended, and not what follows; who interrupts once more ends that too.
            STOPPING.clear()
            say("beastack test: stopped; removing what the tests left")
            for problem in _sweep(cloud, earlier)[1]:
                say(f"could not be removed: {problem}")
            raise
    seconds = time.monotonic() - began
    left, stuck = _sweep(cloud, earlier)
    return report.Result(
        version=runner.version, chosen=arguments.tempest, cloud=_describe(site, facts), seconds=seconds,
        outcomes=spread(outcomes, expected), log=runner.log, left=[one.text for one in left], stuck=stuck,
        earlier=[one.text for one in earlier],
    )  # fmt: skip


def _select(runner: Runner, arguments: Namespace) -> tuple[list[str], list[str]]:
    """Return the options that select the tests, and the names of those that have to be heard of.

    :raises TempestFailed: no test has such a name
    """
    extra = arguments.arguments
    is_passed_on = bool(extra) and extra[0].startswith("-")
    unknown: list[Case] = []
    if is_passed_on:
        options, own = own_list(extra)
        found = runner.tests(options) if own is None else own
        options += [] if own is None else runner.load_list(own)
    elif arguments.tempest == "scs":
        found, unknown = matching(scs_tests(extra), runner.tests(["--regex", r"^tempest\.api\."]))
        options = runner.load_list(found)
    else:
        options = smoke_options(extra)
        found = runner.tests(options)
    if not found:
        raise TempestFailed("no test has such a name")
    if not is_passed_on:
        options += ["--concurrency", str(WORKERS)]
    return options, [one.name for one in (*found, *unknown)]


def _outcomes(runner: Runner, options: list[str], expected: list[str], say: Say) -> list[Outcome]:
    outcomes = []
    unheard = set(expected)
    for line in runner.stream(options):
        outcome = read_line(line)
        if outcome is not None:
            outcomes.append(outcome)
            unheard -= settled(outcome, unheard)
            count = f"{len(expected) - len(unheard):>{len(str(len(expected)))}}/{len(expected)}"
            note = f": {outcome.reason}" if outcome.reason else ""
            say(f"{count} {outcome.state:<7} {outcome.seconds:6.1f} s  {outcome.name}{note}")
    why = causes(runner.log.read_text(errors="replace"))
    return [replace(one, reason=why[one.name]) if one.name in why else one for one in outcomes]


def _sweep(cloud: Cloud, earlier: list[Leftover]) -> tuple[list[Leftover], list[str]]:
    """Remove what the run left; return it, and what could not be removed."""
    left = [one for one in leftovers.leftovers(cloud) if one not in earlier]
    return left, leftovers.remove(cloud, left)


def _describe(site: Site, facts: Facts) -> dict[str, object]:
    return {
        "auth_url": facts.auth_url, "host": site.description.host.kind, "hypervisors": sorted(facts.hypervisors),
        "hosts": facts.hosts, "guests_reached": facts.reachable,
    }  # fmt: skip


class NotUp(operate.NotASite):
    """The cloud does not run."""


def why_not_up(site: Site) -> str:
    """Return why Tempest cannot be run against the site, or nothing."""
    if not site.description.host.has_control:
        return "the cloud's APIs are on another host: run the tests there"
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
    for unit in services.units(site.description):
        if unit.wsgi:
            answers, seen = steps.http_answers(unit)
            if not answers:
                return f"the cloud is not up: {unit.name} does not answer ({seen})"
    return ""
