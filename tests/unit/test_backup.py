"""A backup is whole or is none, and puts back what was there."""

from __future__ import annotations

import dataclasses
import gzip
import io
import json
import os
import stat
import tarfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from beastack.site import backup, data_services, operate, release, restore
from beastack.site.backup import BackupError, Manifest, new_file, read_manifest
from beastack.site.configuration import Facts, Site
from beastack.site.description import Database, Description, Hosts
from beastack.site.layout import Layout
from beastack.site.secrets import load_or_make

HOLE = 1 << 20


@pytest.fixture(autouse=True)
def database(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A database server that can be dumped and loaded, and what happens while it is."""
    server = SimpleNamespace(meanwhile=lambda: None, loaded=[], answers=True)

    def dump(site: Site, target: Path) -> None:
        server.meanwhile()
        target.write_text("CREATE DATABASE `nova`;\n")

    monkeypatch.setattr(backup, "dump", dump)
    monkeypatch.setattr(data_services, "database_answers", lambda site: (server.answers, "no socket"))
    monkeypatch.setattr(restore, "run", lambda argv, **rest: server.loaded.append(argv))
    return server


@pytest.fixture
def owners(monkeypatch: pytest.MonkeyPatch) -> dict[str, tuple[int, int]]:
    """Services' users that exist, and what was given to whom."""
    given: dict[str, tuple[int, int]] = {}
    monkeypatch.setattr(os, "chown", lambda path, uid, gid: given.update({Path(path).name: (uid, gid)}))
    monkeypatch.setattr(restore.pwd, "getpwnam", lambda name: SimpleNamespace(pw_uid=7000 + len(name)))
    monkeypatch.setattr(restore.grp, "getgrnam", lambda name: SimpleNamespace(gr_gid=7000 + len(name)))
    return given


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """A site with something of everything."""
    layout = Layout(tmp_path / "site")
    layout.root.mkdir()
    (layout.root / "site.toml").write_text('[site]\nregion = "North"\n')
    layout.marker.write_text('{"format": 1, "host": {"kind": "freebsd", "role": "all"}}\n')
    for name, content in {
        "id_ed25519": b"key", "data/keystone/fernet-keys/0": b"fernet", "data/first/image": b"1",
        "data/schema/nova": b"2", "data/schema/databases": b"3", "data/glance/images/one": b"image",
        "data/nova/compute_id": b"uuid", "data/nova/instances/a/disk": b"\1" + bytes(HOLE) + b"\2",
        "data/nova/instances/_base/b": b"base", "data/mariadb/data/ibdata1": b"pages", "log/nova.log": b"log",
    }.items():  # fmt: skip
        path = layout.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    description = Description(host=Hosts(kind="freebsd"), source=layout.root / "site.toml")
    return Site(layout, description, load_or_make(layout.secrets), Facts(2, "box", "/x", "/usr/bin/python3", "/x"))


def quiet(text: str) -> None:
    """Say nothing."""


def made(site: Site, **options: Any) -> bytes:
    stream = io.BytesIO()
    backup.make(site, stream, quiet, **options)
    return stream.getvalue()


def names(archive: bytes) -> list[str]:
    with tarfile.open(fileobj=io.BytesIO(archive)) as opened:
        return opened.getnames()


def staged(site: Site, archive: bytes) -> Manifest:
    return restore.stage(site.layout, io.BytesIO(archive), quiet)


def elsewhere(site: Site) -> Site:
    """The same place on another machine: nothing is there."""
    site.layout.root.rename(site.layout.root.with_name("lost"))
    return site


def rewritten(archive: bytes, change: Callable[[str, bytes], bytes | None], extra: str = "") -> bytes:
    """An archive with other contents; None leaves one out."""
    out = io.BytesIO()
    with (
        tarfile.open(fileobj=io.BytesIO(archive)) as old,
        gzip.GzipFile(fileobj=out, mode="wb") as packed,
        tarfile.open(fileobj=packed, mode="w|") as new,
    ):
        for member in old:
            content = old.extractfile(member)
            data = change(member.name, content.read() if content else b"")
            if data is not None:
                member.size = len(data)
                new.addfile(member, io.BytesIO(data))
        if extra:
            new.addfile(tarfile.TarInfo(extra))
    return out.getvalue()


def with_manifest(archive: bytes, **values: Any) -> bytes:
    def change(name: str, data: bytes) -> bytes:
        return json.dumps({**json.loads(data), **values}).encode() if name == backup.MANIFEST else data

    return rewritten(archive, change)


# What is in it.


def test_the_manifest_is_first_and_the_end_last(site: Site) -> None:
    found = names(made(site))
    assert (found[0], found[-1]) == ("manifest.json", "end")


def test_it_has_what_nothing_else_has_and_nothing_that_up_makes(site: Site) -> None:
    found = set(names(made(site)))
    own = {"secrets.json", "site.json", "id_ed25519", "databases.sql", "description.toml"}
    data = {"keystone/fernet-keys/0", "glance/images/one", "nova/compute_id", "first/image", "schema/nova"}
    assert own | {f"data/{name}" for name in data} <= found
    # Without it up makes the databases, and then loads them.
    assert "data/schema/databases" not in found
    assert not [name for name in found if name.startswith(("log", "data/mariadb", "data/nova/instances"))]


def test_an_image_deleted_meanwhile_is_in_it_and_so_is_a_new_one(site: Site, database: SimpleNamespace) -> None:
    images = site.layout.data("glance") / "images"

    def meanwhile() -> None:
        (images / "one").unlink()
        (images / "two").write_text("new")

    database.meanwhile = meanwhile
    assert {"data/glance/images/one", "data/glance/images/two"} <= set(names(made(site)))


def test_disks_when_asked_for_without_the_cache_of_images(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backup.hosts.hypervisor("freebsd"), "running_guests", lambda site: [])
    found = names(made(site, disks=True))
    assert "data/nova/instances/a/disk" in found
    assert "data/nova/instances/_base/b" not in found


def test_a_disk_in_use_is_refused(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backup.hosts.hypervisor("freebsd"), "running_guests", lambda site: ["instance-1"])
    with pytest.raises(BackupError, match="instance-1"):
        made(site, disks=True)


def test_disks_that_are_volumes_are_left_to_zfs(site: Site) -> None:
    compute = dataclasses.replace(site.description.compute, zfs_dataset="tank/instances")
    with pytest.raises(BackupError, match=r"tank/instances.*zfs send"):
        made(dataclasses.replace(site, description=dataclasses.replace(site.description, compute=compute)), disks=True)


def test_a_database_that_does_not_answer_is_refused(site: Site, database: SimpleNamespace) -> None:
    database.answers = False
    with pytest.raises(BackupError, match=r"no socket.*beastack up"):
        made(site)


def test_a_database_of_somebody_elses_is_left_to_them(site: Site) -> None:
    url = "mysql+pymysql://me:secret@db/"
    site = dataclasses.replace(site, description=dataclasses.replace(site.description, database=Database(url=url)))
    archive = made(site)
    assert "databases.sql" not in names(archive)
    assert staged(site, archive).database is False


def test_a_host_without_the_control_role_has_nothing_to_keep(site: Site) -> None:
    host = Hosts(kind="freebsd", role="network")
    with pytest.raises(BackupError, match="control host"):
        made(dataclasses.replace(site, description=dataclasses.replace(site.description, host=host)))


# The file.


def test_the_file_is_its_owners_alone(tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        with new_file(tmp_path / "b") as stream:
            stream.write(b"x")
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / "b").stat().st_mode) == 0o600


