"""All checks, and how they are carried out: each on its own, so that what one meets stops no other."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from beastack.freebsd.command import CommandError
from beastack.site.api import CloudError
from beastack.site.configuration import Site
from beastack.site.doctor import (
    agents,
    apis,
    data,
    files,
    freebsd_firewalls,
    freebsd_guests,
    freebsd_kernel,
    freebsd_ports,
    guests,
    kvm,
    machine,
    networks,
    processes,
    switch,
)
from beastack.site.doctor.finding import Finding, bad
from beastack.site.doctor.view import View
from beastack.supervisor.client import SupervisorError


@dataclass(frozen=True)
class Check:
    """One check: its name, and what must be there for it to make sense (see ``View.has``)."""

    what: str
    look: Callable[[View], Iterable[Finding]]
    needs: tuple[str, ...] = ()
    role: str = ""  # words: control, network, guests, switch (what the host has), linux, freebsd (what it is)


CHECKS: tuple[Check, ...] = (
    Check("root", machine.check_root),
    Check("disk", machine.check_disk),
    Check("memory", machine.check_memory),
    Check("clock", machine.check_clock),
    Check("packages", machine.check_packages),
    Check("users", machine.check_users),
    Check("virtual environment", machine.check_environment),
    Check("virtualization", kvm.check_kvm, role="guests linux"),
    Check("modules", freebsd_kernel.check_modules, role="freebsd"),
    Check("sysctls", freebsd_kernel.check_settings, role="guests freebsd"),
    Check("jails", freebsd_kernel.check_jail, role="freebsd"),
    Check("ipfw", freebsd_firewalls.check_ipfw, role="network freebsd"),
    Check("pf", freebsd_firewalls.check_pf, role="switch freebsd"),
    Check("vmm", freebsd_guests.check_processor, role="guests freebsd"),
    Check("firmware", freebsd_guests.check_firmware, role="guests freebsd"),
    Check("old taps", freebsd_ports.check_leftovers, ("supervisor",), role="switch freebsd"),
    Check("secrets", files.check_secrets),
    Check("clouds.yaml", files.check_clients, role="control"),
    Check("configuration", files.check_configuration),
    Check("unfinished", files.check_unfinished),
    Check("records", files.check_records),
    Check("ports", processes.check_shared_ports),
    Check("datapath", switch.check_datapath, role="switch"),
    Check("supervisor", processes.check_supervisor),
    Check("up", processes.check_up, ("supervisor",)),
    Check("services", processes.check_services, ("supervisor",)),
    Check("tracebacks", processes.check_logs, ("supervisor",)),
    Check("database", data.check_database, ("supervisor",), role="control"),
    Check("databases", data.check_connections, ("supervisor", "own database"), role="control"),
    Check("schemas", data.check_schemas, ("supervisor",), role="control"),
    Check("messaging", data.check_messaging, ("supervisor",)),
    Check("message queues", data.check_queues, ("supervisor", "messaging"), role="control"),
    Check("switch", switch.check_switch, ("supervisor",), role="switch"),
    Check("bridges", switch.check_bridges, ("supervisor", "switch"), role="switch"),
    Check("flows", switch.check_controllers, ("supervisor", "switch"), role="switch"),
    Check("provider network", switch.check_host_pair, ("supervisor", "switch"), role="network"),
    Check("interfaces", switch.check_interfaces, ("supervisor", "switch"), role="switch"),
    Check("taps", switch.check_taps, ("supervisor", "switch"), role="switch"),
    Check("bindings", switch.check_tags, ("supervisor", "switch"), role="switch"),
    Check("dead ports", freebsd_ports.check_dead_ports, ("supervisor", "switch"), role="switch freebsd"),
    Check("frames", freebsd_ports.check_frames, ("supervisor", "switch"), role="switch freebsd"),
    Check("tunnels", freebsd_ports.check_underlay, ("supervisor", "switch"), role="switch freebsd"),
    Check("libvirt", guests.check_hypervisor, ("supervisor",), role="guests"),
    Check("libvirt's driver", freebsd_guests.check_libvirt, ("supervisor", "hypervisor"), role="guests freebsd"),
    Check("bhyve", freebsd_guests.check_machines, ("supervisor", "hypervisor"), role="guests freebsd"),
    Check("APIs", apis.check_apis, ("supervisor",), role="control"),
    Check("console proxies", apis.check_consoles, ("supervisor",), role="control"),
    Check("token", apis.check_token, ("supervisor",), role="control"),
    Check("user", apis.check_user, ("supervisor", "identity"), role="control"),
    Check("images", apis.check_images, ("supervisor", "image"), role="control"),
    Check("compute host", apis.check_resource_provider, ("supervisor", "compute", "placement"), role="control guests"),
    Check("agents", agents.check_agents, ("supervisor", "compute", "network"), role="control"),
    Check("guests", guests.check_guests, ("supervisor", "compute", "hypervisor"), role="control guests"),
    Check("instances", guests.check_instances, ("supervisor", "compute"), role="control"),
    Check("ports of networks", networks.check_bindings, ("supervisor", "compute", "network"), role="control"),
    Check("DHCP", networks.check_dhcp, ("supervisor", "network"), role="control network"),
    Check("leftovers", networks.check_leftovers, ("supervisor", "network", "switch"), role="control network"),
)


def examine(site: Site) -> list[Finding]:
    """Return what every check found, in the checks' order. Changes nothing and never raises."""
    view = View(site)
    # Most of the time is spent waiting for answers: the checks wait side by side.
    with ThreadPoolExecutor(8) as pool:
        checks = [check for check in CHECKS if _applies(check, site)]
        results = pool.map(lambda check: carry_out(check, view), checks)
        return [finding for findings in results for finding in findings]


def _applies(check: Check, site: Site) -> bool:
    host = site.description.host
    roles = {
        "network": host.has_network, "guests": host.has_guests, "control": host.has_control, "switch": host.has_switch,
    }  # fmt: skip
    return all(roles.get(word, word == host.kind) for word in check.role.split())


def carry_out(check: Check, view: View) -> list[Finding]:
    """Return what one check found; nothing where what it needs is missing, which another check tells of."""
    found: list[Finding] = []
    try:
        if all(view.has(thing) for thing in check.needs):
            for finding in check.look(view):
                found.append(_without_secrets(finding, view.site))
    except Exception as error:
        seen = f"this could not be looked at: {type(error).__name__}: {' '.join(str(error).split())}"
        remedy = f"{view.command('status')}; {view.command('logs')}; then {view.command('doctor')} again"
        if not isinstance(error, CommandError | CloudError | SupervisorError):
            remedy = f"this is a fault of doctor's, please report it; meanwhile: {view.command('status')}"
        found.append(_without_secrets(bad(check.what, seen, remedy), view.site))
    return found


def _without_secrets(finding: Finding, site: Site) -> Finding:
    """Return a finding that quotes no password: logs and refusals of servers may."""
    seen = " ".join(finding.seen.split())
    urls = (site.description.database.url, site.description.messaging.url)
    passwords = re.findall(r"//[^/@\s]*:([^/@\s]+)@", " ".join(filter(None, urls)))
    known = (*site.secrets.values(), *site.description.control.passwords, *passwords)
    for secret in sorted(known, key=len, reverse=True):
        seen = seen.replace(secret, "[hidden]")
    return Finding(finding.what, finding.ok, seen, finding.remedy)
