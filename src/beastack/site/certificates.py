"""The cloud's own authority, and the certificates by which hosts with guests know each other; made with openssl(1)."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

from beastack.freebsd.command import run

#: Days that a certificate is valid: as long as a host may serve.
DAYS = 3650
_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
#: What openssl would otherwise read from a file of the system's.
_REQUEST = """\
[req]
distinguished_name = name
[name]
[authority]
basicConstraints = critical, CA:TRUE
keyUsage = keyCertSign
"""


@dataclass(frozen=True)
class Certificate:
    """A certificate and its key, in PEM."""

    certificate: str
    key: str


def make_authority() -> Certificate:
    """Return a new authority. Raises CommandError."""
    with tempfile.TemporaryDirectory() as place:
        directory = Path(place)
        (directory / "request.cnf").write_text(_REQUEST)
        _openssl(
            directory, "req", "-x509", *_KEY, "-config", "request.cnf", "-extensions", "authority", "-days", str(DAYS),
            "-subj", "/CN=beastack hosts", "-keyout", "key.pem", "-out", "certificate.pem",
        )  # fmt: skip
        return _read(directory)


def issue(authority: Certificate, name: str, address: str) -> Certificate:
    """Return a certificate for a host, for both ends of a connection. Raises CommandError."""
    with tempfile.TemporaryDirectory() as place:
        directory = Path(place)
        (directory / "request.cnf").write_text(_REQUEST)
        (directory / "host.cnf").write_text(
            f"basicConstraints = CA:FALSE\nextendedKeyUsage = serverAuth, clientAuth\nsubjectAltName = IP:{address}\n"
        )
        (directory / "authority.pem").write_text(authority.certificate)
        (directory / "authority.key").write_text(authority.key)
        _openssl(
            directory, "req", "-new", *_KEY, "-config", "request.cnf", "-subj", f"/CN={name}", "-keyout", "key.pem",
            "-out", "request.pem",
        )  # fmt: skip
        _openssl(
            directory, "x509", "-req", "-in", "request.pem", "-CA", "authority.pem", "-CAkey", "authority.key",
            "-CAcreateserial", "-days", str(DAYS), "-extfile", "host.cnf", "-out", "certificate.pem",
        )  # fmt: skip
        return _read(directory)


def _openssl(directory: Path, *arguments: str) -> None:
    run(["openssl", *arguments], cwd=directory)


def _read(directory: Path) -> Certificate:
    return Certificate((directory / "certificate.pem").read_text(), (directory / "key.pem").read_text())