def test_a_backup_that_fails_leaves_no_file(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), new_file(tmp_path / "b") as stream:
        stream.write(b"half")
        raise RuntimeError
    assert not list(tmp_path.iterdir())


def test_a_file_that_is_there_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "b").write_text("yesterday's")
    with pytest.raises(BackupError, match="exists already"), new_file(tmp_path / "b"):
        pass
    assert (tmp_path / "b").read_text() == "yesterday's"


# Putting it back.


def test_everything_is_back_where_it_was(site: Site, owners: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backup.hosts.hypervisor("freebsd"), "running_guests", lambda site: [])
    archive = made(site, disks=True)
    site = elsewhere(site)
    staged(site, archive)
    restore.put_in_place(site, quiet)
    for name in ("site.toml", "secrets.json", "site.json", "id_ed25519", "data/keystone/fernet-keys/0",
                 "data/glance/images/one", "data/nova/compute_id", "data/nova/instances/a/disk"):  # fmt: skip
        assert (site.layout.root / name).read_bytes() == (site.layout.root.with_name("lost") / name).read_bytes()
    assert stat.S_IMODE(site.layout.secrets.stat().st_mode) == 0o600


def test_holes_stay_holes(site: Site, owners: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backup.hosts.hypervisor("freebsd"), "running_guests", lambda site: [])
    staged(site, made(site, disks=True))
    disk = restore.staged(site.layout) / "data/nova/instances/a/disk"
    assert disk.stat().st_size == HOLE + 2
    assert disk.stat().st_blocks * 512 < HOLE


