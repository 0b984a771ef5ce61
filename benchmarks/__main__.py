"""The command: see README.md beside this file."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from statistics import median
from typing import Any

from beastack.site import code, operate
from beastack.site.configuration import Site
from beastack.site.layout import Layout as SiteLayout
from beastack.site.layout import default_root
from beastack.site.steps import Steps
from benchmarks import measure, table
from benchmarks.layouts import Beastack, CommandError, Layout, Stock, fetch_pyuwsgi, running

PARTS = ("start", "memory", "api", "create", "restart")


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    made = argparse.ArgumentParser(prog="benchmarks/run", description=__doc__)
    made.add_argument("--root", type=Path, default=default_root(), help="the running site (default: %(default)s)")
    made.add_argument("--only", default=",".join(PARTS), help="parts, separated by commas (default: %(default)s)")
    made.add_argument("--layouts", default="beastack,stock", help="which, and in which order (default: %(default)s)")
    made.add_argument("--rounds", type=int, default=1, help="how often to go through the layouts; medians are shown")
    made.add_argument("--settle", type=float, default=30.0, help="seconds of rest before idle is measured")
    made.add_argument("--requests", type=int, default=200, help="requests in each API measurement")
    made.add_argument("--json", type=Path, metavar="FILE", help="also write everything measured to a file")
    made.add_argument("--keep-logs", action="store_true", help="keep the stock layout's configuration and logs")
    return made


def main() -> int:
    """Measure and print."""
    options = parser().parse_args()
    parts = options.only.split(",")
    if set(parts) - set(PARTS) or os.geteuid() != 0:
        sys.stderr.write(f"run as root; parts are {', '.join(PARTS)}\n")
        return 2
    root = SiteLayout(Path(os.path.realpath(options.root)))
    site = operate.open_site(root, operate.read_description(root, None))
    ours: dict[str, Layout] = {"beastack": Beastack(site)}
    stock = None
    if "stock" in options.layouts:
        cache = Path(os.environ.get("BEASTACK_BENCHMARKS", "/var/cache/beastack-benchmarks"))
        try:
            stock = ours["stock"] = Stock(site, fetch_pyuwsgi(site, cache))
        except CommandError as error:
            sys.stderr.write(f"uWSGI cannot be fetched: {error}\n")
            return 1
    results: dict[str, list[dict[str, Any]]] = {name: [] for name in options.layouts.split(",")}
    restart: dict[str, Any] = {}
    begun = False
    try:
        # Nobody else's `up` or `down` meanwhile.
        with operate.only_one(root):
            begun = True
            ours["beastack"].stop()
            for _ in range(options.rounds):
                for name in results:
                    results[name].append(measure_layout(ours[name], site, parts, options))
    except operate.SiteError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    finally:
        if begun:
            restart = down_and_up(site)
        if stock is not None and not options.keep_logs:
            stock.remove()
    if "restart" in parts and "beastack" in results:
        results["beastack"][-1].update(restart)
    merged = {name: merge(rounds) for name, rounds in results.items()}
    if options.json:
        machine = {"cpus": os.cpu_count(), "guests": "emulated", "workers": site.workers}
        options.json.write_text(json.dumps({"machine": machine, "rounds": results, "median": merged}, indent=1) + "\n")
    print(table.markdown(merged.get("stock", {}), merged.get("beastack", {})))
    return 0


def measure_layout(layout: Layout, site: Site, parts: list[str], options: argparse.Namespace) -> dict[str, Any]:
    """Start a layout, measure the parts asked for, and stop it."""
    found: dict[str, Any] = {}
    with running(layout, site) as reached:
        say(layout, f"answers after {reached['cloud answers']:.1f} s")
        if "start" in parts:
            found["start"] = reached
        steps = Steps(site)
        demo = steps.demo()
        if "memory" in parts:
            found["idle"] = measure.idle(layout.processes, layout.reaper, options.settle, 30.0)
            say(layout, f"{found['idle']['pss']:.0f} MB, {found['idle']['cpu']:.1f} % of a core idle")
        if "api" in parts:
            for request in measure.requests(site, demo):
                measure.load(request, 4, 16)
                for clients, count in ((1, options.requests // 4), (8, options.requests)):
                    figures = measure.load(request, clients, count)
                    found[f"{request.name} x{clients}"] = figures
                    say(layout, f"{request.name} x{clients}: p50 {figures['p50']:.0f} ms, {figures['rate']:.1f}/s")
        if "create" in parts:
            servers = measure.Servers(site, steps.admin(), demo)
            with servers.room(10):
                found["create"] = servers.one_by_one(5)
                say(layout, f"create to ACTIVE {found['create']['p50']:.1f} s")
                found["ten"] = servers.at_once(10)
                say(layout, f"ten at once {found['ten']['last']:.1f} s")
                found["after guests"] = {"pss": sum(measure.memory(layout.processes()).values())}
    return found


def down_and_up(site: Site) -> dict[str, Any]:
    """Take the whole site down and bring it up again by its own command, and return how long each took."""
    command = [str(code.SOURCE.parent.parent / "beastack"), "--root", str(site.layout.root)]
    taken = {}
    for verb in ("down", "up"):
        began = time.monotonic()
        subprocess.run([*command, verb], check=True, stdout=subprocess.DEVNULL)
        taken[f"warm {verb}"] = time.monotonic() - began
    return {"restart": taken}


def merge(rounds: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the median of every number over the rounds."""
    merged: dict[str, Any] = {}
    for key in dict.fromkeys(key for one in rounds for key in one):
        values = [one[key] for one in rounds if key in one]
        if isinstance(values[0], dict):
            merged[key] = merge(values)
        else:
            merged[key] = median(values)
    return merged


def say(layout: Layout, text: str) -> None:
    """Say how far the work has come."""
    sys.stderr.write(f"{time.strftime('%H:%M:%S')} {layout.name}: {text}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main())
