"""What a site needs of FreeBSD's kernel: modules and sysctls, and how the host gets back what it had.

Nothing of it is made to outlast a boot, neither in rc.conf nor in sysctl.conf
or loader.conf: each ``up`` looks again, the one at boot included (see
freebsd_boot). So a host whose site is not started has a kernel without any
trace of it, and what is recorded here is void after a boot.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from beastack.freebsd import interface, jail, kld, sysctl
from beastack.freebsd.command import CommandError, CommandNotFound
from beastack.freebsd.errors import ModuleBusy, ModuleNotFound, SysctlNotFound
from beastack.site import records
from beastack.site.description import Description
from beastack.site.host import HostError, freebsd_hypervisor, freebsd_switch
from beastack.site.layout import Layout
from beastack.site.records import Record

#: The kinds of records that this module makes.
MODULE, SYSCTL = "module", "sysctl"

#: Groups of the interfaces that go with a module, and device nodes of what uses one.
_GROUPS = {"if_tuntap": ("tap", "tun"), "if_epair": ("epair",), "if_bridge": ("bridge",)}
_NODES = {"vmm": "vmm/*", "nmdm": "nmdm*"}
_DEVICES = Path("/dev")


def modules(description: Description) -> list[str]:
    """Return the kernel modules that a site needs."""
    host = description.host
    switch = freebsd_switch.MODULES if host.has_switch else ()
    return list(dict.fromkeys((*switch, *(freebsd_hypervisor.MODULES if host.has_guests else ()))))


def sysctls(description: Description) -> Mapping[str, str]:
    """Return the sysctls that a site needs, with their values."""
    return freebsd_hypervisor.SYSCTLS if description.host.has_guests else {}


def changes(description: Description) -> list[str]:
    """Return what ``prepare`` would change, one line each. Where there is no FreeBSD, all of it."""
    try:
        missing = [name for name in modules(description) if not kld.is_loaded(name)]
        wrong = {name: value for name, value in sysctls(description).items() if _read(name) != value}
    except CommandNotFound:
        missing, wrong = modules(description), dict(sysctls(description))
    return [
        *([f"kernel modules: {' '.join(missing)}"] if missing else ()),
        *(f"sysctl {name}={value}" for name, value in wrong.items()),
    ]


def prepare(layout: Layout, description: Description) -> None:
    """Load modules and set sysctls; what that changes is recorded first, for ``destroy``.

    :raises HostError: the kernel refuses
    """
    for name in modules(description):
        try:
            if not kld.is_loaded(name):
                records.add(layout.records, Record(MODULE, name))
                kld.load(name)
        except CommandError as error:
            raise HostError(f"the kernel module {name} cannot be loaded: {error}") from error
    for name, value in sysctls(description).items():
        try:
            before = sysctl.read_text(name)
            if before != value:
                records.add(layout.records, Record(SYSCTL, name, json.dumps({"before": before, "set": value})))
                sysctl.write_value(name, value)
        except CommandError as error:
            raise HostError(f"the sysctl {name} cannot be set to {value}: {error}") from error


def _read(name: str) -> str | None:
    try:
        return sysctl.read_text(name)
    except SysctlNotFound:
        return None  # its module is not loaded


def forget(layout: Layout) -> None:
    """Drop the records of an earlier boot: that kernel is gone, with all that was changed in it."""
    for record in records.read(layout.records):
        if record.kind in (MODULE, SYSCTL):
            records.drop(layout.records, record)


def undo(record: Record) -> str:
    """Take one change back if the kernel is still as ``prepare`` left it; return what was done, in one line.

    :raises CommandError: the kernel cannot be asked
    """
    return _unload(record.name) if record.kind == MODULE else _restore(record)


def _restore(record: Record) -> str:
    change = json.loads(record.detail)
    try:
        now = sysctl.read_text(record.name)
    except SysctlNotFound:
        return f"left {record.name}: its module is gone"
    if now != change["set"]:
        return f"left {record.name} at {now}, which somebody else has set"
    sysctl.write_value(record.name, change["before"])
    return f"set {record.name} back to {change['before']}"


def _unload(name: str) -> str:
    user = _user(name)
    if user is not None:
        return f"left the kernel module {name}: {user} uses it"
    try:
        kld.unload(name)
    except ModuleNotFound:
        return f"the kernel module {name} is gone already"
    except ModuleBusy:
        return f"left the kernel module {name}: it is in use"
    return f"unloaded the kernel module {name}"


def _user(name: str) -> str | None:
    """Return what would be destroyed with a module, or None. Interfaces may also be in the jails of others."""
    for group in _GROUPS.get(name, ()):
        found = interface.list_names(group=group)
        if found:
            return found[0]
    if name in _GROUPS:
        return next((f"the jail {found.name}" for found in jail.list_jails() if found.vnet), None)
    pattern = _NODES.get(name)
    return next(map(str, _DEVICES.glob(pattern)), None) if pattern else None
