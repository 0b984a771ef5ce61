"""What the command line does with a site: up, down, destroy, and what it knows of it."""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import importlib.util
import ipaddress
import json
import os
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any, TextIO

import beastack
from beastack.freebsd.command import CommandError, find_program, hold_in_commands, release_in_commands, run
from beastack.site import clients, code, joining, members, records, release, restore, rotate, services
from beastack.site import host as hosts
from beastack.site.configuration import Site
from beastack.site.description import Description, load_description
from beastack.site.execute import Reporter, carry_out
from beastack.site.host import freebsd_boot, freebsd_kernel, freebsd_volumes
from beastack.site.layout import FORMAT, Layout
from beastack.site.plan import Found, Step
from beastack.site.secrets import load_or_make
from beastack.site.steps import Steps, user_names_of
from beastack.site.wait import wait_until
from beastack.supervisor import process
from beastack.supervisor.client import Client, SupervisorError

#: Bytes of free disk that a first ``up`` needs, and a later one.
DISK_FIRST = 4 << 30
DISK_AGAIN = 1 << 30


#: Where a file to join by is put for a simulated host, until the cloud that it names was looked at.
BROUGHT = "join.toml"
#: What may stand in a state directory that holds no site yet.
OWN_BEFORE_MARKER = (
    "site.toml", BROUGHT, "records.jsonl", "lock", ".site.json.new", ".site.toml.new", "restore.part",
)  # fmt: skip


class SiteError(Exception):
    """Something that stops the work before it begins; one line says what, where and what to do."""


class Refused(SiteError):
    """The host does not suit, for several reasons, each with what to do."""

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("; ".join(problems))


class NotASite(SiteError):
    """The state directory holds no site."""


@dataclass
class Outcome:
    """What ``up`` did: names of steps that had something to do, and seconds taken."""

    applied: list[str] = field(default_factory=list)
    seconds: float = 0.0
    already: bool = False


def read_description(
    layout: Layout, file: Path | None, *, kind: str | None = None, role: str | None = None
) -> Description:
    """Return the site's description: the file named, or site.toml in the state directory or in /etc.

    What the site was made as, and then ``kind`` and ``role``, come before the file's [host].

    :raises DescriptionError: the file is wrong
    """
    own = layout.root / "site.toml"
    if file is not None:
        description = load_description(file)
    elif own.exists() or not layout.is_default:
        description = load_description(own, must_exist=False)
    else:
        description = load_description(Path("/etc/beastack/site.toml"), must_exist=False)
    chosen = {**recorded_host(layout), **{name: value for name, value in (("kind", kind), ("role", role)) if value}}
    return dataclasses.replace(description, host=dataclasses.replace(description.host, **chosen))


def read_joining(layout: Layout, file: Path) -> Description:
    """Return the description of a host that is to be one of a cloud elsewhere.

    :raises DescriptionError: the file is wrong
    :raises JoinError: it describes something else
    :raises SiteError: this release cannot make such a host, or the state directory has another site
    """
    wanted = joining.read_file(file)
    check_kind(wanted)
    own, brought = layout.root / "site.toml", layout.root / BROUGHT
    if own.exists() and own.read_bytes() != file.read_bytes() and not _is_renewal(load_description(own), wanted):
        raise SiteError(f"{own} describes another site: destroy that and remove the file, or choose another --root")
    recorded, ours = recorded_host(layout), {"kind": wanted.host.kind, "role": wanted.host.role}
    if recorded and (recorded != ours or not (own.exists() or brought.exists())):
        raise SiteError(f"there is a site at {layout.root} already: destroy it, or choose another --root")
    return wanted


def _is_renewal(own: Description, brought: Description) -> bool:
    """Return whether two descriptions are of one host, which ``beastack host renew`` gave another certificate."""
    held, given = own.migration, brought.migration
    return held.is_set and given.is_set and dataclasses.replace(own, migration=given) == brought


