"""Images from files and URLs: what is taken, and what ends in one clear line instead."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import threading
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from beastack.freebsd.command import CommandError, CommandNotFound, Result
from beastack.site import images
from beastack.site.api import ApiError, Cloud
from beastack.site.images import ImageError
from beastack.site.resources import Ensured
from fake_cloud import ADMIN_PASSWORD, REGION, FakeCloud

SYSTEM_PARTITION = uuid.UUID("c12a7328-f81f-11d2-ba4b-00a0c93ec93b")
LINUX_DATA = uuid.UUID("0fc63daf-8483-4772-8e79-3d69d8477de4")


def mbr_disk(size: int = 64 * 512, kind: int = 0x83) -> bytes:
    """Return a disk with one MBR partition."""
    disk = bytearray(size)
    disk[446 + 4] = kind
    disk[510:512] = b"\x55\xaa"
    return bytes(disk)


def gpt_disk(kind: uuid.UUID = SYSTEM_PARTITION, last_sector: int = 63, size: int = 64 * 512) -> bytes:
    """Return a disk with one GPT partition."""
    disk = bytearray(mbr_disk(size, 0xEE))
    header = bytearray(512)
    header[:8] = b"EFI PART"
    header[72:80] = (2).to_bytes(8, "little")
    header[80:84] = (4).to_bytes(4, "little")
    header[84:88] = (128).to_bytes(4, "little")
    disk[512:1024] = header
    disk[1024:1040] = kind.bytes_le
    disk[1056:1064] = (34).to_bytes(8, "little")
    disk[1064:1072] = last_sector.to_bytes(8, "little")
    return bytes(disk)


def qcow2(version: int = 3, backing: int = 0, features: int = 0) -> bytes:
    """Return what begins like a qcow2 image (QEMU, docs/interop/qcow2.txt)."""
    head = bytearray(4096)
    head[:4] = b"QFI\xfb"
    head[4:8] = version.to_bytes(4, "big")
    head[8:16] = backing.to_bytes(8, "big")
    head[72:80] = features.to_bytes(8, "big")
    return bytes(head)


class FakeQemu:
    """Answers as qemu-img would; keeps what it was asked."""

    def __init__(self) -> None:
        self.asked: list[list[str]] = []
        self.info: dict[str, Any] = {}
        self.broken: CommandError | None = None
        self.damaged = 0
        self.disk = gpt_disk()

    def __call__(self, argv: Sequence[str], **options: Any) -> Result:
        self.asked.append(list(argv))
        if self.broken is not None:
            raise self.broken
        output = ""
        if argv[1] == "info":
            image_format = "qcow2" if "-f" in argv else "raw"
            output = json.dumps({"format": image_format, "virtual-size": 1 << 20, **self.info})
        elif argv[1] == "check":
            if self.damaged not in options["ok"]:
                raise CommandError(argv, self.damaged, "", "ERROR cluster 3 refcount=0")
        elif argv[1] == "dd":
            Path(argv[-1].removeprefix("of=")).write_bytes(self.disk)
        return Result(tuple(argv), 0, output, "")


@pytest.fixture
def fake() -> Iterator[FakeCloud]:
    cloud = FakeCloud()
    yield cloud
    cloud.stop()


@pytest.fixture
def cloud(fake: FakeCloud) -> Iterator[Cloud]:
    with closing(Cloud(fake.auth_url, "admin", ADMIN_PASSWORD, "admin", region=REGION)) as client:
        yield client


@pytest.fixture
def qemu(monkeypatch: pytest.MonkeyPatch) -> FakeQemu:
    program = FakeQemu()
    monkeypatch.setattr(images, "run", program)
    return program


class Adder:
    """Adds images with everything else the same, and keeps the news."""

    def __init__(self, cloud: Cloud, work: Path) -> None:
        self.cloud, self.work = cloud, work
        self.news: list[str] = []

    def __call__(
        self, source: str | Path, *, name: str | None = None, sha256: str | None = None, uefi: bool = True
    ) -> Ensured:
        return images.add(
            self.cloud, str(source), self.work, name=name, sha256=sha256, uefi=uefi, progress=self.news.append
        )


@pytest.fixture
def add(cloud: Cloud, qemu: FakeQemu, tmp_path: Path) -> Adder:
    return Adder(cloud, tmp_path / "work")


class Server:
    """Serves some bytes over HTTP on a port of its own."""

    def __init__(self) -> None:
        self.content = b""
        self.status = 200
        self.headers: dict[str, str] = {}
        self.asked: list[dict[str, str]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.asked.append(dict(self.headers))
                self.send_response(outer.status)
                for name, value in ({"Content-Length": str(len(outer.content))} | outer.headers).items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(outer.content)

            def log_message(self, format: str, *args: Any) -> None:
                """Keep the tests' output clean."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_address[1]}/images/some%20disk.qcow2?part=1"

    def stop(self) -> None:
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def server() -> Iterator[Server]:
    running = Server()
    yield running
    running.stop()


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def the_image(fake: FakeCloud) -> dict[str, Any]:
    (image,) = fake.all("image", "images")
    return image


