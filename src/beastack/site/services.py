"""The services of a cloud: what each runs, as whom, from which parent.

Pure: turns a site into the supervisor's specs. Module names are upstream's
(release 2026.2); the supervisor that runs them knows none of them.
"""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from beastack.freebsd.command import SEARCH_PATH
from beastack.site import code, release
from beastack.site.configuration import FILES, PIPELINE, Site, render_files, render_service
from beastack.site.description import Description
from beastack.supervisor.spec import Helper, Parent, Service

#: Seams that may stand over changed code; set by ``up --allow-changed``, read where seams are installed.
ALLOW_CHANGED = "BEASTACK_ALLOW_CHANGED"

#: Names the configuration that a service was started with: a service whose configuration changed is started anew.
CONFIGURATION = "BEASTACK_CONFIGURATION"

# Tiers: the order of stopping, highest first.
DATA, SWITCH, HYPERVISOR, IDENTITY, CONTROL, HOST = range(6)

_LIBRARIES = (
    "beastack.port.oslo.threads", "sqlalchemy.orm", "sqlalchemy.dialects.mysql.pymysql", "pymysql", "alembic.config",
    "oslo_db.sqlalchemy.enginefacade", "oslo_db.sqlalchemy.session", "oslo_config.cfg", "oslo_log.log",
    "oslo_policy.policy", "oslo_cache.core", "oslo_middleware", "oslo_utils.excutils", "oslo_i18n",
    "oslo_concurrency.lockutils", "oslo_concurrency.processutils", "oslo_serialization.jsonutils",
    "oslo_context.context", "oslo_upgradecheck.upgradecheck", "keystoneauth1.session", "keystoneauth1.loading",
    "keystoneauth1.identity.v3", "keystonemiddleware.auth_token", "webob.dec", "webob.exc", "routes.middleware",
    "paste.deploy", "jsonschema", "requests", "cheroot.wsgi", "setproctitle", "stevedore.named",
    "dogpile.cache.backends.memory", "yaml", "logging.handlers", "unittest.mock",
)  # fmt: skip

_MESSAGING = ("oslo_messaging", "oslo_messaging._drivers.impl_rabbit", "kombu.transport.pyamqp", "amqp", "futurist")


@dataclass(frozen=True)
class Unit:
    """One service of the cloud: where it runs, and what starts it."""

    name: str
    parent: str
    target: str
    tier: int
    root: bool = False
    wsgi: str = ""
    port: str = ""
    spread: bool = False  # several workers
    warm: str = ""  # called before the first request


#: How many requests one worker that is alone serves at once.
THREADS = 10
#: Every OpenStack service, in the order in which they are shown.
UNITS: tuple[Unit, ...] = (
    # One process: it keeps what it knows of tokens and users in memory, which a second would not hear of.
    Unit(
        "keystone",
        "keystone",
        "",
        IDENTITY,
        wsgi="keystone.wsgi.api:application",
        port="identity",
        warm="beastack.port.keystone.policy:load",
    ),
    Unit("glance", "glance", "", CONTROL, wsgi="glance.wsgi.api:application", port="image"),
    Unit("placement", "placement", "", CONTROL, wsgi="placement.wsgi.api:application", port="placement"),
    # Its policy is made known in two steps without a lock: a second request in between would see none of it.
    Unit(
        "neutron-api",
        "neutron",
        "",
        CONTROL,
        wsgi="neutron.wsgi.api:application",
        port="network",
        spread=True,
        warm="neutron.policy:init",
    ),
    Unit("neutron-rpc", "neutron", "neutron.cmd.server:main_rpc", CONTROL),
    Unit("neutron-periodic", "neutron", "neutron.cmd.server:main_periodic", CONTROL),
    Unit("nova-api", "nova", "", CONTROL, wsgi="nova.wsgi.osapi_compute:application", port="compute", spread=True),
    Unit("nova-metadata", "nova", "", CONTROL, wsgi="nova.wsgi.metadata:application", port="metadata"),
    Unit("nova-conductor", "nova", "nova.cmd.conductor:main", CONTROL),
    Unit("nova-scheduler", "nova", "nova.cmd.scheduler:main", CONTROL),
    Unit("nova-novncproxy", "nova", "nova.cmd.novncproxy:main", CONTROL),
    Unit("nova-serialproxy", "nova", "nova.cmd.serialproxy:main", CONTROL),
    Unit("nova-compute", "nova", "nova.cmd.compute:main", HOST, root=True),
    Unit("neutron-ovs-agent", "neutron", "neutron.cmd.agents.ovs_neutron_agent:main", HOST, root=True),
    Unit("neutron-dhcp-agent", "neutron", "neutron.cmd.agents.dhcp:main", HOST, root=True),
    Unit("neutron-metadata-agent", "neutron", "neutron.cmd.agents.metadata:main", HOST, root=True),
)


