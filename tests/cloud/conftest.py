"""A whole cloud in a root of its own, for the tests that need one. Root only; takes minutes."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import openstack
import pytest

BEASTACK = os.environ.get("BEASTACK", str(Path(__file__).resolve().parents[2] / "beastack"))

SITE_TOML = """\
[host]
kind = "linux"

[site]
port_offset = 20000

[network]
provider_cidr = "172.29.77.0/24"
"""


@dataclass
class TestSite:
    """A site under test, driven by the command line alone, as a user would.

    ``links``, ``namespaces`` and ``users`` are what the machine had before.
    """

    __test__ = False
    root: Path
    links: set[str]
    namespaces: set[str]
    users: set[str]

    def run(self, *arguments: str, ok: bool = True, timeout: float = 900) -> subprocess.CompletedProcess[str]:
        """Run beastack on this site."""
        argv = [BEASTACK, "--root", str(self.root), *arguments]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=timeout, stdin=subprocess.DEVNULL)
        if ok:
            assert done.returncode == 0, f"{' '.join(argv)}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    def up(self) -> dict[str, Any]:
        """Bring the cloud up and return what up says of it."""
        summary: dict[str, Any] = json.loads(self.run("up", "--json").stdout)
        return summary

    def services(self) -> dict[str, dict[str, Any]]:
        """Return the state of each process by name."""
        done = self.run("status", "--json", ok=False)
        return {item["name"]: item for item in json.loads(done.stdout)["services"]}

    def connect(self, cloud: str = "beastack") -> openstack.connection.Connection:
        """Return an openstacksdk connection by the site's clouds.yaml."""
        config = openstack.config.OpenStackConfig(config_files=[str(self.root / "clouds.yaml")])
        return openstack.connection.Connection(config=config.get_one(cloud=cloud))

    @property
    def prefix(self) -> str:
        """What the site's users and interfaces begin with."""
        names = [name for name in user_names() if name.endswith("-keystone") and name.startswith("bs")]
        assert len(names) == 1, names
        return names[0].removesuffix("-keystone")


def user_names() -> list[str]:
    """Return all users of the machine."""
    return [line.partition(":")[0] for line in Path("/etc/passwd").read_text().splitlines()]


def links() -> set[str]:
    """Return the machine's network interfaces."""
    return set(os.listdir("/sys/class/net"))


def namespaces() -> set[str]:
    """Return the machine's named network namespaces."""
    return set(os.listdir("/run/netns")) if os.path.isdir("/run/netns") else set()


def processes_of(root: Path) -> list[str]:
    """Return the command lines of processes that have to do with a state directory."""
    found = []
    for process in Path("/proc").iterdir():
        if process.name.isdigit() and int(process.name) != os.getpid():
            try:
                line = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                environment = (process / "environ").read_bytes().decode(errors="replace")
            except OSError:
                continue
            if str(root) in line or f"{root}/" in environment:
                found.append(f"{process.name} {line}")
    return found


def eventually(condition: Callable[[], Any], what: str, limit: float = 120) -> Any:
    """Wait until a condition returns something true, and return that."""
    deadline = time.monotonic() + limit
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < deadline, f"not within {limit:g} s: {what}"
        time.sleep(0.2)


@pytest.fixture(scope="session")
def site() -> Iterator[TestSite]:
    """A root with nothing in it but a site.toml; whatever is left of the site is destroyed at the end."""
    root = Path(tempfile.mkdtemp(prefix="beastack-", dir="/var/tmp"))
    root.chmod(0o711)
    (root / "site.toml").write_text(SITE_TOML)
    under_test = TestSite(root, links(), namespaces(), set(user_names()))
    yield under_test
    if (root / "site.json").exists():
        keep = os.environ.get("BEASTACK_KEEP_LOGS")
        if keep:
            shutil.copytree(root / "log", keep, dirs_exist_ok=True)
        under_test.run("destroy", "--yes", ok=False)
    shutil.rmtree(root, ignore_errors=True)


@pytest.fixture(scope="session")
def whole_site() -> Iterator[Any]:
    """A simulated FreeBSD host with everything, shared by the tests of instances on bhyve."""
    import freebsd_guests  # which needs this module

    with freebsd_guests.whole_site() as made:
        yield made


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options of tests/cloud."""
    parser.addoption(
        "--every-call", action="store_true",
        help="kill nova-compute before every call of a spawn and of a delete, not before a sample of them",
    )  # fmt: skip
