"""The site's description: what a file may say, and what is said of a wrong one."""

from __future__ import annotations

import dataclasses
import tomllib
from pathlib import Path

import pytest

from beastack.site.description import (
    Database,
    Description,
    DescriptionError,
    Instance,
    Messaging,
    Ports,
    Site,
    explain,
    load_description,
)

SECRET = "s3cr3t"


def load(directory: Path, text: str) -> Description:
    path = directory / "site.toml"
    path.write_text(text)
    return load_description(path)


def refuse(directory: Path, content: str | bytes) -> list[str]:
    """The lines said about a wrong file, without the directory."""
    path = directory / "site.toml"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(DescriptionError) as caught:
        load_description(path)
    assert caught.value.problems[0] is caught.value
    lines = [str(problem) for problem in caught.value.problems]
    assert all(line.isprintable() for line in lines)
    return [line.removeprefix(f"{directory}/") for line in lines]


# ---- no file, and whole files


def test_no_file_gives_the_defaults() -> None:
    description = load_description(None)
    assert description == Description()
    assert description.source is None
    assert description.site.region == "RegionOne"
    assert description.ports.messaging == 5673
    assert description.network.dns == ()


def test_a_missing_file_is_an_error_unless_it_is_the_default_one(tmp_path: Path) -> None:
    path = tmp_path / "site.toml"
    assert load_description(path, must_exist=False) == Description()
    assert load_description(path, must_exist=False).source is None
    with pytest.raises(DescriptionError) as caught:
        load_description(path)
    assert str(caught.value) == f"{path}: no such file; name one that exists, or none"
    assert (caught.value.path, caught.value.line, caught.value.key) == (path, None, "")


def test_a_link_that_leads_nowhere_is_not_taken_for_no_file(tmp_path: Path) -> None:
    path = tmp_path / "site.toml"
    path.symlink_to(tmp_path / "gone.toml")
    with pytest.raises(DescriptionError, match="no such file"):
        load_description(path, must_exist=False)


def test_a_directory_is_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(DescriptionError, match="cannot be read: is a directory"):
        load_description(tmp_path)


def test_an_empty_file_gives_the_defaults_and_is_the_source(tmp_path: Path) -> None:
    description = load(tmp_path, "")
    assert description == Description()
    assert description.source == tmp_path / "site.toml"


def test_a_full_file(tmp_path: Path) -> None:
    description = load(
        tmp_path,
        """
        site = { region = "north", bind_address = "::1", workers = 4 }
        compute.virt_type = "kvm"
        compute.cpu_allocation_ratio = 2   # an integer will do
        [network]
        project_type = "vlan"
        project_cidr_v6 = "FD00:0:0:1::/64"
        vlan_range = "200:0300"
        dns = [
            "9.9.9.9",
            "2620:fe::fe",
        ]
        [instance]
        boot = false
        """,
    )
    assert description.site == Site(region="north", bind_address="::1", workers=4)
    assert description.compute.virt_type == "kvm"
    assert isinstance(description.compute.cpu_allocation_ratio, float)
    assert description.network.project_cidr_v6 == "fd00:0:0:1::/64"
    assert description.network.vlan_range == "200:300"
    assert description.network.dns == ("9.9.9.9", "2620:fe::fe")
    assert description.instance == Instance(boot=False)
    assert description.logs == Description().logs


def test_a_description_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Description().site.region = "other"  # type: ignore[misc]


@pytest.mark.parametrize(("workers", "cpus", "count"), [(0, 1, 1), (0, 2, 2), (0, 64, 2), (5, 1, 5), (0, 0, 1)])
def test_worker_count(workers: int, cpus: int, count: int) -> None:
    assert Site(workers=workers).worker_count(cpus) == count


# ---- wrong keys


def test_an_unknown_key_is_named_with_its_line_and_the_nearest(tmp_path: Path) -> None:
    text = "# a site\n[ports]\nidentiy = 5001\n"
    assert refuse(tmp_path, text) == ["site.toml:3: ports.identiy: unknown key; did you mean identity?"]


def test_a_port_is_also_found_by_its_projects_name(tmp_path: Path) -> None:
    text = "[ports]\nkeystnoe = 5001\n"
    assert refuse(tmp_path, text) == ["site.toml:2: ports.keystnoe: unknown key; did you mean identity?"]