@dataclass(frozen=True)
class Context:
    """A privileged daemon that services may ask for: one of oslo.privsep's contexts.

    ``project``: whose preloaded parent has it imported. ``asked_by``: units
    whose users may ask. ``modules``: those of its entry points.
    ``programs_gain``: on Linux, programs that it runs need capabilities that
    it does not have (a port below 1024, another user), and get them as
    upstream means it. ``root_on_freebsd``: whether FreeBSD has work for it
    that needs root; otherwise it runs there as the service that asks.
    ``hosts``: kinds of host that have it.
    """

    name: str
    project: str
    asked_by: tuple[str, ...]
    modules: tuple[str, ...]
    programs_gain: bool = False
    root_on_freebsd: bool = True
    hosts: tuple[str, ...] = ("linux", "freebsd")


NETWORK_AGENTS = ("neutron-ovs-agent", "neutron-dhcp-agent", "neutron-metadata-agent")
_NETWORK_AGENTS = ("neutron-ovs-agent", "neutron-dhcp-agent")
_LINUX = "neutron.privileged.agent.linux"

#: The closed list.
CONTEXTS: tuple[Context, ...] = (
    Context(
        "nova.privsep.sys_admin_pctxt", "nova", ("nova-compute",),
        ("nova.privsep.fs", "nova.privsep.idmapshift", "nova.privsep.libvirt", "nova.privsep.linux_net",
         "nova.privsep.path", "nova.privsep.qemu", "nova.virt.libvirt.cpu.core"),
        programs_gain=True,
    ),
    Context(
        "vif_plug_ovs.privsep.vif_plug", "nova", ("nova-compute",),
        ("vif_plug_ovs.linux_net", "vif_plug_ovs.ovsdb.impl_vsctl"),
    ),
    Context(
        "beastack.port.nova.bhyve.privileged.context", "nova", ("nova-compute",),
        ("beastack.port.nova.bhyve.privileged",), hosts=("freebsd",),
    ),
    # Volumes attach through Linux's own initiators; elsewhere it can only look.
    Context(
        "os_brick.privileged.default", "nova", ("nova-compute",),
        ("os_brick.privileged.lightos", "os_brick.privileged.nvmeof", "os_brick.privileged.rbd",
         "os_brick.privileged.rootwrap", "os_brick.privileged.scaleio"),
        programs_gain=True, root_on_freebsd=False,
    ),
    Context(
        "neutron.privileged.default", "neutron", (*_NETWORK_AGENTS, "neutron-metadata-agent"),
        (f"{_LINUX}.devlink", f"{_LINUX}.ethtool", f"{_LINUX}.ip_lib", f"{_LINUX}.svd", f"{_LINUX}.tc_lib",
         f"{_LINUX}.utils"),
        programs_gain=True,
    ),
    # dhcp_release(1) and kernel connection tracking are Linux's.
    Context(
        "neutron.privileged.dhcp_release_cmd", "neutron", ("neutron-dhcp-agent",), (f"{_LINUX}.dhcp",),
        programs_gain=True, root_on_freebsd=False,
    ),
    Context(
        "neutron.privileged.ovs_vsctl_cmd", "neutron", _NETWORK_AGENTS,
        ("neutron.privileged.agent.ovsdb.native.helpers",),
    ),
    Context("neutron.privileged.namespace_cmd", "neutron", _NETWORK_AGENTS, (f"{_LINUX}.ip_lib",)),
    Context(
        "neutron.privileged.conntrack_cmd", "neutron", _NETWORK_AGENTS, (f"{_LINUX}.netlink_lib",),
        root_on_freebsd=False,
    ),
    Context("neutron.privileged.link_cmd", "neutron", _NETWORK_AGENTS, (f"{_LINUX}.ip_lib",)),
)  # fmt: skip

