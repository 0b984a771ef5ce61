"""Jails: who they are, how they are made, and how they go.

The rules are those of sys/kern/kern_jail.c. A vnet jail is a Linux network
namespace, and a process belongs to the jail whose namespace it is in; so the
processes of a jail without a vnet of its own count as its parent's.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import traceback
from typing import TYPE_CHECKING

from freebsd_sim.kernel import jail_parameters as known
from freebsd_sim.kernel.errors import KernelError
from freebsd_sim.kernel.jail_calls import SYSCALLS as SYSCALLS
from freebsd_sim.kernel.jail_model import Jail as Jail
from freebsd_sim.kernel.jail_sockets import count_sockets
from freebsd_sim.kernel.stack import Stack

if TYPE_CHECKING:
    from freebsd_sim.kernel import Kernel

JAIL_MAX = 999999
LONGEST_NAME = 255
LOOK_AGAIN = 0.05  # seconds between two looks at jails that are about to go
OSRELDATES = {"15.0": 1500068}

# Every stack begins like this, whatever the Linux host underneath has set.
STACK_SETTINGS = (
    ("net/ipv4/ip_forward", "0"),
    ("net/ipv6/conf/all/forwarding", "0"),
    ("net/ipv4/conf/all/rp_filter", "0"),
    ("net/ipv4/conf/default/rp_filter", "0"),
)


class Jails:
    """All jails of one host. Call everything here without holding anything but the kernel's lock."""

    host: Jail

    def __init__(self, kernel: Kernel) -> None:
        self.kernel = kernel
        self.table = known.Table((kernel.release.major, kernel.release.minor))
        self._jails: list[Jail] = []  # without the host, by jid
        self._last_jid = 0
        self._last_dead_jid = JAIL_MAX + 1
        self._last_cpuset = 1
        self._wake = threading.Event()

    def start(self, stack: Stack | None = None) -> None:
        """Make jail 0, with the network namespace of this process unless another is given."""
        stack = stack or Stack.adopt()
        _prepare(stack)
        values = {name: parameter.default for name, parameter in self.table.parameters.items()}
        values |= {"host": "new", "host.hostname": self.kernel.name, "host.hostuuid": self.kernel.hostuuid}
        values |= {"osrelease": self.kernel.release.text, "osreldate": str(self.osreldate), "enforce_statfs": "0"}
        self.host = Jail(0, "0", None, "/", stack, True, True, JAIL_MAX, cpuset=1, parameters=values)
        threading.Thread(target=self._watch, name="jails", daemon=True).start()

    @property
    def osreldate(self) -> int:
        """What kern.osreldate is (sys/param.h of the release)."""
        release = self.kernel.release
        return OSRELDATES.get(release.number, release.major * 100000 + release.minor * 1000)

    # Looking

    def all(self) -> list[Jail]:
        """Return the host and every jail whose stack still exists, dying ones too, by jid."""
        with self.kernel.lock:
            return [self.host, *self._jails]

    def visible(self, viewer: Jail | None = None, *, dying: bool = False) -> list[Jail]:
        """Return the jails that a process in the viewer's jail (or the host) can see, by jid."""
        viewer = viewer or self.host
        return [jail for jail in self.all()[1:] if jail.is_inside(viewer) and (dying or not jail.dying)]

    def get(self, name_or_jid: str, viewer: Jail | None = None, *, dying: bool = False) -> Jail:
        """Return a jail by its jid or its name as the viewer sees it; "0" is the viewer's own.

        :raises KernelError: ENOENT, with the text that commands print
        """
        viewer = viewer or self.host
        if name_or_jid == "0":
            return viewer
        number = int(name_or_jid) if name_or_jid.isdigit() else None
        shown = name_or_jid if number is not None else f'"{name_or_jid}"'
        dead = None
        for jail in self.visible(viewer, dying=True):
            if jail.jid == number or (number is None and self.name_for(jail, viewer) == name_or_jid):
                if not jail.dying:
                    return jail
                dead = jail
        if dead is not None and dying:
            return dead
        raise KernelError("ENOENT", f"jail {shown} {'is dying' if dead else 'not found'}")

    def name_for(self, jail: Jail, viewer: Jail) -> str:
        """Return a jail's name as a process in the viewer's jail sees it."""
        if jail is viewer:
            return "0"
        return jail.name if viewer.parent is None else jail.name.removeprefix(f"{viewer.name}.")

    def of_process(self, pid: int) -> Jail:
        """Return the jail that a process is in; a process that cannot be seen counts as the host's."""
        try:
            inode = os.stat(f"/proc/{pid}/ns/net").st_ino
        except OSError:
            return self.host
        return next((jail for jail in self.all() if jail.vnet and jail.stack.inode == inode), self.host)

    def processes_of(self, jail: Jail) -> list[int]:
        """Return the numbers of the processes in a jail's own stack."""
        found = []
        if jail.vnet and jail.parent is not None:
            for entry in os.listdir("/proc"):
                try:
                    if entry.isdigit() and os.stat(f"/proc/{entry}/ns/net").st_ino == jail.stack.inode:
                        found.append(int(entry))
                except OSError:
                    continue  # it has just ended
        return found

    def values(self, jail: Jail, viewer: Jail | None = None) -> dict[str, str]:
        """Return all parameters of a jail in their textual form, as jail_get(2) tells the viewer."""
        viewer = viewer or self.host
        with self.kernel.lock:
            values = {name: jail.parameters.get(name, "") for name in self.table.parameters}
            owner = jail.host_owner
            values |= {name: owner.parameters[name] for name in values if name.startswith("host.")}
            parent = jail.parent if jail.parent is not None and jail.parent is not viewer else None
            values |= {
                "jid": str(jail.jid),
                "parent": str(parent.jid if parent is not None else 0),
                "name": self.name_for(jail, viewer),
                "path": jail.path,
                "persist": "true" if jail.persist else "false",
                "vnet": "new" if jail.vnet else "inherit",
                "dying": "true" if jail.dying else "false",
                "children.cur": str(len(self.visible(jail, dying=True))),
                "children.max": str(jail.children_max),
                "cpuset.id": str(jail.cpuset),
            }
            if jail.vnet:
                values |= {"ip4": "inherit", "ip6": "inherit"}
            return values

    # Making and changing

    def set(self, values: dict[str, str], *, create: bool, update: bool, attach: bool, caller: Jail) -> Jail:
        """Do what jail_set(2) does with values in textual form (see Table.import_value).

        :raises KernelError: its text is what libjail leaves for the caller
        """
        with self.kernel.lock:
            if caller.parent is not None and caller.children_max == 0:
                raise known.make_refusal("EPERM")
            if not create and not update:
                raise KernelError("EINVAL", "no valid operation (create or update)")
            known.check_request(values, create=create, update=update, attach=attach)
            jail, parent, label = self._find_target(values, create=create, update=update, caller=caller)
            self._check_limits(values, jail, parent, caller)
            if jail is None:
                jail = self._create(values, parent, label)
                jail.awaited = attach
            else:
                self._change(jail, values, label)
                if not jail.persist and not attach and not self._is_used(jail):
                    self.remove(jail)
            return jail

    def _find_target(
        self, values: dict[str, str], *, create: bool, update: bool, caller: Jail
    ) -> tuple[Jail | None, Jail, str]:
        """Return the jail that the values name (None: to be made), its parent, and the last part of the name."""
        only_create = create and not update
        name = values.get("name")
        jid = int(values.get("jid", "0"))
        head, _, label = (name or "").rpartition(".")
        if only_create and jid == 0 and label.isdigit():
            jid = int(label)
        jail = None
        parent = caller
        if jid != 0:
            if jid < 0:
                raise KernelError("EINVAL", "negative jid")
            jail = next((other for other in self._jails if other.jid == jid and not other.dying), None)
            if only_create and jail is not None:
                raise KernelError("EEXIST", f"jail {jid} already exists")
            if (jail is None and not create) or (jail is not None and not jail.is_inside(caller)):
                raise KernelError("ENOENT", f"jail {jid} not found")
        if name is None:
            if jail is None and not create:
                raise KernelError("ENOENT", "update specified no jail")
        elif head:
            if jail is not None and jail.parent is not None and self.name_for(jail.parent, caller) != head:
                raise KernelError("EINVAL", "cannot change jail's parent")
            parent = self.get(head, caller)
        if jail is not None and jail.parent is not None:
            parent = jail.parent
        if label:
            for other in self._jails:
                if other.parent is not parent or other is jail or other.dying or other.label != label:
                    continue
                if only_create or jail is not None:
                    raise KernelError("EEXIST", f'jail "{name}" already exists')
                jail = other
            if jail is None and not create:
                raise KernelError("ENOENT", f'jail "{name}" not found')
        if jail is None:
            jid = self._take_jid(jid)
        else:
            jid = jail.jid
        if label.isdigit() and label != str(jid):
            raise KernelError("EINVAL", "name cannot be numeric (unless it is the jid)")
        values["jid"] = str(jid)
        return jail, parent, label

    def _take_jid(self, wanted: int) -> int:
        if wanted:
            dead = next((jail for jail in self._jails if jail.jid == wanted), None)
            if dead is not None:
                if self.kernel.release.major < 15:
                    raise KernelError("EEXIST", f"jail {wanted} already exists")
                self._last_dead_jid -= 1
                dead.jid = self._last_dead_jid
            return wanted
        taken = {jail.jid for jail in self._jails}
        for step in range(1, JAIL_MAX + 1):
            jid = (self._last_jid + step - 1) % JAIL_MAX + 1
            if jid not in taken:
                self._last_jid = jid
                return jid
        raise KernelError("EAGAIN", "no available jail IDs")

    def _check_limits(self, values: dict[str, str], jail: Jail | None, parent: Jail, caller: Jail) -> None:
        if jail is None:
            above: Jail | None = caller
            while above is not None:
                if len(self.visible(above, dying=True)) >= above.children_max:
                    raise KernelError("EPERM", "prison limit exceeded")
                above = above.parent
        if int(values.get("children.max", "0")) >= parent.children_max and "children.max" in values:
            raise known.make_refusal("EPERM")
        statfs = int(values.get("enforce_statfs", "2"))
        if not 0 <= statfs <= 2:
            raise known.make_refusal("EINVAL")
        if statfs < int(parent.parameters["enforce_statfs"]):
            raise known.make_refusal("EPERM")
        if int(values.get("securelevel", "-1")) < int(parent.parameters["securelevel"]):
            raise known.make_refusal("EPERM")
        if not 0 <= int(values.get("devfs_ruleset", "0")) <= 65535:
            raise known.make_refusal("EINVAL")
        for name, value in values.items():
            what = name.removeprefix("allow.")
            if what != name and value == "true" and not parent.allows(what):
                raise known.make_refusal("EPERM")
        prefix = "" if parent.parent is None else f"{parent.name}."
        if len(f"{prefix}{values.get('name', '').rpartition('.')[2]}".encode()) > LONGEST_NAME:
            raise known.make_refusal("ENAMETOOLONG")

    def _create(self, values: dict[str, str], parent: Jail, label: str) -> Jail:
        jid = int(values["jid"])
        vnet = values.get("vnet") == "new"
        own = {name: parameter.default for name, parameter in self.table.parameters.items()}
        for name in own:
            if name.startswith("allow.") and not parent.allows(name.removeprefix("allow.")):
                own[name] = "false"
        for name in ("securelevel", "devfs_ruleset", "osrelease", "osreldate"):
            own[name] = parent.parameters[name]
        prefix = "" if parent.parent is None else f"{parent.name}."
        stack = parent.stack
        if vnet:
            stack = Stack.create()
            _prepare(stack)
        self._last_cpuset += 1
        jail = Jail(
            jid, prefix + (label or str(jid)), parent, values.get("path", "/"), stack, vnet,
            cpuset=self._last_cpuset, parameters=own,
        )  # fmt: skip
        self._jails.append(jail)
        self._jails.sort(key=lambda other: other.jid)
        self._change(jail, values, "")
        return jail

    def _change(self, jail: Jail, values: dict[str, str], label: str) -> None:
        if label and label != jail.label:
            old = jail.name
            jail.name = f"{old.rpartition('.')[0]}.{label}".lstrip(".")
            for other in self.visible(jail, dying=True):
                other.name = jail.name + other.name[len(old) :]
        fixed = {"jid", "name", "path", "vnet", "persist", "children.max"}
        changed = {name: value for name, value in values.items() if name not in fixed}
        if any(name.startswith("host.") for name in changed):
            changed["host"] = "new"
        for family in ("ip4", "ip6"):
            if f"{family}.addr" in changed:
                changed[family] = "new"
        if changed.get("host") == "inherit" and jail.parent is not None:
            above = jail.parent.host_owner.parameters
            changed |= {name: above[name] for name in above if name.startswith("host.")}
        jail.parameters |= changed
        if "children.max" in values:
            jail.children_max = int(values["children.max"])
            for other in self.visible(jail, dying=True):
                other.children_max = min(other.children_max, max(jail.children_max - 1, 0))
        if "persist" in values:
            jail.persist = values["persist"] == "true"
        self._wake.set()

    # Going

    def remove(self, jail: Jail) -> None:
        """Kill what runs in a jail and in the jails below it, and let them go (jail_remove(2)).

        A jail that nothing holds is gone on return. Otherwise it is dying, and
        goes, with its interfaces returning home, when the last process has
        ended and the last socket is closed or out of TIME_WAIT.
        """
        with self.kernel.lock:
            victims = [*_deepest_first(self.visible(jail, dying=True)), jail]
            for victim in victims:
                victim.dying = True
                victim.persist = False
            killed = [pid for victim in victims for pid in self.signal(victim, signal.SIGKILL)]
            if not killed:
                for victim in victims:
                    self._bury(victim)
        self._wake.set()

    def signal(self, jail: Jail, number: int) -> list[int]:
        """Send a signal to all processes of a jail; returns which got it."""
        reached = []
        for pid in self.processes_of(jail):
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                continue
            reached.append(pid)
        return reached

    def is_held(self, jail: Jail) -> bool:
        """Tell whether a process, a jail below or a socket keeps a jail from going."""
        if any(other.parent is jail for other in self._jails):
            return True
        return jail.vnet and (bool(self.processes_of(jail)) or count_sockets(jail.stack) > 0)

    def _is_used(self, jail: Jail) -> bool:
        """Tell whether a jail without persist still has a process, or waits for its first one."""
        running = bool(self.processes_of(jail))
        jail.awaited = jail.awaited and not running
        return running or jail.awaited

    def _bury(self, jail: Jail) -> None:
        if jail not in self._jails or self.is_held(jail):
            return
        if jail.vnet:
            self.kernel.interfaces.leave_jail(jail)
        if jail in self._jails:
            self._jails.remove(jail)
            if jail.vnet:
                self.kernel.routes.forget(jail)
                jail.stack.close()

    def _watch(self) -> None:
        """Let jails go that nothing holds any more: the dying, and those without persist after their last process."""
        while True:
            self._wake.wait()
            self._wake.clear()
            while True:
                with self.kernel.lock:
                    waiting = [jail for jail in self._jails if not jail.persist]
                    for jail in _deepest_first(waiting):
                        try:
                            if jail.dying:
                                self.signal(jail, signal.SIGKILL)
                            elif self._is_used(jail):
                                continue
                            jail.dying = True
                            self._bury(jail)
                        except KernelError:
                            continue  # an interface cannot go home yet
                        except Exception:
                            traceback.print_exc(file=sys.stderr)
                if not waiting:
                    break
                self._wake.wait(LOOK_AGAIN)
                self._wake.clear()


def _deepest_first(jails: list[Jail]) -> list[Jail]:
    return sorted(jails, key=lambda jail: -jail.name.count("."))


def _prepare(stack: Stack) -> None:
    for path, value in STACK_SETTINGS:
        stack.write_sysctl(path, value)