def test_a_key_of_another_table(tmp_path: Path) -> None:
    assert refuse(tmp_path, "mtu = 9000\n[site]\nvirt_type = 'kvm'\n") == [
        "site.toml:1: mtu: unknown table; did you mean network.mtu?",
        "site.toml:3: site.virt_type: unknown key; did you mean compute.virt_type?",
    ]


def test_a_key_like_no_other(tmp_path: Path) -> None:
    assert refuse(tmp_path, "[instance]\nzzz = 1\n") == [
        "site.toml:2: instance.zzz: unknown key; there are boot, name, flavor"
    ]


def test_wrong_tables(tmp_path: Path) -> None:
    assert refuse(tmp_path, "logs = 3\n[netwrok]\n[[ports]]\nimage = 1\n[zzz]\n") == [
        "site.toml:1: logs: must be a table, not an integer; write [logs] above its keys",
        "site.toml:2: netwrok: unknown table; did you mean network?",
        "site.toml:3: ports: there is only one of it; write [ports]",
        "site.toml:5: zzz: unknown table; there are site, ports, database, messaging, network, compute, logs,"
        " instance, host, control, migration",
    ]


def test_all_problems_come_at_once_in_the_order_of_lines(tmp_path: Path) -> None:
    lines = refuse(tmp_path, "[logs]\nkeep = 0\nlevel = 'warn'\n[site]\nworkers = true\nregion = 7\n")
    assert lines == [
        "site.toml:2: logs.keep: must be from 1 to 1000, not 0",
        'site.toml:3: logs.level: must be one of debug, info, warning, not "warn"; did you mean warning?',
        "site.toml:5: site.workers: must be an integer, not a boolean",
        "site.toml:6: site.region: must be text in quotes, not an integer",
    ]


# ---- the line of a key


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("[site]\n\n\nworkers = -1", 4),
        ("[site]\r\n\r\nworkers = -1\r\n", 3),
        ("site.workers = -1", 1),
        ("# site.workers = 1\n\"site\" . 'workers' = -1", 2),
        ("site = { region = 'a', workers = -1 }", 1),
        ("[ site ] # [site]\n# workers = 1\n  workers=-1 # workers", 3),
        ("[network]\ndns = [\n '9.9.9.9', # workers = [\n]\n[site]\nworkers = -1", 6),
        ('[site]\nregion = """\\\n  workers = \\\n  3"""\nworkers = -1', 5),
        ("[site]\nregion = '''\n[site]\nworkers = 3'''\nworkers = -1", 5),
        ('[site]\nregion = "a\\"b # \\\\"\nworkers = -1', 3),
        (
            "[z]\na = 1979-05-27 07:32:00.5\nb = [[+1.5e-3], [{site.workers = 3}]]\n[site]\nworkers = -1",
            5,
        ),
        ('[zzz]\na = """"x""""" # two quotes end it\n[site]\nworkers = -1', 4),
        ("[[zzz.a]]\nworkers = 3\n[[zzz.a]]\nworkers = 4\n[site]\nworkers = -1", 6),
        ('[site]\n"w\\u006frkers" = -1', 2),
    ],
)
def test_the_line_of_a_key(tmp_path: Path, text: str, line: int) -> None:
    path = tmp_path / "site.toml"
    path.write_bytes(text.encode())
    with pytest.raises(DescriptionError) as caught:
        load_description(path)
    found = {problem.key: problem.line for problem in caught.value.problems}
    assert found["site.workers"] == line


def test_a_key_with_a_line_break_in_it_still_makes_one_line(tmp_path: Path) -> None:
    [line] = refuse(tmp_path, '[site]\n"a\\nb\\u2028c" = 1\n')
    assert line.startswith('site.toml:2: site."a\\nb\\u2028c": unknown key; there are region, ')


# ---- not TOML at all