def nothing_left(add: Adder, fake: FakeCloud) -> bool:
    """Return whether a refusal left no file and no image."""
    return not list(add.work.glob("*")) and not fake.all("image", "images")


# Taken


def test_a_raw_disk_is_uploaded_for_uefi(add: Adder, fake: FakeCloud, tmp_path: Path) -> None:
    (tmp_path / "debian-13.raw").write_bytes(gpt_disk())
    ensured = add(tmp_path / "debian-13.raw")
    image = the_image(fake)
    assert ensured.created and ensured.note == ""
    assert (image["name"], image["disk_format"], image["hw_firmware_type"]) == ("debian-13", "raw", "uefi")
    assert image["beastack_sha256"] == sha256(gpt_disk())
    assert any(text.startswith("uploading: 100 %") for text in add.news)
    assert not list(add.work.iterdir())


def test_a_disk_for_bios_says_nothing_of_uefi(add: Adder, fake: FakeCloud, tmp_path: Path) -> None:
    (tmp_path / "old.img").write_bytes(mbr_disk())
    assert add(tmp_path / "old.img", uefi=False, name="Old one").note == ""
    assert the_image(fake)["name"] == "Old one"
    assert "hw_firmware_type" not in the_image(fake)


@pytest.mark.parametrize("disk", [mbr_disk(), gpt_disk(LINUX_DATA)])
def test_a_disk_without_a_system_partition_is_taken_with_a_note(add: Adder, tmp_path: Path, disk: bytes) -> None:
    (tmp_path / "disk.raw").write_bytes(disk)
    assert "no EFI system partition" in add(tmp_path / "disk.raw").note


def test_a_system_partition_in_an_mbr_counts(add: Adder, tmp_path: Path) -> None:
    (tmp_path / "disk.raw").write_bytes(mbr_disk(kind=0xEF))
    assert add(tmp_path / "disk.raw").note == ""


def test_a_qcow2_image_is_looked_into(add: Adder, fake: FakeCloud, qemu: FakeQemu, tmp_path: Path) -> None:
    (tmp_path / "disk.qcow2").write_bytes(qcow2())
    qemu.disk = mbr_disk()
    assert "no EFI system partition" in add(tmp_path / "disk.qcow2").note
    assert the_image(fake)["disk_format"] == "qcow2"
    assert [argv[1] for argv in qemu.asked] == ["info", "check", "dd"]
    # Never by guessing: what QEMU takes it for must be what was looked at.
    assert all(argv[argv.index("-f") + 1] == "qcow2" for argv in qemu.asked)


def test_the_same_image_again_is_there_already(add: Adder, fake: FakeCloud, tmp_path: Path) -> None:
    (tmp_path / "disk.raw").write_bytes(gpt_disk())
    first = add(tmp_path / "disk.raw")
    second = add(tmp_path / "disk.raw")
    assert (second.id, second.created) == (first.id, False)
    assert len(fake.all("image", "images")) == 1


