"""Where a site keeps what: one state directory, and names built by rule from it."""

from __future__ import annotations

import hashlib
import sys
from dataclasses import dataclass
from pathlib import Path

FORMAT = 1  # of the state directory; a newer one is refused, an older one upgraded

#: Interface names hold at most 15 bytes (IFNAMSIZ less the NUL, on Linux and FreeBSD alike).
INTERFACE_NAME_MAX = 15


#: Where a site lives unless told otherwise: by hier(7) on FreeBSD, by the FHS on Linux.
FREEBSD_ROOT, LINUX_ROOT = Path("/var/db/beastack"), Path("/var/lib/beastack")


def default_root() -> Path:
    """Return where a site of this machine lives unless told otherwise."""
    return FREEBSD_ROOT if sys.platform.startswith("freebsd") else LINUX_ROOT


@dataclass(frozen=True)
class Layout:
    """Paths and names of one site. ``root`` is absolute and free of symbolic links."""

    root: Path

    @property
    def is_default(self) -> bool:
        """Whether this is the machine's own site, at the default place.

        Linux's default place is one on FreeBSD too: a simulated host is lent it.
        """
        return self.root in (default_root(), LINUX_ROOT)

    @property
    def prefix(self) -> str:
        """What users, bridges and interfaces of this site begin with; unlike any other site's."""
        if self.is_default:
            return "beastack"
        return "bs" + hashlib.sha256(str(self.root).encode()).hexdigest()[:6]

    def user(self, service: str) -> str:
        """Return the unprivileged user that a service runs as."""
        return f"{self.prefix}-{service}"

    def interface(self, suffix: str) -> str:
        """Return the name of a bridge or interface of this site."""
        name = f"{self.prefix}-{suffix}"
        if len(name) > INTERFACE_NAME_MAX:
            raise ValueError(f"the interface name {name} is longer than {INTERFACE_NAME_MAX} bytes")
        return name

    @property
    def marker(self) -> Path:
        """The file that says: this directory is a site, of this format."""
        return self.root / "site.json"

    @property
    def secrets(self) -> Path:
        """Passwords and keys made for this site (0600)."""
        return self.root / "secrets.json"

    @property
    def records(self) -> Path:
        """What was made outside the state directory, in order, for ``destroy``."""
        return self.root / "records.jsonl"

    @property
    def venv(self) -> Path:
        """The virtual environment with the OpenStack release."""
        return self.root / "venv"

    @property
    def python(self) -> Path:
        """The interpreter of the virtual environment."""
        return self.venv / "bin" / "python"

    @property
    def code(self) -> Path:
        """The site's copy of beastack's own code, for PYTHONPATH."""
        return self.root / "lib"

    @property
    def clouds_yaml(self) -> Path:
        """Client credentials (0600)."""
        return self.root / "clouds.yaml"

    def etc(self, service: str) -> Path:
        """Return the directory of a service's generated configuration."""
        return self.root / "etc" / service

    def run(self, service: str = "") -> Path:
        """Return the directory of a service's sockets and pid files."""
        return self.root / "run" / service

    def log(self, service: str) -> Path:
        """Return the log file of a service."""
        return self.root / "log" / f"{service}.log"

    def data(self, service: str) -> Path:
        """Return the directory of what a service must not lose."""
        return self.root / "data" / service
