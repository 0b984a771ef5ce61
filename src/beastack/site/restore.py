"""A backup put back: onto a machine without a site, or over a site that is down.

In two parts, so that neither can be cut short into something half done. ``stage`` unpacks the whole archive beside the
site, and only when its last byte has been read and agreed with its checksum replaces the site's own files. ``up`` then
puts the data in place once the services' users exist, and loads the databases before it brings their schemas to its own
release. What is staged is a directory, and each part moves out of it by a rename: who is interrupted goes on.
"""

from __future__ import annotations

import contextlib
import grp
import gzip
import json
import os
import pwd
import shutil
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from beastack.freebsd.command import run
from beastack.site import data_services, release
from beastack.site.backup import DATA as DATA_PARTS
from beastack.site.backup import (
    DATABASE_DUMP,
    DESCRIPTION,
    END,
    IMAGES,
    INSTANCES,
    MANIFEST,
    SITE_FILES,
    BackupError,
    Manifest,
    Progress,
    read_manifest,
)
from beastack.site.configuration import Site
from beastack.site.layout import Layout

#: A run of zeros of this size becomes a hole in the file.
BLOCK = 1 << 16
#: In the staged directory: owners by path; and that all data are in their places.
OWNERS, PLACED = "owners.json", "placed"
#: What the services of a site that is restored over must not find: they are made anew.
STALE = ("mariadb/data", "mariadb/tmp", "mariadb/initialized", "rabbitmq/mnesia", "rabbitmq/made-for")


def staged(layout: Layout) -> Path:
    """Return where a backup lies that the next ``up`` puts in place."""
    return layout.root / "restore"


def _arriving(layout: Layout) -> Path:
    return layout.root / "restore.part"


def _replacing(layout: Layout) -> Path:
    return layout.root / "restore.new"


def is_staged(layout: Layout) -> bool:
    """Return whether there is something for ``up`` to put in place."""
    return staged(layout).exists()


def is_waiting(layout: Layout) -> bool:
    """Return whether nothing of it is in place yet: then nothing of the site may run."""
    return is_staged(layout) and not (staged(layout) / PLACED).exists()


def is_cut_short(layout: Layout) -> bool:
    """Return whether a restore ended while it replaced the site's own files: some are old, some new."""
    return _replacing(layout).exists()


# The first part: restore


def stage(layout: Layout, stream: IO[bytes], progress: Progress) -> Manifest:
    """Unpack a backup beside the site and make the site's own files those of the backup; return what it is of.

    :raises BackupError: it is no whole backup, or not one of this site
    """
    arriving, replacing = _arriving(layout), _replacing(layout)
    layout.root.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(arriving, ignore_errors=True)
    arriving.mkdir(mode=0o700)
    try:
        manifest = _unpack(layout, stream, arriving, progress)
    except BaseException:
        shutil.rmtree(arriving, ignore_errors=True)
        raise
    for old in (replacing, staged(layout)):
        shutil.rmtree(old, ignore_errors=True)
    arriving.replace(replacing)
    _replace_site_files(layout, manifest, replacing, progress)
    replacing.replace(staged(layout))
    return manifest


def _unpack(layout: Layout, stream: IO[bytes], target: Path, progress: Progress) -> Manifest:
    owners: dict[str, tuple[str, str, int]] = {}
    manifest: Manifest | None = None
    whole = False
    try:
        with (
            gzip.GzipFile(fileobj=stream, mode="rb") as packed,
            tarfile.open(fileobj=packed, mode="r|") as archive,
        ):
            for member in archive:
                if manifest is None:
                    manifest = _first(archive, member)
                    check(layout, manifest)
                    progress(f"a backup of {manifest.made}, of the host {manifest.host}")
                elif member.name == END:
                    whole = True
                else:
                    _extract(archive, member, target)
                    owners[member.name] = (member.uname, member.gname, member.mode & 0o7777)
            while packed.read(BLOCK):
                pass  # to the checksum at its end
    except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise BackupError(f"the backup is damaged or cut short ({error}): use another one") from error
    if manifest is None or not whole:
        raise BackupError("the backup is cut short: its end is missing; use another one")
    (target / OWNERS).write_text(json.dumps(owners))
    (target / MANIFEST).write_text(manifest.to_text())
    return manifest


def _first(archive: tarfile.TarFile, member: tarfile.TarInfo) -> Manifest:
    content = archive.extractfile(member) if member.name == MANIFEST and member.isreg() else None
    if content is None:
        raise BackupError("this is not a backup of a site: it does not begin with a manifest")
    return read_manifest(content.read().decode(errors="replace"))