#: Whose configuration file and environment a project's privileged daemons have.
CONTEXT_HOSTS: Mapping[str, str] = {"nova": "nova-compute", "neutron": "neutron-ovs-agent"}

#: Parents that fork one service each: they leave when it runs and come back when it must start again.
PASSING_PARENTS = ("keystone", "glance", "placement", "console")


def configuration_digest(text: str) -> str:
    """Return a short hash of the text of a service's configuration files."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def environment(site: Site, service: str) -> dict[str, str]:
    """Return the environment a service runs in."""
    etc = site.layout.etc(service)
    file = FILES[service][0]
    variables = {
        "PATH": f"{site.layout.venv}/bin:{SEARCH_PATH}",
        "LC_ALL": "C.UTF-8",
        "HOME": str(site.layout.run(service)),
        "TMPDIR": str(site.layout.run(service)),
        "PYTHONPATH": str(site.layout.code),
        # Not read by anything: other code makes another process of it, and so does another release or configuration.
        "BEASTACK_CODE": code.digest(),
        "BEASTACK_RELEASE": release.digest(),
        CONFIGURATION: configuration_digest("".join(render_files(site, service).values())),
        "BEASTACK_ROOT": str(site.layout.root),
        "OVS_RUNDIR": str(site.layout.run("openvswitch")),
        # Upstream's own switch: nova's proxies and nova-manage would patch the library otherwise.
        "OS_NOVA_DISABLE_EVENTLET_PATCHING": "1",
        # Threads come and go with requests: few arenas keep their memory together.
        "MALLOC_ARENA_MAX": "2",
        "OPENBLAS_NUM_THREADS": "1",
    }
    if ALLOW_CHANGED in os.environ:
        variables[ALLOW_CHANGED] = os.environ[ALLOW_CHANGED]
    kind = service.partition("-")[0]
    variables[f"OS_{kind.upper()}_CONFIG_DIR"] = str(etc)
    if kind == "keystone":
        variables["OS_KEYSTONE_CONFIG_FILES"] = str(etc / file)
    elif kind == "neutron":
        variables["OS_NEUTRON_CONFIG_FILES"] = file
    elif kind == "nova":
        # Its WSGI start-up takes the first file for the paste configuration.
        pipeline = etc / PIPELINE if service == "nova-api" else site.layout.venv / "etc/nova" / PIPELINE
        variables["OS_NOVA_CONFIG_FILES"] = f"{pipeline};{file}"
    return variables


def parents(site: Site) -> list[Parent]:
    """Return the preloaded parents: shared libraries first, then one for each project."""
    nova_env = {
        name: value
        for name, value in environment(site, "nova-api").items()
        if name not in ("OS_NOVA_CONFIG_DIR", "OS_NOVA_CONFIG_FILES", "HOME", "TMPDIR", CONFIGURATION)
    }
    host = site.description.host
    seams = ("beastack.port.neutron.freebsd_seams",) if host.kind == "freebsd" else ()
    wanted = {unit.parent for unit in units(site.description)}
    projects = [
        # Seams come first: they wait for the modules that follow.
        Parent("keystone", ("beastack.port.keystone.seams", *KEYSTONE), ("eventlet",), "libraries"),
        Parent("glance", GLANCE, ("eventlet",), "libraries"),
        Parent("placement", PLACEMENT, ("eventlet",), "libraries"),
        Parent("nova", (f"beastack.port.nova.{host.kind}_seams", *_MESSAGING, "beastack.port.nova.intervals",
                        *_nova_modules(site)), ("eventlet",),
               "libraries"),
        Parent("neutron", (*seams, *_MESSAGING, *_neutron_modules(site)), (), "libraries"),
    ]  # fmt: skip
    return [
        Parent("libraries", _LIBRARIES, ("eventlet",), None, str(site.layout.python), nova_env),
        *(parent for parent in projects if parent.name in wanted),
        *(_privileged_parent(site, project) for project in _context_projects(site)),
        *([console_parent(site)] if has_console_daemon(site.description) else ()),
    ]


def has_console_daemon(description: Description) -> bool:
    """Return whether the host runs the daemon that reads its guests' serial lines."""
    return description.host.kind == "freebsd" and description.host.has_guests