def test_owners_go_by_the_names_of_services(
    site: Site, owners: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    name = site.layout.user("glance")
    monkeypatch.setattr(backup.pwd, "getpwuid", lambda uid: SimpleNamespace(pw_name=name))
    monkeypatch.setattr(backup.grp, "getgrgid", lambda gid: SimpleNamespace(gr_name="wheel"))
    archive = made(site)
    with tarfile.open(fileobj=io.BytesIO(archive)) as opened:
        assert opened.getmember("data/glance/images/one").uname == "glance"
    staged(site, archive)
    restore.put_in_place(site, quiet)
    assert owners["one"] == (7000 + len(name), 0)


def test_what_the_site_has_meanwhile_made_gives_way(site: Site, owners: dict[str, Any]) -> None:
    archive = made(site)
    (site.layout.data("glance") / "images" / "later").write_text("later")
    staged(site, archive)
    restore.put_in_place(site, quiet)
    assert [path.name for path in (site.layout.data("glance") / "images").iterdir()] == ["one"]
    assert not (site.layout.data("mariadb") / "data").exists()
    # Disks that are not in the backup stay.
    assert (site.layout.data("nova") / "instances" / "a" / "disk").exists()


def test_hosts_added_since_are_not_known_any_more(site: Site) -> None:
    archive = made(site)
    (site.layout.root / "hosts.json").write_text("{}")
    staged(site, archive)
    assert not (site.layout.root / "hosts.json").exists()


def test_hosts_that_were_added_are_known_again(site: Site) -> None:
    (site.layout.root / "hosts.json").write_text('{"two": {}}')
    archive = made(site)
    site = elsewhere(site)
    staged(site, archive)
    assert (site.layout.root / "hosts.json").read_text() == '{"two": {}}'


def test_done_twice_it_is_done_once(site: Site, owners: dict[str, Any], database: SimpleNamespace) -> None:
    staged(site, made(site))
    restore.put_in_place(site, quiet)
    restore.load_databases(site, quiet)
    (site.layout.data("glance") / "images" / "new").write_text("made since")
    restore.put_in_place(site, quiet)
    restore.load_databases(site, quiet)
    assert (site.layout.data("glance") / "images" / "new").exists()
    assert len(database.loaded) == 1
    restore.finish(site.layout)
    assert not restore.is_staged(site.layout)


def test_cut_short_while_putting_in_place_it_goes_on(
    site: Site, owners: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    staged(site, made(site))
    replaced: list[Path] = []

    def replace(path: Path, target: Path, real: Any = Path.replace) -> Path:
        if len(replaced) == 2:
            raise KeyboardInterrupt
        replaced.append(path)
        moved: Path = real(path, target)
        return moved

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Path, "replace", replace)
        restore.put_in_place(site, quiet)
    assert restore.is_waiting(site.layout)
    restore.put_in_place(site, quiet)
    assert (site.layout.data("glance") / "images" / "one").read_text() == "image"
    assert (site.layout.data("keystone") / "fernet-keys" / "0").read_text() == "fernet"


def test_a_host_of_another_name_is_told_to_take_the_name(site: Site, owners: dict[str, Any]) -> None:
    staged(site, made(site))
    other = dataclasses.replace(site, facts=dataclasses.replace(site.facts, hostname="other"))
    with pytest.raises(BackupError, match="name it box first"):
        restore.put_in_place(other, quiet)
    assert restore.is_waiting(site.layout)


# What is refused, before anything is changed.


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda archive: archive[: len(archive) // 2], "cut short"),
        (lambda archive: archive[:-4] + b"\0\0\0\0", "damaged"),
        (lambda archive: b"not an archive", "damaged"),
        (lambda archive: b"", "cut short"),
        (lambda archive: gzip.compress(b"not an archive"), "damaged"),
        (lambda archive: rewritten(archive, lambda name, data: None if name == "end" else data), "end is missing"),
        (lambda archive: rewritten(archive, lambda name, data: None if name == "manifest.json" else data), "manifest"),
        (lambda archive: rewritten(archive, lambda name, data: data, extra="../../etc/passwd"), "etc/passwd"),
        (lambda archive: rewritten(archive, lambda name, data: data, extra="/etc/passwd"), "etc/passwd"),
        (lambda archive: with_manifest(archive, format=99), "newer beastack"),
        (lambda archive: with_manifest(archive, release="2999.1"), r"newer than this beastack's"),
        (lambda archive: with_manifest(archive, root="/elsewhere"), "--root /elsewhere"),
        (lambda archive: with_manifest(archive, role="control"), "destroy that first"),
    ],
)
def test_what_is_not_a_backup_of_this_site_changes_nothing(
    site: Site, spoil: Callable[[bytes], bytes], says: str
) -> None:
    archive = spoil(made(site))
    site.layout.secrets.write_text("{}")
    with pytest.raises(BackupError, match=says):
        staged(site, archive)
    assert site.layout.secrets.read_text() == "{}"
    assert not [path for path in site.layout.root.iterdir() if path.name.startswith("restore")]


