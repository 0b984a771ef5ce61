"""What each command does: reads its arguments, calls the site, prints."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import threading
import time
from argparse import Namespace
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from beastack.cli import other_hosts as other_hosts_commands
from beastack.cli import seams, testing
from beastack.cli.report import make_reporter
from beastack.site import (
    backup,
    boot,
    clients,
    consoles,
    description,
    doctor,
    images,
    joining,
    operate,
    resources,
    restore,
    rotate,
)
from beastack.site import host as hosts
from beastack.site.api import CloudError
from beastack.site.configuration import Site
from beastack.site.description import manual
from beastack.site.layout import Layout
from beastack.site.members import read_members
from beastack.site.plan import make_plan
from beastack.site.steps import Steps, provider_address
from beastack.supervisor import logs
from beastack.supervisor.client import SupervisorError

_patient = threading.Event()


def patient() -> bool:
    """Return whether an interrupt should let work under way end instead of raising."""
    return _patient.is_set()


def _print_json(data: Any) -> None:
    print(json.dumps(data, indent=2))


def _need_root() -> None:
    if os.geteuid() != 0:
        raise operate.SiteError("this must be run as root (it installs packages and makes network interfaces)")


def _layout(arguments: Namespace) -> Layout:
    return Layout(arguments.root)


def _site(arguments: Namespace) -> Site:
    layout = _layout(arguments)
    return operate.open_site(layout, operate.read_description(layout, arguments.site))


# up


def up(arguments: Namespace) -> int:
    """Bring the cloud up, or print the plan."""
    _need_root()
    seams.pass_on(arguments)
    layout = _layout(arguments)
    wanted = operate.read_description(layout, arguments.site, kind=arguments.host, role=arguments.role)
    recorded = operate.recorded_host(layout)
    if recorded and recorded != {"kind": wanted.host.kind, "role": wanted.host.role}:
        was = f"{recorded['kind']} with role {recorded['role']}"
        raise operate.SiteError(
            f"the site at {layout.root} is of kind {was}: leave --host and --role out, or destroy it"
        )
    operate.check_kind(wanted)
    if arguments.plan:
        return _print_plan(arguments, layout, wanted)
    return bring_up(arguments, layout, wanted)


def bring_up(arguments: Namespace, layout: Layout, wanted: description.Description) -> int:
    """Make the site what its description says, and print what came of it."""
    with operate.only_one(layout):
        began = time.monotonic()
        if layout.marker.exists() and operate.is_up(site := operate.make_site(layout, wanted)):
            outcome = operate.Outcome(already=True, seconds=time.monotonic() - began)
        else:
            _warn(hosts.module(wanted.host.kind).notes())
            operate.check_directory(layout)
            operate.check_machine(layout.root, wanted, layout)
            site = operate.make_site(layout, wanted)
            outcome = _carry_out(site, json=arguments.json)
        _print_summary(site, outcome, as_json=arguments.json)
    return 0


def _carry_out(site: Site, *, json: bool) -> operate.Outcome:
    """Carry out the plan of ``up``; an interrupt lets the steps under way end."""
    plan = make_plan(site.description, site.layout, operate.find_facts(site.layout, site.description))
    reporter = make_reporter(len(plan), json=json)
    _patient.set()
    try:
        return operate.bring_up(site, plan, reporter)
    finally:
        _patient.clear()
        reporter.close()


def _print_plan(arguments: Namespace, layout: Layout, wanted: description.Description) -> int:
    plan = make_plan(wanted, layout, operate.find_facts(layout, wanted))
    host = hosts.module(wanted.host.kind)
    problems = host.problems(wanted)
    _warn(host.notes())
    if arguments.json:
        _print_json([{"name": s.name, "title": s.title, "after": s.after, "changes": s.changes} for s in plan])
        if problems:
            raise operate.Refused(problems)
        return 0
    print(f"The site at {layout.root}, a host of kind {wanted.host.kind}. Nothing is done now; up would:")
    if wanted.host.kind == "freebsd" and sys.platform == "linux":
        print("     (inside a simulated FreeBSD host, which gets the programs of its packages from Debian's)")
    for number, step in enumerate(plan, 1):
        print(f"{number:3}. {step.title}")
        for change in step.changes:
            print(f"       {_shorten(change, 1000)}")
    if problems:
        print("But it would refuse:", flush=True)
        raise operate.Refused(problems)
    return 0


def _warn(notes: Sequence[str]) -> None:
    for note in notes:
        print(f"beastack: note: {note}", file=sys.stderr, flush=True)


def _shorten(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"


def _first_instance(site: Site) -> dict[str, str]:
    """Return the first instance's address and console, as far as it can be told."""
    demo = Steps(site).demo()
    name = site.description.instance.name
    server = next((one for one in demo.items("compute", "/servers", "servers") if one["name"] == name), None)
    if server is None:
        return {}
    try:
        return {
            "name": name,
            "address": provider_address(demo, server["id"], site.description.network.provider_name),
            "console": consoles.get_console_page(demo, server["id"], "novnc"),
            "serial": consoles.get_console_page(demo, server["id"], "serial"),
        }
    except (CloudError, resources.ResourceError, KeyError, IndexError) as error:
        return {"name": name, "problem": str(error)}