def console_parent(site: Site) -> Parent:
    """Return the parent of the console daemon: an interpreter with nothing of OpenStack in it.

    It starts while the virtual environment is still being made, or made anew for another release.
    """
    return Parent("console", ("beastack.console.daemon",), (), None, site.facts.python, tool_environment(site))


def console_service(site: Site) -> Service:
    """Return the console daemon: of a user of its own, with a child that opens lines as root."""
    ports = site.ports
    argv = (
        "console", "--directory", str(site.layout.data("console")), "--peer", site.layout.user("nova-compute"),
        "--listen", site.console_address, "--ports", f"{ports.serial_first}:{ports.serial_last}",
        "--tcp-lines", f"{ports.serial_last + 1}:{ports.serial_last + 2}",
    )  # fmt: skip
    return Service(
        name="console", argv=argv, parent="console", target="beastack.console.daemon:run_service",
        before_drop="beastack.console.opener:start", env=tool_environment(site), user=site.layout.user("console"),
        log=str(site.layout.log("console")), tier=HYPERVISOR, umask=0o027,
    )  # fmt: skip


def transfer_service(site: Site) -> Service:
    """Return the daemon that takes instances' disks from other hosts, as nova-compute's user: the files are its own."""
    argv = (
        site.facts.python, "-m", "beastack.transfer.daemon", "--listen", site.host_address,
        "--port", str(site.ports.migration), "--instances", str(site.layout.data("nova") / "instances"),
        "--certificates", str(site.certificates), "--libvirt", f"bhyve+unix:///system?socket={site.libvirt_socket}",
    )  # fmt: skip
    # Another certificate makes another process of it.
    shown = hashlib.sha256(str(site.migration.certificate).encode()).hexdigest()
    return Service(
        name="transfer", argv=argv, env={**tool_environment(site), "BEASTACK_CERTIFICATE": shown},
        user=site.layout.user("nova-compute"), log=str(site.layout.log("transfer")), tier=HYPERVISOR,
    )  # fmt: skip


def _nova_modules(site: Site) -> tuple[str, ...]:
    host = site.description.host
    if not host.has_guests:
        return tuple(name for name in NOVA if name not in NOVA_HOST)
    return (*NOVA, *(NOVA_FREEBSD if host.kind == "freebsd" else ()))


def _neutron_modules(site: Site) -> tuple[str, ...]:
    host = site.description.host
    found = NEUTRON_SERVER if host.has_control else ()
    freebsd = host.kind == "freebsd"
    if host.has_switch:
        found += (*NEUTRON_SWITCH, *(NEUTRON_SWITCH_FREEBSD if freebsd else ()))
    if host.has_network:
        found += (*NEUTRON_DHCP, *(NEUTRON_DHCP_FREEBSD if freebsd else ()))
    return found


def _context_projects(site: Site) -> list[str]:
    """Return whose privileged daemons may be asked for on this host."""
    host = site.description.host
    return [project for project in CONTEXT_HOSTS if (host.has_switch if project == "neutron" else host.has_guests)]


