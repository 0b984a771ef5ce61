"""The steps of ``up``: for each, is it true already, and how to make it true."""

from __future__ import annotations

import grp
import hashlib
import http.client
import ipaddress
import os
import pwd
import secrets as random_source
import socket
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from beastack.freebsd.command import CommandError, run
from beastack.site import (
    clients,
    code,
    configuration,
    data_services,
    guest_image,
    joining,
    other_hosts,
    release,
    resources,
    restore,
    services,
)
from beastack.site import host as hosts
from beastack.site.api import Cloud
from beastack.site.configuration import Site
from beastack.site.description import Description
from beastack.site.execute import Action
from beastack.site.host import freebsd, freebsd_kernel, freebsd_volumes, linux_hypervisor
from beastack.site.layout import Layout
from beastack.site.wait import WaitTimeout, wait_until
from beastack.supervisor.client import Client
from beastack.supervisor.logs import last_lines
from beastack.supervisor.spec import Service

Progress = Callable[[str], None]

IMAGE_NAME = "beastack-guest"
FLAVORS = (("m1.tiny", 1, 256, 1), ("m1.small", 1, 512, 5), ("m1.medium", 2, 2048, 20))
KEY_NAME = "beastack"

#: What the projects' APIs call a host's services, and what the supervisor does.
HOST_SERVICES = {
    "nova-compute": "nova-compute",
    "neutron-openvswitch-agent": "neutron-ovs-agent",
    "neutron-dhcp-agent": "neutron-dhcp-agent",
    "neutron-metadata-agent": "neutron-metadata-agent",
}

#: Users that run something beside the OpenStack services.
OTHER_USERS = ("mariadb", "rabbitmq")
GUEST_USERS = ("qemu",)

#: Groups of FreeBSD hosts, and which services are in them: who may talk to the switch, to libvirt, to the console
#: daemon, and read guests' disks.
SWITCH_GROUP = "switch"
GROUPS = {
    SWITCH_GROUP: ("neutron-ovs-agent", "neutron-dhcp-agent", "nova-compute"),
    "libvirt": ("nova-compute",),
    "console": ("nova-compute",),
}


class StepError(Exception):
    """A step cannot be carried out; one line says why and what to do."""


def user_names_of(layout: Layout, description: Description) -> list[str]:
    """Return every user of a site."""
    units = [unit.name for unit in services.units(description) if not unit.root]
    names = [layout.user(name) for name in (*units, *(OTHER_USERS if description.host.has_control else ()))]
    names += [layout.user(group) for group in groups_of(description)]
    if not description.host.has_guests or description.host.kind == "freebsd":
        return names
    # libvirt looks its compiled-in user up before it reads which one to use instead.
    return [*names, *(layout.user(name) for name in GUEST_USERS), linux_hypervisor.COMPILED_IN_USER]


def has_switch_group(description: Description) -> bool:
    """Return whether the switch's sockets are for a group: where its agents are not root."""
    return description.host.kind == "freebsd" and description.host.has_switch


def groups_of(description: Description) -> list[str]:
    """Return which of the groups a host has."""
    if not has_switch_group(description):
        return []
    return [group for group in GROUPS if group == SWITCH_GROUP or description.host.has_guests]


