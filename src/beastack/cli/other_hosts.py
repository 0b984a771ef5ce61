"""The commands ``beastack host add``, ``list``, ``remove`` and ``renew``: other hosts of this site's cloud."""

from __future__ import annotations

import json
import shlex
from argparse import Namespace
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path

from beastack.site import operate, other_hosts, renewal
from beastack.site.api import Cloud
from beastack.site.configuration import Site
from beastack.site.steps import Steps


def add(site: Site, arguments: Namespace) -> int:
    """Make credentials for another host, write its description, and say what to run there."""
    cloud = _cloud(site)
    file = arguments.output or other_hosts.description_file(site.layout, arguments.name)
    with operate.only_one(site.layout):
        written = other_hosts.add(
            site, cloud, arguments.name, arguments.role, arguments.address, arguments.interface, file.absolute()
        )
    command = f"beastack join {shlex.quote(Path(written).name)}"
    if arguments.json:
        print(
            json.dumps(
                {"name": arguments.name, "role": arguments.role, "file": str(written), "command": command}, indent=2
            )
        )
        return 0
    print(f"Copy {written} to {arguments.name}; it holds credentials. There, as root:")
    print()
    print(f"    {command}")
    return 0


def show(site: Site, arguments: Namespace) -> int:
    """List the hosts of the cloud."""
    found = other_hosts.list_hosts(site, _cloud(site))
    if arguments.json:
        print(json.dumps([asdict(row) for row in found], indent=2))
        return 0
    layout = "{:<20} {:<16} {:<16} {:<10} {:>9} {:>10}"
    print(layout.format("HOST", "ROLE", "ADDRESS", "STATE", "SERVICES", "INSTANCES"))
    for row in found:
        print(layout.format(row.name, row.role, row.address, row.state, f"{row.alive}/{row.services}", row.instances))
    return 0


def remove(site: Site, arguments: Namespace) -> int:
    """Take a host out of the cloud."""
    with operate.only_one(site.layout):
        other_hosts.remove(
            site, _cloud(site), arguments.name, lambda text: None if arguments.json else print(f"  {text}", flush=True)
        )
    if arguments.json:
        print(json.dumps({"removed": arguments.name}, indent=2))
    else:
        print(f"{arguments.name} is no host of this cloud any more; what is on it goes with: beastack destroy, there")
    return 0


def renew(site: Site, arguments: Namespace) -> int:
    """Make the certificates of all hosts anew, and say what to do with them."""
    _cloud(site)
    with operate.only_one(site.layout):
        files = renewal.renew(site)
    commands = {name: f"beastack join {shlex.quote(file.name)}" for name, file in files.items()}
    if arguments.json:
        hosts = [{"name": name, "file": str(file), "command": commands[name]} for name, file in files.items()]
        print(json.dumps(hosts, indent=2))
        return 0
    print("Every host with guests has a new certificate, of a new authority. To put them to use, here:")
    print()
    print("    beastack up")
    for name, file in files.items():
        print()
        print(f"Copy {file} to {name}; it holds credentials. There, as root:")
        print()
        print(f"    {commands[name]}")
    print()
    print("Until all hosts have theirs, some refuse the disks of others.")
    return 0


def _cloud(site: Site) -> Cloud:
    """Return the cloud as its administrator sees it.

    :raises SiteError: this is not its control host
    """
    if not site.description.host.has_control:
        raise operate.SiteError(f"this host has the role {site.description.host.role}: run this on the control host")
    return Steps(site).admin()


VERBS: Mapping[str, Callable[[Site, Namespace], int]] = {
    "add": add, "list": show, "remove": remove, "renew": renew,
}  # fmt: skip
