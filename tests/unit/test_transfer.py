"""Disks from host to host: what may be asked for, what is refused, and that holes stay holes."""

from __future__ import annotations

import io
import os
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from beastack.site import certificates
from beastack.site.certificates import Certificate
from beastack.transfer import protocol
from beastack.transfer.client import Client, TransferError
from beastack.transfer.daemon import Daemon, perform
from beastack.transfer.files import Files, list_pieces
from beastack.transfer.protocol import PIECE, ProtocolError, make_context, parse_place

UUID = "0e3c1f0a-5d47-4d0e-9d64-0d4f3f1f9d11"
OTHER = "1e3c1f0a-5d47-4d0e-9d64-0d4f3f1f9d11"


def write_certificate(directory: Path, authority: Certificate, own: Certificate) -> Path:
    directory.mkdir()
    (directory / "authority.pem").write_text(authority.certificate)
    (directory / "certificate.pem").write_text(own.certificate)
    (directory / "key.pem").write_text(own.key)
    return directory


@pytest.fixture(scope="module")
def authority() -> Certificate:
    return certificates.make_authority()


@pytest.fixture
def instances(tmp_path: Path) -> Path:
    path = tmp_path / "instances"
    path.mkdir()
    return path


@pytest.fixture
def shown(tmp_path: Path, authority: Certificate) -> Path:
    return write_certificate(tmp_path / "shown", authority, certificates.issue(authority, "here", "127.0.0.1"))