class Steps:
    """What the steps do, on one site."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.layout = site.layout
        self.host = hosts.module(site.description.host.kind)
        self.switch = hosts.switch(site.description.host.kind)
        self.hypervisor = hosts.hypervisor(site.description.host.kind)
        self.supervisor = Client(site.layout.root)

    def actions(self) -> dict[str, Action]:
        """Return the action of each step by its name."""
        return {
            "packages": Action(lambda: not self.missing_packages(), self.install_packages),
            "environment": Action(lambda: release.is_installed(self.layout), self.install_release),
            "users": Action(lambda: not self.missing_users() and self.has_members(), self.make_users),
            "files": Action(lambda: False, self.write_files, verify=False),
            "console-pages": Action(
                lambda: (self.layout.data("novnc") / "vnc_lite.html").exists(), self.fetch_console_pages
            ),
            "supervisor": Action(lambda: False, self.start_supervisor, verify=False),
            "preload": Action(self.is_preloaded, self.preload, verify=False),
            "kernel": Action(
                lambda: not freebsd_kernel.changes(self.site.description),
                lambda progress: freebsd_kernel.prepare(self.layout, self.site.description),
            ),
            "switch": Action(lambda: False, self.start_switch, verify=False),
            "hypervisor": Action(
                lambda: (
                    self.all_running(*self.hypervisor_services()) and self.hypervisor.answers(self.site)[0]
                    and freebsd_volumes.is_prepared(self.site)
                ),
                self.start_hypervisor,
            ),
            "database": Action(self.is_database_up, self.start_database),
            "databases": Action(
                self.is_schema_done("databases"), self.schema("databases", self.make_databases)
            ),
            "messaging": Action(self.is_messaging_up, self.start_messaging),
            "schema-keystone": Action(
                self.is_schema_done("keystone"), self.schema("keystone", self.set_up_keystone)
            ),
            "schema-glance": Action(self.is_schema_done("glance"), self.schema("glance", self.set_up_glance)),
            "schema-placement": Action(
                self.is_schema_done("placement"), self.schema("placement", self.set_up_placement)
            ),
            "schema-nova": Action(self.is_schema_done("nova"), self.schema("nova", self.set_up_nova)),
            "schema-neutron": Action(self.is_schema_done("neutron"), self.schema("neutron", self.set_up_neutron)),
            "identity": Action(self.is_serving("keystone"), self.serve("keystone")),
            "catalog": Action(lambda: False, self.make_catalog, verify=False),
            "image-service": Action(self.is_serving("glance"), self.serve("glance")),
            "placement-service": Action(self.is_serving("placement"), self.serve("placement")),
            "network-service": Action(
                self.is_serving("neutron-api", "neutron-rpc", "neutron-periodic"), self.start_network_service
            ),
            "compute-service": Action(
                self.is_serving("nova-api", "nova-metadata", "nova-conductor", "nova-scheduler",
                                "nova-novncproxy", "nova-serialproxy"),
                self.start_compute_service,
            ),
            "agents": Action(self.is_serving(*services.NETWORK_AGENTS), self.start_agents),
            "compute": Action(self.is_serving("nova-compute"), self.start_compute),
            "first-image": Action(lambda: False, self.build_image, verify=False),
            "image": self.once("image", guest_image.recipe_hash(), self.upload_image),
            "flavors": self.once("flavors", repr(FLAVORS), self.make_flavors),
            "networks": self.once("networks", repr(self.site.description.network), self.make_networks),
            "hosts": Action(lambda: False, self.await_hosts, verify=False),
            "clients": Action(lambda: clients.are_written(self.site), self.write_clients),
            "instance": self.once("instance", "", self.boot_instance),
        }  # fmt: skip

    # Installing

    def install_packages(self, progress: Progress) -> None:
        self.host.install_packages(self.layout, self.missing_packages(), progress)

    def missing_packages(self) -> list[str]:
        """Return which of the packages that the site needs are not installed."""
        missing: list[str] = self.host.missing_packages(self.host.packages(self.site.description))
        return missing

    def install_release(self, progress: Progress) -> None:
        # There are no wheels for FreeBSD: what has compiled parts is the packages' there.
        without = release.split() if self.site.description.host.kind == "freebsd" else None
        release.install(self.layout, self.site.facts.python, progress, without=without)

    def missing_users(self) -> list[str]:
        """Return which of the site's users do not exist yet."""
        missing: list[str] = self.host.missing_users(user_names_of(self.layout, self.site.description))
        return missing

    def has_members(self) -> bool:
        """Return whether those who may talk to the switch can."""
        return all(
            self.layout.user(client) in grp.getgrnam(self.layout.user(group)).gr_mem for group, client in self.members()
        )

    def members(self) -> list[tuple[str, str]]:
        """Return pairs of a group and a service whose user is in it."""
        ours = {unit.name for unit in services.units(self.site.description)}
        return [
            (group, client)
            for group in groups_of(self.site.description)
            for client in GROUPS[group]
            if client in ours
        ]

    def make_users(self, progress: Progress) -> None:
        for name in self.missing_users():
            progress(f"user {name}")
            self.host.add_user(self.layout, name)
        for group, client in self.members():
            self.host.add_to_group(self.layout.user(group), self.layout.user(client))

    def fetch_console_pages(self, progress: Progress) -> None:
        if self.site.description.host.kind == "freebsd":
            freebsd.console_pages(self.layout)
        else:
            release.novnc_pages(self.layout, self.layout.root / "cache" / "novnc")

    # Files

    def write_files(self, progress: Progress) -> None:
        layout = self.layout
        for directory, mode in ((layout.root, 0o711), (layout.root / "etc", 0o711), (layout.run(), 0o711),
                                (layout.root / "log", 0o755), (layout.root / "data", 0o711),
                                (layout.root / "cache", 0o700)):  # fmt: skip
            directory.mkdir(exist_ok=True)
            directory.chmod(mode)
        restore.put_in_place(self.site, progress)
        code.install(layout)
        for unit in services.units(self.site.description):
            owner = None if unit.root else layout.user(unit.name)
            self._directory(layout.etc(unit.name), None, owner, 0o750)
            self._directory(layout.run(unit.name), owner, owner, 0o750)
            for name, text in configuration.render_files(self.site, unit.name).items():
                self._file(layout.etc(unit.name) / name, text, owner)
        if self.site.description.host.has_switch:
            self._network_directories()
        if self.site.description.host.has_guests and self.site.description.host.kind == "freebsd":
            compute = layout.user("nova-compute")
            self._directory(layout.data("nova"), compute, compute, 0o751)
            self._directory(layout.data("nova") / "instances", compute, compute, 0o750)
            self._directory(layout.data("console"), layout.user("console"), layout.user("console"), 0o2750)
            self._certificate_files(compute)
        elif self.site.description.host.has_guests:
            self._directory(layout.data("nova"), None, layout.user("qemu"), 0o710)
            self._directory(layout.data("nova") / "instances", None, layout.user("qemu"), 0o710)
        for unit in services.units(self.site.description):
            if unit.parent == "neutron" and not unit.root:
                self._directory(layout.data("neutron"), None, None, 0o755)
        if self.site.description.host.has_control:
            self._control_files()

    def _certificate_files(self, user: str) -> None:
        migration, directory = self.site.migration, self.site.certificates
        if migration.authority is None or migration.certificate is None or migration.key is None:
            return
        self._directory(directory, None, user, 0o750)
        for name, text in (
            ("authority", migration.authority), ("certificate", migration.certificate), ("key", migration.key),
        ):  # fmt: skip
            self._file(directory / f"{name}.pem", text, user)

    def _network_directories(self) -> None:
        layout, ours = self.layout, {unit.name for unit in services.units(self.site.description)}
        if not has_switch_group(self.site.description):
            self._directory(layout.run("openvswitch"), None, None, 0o755)
            self._directory(layout.run("neutron-metadata-agent"), None, None, 0o755)
            return
        # Whoever reaches the sockets in it commands the switch; they take the directory's group.
        self._directory(layout.run("openvswitch"), None, layout.user(SWITCH_GROUP), 0o2750)
        for name in configuration.NEUTRON_AGENTS:
            if name in ours:
                self._directory(layout.data(name), layout.user(name), layout.user(name), 0o750)
        if "neutron-metadata-agent" in ours:
            # Who reaches its socket can ask in any instance's name: haproxy, which is the DHCP agent's, has to.
            self._directory(layout.run("neutron-metadata-agent"), layout.user("neutron-metadata-agent"),
                            layout.user("neutron-dhcp-agent"), 0o2750)  # fmt: skip

    def _control_files(self) -> None:
        layout = self.layout
        for name in ("keystone", "glance"):
            user = layout.user(name)
            self._directory(layout.data(name), user, user, 0o750)
        for name in ("images", "staging", "tasks"):
            self._directory(layout.data("glance") / name, layout.user("glance"), layout.user("glance"), 0o750)
        for name in ("mariadb", "rabbitmq"):
            user = layout.user(name)
            self._directory(layout.etc(name), None, user, 0o750)
            self._directory(layout.run(name), user, user, 0o755)
            self._directory(layout.data(name), user, user, 0o750)
        if self.site.description.database.url is None:
            text = data_services.mariadb_configuration(self.site)
            self._file(layout.etc("mariadb") / "my.cnf", text, layout.user("mariadb"))
        else:
            text = data_services.client_configuration(self.site.description.database.url)
            self._file(layout.etc("mariadb") / "client.cnf", text, None, 0o600)
        self._file(layout.etc("rabbitmq") / "rabbitmq.conf", data_services.rabbitmq_configuration(self.site),
                   layout.user("rabbitmq"))  # fmt: skip
        self._file(layout.etc("rabbitmq") / "enabled_plugins", "[].\n", layout.user("rabbitmq"))
        cookie = layout.data("rabbitmq") / ".erlang.cookie"
        if not cookie.exists() or cookie.read_text() != self.site.secrets["erlang-cookie"]:
            self._file(cookie, self.site.secrets["erlang-cookie"], layout.user("rabbitmq"), 0o400, own=True)

    def _directory(self, path: Path, owner: str | None, group: str | None, mode: int) -> None:
        path.mkdir(parents=True, exist_ok=True)
        os.chown(path, _uid(owner), _gid(group))
        path.chmod(mode)

    def _file(self, path: Path, text: str, group: str | None, mode: int = 0o640, *, own: bool = False) -> None:
        temporary = path.with_name(f".{path.name}.new")
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as stream:
            stream.write(text)
        os.chown(temporary, _uid(group) if own else 0, _gid(group))
        temporary.chmod(mode)
        temporary.replace(path)

    # Processes

    def all_services(self) -> list[Service]:
        """Return the spec of every process of the site."""
        programs = self.host.programs()
        specs: list[Service] = []
        host = self.site.description.host
        if host.has_control and self.site.description.database.url is None:
            specs.append(data_services.mariadb_service(self.site, programs))
        if host.has_control and self.site.description.messaging.url is None:
            specs += data_services.rabbitmq_services(self.site, programs)
        if host.has_switch:
            specs += self.switch.services(self.site)
        if host.has_guests:
            specs.append(self.hypervisor.service(self.site))
        if services.has_console_daemon(self.site.description):
            specs.append(services.console_service(self.site))
        if self.site.migration.is_set:
            specs.append(services.transfer_service(self.site))
        return specs + services.openstack_services(self.site)

    def start_supervisor(self, progress: Progress) -> None:
        if self.supervisor.running() and self.supervisor.ask("status").get("code") != code.digest():
            progress("replacing the supervisor: its code changed")
            # What it runs goes on, and the new one adopts it.
            self.supervisor.leave()
        if not self.supervisor.running():
            logs = self.site.description.logs
            environment = services.tool_environment(self.site)
            self.supervisor.start_supervisor(self.site.facts.python, environment, logs.max_bytes, logs.keep)
        self.supervisor.define(self.all_services(), services.parents(self.site), services.helpers(self.site))

    def is_preloaded(self) -> bool:
        """Return whether everything runs already: then there is nothing to load for."""
        running = self.supervisor.services()
        return all(running[spec.name]["state"] == "running" for spec in services.openstack_services(self.site))

    def preload(self, progress: Progress) -> None:
        """Begin to import; who needs a parent waits for it."""
        release.link_system_modules(self.layout)
        if self.site.description.host.kind == "freebsd":
            freebsd.link_modules(self.layout, self.site.description)
        release.make_known(self.layout)
        self.supervisor.ask("preload", names=[parent.name for parent in services.parents(self.site)])

    def all_running(self, *names: str) -> bool:
        running = self.supervisor.services()
        return all(running.get(name, {}).get("state") == "running" for name in names)

    def start(self, *names: str) -> None:
        self.supervisor.ask("start", names=list(names))

    def await_answer(self, name: str, condition: Callable[[], tuple[bool, str]], what: str, timeout: float) -> None:
        """Wait for a condition, but not on after the service that should bring it about keeps ending."""

        def asked() -> tuple[bool, str]:
            holds, seen = condition()
            if not holds:
                state = self.supervisor.services()[name]
                if state["failures"] >= 3:
                    words = [line.strip() for line in last_lines(Path(state["log"]), 20) if line.strip()][-1:]
                    last = f": {words[0]}" if words else ""
                    raise StepError(f"{name} keeps ending ({state['last_exit']}){last} (see {state['log']})")
                if state["state"] != "running":
                    seen = f"{name} is {state['state']}"
            return holds, seen

        wait_until(asked, what=what, timeout=timeout, interval=0.1)

    def start_switch(self, progress: Progress) -> None:
        self.switch.prepare_database(self.site)
        starting = not self.all_running("ovs-vswitchd")
        if starting:
            self.switch.remove_leftovers(self.site)
        self.start("ovsdb-server")
        self.await_answer(
            "ovsdb-server", lambda: self.switch.database_answers(self.site), "the switch's database to answer", 30
        )
        self.switch.initialize(self.site)
        if starting:
            self.switch.forget_controllers(self.site)
        self.start("ovs-vswitchd")
        self.switch.ensure_bridges(self.site)

    def start_hypervisor(self, progress: Progress) -> None:
        self.hypervisor.prepare(self.site)
        self.start(*self.hypervisor_services())
        self.await_answer("libvirtd", lambda: self.hypervisor.answers(self.site), "libvirt to answer", 90)
        for name in self.hypervisor_services():
            self.await_answer(name, lambda name=name: (self.all_running(name), "not yet"), f"{name} to run", 60)  # type: ignore[misc]

    def hypervisor_services(self) -> list[str]:
        """Return the names of what runs guests beside nova-compute."""
        return [
            "libvirtd", *(["console"] if services.has_console_daemon(self.site.description) else ()),
            *(["transfer"] if self.site.migration.is_set else ()),
        ]  # fmt: skip

    def is_database_up(self) -> bool:
        private = self.site.description.database.url is None
        return (not private or self.all_running("mariadb")) and data_services.database_answers(self.site)[0]

    def start_database(self, progress: Progress) -> None:
        if self.site.description.database.url is not None:
            _, seen = data_services.database_answers(self.site)
            url = self.site.description.database.masked_url
            raise StepError(f"the database at {url} cannot be used: {seen} (correct database.url in site.toml)")
        if not data_services.mariadb_initialized(self.site):
            progress("making its data directory")
            data_services.initialize_mariadb(self.site, self.host.programs())
        self.start("mariadb")
        self.await_answer("mariadb", lambda: data_services.database_answers(self.site), "MariaDB to answer", 120)

    def make_databases(self, progress: Progress) -> None:
        data_services.ensure_databases(self.site)
        restore.load_databases(self.site, progress)

    def is_messaging_up(self) -> bool:
        private = self.site.description.messaging.url is None
        return (not private or self.all_running("rabbitmq")) and data_services.messaging_answers(self.site)[0]

    def start_messaging(self, progress: Progress) -> None:
        if self.site.description.messaging.url is not None:
            self.reach_broker()
            return
        new = not self.all_running("rabbitmq") and data_services.forget_other_broker(self.site)
        # A broker that finds no port mapper starts one of its own, which would take the port.
        self.start("epmd")
        self.await_answer("epmd", lambda: data_services.epmd_answers(self.site), "Erlang's port mapper to listen", 60)
        self.start("rabbitmq")
        self.await_answer("rabbitmq", lambda: data_services.messaging_answers(self.site), "RabbitMQ to answer", 120)
        if new:
            other_hosts.give_broker_users(self.site)

    def reach_broker(self) -> None:
        """Wait for a broker that is not the site's own.

        :raises StepError: it is not reached
        """
        # The switch may just have taken this host's address over: others go on sending to where it was for a while.
        patience = 0.0 if self.site.description.network.underlay is None else 60.0
        try:
            wait_until(
                lambda: data_services.messaging_answers(self.site), what="the broker", timeout=patience, interval=1.0
            )
        except WaitTimeout as error:
            url = self.site.description.messaging.masked_url
            raise StepError(
                f"the messaging server at {url} cannot be used: {error.last_seen} (correct messaging.url in site.toml)"
            ) from error

    # What is done once

    def once(self, name: str, version: str, work: Callable[[Progress], None]) -> Action:
        """Return an action that is done once for each version of it.

        Its outcome belongs to the user from then on: who deletes the first
        instance or renames a network does not get it back by ``up``.
        """
        marker = self.layout.data("first") / name
        wanted = hashlib.sha256(version.encode()).hexdigest()

        def apply(progress: Progress) -> None:
            work(progress)
            marker.parent.mkdir(exist_ok=True)
            marker.write_text(wanted)

        return Action(lambda: marker.exists() and marker.read_text() == wanted, apply)

    # Databases

    def is_schema_done(self, name: str) -> Callable[[], bool]:
        marker = self.layout.data("schema") / name
        return lambda: marker.exists() and marker.read_text() == self.schema_version(name)

    def schema_version(self, name: str) -> str:
        """Return a short hash of the release, and of what else stands in a database that is not its users' own."""
        inside = {
            "databases": [self.site.secrets[f"db-{owner}"] for owner in configuration.DATABASES],
            "keystone": [self.site.secrets["admin"]],
            "nova": [self.site.transport_url, *self.site.cell_databases.values()],
        }
        return hashlib.sha256("\n".join([release.digest(), *inside.get(name, [])]).encode()).hexdigest()[:16]

    def schema(self, name: str, work: Callable[[Progress], None]) -> Callable[[Progress], None]:
        """Return an action that does the work, then notes for which release it was done."""
        marker = self.layout.data("schema") / name
        begun = self.layout.data("schema") / f"{name}.begun"

        def apply(progress: Progress) -> None:
            marker.parent.mkdir(exist_ok=True)
            if begun.exists() and not marker.exists():
                self.await_tasks(name)
                if name in configuration.DATABASES and self.site.description.database.url is None:
                    progress("starting over: the first attempt was cut short")
                    data_services.empty_databases(self.site, name)
            begun.touch()
            work(progress)
            marker.write_text(self.schema_version(name))
            begun.unlink(missing_ok=True)

        return apply

    def await_tasks(self, project: str) -> None:
        """Wait for the end of a project's tasks that an ``up`` which was killed left running."""

        def ended() -> tuple[bool, str]:
            running = [name for name in self.supervisor.ask("status")["tasks"] if name.startswith(f"task-{project}-")]
            return not running, "still running: " + ", ".join(running)

        wait_until(ended, what="what an interrupted up began to end", timeout=300)

    def task(self, name: str, service: str, target: str, *argv: str, **env: str) -> None:
        """Run one of upstream's management commands to its end."""
        parent = service.partition("-")[0]
        self.supervisor.run_task(services.task(self.site, name, service, parent, target, argv, env), timeout=300)

    def set_up_keystone(self, progress: Progress) -> None:
        manage = "keystone.cmd.manage:main"
        user = self.layout.user("keystone")
        self.task("keystone-db-sync", "keystone", manage, "db_sync")
        for what in ("fernet_setup", "credential_setup"):
            progress(what)
            self.task(f"keystone-{what}", "keystone", manage, what, "--keystone-user", user, "--keystone-group", user)
        progress("bootstrap")
        self.task(
            "keystone-bootstrap", "keystone", manage, "bootstrap",
            "--bootstrap-region-id", self.site.description.site.region,
            *(f"--bootstrap-{interface}-url={self.site.auth_url}" for interface in ("admin", "internal", "public")),
            OS_BOOTSTRAP_PASSWORD=self.site.secrets["admin"],
        )  # fmt: skip

    def set_up_glance(self, progress: Progress) -> None:
        manage = "glance.cmd.manage:main"
        self.task("glance-db-sync", "glance", manage, "db_sync")
        progress("metadata definitions")
        # What properties of images and flavors mean. Merged: one that was killed is completed, and what is there stays.
        definitions = self.layout.venv / "etc/glance/metadefs"
        self.task("glance-metadefs", "glance", manage, "db", "load_metadefs", "--path", str(definitions), "--merge")

    def set_up_placement(self, progress: Progress) -> None:
        self.task("placement-db-sync", "placement", "placement.cmd.manage:main", "db", "sync")
        self.task("placement-online-migrations", "placement", "placement.cmd.manage:main", "db",
                  "online_data_migrations")  # fmt: skip

    def set_up_nova(self, progress: Progress) -> None:
        manage = "nova.cmd.manage:main"
        self.task("nova-api-db-sync", "nova-conductor", manage, "api_db", "sync")
        self.task("nova-map-cell0", "nova-conductor", manage, "cell_v2", "map_cell0")
        progress("the cell's database")
        self.task("nova-db-sync", "nova-conductor", manage, "db", "sync")
        if not self._has_cell():
            self.task("nova-create-cell", "nova-conductor", manage, "cell_v2", "create_cell", "--name", "cell1")
        # They hold passwords, which upstream's command would take from its command line.
        data_services.set_cells(self.site)
        progress("online migrations")
        self.task("nova-online-migrations", "nova-conductor", manage, "db", "online_data_migrations")

    def _has_cell(self) -> bool:
        listing = data_services.sql(self.site, "SELECT COUNT(*) FROM nova_api.cell_mappings WHERE name = 'cell1';")
        return listing.strip() != "0"

    def set_up_neutron(self, progress: Progress) -> None:
        self.task("neutron-db-sync", "neutron-rpc", "neutron.db.migration.cli:main", "upgrade", "heads")

    # OpenStack's services

    def processes(self, *units: str) -> list[str]:
        """Return the process names of units."""
        return [name for unit in self.named(units) for name in services.workers(self.site, unit)]

    def named(self, names: Sequence[str]) -> list[services.Unit]:
        """Return this host's units of these names."""
        return [unit for unit in services.units(self.site.description) if unit.name in names]

    def is_serving(self, *units: str) -> Callable[[], bool]:
        def check() -> bool:
            if not self.all_running(*self.processes(*units)):
                return False
            return all(
                self.http_answers(unit)[0]
                for unit in services.units(self.site.description)
                if unit.name in units and unit.wsgi
            )

        return check

    def http_answers(self, unit: services.Unit) -> tuple[bool, str]:
        """Return whether a unit's API answers HTTP without a server error, and else what was seen."""
        connection = http.client.HTTPConnection(self.site.address, getattr(self.site.ports, unit.port), timeout=10)
        try:
            connection.request("GET", "/", headers={"Connection": "close"})
            status = connection.getresponse().status
        except OSError as error:
            return False, error.strerror or str(error)
        except http.client.HTTPException as error:
            return False, repr(error)
        finally:
            connection.close()
        return status < 500, f"HTTP {status}"

    def serve(self, *units: str) -> Callable[[Progress], None]:
        """Return an action that starts units and waits until their APIs answer."""

        def apply(progress: Progress) -> None:
            names = self.processes(*units)
            self.start(*names)
            for unit in self.named(units):
                if unit.wsgi:
                    first = services.workers(self.site, unit)[0]
                    self.await_answer(first, lambda unit=unit: self.http_answers(unit), f"{unit.name} to answer", 120)  # type: ignore[misc]
            for name in names:
                self.await_answer(name, lambda name=name: (self.all_running(name), "not yet"), f"{name} to run", 120)  # type: ignore[misc]

        return apply

    def await_readers(self, *queues: str) -> None:
        """Wait until message queues have readers.

        :raises StepError: not within two minutes
        """
        environment = {**services.tool_environment(self.site), "BEASTACK_TRANSPORT_URL": self.site.transport_url}
        argv = [str(self.layout.python), "-m", "beastack.port.oslo.await_queues", "120", *queues]
        try:
            run(argv, timeout=130, env=environment)
        except CommandError as error:
            raise StepError(f"a service does not read its message queue: {error}") from error

    def start_network_service(self, progress: Progress) -> None:
        self.serve("neutron-api", "neutron-rpc", "neutron-periodic")(progress)

    def start_compute_service(self, progress: Progress) -> None:
        self.serve("nova-api", "nova-metadata", "nova-conductor", "nova-scheduler", "nova-novncproxy",
                   "nova-serialproxy")(progress)  # fmt: skip

    def start_agents(self, progress: Progress) -> None:
        progress("waiting for Neutron to read its queues")
        self.await_readers("q-plugin", "q-reports-plugin")
        self.start(*self.processes(*services.NETWORK_AGENTS))
        self.serve(*services.NETWORK_AGENTS)(progress)
        if self.site.description.host.has_control:
            progress("waiting for the agents to report")
            self.await_reports(*self.host_binaries())

    def host_binaries(self) -> list[str]:
        """Return what the projects' APIs call this host's own services."""
        ours = {unit.name for unit in services.units(self.site.description)}
        return [binary for binary, name in HOST_SERVICES.items() if name in ours and name != "nova-compute"]

    def await_reports(self, *binaries: str) -> None:
        """Wait until services of this host have reported to their project's API since they started."""
        cloud, host = self.as_seen_here(), self.site.hostname
        running = self.supervisor.services()
        started = {
            binary: time.strftime(
                "%Y-%m-%d %H:%M:%S", time.gmtime(time.time() - running[HOST_SERVICES[binary]]["seconds"])
            )
            for binary in binaries
        }

        # The other project's API may not be there yet.
        projects = {"compute" if binary.startswith("nova-") else "network" for binary in binaries}

        def up() -> tuple[bool, str]:
            hosts = resources.hosts_up(cloud, projects=projects)
            missing = [binary for binary in binaries if hosts.missing([(host, binary)], started[binary])]
            return not missing, "not yet up: " + ", ".join(missing)

        wait_until(up, what="the host's services to report", timeout=120, interval=0.3)

    def start_compute(self, progress: Progress) -> None:
        progress("waiting for Nova to read its queues")
        self.await_readers("conductor", "scheduler")
        self.serve("nova-compute")(progress)
        progress("waiting for nova-compute to take requests")
        # It looks at the instances it had before it takes requests; one made earlier it would call failed.
        self.await_readers(f"compute.{self.site.hostname}")

    # The cloud's own things

    def admin(self) -> Cloud:
        """Return the cloud as its administrator sees it."""
        return Cloud(self.site.auth_url, "admin", self.site.secrets["admin"], "admin",
                     region=self.site.description.site.region)  # fmt: skip

    def as_seen_here(self) -> Cloud:
        """Return the cloud as this host's own services see it where its administrator is not known."""
        return self.admin() if self.site.description.host.has_control else joining.service_cloud(self.site)

    def demo(self) -> Cloud:
        """Return the cloud as the first ordinary user sees it."""
        return self.admin().as_user("demo", self.site.secrets["demo"], "demo")

    def make_catalog(self, progress: Progress) -> None:
        ports, base = self.site.ports, f"http://{self.site.url_host}"
        cloud = self.admin()
        wanted = [
            resources.CatalogService("glance", "image", "Images", f"{base}:{ports.image}"),
            resources.CatalogService("placement", "placement", "Placement", f"{base}:{ports.placement}"),
            resources.CatalogService("neutron", "network", "Networks", f"{base}:{ports.network}"),
            resources.CatalogService("nova", "compute", "Instances", f"{base}:{ports.compute}/v2.1"),
            resources.CatalogService("keystone", "identity", "Identity", self.site.auth_url),
        ]
        resources.ensure_catalog(cloud, wanted)
        for name in ("glance", "placement", "nova", "neutron"):
            progress(f"user {name}")
            resources.ensure_service_user(cloud, name, self.site.secrets[f"user-{name}"])
        project = resources.ensure_project(cloud, "demo", description="The first project")
        resources.ensure_user(cloud, "demo", self.site.secrets["demo"], project_id=project.id)

    def image_file(self) -> Path:
        """Return where the first image is built."""
        return self.layout.data("guest-image") / f"{IMAGE_NAME}.raw"

    def build_image(self, progress: Progress) -> None:
        if self.site.description.host.kind == "freebsd":
            # It is made of Linux by Linux's tools: whoever brings the packages brings it.
            if not self.image_file().exists():
                raise StepError(
                    f"there is no first image at {self.image_file()}: bring one, or set instance.boot = false"
                )
            return
        guest_image.build_guest_image(self.image_file(), self.layout.root / "cache", progress=progress)

    def upload_image(self, progress: Progress) -> None:
        image = guest_image.build_guest_image(self.image_file(), self.layout.root / "cache", progress=progress)
        resources.ensure_image(
            self.admin(),
            IMAGE_NAME,
            image.path,
            "raw",
            properties=self.image_properties(),
            sha256=image.sha256,
        )

    def image_properties(self) -> dict[str, str]:
        """Return what the first image asks of an instance's machine."""
        properties = {"hw_firmware_type": "uefi"}
        if self.site.description.host.kind == "linux":
            properties |= {"hw_cdrom_bus": "scsi", "hw_scsi_model": "virtio-scsi"}
        return properties

    def key_file(self) -> Path:
        """Return the private key of the site's key pair (0600)."""
        return self.layout.root / "id_ed25519"

    def make_flavors(self, progress: Progress) -> None:
        cloud = self.admin()
        for flavor in FLAVORS:
            resources.ensure_flavor(cloud, *flavor)
        key = self.key_file()
        if not key.exists():
            temporary = key.with_name(f"key-{random_source.token_hex(4)}")
            run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "beastack", "-f", str(temporary)])
            temporary.with_suffix(".pub").replace(key.with_suffix(".pub"))
            temporary.replace(key)
        public = key.with_suffix(".pub").read_text().strip()
        demo = self.demo()
        resources.ensure_keypair(demo, KEY_NAME, public)
        resources.ensure_security_group_rules(demo, demo.project_id)

    def make_networks(self, progress: Progress) -> None:
        cloud, network = self.admin(), self.site.description.network
        demo = self.demo().project_id
        private = resources.ensure_network(
            cloud, network.project_name, project_id=demo, network_type=network.project_type,
            physical_network="provider" if network.project_type == "vlan" else None,
            segmentation_id=None,
        )  # fmt: skip
        resources.ensure_subnet(
            cloud, private.id, f"{network.project_name}-v4", network.project_cidr,
            # No router yet: a gateway would only be an address that nobody has.
            gateway=None, dns=network.dns, project_id=demo,
        )  # fmt: skip
        if network.project_cidr_v6 is not None:
            resources.ensure_subnet(
                cloud, private.id, f"{network.project_name}-v6", network.project_cidr_v6, gateway=None,
                ip_version=6, ipv6_ra_mode=None, ipv6_address_mode="dhcpv6-stateful", project_id=demo,
            )  # fmt: skip
        provider = resources.ensure_network(
            cloud, network.provider_name, network_type="flat", physical_network="provider", shared=True,
        )  # fmt: skip
        addresses = ipaddress.ip_network(network.provider_cidr)
        resources.ensure_subnet(
            cloud, provider.id, f"{network.provider_name}-v4", network.provider_cidr, gateway=str(addresses[1]),
            dns=network.dns, allocation_pool=(str(addresses[2]), str(addresses[-2])),
        )  # fmt: skip
        if "neutron-dhcp-agent" in self.host_binaries():
            for made in (private, provider):
                resources.ensure_dhcp_agent(cloud, made.id)

    def await_hosts(self, progress: Progress) -> None:
        if not self.site.description.host.has_control:
            self.await_reports(*self.host_binaries(), "nova-compute")
            return
        cloud, host = self.admin(), self.site.hostname
        self.await_reports(*self.host_binaries())
        if self.site.description.host.has_guests:
            self.await_reports("nova-compute")
            self.task("nova-discover-hosts", "nova-conductor", "nova.cmd.manage:main", "cell_v2", "discover_hosts")

        def dhcp_serves() -> tuple[bool, str]:
            waiting = networks_without_dhcp(cloud, host)
            return not waiting, "not yet: " + ", ".join(waiting)

        wait_until(dhcp_serves, what="DHCP to serve the networks", timeout=120, interval=0.3)

    def write_clients(self, progress: Progress) -> None:
        clients.write(self.site, self.layout.records)

    # The first instance

    def boot_instance(self, progress: Progress) -> None:
        demo = self.demo()
        description = self.site.description
        flavor = demo.find("compute", "/flavors", "flavors", description.instance.flavor)
        image = demo.find("image", "/images", "images", IMAGE_NAME)
        networks = [
            demo.find("network", "/networks", "networks", name)
            for name in (description.network.project_name, description.network.provider_name)
        ]
        if flavor is None:
            raise StepError(f"there is no flavor {description.instance.flavor} (correct instance.flavor in site.toml)")
        if image is None or None in networks:
            raise StepError("the first image or a network is gone: run up again")
        resources.remove_stillborn_server(demo, description.instance.name)
        server = resources.ensure_server(
            demo, description.instance.name, flavor["id"], image["id"],
            [network["id"] for network in networks if network], KEY_NAME,
        )  # fmt: skip
        resources.wait_for_server(demo, server.id, timeout=180, progress=progress)
        address = provider_address(demo, server.id, description.network.provider_name)
        progress(f"waiting for SSH at {address}")
        wait_until(
            lambda: ssh_banner(address),
            what=f"the instance to answer SSH at {address}", timeout=180, interval=0.3,
        )  # fmt: skip


