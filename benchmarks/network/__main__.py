"""The command: see README.md beside this file."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from beastack.site.operate import SiteError
from benchmarks.network import places
from benchmarks.network.costs import describe
from benchmarks.network.measure import Bench
from benchmarks.network.watch import Api, FlowWatch

PARTS = ("dhcp", "port", "many", "ip_lib")
PLACES = {"linux": places.linux, "freebsd": places.freebsd}

#: Operations of ip_lib that meet every interface of the host, measured with many of them too.
CROWDED = "list the host's links,link exists,create pair"


@dataclass(frozen=True)
class Size:
    """How much is measured."""

    rounds: int
    networks: int
    single: int
    ports: int
    restarts: int
    seconds: float
    crowd: int


WHOLE = Size(rounds=2, networks=4, single=5, ports=100, restarts=1, seconds=0.5, crowd=50)
QUICK = Size(rounds=1, networks=2, single=2, ports=10, restarts=1, seconds=0.1, crowd=10)

#: Part, figure, and how the table calls it; seconds.
ROWS = (
    ("dhcp", "offer", "network create → first DHCP offer"),
    ("dhcp", "API", "of it, the API's answers"),
    ("dhcp", "gone", "network delete → DHCP gone"),
    ("port", "create", "port create, the API's answer"),
    ("port", "flows", "one port: `add-port` → last flow"),
    ("port", "active", "one port: `add-port` → ACTIVE"),
    ("port", "agent", "one port: the agent's own work"),
    ("many", "create", "{ports} ports: create, the API's answer"),
    ("many", "flows", "{ports} ports: `add-port` → last flow"),
    ("many", "active", "{ports} ports: `add-port` → all ACTIVE"),
    ("many", "agent", "{ports} ports: the agent's own work"),
    ("restart", "flows", "{ports} ports: agent killed → all flows anew"),
    ("restart", "group: gap", "longest time without a reply, rule names a group"),
    ("restart", "address: gap", "longest time without a reply, rule names addresses"),
)


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    made = argparse.ArgumentParser(prog="benchmarks/network/run", description=__doc__)
    made.add_argument("--quick", action="store_true", help="a small run: does it work at all")
    made.add_argument("--only", default=",".join(PARTS), help="parts, separated by commas (default: %(default)s)")
    made.add_argument("--places", default=",".join(PLACES), help="which, and in which order (default: %(default)s)")
    made.add_argument("--rounds", type=int, help="how often to go through the places")
    made.add_argument("--ports", type=int, help="how many ports are many")
    made.add_argument("--json", type=Path, metavar="FILE", help="also write everything measured to a file")
    return made


def main() -> int:
    """Measure and print."""
    options = parser().parse_args()
    parts, names = options.only.split(","), options.places.split(",")
    if set(parts) - set(PARTS) or set(names) - set(PLACES) or os.geteuid() != 0:
        sys.stderr.write(f"run as root; parts are {', '.join(PARTS)}, places are {', '.join(PLACES)}\n")
        return 2
    size = QUICK if options.quick else WHOLE
    size = Size(**{**vars(size), **{key: value for key in ("rounds", "ports") if (value := getattr(options, key))}})
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
    try:
        with ExitStack() as stack:
            running = {}
            for name in names:
                say(name, "up")
                running[name] = stack.enter_context(PLACES[name]())
            for _ in range(size.rounds):
                for name, place in running.items():
                    found[name].append(measure_place(place, parts, size))
    except (places.PlaceError, SiteError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    except KeyboardInterrupt:
        return 130
    figures = {name: merge(rounds) for name, rounds in found.items()}
    if options.json:
        options.json.write_text(
            json.dumps({"cpus": os.cpu_count(), "size": vars(size), "places": found}, indent=1) + "\n"
        )
    print(render(figures, size))
    return 0


def measure_place(place: places.Place, parts: Sequence[str], size: Size) -> dict[str, Any]:
    """Return what one place's round gave: part, figure, values."""
    taken: dict[str, Any] = {}
    with closing(Api(place)) as api, closing(FlowWatch(place)) as flows:
        bench = Bench(place, api, flows)
        if "dhcp" in parts:
            taken["dhcp"] = bench.time_dhcp(size.networks)
            say(place.name, f"network create to offer {median(taken['dhcp']['offer']):.2f} s")
        if "port" in parts:
            taken["port"] = bench.time_one_port(size.single)
            say(place.name, f"port to last flow {median(taken['port']['flows']):.2f} s")
        if "many" in parts:
            taken["many"], taken["restart"] = bench.time_many(size.ports, size.restarts)
            say(place.name, f"{size.ports} ports {taken['many']['active'][0]:.1f} s")
        counts = {"dhcp": size.networks, "port": size.single, "many": size.ports}
        for part, spent in bench.costs.items():
            say(place.name, f"{part}: processor time for each: {describe(spent, counts[part])}")
        taken["costs"] = bench.costs
    if "ip_lib" in parts:
        taken["ip_lib"] = time_ip_lib(place, size.seconds)
        crowded = time_ip_lib(place, size.seconds, str(size.crowd), CROWDED)
        taken["ip_lib"].update({f"{name}, {2 * size.crowd} more links": values for name, values in crowded.items()})
        say(place.name, "ip_lib done")
    return taken