@pytest.mark.parametrize(
    ("content", "line", "said"),
    [
        ("[logs]\nlevel = debug\n", 2, "the value is not valid; text must be in quotes"),
        ("[logs]\nkeep = 1\nkeep = 2\n", 3, "this key is set twice; keep one of the two"),
        ("[logs]\n[site]\n[logs]\n", 3, "this table is given twice; put all its keys under one header"),
        ('[site]\nregion = "a\nworkers = 1\n', 2, "the line ends within a text; close it with a quote"),
        ("[site]\nregion 1\n", 2, "no = after the key; write KEY = VALUE"),
        ("[site\nregion = 1\n", 1, "the table's name is not closed; write [NAME]"),
        ("[site]\n= 1\n", 2, "invalid statement"),
        ("[network]\nmtu = 10.42.0.0\n", 2, "something follows the value; text must be in quotes"),
        ("[site]\nregion = '''a\n\n", 2, "expected \"'''\""),
    ],
)
def test_syntax_errors(tmp_path: Path, content: str, line: int, said: str) -> None:
    [message] = refuse(tmp_path, content)
    assert message.startswith(f"site.toml:{line}: not valid TOML: {said}")


def test_files_that_are_no_text(tmp_path: Path) -> None:
    assert refuse(tmp_path, b"[site]\nregion = '\xff'\n") == ["site.toml:2: is not UTF-8 text; save the file as UTF-8"]
    assert refuse(tmp_path, b"\xef\xbb\xbf[site]\n") == [
        "site.toml:1: begins with a byte order mark; save the file as UTF-8 without one"
    ]


def test_absurd_files_are_refused_in_one_line(tmp_path: Path) -> None:
    assert refuse(tmp_path, "a = " + "[" * 20000) == ["site.toml: is nested too deeply; a description needs one level"]
    assert len(refuse(tmp_path, "[site]\nworkers = " + "9" * 20000)) == 1


# ---- wrong values


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("site.workers", '"2"', "must be an integer, not text; remove the quotes"),
        ("site.workers", "2.0", "must be an integer, not a fractional number"),
        ("site.workers", "1979-05-27", "must be an integer, not a date or time"),
        ("site.port_offset", "50001", "must be from 0 to 50000, not 50001"),
        ("site.region", '"a b"', "must be letters, digits, dot, dash and underscore, at most 64,"),
        ("site.region", '""', "must be letters, digits, dot, dash and underscore, at most 64,"),
        ("site.bind_address", '"localhost"', 'must be an IPv4 or IPv6 address, not "localhost"'),
        ("site.bind_address", '"224.0.0.1"', "must be the address of one host, not multicast 224.0.0.1"),
        ("site.bind_address", '"fe80::1%eth0"', "must be an address without an interface name,"),
        ("ports.identity", "0", "must be from 1 to 65535, not 0"),
        ("ports.identity", "65536", "must be from 1 to 65535, not 65536"),
        ("ports.vnc_first", "5899", "must be from 5900 to 65535, not 5899"),
        ("instance.boot", "1", "must be true or false, not an integer"),
        ("instance.boot", '"true"', "must be true or false, not text; remove the quotes"),
        ("compute.cpu_allocation_ratio", "nan", "must be from 0.1 to 256, not nan"),
        ("compute.cpu_allocation_ratio", "true", "must be a number, not a boolean"),
        ("compute.virt_type", '"KVM"', 'must be one of qemu, kvm, not "KVM"; did you mean kvm?'),
        ("compute.zfs_dataset", '"zroot"', "must be the name of a ZFS dataset below a pool, as in zroot/instances,"),
        (
            "compute.zfs_dataset",
            '"zroot/a b"',
            "must be the name of a ZFS dataset below a pool, as in zroot/instances,",
        ),
        (
            "compute.zfs_dataset",
            '"zroot/a@b"',
            "must be the name of a ZFS dataset below a pool, as in zroot/instances,",
        ),
        ("host.kind", '"freebsb"', 'must be one of freebsd, linux, not "freebsb"; did you mean freebsd?'),
        ("network.mtu", "1279", "must be from 1280 to 9216, not 1279"),
        ("network.local_ip", '"0.0.0.0"', "must be one particular address, not 0.0.0.0"),
        (
            "network.project_cidr",
            '"10.42.0.1/24"',
            "10.42.0.1/24 has host bits set; did you mean 10.42.0.0/24?",
        ),
        ("network.project_cidr", '"10.42.0.0"', 'must be an IPv4 network of /8 to /29, not "10.42.0.0"'),
        ("network.project_cidr", '"fd00::/64"', 'must be an IPv4 network of /8 to /29, not "fd00::/64"'),
        ("network.project_cidr_v6", '"fd00::/48"', 'must be an IPv6 network of /64, not "fd00::/48"'),
        ("network.vlan_range", '"100-199"', 'must be FIRST:LAST within 1 to 4094, such as "100:199", not'),
        (
            "network.vlan_range",
            '"199:100"',
            "must be FIRST:LAST within 1 to 4094, the first not above the last",
        ),
        (
            "network.vlan_range",
            '"0:4095"',
            "must be FIRST:LAST within 1 to 4094, the first not above the last",
        ),
        ("network.dns", '"9.9.9.9"', "must be a list in square brackets, not text"),
        ("network.dns", '["9.9.9.9", 1]', "item 2 must be text in quotes, not an integer"),
        ("network.dns", '["::1", "::01"]', "item 2 repeats ::1; remove one of them"),
        ("network.dns", '["::1", "::2", "::3", "::4", "::5", "::6"]', "must have at most 5 items, not 6"),
    ],
)
def test_a_wrong_value(tmp_path: Path, key: str, value: str, said: str) -> None:
    table, name = key.split(".")
    [message] = refuse(tmp_path, f"[{table}]\n{name} = {value}\n")
    assert message.startswith(f"site.toml:2: {key}: {said}")


