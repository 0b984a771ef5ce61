"""``image add``: a disk image from a file or a URL, looked at before the cloud gets it.

An image comes from somewhere else and may be anything: a web page where a
download was expected, an archive, a disk that names other files of this host
as its contents. What it is is told by its content, never by its name, and
whatever it should not be ends in one clear line before it is uploaded.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import hashlib
import http.client
import json
import os
import re
import shutil
import stat
import tempfile
import urllib.error
import urllib.parse
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from email.message import Message
from pathlib import Path
from typing import IO, Any

from beastack.freebsd.command import CommandError, run
from beastack.site import resources
from beastack.site.api import Cloud

Progress = Callable[[str], None]

SECTOR = 512
BLOCK = 1024 * 1024
#: Seconds without a byte until a download is given up.
DOWNLOAD_TIMEOUT = 60.0
#: What is looked at to tell what a file is: everything that matters stands before it.
HEAD = 1024 * 1024
#: Per cent between two reports of progress.
REPORT_EVERY = 10
#: Glance keeps names of up to this many characters.
NAME_MAX = 255

#: Offset 510 of a disk's first sector, whatever its partition table (UEFI 2.10, 5.2.1 and 5.2.3).
_BOOT_SIGNATURE = b"\x55\xaa"
#: The GUID of an EFI system partition's type, as it is stored (UEFI 2.10, table 5.7), and its type in an MBR.
_SYSTEM_PARTITION = uuid.UUID("c12a7328-f81f-11d2-ba4b-00a0c93ec93b").bytes_le
_SYSTEM_PARTITION_MBR = 0xEF
_QCOW2 = b"QFI\xfb"
#: qcow2's incompatible feature "external data file" (QEMU, docs/interop/qcow2.txt).
_EXTERNAL_DATA = 1 << 2

#: What files that are no plain disk begin with, and what to do with them. Formats that name other files
#: (vmdk, qed) stand here too: QEMU is never asked to open one, it would open what they name.
_FOREIGN = (
    (0, b"\x1f\x8b", "gzip-compressed: unpack it first (gunzip)"),
    (0, b"\xfd7zXZ\0", "xz-compressed: unpack it first (unxz)"),
    (0, b"\x28\xb5\x2f\xfd", "zstd-compressed: unpack it first (unzstd)"),
    (0, b"BZh", "bzip2-compressed: unpack it first (bunzip2)"),
    (0, b"PK\x03\x04", "a zip archive: unpack it first (unzip)"),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive: unpack it first"),
    (257, b"ustar", "a tar archive: unpack it first (tar -xf)"),
    (32769, b"CD001", "an ISO image, which is not supported: use the system's cloud or disk image (raw or qcow2)"),
    (0, b"KDMV", "a VMDK image: convert it first (qemu-img convert -O qcow2)"),
    (0, b"COWD", "a VMDK image: convert it first (qemu-img convert -O qcow2)"),
    (0, b"# Disk DescriptorFile", "a VMDK descriptor without a disk: convert the disk first (qemu-img convert)"),
    (0, b"vhdxfile", "a VHDX image: convert it first (qemu-img convert -O qcow2)"),
    (0, b"conectix", "a VHD image: convert it first (qemu-img convert -O qcow2)"),
    (64, b"\x7f\x10\xda\xbe", "a VDI image: convert it first (qemu-img convert -O qcow2)"),
    (0, b"QED\0", "a QED image: convert it first (qemu-img convert -O qcow2)"),
    (0, b"LUKS\xba\xbe", "encrypted (LUKS): decrypt it first"),
    (0, b"\x7fELF", "a program, not a disk"),
    (0, b"%PDF", "a PDF document, not a disk"),
)


class ImageError(Exception):
    """An image that cannot be had or is not what it should be; one line says what and what to do."""


def add(
    cloud: Cloud,
    source: str,
    work: Path,
    *,
    name: str | None,
    sha256: str | None,
    uefi: bool,
    progress: Progress,
) -> resources.Ensured:
    """Upload a raw or qcow2 image from a file or an http(s) URL.

    :param work: where a download is kept meanwhile
    :param name: its name in the cloud; None takes the file's, without its suffix
    :param sha256: the checksum it must have; a URL needs one
    :param uefi: instances of it boot by UEFI, else by BIOS
    :param progress: called with a few words when there is news
    :raises ImageError: it cannot be had, or is not what it should be
    :raises CloudError, ResourceError: as resources.ensure_image
    """
    wanted = _checked_sha256(sha256)
    name = _checked_name(name if name is not None else name_of(source))
    scheme = _scheme(source)
    if scheme in ("http", "https") and wanted is None:
        raise ImageError(f"{source} needs a checksum to be trusted: give --sha256 as its publisher states it")
    with _work_directory(work) as directory:
        if scheme in ("http", "https"):
            path = directory / "image"
            found = download(source, path, progress)
        elif scheme:
            raise ImageError(f"{source}: only files and http or https URLs can be added, not {scheme}")
        else:
            path = Path(source)
            found = hash_file(path, progress)
        if wanted is not None and found != wanted:
            raise ImageError(
                f"{source} is not what it should be: its SHA-256 is {found}, not {wanted}{_hint(path)}"
                " (check the checksum, or fetch it again)"
            )
        disk_format, notes = look_at(path, source, directory, uefi=uefi)
        properties = {"hw_firmware_type": "uefi"} if uefi else {}
        ensured = resources.ensure_image(
            cloud, name, path, disk_format, properties=properties, sha256=found,
            progress=_percentage("uploading", progress),
        )  # fmt: skip
    return dataclasses.replace(ensured, note="; ".join(filter(None, (ensured.note, *notes))))


def name_of(source: str) -> str:
    """Return the name of a file or URL without directories and without the suffix of a disk image."""
    path = urllib.parse.unquote(urllib.parse.urlsplit(source).path) if _scheme(source) else source
    base = path.rstrip("/").rpartition("/")[2]
    return re.sub(r"(?i)\.(qcow2?|raw|img)$", "", base)


def _checked_name(name: str) -> str:
    if not name or len(name) > NAME_MAX or not name.isprintable():
        raise ImageError(f"{name!r} cannot be the name of an image: give one with --name")
    return name


def _checked_sha256(text: str | None) -> str | None:
    if text is None:
        return None
    value = text.strip().lower()
    if not re.fullmatch(r"[0-9a-f]{64}", value):
        raise ImageError(f"--sha256 must be 64 hexadecimal digits, not {text!r}")
    return value


def _scheme(source: str) -> str:
    """Return a URL's scheme; empty for a file."""
    match = re.match(r"([A-Za-z][A-Za-z0-9+.-]*)://", source)
    return match.group(1).lower() if match else ""


