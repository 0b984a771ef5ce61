"""Nova's services and neutron's agents as the cloud sees them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime

from beastack.site import services
from beastack.site.doctor.finding import Finding, bad, good
from beastack.site.doctor.machine import CLOCK_SLACK
from beastack.site.doctor.view import View
from beastack.site.resources import HostService
from beastack.site.steps import HOST_SERVICES


def check_agents(view: View) -> Iterator[Finding]:
    """Nova's services and neutron's agents report, and are enabled."""
    all_services = [*view.hosts.compute, *view.hosts.network]
    host = view.site.hostname
    ours = {unit.name for unit in services.units(view.site.description)}
    wanted = [(host, name) for name in ("nova-conductor", "nova-scheduler")]
    wanted += [(host, binary) for binary, name in HOST_SERVICES.items() if name in ours]
    known = {(one.host, one.binary) for one in all_services}
    wrong = 0
    for missing in [pair for pair in wanted if pair not in known]:
        wrong += 1
        service = HOST_SERVICES.get(missing[1], missing[1])
        remedy = f"{view.command('logs', service)}; {view.redo}"
        yield bad("agents", f"{missing[1]} never reported from {host}", remedy)
    for one in all_services:
        seen = _agent_problem(one)
        if seen:
            wrong += 1
            yield bad("agents", seen, _agent_remedy(view, one))
    if not wrong:
        yield good("agents", f"{len(all_services)} report")


def _agent_problem(one: HostService) -> str:
    if not one.alive:
        return f"{one.binary} on {one.host} does not report (last: {one.reported or 'never'} UTC)"
    if not one.enabled:
        return f"{one.binary} on {one.host} is disabled: it gets no new work"
    limit = datetime.fromtimestamp(time.time() + CLOCK_SLACK, UTC).strftime("%Y-%m-%d %H:%M:%S")
    return f"{one.binary} on {one.host} reports from the future: {one.reported} UTC" if one.reported > limit else ""


def _agent_remedy(view: View, one: HostService) -> str:
    nova = one.binary.startswith("nova-")
    if not one.alive and one.host != view.site.hostname:
        gone = "compute service delete ID" if nova else "network agent delete ID"
        return f"start it on {one.host}; if that host is gone for good: {view.openstack(gone)}"
    if not one.alive:
        return view.restart(HOST_SERVICES.get(one.binary, one.binary))
    if one.enabled:
        return f"set the clock of {one.host} (an NTP client)"
    if nova:
        return view.openstack("compute service set --enable", one.host, one.binary)
    return view.openstack("network agent list --host", one.host) + ", then network agent set --enable ID"