def site_to_be(layout: Layout, description: Description) -> Site:
    """Return the site as it would be, for looking at what it needs; nothing is made."""
    return _site(layout, description, {})


def keep_description(layout: Layout, description: Description) -> None:
    """Make a description that ``read_joining`` returned the site's own, which it is read from from now on.

    :raises SiteError: the state directory holds something else
    """
    check_directory(layout)
    own = layout.root / "site.toml"
    text = "" if description.source is None else description.source.read_text()
    if text and not (own.exists() and own.read_text() == text):
        layout.root.mkdir(parents=True, exist_ok=True)
        if not own.exists():
            records.add(layout.records, records.Record("file", str(own)))
        temporary = layout.root / ".site.toml.new"
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as stream:
            stream.write(text)
        temporary.replace(own)
    (layout.root / BROUGHT).unlink(missing_ok=True)


def recorded_host(layout: Layout) -> dict[str, str]:
    """Return the kind and role that a site was made with; empty where there is no site."""
    try:
        # The first sites had no kind written down: there was one.
        recorded = json.loads(layout.marker.read_text()).get("host", {"kind": "linux", "role": "all"})
    except (OSError, ValueError, AttributeError):
        return {}
    return {name: str(recorded[name]) for name in ("kind", "role") if name in recorded}


def check_kind(description: Description) -> None:
    """Check that this release can make such a host. Raises SiteError."""
    host = description.host
    if host.kind == "linux" and host.role not in ("all", "control"):
        raise SiteError(f"a Linux host does all or the control role, not {host.role}: choose another host.role")
    if host.kind == "linux" and description.compute.zfs_dataset is not None:
        raise SiteError("compute.zfs_dataset is for FreeBSD hosts: leave it out")
    if not host.has_control:
        missing = [key for key, given in _needed_without_control(description).items() if not given]
        if missing:
            raise SiteError(f"a host of role {host.role} needs {', '.join(missing)} in site.toml")


def _needed_without_control(description: Description) -> dict[str, bool]:
    """Return the keys that a host needs that is told by another where the cloud is, and whether it has them."""
    host, control, network = description.host, description.control, description.network
    needed = {"messaging.url": description.messaging.url is not None}
    if host.has_network or network.dhcp == "responder":
        needed["control.address"] = control.address is not None
        needed["control.metadata_secret"] = control.metadata_secret is not None
    if host.has_guests:
        needed["control.identity_url"] = control.identity_url is not None
        needed["control.compute_password"] = control.compute_password is not None
        needed["network.local_ip"] = not ipaddress.ip_address(network.local_ip).is_loopback
    return needed


def _site(layout: Layout, description: Description, secrets: Mapping[str, str]) -> Site:
    facts = hosts.module(description.host.kind).facts(layout)
    return Site(layout, description, secrets, facts, members.count_guest_hosts(layout))


def open_site(layout: Layout, description: Description) -> Site:
    """Return a site that exists.

    :raises NotASite: there is none
    :raises SiteError: it was made by a newer beastack
    """
    if not layout.marker.exists():
        raise NotASite(f"there is no site at {layout.root} (make one with: beastack up)")
    _check_format(layout)
    return _site(layout, description, load_or_make(layout.secrets))


def _check_format(layout: Layout) -> None:
    try:
        data = json.loads(layout.marker.read_text())
        number = int(data["format"])
    except (ValueError, KeyError, TypeError) as error:
        raise SiteError(f"{layout.marker} is damaged: restore it from a backup, or destroy the site") from error
    if number > FORMAT:
        raise SiteError(
            f"the site at {layout.root} was made by a newer beastack (format {number}, this one knows {FORMAT}): "
            f"use beastack {data.get('version', 'of that release')} or newer"
        )


def check_directory(layout: Layout) -> None:
    """Check that a state directory is a site, or free to become one.

    :raises SiteError: it holds something else
    """
    if layout.marker.exists() or not layout.root.exists():
        return
    others = [path.name for path in layout.root.iterdir() if path.name not in OWN_BEFORE_MARKER]
    if others:
        raise SiteError(f"{layout.root} is not empty and not a site (it holds {others[0]}): choose another --root")


