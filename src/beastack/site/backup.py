"""What a site cannot do without, in one file: its databases, images and keys, while it runs.

The file is a gzipped tar archive. ``manifest.json`` comes first and says what the archive is of, ``end`` comes last
and says that it is whole. Owners are kept by the names of services: numbers differ between machines.

Left out is what ``up`` makes again (packages, the virtual environment, configuration), what is void after a stop
(messages), and what belongs to the machine rather than to the cloud (records for ``destroy``). Instances' disks are in
it only when asked for, and when no instance runs.
"""

from __future__ import annotations

import contextlib
import dataclasses
import grp
import gzip
import io
import json
import os
import pwd
import shutil
import tarfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import beastack
from beastack.freebsd.command import run
from beastack.site import data_services, release
from beastack.site import host as hosts
from beastack.site.configuration import DATABASES, Site
from beastack.site.layout import Layout

FORMAT = 1  # of the archive; a newer one is refused

MANIFEST, END, DATABASE_DUMP = "manifest.json", "end", "databases.sql"
#: Where the site's description is in the archive, wherever it was read from.
DESCRIPTION = "description.toml"

#: Files of the site's own.
SITE_FILES = ("site.json", "secrets.json", "hosts.json", "id_ed25519", "id_ed25519.pub")
#: Directories and files whose content nothing else has.
DATA = ("first", "schema", "keystone", "guest-image", "nova/compute_id")
IMAGES = "glance/images"
INSTANCES = "nova/instances"
#: ``up`` makes the databases and their users, and then loads the dump: what says that it did so is left out.
LEFT_OUT = ("schema/databases",)

Progress = Callable[[str], None]


class BackupError(Exception):
    """A backup that cannot be made or used; one line says why and what to do."""


@dataclass(frozen=True)
class Manifest:
    """What an archive is of. ``description`` is where the site's description was read from."""

    format: int
    version: str
    release: str
    root: str
    host: str
    kind: str
    role: str
    made: str
    database: bool
    disks: bool
    description: str | None

    def to_text(self) -> str:
        """Return it as JSON."""
        return json.dumps(dataclasses.asdict(self), indent=1) + "\n"


def read_manifest(text: str) -> Manifest:
    """Return the manifest that ``to_text`` wrote; what a newer one says besides is left out.

    :raises BackupError: it is not one, or of a format that this release does not know
    """
    try:
        data: dict[str, Any] = json.loads(text)
        number = int(data["format"])
        if number > FORMAT:
            raise BackupError(
                f"the backup was made by a newer beastack (format {number}, this one knows {FORMAT}): "
                f"use beastack {data.get('version', 'of that release')} or newer"
            )
        return Manifest(**{field.name: data[field.name] for field in dataclasses.fields(Manifest)})
    except (ValueError, KeyError, TypeError) as error:
        raise BackupError("this is not a backup of a site: its manifest is damaged") from error


# The file


@contextlib.contextmanager
def new_file(path: Path) -> Iterator[IO[bytes]]:
    """Open a file that only its owner can read, and that has its name only when it is whole.

    :raises BackupError: there is a file of that name already
    """
    if path.exists():
        raise BackupError(f"{path} exists already: choose another name, or remove it")
    temporary = path.with_name(f".{path.name}.part")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            os.fchmod(descriptor, 0o600)  # of an earlier attempt's file too
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def describe(path: Path) -> str:
    """Return a backup's name and size in one line."""
    return f"{path}: {path.stat().st_size / (1 << 20):.1f} MiB. Whoever reads it has every password of the cloud."


# What is in it


def make(site: Site, stream: IO[bytes], progress: Progress, *, disks: bool = False) -> None:
    """Write a backup of a running site.

    :raises BackupError: the site has no control role, its database does not answer, or an instance runs whose disk is
        asked for
    :raises CommandError: the database cannot be dumped
    """
    if not site.description.host.has_control:
        raise BackupError("this host keeps nothing that up does not make again: back up the control host")
    answers, seen = data_services.database_answers(site)
    if not answers:
        raise BackupError(f"the database does not answer ({seen}): bring the site up first (beastack up)")
    if disks:
        _refuse_running(site)
    private = site.description.database.url is None
    work = site.layout.root / "cache" / "backup"
    shutil.rmtree(work, ignore_errors=True)  # of a backup that was killed
    work.mkdir(mode=0o700, parents=True)
    try:
        # Opened before the databases are read and again after: an image that one of them knows and that is deleted
        # meanwhile can still be read.
        with (
            contextlib.ExitStack() as stack,
            # Fast: disks are mostly zeros, and images are often compressed already.
            gzip.GzipFile(fileobj=stream, mode="wb", compresslevel=1, filename="", mtime=0) as packed,
            tarfile.open(fileobj=packed, mode="w|", format=tarfile.PAX_FORMAT) as archive,
        ):
            images = _open_images(site, stack)
            writer = _Writer(site.layout, archive)
            writer.text(MANIFEST, _manifest(site, disks=disks).to_text())
            if private:
                progress("dumping the databases")
                dump(site, work / DATABASE_DUMP)
                writer.file(work / DATABASE_DUMP, DATABASE_DUMP)
            images |= _open_images(site, stack)
            if site.description.source is not None:
                writer.file(site.description.source, DESCRIPTION)
            for name in SITE_FILES:
                if (site.layout.root / name).exists():
                    writer.file(site.layout.root / name, name)
            for name in DATA:
                writer.tree(site.layout.root / "data" / name, f"data/{name}")
            writer.directory(site.layout.root / "data" / IMAGES, f"data/{IMAGES}")
            for name, image in sorted(images.items()):
                progress(f"image {name}")
                writer.stream(image, f"data/{IMAGES}/{name}")
            if disks:
                _write_disks(site, writer, progress)
            writer.text(END, "")
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _manifest(site: Site, *, disks: bool) -> Manifest:
    host = site.description.host
    return Manifest(
        format=FORMAT, version=beastack.__version__, release=release.RELEASE, root=str(site.layout.root),
        host=site.hostname, kind=host.kind, role=host.role,
        made=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), database=site.description.database.url is None,
        disks=disks, description=None if site.description.source is None else str(site.description.source),
    )  # fmt: skip


