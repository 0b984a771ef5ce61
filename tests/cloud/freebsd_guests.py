"""Instances on bhyve, as the tests see them: one cloud on one simulated FreeBSD host, and its guests."""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from beastack.cli import testing
from conftest import eventually, links, namespaces, user_names
from freebsd_pair import Api, PairedSite, open_api

LOCAL_IDENTITY = "http://127.0.0.1:5000/v3"
LIMIT = 240  # seconds for a guest under software emulation to boot


@dataclass
class Guest:
    """An instance, on the host that has everything."""

    site: PairedSite
    api: Api
    number: str

    def show(self) -> dict[str, Any]:
        """Return what nova says of it."""
        found: dict[str, Any] = self.api.ask("compute", "GET", f"/servers/{self.number}")["server"]
        return found

    def act(self, **action: Any) -> None:
        """Have nova do something with it."""
        self.api.ask("compute", "POST", f"/servers/{self.number}/action", action, ok=(200, 202, 204))

    def is_in(self, status: str) -> bool:
        """Tell whether nova has it in a state, with nothing under way."""
        seen = self.show()
        return bool(seen["status"] == status and seen["OS-EXT-STS:task_state"] is None)

    def task(self) -> str | None:
        """Return what nova is doing with it."""
        found: str | None = self.show()["OS-EXT-STS:task_state"]
        return found

    @property
    def domain(self) -> str:
        """libvirt's name of it."""
        return str(self.show()["OS-EXT-SRV-ATTR:instance_name"])

    def pids(self) -> list[int]:
        """Return its processes."""
        return self.site.find_processes(f"^bhyve: {self.domain}$")

    def shell(self, *words: str) -> str:
        """Run a command in it over SSH, from the host's network; no output when it is not reached."""
        addresses = self.show()["addresses"]["provider"]
        options = ("StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "BatchMode=yes", "ConnectTimeout=3")
        key = ("-i", str(self.site.root / "id_ed25519"))
        switches = [word for one in options for word in ("-o", one)]
        target = f"root@{addresses[0]['addr']}"
        process = self.site.host.start_outside(
            None, "ssh", "-q", *switches, *key, target, *words, stdout=subprocess.PIPE
        )
        said, _ = process.communicate(timeout=60)
        return str(said) if process.returncode == 0 else ""

    def is_reached(self) -> bool:
        """Tell whether it answers over the network."""
        return self.shell("hostname").strip() == self.show()["name"]

    def ports(self) -> list[str]:
        """Return its ports in the switch."""
        listing = self.site.host.vsctl("list-ports", self.site.layout.interface("int"))
        own = {f"tap{port['id'][:11]}" for port in self.api.list("ports", device_id=self.number)}
        return sorted(own & set(listing.split()))


@contextlib.contextmanager
def whole_site() -> Iterator[PairedSite]:
    """Bring up a host with everything; all of it is removed at the end."""
    directory = Path(tempfile.mkdtemp(prefix="beastack-guest-", dir="/var/tmp"))
    directory.chmod(0o755)
    root = directory / "site"
    state = directory / "simulator"
    state.mkdir()
    # libvirt is built once, and kept where the tests of the simulator keep theirs.
    build = testing.test_directory() / "simulator" / "build"
    build.mkdir(parents=True, exist_ok=True)
    (state / "build").symlink_to(build)
    made = PairedSite(root, links(), namespaces(), set(user_names()), state=state)
    try:
        made.up()
        yield made
    finally:
        made.run("destroy", "--yes", ok=False)
        made.host.simulator("remove", "--name", made.host.name, ok=False)
        shutil.rmtree(directory, ignore_errors=True)


@contextlib.contextmanager
def admin_api(site: PairedSite) -> Iterator[Api]:
    """Ask the site's APIs as the administrator for as long as the block lasts."""
    secrets = json.loads((site.root / "secrets.json").read_text())
    with open_api(site.host, secrets["admin"], LOCAL_IDENTITY) as api:
        yield api


@contextlib.contextmanager
def user_api(site: PairedSite) -> Iterator[Api]:
    """Ask the site's APIs as its first user, who has instances, for as long as the block lasts."""
    secrets = json.loads((site.root / "secrets.json").read_text())
    with open_api(site.host, secrets["demo"], LOCAL_IDENTITY, "demo") as api:
        yield api


def first_guest(site: PairedSite, api: Api) -> Guest:
    """Return the first instance."""
    servers = api.ask("compute", "GET", "/servers?all_tenants=1")["servers"]
    return Guest(site, api, next(one["id"] for one in servers if one["name"] == "first"))


def make_guest(site: PairedSite, api: Api, name: str) -> Guest:
    """Make an instance of the administrator's on the provider network, and wait until nova calls it active."""
    image = next(one for one in api.ask("image", "GET", "/v2/images")["images"] if one["name"] == "beastack-guest")
    flavor = next(one for one in api.ask("compute", "GET", "/flavors")["flavors"] if one["name"] == "m1.tiny")
    (network,) = api.list("networks", name="provider")
    wanted = {"name": name, "imageRef": image["id"], "flavorRef": flavor["id"], "networks": [{"uuid": network["id"]}]}
    made = api.ask("compute", "POST", "/servers", {"server": wanted}, ok=(202,))["server"]
    guest = Guest(site, api, made["id"])
    wait(lambda: guest.is_in("ACTIVE"), f"the instance {name} to be active")
    return guest


def wait(condition: Callable[[], object], what: str) -> None:
    """Wait as long as a guest may take to boot."""
    eventually(condition, what, LIMIT)