def _print_summary(site: Site, outcome: operate.Outcome, *, as_json: bool) -> None:
    host = site.description.host
    instance = {} if not host.has_control or (outcome.already and not as_json) else _first_instance(site)
    cloud = clients.cloud_names(site)[0]
    if as_json:
        _print_json({
            "already_up": outcome.already, "seconds": round(outcome.seconds, 1), "applied": outcome.applied,
            "auth_url": site.auth_url, "cloud": cloud, "clouds_yaml": str(site.layout.clouds_yaml),
            "key": str(Steps(site).key_file()), "instance": instance,
        })  # fmt: skip
        return
    what = "cloud" if host.has_control else f"{host.role} host"
    if outcome.already:
        print(f"The {what} at {site.layout.root} is up; nothing to do.")
        return
    print(f"The {what} is up after {outcome.seconds:.0f} s.")
    if not host.has_control:
        if host.has_guests:
            print(_mapping(site))
        return
    print()
    if site.layout.is_default:
        print(f"  Use it:      openstack --os-cloud {cloud} server list")
        print(f"  As admin:    openstack --os-cloud {clients.cloud_names(site)[1]} service list")
    else:
        command = f"OS_CLIENT_CONFIG_FILE={site.layout.clouds_yaml} {site.layout.venv}/bin/openstack"
        print(f"  Use it:      {command} --os-cloud {cloud} server list")
    if "address" in instance:
        print(f"  Instance:    {instance['name']} at {instance['address']}")
        where = "" if site.layout.is_default else f" --root {site.layout.root}"
        print(f"  Log in:      beastack{where} ssh {instance['name']}")
        print(f"  Console:     {instance['console']}")
        print(f"  Serial line: {instance['serial']}")
    elif instance:
        print(f"  Instance:    {instance['name']}: {instance['problem']}")
    print("  Watch it:    beastack status, beastack logs, beastack doctor")


def _mapping(site: Site) -> str:
    """Return what is still to be done until the cloud sends instances to this host."""
    try:
        if joining.is_mapped(site):
            return f"  The cloud sends instances to {site.hostname}."
    except CloudError as error:
        return f"  Whether the cloud sends instances to {site.hostname} is not known: {error}"
    return (
        f"  The cloud sends instances to {site.hostname} when a cell of nova has it: one that beastack made looks twice"
        " a minute; elsewhere run, on the control plane: nova-manage cell_v2 discover_hosts"
    )


# What there is