def test_an_image_is_downloaded_and_checked(add: Adder, fake: FakeCloud, server: Server) -> None:
    server.content = gpt_disk()
    add(server.url, sha256=sha256(server.content).upper())
    assert the_image(fake)["name"] == "some disk"
    assert server.asked[0]["Accept-Encoding"] == "identity"
    assert any(text.startswith("downloading: 100 %") for text in add.news)
    assert not list(add.work.iterdir())


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("/srv/a.b.QCOW2", "a.b"),
        ("disk", "disk"),
        ("https://example.org/x/FreeBSD-15.raw?token=1#top", "FreeBSD-15"),
        ("odd?.img", "odd?"),
    ],
)
def test_the_name_comes_from_the_source(source: str, name: str) -> None:
    assert images.name_of(source) == name


# Refused: where it comes from


def refusal(add: Callable[..., Any], source: str | Path, **options: Any) -> str:
    with pytest.raises(ImageError) as caught:
        add(source, **options)
    text = str(caught.value)
    assert "\n" not in text
    return text


def test_a_url_needs_a_checksum(add: Adder, server: Server) -> None:
    assert "--sha256" in refusal(add, server.url)
    assert not server.asked


def test_a_checksum_that_is_none_is_refused(add: Adder, tmp_path: Path) -> None:
    assert "64 hexadecimal digits" in refusal(add, tmp_path / "x", sha256="d41d8cd98f00b204e9800998ecf8427e")


def test_other_schemes_are_refused(add: Adder) -> None:
    assert "not ftp" in refusal(add, "ftp://example.org/disk.raw", sha256="0" * 64)


def test_a_name_is_asked_for_where_the_source_has_none(add: Adder, server: Server) -> None:
    assert "--name" in refusal(add, server.url.partition("/images")[0] + "/", sha256="0" * 64)


def test_a_wrong_checksum_names_both(add: Adder, fake: FakeCloud, server: Server) -> None:
    server.content = gpt_disk()
    text = refusal(add, server.url, sha256="ab" * 32)
    assert sha256(server.content) in text and "ab" * 32 in text
    assert nothing_left(add, fake)


def test_a_wrong_checksum_of_a_web_page_says_that_it_is_one(add: Adder, server: Server) -> None:
    server.content = b"<!DOCTYPE html><title>Moved</title>"
    assert "a web page" in refusal(add, server.url, sha256="ab" * 32)


def test_a_file_is_checked_too(add: Adder, tmp_path: Path) -> None:
    (tmp_path / "disk.raw").write_bytes(gpt_disk())
    assert "not what it should be" in refusal(add, tmp_path / "disk.raw", sha256="ab" * 32)


def test_a_download_that_is_refused(add: Adder, fake: FakeCloud, server: Server) -> None:
    server.status = 404
    assert "HTTP 404" in refusal(add, server.url, sha256="0" * 64)
    assert nothing_left(add, fake)


def test_a_download_that_ends_early(add: Adder, fake: FakeCloud, server: Server) -> None:
    server.content = gpt_disk()
    server.headers = {"Content-Length": str(len(server.content) + 1)}
    assert "ended after 32768 of 32769 bytes" in refusal(add, server.url, sha256="0" * 64)
    assert nothing_left(add, fake)


def test_a_download_that_does_not_fit(add: Adder, server: Server) -> None:
    server.headers = {"Content-Length": str(1 << 60)}
    assert "MiB free" in refusal(add, server.url, sha256="0" * 64)


def test_a_download_that_leads_elsewhere(add: Adder, server: Server) -> None:
    server.status, server.headers = 302, {"Location": "ftp://example.org/disk.raw"}
    assert "redirects to ftp://example.org" in refusal(add, server.url, sha256="0" * 64)


def test_nobody_there(add: Adder, fake: FakeCloud, server: Server) -> None:
    url = server.url
    server.server.server_close()
    assert "cannot be fetched" in refusal(add, url, sha256="0" * 64)
    assert nothing_left(add, fake)