def make_site(layout: Layout, description: Description) -> Site:
    """Return the site, making its directory, marker and secrets if they are not there.

    :raises SiteError: the directory holds something else, or half of a backup
    """
    if restore.is_cut_short(layout):
        raise SiteError("a restore of this site was cut short: run it again (beastack restore FILE)")
    if layout.marker.exists():
        return open_site(layout, description)
    check_directory(layout)
    layout.root.mkdir(parents=True, exist_ok=True)
    layout.root.chmod(0o711)
    temporary = layout.root / ".site.json.new"
    temporary.write_text(
        json.dumps(
            {
                "format": FORMAT,
                "version": beastack.__version__,
                "host": {"kind": description.host.kind, "role": description.host.role},
            }
        )
        + "\n"
    )
    temporary.replace(layout.marker)
    return _site(layout, description, load_or_make(layout.secrets))


@contextlib.contextmanager
def only_one(layout: Layout) -> Iterator[None]:
    """Hold the site for one command that changes it.

    :raises SiteError: another one is at work
    """
    layout.root.mkdir(parents=True, exist_ok=True)
    with (layout.root / "lock").open("a+") as stream:
        while not _lock(stream):
            stream.seek(0)
            holder = stream.read().strip()
            if not holder.isdigit() or process.start_time(int(holder)) is not None:
                raise SiteError(
                    f"another beastack is at work on {layout.root} (pid {holder or 'unknown'}): wait for it"
                )
            wait_until(
                lambda: (_lock(stream), "the run itself was killed, and one of its commands goes on"),
                what=f"a command of an interrupted run on {layout.root} to end", timeout=300,
            )  # fmt: skip
            break
        stream.truncate(0)
        stream.write(f"{os.getpid()}\n")
        stream.flush()
        # Until its commands have ended too, nobody else works on the site.
        hold_in_commands(stream.fileno())
        try:
            yield
        finally:
            release_in_commands(stream.fileno())


def _lock(stream: TextIO) -> bool:
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


# up


def find_facts(layout: Layout, description: Description) -> Found:
    """Look at the machine for the plan."""
    host = hosts.module(description.host.kind)
    return Found(
        missing_packages=tuple(host.missing_packages(host.packages(description))),
        missing_users=tuple(host.missing_users(user_names_of(layout, description))),
        environment_ready=release.is_installed(layout),
        venv_works=importlib.util.find_spec("ensurepip") is not None,
        supervisor_running=Client(layout.root).running(),
        kernel_changes=tuple(freebsd_kernel.changes(description)) if description.host.kind == "freebsd" else (),
        openstack_command=find_program("openstack") is not None,
        resume=layout.marker.exists(),
        takes_disks=_takes_disks(layout, description),
    )


def _takes_disks(layout: Layout, description: Description) -> bool:
    """Return whether other hosts send this one instances' disks: whether it has a certificate for that."""
    host = description.host
    if host.kind != "freebsd" or not host.has_guests:
        return False
    if not host.has_control:
        return description.migration.is_set
    return layout.secrets.exists() and "migration-key" in load_or_make(layout.secrets)


def check_machine(site_root: Path, description: Description, layout: Layout) -> None:
    """Check what would stop ``up`` later.

    :raises SiteError: disk, ports or another switch stand in the way
    :raises HostError: instances have their disks elsewhere than they would be looked for
    :raises Refused: the system or its packages do not suit
    """
    check_disk(site_root, layout)
    check_kind(description)
    host = hosts.module(description.host.kind)
    problems = host.problems(description)
    if problems:
        raise Refused(problems)
    if description.host.kind == "freebsd" and description.host.has_guests:
        freebsd_volumes.check_disks(layout, description)
    switch = hosts.switch(description.host.kind)
    foreign = switch.foreign_datapath(layout) if description.host.has_switch else None
    if foreign is not None:
        raise SiteError(
            f"this host has a userspace Open vSwitch already: {foreign}; there can be one: stop it, "
            "or take down the site it belongs to"
        )
    ours = _own_processes(layout, host)
    ports = description.ports
    for name in _used_ports(description):
        holder = host.port_holder(getattr(ports, name))
        if holder is not None and not any(f"(pid {pid})" in holder for pid in ours):
            raise SiteError(
                f"port {getattr(ports, name)} is taken by {holder}: stop that, or set ports.{name} in site.toml"
            )