# Where the work is done


@contextlib.contextmanager
def _work_directory(work: Path) -> Iterator[Path]:
    """Give a directory that is gone afterwards, and remove those of runs that were killed."""
    try:
        work.mkdir(parents=True, exist_ok=True)
        _remove_abandoned(work)
        directory = Path(tempfile.mkdtemp(prefix="image-", dir=work))
    except OSError as error:
        raise ImageError(f"cannot work in {work}: {error.strerror} (run as root)") from error
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)
        os.close(descriptor)


def _remove_abandoned(work: Path) -> None:
    """Remove work directories whose run no longer holds them."""
    for directory in work.glob("image-*"):
        with contextlib.suppress(OSError):
            descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                # A run that has only just made its directory has not locked it yet: it is empty then.
                if any(directory.iterdir()):
                    shutil.rmtree(directory, ignore_errors=True)
            finally:
                os.close(descriptor)


# Getting it


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follow redirects to http and https only: urllib would follow them to ftp as well."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Message, newurl: str
    ) -> urllib.request.Request | None:
        if _scheme(newurl) not in ("http", "https"):
            raise urllib.error.URLError(f"it redirects to {newurl}")
        return super().redirect_request(req, fp, code, msg, headers, newurl)  # type: ignore[arg-type]


def download(url: str, path: Path, progress: Progress) -> str:
    """Fetch a URL into a file and return the SHA-256 (hex) of what came.

    :raises ImageError: it cannot be fetched, ended early, or does not fit on the disk
    """
    progress(f"downloading {url}")
    # A server that compresses on the way would make it something else than what the checksum is of.
    request = urllib.request.Request(url, headers={"Accept-Encoding": "identity", "User-Agent": "beastack"})
    opener = urllib.request.build_opener(_Redirects())
    try:
        with opener.open(request, timeout=DOWNLOAD_TIMEOUT) as answer, path.open("wb") as file:
            stated = answer.headers.get("Content-Length", "")
            total = int(stated) if stated.isdecimal() else None
            _need_room(path.parent, total)
            return _receive(answer, file, total, url, _percentage("downloading", progress))
    except urllib.error.HTTPError as error:
        with error:
            raise ImageError(f"{url} cannot be fetched: HTTP {error.code} {error.reason}") from error
    except urllib.error.URLError as error:
        reason = getattr(error.reason, "strerror", None) or error.reason
        raise ImageError(f"{url} cannot be fetched: {reason}") from error
    except TimeoutError as error:
        raise ImageError(f"{url} cannot be fetched: nothing came within {DOWNLOAD_TIMEOUT:g} s") from error
    except OSError as error:
        raise ImageError(f"{url} cannot be fetched: {error.strerror or error}") from error
    except (http.client.HTTPException, ValueError) as error:
        raise ImageError(f"{url} cannot be fetched: {type(error).__name__}: {error}") from error


