"""``doctor``: looks for all that can be wrong with a site.

Each check is one small function that reads a ``View`` and yields findings;
none changes anything, and none can stop the others: what a check raises
becomes a finding too. A check names what it needs; where that is missing
there is a finding that says so, and the check is left out, so that one cause
does not show as twenty.
"""

from __future__ import annotations

import contextlib
import fcntl
import grp
import json
import os
import pwd
import re
import shutil
import socket
import stat
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Generic, TypeVar, overload

from beastack.freebsd.command import CommandError, run
from beastack.site import clients, configuration, data_services, operate, records, release, resources, services
from beastack.site import host as hosts
from beastack.site.api import Cloud, CloudError
from beastack.site.configuration import DATABASES, FILES, Site
from beastack.site.host import freebsd_look, linux, ovs
from beastack.site.resources import COMPUTE_API, HostService, HostsUp
from beastack.site.steps import HOST_SERVICES, Steps, user_names_of
from beastack.supervisor import logs, process
from beastack.supervisor.client import SupervisorError

T = TypeVar("T")
Object = dict[str, Any]

#: Seconds that an API may take to answer a question of ours.
API_TIMEOUT = 10.0
#: Bytes of memory that must be there for what comes next.
MEMORY_NEEDED = 1 << 30
#: Free inodes under which a disk counts as full.
INODES_NEEDED = 10_000
#: Share of the database's connections in use from which a new one may soon be refused.
CONNECTIONS_FULL = 0.9
#: Seconds that clocks and time stamps may be apart.
CLOCK_SLACK = 60.0
#: Seconds after which a change of an instance that is still under way has stopped.
STUCK_AFTER = 900.0
#: Minutes of the logs that are read for tracebacks.
LOG_MINUTES = 5
#: Characters of a log line that are shown.
WORDS_MAX = 200
#: The VLAN that neutron's agent puts a port on that it could not bind (neutron, DEAD_VLAN_TAG).
DEAD_VLAN = 4095
#: libvirt's states of a guest (libvirt-domain.h, virDomainState).
GUEST_STATES = {0: "without state", 1: "running", 2: "blocked", 3: "paused", 4: "shutting down", 5: "shut off",
                6: "crashed", 7: "suspended"}  # fmt: skip
GUEST_RUNNING = 1

_NAMESPACES = Path("/run/netns")
_KVM = Path("/dev/kvm")
#: How neutron and nova name the tap of a port: its id's first eleven characters.
_TAP = re.compile(r"tap[0-9a-f]{8}-[0-9a-f]{2}$")
_LOOKS_LIKE_ERROR = re.compile(
    r"\b(error|critical|fatal|failed|failure|cannot|denied|refused|no such|not found|in use|abort\w*)\b"
    r"|\w(Error|Exception)\b",
    re.IGNORECASE,
)
#: Errors by name that every healthy service logs as it starts: optional plug-ins that are not installed.
_HARMLESS = re.compile(r"stevedore\.extension|auto-allocated-topology")
_LOG_TIME = re.compile(r"(\d{4}-\d\d-\d\d)[ T](\d\d:\d\d:\d\d)")


@dataclass(frozen=True)
class Finding:
    """What was looked at, whether it is right, what was seen, and what to do if it is not."""

    what: str
    ok: bool
    seen: str
    remedy: str


@dataclass(frozen=True)
class Check:
    """One check: its name, and what must be there for it to make sense (see ``View.has``)."""

    what: str
    look: Callable[[View], Iterable[Finding]]
    needs: tuple[str, ...] = ()
    role: str = ""  # words: control, network, guests (what the host does), linux, freebsd (what it is)


@dataclass(frozen=True)
class Process:
    """One process of this host: pid, parent's pid, arguments, and the inode of its network namespace."""

    pid: int
    parent: int
    argv: tuple[str, ...]
    namespace: int | None


@dataclass(frozen=True)
class Link:
    """One network interface: its name, flags as ip(8) names them, and addresses with prefix."""

    name: str
    flags: frozenset[str]
    addresses: tuple[str, ...] = ()

    @property
    def up(self) -> bool:
        """Whether it is set up."""
        return "UP" in self.flags

    @property
    def carrier(self) -> bool:
        """Whether something is at its other end."""
        return "LOWER_UP" in self.flags


@dataclass(frozen=True)
class Words:
    """Commands for an administrator, by kind of host; the first argument is an interface or a namespace."""

    raise_link: str
    delete_link: str
    set_address: str
    delete_namespace: str


WORDS = {
    "linux": Words(
        "ip link set dev {} up", "ip link delete dev {}", "ip address replace {1} dev {0}",
        "ip netns pids {0} | xargs -r kill; ip netns delete {0}",
    ),
    "freebsd": Words("ifconfig {} up", "ifconfig {} destroy", "ifconfig {} inet {} alias", "jail -R {}"),
}  # fmt: skip


class _Fact(Generic[T]):
    """A property that is asked for once, whoever asks first, and then kept: what it raised as well."""

    def __init__(self, ask: Callable[[View], T]) -> None:
        self._ask = ask
        self._name = ask.__name__
        self.__doc__ = ask.__doc__

    @overload
    def __get__(self, view: None, owner: type) -> _Fact[T]: ...

    @overload
    def __get__(self, view: View, owner: type) -> T: ...

    def __get__(self, view: View | None, owner: type) -> T | _Fact[T]:
        if view is None:
            return self
        with view.locks.setdefault(self._name, threading.RLock()):
            if self._name in view.failures:
                raise view.failures[self._name]
            if self._name not in view.__dict__:
                try:
                    # Found there by the next access, before this descriptor is asked.
                    view.__dict__[self._name] = self._ask(view)
                except Exception as error:
                    view.failures[self._name] = error
                    raise
            known: T = view.__dict__[self._name]
            return known


