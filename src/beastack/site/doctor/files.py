"""The site's files: who may read them, and whether they are as up wrote them."""

from __future__ import annotations

import json
import re
import stat
from collections.abc import Iterator
from pathlib import Path

from beastack.site import clients, configuration, records, restore, rotate, services
from beastack.site.configuration import FILES
from beastack.site.doctor.finding import Finding, bad, good, listed
from beastack.site.doctor.view import View
from beastack.site.host import linux
from beastack.site.steps import user_names_of


def check_secrets(view: View) -> Iterator[Finding]:
    """Nobody but those who need them can read passwords and keys."""
    layout = view.layout
    private = [layout.secrets, layout.clouds_yaml, view.steps.key_file()]
    if layout.is_default and clients.user_file().exists():
        private.append(clients.user_file())
    # A service reads its own through its group.
    shared = [layout.etc(name) / file for name, (file, _) in FILES.items()]
    shared += [layout.etc("rabbitmq") / "rabbitmq.conf", layout.etc("mariadb") / "client.cnf"]
    wrong = 0
    for path, forbidden, right in [*((p, 0o077, "0600") for p in private), *((p, 0o027, "0640") for p in shared)]:
        if path.exists() and (mode := stat.S_IMODE(path.stat().st_mode)) & forbidden:
            wrong += 1
            yield bad("secrets", f"{path} has mode {mode:04o}", f"chmod {right} {path}")
    if not wrong:
        yield good("secrets", "only their services can read them")


def check_clients(view: View) -> Iterator[Finding]:
    """The openstack command finds the cloud."""
    if clients.are_written(view.site):
        yield good("clouds.yaml", str(view.layout.clouds_yaml))
    else:
        seen = "it, or the user's own, or the openstack command is missing or is not as up wrote it"
        yield bad("clouds.yaml", seen, view.redo)


def check_configuration(view: View) -> Iterator[Finding]:
    """Generated files are as this description makes them."""
    changed = []
    units = services.units(view.site.description)
    for service in (unit.name for unit in units):
        files = configuration.render_files(view.site, service)
        paths = {view.layout.etc(service) / name: text for name, text in files.items()}
        if not all(path.exists() and path.read_text() == text for path, text in paths.items()):
            changed.append(service)
    if changed:
        seen = "not what site.toml makes (edited, or site.toml or beastack changed since): " + listed(changed)
        yield bad("configuration", seen, view.again)
    else:
        yield good("configuration", f"all {len(units)} files are as site.toml makes them")


def check_unfinished(view: View) -> Iterator[Finding]:
    """No rotation of secrets and no restore was cut short."""
    if restore.is_cut_short(view.layout):
        yield bad("unfinished", "a restore was cut short", view.command("restore", "FILE"))
    elif restore.is_staged(view.layout):
        yield bad("unfinished", "a backup is not yet in place", view.command("up"))
    if rotate.is_pending(view.layout):
        yield bad("unfinished", "a rotation of secrets was cut short", view.command("up"))


def check_records(view: View) -> Iterator[Finding]:
    """What ``destroy`` goes by can be read, and misses nothing."""
    path = view.layout.records
    known = records.read(path)
    lines = [line for line in path.read_text().splitlines() if line.strip()] if path.exists() else []
    # A half-written last line is what a crash leaves, and harmless.
    damaged = [number for number, line in enumerate(lines[:-1], 1) if not _is_record(line)]
    recorded = {one.name for one in known if one.kind == "user"}
    names = user_names_of(view.layout, view.site.description)
    ours = [name for name in names if name.startswith(f"{view.layout.prefix}-")]
    unknown = [name for name in ours if view.host.user_exists(name) and name not in recorded]
    for one in known:
        if one.kind == "file" and one.name == str(linux.POLICY) and Path(one.name).exists() and not is_locked(view):
            seen = f"{one.name}, left by an interrupted up, keeps the system from starting services it installs"
            yield bad("records", seen, f"rm {one.name}")
    if damaged:
        yield bad("records", f"{path}: line {damaged[0]} is damaged: destroy would leave something", f"correct {path}")
    if unknown:
        remedy = "after beastack destroy: userdel " + "; userdel ".join(unknown)
        yield bad("records", f"destroy would leave users that are not in {path}: {listed(unknown)}", remedy)
    if not damaged and not unknown:
        yield good("records", f"{len(known)} things outside {view.layout.root} for destroy to take back")


def _is_record(line: str) -> bool:
    try:
        records.Record(**json.loads(line))
    except (ValueError, TypeError):
        return False
    return True


def is_locked(view: View) -> bool:
    """Return whether a command that changes the site is at work (proc(5), locks).

    Asked of the kernel: trying the lock would hold it for a moment, against a command that starts just then.
    """
    try:
        inode = (view.layout.root / "lock").stat().st_ino
        listing = Path("/proc/locks").read_text()
    except OSError:
        return False
    return re.search(rf"FLOCK .*:{inode} ", listing) is not None