def status(arguments: Namespace) -> int:
    """Show the services."""
    site = _site(arguments)
    _need_root()
    try:
        rows = operate.service_table(site)
        beside = operate.overhead_table(site)
    except SupervisorError:
        if arguments.json:
            _print_json({"running": False, "services": []})
        else:
            print(f"The site at {site.layout.root} is down (start it with: beastack up).")
        return 3
    healthy = all(row["state"] == "running" for row in rows)
    if arguments.json:
        _print_json({"running": True, "healthy": healthy, "services": rows, "beside": beside})
        return 0 if healthy else 1
    layout = "{:<22} {:<9} {:<12} {:<26} {:>8} {:>9} {:>7}  {}"
    print(layout.format("SERVICE", "STATE", "HOST", "USER", "PID", "MEMORY", "UP", "RESTARTS"))
    for row in rows:
        memory = "-" if row["memory"] is None else f"{row['memory'] / (1 << 20):.0f} MiB"
        note = str(row["restarts"]) if row["state"] == "running" else f"{row['restarts']} ({row['last_exit']})"
        print(layout.format(row["name"], row["state"], _shorten(row["host"], 12), row["user"], row["pid"] or "-",
                            memory, _duration(row["seconds"]), note))  # fmt: skip
    for item in beside:
        print(f"{item['count']:>2} {item['name']}: {item['memory'] / (1 << 20):.0f} MiB")
    total = sum(row["memory"] or 0 for row in rows) + sum(item["memory"] for item in beside)
    shared = "counted for each of" if site.is_freebsd else "divided among"
    print(f"{len(rows)} services, {total / (1 << 20):.0f} MiB in all (shared memory {shared} its users)")
    return 0 if healthy else 1


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def run_doctor(arguments: Namespace) -> int:
    """Look for what is wrong."""
    _need_root()
    site = _site(arguments)
    findings = doctor.examine(site)
    bad = [finding for finding in findings if not finding.ok]
    if arguments.json:
        _print_json([finding.__dict__ for finding in findings])
        return 1 if bad else 0
    for finding in findings:
        print(f"{'ok ' if finding.ok else 'BAD'}  {finding.what}: {finding.seen}")
        if not finding.ok:
            print(f"     -> {finding.remedy}")
    print(f"{len(findings)} checks, {len(bad)} finding{'' if len(bad) == 1 else 's'}")
    return 1 if bad else 0


def show_logs(arguments: Namespace) -> int:
    """Show logs."""
    site = _site(arguments)
    directory = site.layout.root / "log"
    known = sorted(path.stem for path in directory.glob("*.log"))
    if arguments.service is None:
        if arguments.follow:
            raise operate.SiteError("name a service to follow: " + ", ".join(known))
        for name in known:
            print(f"==> {name}")
            for line in logs.last_lines(directory / f"{name}.log", arguments.lines or 5):
                print(line)
        return 0
    name = arguments.service.partition(":")[0]
    name = {"epmd": "rabbitmq", "ovsdb-server": "openvswitch", "ovs-vswitchd": "openvswitch"}.get(name, name)
    if name not in known:
        raise operate.SiteError(f"there is no log of {arguments.service}; there are: " + ", ".join(known))
    path = directory / f"{name}.log"
    for line in logs.last_lines(path, arguments.lines or 50):
        print(line)
    if arguments.follow:
        _follow(path)
    return 0


def _follow(path: Path) -> None:
    position = path.stat().st_size
    while True:
        sys.stdout.flush()
        time.sleep(0.3)
        size = path.stat().st_size
        if size < position:
            position = 0  # rotated
        if size > position:
            with path.open(errors="replace") as stream:
                stream.seek(position)
                sys.stdout.write(stream.read())
                position = stream.tell()


def openrc(arguments: Namespace) -> int:
    """Print the environment of the openstack command."""
    sys.stdout.write(clients.openrc(_site(arguments), arguments.user))
    return 0


def describe(arguments: Namespace) -> int:
    """Print an annotated site.toml, or its manual page."""
    sys.stdout.write(manual.manual() if arguments.mdoc else description.explain())
    return 0


# Ending


def down(arguments: Namespace) -> int:
    """Stop everything."""
    _need_root()
    site = _site(arguments)
    with operate.only_one(site.layout):
        operate.bring_down(site, print)
    print(f"The site at {site.layout.root} is down; its data are kept.")
    return 0