def _privileged_parent(site: Site, project: str) -> Parent:
    """Return the parent of a project's privileged daemons: the project's own, with their configuration read."""
    contexts = [item for item in CONTEXTS if item.project == project and site.description.host.kind in item.hosts]
    modules = dict.fromkeys(module for item in contexts for module in item.modules)
    # The seams that oslo.privsep needs where it does not know the kernel.
    seams = ("beastack.port.oslo.freebsd_seams",) if sys.platform.startswith("freebsd") else ()
    host = CONTEXT_HOSTS[project]
    file, text = render_service(site, host)
    return Parent(
        f"{project}-privileged", (*seams, *modules, "beastack.port.oslo.privsep"), ("eventlet",), project,
        prepare="beastack.port.oslo.privsep:prepare",
        # Another configuration makes another parent of it, by its digest.
        argv=(str(site.layout.etc(host) / file), hashlib.sha256(text.encode()).hexdigest(),
              *(item.name for item in contexts)),
    )  # fmt: skip


KEYSTONE = ("keystone.cmd.manage", "keystone.server.wsgi", "keystone.server.flask.application")
GLANCE = ("glance.cmd.manage", "glance.common.wsgi_app")
PLACEMENT = ("placement.cmd.manage", "placement.wsgi", "placement.deploy")
NOVA = (
    "nova.cmd.manage", "nova.cmd.compute", "nova.cmd.conductor", "nova.cmd.scheduler", "nova.cmd.novncproxy",
    "nova.cmd.serialproxy", "nova.api.openstack.wsgi_app", "nova.api.openstack.compute.routes",
    "nova.conductor.manager", "nova.scheduler.manager", "nova.compute.manager", "nova.virt.libvirt.driver",
    "nova.console.websocketproxy",
)  # fmt: skip
NEUTRON_SERVER = (
    "neutron.cmd.server", "neutron.server.api", "neutron.plugins.ml2.plugin", "neutron.db.migration.cli",
)  # fmt: skip
NEUTRON_SWITCH = (
    "neutron.cmd.agents.ovs_neutron_agent", "neutron.plugins.ml2.drivers.openvswitch.agent.ovs_neutron_agent",
)  # fmt: skip
NEUTRON_SWITCH_FREEBSD = ("beastack.port.neutron.ovs_agent", "beastack.port.neutron.ovs_firewall")
NEUTRON_DHCP = ("neutron.cmd.agents.dhcp", "neutron.cmd.agents.metadata", "neutron.agent.dhcp.agent")
NEUTRON_DHCP_FREEBSD = (
    "beastack.port.neutron.dhcp_agent", "beastack.port.neutron.dhcp_driver", "beastack.port.neutron.interface_driver",
)  # fmt: skip


def units(description: Description) -> tuple[Unit, ...]:
    """Return the services that a site's host runs."""
    host = description.host
    found = [unit for unit in UNITS if host.has_control and unit.tier < HOST]
    if host.has_guests:
        found += [unit for unit in UNITS if unit.name == "nova-compute"]
    if host.has_switch:
        # Where the agent in the switch does the others' work, it does it beside each guest.
        responder = host.kind == "freebsd" and description.network.dhcp == "responder"
        agents = NETWORK_AGENTS if host.has_network and not responder else NETWORK_AGENTS[:1]
        found += [unit for unit in UNITS if unit.name in agents]
    if host.kind == "freebsd":
        return tuple(replace(unit, **_ON_FREEBSD.get(unit.name, {})) for unit in found)
    return tuple(found)


#: What is otherwise on FreeBSD: privileged work is done by the privileged daemons alone.
_ON_FREEBSD: Mapping[str, Mapping[str, Any]] = {
    "nova-compute": {"root": False},
    "neutron-ovs-agent": {"root": False, "target": "beastack.port.neutron.ovs_agent:main"},
    "neutron-dhcp-agent": {"root": False, "target": "beastack.port.neutron.dhcp_agent:main"},
    "neutron-metadata-agent": {"root": False},
}


#: What only a host with guests needs preloaded.
NOVA_HOST = ("nova.cmd.compute", "nova.compute.manager", "nova.virt.libvirt.driver")
NOVA_FREEBSD = ("beastack.port.nova.bhyve.driver",)


def workers(site: Site, unit: Unit) -> list[str]:
    """Return the names of a unit's processes: one, or one for each worker."""
    count = site.workers if unit.spread else 1
    return [unit.name] if count == 1 else [f"{unit.name}:{number + 1}" for number in range(count)]