def test_a_long_value_is_cut(tmp_path: Path) -> None:
    [message] = refuse(tmp_path, f"[compute]\nvirt_type = '{'x' * 1000}'\n")
    assert len(message) < 200


# ---- values at odds with each other


def test_networks_must_not_overlap_or_share_a_name(tmp_path: Path) -> None:
    text = "[network]\nprovider_cidr = '10.0.0.0/8'\nproject_name = 'provider'\n"
    assert refuse(tmp_path, text) == [
        "site.toml:2: network.provider_cidr: project_cidr 10.42.0.0/24 and provider_cidr 10.0.0.0/8 overlap;"
        " change one of them",
        "site.toml:3: network.project_name: both networks are named provider; give one of them another name",
    ]


def test_ipv6_needs_its_smallest_mtu_inside_the_tunnel(tmp_path: Path) -> None:
    text = "[network]\nproject_cidr_v6 = 'fd00::/64'\nmtu = {}\nproject_type = '{}'\n"
    [message] = refuse(tmp_path, text.format(1329, "vxlan"))
    assert message.startswith("site.toml:3: network.mtu: must be at least 1330 for project_cidr_v6")
    assert load(tmp_path, text.format(1330, "vxlan")).network.mtu == 1330
    assert load(tmp_path, text.format(1280, "vlan")).network.mtu == 1280


# ---- ports


def test_an_offset_moves_the_ports_that_are_not_set(tmp_path: Path) -> None:
    ports = load(tmp_path, "[site]\nport_offset = 20000\n[ports]\nidentity = 5000\nimage = 443\n").ports
    assert (ports.identity, ports.image) == (5000, 443)
    assert (ports.compute, ports.vnc_first, ports.vnc_last) == (28774, 25900, 25999)
    # Loaded ports are final: an offset applied again changes nothing.
    assert ports.resolve(20000) == ports


def test_resolving_by_hand() -> None:
    assert Ports().resolve(0) == Ports()
    assert Ports().resolve(1).identity == 5001
    assert Ports(identity=7000, explicit=frozenset({"identity"})).resolve(1).identity == 7000
    with pytest.raises(ValueError, match=r"^ports\.identity \(80\) and ports\.image \(80\) clash"):
        Ports(identity=80, image=80).resolve(0)


def test_two_ports_the_same(tmp_path: Path) -> None:
    assert refuse(tmp_path, "[ports]\nimage = 5000\n") == [
        "site.toml:2: ports.image: ports.identity (5000) and ports.image (5000) clash; give one of them another port"
    ]
    # The later one in the file is to blame.
    [message] = refuse(tmp_path, "[ports]\nimage = 80\nidentity = 80\n")
    assert message.startswith("site.toml:3: ports.identity: ")


def test_an_offset_that_moves_a_port_onto_a_set_one(tmp_path: Path) -> None:
    [message] = refuse(tmp_path, "[ports]\nimage = 5100\n[site]\nport_offset = 100\n")
    assert message.startswith("site.toml:2: ports.image: ports.identity (5100) and ports.image (5100) clash")


def test_a_port_within_the_guests_ports(tmp_path: Path) -> None:
    assert refuse(tmp_path, "[ports]\nvnc_last = 6080\n") == [
        "site.toml:2: ports.vnc_last: ports.novnc (6080) and ports.vnc_first to ports.vnc_last (5900 to 6080)"
        " clash; give one of them another port"
    ]


