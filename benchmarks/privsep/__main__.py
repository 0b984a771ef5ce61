"""Privileged daemons: the supervisor's against upstream's privsep-helper, on this machine, in one run.

Run as root: ``benchmarks/privsep/run --venv DIR [--json FILE]``. ``DIR`` is a
virtual environment with the OpenStack release (a site's ``venv``). Upstream's
helper is started as root without sudo, whose own time is not upstream's.
Nothing of a running site is used or touched.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

from beastack.site import description, secrets, services
from beastack.site.configuration import Facts, Site, render_service
from beastack.site.layout import Layout
from beastack.supervisor import logs
from beastack.supervisor.client import Client
from beastack.supervisor.spec import Service, to_json

SOURCE = Path(__file__).resolve().parent.parent.parent / "src"

#: Context, entry point (as cheap as there is one) and its arguments.
CALLS: tuple[tuple[str, str, list[Any]], ...] = (
    ("nova.privsep.sys_admin_pctxt", "nova.privsep.path.last_bytes", ["/dev/null", 0]),
    ("neutron.privileged.default", "neutron.privileged.agent.linux.utils.path_exists", ["/"]),
    ("neutron.privileged.link_cmd", "neutron.privileged.agent.linux.ip_lib.interface_exists", ["lo", None]),
    ("vif_plug_ovs.privsep.vif_plug", "vif_plug_ovs.linux_net.set_device_mtu", ["lo", None]),
)

#: Figure, unit, factor, whether less is better, and what is aimed at (ours by upstream's; 0: nothing).
ROWS = (
    ("p50", "call, p50", "µs", 1e6, True, 1.0),
    ("p99", "call, p99", "µs", 1e6, True, 1.0),
    ("rate", "calls/s, 8 threads", "", 1.0, False, 1.0),
    ("start", "daemon start", "ms", 1e3, True, 0.1),
    ("first call", "start and first call", "ms", 1e3, True, 0.1),
    ("memory", "memory added by a daemon (PSS)", "MB", 1e-6, True, 0.1),
    ("private", "private memory of a daemon", "MB", 1e-6, True, 0.0),
)


def main() -> int:
    """Measure both and print a table."""
    parser = argparse.ArgumentParser(prog="benchmarks/privsep/run", description=__doc__)
    parser.add_argument("--venv", type=Path, required=True, help="a virtual environment with the OpenStack release")
    parser.add_argument("--calls", type=int, default=2000, help="round trips to measure (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="repetitions; the best counts (default: %(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write everything measured to a file")
    options = parser.parse_args()
    if os.geteuid() != 0:
        parser.error("run it as root")
    found: dict[str, list[dict[str, dict[str, float]]]] = {"beastack": [], "upstream": []}
    with tempfile.TemporaryDirectory(prefix="privsep-") as directory, supervised(Path(directory), options.venv) as site:
        for _ in range(options.rounds):
            for name, rounds in found.items():
                rounds.append(measure(site, name, options.calls))
    figures = {name: merge(rounds) for name, rounds in found.items()}
    if options.json:
        options.json.write_text(json.dumps({"cpus": os.cpu_count(), "rounds": found, "best": figures}, indent=1) + "\n")
    print(render(figures))
    return 0


@contextmanager
def supervised(root: Path, venv: Path) -> Iterator[Site]:
    """Run a supervisor of its own with a site's parents and privileged daemons, and nothing else."""
    root.chmod(0o711)
    for name in ("run", "log"):
        (root / name).mkdir(mode=0o711)
    (root / "venv").symlink_to(venv.resolve())
    (root / "lib").mkdir()
    (root / "lib" / "beastack").symlink_to(SOURCE / "beastack")
    # A site links these into its environment; this one is not ours to change.
    for module in (Path("/usr/lib/python3/dist-packages")).glob("libvirt*.*"):
        (root / "lib" / module.name).symlink_to(module)
    request = str(SOURCE / "beastack" / "supervisor" / "request.py")
    facts = Facts(
        cpus=os.cpu_count() or 1, hostname="benchmark", novnc_pages="/", python=sys.executable, helper=request
    )
    site = Site(Layout(root), description.Description(), dict.fromkeys(secrets.NAMES, "0" * 32), facts)
    for host in services.CONTEXT_HOSTS.values():
        name, text = render_service(site, host)
        site.layout.etc(host).mkdir(parents=True)
        (site.layout.etc(host) / name).write_text(text)
    client = Client(root)
    wanted = [parent for parent in services.parents(site) if parent.name.startswith(("libraries", "nova", "neutron"))]
    client.start_supervisor(sys.executable, services.tool_environment(site), 1 << 24, 1)
    try:
        client.define([], wanted, services.helpers(site))
        client.ask("preload", names=[parent.name for parent in wanted])
        wait_for_parents(client)
        yield site
    finally:
        pid = int(client.ask("status")["pid"])
        client.ask("shutdown")
        while Path(f"/proc/{pid}").exists() and not is_zombie(pid):
            time.sleep(0.05)


def wait_for_parents(client: Client) -> None:
    """Wait until all parents have imported what they are for.

    :raises RuntimeError: one failed
    """
    deadline = time.monotonic() + 300
    while True:
        parents = client.ask("status")["parents"]
        if failed := [item["why"] for item in parents.values() if item["state"] == "failed"]:
            raise RuntimeError(failed[0])
        if all(item["state"] == "ready" for item in parents.values()):
            return
        if time.monotonic() > deadline:
            raise RuntimeError(f"the parents are not ready: {parents}")
        time.sleep(0.1)