def _receive(answer: Any, file: IO[bytes], total: int | None, url: str, report: Callable[[int, int], None]) -> str:
    digest, received = hashlib.sha256(), 0
    while block := answer.read(BLOCK):
        digest.update(block)
        file.write(block)
        received += len(block)
        if total:
            report(received, total)
    # A connection that ends early ends the reading, without an error.
    if total is not None and received < total:
        raise ImageError(f"{url} ended after {received} of {total} bytes: fetch it again")
    return digest.hexdigest()


def _need_room(directory: Path, size: int | None) -> None:
    free = shutil.disk_usage(directory).free
    if size is not None and size > free:
        raise ImageError(
            f"{directory.parent} has {free >> 20} MiB free, the image needs {size >> 20} MiB: free some first"
        )


def hash_file(path: Path, progress: Progress) -> str:
    """Return the SHA-256 (hex) of a file.

    :raises ImageError: it is not a file that can be read
    """
    try:
        # Asked before it is opened: opening a pipe would wait for a writer.
        if not stat.S_ISREG(path.stat().st_mode):
            raise ImageError(f"{path} is not a file")
        progress(f"reading {path}")
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ImageError(f"{path} cannot be read: {error.strerror}") from error


def _percentage(what: str, progress: Progress) -> Callable[[int, int], None]:
    """Return a report of done and total that speaks every few per cent."""
    told = 0

    def report(done: int, total: int) -> None:
        nonlocal told
        step = done * 100 // total // REPORT_EVERY * REPORT_EVERY if total else 100
        if step > told:
            told = step
            progress(f"{what}: {step} % of {total >> 20} MiB")

    return report


# Looking at it


def look_at(path: Path, label: str, work: Path, *, uefi: bool) -> tuple[str, list[str]]:
    """Return an image's format, raw or qcow2, and what is worth saying about it.

    :param label: what it is called in messages
    :param work: where a piece of it may be kept meanwhile
    :raises ImageError: it is not an image that an instance can boot from
    """
    head = _read_head(path)
    if not head:
        raise ImageError(f"{label} is empty")
    foreign = describe_foreign(head)
    if foreign is not None:
        raise ImageError(f"{label} is {foreign}")
    if head.startswith(_QCOW2):
        _check_qcow2(path, label, head)
        start = _disk_start(path, work)
        if start is None:
            return "qcow2", []
        # Some disks are booted by other means; only a raw file may be no disk at all.
        if not has_boot_signature(start):
            return "qcow2", ["its disk has no boot sector, an instance may not boot from it"]
    else:
        _check_raw(path, label, head)
        start = head
    if uefi and not has_system_partition(start):
        return _format_of(head), ["it has no EFI system partition: if it boots by BIOS, add it with --bios"]
    return _format_of(head), []


def _format_of(head: bytes) -> str:
    return "qcow2" if head.startswith(_QCOW2) else "raw"


def _read_head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(HEAD)


def _hint(path: Path) -> str:
    """Say what a file is that is not what it should be, if that can be told."""
    foreign = describe_foreign(_read_head(path))
    return f"; it is {foreign}" if foreign is not None else ""


def describe_foreign(head: bytes) -> str | None:
    """Return what a file is if it is obviously no raw or qcow2 disk, and what to do; None otherwise."""
    for offset, magic, what in _FOREIGN:
        if head.startswith(magic, offset):
            return what
    text = head[:1024].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith((b"<!doctype", b"<html", b"<?xml", b"<head", b"<!--")):
        return "a web page, not a disk: check the address"
    return None


def _check_raw(path: Path, label: str, head: bytes) -> None:
    """Check that a file is a disk as it is, sector by sector.

    :raises ImageError: it is not
    """
    described = _qemu_info(path, label)
    if described["format"] != "raw":
        raise ImageError(f"{label} is a {described['format']} image: convert it first (qemu-img convert -O qcow2)")
    size = path.stat().st_size
    if size % SECTOR:
        raise ImageError(f"{label} is no disk image: its size, {size} bytes, is no multiple of {SECTOR} (cut short?)")
    if not has_boot_signature(head):
        raise ImageError(f"{label} is not a bootable disk image: it has no boot sector (0x55AA) and no partition table")
    end = _partitions_end(head)
    if end is not None and end > size:
        raise ImageError(f"{label} was cut short: its partition table ends at {end} bytes, the file at {size}")