def test_guests_ports_the_wrong_way_round(tmp_path: Path) -> None:
    assert refuse(tmp_path, "[ports]\nserial_first = 11000\n") == [
        "site.toml:2: ports.serial_first: ports.serial_first to ports.serial_last (11000 to 10999) ends"
        " before it begins; swap the two"
    ]


def test_an_offset_that_leads_above_the_highest_port(tmp_path: Path) -> None:
    assert refuse(tmp_path, "[site]\nport_offset = 50000\n") == [
        "site.toml:2: site.port_offset: ports.erlang would be 75673, above 65535;"
        " lower site.port_offset by 10138 or more, or set ports.erlang"
    ]
    assert load(tmp_path, "[site]\nport_offset = 39862\n").ports.erlang == 65535


def test_a_wrong_port_is_not_blamed_twice(tmp_path: Path) -> None:
    assert len(refuse(tmp_path, "[ports]\nimage = 0\nidentity = 9292\n")) == 1


# ---- URLs with passwords


@pytest.mark.parametrize(
    ("url", "kept"),
    [
        (f"mysql+pymysql://root:{SECRET}@db.example", f"mysql+pymysql://root:{SECRET}@db.example/"),
        (
            f"mysql+pymysql://root:{SECRET}%40@10.0.0.1:3306/",
            f"mysql+pymysql://root:{SECRET}%40@10.0.0.1:3306/",
        ),
        (
            f"mysql+pymysql://a,b:{SECRET},x@[fd00::1]:3306/",
            f"mysql+pymysql://a,b:{SECRET},x@[fd00::1]:3306/",
        ),
    ],
)
def test_database_urls(tmp_path: Path, url: str, kept: str) -> None:
    database = load(tmp_path, f"[database]\nurl = '{url}'\n").database
    assert database.url == kept
    assert database.masked_url is not None
    assert SECRET not in database.masked_url + repr(database) + str(Description(database=database))
    assert database.masked_url.count("***") == 1


@pytest.mark.parametrize(
    ("url", "kept"),
    [
        (f"rabbit://u:{SECRET}@mq:5672/", f"rabbit://u:{SECRET}@mq:5672/"),
        (f"rabbit://u:{SECRET}@mq", f"rabbit://u:{SECRET}@mq/"),
        (f"rabbit://u:{SECRET}@mq:5672/cloud", f"rabbit://u:{SECRET}@mq:5672/cloud"),
        (f"rabbit://u:{SECRET}@mq:5672//", f"rabbit://u:{SECRET}@mq:5672//"),
        (f"rabbit://u:{SECRET}@a:1,v:{SECRET}@[::1]:2/c", f"rabbit://u:{SECRET}@a:1,v:{SECRET}@[::1]:2/c"),
    ],
)
def test_messaging_urls(tmp_path: Path, url: str, kept: str) -> None:
    messaging = load(tmp_path, f"[messaging]\nurl = '{url}'\n").messaging
    assert messaging.url == kept
    assert messaging.masked_url is not None
    assert SECRET not in messaging.masked_url + repr(messaging) + str(Description(messaging=messaging))
    assert messaging.masked_url.count("***") == url.count(SECRET)


def test_masked_urls_keep_the_rest() -> None:
    assert Database().masked_url is None
    assert Messaging(url="rabbit://u:p@a:1,v:q@b:2/c").masked_url == "rabbit://u:***@a:1,v:***@b:2/c"