def networks_without_dhcp(cloud: Cloud, host: str) -> list[str]:
    """Return the names of networks that a host's DHCP agent should serve and does not yet."""
    agents = cloud.items("network", "/agents", "agents", {"binary": "neutron-dhcp-agent", "host": host})
    subnets = cloud.items("network", "/subnets", "subnets", {"enable_dhcp": "true"})
    ports = cloud.items("network", "/ports", "ports", {"device_owner": "network:dhcp"})
    wanted = {subnet["network_id"] for subnet in subnets}
    served = {port["network_id"] for port in ports if port["status"] == "ACTIVE"}
    hosted = [
        network
        for agent in agents
        for network in cloud.items("network", f"/agents/{agent['id']}/dhcp-networks", "networks")
    ]
    return [network["name"] for network in hosted if network["id"] in wanted - served]


def provider_address(cloud: Cloud, server_id: str, network: str) -> str:
    """Return a server's address on a network."""
    server = cloud.get("compute", f"/servers/{server_id}")["server"]
    return str(server["addresses"][network][0]["addr"])


def ssh_banner(address: str) -> tuple[bool, str]:
    """Return whether an SSH server greets at an address, and else what was seen."""
    try:
        with socket.create_connection((address, 22), timeout=2) as connection:
            connection.settimeout(3)
            greeting = connection.recv(64)
    except OSError as error:
        return False, error.strerror or str(error)
    return greeting.startswith(b"SSH-"), "no greeting"


def _uid(name: str | None) -> int:
    return 0 if name is None else pwd.getpwnam(name).pw_uid


def _gid(name: str | None) -> int:
    return 0 if name is None else pwd.getpwnam(name).pw_gid