@contextmanager
def listening(shown: Path, files: Files) -> Iterator[int]:
    with Daemon(("127.0.0.1", 0), make_context(shown, server=True), files) as daemon:
        thread = threading.Thread(target=daemon.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield daemon.server_address[1]
        finally:
            daemon.shutdown()
            thread.join()


def no_instance(uuid: str) -> bool:
    return False


def test_a_disk_arrives_with_its_holes(tmp_path: Path, instances: Path, shown: Path) -> None:
    disk = tmp_path / "disk"
    with disk.open("wb") as stream:
        stream.truncate(200 << 20)
        stream.write(b"boot" * 1000)
        stream.seek(150 << 20)
        stream.write(b"\0" * (3 << 20) + b"data")
    path = f"/elsewhere/instances/{UUID}"
    with listening(shown, Files(instances, no_instance)) as port:
        client = Client(shown, port)
        client.ask("127.0.0.1", protocol.MAKE_DIRECTORY, path)
        client.send(disk, "127.0.0.1", f"{path}/disk")
    arrived = instances / UUID / "disk"
    assert arrived.read_bytes() == disk.read_bytes()
    # Less than the written zeros even: 512-byte blocks.
    assert arrived.stat().st_blocks * 512 < 3 << 20
    assert [entry.name for entry in (instances / UUID).iterdir()] == ["disk"]


def test_an_empty_file_and_one_of_a_hole_arrive(tmp_path: Path, instances: Path, shown: Path) -> None:
    (instances / UUID).mkdir()
    for name, size in (("empty", 0), ("hole", 1 << 20)):
        (tmp_path / name).touch()
        os.truncate(tmp_path / name, size)
        with listening(shown, Files(instances, no_instance)) as port:
            Client(shown, port).send(tmp_path / name, "127.0.0.1", f"/x/{UUID}/{name}")
        assert (instances / UUID / name).read_bytes() == bytes(size)


def test_what_is_made_can_be_removed(instances: Path, shown: Path) -> None:
    with listening(shown, Files(instances, no_instance)) as port:
        client, directory = Client(shown, port), f"/x/{UUID}"
        client.ask("127.0.0.1", protocol.MAKE_DIRECTORY, directory)
        client.ask("127.0.0.1", protocol.MAKE_DIRECTORY, directory)
        client.ask("127.0.0.1", protocol.TOUCH, f"{directory}/a.tmp")
        assert (instances / UUID / "a.tmp").exists()
        client.ask("127.0.0.1", protocol.REMOVE, f"{directory}/a.tmp")
        client.ask("127.0.0.1", protocol.REMOVE, f"{directory}/a.tmp")
        assert not (instances / UUID / "a.tmp").exists()
        client.ask("127.0.0.1", protocol.TOUCH, f"{directory}/b.tmp")
        client.ask("127.0.0.1", protocol.REMOVE_DIRECTORY, directory)
        client.ask("127.0.0.1", protocol.REMOVE_DIRECTORY, directory)
    assert list(instances.iterdir()) == []


def test_a_file_needs_its_directory(instances: Path, shown: Path) -> None:
    """As nova finds out whether two hosts share their instances."""
    with (
        listening(shown, Files(instances, no_instance)) as port,
        pytest.raises(TransferError, match="No such file or directory"),
    ):
        Client(shown, port).ask("127.0.0.1", protocol.TOUCH, f"/x/{UUID}/a.tmp")


def test_an_instance_that_is_here_is_not_anothers_to_change(tmp_path: Path, instances: Path, shown: Path) -> None:
    (instances / UUID).mkdir()
    disk = instances / UUID / "disk"
    disk.write_bytes(b"precious")
    other = tmp_path / "other"
    other.write_bytes(os.urandom(8 << 20))
    with listening(shown, Files(instances, lambda uuid: uuid == UUID)) as port:
        client = Client(shown, port)
        with pytest.raises(TransferError, match="is on this host"):
            client.send(other, "127.0.0.1", f"/x/{UUID}/disk")
        for operation, path in (
            (protocol.MAKE_DIRECTORY, f"/x/{UUID}"), (protocol.REMOVE_DIRECTORY, f"/x/{UUID}"),
            (protocol.TOUCH, f"/x/{UUID}/a"), (protocol.REMOVE, f"/x/{UUID}/disk"),
        ):  # fmt: skip
            with pytest.raises(TransferError, match="is on this host"):
                client.ask("127.0.0.1", operation, path)
        client.ask("127.0.0.1", protocol.MAKE_DIRECTORY, f"/x/{OTHER}")
    assert disk.read_bytes() == b"precious"


@pytest.mark.parametrize(
    ("path", "directory"),
    [
        ("/etc", True), (f"/x/{UUID}/disk", True), (f"/x/{UUID}", False), ("disk", False), ("", True), (None, True),
        (f"/x/{UUID}/..", False), (f"/x/{UUID}/.ssh", False), (f"/x/{UUID.upper()}", True), (f"/x/{UUID}/a b", False),
        (f"/x/_base/{'0' * 40}", False), (f"/x/{UUID}_resize/disk", False), (7, False),
    ],
)  # fmt: skip
def test_other_places_are_refused(path: object, directory: bool) -> None:
    with pytest.raises(ProtocolError, match="of an instance"):
        parse_place(path, directory=directory)


def test_links_lead_nowhere(tmp_path: Path, instances: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "disk").write_text("precious")
    (instances / UUID).symlink_to(outside)
    (instances / OTHER).mkdir()
    (instances / OTHER / "disk").symlink_to(outside / "disk")
    files = Files(instances, no_instance)
    with pytest.raises(OSError):
        files.write(parse_place(f"/x/{UUID}/disk", directory=False), 4, io.BytesIO(PIECE.pack(0, 0)))
    with pytest.raises(OSError):
        files.remove_directory(parse_place(f"/x/{UUID}", directory=True))
    files.write(parse_place(f"/x/{OTHER}/disk", directory=False), 0, io.BytesIO(PIECE.pack(0, 0)))
    assert (outside / "disk").read_text() == "precious"
    assert not (instances / OTHER / "disk").is_symlink()


@pytest.mark.parametrize(
    "pieces",
    [b"", PIECE.pack(0, 4) + b"ab", PIECE.pack(8, 4) + b"abcd" + PIECE.pack(0, 0), PIECE.pack(2**63, 2**63), b"short"],
)
def test_a_file_that_breaks_off_is_none(instances: Path, pieces: bytes) -> None:
    (instances / UUID).mkdir()
    files = Files(instances, no_instance)
    with pytest.raises(ProtocolError):
        files.write(parse_place(f"/x/{UUID}/disk", directory=False), 10, io.BytesIO(pieces))
    assert list((instances / UUID).iterdir()) == []


@pytest.mark.parametrize(
    "line",
    [
        b"", b"GET / HTTP/1.1\r\n", b"[]\n", b'{"op": "read", "path": "/etc/passwd"}\n', b"{" * 5000 + b"\n",
        b'{"op": "write", "path": "/x/%s/disk", "size": -1}\n' % UUID.encode(),
        b'{"op": "write", "path": "/x/%s/disk", "size": true}\n' % UUID.encode(),
        b'{"op": ["write"], "path": "/x/%s/disk"}\n' % UUID.encode(),
    ],
)  # fmt: skip
def test_nonsense_is_refused(instances: Path, line: bytes) -> None:
    with pytest.raises(ProtocolError):
        perform(Files(instances, no_instance), io.BytesIO(line))
    assert list(instances.iterdir()) == []


def test_strangers_are_not_served(tmp_path: Path, instances: Path, shown: Path, authority: Certificate) -> None:
    other = certificates.make_authority()
    forged = write_certificate(tmp_path / "forged", authority, certificates.issue(other, "here", "127.0.0.1"))
    with listening(shown, Files(instances, no_instance)) as port:
        with pytest.raises(TransferError):
            Client(forged, port).ask("127.0.0.1", protocol.MAKE_DIRECTORY, f"/x/{UUID}")
        naked = ssl.create_default_context(cafile=str(shown / "authority.pem"))
        with pytest.raises(OSError):
            _speak_without_certificate(naked, port)
        Client(shown, port).ask("127.0.0.1", protocol.MAKE_DIRECTORY, f"/x/{OTHER}")
    assert [path.name for path in instances.iterdir()] == [OTHER]


def _speak_without_certificate(context: ssl.SSLContext, port: int) -> None:
    import socket

    with (
        socket.create_connection(("127.0.0.1", port), timeout=10) as plain,
        context.wrap_socket(plain, server_hostname="127.0.0.1") as connection,
    ):
        connection.sendall(b'{"op": "make-directory", "path": "/x/%s"}\n' % UUID.encode())
        if not connection.recv(100):
            raise ConnectionResetError


def test_a_host_of_another_address_is_not_trusted(
    tmp_path: Path, instances: Path, shown: Path, authority: Certificate
) -> None:
    elsewhere = write_certificate(tmp_path / "elsewhere", authority, certificates.issue(authority, "a", "10.0.0.9"))
    with (
        listening(elsewhere, Files(instances, no_instance)) as port,
        pytest.raises(TransferError, match="IP address mismatch"),
    ):
        Client(shown, port).ask("127.0.0.1", protocol.MAKE_DIRECTORY, f"/x/{UUID}")


def test_nobody_there_is_one_line(shown: Path, tmp_path: Path) -> None:
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        client = Client(shown, taken.getsockname()[1])
        with pytest.raises(TransferError, match="Connection refused"):
            client.ask("127.0.0.1", protocol.TOUCH, f"/x/{UUID}/a")
    with pytest.raises(TransferError, match="cannot be read"):
        client.send(tmp_path / "nothing", "127.0.0.1", f"/x/{UUID}/a")


def test_pieces_are_what_is_there(tmp_path: Path) -> None:
    file = tmp_path / "disk"
    with file.open("wb") as stream:
        stream.seek(5 << 20)
        stream.write(b"x")
        stream.truncate(9 << 20)
    descriptor = os.open(file, os.O_RDONLY)
    try:
        pieces = list(list_pieces(descriptor))
    finally:
        os.close(descriptor)
    assert b"".join(block for _, block in pieces).rstrip(b"\0") == b"x"
    assert sum(len(block) for _, block in pieces) <= 1 << 20
