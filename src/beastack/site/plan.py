"""The plan of ``up``: which steps there are, what each waits for, what it would change.

Pure: facts and description in, ordered steps out. Doing is in ``steps``.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

from beastack.site.description import Description
from beastack.site.layout import Layout
from beastack.site.listening import listeners


@dataclass(frozen=True)
class Found:
    """What the plan takes into account of the machine as it is."""

    missing_packages: tuple[str, ...] = ()
    missing_users: tuple[str, ...] = ()
    environment_ready: bool = False
    venv_works: bool = True
    supervisor_running: bool = False
    kernel_changes: tuple[str, ...] = ()
    openstack_command: bool = True
    resume: bool = False
    takes_disks: bool = False


@dataclass(frozen=True)
class Step:
    """One step: its name, a title to show, the steps it waits for, and what it changes on the machine."""

    name: str
    title: str
    after: tuple[str, ...] = ()
    changes: tuple[str, ...] = ()


#: Steps that only hosts of a kind or of a role have.
FREEBSD_STEPS = ("kernel",)
GUEST_STEPS = ("hypervisor", "compute", "first-image", "image")
SWITCH_STEPS = ("switch", "agents", "hosts")
#: A host without an account at the APIs cannot ask how the cloud sees it.
ACCOUNT_STEPS = ("hosts",)
NETWORK_STEPS = ("networks",)
CONTROL_STEPS = (
    "console-pages", "database", "databases", "schema-keystone", "schema-glance", "schema-placement", "schema-nova",
    "schema-neutron", "identity", "catalog", "image-service", "placement-service", "network-service",
    "compute-service", "first-image", "image", "flavors", "networks", "clients",
)  # fmt: skip


class PlanError(Exception):
    """The steps wait for one another in a circle, or for one that does not exist."""


def make_plan(description: Description, layout: Layout, found: Found) -> list[Step]:
    """Return the steps of ``up``, in an order that respects what each waits for.

    A host without guests has neither switch nor hypervisor, and nothing that needs an agent.
    """
    private_database = description.database.url is None
    private_messaging = description.messaging.url is None
    # The address that services listen on may be that of a bridge of the switch.
    bound = ("supervisor",) if description.network.underlay is None else ("supervisor", "switch")
    steps = [
        Step("packages", "Install system packages", (), _packages(found)),
        Step("environment", "Install the OpenStack release", _before_environment(description, found),
             _environment(layout, found)),
        Step("users", "Make service users", ("packages",), _users(found)),
        Step("files", "Write configuration", ("users",), (f"files below {layout.root}",)),
        Step("console-pages", "Fetch the noVNC pages", ("packages",)),
        Step("supervisor", "Start the supervisor", ("files",)),
        Step("preload", "Load the services' code", ("supervisor", "environment")),
        Step("kernel", "Prepare the kernel", (), found.kernel_changes),
        Step("switch", "Start Open vSwitch", ("supervisor", "kernel"), _switch(description, layout)),
        Step("hypervisor", "Start libvirt", ("supervisor", "kernel"), ("libvirt's directories, if they are missing",)),
        Step("database", "Start MariaDB" if private_database else "Reach the database", ("supervisor",)),
        Step("databases", "Make the databases", ("database",)),
        Step("messaging", "Start RabbitMQ" if private_messaging and description.host.has_control else "Reach RabbitMQ",
             bound),
        Step("schema-keystone", "Set up Keystone's database", ("databases", "preload")),
        Step("schema-glance", "Set up Glance's database", ("databases", "preload", "schema-keystone")),
        Step("schema-placement", "Set up Placement's database", ("databases", "preload", "schema-keystone")),
        Step("schema-nova", "Set up Nova's databases", ("databases", "preload", "messaging")),
        Step("schema-neutron", "Set up Neutron's database", ("databases", "preload")),
        Step("identity", "Start Keystone", ("schema-keystone", *bound)),
        Step("catalog", "Make users and the service catalogue", ("identity",)),
        Step("image-service", "Start Glance", ("schema-glance", "catalog")),
        Step("placement-service", "Start Placement", ("schema-placement", "catalog")),
        Step("network-service", "Start Neutron", ("schema-neutron", "catalog", "messaging")),
        Step("compute-service", "Start Nova", ("schema-nova", "catalog", "messaging")),
        Step("agents", "Start the host's agents", ("network-service", "switch", "messaging", "preload")),
        Step("compute", "Start nova-compute",
             ("compute-service", "placement-service", "network-service", "hypervisor", "switch", "messaging",
              "preload")),
        Step("first-image", "Build the first image", ("packages",)),
        Step("image", "Upload the first image", ("image-service", "first-image")),
        Step("flavors", "Make flavors, a project and a key pair", ("compute-service", "network-service")),
        Step("networks", "Make the networks", ("network-service", "agents")),
        Step("hosts", "Wait for the cloud to see this host", ("agents", "compute", "networks")),
        Step("clients", "Write client credentials", ("catalog",), _clients(layout, found)),
    ]  # fmt: skip
    host = description.host
    left_out = {
        *(GUEST_STEPS if not host.has_guests else ()),
        *(SWITCH_STEPS if not host.has_switch else ()),
        *(ACCOUNT_STEPS if not (host.has_control or host.has_guests) else ()),
        *(NETWORK_STEPS if not host.has_network else ()),
        *(CONTROL_STEPS if not host.has_control else ()),
        *(FREEBSD_STEPS if host.kind != "freebsd" or not (host.has_network or host.has_guests) else ()),
    }
    steps = [_without(step, left_out) for step in steps if step.name not in left_out]
    opened = listeners(description, takes_disks=found.takes_disks)
    steps = [
        replace(step, changes=(*step.changes, *(str(one) for one in opened if one.step == step.name))) for step in steps
    ]
    if host.has_control and host.has_guests and host.has_network and description.instance.boot:
        after = ("hosts", "image", "flavors", "networks")
        steps.append(Step("instance", "Boot the first instance", after))
    return order(steps)


def _without(step: Step, left_out: Collection[str]) -> Step:
    """Return a step that waits only for what there is on this host."""
    return replace(step, after=tuple(name for name in step.after if name not in left_out))


def order(steps: Sequence[Step]) -> list[Step]:
    """Return the steps so that each stands after those it waits for; otherwise in the order given.

    :raises PlanError: that cannot be done
    """
    done: list[str] = []
    ordered: list[Step] = []
    left = list(steps)
    while left:
        ready = [step for step in left if all(name in done for name in step.after)]
        if not ready:
            raise PlanError("these steps wait for one another: " + ", ".join(step.name for step in left))
        ordered.append(ready[0])
        done.append(ready[0].name)
        left.remove(ready[0])
    return ordered


def _packages(found: Found) -> tuple[str, ...]:
    if not found.missing_packages:
        return ()
    return ("system packages: " + " ".join(found.missing_packages),)


def _environment(layout: Layout, found: Found) -> tuple[str, ...]:
    if found.environment_ready:
        return ()
    away = ("OpenStack's services are stopped until it is there; instances go on",) if found.supervisor_running else ()
    return (f"Python packages in {layout.venv}", *away)


def _before_environment(description: Description, found: Found) -> tuple[str, ...]:
    """Return what the environment waits for: Debian packages what venv needs apart, FreeBSD compiled modules."""
    return ("packages",) if description.host.kind == "freebsd" or not found.venv_works else ()


def _users(found: Found) -> tuple[str, ...]:
    return ("system users: " + " ".join(found.missing_users),) if found.missing_users else ()


def _switch(description: Description, layout: Layout) -> tuple[str, ...]:
    """Return the interfaces that are made; the last two are the provider network's."""
    suffixes = ("int", "tun", "ext", "host") if description.host.has_network else ("int", "tun")
    changes = ["network interfaces: " + " ".join(layout.interface(suffix) for suffix in suffixes)]
    underlay = description.network.underlay
    if underlay is not None:
        changes.append(
            f"the addresses and routes of {underlay} go to {layout.interface('und')}: a session over it is interrupted"
        )
    return tuple(changes)


def _clients(layout: Layout, found: Found) -> tuple[str, ...]:
    if not layout.is_default:
        return (f"{layout.clouds_yaml}",)
    changes = ["the entry beastack in ~/.config/openstack/clouds.yaml"]
    if not found.openstack_command:
        changes.append("the link /usr/local/bin/openstack")
    return tuple(changes)
