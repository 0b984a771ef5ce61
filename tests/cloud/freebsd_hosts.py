"""Three simulated FreeBSD hosts on one segment: one with the control plane and the networks, two with guests.

They are brought up as a user would: ``up`` on the first, ``host add`` there
for each of the others, and on those the command that it printed.
"""

from __future__ import annotations

import contextlib
import functools
import json
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from beastack.cli import testing
from beastack.site import guest_image
from beastack.site.host import linux
from beastack.site.layout import Layout
from conftest import eventually, links, namespaces, user_names
from freebsd_pair import Api, PairedSite, _remove, open_api
from plugged import PROJECT, SimulatedHost

SEGMENT, INTERFACE = "beastack-hosts", "em0"
CONTROL = "10.98.0.1"
ADDRESSES = {"left": "10.98.0.2", "right": "10.98.0.3"}
IMAGE, FLAVOR = "beastack-guest", "m1.tiny"

CONTROL_TOML = f"""\
[site]
bind_address = "{CONTROL}"
[host]
kind = "freebsd"
role = "control+network"
name = "control"
[messaging]
listen = "{CONTROL}"
[network]
underlay = "{INTERFACE}"
local_ip = "{CONTROL}"
underlay_prefix = 24
[instance]
boot = false
"""


def prepare_state(directory: Path) -> Path:
    """Return where a test's simulated hosts are kept; libvirt is built once, where the simulator's tests have it."""
    state = directory / "simulator"
    state.mkdir()
    build = testing.test_directory() / "simulator" / "build"
    build.mkdir(parents=True, exist_ok=True)
    (state / "build").symlink_to(build)
    return state


def start_host(root: Path, state: Path, *, guests: bool, segment: str, address: str) -> PairedSite:
    """Make a state directory for a site, and start its simulated host."""
    root.mkdir()
    root.chmod(0o711)
    site = PairedSite(root, links(), namespaces(), set(user_names()), state=state)
    power_on(site, guests=guests, segment=segment, address=address)
    return site


def power_on(site: PairedSite, *, guests: bool, segment: str, address: str) -> None:
    """Start a site's simulated host, with its card on a segment, and with its address, as rc.conf(5) would have it."""
    options = () if guests else ("--without-libvirt",)
    site.host.simulator(
        "start", "--name", site.host.name, *options, "--share", str(PROJECT), "--share", str(site.root), limit=900
    )
    site.host.simulator("link", segment, f"{site.host.name}:{INTERFACE}")
    site.inside("ifconfig", INTERFACE, "inet", f"{address}/24", "up")


