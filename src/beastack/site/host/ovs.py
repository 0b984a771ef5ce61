"""The site's own Open vSwitch with the userspace datapath: what is the same on every kind of host."""

from __future__ import annotations

import contextlib
import ipaddress
from pathlib import Path

from beastack.freebsd.command import SEARCH_PATH, CommandError, run
from beastack.site.configuration import Site
from beastack.site.layout import Layout
from beastack.site.services import SWITCH
from beastack.supervisor.spec import Service

#: The port by which every userspace datapath shows itself; there can be one on a host.
DATAPATH_PORT = "ovs-netdev"


def socket(layout: Layout) -> Path:
    """Return the Unix socket of the switch's database server."""
    return layout.run("openvswitch") / "db.sock"


def database(site: Site) -> Path:
    """Return the file of the switch's own database."""
    return site.layout.data("openvswitch") / "conf.db"


def server_argv(site: Site, program: str) -> tuple[str, ...]:
    """Return what runs the database server."""
    run_directory = site.layout.run("openvswitch")
    return (
        program, str(database(site)), f"--remote=punix:{socket(site.layout)}",
        f"--unixctl={run_directory}/ovsdb-server.ctl", f"--pidfile={run_directory}/ovsdb-server.pid",
        "-vconsole:warn",
    )  # fmt: skip


def switch_argv(site: Site, program: str) -> tuple[str, ...]:
    """Return what runs the switch."""
    run_directory = site.layout.run("openvswitch")
    return (
        program, f"unix:{socket(site.layout)}", f"--unixctl={run_directory}/ovs-vswitchd.ctl",
        f"--pidfile={run_directory}/ovs-vswitchd.pid", "-vconsole:warn",
    )  # fmt: skip


def make_services(site: Site, server: tuple[str, ...], switch: tuple[str, ...], **extra: str) -> list[Service]:
    """Return the specs of the database server and of the switch.

    :param extra: environment of both, beside what every host has
    """
    environment = {
        "PATH": SEARCH_PATH,
        "LC_ALL": "C",
        "OVS_RUNDIR": str(site.layout.run("openvswitch")),
        "OVS_LOGDIR": str(site.layout.root / "log"),
        **extra,
    }
    log = str(site.layout.log("openvswitch"))
    # A group may talk to their sockets, where the directory has one.
    return [
        Service(name=name, argv=argv, env=environment, log=log, tier=SWITCH, umask=0o007)
        for name, argv in (("ovsdb-server", server), ("ovs-vswitchd", switch))
    ]


def prepare_database(site: Site, schema: str) -> None:
    """Make the switch's database if there is none.

    :raises CommandError: ovsdb-tool failed
    """
    file = database(site)
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        temporary = file.with_suffix(".new")
        with contextlib.suppress(FileNotFoundError):
            temporary.unlink()
        run(["ovsdb-tool", "create", str(temporary), schema])
        temporary.replace(file)


def vsctl(site: Site, *arguments: str, timeout: float = 20.0) -> str:
    """Run ovs-vsctl against the site's switch.

    :raises CommandError: it failed or had no answer in time
    """
    base = ["ovs-vsctl", f"--db={site.ovsdb}", f"--timeout={int(timeout)}"]
    return run([*base, *arguments], timeout=timeout + 5).stdout


def database_answers(site: Site) -> tuple[bool, str]:
    """Return whether the switch's database answers, and else what was seen."""
    try:
        vsctl(site, "--no-wait", "show", timeout=3)
    except CommandError as error:
        return False, str(error)
    return True, "it answers"


def initialize(site: Site, *settings: str) -> None:
    """Set what must stand before the switch starts: names, and ``settings`` of the table Open_vSwitch."""
    vsctl(site, "--no-wait", "init")
    vsctl(
        site, "--no-wait", "set", "Open_vSwitch", ".", *settings,
        f"external_ids:hostname={site.hostname}", f"external_ids:system-id={site.layout.prefix}",
    )  # fmt: skip


def forget_controllers(site: Site) -> None:
    """Remove the bridges' controllers: the agent sets its own when it starts.

    Kept from the last time, they would be tried before the agent listens,
    with pauses that grow to many seconds by the time it does.
    """
    for bridge in vsctl(site, "--no-wait", "list-br").split():
        vsctl(site, "--no-wait", "del-controller", bridge)


def bridges(site: Site) -> list[str]:
    """Return the bridges a site has: integration and external (the agent makes the tunnel bridge)."""
    return [site.layout.interface("int"), *([site.layout.interface("ext")] if site.has_provider else [])]


def host_pair(site: Site) -> tuple[str, str]:
    """Return the pair that joins the host to the provider network (veth, epair): host's end, bridge's end.

    A bridge's own port is made anew, without addresses, whenever
    ovs-vswitchd restarts; a pair stays as it is.
    """
    return site.layout.interface("host"), site.layout.interface("exth")


def provider_gateway(site: Site) -> str:
    """Return the host's address on the provider network, with its prefix: the network's first."""
    network = ipaddress.ip_network(site.description.network.provider_cidr)
    return f"{network[1]}/{network.prefixlen}"