class View:
    """What the checks look at, gathered as they need it. Safe to use from several threads."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.layout = site.layout
        self.host = hosts.module(site.description.host.kind)
        self.steps = Steps(site)
        self.locks: dict[str, threading.RLock] = {}
        self.failures: dict[str, Exception] = {}

    # How the user says things

    def command(self, *words: str) -> str:
        """Return a command of beastack's for this site."""
        root = [] if self.layout.is_default else ["--root", str(self.layout.root)]
        return " ".join(["beastack", *root, *words])

    @property
    def redo(self) -> str:
        """The command that carries out every step of ``up`` again, also where the cloud seems to be up."""
        return f"rm -f {self.layout.run()}/up.json; {self.command('up')}"

    def openstack(self, *words: str) -> str:
        """Return a command of the OpenStack client as the cloud's administrator."""
        prefix = "" if self.layout.is_default else f"OS_CLIENT_CONFIG_FILE={self.layout.clouds_yaml} "
        program = "openstack" if self.layout.is_default else f"{self.layout.venv}/bin/openstack"
        return " ".join([f"{prefix}{program} --os-cloud {clients.cloud_names(self.site)[1]}", *words])

    def vsctl(self, *words: str) -> str:
        """Return a command for the site's switch."""
        return " ".join([f"ovs-vsctl --db={self.site.ovsdb}", *words])

    @property
    def libvirt_uri(self) -> str:
        """Where the site's own libvirtd answers."""
        return f"qemu+unix:///system?socket={self.site.libvirt_socket}"

    def restart(self, service: str) -> str:
        """Return a command that makes the supervisor start a service anew."""
        item = self.services.get(service, {})
        if item.get("state") == "running":
            return f"kill {item['pid']} (the supervisor starts it again)"
        return self.command("up")

    # What is there, by name

    def has(self, thing: str) -> bool:
        """Return whether something that checks need is there and answers."""
        asked: Mapping[str, Callable[[], bool]] = {
            "supervisor": lambda: self.supervisor[0],
            "own database": lambda: self.site.description.database.url is None and self.database[0],
            "messaging": lambda: self.messaging[0],
            "switch": lambda: self.switch[0],
            "hypervisor": lambda: self.hypervisor[0],
            "identity": lambda: self.token[0],
            "compute": lambda: self.token[0] and self.apis["nova-api"][0],
            "network": lambda: self.token[0] and self.apis["neutron-api"][0],
            "image": lambda: self.token[0] and self.apis["glance"][0],
            "placement": lambda: self.token[0] and self.apis["placement"][0],
        }
        return asked[thing]()

    @_Fact
    def supervisor(self) -> tuple[bool, str]:
        """Whether the supervisor answers, and else what was seen."""
        try:
            self.steps.supervisor.ask("status")
        except SupervisorError as error:
            return False, str(error)
        return True, "it answers"

    @_Fact
    def services(self) -> dict[str, Object]:
        """The supervisor's view of each service."""
        return self.steps.supervisor.services()

    @_Fact
    def database(self) -> tuple[bool, str]:
        """Whether the database server answers."""
        return data_services.database_answers(self.site)

    @_Fact
    def messaging(self) -> tuple[bool, str]:
        """Whether the message broker answers."""
        return data_services.messaging_answers(self.site)

    @_Fact
    def switch(self) -> tuple[bool, str]:
        """Whether the switch's database answers."""
        return ovs.database_answers(self.site)

    @_Fact
    def apis(self) -> dict[str, tuple[bool, str]]:
        """Whether each API answers HTTP, by its service's name."""
        units = [unit for unit in services.UNITS if unit.wsgi]
        with ThreadPoolExecutor(len(units)) as pool:
            answers = pool.map(self.steps.http_answers, units)
            return dict(zip((unit.name for unit in units), answers, strict=True))

    @_Fact
    def admin(self) -> Cloud:
        """The cloud as its administrator sees it, with little patience."""
        cloud = self.steps.admin()
        cloud.timeout = API_TIMEOUT
        return cloud

    @_Fact
    def token(self) -> tuple[bool, str]:
        """Whether keystone gives the administrator a token."""
        if not self.apis["keystone"][0]:
            return False, self.apis["keystone"][1]
        try:
            self.admin.refresh()
            return True, f"for project {self.admin.project_id}"
        except CloudError as error:
            return False, str(error)

    # The host

    @_Fact
    def processes(self) -> list[Process]:
        """All processes of this host (proc(5))."""
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                with contextlib.suppress(OSError, ValueError, IndexError):
                    found.append(_read_process(entry))
        return found

    @_Fact
    def own_pids(self) -> set[int]:
        """The site's processes: those that the supervisor keeps record of, and their descendants."""
        own: set[int] = set()
        for record in (self.layout.run() / "services").glob("*.json"):
            with contextlib.suppress(ValueError, KeyError, TypeError, OSError):
                data = json.loads(record.read_text())
                if process.is_same(data["pid"], data["started"]):
                    own.add(data["pid"])
        if self.site.description.host.kind != "linux":
            return own.union(*(self.host.descendants(pid) for pid in own))
        return own | descendants(self.processes, own)

    @_Fact
    def links(self) -> dict[str, Link]:
        """The network interfaces of this host, by name."""
        if self.site.description.host.kind == "freebsd":
            return {name: Link(name, flags, addresses) for name, flags, addresses in freebsd_look.list_links()}
        listing = json.loads(run(["ip", "-json", "address", "show"]).stdout or "[]")
        return {
            item["ifname"]: Link(
                item["ifname"],
                frozenset(item.get("flags", ())),
                tuple(f"{one['local']}/{one['prefixlen']}" for one in item.get("addr_info", ()) if "local" in one),
            )
            for item in listing
            if "ifname" in item
        }

    @_Fact
    def namespaces(self) -> dict[str, int | None]:
        """The inode of each named network namespace, by which its processes know it; None for a dead name.

        On FreeBSD the number of each jail.
        """
        if self.site.description.host.kind == "freebsd":
            return freebsd_look.list_jails()
        found: dict[str, int | None] = {}
        for item in json.loads(run(["ip", "-json", "netns", "list"]).stdout or "[]"):
            found[item["name"]] = None
            with contextlib.suppress(OSError):
                found[item["name"]] = (_NAMESPACES / item["name"]).stat().st_ino
        return found

    def programs_in(self, namespace: str) -> list[str]:
        """Return the names of the programs that run in a network namespace."""
        if self.site.description.host.kind == "freebsd":
            return freebsd_look.programs_in(namespace)
        inode = self.namespaces.get(namespace)
        return [Path(one.argv[0]).name for one in self.processes if inode and one.namespace == inode and one.argv]

    @property
    def words(self) -> Words:
        """The commands of this kind of host."""
        return WORDS[self.site.description.host.kind]

    # The switch and the hypervisor

    def table(self, name: str, *columns: str) -> list[Object]:
        """Return rows of a table of the switch's database.

        :raises CommandError: it does not answer
        """
        text = ovs.vsctl(self.site, "--format=json", f"--columns={','.join(columns)}", "list", name, timeout=5)
        return rows_of(text)

    @_Fact
    def bridges(self) -> dict[str, Object]:
        """The switch's bridges, by name."""
        return {row["name"]: row for row in self.table("Bridge", "name", "datapath_type")}

    @_Fact
    def interfaces(self) -> dict[str, Object]:
        """The switch's interfaces, by name."""
        columns = ("name", "type", "error", "external_ids", "ofport")
        return {row["name"]: row for row in self.table("Interface", *columns)}

    @_Fact
    def integration_ports(self) -> list[str]:
        """The ports of the bridge that guests and DHCP hang on."""
        return ovs.vsctl(self.site, "list-ports", ovs.bridges(self.site)[0], timeout=5).split()

    @_Fact
    def hypervisor(self) -> tuple[bool, str]:
        """Whether libvirt answers: with the list of guests, so that it is asked once."""
        try:
            count = len(self.guests)
        except CommandError as error:
            return False, str(error)
        return True, f"{count} guest{'' if count == 1 else 's'}"

    @_Fact
    def guests(self) -> dict[str, int]:
        """The state of each guest that libvirt knows, by name (see GUEST_STATES)."""
        argv = ["virsh", "--connect", self.libvirt_uri, "--quiet", "domstats", "--state", "--raw"]
        return states_of(run(argv, timeout=API_TIMEOUT).stdout)

    # The cloud

    @_Fact
    def hosts(self) -> HostsUp:
        """Nova's services and neutron's agents."""
        return resources.hosts_up(self.admin)

    @_Fact
    def servers(self) -> list[Object]:
        """All instances of all projects."""
        found: list[Object] = []
        query = {"all_tenants": "1"}
        while page := self.admin.items("compute", "/servers/detail", "servers", query, COMPUTE_API):
            found += page
            query["marker"] = page[-1]["id"]
            # A page shorter than nova's default for the longest is the last one (max_limit, 1000).
            if len(page) < 1000:
                break
        return found

    @_Fact
    def ports(self) -> list[Object]:
        """All ports."""
        return self.admin.items("network", "/ports", "ports")

    @_Fact
    def networks(self) -> dict[str, Object]:
        """All networks, by id."""
        return {one["id"]: one for one in self.admin.items("network", "/networks", "networks")}

    @_Fact
    def subnets(self) -> list[Object]:
        """All subnets."""
        return self.admin.items("network", "/subnets", "subnets")

    def on_this_host(self, server: Object) -> bool:
        """Return whether an instance belongs to this host."""
        return bool(server.get("OS-EXT-SRV-ATTR:host") == self.site.facts.hostname)