def tool_environment(site: Site) -> dict[str, str]:
    """Return the environment of the supervisor and other programs of beastack's own."""
    return {
        "PYTHONPATH": str(site.layout.code),
        "BEASTACK_CODE": code.digest(),
        "PATH": SEARCH_PATH,
        "LC_ALL": "C.UTF-8",
    }


def openstack_services(site: Site) -> list[Service]:
    """Return the specs of all OpenStack services of this site."""
    services = []
    for unit in units(site.description):
        env = environment(site, unit.name)
        argv: tuple[str, ...] = (unit.name, f"--config-file={site.layout.etc(unit.name) / FILES[unit.name][0]}")
        target = unit.target
        if unit.wsgi:
            env["BEASTACK_WSGI"] = unit.wsgi
            env["BEASTACK_LISTEN"] = f"{site.address} {getattr(site.ports, unit.port)}"
            # A thread more only waits for the interpreter; the other worker has its own.
            env["BEASTACK_THREADS"] = "2" if unit.spread and site.workers > 1 else str(THREADS)
            if unit.warm:
                env["BEASTACK_WARM"] = unit.warm
            # Upstream reads its configuration from the environment here, and chokes on arguments.
            argv, target = (unit.name,), "beastack.supervisor.wsgi:serve"
        for name in workers(site, unit):
            services.append(
                Service(
                    name=name,
                    argv=argv,
                    parent=unit.parent,
                    target=target,
                    env=env,
                    tier=unit.tier,
                    user=user(site, unit),
                    log=str(site.layout.log(unit.name)),
                    stop_timeout=8.0,
                    umask=_umask(unit),
                )
            )
    return services


def _umask(unit: Unit) -> int:
    """Return which permissions a service's files lack."""
    if unit.tier != HOST:
        return 0o027
    # Its socket is for the group that its directory has: upstream sets no mode, and whoever connects has to write.
    if unit.name == "neutron-metadata-agent" and not unit.root:
        return 0o007
    # What a host's agent writes, guests and helpers of other users read; directories keep it close.
    return 0o022


def helpers(site: Site) -> list[Helper]:
    """Return the closed list of privileged daemons."""
    return [
        Helper(
            name=item.name, parent=f"{item.project}-privileged", target="beastack.port.oslo.privsep:serve",
            env=_privileged_environment(site, CONTEXT_HOSTS[item.project]), log=str(site.layout.log("privsep")),
            peers=tuple(
                dict.fromkeys(user(site, unit) for unit in units(site.description) if unit.name in item.asked_by)
            ),
            as_asker=sys.platform.startswith("freebsd") and not item.root_on_freebsd,
            new_privileges=sys.platform == "linux" and item.programs_gain,
        )
        for item in CONTEXTS
        if item.project in _context_projects(site) and site.description.host.kind in item.hosts
    ]  # fmt: skip


def user(site: Site, unit: Unit) -> str:
    """Return the user that a unit's processes run as."""
    return "root" if unit.root else site.layout.user(unit.name)


def _privileged_environment(site: Site, host: str) -> dict[str, str]:
    """Return the environment of privileged daemons: nothing in it leads to what a service may write."""
    kept = {
        name: value
        for name, value in environment(site, host).items()
        if not name.startswith("OS_") and name not in ("HOME", "TMPDIR", CONFIGURATION)
    }
    return {**kept, "HOME": "/"}


def task(
    site: Site, name: str, service: str, parent: str, target: str, argv: Sequence[str], env: Mapping[str, str] = {}
) -> Service:
    """Return a task that runs one of upstream's management commands as ``service``'s user."""
    file = site.layout.etc(service) / FILES[service][0]
    return Service(
        name=f"task-{name}", argv=(name, f"--config-file={file}", *argv), parent=parent, target=target,
        env={**environment(site, service), **env}, user=site.layout.user(service),
        log=str(site.layout.log(f"setup-{name}")),
    )  # fmt: skip
