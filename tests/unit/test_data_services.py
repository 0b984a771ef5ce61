"""The data services: durable, private, and asked in a way that tells who really answers."""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from configparser import RawConfigParser
from pathlib import Path

import pytest

from beastack.freebsd.command import CommandError
from beastack.site import data_services, secrets
from beastack.site.configuration import Facts, Site
from beastack.site.data_services import (
    DataServiceError,
    Programs,
    client_configuration,
    ensure_databases,
    mariadb_configuration,
    mariadb_service,
    messaging_answers,
    rabbitmq_configuration,
    rabbitmq_services,
)
from beastack.site.description import Database, Description, Messaging, Ports
from beastack.site.layout import Layout

PROGRAMS = Programs("/sbin/mariadbd", "/bin/mariadb-install-db", "/bin/rabbitmq-server", "/lib/rabbitmq", "/bin/epmd")
AMQP_HEADER = b"AMQP\x00\x00\x09\x01"


def make_site(description: Description | None = None) -> Site:
    facts = Facts(cpus=2, hostname="box", novnc_pages="/x", python="/usr/bin/python3", helper="/x/request.py")
    known = {name: f"{name}-0123456789abcdef" for name in secrets.NAMES}
    return Site(Layout(Path("/srv/cloud")), description or Description(), known, facts)


# MariaDB.


def test_the_private_server_loses_nothing_committed_and_listens_nowhere_else() -> None:
    parser = RawConfigParser(strict=True, allow_no_value=True)
    parser.read_string(mariadb_configuration(make_site(Description(database=Database(buffer_pool_mb=64)))))
    assert parser.sections() == ["mysqld"]
    options = dict(parser["mysqld"])
    assert options["innodb_flush_log_at_trx_commit"] == "1"
    assert options["innodb_doublewrite"] == "1"
    assert options["innodb_flush_method"] == "fsync"
    assert options["innodb_buffer_pool_size"] == "64M"
    assert options["datadir"] == "/srv/cloud/data/mariadb/data"
    assert options["socket"] == "/srv/cloud/run/mariadb/mariadb.sock"
    assert options["skip-networking"] is None
    # Without it, what is written to a binary log would have to be synced too.
    assert options["skip-log-bin"] is None
    assert not {"sync_frm", "skip-innodb_doublewrite", "innodb_fast_shutdown"} & set(options)


def test_the_private_server_reads_no_file_but_its_own() -> None:
    spec = mariadb_service(make_site(), PROGRAMS)
    assert spec.argv == ("/sbin/mariadbd", "--defaults-file=/srv/cloud/etc/mariadb/my.cnf")
    assert spec.user == f"{Layout(Path('/srv/cloud')).prefix}-mariadb"
    assert set(spec.env) == {"PATH", "LC_ALL", "BEASTACK_CONFIGURATION"}


def test_the_clients_option_file() -> None:
    assert client_configuration("mysql+pymysql://cloud:p%40ss@db.example:3307/") == (
        "[client]\nhost = db.example\nport = 3307\nuser = \"cloud\"\n"
        'password = "p@ss"\nconnect-timeout = 10\n'
    )  # fmt: skip
    assert "\nhost = 2001:db8::1\nport = 3306\n" in client_configuration("mysql+pymysql://u:p@[2001:db8::1]/")


def as_the_client_reads(text: str, directory: Path) -> dict[str, str]:
    """Return the options as MariaDB's own reader understands them."""
    file = directory / "client.cnf"
    file.write_text(text)
    program = shutil.which("my_print_defaults") or ""
    output = subprocess.run([program, f"--defaults-file={file}", "client"], capture_output=True, text=True, check=True)
    return dict(line.removeprefix("--").partition("=")[::2] for line in output.stdout.splitlines())


needs_reader = pytest.mark.skipif(shutil.which("my_print_defaults") is None, reason="MariaDB's client is not installed")


@needs_reader
@pytest.mark.parametrize(
    ("encoded", "meant"),
    [("plain", "plain"), ("p%40ss", "p@ss"), ("a%23b", "a#b"), ("%20a%20b%20", " a b "), ("it%27s", "it's"),
     ("%5B%5D", "[]"), ("a%25b", "a%b")],
)  # fmt: skip
def test_a_password_reaches_the_client_whole(encoded: str, meant: str, tmp_path: Path) -> None:
    text = client_configuration(f"mysql+pymysql://cloud:{encoded}@db.example/")
    assert as_the_client_reads(text, tmp_path)["password"] == meant


@needs_reader
@pytest.mark.parametrize(
    ("user", "password", "meant"),
    [
        ("cloud", "a%22b%23c", ("cloud", 'a"b#c')),
        ("cloud", "a%5Csb", ("cloud", "a\\sb")),
        ("a%23b", "pw", ("a#b", "pw")),
    ],
)
def test_quotes_and_backslashes_reach_the_client_whole(
    user: str, password: str, meant: tuple[str, str], tmp_path: Path
) -> None:
    read = as_the_client_reads(client_configuration(f"mysql+pymysql://{user}:{password}@db.example/"), tmp_path)
    assert (read["user"], read["password"]) == meant