def _check_qcow2(path: Path, label: str, head: bytes) -> None:
    """Check that a qcow2 image is whole and stands on its own.

    :raises ImageError: it does not
    """
    # Read here first, so that QEMU never opens a file that the image names.
    if len(head) >= 16 and int.from_bytes(head[8:16], "big"):
        raise ImageError(f"{label} needs a backing file: make it whole first (qemu-img convert -O qcow2)")
    version = int.from_bytes(head[4:8], "big")
    if version >= 3 and int.from_bytes(head[72:80], "big") & _EXTERNAL_DATA:
        raise ImageError(f"{label} keeps its data in another file: make it whole first (qemu-img convert -O qcow2)")
    described = _qemu_info(path, label, "qcow2")
    details = described.get("format-specific", {}).get("data", {})
    if described.get("backing-filename") or details.get("data-file"):
        raise ImageError(f"{label} needs another file: make it whole first (qemu-img convert -O qcow2)")
    if described.get("encrypted"):
        raise ImageError(f"{label} is encrypted: decrypt it first")
    if details.get("corrupt"):
        raise ImageError(f"{label} is marked corrupt: fetch it again, or repair it (qemu-img check -r all)")
    if not described["virtual-size"]:
        raise ImageError(f"{label} holds a disk of no size")
    _check_whole(path, label)


def _check_whole(path: Path, label: str) -> None:
    """Check a qcow2 image's own bookkeeping, which names clusters beyond the end when it was cut short.

    Source: qemu-img(1), check: 2 is corruption; 3, leaked clusters, does no harm.
    """
    try:
        run(["qemu-img", "check", "-q", "-f", "qcow2", str(path.absolute())], ok=(0, 3), timeout=600)
    except CommandError as error:
        if error.status != 2:
            raise ImageError(f"{label} cannot be checked: {error}") from error
        raise ImageError(f"{label} is damaged (qemu-img check): fetch it again") from error


def _qemu_info(path: Path, label: str, image_format: str | None = None) -> dict[str, Any]:
    argv = ["qemu-img", "info", "--output=json", *(["-f", image_format] if image_format else [])]
    try:
        # Absolute, or a name with a colon in it would be taken for a protocol.
        answer = json.loads(run([*argv, str(path.absolute())]).stdout)
    except CommandError as error:
        if error.status is None:
            raise ImageError(f"{label} cannot be looked at: {error}") from error
        why = re.sub(r"^.*Could not open '.*?': ", "", error.stderr.strip().partition("\n")[0])
        raise ImageError(f"{label} is not a usable {image_format or 'disk'} image: {why or error}") from error
    except ValueError as error:
        raise ImageError(f"{label} cannot be looked at: qemu-img gave no JSON") from error
    if not isinstance(answer, dict) or "format" not in answer or "virtual-size" not in answer:
        raise ImageError(f"{label} cannot be looked at: qemu-img does not name its format")
    return answer


def _disk_start(path: Path, work: Path) -> bytes | None:
    """Return the beginning of the disk inside a qcow2 image; None if it cannot be had."""
    piece = work / "start"
    argv = ["qemu-img", "dd", "-f", "qcow2", "-O", "raw", f"bs={HEAD}", "count=1"]
    try:
        run([*argv, f"if={path.absolute()}", f"of={piece.absolute()}"])
        return _read_head(piece)
    except (CommandError, OSError):
        return None
    finally:
        piece.unlink(missing_ok=True)


# Partition tables


def has_boot_signature(disk: bytes) -> bool:
    """Return whether a disk's first sector says that it is one to boot from, or holds a partition table."""
    return disk[SECTOR - 2 : SECTOR] == _BOOT_SIGNATURE


def has_system_partition(disk: bytes) -> bool:
    """Return whether a disk, given its beginning, has an EFI system partition.

    Source: UEFI 2.10, 5.2.1 (MBR: four entries of 16 bytes from 446, the type
    at 4) and 5.3 (GPT).
    """
    types = [entry[:16] for entry in _gpt_entries(disk)]
    mbr_types = [disk[446 + 16 * number + 4] for number in range(4)] if len(disk) >= SECTOR else []
    return _SYSTEM_PARTITION in types or _SYSTEM_PARTITION_MBR in mbr_types


def _gpt_entries(disk: bytes) -> list[bytes]:
    """Return the used entries of a GPT, which begin with the type's GUID; none if there is no GPT.

    The header stands in sector 1: entries' first sector at 72, their number at 80, their size at 84.
    """
    header = disk[SECTOR : 2 * SECTOR]
    if not header.startswith(b"EFI PART"):
        return []
    first = int.from_bytes(header[72:80], "little") * SECTOR
    count = min(int.from_bytes(header[80:84], "little"), 1024)
    size = int.from_bytes(header[84:88], "little")
    if size < 128:
        return []
    entries = [disk[first + size * number : first + size * (number + 1)] for number in range(count)]
    return [entry for entry in entries if len(entry) == size and any(entry[:16])]


def _partitions_end(disk: bytes) -> int | None:
    """Return where a GPT's last partition ends, in bytes (last sector at 40 of an entry); None without a GPT."""
    ends = [(int.from_bytes(entry[40:48], "little") + 1) * SECTOR for entry in _gpt_entries(disk)]
    return max(ends, default=None)
