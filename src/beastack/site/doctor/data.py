"""The data services: database and message broker."""

from __future__ import annotations

from collections.abc import Iterator

from beastack.freebsd.command import CommandError, run
from beastack.site import data_services, release, services
from beastack.site.configuration import DATABASES
from beastack.site.doctor.finding import Finding, bad, good, listed
from beastack.site.doctor.view import API_TIMEOUT, View

#: Share of the database's connections in use from which a new one may soon be refused.
CONNECTIONS_FULL = 0.9


def check_database(view: View) -> Iterator[Finding]:
    """The database server answers."""
    answers, seen = view.database
    if answers:
        yield good("database", seen)
    elif view.site.description.database.url is None:
        yield bad("database", seen, f"{view.command('logs', 'mariadb')}; {view.command('up')}")
    else:
        where = view.site.description.database.masked_url
        yield bad("database", f"{where}: {seen}", "start that server, or correct database.url in site.toml")


def check_schemas(view: View) -> Iterator[Finding]:
    """Every database's schema is of this release."""
    names = ("databases", *DATABASES)
    behind = [name for name in names if not view.steps.is_schema_done(name)()]
    if behind:
        yield bad("schemas", "not made, or of another release: " + listed(behind), view.redo)
    else:
        yield good("schemas", f"of OpenStack {release.RELEASE}")


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
        yield bad("databases", "gone: " + listed(missing), remedy)
    if numbers["used"] >= CONNECTIONS_FULL * numbers["limit"]:
        seen = f"{numbers['used']} of {numbers['limit']} connections are in use"
        yield bad("databases", seen, "set site.workers = 1 in site.toml, then " + view.again)
    elif not missing:
        yield good("databases", f"all there; {numbers['used']} of {numbers['limit']} connections in use")


def check_messaging(view: View) -> Iterator[Finding]:
    """The message broker answers."""
    answers, seen = view.messaging
    if answers:
        yield good("messaging", seen)
    elif view.site.description.messaging.url is None:
        yield bad("messaging", seen, f"{view.command('logs', 'rabbitmq')}; {view.command('up')}")
    else:
        where = view.site.description.messaging.masked_url
        yield bad("messaging", f"{where}: {seen}", "start that server, or correct messaging.url in site.toml")


def check_queues(view: View) -> Iterator[Finding]:
    """Services read their message queues: one without a reader lets every request to it time out."""
    queues = ["conductor", "scheduler", "q-plugin", "q-reports-plugin"]
    if view.site.description.host.has_guests:
        queues.append(f"compute.{view.site.hostname}")
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
        yield bad("message queues", f"nobody reads: {unread}", remedy)
    else:
        yield good("message queues", f"the {len(queues)} that matter are read")