def dump(site: Site, target: Path) -> None:
    """Write all databases of the private server to a file, as they are at one moment, while they are used.

    :raises CommandError: the server refused
    """
    databases = [name for names in DATABASES.values() for name in names]
    run(
        [
            "mariadb-dump", "--no-defaults", f"--socket={data_services.mariadb_socket(site)}",
            # One transaction sees all tables (InnoDB) as they were when it began, and locks none.
            "--single-transaction", "--quick", "--hex-blob", f"--result-file={target}", "--databases", *databases,
        ],
        timeout=3600,
    )  # fmt: skip


def _refuse_running(site: Site) -> None:
    if not site.description.host.has_guests:
        raise BackupError("there are no instances' disks on this host")
    dataset = site.description.compute.zfs_dataset
    if dataset is not None:
        raise BackupError(f"disks are ZFS volumes below {dataset}: leave --disks out, and use zfs snapshot, zfs send")
    running = hosts.hypervisor(site.description.host.kind).running_guests(site)
    if running:
        raise BackupError(
            f"an instance runs ({running[0]}), and the copy of a disk in use is worth nothing: "
            "stop all instances first (openstack server stop), or leave --disks out"
        )


def _open_images(site: Site, stack: contextlib.ExitStack) -> dict[str, IO[bytes]]:
    images: dict[str, IO[bytes]] = {}
    directory = site.layout.root / "data" / IMAGES
    for path in sorted(directory.iterdir()) if directory.exists() else ():
        with contextlib.suppress(FileNotFoundError):  # deleted just now
            images[path.name] = stack.enter_context(path.open("rb"))
    return images


def _write_disks(site: Site, writer: _Writer, progress: Progress) -> None:
    instances = site.layout.root / "data" / INSTANCES
    writer.directory(instances, f"data/{INSTANCES}")
    for entry in sorted(instances.iterdir()):
        # bhyve's disks stand alone; those of QEMU lie over the images in _base.
        if entry.name == "locks" or (entry.name == "_base" and site.is_freebsd):
            continue
        progress(f"disks {entry.name}")
        writer.tree(entry, f"data/{INSTANCES}/{entry.name}")


class _Writer:
    """Puts files into an archive, with their owners by the names of services."""

    def __init__(self, layout: Layout, archive: tarfile.TarFile) -> None:
        self.archive = archive
        self.prefix = f"{layout.prefix}-"

    def text(self, name: str, text: str) -> None:
        """Put a text in, as a file of root's."""
        info = tarfile.TarInfo(name)
        info.size, info.mode, info.mtime = len(text.encode()), 0o600, int(time.time())
        info.uname = info.gname = "root"
        self.archive.addfile(info, io.BytesIO(text.encode()))

    def tree(self, path: Path, name: str) -> None:
        """Put a file or a directory in, with all that is in it; what is not there is left out."""
        if name.removeprefix("data/") in LEFT_OUT or not path.exists():
            return
        if not path.is_dir():
            self.file(path, name)
            return
        self.directory(path, name)
        for entry in sorted(path.iterdir()):
            self.tree(entry, f"{name}/{entry.name}")

    def directory(self, path: Path, name: str) -> None:
        """Put a directory in, without what is in it."""
        self.archive.addfile(self._information(path.stat(), name, tarfile.DIRTYPE))

    def file(self, path: Path, name: str) -> None:
        """Put a file in."""
        with path.open("rb") as stream:
            self.stream(stream, name)

    def stream(self, stream: IO[bytes], name: str) -> None:
        """Put an open file in, as long as it is now."""
        status = os.fstat(stream.fileno())
        information = self._information(status, name, tarfile.REGTYPE)
        information.size = status.st_size
        self.archive.addfile(information, stream)

    def _information(self, status: os.stat_result, name: str, kind: bytes) -> tarfile.TarInfo:
        information = tarfile.TarInfo(name)
        information.type, information.mode, information.mtime = kind, status.st_mode & 0o7777, int(status.st_mtime)
        information.uname = self._service(lambda: pwd.getpwuid(status.st_uid).pw_name)
        information.gname = self._service(lambda: grp.getgrgid(status.st_gid).gr_name)
        return information

    def _service(self, look_up: Callable[[], str]) -> str:
        """Return which service of the site a user or group is of, and root for all others."""
        try:
            name = look_up()
        except KeyError:
            return "root"
        return name.removeprefix(self.prefix) if name.startswith(self.prefix) else "root"