def check_disk(site_root: Path, layout: Layout) -> None:
    """Check that there is room for a site.

    :raises SiteError: there is not
    """
    existing = site_root
    while not existing.exists():
        existing = existing.parent
    free = shutil.disk_usage(existing).free
    needed = DISK_AGAIN if release.is_installed(layout) else DISK_FIRST
    if free < needed:
        raise SiteError(
            f"{existing} has {free >> 20} MiB free, {needed >> 20} MiB are needed: free some, or use --root"
        )


def _used_ports(description: Description) -> list[str]:
    """Return the names of the ports that a host listens on from the beginning."""
    host, names = description.host, []
    if host.has_control:
        names += ["identity", "image", "placement", "network", "compute", "metadata", "novnc", "serial"]
        if description.messaging.url is None:
            names += ["messaging", "epmd", "erlang"]
    if host.has_guests and not host.has_control and description.migration.is_set:
        names.append("migration")
    return [*names, "openflow"] if host.has_switch else names


def _own_processes(layout: Layout, host: ModuleType) -> set[int]:
    """Return the pids of all processes of this site."""
    own: set[int] = set()
    for record in (layout.run() / "services").glob("*.json"):
        with contextlib.suppress(ValueError, KeyError, OSError):
            data = json.loads(record.read_text())
            if process.is_same(data["pid"], data["started"]):
                own.update(host.descendants(data["pid"]))
    return own


def state_digest(site: Site) -> str:
    """Return what must be unchanged for a running cloud to need nothing: specs, release, description."""
    specs = "".join(spec.digest() for spec in Steps(site).all_services())
    return f"{specs}{release.digest()}{clients.own_text(site)}{site.description!r}"


def is_up(site: Site) -> bool:
    """Return whether the cloud runs as described and its APIs answer: then ``up`` has nothing to do."""
    marker = _up_marker(site.layout)
    if rotate.is_pending(site.layout) or restore.is_staged(site.layout):
        return False
    try:
        if json.loads(marker.read_text())["state"] != state_digest(site):
            return False
        running = Client(site.layout.root).services()
    except (OSError, ValueError, KeyError, SupervisorError):
        return False
    if any(item["state"] != "running" for item in running.values()):
        return False
    steps = Steps(site)
    if not all(steps.http_answers(unit)[0] for unit in services.units(site.description) if unit.wsgi):
        return False
    host = hosts.module(site.description.host.kind)
    if host.missing_packages(host.packages(site.description)):
        return False
    missing = host.missing_users(user_names_of(site.layout, site.description))
    if missing or (site.description.host.has_control and not clients.are_written(site)):
        return False
    switch = hosts.switch(site.description.host.kind)
    return not site.has_host_pair or bool(switch.host_is_joined(site))


def forget_earlier_boot(layout: Layout, kind: str) -> None:
    """Remove sockets, pid files and process records of before the machine was started last.

    The state directory outlives a boot; what is in ``run`` does not.
    """
    if layout.run().exists() and not is_of_this_boot(layout, kind):
        shutil.rmtree(layout.run())
        freebsd_kernel.forget(layout)
    layout.run().mkdir(mode=0o711, exist_ok=True)
    _boot_marker(layout).write_text(hosts.module(kind).boot_name())


def is_of_this_boot(layout: Layout, kind: str) -> bool:
    """Return whether the site was up since the machine was started last."""
    marker = _boot_marker(layout)
    return marker.exists() and marker.read_text() == hosts.module(kind).boot_name()