def is_zombie(pid: int) -> bool:
    """Return whether a process has ended but is still listed."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def measure(site: Site, name: str, calls: int) -> dict[str, dict[str, float]]:
    """Start a daemon of each context and return its figures; all live together while memory is read."""
    client = Client(site.layout.root)
    shared = [pid for pid in parents_of(site) if name == "beastack"]
    before = sum(memory(pid)["Pss"] for pid in shared)
    figures: dict[str, dict[str, float]] = {}
    asking: list[str] = []
    try:
        for context, function, arguments in CALLS:
            task = make_client(site, name, context, [function, json.dumps(arguments)], calls)
            Path(task.log).unlink(missing_ok=True)
            asking.append(task.name)
            client.ask("task", service=to_json(task))
            figures[context] = read_figures(client, task)
        pids = [int(item["pid"]) for item in figures.values()]
        added = sum(memory(pid)["Pss"] for pid in [*shared, *pids, *children_of(pids)]) - before
        for item in figures.values():
            sizes = memory(int(item.pop("pid")))
            item["memory"] = added / len(figures)
            item["private"] = sizes["Private_Dirty"] + sizes["Private_Clean"]
            item["pss"] = sizes["Pss"]
    finally:
        client.ask("stop", names=asking)
        for one in asking:
            while client.ask("task-status", name=one)["state"] != "done":
                time.sleep(0.05)
    return figures


def make_client(site: Site, name: str, context: str, call: list[str], calls: int) -> Service:
    """Return the service that asks for a context's daemon.

    The supervisor runs it for both: a daemon of either kind is then in the
    session of its service, which the kernel's scheduler looks at.
    """
    project = next(item.project for item in services.CONTEXTS if item.name == context)
    host = services.CONTEXT_HOSTS[project]
    config = str(site.layout.etc(host) / render_service(site, host)[0])
    command = f"{site.facts.python} -IS {site.facts.helper} {site.layout.run()}/privileged.sock"
    if name == "upstream":
        command = f"{site.layout.venv}/bin/privsep-helper --config-file {config}"
    script = str(Path(__file__).with_name("client.py"))
    return Service(
        name=f"client-{context}", argv=(str(site.layout.python), script, context, *call, command, config, str(calls)),
        env={"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", "OS_NOVA_DISABLE_EVENTLET_PATCHING": "1",
             "PYTHONWARNINGS": "ignore"},
        log=str(site.layout.log(f"client-{context}")),
    )  # fmt: skip


def read_figures(client: Client, task: Service) -> dict[str, float]:
    """Return what a client measured; it stays, with its daemon.

    :raises RuntimeError: it ended
    """
    while True:
        lines = logs.last_lines(Path(task.log), 100)
        for line in lines:
            if line.startswith("{"):
                found: dict[str, float] = json.loads(line)
                return found
        if task.name not in client.ask("status")["tasks"]:
            raise RuntimeError(f"{task.name} failed:\n" + "\n".join(lines[-20:]))
        time.sleep(0.5)  # asking takes processor time from what is measured


def parents_of(site: Site) -> list[int]:
    """Return the pids of the preloaded parents."""
    return [item["pid"] for item in Client(site.layout.root).ask("status")["parents"].values() if item["pid"]]


def children_of(pids: list[int]) -> list[int]:
    """Return the pids of the processes that were forked by these."""
    found = []
    for pid in pids:
        for task in Path(f"/proc/{pid}/task").iterdir():
            found += [int(child) for child in (task / "children").read_text().split()]
    return found


def memory(pid: int) -> dict[str, int]:
    """Return the fields of /proc/PID/smaps_rollup in bytes."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    return {line.split(":")[0]: int(line.split()[1]) * 1024 for line in lines}


def merge(rounds: list[dict[str, dict[str, float]]]) -> dict[str, dict[str, float]]:
    """Return each context's figures over the rounds: the best of times, which others only make worse; median memory."""
    return {
        context: {figure: best(figure)(one[context][figure] for one in rounds) for figure in rounds[0][context]}
        for context in rounds[0]
    }


def best(figure: str) -> Callable[[Iterable[float]], float]:
    """Return what makes one number of a figure's several."""
    if figure == "rate":
        return max
    return median if figure in ("memory", "private", "pss") else min


def render(figures: dict[str, dict[str, dict[str, float]]]) -> str:
    """Return a Markdown table for each context."""
    lines = []
    for context in figures["upstream"]:
        lines += [f"### {context}", "", "| | upstream | beastack | ratio | aim | |", "|---|---|---|---|---|---|"]
        for key, text, unit, factor, less, aim in ROWS:
            theirs, ours = figures["upstream"][context][key], figures["beastack"][context][key]
            ratio = ours / theirs
            met = ratio <= aim if less else ratio >= aim
            # Two runs of the same differ by as much.
            word = "met" if met else "even" if aim == 1 and abs(ratio - 1) <= 0.05 else "missed"
            verdict = f"{'≤' if less else '≥'} {aim:g} | {word}" if aim else "|"
            lines.append(
                f"| {text} | {theirs * factor:.4g} {unit} | {ours * factor:.4g} {unit} | {ratio:.3f} | {verdict} |"
            )
        lines.append("")
    return "\n".join(lines)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    sys.exit(main())