@dataclass
class Fleet:
    """The hosts, their APIs, and what was made.

    ``served_by`` is the host whose jails have the networks' DHCP, ``key`` what
    opens the instances.
    """

    control: PairedSite
    computes: dict[str, PairedSite]
    api: Api
    served_by: SimulatedHost
    key: Path
    network: str = ""
    servers: dict[str, str] = field(default_factory=dict)

    def run(self, *arguments: str, ok: bool = True) -> subprocess.CompletedProcess[str]:
        """Run beastack on the control host."""
        return self.control.run(*arguments, ok=ok)

    def hosts(self) -> dict[str, dict[str, Any]]:
        """Return what ``host list`` says, by name."""
        return {row["name"]: row for row in json.loads(self.run("host", "list", "--json").stdout)}

    def show(self, name: str) -> dict[str, Any]:
        """Return what nova says of an instance."""
        found: dict[str, Any] = self.api.ask("compute", "GET", f"/servers/{self.servers[name]}")["server"]
        return found

    def host_of(self, name: str) -> str:
        """Return the host that an instance is on."""
        return str(self.show(name)["OS-EXT-SRV-ATTR:host"])

    def act(self, name: str, **action: Any) -> None:
        """Have nova do something with an instance."""
        self.api.ask("compute", "POST", f"/servers/{self.servers[name]}/action", action, ok=(200, 202, 204))

    def await_status(self, name: str, status: str, limit: float = 240) -> None:
        """Wait until nova has an instance in a state, with nothing under way."""

        def reached() -> bool:
            seen = self.show(name)
            assert seen["status"] != "ERROR" or status == "ERROR", seen.get("fault")
            return bool(seen["status"] == status and seen["OS-EXT-STS:task_state"] is None)

        eventually(reached, f"{name} to be {status}", limit)

    def address(self, name: str) -> str:
        """Return an instance's address."""
        (addresses,) = self.show(name)["addresses"].values()
        return str(addresses[0]["addr"])

    def boot(self, name: str, host: str) -> None:
        """Have nova start an instance on a host."""
        image = self.api.ask("image", "GET", f"/v2/images?name={IMAGE}")["images"][0]["id"]
        flavors = self.api.ask("compute", "GET", "/flavors")["flavors"]
        flavor = next(one["id"] for one in flavors if one["name"] == FLAVOR)
        body = {
            "name": name, "imageRef": image, "flavorRef": flavor, "networks": [{"uuid": self.network}],
            "availability_zone": f"nova:{host}", "key_name": "hosts",
        }  # fmt: skip
        self.servers[name] = self.api.ask("compute", "POST", "/servers", {"server": body}, ok=(202,))["server"]["id"]

    def domain(self, name: str) -> str:
        """Return libvirt's name of an instance."""
        return str(self.show(name)["OS-EXT-SRV-ATTR:instance_name"])

    def shell(self, name: str, *words: str) -> str:
        """Run a command in an instance over SSH, from the jail of its network's DHCP; "" when it is not reached."""
        options = ("StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "BatchMode=yes", "ConnectTimeout=3")
        switches = [word for one in options for word in ("-o", one)]
        command = ("ssh", "-q", *switches, "-i", str(self.key), f"root@{self.address(name)}")
        process = self.served_by.start_outside(f"qdhcp-{self.network}", *command, *words, stdout=subprocess.PIPE)
        said, _ = process.communicate(timeout=60)
        return str(said) if process.returncode == 0 else ""

    def is_reached(self, name: str) -> bool:
        """Tell whether an instance answers over its network, as itself: its name is from the metadata service."""
        return name in self.shell(name, "hostname")


def add(fleet: Fleet, name: str) -> list[str]:
    """Add a host on the control host, bring it the file, and return the command that was printed for it."""
    added = fleet.run(
        "host",
        "add",
        name,
        "--role",
        "compute",
        "--address",
        f"{ADDRESSES[name]}/24",
        "--interface",
        INTERFACE,
        "--json",
    )
    return deliver(fleet, name, json.loads(added.stdout))


def deliver(fleet: Fleet, name: str, told: dict[str, str]) -> list[str]:
    """Bring a host the file that the control host made for it, and return the command that was printed for it."""
    program, *words, file = told["command"].split()
    assert program == "beastack"
    copy = fleet.computes[name].root.parent / file
    shutil.copy(told["file"], copy)
    return [*words, str(copy)]


@contextlib.contextmanager
def three_hosts() -> Iterator[Fleet]:
    """Bring up the three hosts, an image and a network; everything is removed at the end."""
    directory = Path(tempfile.mkdtemp(prefix="beastack-hosts-", dir="/var/tmp"))
    directory.chmod(0o755)
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, directory, ignore_errors=True)
        state = prepare_state(directory)
        made = {}
        for name, address in {"control": CONTROL, **ADDRESSES}.items():
            made[name] = start_host(directory / name, state, guests=name != "control", segment=SEGMENT, address=address)
            stack.callback(_remove, made[name])
        control = made.pop("control")
        stack.callback(control.host.simulator, "unlink", SEGMENT, ok=False)
        (control.root / "site.toml").write_text(CONTROL_TOML)
        control.up()
        secrets = json.loads((control.root / "secrets.json").read_text())
        api = stack.enter_context(open_api(control.host, secrets["admin"], f"http://{CONTROL}:5000/v3"))
        fleet = Fleet(control, made, api, control.host, control.root / "id_ed25519")
        commands = {name: add(fleet, name) for name in made}
        with ThreadPoolExecutor() as pool:
            list(pool.map(lambda name: made[name].run(*commands[name]), made))
        prepare_cloud(fleet, directory)
        yield fleet


def prepare_cloud(fleet: Fleet, directory: Path) -> None:
    """Give the cloud an image, a network, and rules that let the administrator in."""
    image = build_image(directory)
    fleet.run("image", "add", str(image), "--name", IMAGE)
    image.unlink()
    make_network(fleet, (fleet.control.root / "id_ed25519.pub").read_text().strip())
    eventually(functools.partial(are_mapped, fleet, ADDRESSES), "the scheduler to find both hosts", 120)


def build_image(directory: Path) -> Path:
    """Build the image of the first instance, as ``up`` does where there is one."""
    missing = linux.missing_packages((*guest_image.required_packages(), "python3-libvirt"))
    linux.install_packages(Layout(directory), missing, lambda text: None)
    image = directory / "image.raw"
    guest_image.build_guest_image(image, testing.test_directory() / "cache", progress=lambda text: None)
    return image


def make_network(fleet: Fleet, key: str) -> None:
    """Make a network of the administrator's, whose instances let him in by SSH with a key."""
    api = fleet.api
    fleet.network = api.make("network", name="fleet")["id"]
    api.make("subnet", network_id=fleet.network, cidr="10.73.0.0/24", ip_version=4, gateway_ip=None)
    project = api.show("network", fleet.network)["project_id"]
    group = api.list("security-groups", name="default", project_id=project)[0]["id"]
    for protocol in ("icmp", "tcp"):
        api.make(
            "security_group_rule", security_group_id=group, direction="ingress", ethertype="IPv4", protocol=protocol
        )
    api.ask("compute", "POST", "/os-keypairs", {"keypair": {"name": "hosts", "public_key": key}})


def are_mapped(fleet: Fleet, names: Iterable[str]) -> bool:
    """Tell whether cells of nova have these hosts."""
    listing = fleet.api.ask("compute", "GET", "/os-hypervisors")["hypervisors"]
    return set(names) <= {one["hypervisor_hostname"] for one in listing}