def time_ip_lib(place: places.Place, seconds: float, *further: str) -> dict[str, list[float]]:
    """Return the median time of each operation, in seconds."""
    script = str(Path(__file__).with_name("ip_lib.py"))
    program = ["env", f"PYTHONPATH={place.layout.code}", str(place.layout.python), "-W", "ignore", script]
    said = places.run(place.command(*program, str(seconds), *further), limit=600)
    return {name: [values["median"] / 1e6] for name, values in json.loads(said.splitlines()[-1]).items()}


def merge(rounds: Sequence[dict[str, Any]]) -> dict[str, dict[str, list[float]]]:
    """Return all values of each figure over the rounds."""
    merged: dict[str, dict[str, list[float]]] = {}
    for one in rounds:
        for part, figures in one.items():
            if part != "costs":
                for name, values in figures.items():
                    merged.setdefault(part, {}).setdefault(name, []).extend(values)
    return merged


def render(figures: dict[str, dict[str, dict[str, list[float]]]], size: Size) -> str:
    """Return two Markdown tables: medians, their spread, and the ratio where both were measured."""
    names = list(figures)
    lines = ["| | " + " | ".join(names) + " | ratio |", "|---|" + "--:|" * (len(names) + 1)]
    for part, figure, text in ROWS:
        lines += _row(
            text.format(ports=size.ports), [figures[name].get(part, {}).get(figure) for name in names], 1, "s"
        )
    operations = dict.fromkeys(key for name in names for key in figures[name].get("ip_lib", {}))
    if operations:
        lines += ["", "| `ip_lib` | " + " | ".join(names) + " | ratio |", "|---|" + "--:|" * (len(names) + 1)]
        for key in operations:
            lines += _row(key, [figures[name].get("ip_lib", {}).get(key) for name in names], 1000, "ms")
    lost = [f"{kind}, {name}: {sum(found[f'{kind}: lost']):.0f} of {sum(found[f'{kind}: sent']):.0f}"
            for name in names if (found := figures[name].get("restart")) for kind in ("group", "address")]  # fmt: skip
    if lost:
        lines += ["", "Requests without a reply around restarts: " + "; ".join(lost) + "."]
    return "\n".join(lines)


def _row(label: str, values: Sequence[list[float] | None], factor: float, unit: str) -> list[str]:
    if not any(values):
        return []
    cells = [_cell([value * factor for value in found], unit) if found else "–" for found in values]
    middle = [median(found) for found in values if found]
    ratio = f"{middle[1] / middle[0]:.2f}" if len(middle) == 2 and middle[0] else "–"
    return [f"| {label} | " + " | ".join(cells) + f" | {ratio} |"]


def _cell(values: list[float], unit: str) -> str:
    middle = f"{median(values):.3g} {unit}"
    return middle if len(values) == 1 else f"{middle} ({min(values):.3g}–{max(values):.3g})"


def say(name: str, text: str) -> None:
    """Say how far the work has come."""
    sys.stderr.write(f"{time.strftime('%H:%M:%S')} {name}: {text}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    sys.exit(main())