def _read_process(entry: Path) -> Process:
    fields = (entry / "stat").read_text().rpartition(")")[2].split()
    argv = tuple((entry / "cmdline").read_bytes().decode(errors="replace").rstrip("\0").split("\0"))
    namespace = None
    with contextlib.suppress(OSError):
        match = re.fullmatch(r"net:\[(\d+)\]", os.readlink(entry / "ns" / "net"))
        namespace = int(match.group(1)) if match else None
    return Process(int(entry.name), int(fields[1]), argv, namespace)


def descendants(processes: Sequence[Process], pids: Iterable[int]) -> set[int]:
    """Return the pids of all processes below some."""
    children: dict[int, list[int]] = {}
    for one in processes:
        children.setdefault(one.parent, []).append(one.pid)
    found: set[int] = set()
    queue = list(pids)
    while queue:
        below = [pid for pid in children.get(queue.pop(), []) if pid not in found]
        found.update(below)
        queue += below
    return found


def rows_of(text: str) -> list[Object]:
    """Return the rows of a table that ovs-vsctl printed as JSON.

    Source: ovs-vsctl(8), --format=json; values are written as in RFC 7047,
    5.1: a set is ["set", [...]], a map ["map", [[key, value]...]], a uuid ["uuid", text].
    An empty set becomes None, a set of one its member.
    """
    table = json.loads(text)
    return [dict(zip(table["headings"], map(_value_of, row), strict=True)) for row in table["data"]]


def _value_of(value: Any) -> Any:
    if isinstance(value, list) and len(value) == 2:
        kind, content = value
        if kind == "set":
            members = [_value_of(one) for one in content]
            return members if len(members) > 1 else (members[0] if members else None)
        if kind == "map":
            return {key: _value_of(one) for key, one in content}
        return content
    return value


def states_of(text: str) -> dict[str, int]:
    """Return the state of each guest from the output of virsh domstats --state --raw."""
    found: dict[str, int] = {}
    name = ""
    for line in text.splitlines():
        domain = re.match(r"Domain: '(.*)'$", line)
        state = re.match(r"\s+state\.state=(\d+)$", line)
        if domain:
            name = domain.group(1)
        elif state and name:
            found[name] = int(state.group(1))
    return found


def _good(what: str, seen: str) -> Finding:
    return Finding(what, True, seen, "")


def _bad(what: str, seen: str, remedy: str) -> Finding:
    return Finding(what, False, seen, remedy)


def _list(names: Iterable[str], most: int = 8) -> str:
    """Return names as one text, the first few of many."""
    known = list(names)
    more = f" and {len(known) - most} more" if len(known) > most else ""
    return ", ".join(known[:most]) + more


# The machine


def check_root(view: View) -> Iterator[Finding]:
    """The state directory is root's, and nobody else can write there."""
    status = view.layout.root.stat()
    mode = stat.S_IMODE(status.st_mode)
    root = view.layout.root
    if os.geteuid() != 0:
        yield _bad("root", "doctor does not run as root and sees only a part", f"sudo {view.command('doctor')}")
    elif status.st_uid != 0 or mode & 0o022:
        seen = f"{root} belongs to user {status.st_uid} with mode {mode:04o}: others can change it"
        yield _bad("state directory", seen, f"chown root: {root}; chmod 0711 {root}")
    else:
        yield _good("state directory", f"{root} is root's")


def check_disk(view: View) -> Iterator[Finding]:
    """There is room for what services write."""
    root = view.layout.root
    free, inodes = shutil.disk_usage(root).free, os.statvfs(root)
    seen = f"{free >> 20} MiB free at {root}"
    if free < operate.DISK_AGAIN:
        yield _bad("disk", f"{seen}, {operate.DISK_AGAIN >> 20} MiB are needed", f"free some: du -xh {root} | sort -h")
    elif inodes.f_files and inodes.f_favail < INODES_NEEDED:
        yield _bad("disk", f"{inodes.f_favail} inodes free at {root}", f"remove files: du -x --inodes {root} | sort -n")
    else:
        yield _good("disk", seen)


def check_memory(view: View) -> Iterator[Finding]:
    """There is memory for another guest."""
    available = view.host.available_memory()
    if available is None:
        yield _good("memory", "this kernel does not say how much is available")
        return
    seen = f"{available >> 20} MiB available"
    if available < MEMORY_NEEDED:
        remedy = "delete or stop instances, stop other programs, or set site.workers = 1 in site.toml"
        yield _bad("memory", f"{seen}, {MEMORY_NEEDED >> 20} MiB should be", remedy)
    else:
        yield _good("memory", seen)