def test_what_is_no_file(add: Adder, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert "No such file" in refusal(add, tmp_path / "gone.raw")
    assert "is not a file" in refusal(add, tmp_path)
    assert "is not a file" in refusal(add, tmp_path / "pipe")


# Refused: what it is


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty"),
        (gzip.compress(gpt_disk()), "gunzip"),
        (b"\xfd7zXZ\0" + gpt_disk(), "unxz"),
        (b"PK\x03\x04" + gpt_disk(), "unzip"),
        (b"\n <html><body>Not found</body></html>", "web page"),
        (mbr_disk()[:32768] + b"\1CD001" + b"\0" * 505, "ISO"),
        (b"KDMV" + gpt_disk()[4:], "VMDK"),
        (bytes(64 * 512), "not a bootable disk image"),
        (gpt_disk()[:-7], "no multiple of 512"),
        (gpt_disk(last_sector=64), "cut short"),
    ],
)
def test_what_is_no_disk(add: Adder, fake: FakeCloud, tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "image.raw").write_bytes(content)
    assert said in refusal(add, tmp_path / "image.raw")
    assert nothing_left(add, fake)


@pytest.mark.parametrize(
    ("content", "said"), [(qcow2(backing=512), "backing file"), (qcow2(features=4), "data in another file")]
)
def test_qemu_never_opens_what_names_other_files(
    add: Adder, qemu: FakeQemu, tmp_path: Path, content: bytes, said: str
) -> None:
    (tmp_path / "image.qcow2").write_bytes(content)
    assert said in refusal(add, tmp_path / "image.qcow2")
    assert not qemu.asked


@pytest.mark.parametrize(
    ("info", "said"),
    [
        ({"backing-filename": "/etc/shadow"}, "another file"),
        ({"format-specific": {"data": {"data-file": "x"}}}, "another file"),
        ({"format-specific": {"data": {"corrupt": True}}}, "corrupt"),
        ({"encrypted": True}, "encrypted"),
        ({"virtual-size": 0}, "no size"),
    ],
)
def test_what_qemu_tells_of_a_qcow2_image(
    add: Adder, qemu: FakeQemu, tmp_path: Path, info: dict[str, Any], said: str
) -> None:
    (tmp_path / "image.qcow2").write_bytes(qcow2())
    qemu.info = info
    assert said in refusal(add, tmp_path / "image.qcow2")


def test_a_raw_file_that_qemu_knows_better(add: Adder, qemu: FakeQemu, tmp_path: Path) -> None:
    (tmp_path / "image.raw").write_bytes(gpt_disk())
    qemu.info = {"format": "parallels"}
    assert "is a parallels image" in refusal(add, tmp_path / "image.raw")


def test_a_qcow2_image_cut_short(add: Adder, qemu: FakeQemu, tmp_path: Path) -> None:
    (tmp_path / "image.qcow2").write_bytes(qcow2())
    qemu.damaged = 2
    assert "is damaged" in refusal(add, tmp_path / "image.qcow2")


def test_leaked_clusters_do_no_harm(add: Adder, qemu: FakeQemu, tmp_path: Path) -> None:
    (tmp_path / "image.qcow2").write_bytes(qcow2())
    qemu.damaged = 3
    assert add(tmp_path / "image.qcow2").created


def test_what_qemu_cannot_open(add: Adder, qemu: FakeQemu, tmp_path: Path) -> None:
    (tmp_path / "image.qcow2").write_bytes(qcow2())
    stderr = "qemu-img: Could not open 'image.qcow2': Unsupported cluster size: 2^0"
    qemu.broken = CommandError(["qemu-img"], 1, "", stderr)
    assert "not a usable qcow2 image" in refusal(add, tmp_path / "image.qcow2")
    qemu.broken = CommandNotFound(["qemu-img"], None, "", "")
    assert "qemu-img is not installed" in refusal(add, tmp_path / "image.qcow2")


# Cleaning up


def test_what_killed_runs_left_is_removed(add: Adder, tmp_path: Path) -> None:
    (add.work / "image-killed").mkdir(parents=True)
    (add.work / "image-killed" / "image").write_bytes(b"half")
    (add.work / "other").mkdir()
    (tmp_path / "disk.raw").write_bytes(gpt_disk())
    add(tmp_path / "disk.raw")
    assert [path.name for path in add.work.iterdir()] == ["other"]


def test_a_failed_upload_leaves_no_file(add: Adder, fake: FakeCloud, server: Server) -> None:
    server.content = gpt_disk()
    fake.refuse("POST image /images", 403)
    with pytest.raises(ApiError):
        add(server.url, sha256=sha256(server.content))
    assert not list(add.work.iterdir())
