"""What the checks look at, gathered as they need it, and how commands are said to the user."""

from __future__ import annotations

import contextlib
import json
import re
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from beastack.freebsd.command import CommandError, run
from beastack.site import clients, data_services, resources, services
from beastack.site import host as hosts
from beastack.site.api import Cloud, CloudError
from beastack.site.configuration import Site
from beastack.site.doctor.answers import GUEST_OFF, GUEST_RUNNING, Object, rows_of, states_of
from beastack.site.doctor.fact import Fact
from beastack.site.doctor.host import WORDS, Link, Process, Words, descendants, read_process
from beastack.site.host import freebsd_look, ovs
from beastack.site.resources import COMPUTE_API, HostsUp
from beastack.site.steps import Steps
from beastack.supervisor import process
from beastack.supervisor.client import SupervisorError

#: Seconds that an API may take to answer a question of ours.
API_TIMEOUT = 10.0
#: How neutron and nova name the tap of a port: its id's first eleven characters.
TAP_NAME = re.compile(r"tap[0-9a-f]{8}-[0-9a-f]{2}$")

_NAMESPACES = Path("/run/netns")


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
        driver = "bhyve" if self.site.is_freebsd else "qemu"
        return f"{driver}+unix:///system?socket={self.site.libvirt_socket}"

    @property
    def again(self) -> str:
        """The commands that stop the cloud and start it."""
        return f"{self.command('down')}; {self.command('up')}"

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

    @Fact
    def supervisor(self) -> tuple[bool, str]:
        """Whether the supervisor answers, and else what was seen."""
        try:
            self.steps.supervisor.ask("status")
        except SupervisorError as error:
            return False, str(error)
        return True, "it answers"

    @Fact
    def services(self) -> dict[str, Object]:
        """The supervisor's view of each service."""
        return self.steps.supervisor.services()

    @Fact
    def database(self) -> tuple[bool, str]:
        """Whether the database server answers."""
        return data_services.database_answers(self.site)

    @Fact
    def messaging(self) -> tuple[bool, str]:
        """Whether the message broker answers."""
        return data_services.messaging_answers(self.site)

    @Fact
    def switch(self) -> tuple[bool, str]:
        """Whether the switch's database answers."""
        return ovs.database_answers(self.site)

    @Fact
    def apis(self) -> dict[str, tuple[bool, str]]:
        """Whether each API answers HTTP, by its service's name."""
        units = [unit for unit in services.UNITS if unit.wsgi]
        with ThreadPoolExecutor(len(units)) as pool:
            answers = pool.map(self.steps.http_answers, units)
            return dict(zip((unit.name for unit in units), answers, strict=True))

    @Fact
    def admin(self) -> Cloud:
        """The cloud as its administrator sees it, with little patience."""
        cloud = self.steps.admin()
        cloud.timeout = API_TIMEOUT
        return cloud

    @Fact
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

    @Fact
    def processes(self) -> list[Process]:
        """All processes of this host (proc(5))."""
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                with contextlib.suppress(OSError, ValueError, IndexError):
                    found.append(read_process(entry))
        return found

    @Fact
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

    @Fact
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

    @Fact
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

    @Fact
    def bridges(self) -> dict[str, Object]:
        """The switch's bridges, by name."""
        return {row["name"]: row for row in self.table("Bridge", "name", "datapath_type")}

    @Fact
    def interfaces(self) -> dict[str, Object]:
        """The switch's interfaces, by name."""
        columns = ("name", "type", "error", "external_ids", "ofport")
        return {row["name"]: row for row in self.table("Interface", *columns)}

    @Fact
    def integration_ports(self) -> list[str]:
        """The ports of the bridge that guests and DHCP hang on."""
        return ovs.vsctl(self.site, "list-ports", ovs.bridges(self.site)[0], timeout=5).split()

    @Fact
    def hypervisor(self) -> tuple[bool, str]:
        """Whether libvirt answers: with the list of guests, so that it is asked once."""
        try:
            count = len(self.guests)
        except CommandError as error:
            return False, str(error)
        return True, f"{count} guest{'' if count == 1 else 's'}"

    @Fact
    def guests(self) -> dict[str, int]:
        """The state of each guest that libvirt knows, by name (see GUEST_STATES)."""
        virsh = ["virsh", "--connect", self.libvirt_uri, "--quiet"]
        if self.site.is_freebsd:
            # Its driver for bhyve tells of all guests no other way, and knows no states but these.
            names = run([*virsh, "list", "--all", "--name"], timeout=API_TIMEOUT).stdout.split()
            running = run([*virsh, "list", "--state-running", "--name"], timeout=API_TIMEOUT).stdout.split()
            return {name: GUEST_RUNNING if name in running else GUEST_OFF for name in names}
        return states_of(run([*virsh, "domstats", "--state", "--raw"], timeout=API_TIMEOUT).stdout)

    # The cloud

    @Fact
    def hosts(self) -> HostsUp:
        """Nova's services and neutron's agents."""
        return resources.hosts_up(self.admin)

    @Fact
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

    @Fact
    def ports(self) -> list[Object]:
        """All ports."""
        return self.admin.items("network", "/ports", "ports")

    @Fact
    def networks(self) -> dict[str, Object]:
        """All networks, by id."""
        return {one["id"]: one for one in self.admin.items("network", "/networks", "networks")}

    @Fact
    def subnets(self) -> list[Object]:
        """All subnets."""
        return self.admin.items("network", "/subnets", "subnets")

    def on_this_host(self, server: Object) -> bool:
        """Return whether an instance belongs to this host."""
        return bool(server.get("OS-EXT-SRV-ATTR:host") == self.site.hostname)