def _boot_marker(layout: Layout) -> Path:
    return layout.run() / "boot-id"


def stop_release(layout: Layout) -> None:
    """Stop what runs of OpenStack, if its release is about to be replaced.

    A process goes on importing from the virtual environment for as long as
    it lives, and databases are brought to another release's schemas while
    nothing uses them. The data services, the switch and guests go on.
    """
    client = Client(layout.root)
    if release.is_installed(layout) or not client.running():
        return
    with contextlib.suppress(FileNotFoundError):
        _up_marker(layout).unlink()
    status = client.ask("status")
    _stop(client, [item["name"] for item in status["services"] if item["tier"] >= services.IDENTITY])
    client.ask("retire", names=list(status["parents"]))


def _up_marker(layout: Layout) -> Path:
    """Return the file that says what the last ``up`` that came to its end has made."""
    return layout.run() / "up.json"


def bring_up(site: Site, plan: list[Step], reporter: Reporter) -> Outcome:
    """Carry out the plan.

    :raises StepFailed: a step failed
    """
    began = time.monotonic()
    forget_earlier_boot(site.layout, site.description.host.kind)
    if restore.is_waiting(site.layout):
        check_down(site.layout)
    steps = Steps(site)
    if rotate.is_pending(site.layout):
        rotate.prepare(site, steps.supervisor)
    stop_release(site.layout)
    applied = carry_out(plan, steps.actions(), reporter)
    here = [parent.name for parent in services.parents(site) if parent.name in services.PASSING_PARENTS]
    steps.supervisor.ask("retire", names=here)
    marker = _up_marker(site.layout)
    marker.write_text(json.dumps({"state": state_digest(site)}))
    marker.chmod(0o600)
    rotate.finish(site.layout)
    restore.finish(site.layout)
    return Outcome(applied, time.monotonic() - began)


# down and destroy


def check_down(layout: Layout) -> None:
    """Check that nothing of a site runs. Raises SiteError."""
    if Client(layout.root).running() or _own_processes(layout, hosts.module(hosts.machine_kind())):
        raise SiteError(f"the site at {layout.root} runs: take it down first (beastack down)")


def bring_down(site: Site, say: Any) -> None:
    """Stop everything of the site and keep its data."""
    client = Client(site.layout.root)
    with contextlib.suppress(FileNotFoundError):
        _up_marker(site.layout).unlink()
    if not client.running():
        if not any((site.layout.run() / "services").glob("*.json")):
            say("nothing runs")
            return
        # Left by a supervisor that was killed: a new one adopts and then stops them in order.
        say("starting a supervisor to stop what an earlier one left running")
        logs = site.description.logs
        code.install(site.layout)
        client.start_supervisor(site.facts.python, services.tool_environment(site), logs.max_bytes, logs.keep)
    running = client.services()
    say("stopping the host's agents")
    _stop(client, [name for name, item in running.items() if item["tier"] == services.HOST])
    if running.get("libvirtd", {}).get("state") == "running":
        with contextlib.suppress(CommandError):
            count = hosts.hypervisor(site.description.host.kind).stop_guests(site, 10.0)
            if count:
                say(f"stopped {count} instance{'s' if count > 1 else ''}")
    taps: list[str] = []
    switch = hosts.switch(site.description.host.kind)
    if site.description.host.has_switch:
        with contextlib.suppress(CommandError):
            taps = switch.guest_taps(site)
    say("stopping the services")
    _stop(client, list(running))
    client.ask("shutdown")
    wait_until(lambda: (not client.running(), "it still answers"), what="the supervisor to end", timeout=90)
    if site.description.host.has_switch:
        switch.remove_networks(site, taps)


def _stop(client: Client, names: list[str]) -> None:
    client.ask("stop", names=names)

    def stopped() -> tuple[bool, str]:
        left = [name for name, item in client.services().items() if name in names and item["pid"]]
        return not left, "still running: " + ", ".join(left)

    wait_until(stopped, what="services to stop", timeout=120, interval=0.05)