def destroy(arguments: Namespace) -> int:
    """Remove the site."""
    _need_root()
    layout = _layout(arguments)
    try:
        site = _site(arguments)
    except description.DescriptionError:
        # A description that went wrong since must not keep the site from being removed.
        site = operate.open_site(layout, description.Description())
    warning = f"This removes the site at {layout.root}: all instances, images and databases in it."
    if not arguments.yes and not _agreed(warning):
        return 1
    with operate.only_one(layout):
        operate.destroy(layout, site, print, packages=arguments.packages)
    print(
        "The site is gone." + ("" if arguments.packages else " System packages stay (destroy --packages removes them).")
    )
    return 0


# Keeping it


def make_backup(arguments: Namespace) -> int:
    """Write a backup."""
    _need_root()
    site = _site(arguments)

    def say(text: str) -> None:
        print(f"  {text}", file=sys.stderr)

    with operate.only_one(site.layout):
        if arguments.file == "-":
            if sys.stdout.isatty():
                raise backup.BackupError("a backup is not for a terminal: name a file, or send it into a pipe")
            backup.make(site, sys.stdout.buffer, say, disks=arguments.disks)
            return 0
        with backup.new_file(Path(arguments.file)) as stream:
            backup.make(site, stream, say, disks=arguments.disks)
    print(backup.describe(Path(arguments.file)))
    return 0


def put_back(arguments: Namespace) -> int:
    """Put a backup back."""
    _need_root()
    layout = _layout(arguments)
    if not restore.is_cut_short(layout):
        operate.check_directory(layout)
    operate.check_down(layout)
    if layout.marker.exists() and not arguments.yes and not _agreed(
        f"This replaces the databases, images and keys of the site at {layout.root} by those of the backup."
    ):
        return 1
    with operate.only_one(layout), contextlib.ExitStack() as stack:
        stream = sys.stdin.buffer if arguments.file == "-" else stack.enter_context(Path(arguments.file).open("rb"))
        restore.stage(layout, stream, lambda text: print(f"  {text}"))
    print(f"The backup is in place beside the site at {layout.root}. Now: beastack up")
    return 0


def _agreed(warning: str) -> bool:
    """Ask whether to go on with something that cannot be undone."""
    print(warning)
    try:
        answer = input("Type yes to go on: ")
    except EOFError:
        answer = ""
    if answer.strip() != "yes":
        print("Nothing was changed.")
        return False
    return True


def rotate_secrets(arguments: Namespace) -> int:
    """Make all secrets anew."""
    _need_root()
    site = _site(arguments)
    if not site.description.host.has_control:
        raise operate.SiteError("a host without the control role has no secrets of its own: rotate on the control host")
    with operate.only_one(site.layout):
        if not rotate.begin(site.layout):
            print("An earlier rotation was cut short: going on with it.")
        # Opened again: with the new secrets.
        _carry_out(_site(arguments), json=False)
    print("All secrets are new. Tokens are void: log in again.")
    told = [name for name, member in read_members(site.layout).items() if "network" in member.role]
    if told:
        print(f"Set control.metadata_secret in site.toml on {', '.join(told)} to metadata-proxy in secrets.json here.")
    return 0


# Images


def image(arguments: Namespace) -> int:
    """List images, or add one."""
    site = _site(arguments)
    cloud = Steps(site).admin()
    if arguments.kind == "list":
        for item in cloud.items("image", "/images", "images"):
            kind, size = item["disk_format"] or "-", item["size"] or 0
            print(f"{item['id']}  {item['status']:<8} {kind:<6} {size:>12}  {item['name']}")
        return 0
    progress = (lambda text: print(f"  {text}")) if sys.stdout.isatty() else (lambda text: None)
    added = images.add(
        cloud, arguments.source, site.layout.root / "cache", name=arguments.name, sha256=arguments.sha256,
        uefi=not arguments.bios, progress=progress,
    )  # fmt: skip
    print(f"{added.id}  {'added' if added.created else 'was there already'}{': ' + added.note if added.note else ''}")
    return 0


