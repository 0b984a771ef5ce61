"""A control plane of kind linux in a network namespace of its own, with one interface on a simulated segment.

For the simulated FreeBSD hosts on that segment it is a cloud that runs
elsewhere. What would be fetched is fetched before: the namespace leads
nowhere else.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from beastack.cli import debian
from beastack.freebsd.command import run
from beastack.site import operate, release
from beastack.site.description import load_description
from beastack.site.host import linux
from beastack.site.layout import Layout
from conftest import BEASTACK

NAMESPACE = "beastack-elsewhere"
#: What the simulator calls the namespace of a segment, and the bridge in it.
SEGMENT_NAMESPACE, SEGMENT_BRIDGE = "freebsd-sim-{}", "segment"
ADDRESS = "10.97.0.1"

SITE_TOML = f"""\
[site]
bind_address = "{ADDRESS}"
[host]
kind = "linux"
role = "control"
[messaging]
listen = "{ADDRESS}"
[instance]
boot = false
"""


@dataclass
class Elsewhere:
    """The control plane."""

    root: Path

    @property
    def secrets(self) -> dict[str, str]:
        """Its passwords."""
        found: dict[str, str] = json.loads((self.root / "secrets.json").read_text())
        return found

    def run(self, *arguments: str, ok: bool = True) -> subprocess.CompletedProcess[str]:
        """Run beastack on it."""
        argv = ["ip", "netns", "exec", NAMESPACE, BEASTACK, "--root", str(self.root), *arguments]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=900, stdin=subprocess.DEVNULL)
        assert not ok or done.returncode == 0, f"{' '.join(argv)}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done


def plug(segment: str) -> None:
    """Make the namespace, and join it to a segment that there is.

    Its frames are whole when they leave it, as those on a wire are: the switch of the host that joins reads them raw.
    """
    debian.install_packages(["ethtool"])
    space = SEGMENT_NAMESPACE.format(segment)
    for line in (
        f"ip netns add {NAMESPACE}",
        f"ip -n {NAMESPACE} link set lo up",
        f"ip link add elsewhere netns {NAMESPACE} type veth peer name elsewhere netns {space}",
        f"ip -n {space} link set elsewhere master {SEGMENT_BRIDGE} up",
        f"ip netns exec {NAMESPACE} ethtool -K elsewhere tx off",
        f"ip -n {NAMESPACE} address add {ADDRESS}/24 dev elsewhere",
        f"ip -n {NAMESPACE} link set elsewhere up",
    ):
        run(line.split())


def install(root: Path) -> None:
    """Fetch what ``up`` would fetch."""
    layout, description = Layout(root), load_description(root / "site.toml")
    site = operate.make_site(layout, description)
    missing = linux.missing_packages(linux.packages(description))
    linux.install_packages(layout, missing, lambda text: None)
    release.install(layout, site.facts.python, lambda text: None)
    for directory in ("cache", "data"):
        (root / directory).mkdir(exist_ok=True)
    release.novnc_pages(layout, root / "cache" / "novnc")


@contextmanager
def elsewhere(root: Path, segment: str) -> Iterator[Elsewhere]:
    """Bring the control plane up; all of it is removed at the end."""
    made = Elsewhere(root)
    with ExitStack() as stack:
        stack.callback(run, ["ip", "netns", "delete", NAMESPACE], ok=range(256))
        plug(segment)
        root.mkdir()
        root.chmod(0o711)
        (root / "site.toml").write_text(SITE_TOML)
        stack.callback(made.run, "destroy", "--yes", ok=False)
        install(root)
        made.run("up", "--json")
        yield made
