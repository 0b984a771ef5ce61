"""Measures operations of neutron.agent.linux.ip_lib, as root in process: upstream's on Linux, ours on FreeBSD.

Usage: python ip_lib.py SECONDS [PAIRS [OPERATION,OPERATION,...]]

Runs in the virtual environment with the OpenStack release, on the host of a
site. Each operation is repeated for ``SECONDS``, with ``PAIRS`` more pairs of
interfaces on the host; prints one line of JSON: operation to microseconds
(median, 10th and 90th percentile), and how many were made.
"""

from __future__ import annotations

import itertools
import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from statistics import quantiles
from typing import Any

if sys.platform.startswith("freebsd"):
    from beastack.port.seams import INSTALLED
    from beastack.seams.install import install

    install([seam for seams in INSTALLED["freebsd"].values() for seam in seams])

from neutron import privileged
from neutron.agent.linux import ip_lib
from oslo_privsep.priv_context import PrivContext

NAMESPACE = "qbench-ip-lib"
LEAST = 5  # repetitions

Step = Callable[[], Any]


def main() -> None:
    """Measure each operation."""
    seconds = float(sys.argv[1])
    pairs = int(sys.argv[2]) if len(sys.argv) > 2 else 0
    chosen = sys.argv[3].split(",") if len(sys.argv) > 3 else None
    for context in vars(privileged).values():
        if isinstance(context, PrivContext):
            context.set_client_mode(False)
    with laid_out(pairs):
        figures = {
            name: measure(*steps, seconds) for name, steps in operations().items() if chosen is None or name in chosen
        }
    print(json.dumps(figures), flush=True)


@contextmanager
def laid_out(pairs: int) -> Iterator[None]:
    """Make the namespace, a pair of interfaces into it, and pairs of interfaces on the host."""
    host = ip_lib.IPWrapper()
    made = [f"qbench{number}a" for number in range(pairs)]
    try:
        host.ensure_namespace(NAMESPACE)
        host.add_veth("qbench-a", "qbench-b", NAMESPACE)
        device = ip_lib.IPDevice("qbench-b", NAMESPACE)
        device.link.set_up()
        device.addr.add("10.99.1.1/24")
        for name in made:
            host.add_veth(name, f"{name[:-1]}b")
        yield
    finally:
        for name in [*made, "qbench-a"]:
            if ip_lib.device_exists(name):
                host.del_veth(name)
        host.netns.delete(NAMESPACE)


def operations() -> dict[str, tuple[Step, Step, Step]]:
    """Return what is measured: what comes before each time, the operation, and what takes it back."""
    device = ip_lib.IPDevice("qbench-b", NAMESPACE)
    namespace = ip_lib.IPWrapper(NAMESPACE)
    one = "qbench-one"

    def nothing() -> None:
        pass

    def make() -> None:
        ip_lib.create_network_namespace(one)

    def remove() -> None:
        ip_lib.delete_network_namespace(one)

    def make_pair() -> None:
        ip_lib.IPWrapper().add_veth("qbench-x", "qbench-y", NAMESPACE)

    def remove_pair() -> None:
        ip_lib.IPDevice("qbench-x").link.delete()

    def add() -> None:
        device.addr.add("10.99.1.2/24")

    def delete() -> None:
        device.addr.delete("10.99.1.2/24")

    def add_route() -> None:
        device.route.add_route("10.98.0.0/24", via="10.99.1.9")

    def delete_route() -> None:
        device.route.delete_route("10.98.0.0/24", via="10.99.1.9")

    sizes = itertools.cycle((1450, 1400))
    return {
        "create namespace": (nothing, make, remove),
        "delete namespace": (make, remove, nothing),
        "ensure namespace": (nothing, lambda: ip_lib.IPWrapper().ensure_namespace(one), remove),
        "namespace exists": (nothing, lambda: ip_lib.network_namespace_exists(NAMESPACE), nothing),
        "list namespaces": (nothing, ip_lib.list_network_namespaces, nothing),
        "create pair": (nothing, make_pair, remove_pair),
        "delete pair": (make_pair, remove_pair, nothing),
        "add address": (nothing, add, delete),
        "delete address": (add, delete, nothing),
        "list addresses": (nothing, device.addr.list, nothing),
        "list a namespace's links": (nothing, lambda: ip_lib.get_devices_info(NAMESPACE), nothing),
        "list the host's links": (nothing, lambda: ip_lib.get_devices_info(None), nothing),
        "link exists": (nothing, lambda: ip_lib.device_exists("qbench-b", NAMESPACE), nothing),
        "set mtu": (nothing, lambda: device.link.set_mtu(next(sizes)), nothing),
        "list routes": (nothing, lambda: device.route.list_routes(4), nothing),
        "add route": (nothing, add_route, delete_route),
        "delete route": (add_route, delete_route, nothing),
        "run a program": (
            nothing,
            lambda: namespace.netns.execute(["true"], run_as_root=True, privsep_exec=True),
            nothing,
        ),
    }


def measure(before: Step, step: Step, back: Step, seconds: float) -> dict[str, float]:
    """Repeat a step and return its times in microseconds."""
    taken: list[float] = []
    end = time.perf_counter() + seconds
    while len(taken) < LEAST or time.perf_counter() < end:
        before()
        began = time.perf_counter()
        step()
        taken.append(time.perf_counter() - began)
        back()
    parts = quantiles(taken, n=10, method="inclusive")
    return {
        "median": parts[4] * 1e6,
        "low": parts[0] * 1e6,
        "high": parts[8] * 1e6,
        "count": len(taken),
    }


if __name__ == "__main__":
    main()