def check_clock(view: View) -> Iterator[Finding]:
    """The clock was not set back: tokens, certificates and reports would be from the future."""
    layout = view.layout
    stamps = [layout.marker, layout.secrets, layout.run() / "up.json", *(layout.root / "log").glob("*.log")]
    now = time.time()
    latest = max((path.stat().st_mtime for path in stamps if path.exists()), default=0.0)
    if latest > now + CLOCK_SLACK:
        seen = f"the clock was set back: files of the site are {latest - now:.0f} s from the future"
        yield _bad("clock", seen, "set the clock (date -s, or an NTP client), then " + _again(view))
    else:
        yield _good("clock", datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S UTC"))


def _again(view: View) -> str:
    return f"{view.command('down')}; {view.command('up')}"


def check_packages(view: View) -> Iterator[Finding]:
    """The system's packages are installed."""
    missing = view.steps.missing_packages()
    if missing:
        yield _bad("packages", "missing: " + _list(missing), view.redo)
    else:
        yield _good("packages", f"all {len(view.host.PACKAGES)} are installed")


def check_users(view: View) -> Iterator[Finding]:
    """The services' users exist."""
    names = user_names_of(view.layout, view.site.description)
    missing = view.host.missing_users(names)
    if missing:
        yield _bad("users", "missing: " + _list(missing), view.redo)
    else:
        yield _good("users", f"all {len(names)} exist")


def check_environment(view: View) -> Iterator[Finding]:
    """The virtual environment holds the release, and works."""
    what, venv = "virtual environment", view.layout.venv
    if not release.is_installed(view.layout):
        yield _bad(what, f"{venv} does not hold OpenStack {release.RELEASE} as this beastack knows it", view.redo)
        return
    # Both lead out of it, into packages of the system that can go or change.
    dangling = [path for path in (view.layout.python, *venv.glob("lib/python3*/site-packages/libvirt*"))
                if not path.exists()]  # fmt: skip
    bound = any(venv.glob("lib/python3*/site-packages/libvirt.py")) or not view.site.description.host.has_guests
    if dangling or not bound:
        seen = f"{dangling[0]} leads nowhere" if dangling else "the libvirt binding is missing"
        yield _bad(what, seen, f"rm {venv}/beastack-release; {view.redo}")
        return
    yield _good(what, f"OpenStack {release.RELEASE}")


def check_kvm(view: View) -> Iterator[Finding]:
    """Where guests are to run by KVM, they can."""
    wanted = view.site.description.compute.virt_type == "kvm"
    if not wanted:
        hint = f'; {_KVM} is there: compute.virt_type = "kvm" in site.toml may be faster' if _KVM.exists() else ""
        yield _good("virtualization", "guests are emulated" + hint)
        return
    emulate = 'or set compute.virt_type = "qemu" in site.toml'
    user = view.layout.user("qemu")
    if not _KVM.exists():
        seen = f"{_KVM} is not there"
        yield _bad("virtualization", seen, f"modprobe -a kvm kvm_intel kvm_amd, enable it in the firmware, {emulate}")
    elif (why := why_unusable(_KVM)) is not None:
        yield _bad("virtualization", f"{_KVM} cannot be used: {why}", f"modprobe -r and modprobe kvm, {emulate}")
    elif linux.user_exists(user) and not may_write(_KVM.stat(), user):
        group = _group_name(_KVM.stat().st_gid)
        remedy = f"usermod -aG {group} {user}" if group != "root" else f"chmod 0666 {_KVM}"
        yield _bad("virtualization", f"the guests' user {user} may not open {_KVM}", f"{remedy}, {emulate}")
    else:
        yield _good("virtualization", f"{_KVM} can be used")


def why_unusable(device: Path) -> str | None:
    """Return why KVM does not answer behind its device; None if it does (KVM_GET_API_VERSION, linux/kvm.h)."""
    try:
        descriptor = os.open(device, os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        return error.strerror
    try:
        version = fcntl.ioctl(descriptor, 0xAE00)
    except OSError as error:
        return error.strerror
    finally:
        os.close(descriptor)
    return None if version == 12 else f"its API is of version {version}, not 12"


def may_write(status: os.stat_result, user: str) -> bool:
    """Return whether a user may read and write a file of this owner, group and mode."""
    account = pwd.getpwnam(user)
    if account.pw_uid == status.st_uid:
        return status.st_mode & 0o600 == 0o600
    if status.st_gid in os.getgrouplist(user, account.pw_gid):
        return status.st_mode & 0o060 == 0o060
    return status.st_mode & 0o006 == 0o006


def _group_name(gid: int) -> str:
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)


# Files


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
            yield _bad("secrets", f"{path} has mode {mode:04o}", f"chmod {right} {path}")
    if not wrong:
        yield _good("secrets", "only their services can read them")


def check_clients(view: View) -> Iterator[Finding]:
    """The openstack command finds the cloud."""
    if clients.are_written(view.site):
        yield _good("clouds.yaml", str(view.layout.clouds_yaml))
    else:
        seen = "it, or the user's own, or the openstack command is missing or is not as up wrote it"
        yield _bad("clouds.yaml", seen, view.redo)


def check_configuration(view: View) -> Iterator[Finding]:
    """Generated files are as this description makes them."""
    changed = []
    units = services.units(view.site.description)
    for service in (unit.name for unit in units):
        name, text = configuration.render_service(view.site, service)
        path = view.layout.etc(service) / name
        if not path.exists() or path.read_text() != text:
            changed.append(service)
    if changed:
        seen = "not what site.toml makes (edited, or site.toml or beastack changed since): " + _list(changed)
        yield _bad("configuration", seen, _again(view))
    else:
        yield _good("configuration", f"all {len(units)} files are as site.toml makes them")


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
        if one.kind == "file" and one.name == str(linux.POLICY) and Path(one.name).exists() and not _is_locked(view):
            seen = f"{one.name}, left by an interrupted up, keeps the system from starting services it installs"
            yield _bad("records", seen, f"rm {one.name}")
    if damaged:
        yield _bad("records", f"{path}: line {damaged[0]} is damaged: destroy would leave something", f"correct {path}")
    if unknown:
        remedy = "after beastack destroy: userdel " + "; userdel ".join(unknown)
        yield _bad("records", f"destroy would leave users that are not in {path}: {_list(unknown)}", remedy)
    if not damaged and not unknown:
        yield _good("records", f"{len(known)} things outside {view.layout.root} for destroy to take back")


def _is_record(line: str) -> bool:
    try:
        records.Record(**json.loads(line))
    except (ValueError, TypeError):
        return False
    return True


def _is_locked(view: View) -> bool:
    """Return whether a command that changes the site is at work (proc(5), locks).

    Asked of the kernel: trying the lock would hold it for a moment, against a command that starts just then.
    """
    try:
        inode = (view.layout.root / "lock").stat().st_ino
        listing = Path("/proc/locks").read_text()
    except OSError:
        return False
    return re.search(rf"FLOCK .*:{inode} ", listing) is not None


# Processes


def check_supervisor(view: View) -> Iterator[Finding]:
    """The supervisor answers; if not, nothing runs without it."""
    answers, seen = view.supervisor
    if answers:
        yield _good("supervisor", seen)
    elif view.own_pids:
        text = f"{seen}, while {len(view.own_pids)} processes of the site run on without it"
        yield _bad("supervisor", text, f"{view.command('up')} (it takes them over)")
    else:
        yield _bad("supervisor", f"the site is down: {seen}", view.command("up"))


def check_up(view: View) -> Iterator[Finding]:
    """The last ``up`` came to its end, with the description of now."""
    try:
        state = json.loads((view.layout.run() / "up.json").read_text())["state"]
    except (OSError, ValueError, KeyError, TypeError):
        seen = "up is at work" if _is_locked(view) else "the last up did not come to its end"
        yield _bad("up", seen, "wait for it" if _is_locked(view) else view.command("up"))
        return
    if state == operate.state_digest(view.site):
        yield _good("up", "it came to its end, as described")
    else:
        yield _bad("up", "site.toml, beastack or this host changed since the last up", view.command("up"))


def check_services(view: View) -> Iterator[Finding]:
    """Every service runs, and keeps running."""
    expected = [spec.name for spec in view.steps.all_services()]
    unknown = [name for name in expected if name not in view.services]
    if unknown:
        yield _bad("services", "the supervisor does not know: " + _list(unknown), view.redo)
    wrong, restarted = 0, []
    stopped = [name for name, item in view.services.items() if item["state"] == "stopped" and not item["wanted"]]
    if stopped:
        yield _bad("services", "stopped, and not to be started: " + _list(stopped), view.command("up"))
    for name, item in view.services.items():
        if name in stopped:
            continue
        if item["state"] != "running" or item["failures"] >= 2:
            wrong += 1
            remedy = f"{view.command('logs', name)}; correct what it says, then {view.command('up')}"
            yield _bad(name, _service_state(item), remedy)
        elif item["restarts"]:
            restarted.append(f"{name} ({item['restarts']}, last: {item['last_exit']})")
    if not wrong and not unknown and not stopped:
        more = f"; started again since: {_list(restarted)}" if restarted else ""
        yield _good("services", f"all {len(view.services)} processes run{more}")


def _service_state(item: Object) -> str:
    seen = f"it is {item['state']}"
    if item["restarts"]:
        seen += f", ended {item['restarts']} times"
    if item["last_exit"]:
        seen += f", last: {item['last_exit']}"
    # The log of one that never ended badly says nothing about it.
    words = last_words(Path(item["log"])) if item["failures"] or item["restarts"] else ""
    return f"{seen}; {words}" if words else seen


def last_words(log: Path) -> str:
    """Return the last line of a log's end that looks like an error, else its last line; cut to be shown."""
    lines = [line.strip() for line in logs.last_lines(log, 40) if line.strip() and not _HARMLESS.search(line)]
    words = next((line for line in reversed(lines) if _LOOKS_LIKE_ERROR.search(line)), lines[-1] if lines else "")
    return words if len(words) <= WORDS_MAX else words[: WORDS_MAX - 1] + "…"


def check_shared_ports(view: View) -> Iterator[Finding]:
    """No other program listens on a port of the site's."""
    taken = 0
    for key in port_keys(view.site):
        port = getattr(view.site.ports, key)
        holder = view.host.port_holder(port)
        pid = re.search(r"\(pid (\d+)\)$", holder or "")
        if holder is not None and not (pid and int(pid.group(1)) in view.own_pids):
            taken += 1
            yield _bad("ports", f"port {port} is taken by {holder}", f"stop it, or set ports.{key} in site.toml")
    if not taken:
        yield _good("ports", "none is taken by another program")


def port_keys(site: Site) -> list[str]:
    """Return the keys in site.toml of the ports that the site's processes listen on."""
    host, keys = site.description.host, [unit.port for unit in services.units(site.description) if unit.port]
    if host.has_network:
        keys.append("openflow")
    if not host.has_control:
        return keys
    keys += ["novnc", "serial"]
    return keys if site.description.messaging.url is not None else [*keys, "messaging", "epmd", "erlang"]


def check_logs(view: View) -> Iterator[Finding]:
    """What services logged with a traceback just now; never wrong by itself, services live with some."""
    since = datetime.fromtimestamp(time.time() - LOG_MINUTES * 60)
    count, where = 0, []
    for log in sorted((view.layout.root / "log").glob("*.log")):
        found = recent_tracebacks(logs.last_lines(log, 2000, 256 * 1024), since)
        if found:
            count += found
            where.append(f"{log.stem} ({found})")
    seen = f"{count} in the last {LOG_MINUTES} minutes: {_list(where)}" if count else "none recently"
    yield _good("tracebacks", seen)


def recent_tracebacks(lines: Sequence[str], since: datetime) -> int:
    """Return how many tracebacks stand in log lines from a local time on; a line without a time is of the last one."""
    count, recent = 0, False
    for line in lines:
        match = _LOG_TIME.match(line)
        if match:
            with contextlib.suppress(ValueError):
                recent = datetime.fromisoformat(f"{match.group(1)} {match.group(2)}") >= since
        if recent and "Traceback (most recent call last)" in line:
            count += 1
    return count


# Data services


def check_database(view: View) -> Iterator[Finding]:
    """The database server answers."""
    answers, seen = view.database
    if answers:
        yield _good("database", seen)
    elif view.site.description.database.url is None:
        yield _bad("database", seen, f"{view.command('logs', 'mariadb')}; {view.command('up')}")
    else:
        where = view.site.description.database.masked_url
        yield _bad("database", f"{where}: {seen}", "start that server, or correct database.url in site.toml")


def check_schemas(view: View) -> Iterator[Finding]:
    """Every database's schema is of this release."""
    names = ("databases", *DATABASES)
    behind = [name for name in names if not view.steps.is_schema_done(name)()]
    if behind:
        yield _bad("schemas", "not made, or of another release: " + _list(behind), view.redo)
    else:
        yield _good("schemas", f"of OpenStack {release.RELEASE}")


def check_connections(view: View) -> Iterator[Finding]:
    """The private server has all databases, and connections left."""
    answer = data_services.sql(
        view.site,
        "SELECT CONCAT('database ', SCHEMA_NAME) FROM information_schema.SCHEMATA;"
        " SELECT CONCAT('used ', VARIABLE_VALUE) FROM information_schema.GLOBAL_STATUS"
        " WHERE VARIABLE_NAME = 'THREADS_CONNECTED'; SELECT CONCAT('limit ', @@max_connections);",
        timeout=API_TIMEOUT,
    )
    said = [line.split(" ", 1) for line in answer.splitlines() if " " in line]
    present = {value for key, value in said if key == "database"}
    missing = [name for names in DATABASES.values() for name in names if name not in present]
    numbers = {key: int(value) for key, value in said if key in ("used", "limit")}
    if missing:
        remedy = f"restore them from a backup; or start anew: {view.command('destroy')}"
        yield _bad("databases", "gone: " + _list(missing), remedy)
    if numbers["used"] >= CONNECTIONS_FULL * numbers["limit"]:
        seen = f"{numbers['used']} of {numbers['limit']} connections are in use"
        yield _bad("databases", seen, "set site.workers = 1 in site.toml, then " + _again(view))
    elif not missing:
        yield _good("databases", f"all there; {numbers['used']} of {numbers['limit']} connections in use")


def check_messaging(view: View) -> Iterator[Finding]:
    """The message broker answers."""
    answers, seen = view.messaging
    if answers:
        yield _good("messaging", seen)
    elif view.site.description.messaging.url is None:
        yield _bad("messaging", seen, f"{view.command('logs', 'rabbitmq')}; {view.command('up')}")
    else:
        where = view.site.description.messaging.masked_url
        yield _bad("messaging", f"{where}: {seen}", "start that server, or correct messaging.url in site.toml")


def check_queues(view: View) -> Iterator[Finding]:
    """Services read their message queues: one without a reader lets every request to it time out."""
    queues = ["conductor", "scheduler", "q-plugin", "q-reports-plugin"]
    if view.site.description.host.has_guests:
        queues.append(f"compute.{view.site.facts.hostname}")
    environment = {**services.tool_environment(view.site), "BEASTACK_TRANSPORT_URL": view.site.transport_url}
    argv = [str(view.layout.python), "-m", "beastack.port.oslo.await_queues", "1", *queues]
    try:
        run(argv, timeout=15, env=environment)
    except CommandError as error:
        unread = error.stderr.strip().rpartition(": ")[2] or str(error)
        readers = {"conductor": "nova-conductor", "scheduler": "nova-scheduler", "q-plugin": "neutron-rpc",
                   "q-reports-plugin": "neutron-rpc"}  # fmt: skip
        late = sorted({readers.get(name, "nova-compute") for name in unread.split(", ")})
        remedy = "; ".join(dict.fromkeys(view.restart(name) for name in late))
        yield _bad("message queues", f"nobody reads: {unread}", remedy)
    else:
        yield _good("message queues", f"the {len(queues)} that matter are read")


# APIs


def check_apis(view: View) -> Iterator[Finding]:
    """Each API answers HTTP."""
    for name, (answers, seen) in view.apis.items():
        if answers:
            yield _good(name, seen)
        else:
            yield _bad(name, f"it does not answer: {seen}", f"{view.command('logs', name)}; {view.command('up')}")


def check_token(view: View) -> Iterator[Finding]:
    """Keystone gives the administrator a token."""
    works, seen = view.token
    if works:
        yield _good("token", seen)
    else:
        remedy = f"{view.command('logs', 'keystone')}; if the admin password was changed: {view.redo}"
        yield _bad("token", seen, remedy)


def check_user(view: View) -> Iterator[Finding]:
    """The credentials in clouds.yaml are accepted."""
    demo = view.admin.as_user("demo", view.site.secrets["demo"], "demo")
    try:
        yield _good("user", f"demo is in project {demo.project_id}")
    except CloudError as error:
        yield _bad("user", str(error), view.redo)


def check_images(view: View) -> Iterator[Finding]:
    """Glance lists images, and each has its data."""
    images = view.admin.items("image", "/images", "images", {"limit": "1000"})
    bad = [one for one in images if one["status"] in ("killed", "deactivated")]
    for one in bad:
        remedy = view.openstack("image", "delete" if one["status"] == "killed" else "set --activate", one["id"])
        yield _bad("images", f"{one['name']} is {one['status']}", remedy)
    if not bad:
        yield _good("images", f"{len(images)} there")


def check_resource_provider(view: View) -> Iterator[Finding]:
    """Placement and nova's cell know this host: without, no instance is ever sent here."""
    name = view.site.facts.hostname
    known = view.admin.items("placement", "/resource_providers", "resource_providers")
    hypervisors = view.admin.items("compute", "/os-hypervisors", "hypervisors", microversion=COMPUTE_API)
    if not any(one["name"] == name for one in known):
        yield _bad("compute host", f"placement does not know {name}", view.restart("nova-compute"))
    elif not any(one["hypervisor_hostname"] == name for one in hypervisors):
        yield _bad("compute host", f"no cell of nova has {name}", view.redo)
    else:
        yield _good("compute host", f"{name} takes instances")


def check_consoles(view: View) -> Iterator[Finding]:
    """The console proxies listen."""
    for name, key in (("nova-novncproxy", "novnc"), ("nova-serialproxy", "serial")):
        port = getattr(view.site.ports, key)
        try:
            with socket.create_connection((view.site.address, port), timeout=5):
                pass
        except OSError as error:
            seen = f"port {port}: {error.strerror or error}"
            yield _bad(name, seen, f"{view.command('logs', name)}; {view.restart(name)}")
            continue
        pages = view.layout.data("novnc") / "vnc_lite.html"
        if key == "novnc" and not pages.exists():
            yield _bad(name, f"its pages are gone from {pages.parent}", view.redo)
        else:
            yield _good(name, f"it listens on port {port}")


# The hosts as the cloud sees them


def check_agents(view: View) -> Iterator[Finding]:
    """Nova's services and neutron's agents report, and are enabled."""
    all_services = [*view.hosts.compute, *view.hosts.network]
    host = view.site.facts.hostname
    ours = {unit.name for unit in services.units(view.site.description)}
    wanted = [(host, name) for name in ("nova-conductor", "nova-scheduler")]
    wanted += [(host, binary) for binary, name in HOST_SERVICES.items() if name in ours]
    known = {(one.host, one.binary) for one in all_services}
    wrong = 0
    for missing in [pair for pair in wanted if pair not in known]:
        wrong += 1
        service = HOST_SERVICES.get(missing[1], missing[1])
        remedy = f"{view.command('logs', service)}; {view.redo}"
        yield _bad("agents", f"{missing[1]} never reported from {host}", remedy)
    for one in all_services:
        seen = _agent_problem(one)
        if seen:
            wrong += 1
            yield _bad("agents", seen, _agent_remedy(view, one))
    if not wrong:
        yield _good("agents", f"{len(all_services)} report")


def _agent_problem(one: HostService) -> str:
    if not one.alive:
        return f"{one.binary} on {one.host} does not report (last: {one.reported or 'never'} UTC)"
    if not one.enabled:
        return f"{one.binary} on {one.host} is disabled: it gets no new work"
    limit = datetime.fromtimestamp(time.time() + CLOCK_SLACK, UTC).strftime("%Y-%m-%d %H:%M:%S")
    return f"{one.binary} on {one.host} reports from the future: {one.reported} UTC" if one.reported > limit else ""


def _agent_remedy(view: View, one: HostService) -> str:
    nova = one.binary.startswith("nova-")
    if not one.alive and one.host != view.site.facts.hostname:
        gone = "compute service delete ID" if nova else "network agent delete ID"
        return f"start it on {one.host}; if that host is gone for good: {view.openstack(gone)}"
    if not one.alive:
        return view.restart(HOST_SERVICES.get(one.binary, one.binary))
    if one.enabled:
        return f"set the clock of {one.host} (an NTP client)"
    if nova:
        return view.openstack("compute service set --enable", one.host, one.binary)
    return view.openstack("network agent list --host", one.host) + ", then network agent set --enable ID"


# The switch


def check_switch(view: View) -> Iterator[Finding]:
    """The switch's database answers."""
    answers, seen = view.switch
    if answers:
        yield _good("switch", seen)
    else:
        yield _bad("switch", seen, f"{view.command('logs', 'ovsdb-server')}; {view.command('up')}")


def check_datapath(view: View) -> Iterator[Finding]:
    """No other userspace datapath stands in the way: there can be one on a host."""
    foreign = view.steps.switch.foreign_datapath(view.layout)
    if foreign is None:
        yield _good("datapath", "no other userspace switch runs")
    else:
        remedy = "stop it (systemctl disable --now openvswitch-switch, or another site's beastack down)"
        yield _bad("datapath", f"{foreign} holds it", remedy)


def check_bridges(view: View) -> Iterator[Finding]:
    """The bridges are there, in userspace, with their interfaces."""
    wrong = 0
    for name in (*ovs.bridges(view.site), view.layout.interface("tun")):
        bridge = view.bridges.get(name)
        seen, remedy = "", view.redo
        if bridge is None:
            seen = f"{name} is not there"
            if name == view.layout.interface("tun"):
                remedy = view.restart("neutron-ovs-agent")
        elif bridge["datapath_type"] != "netdev":
            seen = f"{name} is of type {bridge['datapath_type'] or 'system'}, not netdev"
            remedy = view.vsctl(f"set Bridge {name} datapath_type=netdev")
        elif name not in view.links:
            seen, remedy = f"{name} has no interface: the switch did not make it", view.restart("ovs-vswitchd")
        if seen:
            wrong += 1
            yield _bad("bridges", seen, remedy)
    if not wrong:
        yield _good("bridges", _list(view.bridges))


def check_controllers(view: View) -> Iterator[Finding]:
    """The agent is connected to each bridge: nobody else writes their flows."""
    rows = view.table("Controller", "target", "is_connected")
    if not rows or not all(row["is_connected"] for row in rows):
        seen = "neutron's agent is not connected to the bridges: no new port gets flows"
        yield _bad("flows", seen, view.restart("neutron-ovs-agent"))
    else:
        yield _good("flows", "neutron's agent is connected to the bridges")


def check_host_pair(view: View) -> Iterator[Finding]:
    """The host is on the provider network."""
    near, far = ovs.host_pair(view.site)
    address = ovs.provider_gateway(view.site)
    bridge = ovs.bridges(view.site)[1]
    what = "provider network"
    missing = [name for name in (near, far) if name not in view.links]
    asleep = [name for name in (near, far) if name in view.links and not view.links[name].up]
    if missing:
        yield _bad(what, f"the interface {missing[0]} is gone", view.redo)
    elif asleep:
        yield _bad(what, f"the interface {asleep[0]} is down", view.words.raise_link.format(asleep[0]))
    elif address not in view.links[near].addresses:
        yield _bad(what, f"{near} does not have {address}", view.words.set_address.format(near, address))
    elif far not in view.interfaces:
        yield _bad(what, f"{far} is not a port of the switch", view.vsctl("--may-exist add-port", bridge, far))
    else:
        yield _good(what, f"the host is {address} on {near}")


def check_interfaces(view: View) -> Iterator[Finding]:
    """No interface of the switch is in error."""
    wrong = [row for row in view.interfaces.values() if row["error"]]
    for row in wrong:
        owner = _owner_of(view, row)
        if row["name"] in view.links:
            remedy = view.restart("ovs-vswitchd")
        elif (server := _server_of(view, row)) is not None:
            remedy = view.openstack("server reboot --hard", server["id"])
        elif _TAP.match(row["name"]):
            remedy = f"{view.vsctl('--if-exists del-port', row['name'])}; {view.restart('neutron-dhcp-agent')}"
        else:
            remedy = view.redo
        yield _bad("interfaces", f"{row['name']} ({owner}): {row['error']}", remedy)
    if not wrong:
        yield _good("interfaces", f"none of the switch's {len(view.interfaces)} is in error")


def check_taps(view: View) -> Iterator[Finding]:
    """Every tap on the integration bridge is up: one that is down swallows all packets."""
    # One without an interface is in error, and told of there.
    taps = [name for name in view.integration_ports if _TAP.match(name) and name in view.links]
    wrong = 0
    for name in taps:
        link, row = view.links[name], view.interfaces.get(name, {"name": name})
        server = _server_of(view, row)
        # The tap of an instance that does not run waits for it, down or not.
        if server is not None and server["status"] != "ACTIVE":
            continue
        owner = _owner_of(view, row)
        if not link.up:
            wrong += 1
            yield _bad("taps", f"{name} of {owner} is down", view.words.raise_link.format(name))
        elif not link.carrier and server is not None and not server.get("OS-EXT-STS:task_state"):
            wrong += 1
            seen = f"{name} of {owner} is connected to no guest"
            yield _bad("taps", seen, view.openstack("server reboot --hard", server["id"]))
    if not wrong:
        yield _good("taps", f"{len(taps)} on {ovs.bridges(view.site)[0]}, all up")


def check_freebsd(view: View) -> Iterator[Finding]:
    """Nothing that FreeBSD alone has takes the network from guests."""
    for what, ok, seen, remedy in freebsd_look.examine(view.site):
        yield Finding(what, ok, seen, remedy)


def check_tags(view: View) -> Iterator[Finding]:
    """No port is on the VLAN where neutron's agent puts what it could not bind."""
    dead = [row["name"] for row in view.table("Port", "name", "tag") if row["tag"] == DEAD_VLAN]
    for name in dead:
        owner = _owner_of(view, view.interfaces.get(name, {"name": name}))
        yield _bad("bindings", f"{name} of {owner} is cut off: the agent could not bind it",
                   f"{view.command('logs', 'neutron-ovs-agent')}; {view.restart('neutron-ovs-agent')}")  # fmt: skip
    if not dead:
        yield _good("bindings", "no port of the switch is cut off")


def _server_of(view: View, interface: Object) -> Object | None:
    """Return the instance that an interface of the switch belongs to, if nova can say."""
    server_id = (interface.get("external_ids") or {}).get("vm-uuid")
    if not server_id or not view.has("compute"):
        return None
    return next((one for one in view.servers if one["id"] == server_id), None)


def _owner_of(view: View, interface: Object) -> str:
    server = _server_of(view, interface)
    if server is not None:
        return f"instance {server['name']}"
    ids = interface.get("external_ids") or {}
    if ids.get("vm-uuid"):
        return f"instance {ids['vm-uuid']}"
    if _TAP.match(interface["name"]):
        return f"DHCP, port {ids['iface-id']}" if ids.get("iface-id") else "DHCP or nobody"
    return "the switch"


# Guests


def check_hypervisor(view: View) -> Iterator[Finding]:
    """Libvirt answers."""
    answers, seen = view.hypervisor
    if answers:
        yield _good("libvirt", seen)
    else:
        yield _bad("libvirt", seen, f"{view.command('logs', 'libvirtd')}; {view.restart('libvirtd')}")


def check_guests(view: View) -> Iterator[Finding]:
    """Nova and libvirt agree on which guests run."""
    # Nova second: a guest that it deletes meanwhile is gone from libvirt first, and one it makes is there later.
    guests, servers = view.guests, [one for one in view.servers if view.on_this_host(one)]
    wrong = 0
    for server in servers:
        # What is under way changes one after the other.
        if server.get("OS-EXT-STS:task_state"):
            continue
        state = guests.get(server["OS-EXT-SRV-ATTR:instance_name"])
        seen = "not there" if state is None else GUEST_STATES.get(state, f"in state {state}")
        if server["status"] == "ACTIVE" and state != GUEST_RUNNING:
            wrong += 1
            text = f"nova says {server['name']} is ACTIVE, libvirt says it is {seen}"
            yield _bad("guests", text, view.openstack("server reboot --hard", server["id"]))
        elif server["status"] == "SHUTOFF" and state == GUEST_RUNNING:
            wrong += 1
            text = f"nova says {server['name']} is SHUTOFF, libvirt says it is {seen}"
            yield _bad("guests", text, view.openstack("server start", server["id"]))
    names = {server.get("OS-EXT-SRV-ATTR:instance_name") for server in view.servers}
    for name in [name for name in guests if name not in names]:
        wrong += 1
        virsh = f"virsh --connect '{view.libvirt_uri}'"
        remedy = f"{virsh} destroy {name}; {virsh} undefine --nvram {name}"
        yield _bad("guests", f"libvirt has {name}, which is no instance of nova's", remedy)
    if not wrong:
        running = sum(1 for state in guests.values() if state == GUEST_RUNNING)
        yield _good("guests", f"{running} run, as nova says")


def check_instances(view: View) -> Iterator[Finding]:
    """No instance is in ERROR, and none has stopped half-way."""
    wrong = 0
    for server in view.servers:
        task = server.get("OS-EXT-STS:task_state")
        if server["status"] == "ERROR":
            wrong += 1
            fault = " ".join(str(server.get("fault", {}).get("message") or "nova gives no reason").split())
            yield _bad("instances", f"{server['name']} is in ERROR: {fault}", _error_remedy(view, server))
        elif task and (age := _age(server.get("updated"))) > STUCK_AFTER:
            wrong += 1
            seen = f"{server['name']} has been {server['status']} ({task}) for {age / 60:.0f} minutes"
            remedy = view.openstack("server set --state error", server["id"]) + f"; {_error_remedy(view, server)}"
            yield _bad("instances", seen, remedy)
    if not wrong:
        yield _good("instances", f"{len(view.servers)}, none in ERROR")


def _error_remedy(view: View, server: Object) -> str:
    """Return what helps: an instance that ran is started again, one that never did is made anew."""
    if server.get("OS-SRV-USG:launched_at") and server.get("OS-EXT-SRV-ATTR:host"):
        return view.openstack("server reboot --hard", server["id"])
    return view.openstack("server delete", server["id"]) + " and make it again"


def _age(stamp: str | None) -> float:
    """Return the seconds since a time stamp of nova's (UTC); nothing for one that cannot be read."""
    try:
        moment = datetime.fromisoformat(str(stamp))
    except ValueError:
        return 0.0
    return time.time() - moment.replace(tzinfo=moment.tzinfo or UTC).timestamp()


# Networks


def check_bindings(view: View) -> Iterator[Finding]:
    """No port of an instance failed to be bound."""
    names = {one["id"]: one["name"] for one in view.servers}
    failed = [port for port in view.ports if port.get("binding:vif_type") == "binding_failed"]
    for port in failed:
        owner = names.get(port.get("device_id", ""), port.get("device_owner") or "nobody")
        if port.get("device_owner") == "network:dhcp":
            remedy = view.restart("neutron-dhcp-agent")
        else:
            remedy = view.openstack("server remove port", port.get("device_id", ""), port["id"]) + ", then add it again"
        yield _bad("ports of networks", f"{port['id']} of {owner} could not be bound to a host", remedy)
    if not failed:
        yield _good("ports of networks", f"{len(view.ports)}, all bound")


def check_dhcp(view: View) -> Iterator[Finding]:
    """Each network with DHCP is served: by a namespace with dnsmasq and the metadata proxy in it."""
    if "neutron-dhcp-agent" not in {unit.name for unit in services.units(view.site.description)}:
        yield _good("DHCP", "answered by the openvswitch agent (network.dhcp)")
        return
    served = {one["network_id"] for one in view.subnets if one["enable_dhcp"]}
    ports = [port for port in view.ports if port["device_owner"] == "network:dhcp"]
    wrong = 0
    for network_id in sorted(served & view.networks.keys()):
        own = [port for port in ports if port["network_id"] == network_id]
        for seen, remedy in _dhcp_problems(view, network_id, own):
            wrong += 1
            yield _bad("DHCP", f"network {view.networks[network_id]['name']}: {seen}", remedy)
    if not wrong:
        yield _good("DHCP", f"{len(served)} network{'' if len(served) == 1 else 's'} served")


def _dhcp_problems(view: View, network_id: str, ports: Sequence[Object]) -> Iterator[tuple[str, str]]:
    restart = view.restart("neutron-dhcp-agent")
    if not ports:
        add = view.openstack("network agent add network --dhcp AGENT", network_id)
        yield "no DHCP agent serves it", f"{add} (AGENT from network agent list), or {view.redo}"
        return
    here = [port for port in ports if port.get("binding:host_id") == view.site.facts.hostname]
    if not here:
        return
    namespace = f"qdhcp-{network_id}"
    if namespace not in view.namespaces:
        yield f"the namespace {namespace} is gone", restart
        return
    programs = view.programs_in(namespace)
    if "dnsmasq" not in programs:
        yield f"no dnsmasq runs in {namespace}: guests get no address", restart
    if "haproxy" not in programs:
        yield f"no haproxy runs in {namespace}: guests get no metadata", restart
    for port in here:
        if port["status"] != "ACTIVE":
            yield f"its DHCP port {port['id']} is {port['status']}", view.restart("neutron-ovs-agent")


def check_leftovers(view: View) -> Iterator[Finding]:
    """No tap and no namespace belongs to nothing."""
    # The host first: what is made or removed meanwhile must not look left over.
    taps, attached = [name for name in view.links if _TAP.match(name)], set(view.integration_ports)
    names = [name for name in view.namespaces if name.startswith("qdhcp-")]
    known, networks = {f"tap{port['id'][:11]}" for port in view.ports}, set(view.networks)
    if {*taps} - known or {name.removeprefix("qdhcp-") for name in names} - networks:
        # What is removed by this finding's remedy is asked for twice: an answer can be too short, from a
        # neutron that has only just started, and something may have been made since.
        known |= {f"tap{port['id'][:11]}" for port in view.admin.items("network", "/ports", "ports")}
        networks |= {one["id"] for one in view.admin.items("network", "/networks", "networks")}
    ours = set(view.steps.switch.dhcp_namespaces(view.site))
    shared = "unless another cloud on this host uses it: "
    wrong = 0
    for name in sorted({*taps, *(port for port in attached if _TAP.match(port))} - known):
        remove = view.words.delete_link.format(name)
        if name in attached:
            remedy = view.vsctl("--if-exists del-port", name) + (f"; {remove}" if name in view.links else "")
        elif not view.steps.switch.link_exists(name) or view.links[name].carrier:
            continue  # gone by now; or in use, by something that is not ours
        else:
            remedy = shared + remove
        wrong += 1
        yield _bad("leftovers", f"the tap {name} belongs to no port of neutron's", remedy)
    for name in names:
        if name.removeprefix("qdhcp-") in networks or (name not in ours and view.programs_in(name)):
            continue
        wrong += 1
        remedy = ("" if name in ours else shared) + view.words.delete_namespace.format(name)
        yield _bad("leftovers", f"the namespace {name} belongs to no network of neutron's", remedy)
    if not wrong:
        yield _good("leftovers", "no tap or namespace belongs to nothing")


# All together

CHECKS: tuple[Check, ...] = (
    Check("root", check_root),
    Check("disk", check_disk),
    Check("memory", check_memory),
    Check("clock", check_clock),
    Check("packages", check_packages),
    Check("users", check_users),
    Check("virtual environment", check_environment),
    Check("virtualization", check_kvm, role="guests linux"),
    Check("secrets", check_secrets),
    Check("clouds.yaml", check_clients, role="control"),
    Check("configuration", check_configuration),
    Check("records", check_records),
    Check("ports", check_shared_ports),
    Check("datapath", check_datapath, role="network"),
    Check("supervisor", check_supervisor),
    Check("up", check_up, ("supervisor",)),
    Check("services", check_services, ("supervisor",)),
    Check("tracebacks", check_logs, ("supervisor",)),
    Check("database", check_database, ("supervisor",), role="control"),
    Check("databases", check_connections, ("supervisor", "own database"), role="control"),
    Check("schemas", check_schemas, ("supervisor",), role="control"),
    Check("messaging", check_messaging, ("supervisor",)),
    Check("message queues", check_queues, ("supervisor", "messaging"), role="control"),
    Check("switch", check_switch, ("supervisor",), role="network"),
    Check("bridges", check_bridges, ("supervisor", "switch"), role="network"),
    Check("flows", check_controllers, ("supervisor", "switch"), role="network"),
    Check("provider network", check_host_pair, ("supervisor", "switch"), role="network"),
    Check("interfaces", check_interfaces, ("supervisor", "switch"), role="network"),
    Check("taps", check_taps, ("supervisor", "switch"), role="network"),
    Check("bindings", check_tags, ("supervisor", "switch"), role="network"),
    Check("FreeBSD", check_freebsd, ("supervisor", "switch"), role="network freebsd"),
    Check("libvirt", check_hypervisor, ("supervisor",), role="guests linux"),
    Check("APIs", check_apis, ("supervisor",), role="control"),
    Check("console proxies", check_consoles, ("supervisor",), role="control"),
    Check("token", check_token, ("supervisor",), role="control"),
    Check("user", check_user, ("supervisor", "identity"), role="control"),
    Check("images", check_images, ("supervisor", "image"), role="control"),
    Check("compute host", check_resource_provider, ("supervisor", "compute", "placement"), role="guests"),
    Check("agents", check_agents, ("supervisor", "compute", "network"), role="control"),
    Check("guests", check_guests, ("supervisor", "compute", "hypervisor"), role="guests linux"),
    Check("instances", check_instances, ("supervisor", "compute"), role="control"),
    Check("ports of networks", check_bindings, ("supervisor", "compute", "network"), role="control"),
    Check("DHCP", check_dhcp, ("supervisor", "network"), role="control network"),
    Check("leftovers", check_leftovers, ("supervisor", "network", "switch"), role="control network"),
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
    roles = {"network": host.has_network, "guests": host.has_guests, "control": host.has_control}
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
        found.append(_without_secrets(_bad(check.what, seen, remedy), view.site))
    return found


def _without_secrets(finding: Finding, site: Site) -> Finding:
    """Return a finding that quotes no password: logs and refusals of servers may."""
    seen = " ".join(finding.seen.split())
    urls = (site.description.database.url, site.description.messaging.url)
    passwords = re.findall(r"//[^/@\s]*:([^/@\s]+)@", " ".join(filter(None, urls)))
    for secret in sorted([*site.secrets.values(), *passwords], key=len, reverse=True):
        seen = seen.replace(secret, "[hidden]")
    return Finding(finding.what, finding.ok, seen, finding.remedy)