# Instances


def ssh(arguments: Namespace) -> int:
    """Become ssh, to an instance."""
    site = _site(arguments)
    argv = _ssh_argv(site, arguments.instance or site.description.instance.name, arguments.command)
    if arguments.print:
        _print_json(argv)
        return 0
    sys.stdout.flush()
    try:
        os.execvp(argv[0], argv)
    except FileNotFoundError as error:
        raise operate.SiteError("there is no ssh on this machine: install OpenSSH's client") from error


def _ssh_argv(site: Site, target: str, command: list[str]) -> list[str]:
    """Return the command that logs in to an instance, by its address on the provider network.

    Its host key is not checked: the way there is a bridge of this host, on which Neutron lets no instance use
    another's address, and small images make a new key at each boot.
    """
    user, _, name = target.rpartition("@")
    demo, network = Steps(site).demo(), site.description.network.provider_name
    servers = demo.items("compute", "/servers", "servers")
    found = [server for server in servers if name in (server["name"], server["id"])]
    if len(found) != 1:
        others = ", ".join(sorted(server["name"] for server in servers)) or "none"
        raise operate.SiteError(f"there is no one instance {name} (there are: {others})")
    try:
        address = provider_address(demo, found[0]["id"], network)
    except (KeyError, IndexError) as error:
        raise operate.SiteError(f"{name} has no address on the network {network}, the one this host is on") from error
    options = (
        "UserKnownHostsFile=/dev/null", "StrictHostKeyChecking=no", "LogLevel=ERROR",
    )  # fmt: skip
    switches = [word for option in options for word in ("-o", option)]
    return ["ssh", "-i", str(Steps(site).key_file()), *switches, f"{user or 'root'}@{address}", *command]


def console(arguments: Namespace) -> int:
    """Print the address of a page with an instance's console."""
    cloud = Steps(_site(arguments)).admin()
    print(consoles.get_console_page(cloud, consoles.find_server(cloud, arguments.name), arguments.screen))
    return 0


# Other hosts


def host(arguments: Namespace) -> int:
    """Add, list or remove other hosts of the cloud."""
    _need_root()
    site = _site(arguments)
    return other_hosts_commands.VERBS[arguments.action](site, arguments)


def join(arguments: Namespace) -> int:
    """Make this host one of a cloud that runs elsewhere."""
    if arguments.template:
        sys.stdout.write(joining.template())
        return 0
    _need_root()
    seams.pass_on(arguments)
    layout = _layout(arguments)
    wanted = operate.read_joining(layout, arguments.file)
    if arguments.plan:
        return _print_plan(arguments, layout, wanted)
    for line in joining.check_cloud(operate.site_to_be(layout, wanted), joined=layout.marker.exists()):
        if not arguments.json:
            print(f"  {line}", flush=True)
    operate.keep_description(layout, wanted)
    # Read again: from where it is read from now on.
    return bring_up(arguments, layout, operate.read_description(layout, None))


# At boot


def enable(arguments: Namespace) -> int:
    """Start the site at boot."""
    _need_root()
    site = _site(arguments)
    print(boot.enable(site))
    return 0


def disable(arguments: Namespace) -> int:
    """Do not start the site at boot."""
    _need_root()
    site = _site(arguments)
    print(boot.disable(site))
    return 0


def test(arguments: Namespace) -> int:
    """Run the project's tests."""
    return testing.run_tests(arguments)


VERBS: dict[str, Callable[[Namespace], int]] = {
    "up": up, "status": status, "doctor": run_doctor, "logs": show_logs, "openrc": openrc, "down": down,
    "destroy": destroy, "image": image, "host": host, "join": join, "ssh": ssh, "console": console, "enable": enable,
    "disable": disable, "describe": describe, "seams": seams.show, "test": test, "backup": make_backup,
    "restore": put_back, "secrets": rotate_secrets,
}  # fmt: skip