@pytest.fixture
def statements(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is asked of the server, instead of asking it."""
    asked: list[str] = []

    def sql(site: Site, text: str, timeout: float = 60.0) -> str:
        asked.extend(text.splitlines())
        return ""

    monkeypatch.setattr(data_services, "sql", sql)
    return asked


def test_each_service_may_use_its_own_databases_only(statements: list[str]) -> None:
    ensure_databases(make_site())
    made = [line.split("`")[1] for line in statements if line.startswith("CREATE DATABASE IF NOT EXISTS ")]
    assert made == ["keystone", "glance", "placement", "nova_api", "nova", "nova_cell0", "neutron"]
    granted = [line for line in statements if line.startswith("GRANT")]
    assert granted == [
        f"GRANT ALL PRIVILEGES ON `{database}`.* TO '{owner}'@'localhost';"
        for owner, database in [("keystone", "keystone"), ("glance", "glance"), ("placement", "placement"),
                                ("nova", "nova_api"), ("nova", "nova"), ("nova", "nova_cell0"),
                                ("neutron", "neutron")]
    ]  # fmt: skip
    assert "ALTER USER 'nova'@'localhost' IDENTIFIED BY 'db-nova-0123456789abcdef';" in statements


def test_on_an_existing_server_only_databases_are_made(statements: list[str]) -> None:
    ensure_databases(make_site(Description(database=Database(url="mysql+pymysql://cloud:pw@db.example/"))))
    assert len(statements) == 7
    assert all(line.startswith("CREATE DATABASE IF NOT EXISTS `") for line in statements)


def test_a_server_that_refuses_is_said_to(monkeypatch: pytest.MonkeyPatch) -> None:
    def sql(site: Site, text: str, timeout: float = 60.0) -> str:
        raise CommandError(["mariadb"], 1, "", "ERROR 1044 (42000): Access denied")

    monkeypatch.setattr(data_services, "sql", sql)
    with pytest.raises(DataServiceError) as caught:
        ensure_databases(make_site())
    assert str(caught.value) == (
        "the database server refused to make the databases: "
        "mariadb exited with status 1: ERROR 1044 (42000): Access denied"
    )


# RabbitMQ.


def test_the_private_broker_listens_on_loopback_only() -> None:
    site = make_site(Description(ports=Ports(messaging=15673, epmd=15369, erlang=35673)))
    lines = dict(line.split(" = ") for line in rabbitmq_configuration(site).splitlines()[1:])
    assert [value for name, value in lines.items() if name.startswith("listeners.")] == ["127.0.0.1:15673"]
    assert (lines["default_user"], lines["default_pass"]) == ("beastack", "messaging-0123456789abcdef")
    epmd, broker = rabbitmq_services(site, PROGRAMS)
    assert epmd.argv == ("/bin/epmd", "-address", "127.0.0.1", "-port", "15369")
    assert broker.env["ERL_EPMD_ADDRESS"] == "127.0.0.1"
    assert broker.env["RABBITMQ_DIST_PORT"] == "35673"
    assert "inet_dist_use_interface {127,0,0,1}" in broker.env["RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS"]
    assert set(epmd.env) == {"PATH", "LC_ALL", "HOME"}  # it stays when the broker's configuration changes
    assert epmd.user == broker.user == f"{site.layout.prefix}-rabbitmq"


class Broker:
    """Accepts connections, keeps what they begin with and answers with fixed bytes."""

    def __init__(self, answer: bytes) -> None:
        self.answer = answer
        self.heard: list[bytes] = []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self.listener.getsockname()[1]
        self.thread = threading.Thread(target=self._serve, daemon=True)
        self.thread.start()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self.listener.accept()
                with connection:
                    self.heard.append(connection.recv(8, socket.MSG_WAITALL))
                    connection.sendall(self.answer)

    def stop(self) -> None:
        # Closing alone does not wake a thread that waits in accept().
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.thread.join(10)


@contextlib.contextmanager
def broker(answer: bytes) -> Iterator[Broker]:
    one = Broker(answer)
    try:
        yield one
    finally:
        one.stop()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def on_port(port: int) -> Site:
    return make_site(Description(ports=Ports(messaging=port)))


def test_a_broker_that_begins_a_frame_answers() -> None:
    with broker(b"\x01\x00\x00\x00\x00") as one:
        assert messaging_answers(on_port(one.port)) == (True, "it answers")
    assert one.heard == [AMQP_HEADER]


@pytest.mark.parametrize("answer", [b"", b"AMQP\x00\x00\x09\x01", b"HTTP/1.1 400 Bad Request\r\n"])
def test_a_port_that_speaks_something_else_does_not_count(answer: bytes) -> None:
    with broker(answer) as one:
        assert messaging_answers(on_port(one.port)) == (False, f"127.0.0.1:{one.port} does not speak AMQP 0-9-1")


def test_a_port_that_nobody_listens_on_is_told() -> None:
    port = free_port()
    assert messaging_answers(on_port(port)) == (False, f"127.0.0.1:{port}: Connection refused")


def test_one_member_of_a_cluster_that_answers_is_enough() -> None:
    closed = free_port()
    with broker(b"\x01") as one:
        url = f"rabbit://u:p%40@127.0.0.1:{closed},u:p%40@127.0.0.1:{one.port}/"
        description = Description(messaging=Messaging(url=url))
        assert messaging_answers(make_site(description)) == (True, "it answers")
    url = f"rabbit://u:p@127.0.0.1:{one.port},u:p@127.0.0.1:{closed}/"
    answers, seen = messaging_answers(make_site(Description(messaging=Messaging(url=url))))
    assert not answers
    assert seen == f"127.0.0.1:{closed}: Connection refused"