def destroy(layout: Layout, site: Site | None, say: Any, *, packages: bool) -> None:
    """Remove all that ``up`` made, newest first, and nothing else."""
    if site is not None:
        if not is_of_this_boot(layout, site.description.host.kind):
            freebsd_kernel.forget(layout)
        bring_down(site, say)
        if site.description.host.has_guests:
            hosts.hypervisor(site.description.host.kind).forget_guests(site)
    take_back(layout.records, say, packages=packages)
    say(f"removing {layout.root}")
    for entry in sorted(layout.root.iterdir()):
        if entry.name in ("site.toml", "lock", "site.json"):
            continue
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()
    layout.marker.unlink(missing_ok=True)
    (layout.root / "lock").unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        layout.root.rmdir()


def take_back(file: Path, say: Any, *, packages: bool) -> None:
    """Undo what is recorded in a file, newest first."""
    for record in reversed(records.read(file)):
        if record.kind == "packages" and not packages:
            continue
        say(_undo(record))
        records.drop(file, record)


def _undo(record: records.Record) -> str:
    path = Path(record.name)
    if record.kind == "user":
        hosts.module(hosts.machine_kind()).remove_user(record.name)
        return f"removed the user {record.name}"
    if record.kind == freebsd_volumes.KIND:
        freebsd_volumes.remove(record.name)
        return f"removed the dataset {record.name}"
    if record.kind == "packages":
        hosts.module("linux" if record.name == "debian" else "freebsd").remove_packages(record.detail.split())
        return "removed the packages that up installed"
    if record.kind == "link":
        if path.is_symlink() and os.readlink(path) == record.detail:
            path.unlink()
        return f"removed {path}"
    if record.kind == "directory":
        with contextlib.suppress(OSError):
            path.rmdir()
        return f"removed {path} if it was empty"
    if record.kind == "clouds":
        clients.remove(path, record.detail == "made")
        return f"removed beastack's entries from {path}"
    if record.kind in (freebsd_kernel.MODULE, freebsd_kernel.SYSCTL):
        return freebsd_kernel.undo(record)
    if record.kind == freebsd_boot.VARIABLE:
        return freebsd_boot.undo(record)
    if record.kind == "unit":
        run(["systemctl", "disable", path.name], ok=range(256))
        path.unlink(missing_ok=True)
        return f"removed {path}"
    path.unlink(missing_ok=True)
    return f"removed {path}"


# What is there


def service_table(site: Site) -> list[dict[str, Any]]:
    """Return one row for each process: name, state, user, pid, memory in bytes, seconds, restarts, last exit.

    :raises SupervisorError: the supervisor does not answer
    """
    answer = Client(site.layout.root).ask("status")
    host = hosts.module(site.description.host.kind)
    return [
        {
            **item,
            "memory": _memory(host, host.descendants(item["pid"])) if item["pid"] else None,
            "host": site.hostname,
        }
        for item in answer["services"]
    ]


def overhead_table(site: Site) -> list[dict[str, Any]]:
    """Return what runs beside the services: the supervisor, preloaded parents, privileged daemons.

    :raises SupervisorError: the supervisor does not answer
    """
    answer = Client(site.layout.root).ask("status")
    parents = [parent["pid"] for parent in answer["parents"].values() if parent["pid"]]
    helpers = [helper["pid"] for helper in answer["helpers"]]
    host = hosts.module(site.description.host.kind)
    return [
        {"name": "supervisor", "count": 1, "memory": _memory(host, [answer["pid"]])},
        {"name": "preloaded parents", "count": len(parents), "memory": _memory(host, parents)},
        {"name": "privileged daemons", "count": len(helpers), "memory": _memory(host, helpers)},
    ]


def _memory(host: ModuleType, pids: Sequence[int]) -> int:
    sizes = [host.memory_of(pid) for pid in pids]
    return sum(size for size in sizes if size is not None)