@pytest.mark.parametrize(
    ("table", "url", "said"),
    [
        ("database", f"mysql://u:{SECRET}@db/", "the scheme must be mysql+pymysql://"),
        (
            "database",
            f"postgresql://u:{SECRET}@db/",
            "must be mysql+pymysql://USER:PASSWORD@HOST[:PORT]/; only",
        ),
        ("database", f"mysql+pymysql://u:{SECRET}@db/nova", "must not name a database"),
        (
            "database",
            f"mysql+pymysql://u:{SECRET}@db/?ssl=1",
            "must be mysql+pymysql://USER:PASSWORD@HOST[:PORT]/,",
        ),
        (
            "database",
            f"mysql+pymysql://u:{SECRET}#@db/",
            "must be mysql+pymysql://USER:PASSWORD@HOST[:PORT]/,",
        ),
        (
            "database",
            f"mysql+pymysql://u:{SECRET} @db/",
            "must be mysql+pymysql://USER:PASSWORD@HOST[:PORT]/,",
        ),
        (
            "database",
            f"mysql+pymysql://u:{SECRET}é@db/",
            "must be mysql+pymysql://USER:PASSWORD@HOST[:PORT]/,",
        ),
        ("database", f"mysql+pymysql://u:{SECRET}%@db/", "has a % that begins no %XX"),
        ("database", f"mysql+pymysql://u:{SECRET}@x@db/", "has more than one @"),
        ("database", f"mysql+pymysql://u:{SECRET}:x@db/", "has more than one : before the @"),
        (
            "database",
            f"mysql+pymysql://u:{SECRET}/x@db/",
            "must be mysql+pymysql://USER:PASSWORD@HOST[:PORT]/;",
        ),
        (
            "database",
            f"mysql+pymysql://{SECRET}@db/",
            "must be mysql+pymysql://USER:PASSWORD@HOST[:PORT]/; the user",
        ),
        (
            "database",
            f"mysql+pymysql://u:{SECRET}@/",
            "must be mysql+pymysql://USER:PASSWORD@HOST[:PORT]/; the host",
        ),
        (
            "database",
            f"mysql+pymysql://u:{SECRET}@db:0/",
            "must be mysql+pymysql://USER:PASSWORD@HOST[:PORT]/; the",
        ),
        (
            "database",
            f"mysql+pymysql://u:{SECRET}@[::1/",
            "must be mysql+pymysql://USER:PASSWORD@HOST[:PORT]/; the",
        ),
        (
            "database",
            f"mysql+pymysql://db:{SECRET}",
            "must be mysql+pymysql://USER:PASSWORD@HOST[:PORT]/; the user",
        ),
        ("messaging", f"amqp://u:{SECRET}@mq/", "the scheme must be rabbit://"),
        ("messaging", f"rabbit://u:{SECRET}@mq:70000/", "must be rabbit://"),
        ("messaging", f"rabbit://u:{SECRET}@a:1,mq:2/", "must be rabbit://"),
        ("messaging", f"rabbit://u:{SECRET}@mq/a/b", "has more than one / after the host"),
    ],
)
def test_wrong_urls_are_not_quoted(tmp_path: Path, table: str, url: str, said: str) -> None:
    [message] = refuse(tmp_path, f"[{table}]\nurl = '{url}'\n")
    assert message.startswith(f"site.toml:2: {table}.url: {said}")
    assert SECRET not in message


def test_urls_in_the_wrong_shape_or_place_are_not_quoted(tmp_path: Path) -> None:
    url = f"mysql+pymysql://u:{SECRET}@db/"
    lines = refuse(tmp_path, f"database = '{url}'\n[messaging]\nurl = ['{url}']\nur = '{url}'\n")
    assert [line.split(" ")[1] for line in lines] == ["database:", "messaging.url:", "messaging.ur:"]
    assert SECRET not in "".join(lines)


def test_an_empty_url_is_none(tmp_path: Path) -> None:
    assert load(tmp_path, '[database]\nurl = ""\n[network]\nproject_cidr_v6 = ""\n') == Description()


# ---- explain


def uncomment(text: str) -> str:
    return "".join(
        line[1:] if line.startswith("#") and not line.startswith("# ") else line
        for line in text.splitlines(keepends=True)
    )


def test_the_explained_file_gives_the_defaults(tmp_path: Path) -> None:
    assert load(tmp_path, explain()) == Description()
    assert load(tmp_path, uncomment(explain())) == Description()


def test_the_explained_file_has_every_key_with_unit_and_default() -> None:
    keys = {table: set(content) for table, content in tomllib.loads(uncomment(explain())).items()}
    expected = {}
    for table in dataclasses.fields(Description):
        if table.name != "source":
            content = dataclasses.fields(getattr(Description(), table.name))
            expected[table.name] = {field.name for field in content} - {"explicit"}
    assert keys == expected
    assert (
        "# InnoDB buffer pool of the site's own MariaDB.\n"
        "# Unit: MiB. Accepts: 16 to 1048576. Default: 96.\n"
        "#buffer_pool_mb = 96\n"
    ) in explain()
    assert max(len(line) for line in explain().splitlines()) <= 100