def test_an_older_releases_backup_is_taken(site: Site) -> None:
    assert release.RELEASE > "2000.1"
    assert staged(site, with_manifest(made(site), release="2000.1")).release == "2000.1"


def test_a_damaged_manifest() -> None:
    with pytest.raises(BackupError, match="damaged"):
        read_manifest('{"format": 1}')


def test_a_restore_that_was_cut_short_stops_up_and_is_done_again(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = made(site)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(restore, "_copy", lambda source, target: (_ for _ in ()).throw(KeyboardInterrupt))
        staged(site, archive)
    with pytest.raises(operate.SiteError, match="run it again"):
        operate.make_site(site.layout, site.description)
    staged(site, archive)
    assert restore.is_waiting(site.layout) and not restore.is_cut_short(site.layout)


def test_a_description_elsewhere_that_differs_is_left_alone(site: Site, tmp_path: Path) -> None:
    place = tmp_path / "etc" / "site.toml"
    place.parent.mkdir()
    place.write_text("# then\n")
    archive = made(dataclasses.replace(site, description=dataclasses.replace(site.description, source=place)))
    place.write_text("# now\n")
    said: list[str] = []
    restore.stage(site.layout, io.BytesIO(archive), said.append)
    assert place.read_text() == "# now\n"
    assert any(str(place) in text for text in said)
    place.unlink()
    staged(site, archive)
    assert place.read_text() == "# then\n"