def check(layout: Layout, manifest: Manifest) -> None:
    """Check that a backup can become this site. Raises BackupError."""
    if manifest.root != str(layout.root):
        # Databases hold paths, and users are named after the place.
        raise BackupError(f"it is of the site at {manifest.root}: restore it there (--root {manifest.root})")
    if manifest.release > release.RELEASE:
        raise BackupError(
            f"it is of OpenStack {manifest.release}, newer than this beastack's {release.RELEASE}: use a newer beastack"
        )
    if layout.marker.exists():
        with contextlib.suppress(ValueError, AttributeError):
            host = json.loads(layout.marker.read_text()).get("host", {})
            if host and (host.get("kind"), host.get("role")) != (manifest.kind, manifest.role):
                raise BackupError(
                    f"it is of a host of kind {manifest.kind} with role {manifest.role}, and the site here is "
                    f"{host.get('kind')} with role {host.get('role')}: destroy that first"
                )


def _extract(archive: tarfile.TarFile, member: tarfile.TarInfo, target: Path) -> None:
    """Unpack one file or directory, for root alone; owners and modes come with ``put_in_place``."""
    parts = Path(member.name).parts
    if Path(member.name).is_absolute() or ".." in parts or not (member.isreg() or member.isdir()):
        raise BackupError(f"this is not a backup of a site: it has {member.name!r} in it")
    path = target.joinpath(*parts)
    if member.isdir():
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        return
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    content = archive.extractfile(member)
    assert content is not None  # it is a regular file
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        for block in _blocks(content):
            if any(block):
                file.write(block)
            else:
                file.seek(len(block), os.SEEK_CUR)
        file.truncate(member.size)
        file.flush()
        os.fsync(file.fileno())


def _blocks(stream: IO[bytes]) -> Iterator[bytes]:
    while block := stream.read(BLOCK):
        yield block


def _replace_site_files(layout: Layout, manifest: Manifest, source: Path, progress: Progress) -> None:
    """Make the site's own files those of the backup, the one that says that there is a site last."""
    description = source / DESCRIPTION
    if manifest.description is not None and description.exists():
        place = Path(manifest.description)
        if place.exists() and place.read_bytes() != description.read_bytes() and place.parent != layout.root:
            progress(f"{place} is left as it is; the backup's is {staged(layout) / DESCRIPTION} until up")
        else:
            place.parent.mkdir(parents=True, exist_ok=True)
            _copy(description, place)
    for name in (*SITE_FILES[1:], SITE_FILES[0]):
        if (source / name).exists():
            _copy(source / name, layout.root / name)
        else:
            (layout.root / name).unlink(missing_ok=True)
    layout.root.chmod(0o711)


def _copy(source: Path, target: Path) -> None:
    temporary = target.with_name(f".{target.name}.new")
    shutil.copyfile(source, temporary)
    temporary.chmod(0o600)
    temporary.replace(target)


# The second part: up


def put_in_place(site: Site, progress: Progress) -> None:
    """Give the staged data their owners and move them to their places; nothing of the site may run yet.

    :raises BackupError: the backup is of a host of another name
    """
    source = staged(site.layout)
    if not is_waiting(site.layout):
        return
    manifest = read_manifest((source / MANIFEST).read_text())
    if manifest.host != site.hostname:
        # Instances, agents and resources are those of a host of that name.
        raise BackupError(
            f"the backup is of the host {manifest.host}, and this one is {site.hostname}: "
            f"name it {manifest.host} first, then up again"
        )
    progress("putting the backup in place")
    owners: dict[str, tuple[str, str, int]] = json.loads((source / OWNERS).read_text())
    for name, (user, group, mode) in owners.items():
        path = source / name
        if name.startswith("data/") and path.exists():
            uid = 0 if user == "root" else pwd.getpwnam(site.layout.user(user)).pw_uid
            gid = 0 if group == "root" else grp.getgrnam(site.layout.user(group)).gr_gid
            os.chown(path, uid, gid)
            path.chmod(mode)
    data = site.layout.root / "data"
    for name in STALE if manifest.database else ():
        _remove(data / name)
    for name in (*DATA_PARTS, IMAGES, INSTANCES):
        if (source / "data" / name).exists():
            _remove(data / name)
            (data / name).parent.mkdir(parents=True, exist_ok=True)
            (source / "data" / name).replace(data / name)
    (source / PLACED).touch()


def load_databases(site: Site, progress: Progress) -> None:
    """Load the staged databases, if there are any; done twice it comes to the same.

    :raises CommandError: the server refused
    """
    dump = staged(site.layout) / DATABASE_DUMP
    if not dump.exists():
        return
    progress("loading the databases")
    run(
        ["mariadb", "--no-defaults", f"--socket={data_services.mariadb_socket(site)}", f"--execute=source {dump}"],
        timeout=3600,
    )
    dump.unlink()


def finish(layout: Layout) -> None:
    """Remove what is left of a backup that is in place."""
    shutil.rmtree(staged(layout), ignore_errors=True)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
