"""The two places that are measured: a site on Linux, in network and mount namespaces of its own, and a site on the
simulated FreeBSD host. Each is made in a temporary directory, and nothing is left of it.
"""

from __future__ import annotations

import json
import shlex
import shutil
import signal
import subprocess
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

from beastack.site import operate
from beastack.site.layout import Layout
from beastack.site.steps import Steps

PROJECT = Path(__file__).resolve().parents[2]
BEASTACK = str(PROJECT / "beastack")
SIMULATOR = str(PROJECT / "simulator" / "freebsd-sim")
TOOLS = PROJECT / "tests" / "cloud"

DESCRIPTION = """\
[instance]
boot = false
"""

#: Steps of ``up`` that fetch something: they are done before, where there is a network.
FETCHING = ("packages", "environment", "console-pages", "first-image")

#: Makes the namespaces a place to live in: named namespaces, interfaces and processes of nobody else.
HOLDER = """\
set -e
mkdir -p /run/netns
mount -t tmpfs netns /run/netns
mount -t sysfs sysfs "$1"
mount --rbind /sys/fs/cgroup "$1/fs/cgroup"
mount --move "$1" /sys
ip link set dev lo up
echo ready
exec sleep infinity
"""

#: What the guests' interfaces are called: as nova would begin, so that a site's clean-up knows them.
NEAR, FAR = "tapbench{:04d}", "vifbench{:04d}"


class PlaceError(Exception):
    """A place cannot be made, or a command in it failed."""


class Shell:
    """A shell that stays: a command costs what it costs, and no start of anything else."""

    def __init__(self, argv: Sequence[str]) -> None:
        self.process = subprocess.Popen(
            argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            start_new_session=True,
        )  # fmt: skip

    def run(self, script: str) -> str:
        """Run commands and return what they print.

        :raises PlaceError: the last of them failed, or the shell ended
        """
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(f'{script}\necho "end of it: $?"\n')
        self.process.stdin.flush()
        lines: list[str] = []
        for line in self.process.stdout:
            if line.startswith("end of it: "):
                said = "".join(lines)
                if line.split()[-1] != "0":
                    raise PlaceError(f"{script.strip().splitlines()[-1]}: {said.strip()}")
                return said
            lines.append(line)
        raise PlaceError(f"the shell ended: {''.join(lines)}")

    def close(self) -> None:
        """End it."""
        with suppress(OSError):
            self.process.communicate(timeout=10)


class Place(ABC):
    """A running site, and a way to do things beside it."""

    name: str

    def __init__(self, root: Path) -> None:
        self.layout = Layout(root)
        self.site = operate.open_site(self.layout, operate.read_description(self.layout, None))
        self.bridge = self.layout.interface("int")
        self.switch = self.layout.run("openvswitch")
        self.shell = Shell(self.command("/bin/sh"))

    @abstractmethod
    def command(self, *argv: str) -> list[str]:
        """Return what runs a command on the host."""

    @abstractmethod
    def outside(self, *argv: str, guest: str | None = None) -> list[str]:
        """Return what runs a program of Linux in the network of the host, or of a guest."""

    @abstractmethod
    def pair_script(self, near: str, far: str, mac: str) -> str:
        """Return the commands that make a pair of interfaces."""

    @abstractmethod
    def guest_script(self, guest: str, far: str) -> str:
        """Return the commands that make a guest of the far end of a pair."""

    @abstractmethod
    def removal_script(self, numbers: Sequence[int], guests: Sequence[str]) -> str:
        """Return the commands that remove pairs and guests."""

    @abstractmethod
    def top(self) -> int:
        """Return the process (as this machine numbers it) that all others of the place come from."""

    def vsctl(self, *arguments: str) -> str:
        """Run ovs-vsctl on the switch, through its socket.

        :raises PlaceError: it failed
        """
        return run(["ovs-vsctl", f"--db=unix:{self.switch}/db.sock", "--timeout=60", *arguments])

    def ofctl(self, verb: str, *arguments: str) -> list[str]:
        """Return the command ovs-ofctl for the integration bridge."""
        return ["ovs-ofctl", verb, f"unix:{self.switch}/{self.bridge}.mgmt", *arguments]

    def dump_flows(self) -> list[str]:
        """Return the flows of the integration bridge."""
        return [line for line in run(self.ofctl("dump-flows")).splitlines() if "cookie=" in line]

    def services(self) -> dict[str, dict[str, Any]]:
        """Return the state of each of the site's processes by name."""
        said = self.shell.run(f"{BEASTACK} --root {self.layout.root} status --json || true")
        return {item["name"]: item for item in json.loads(said)["services"]}

    def close(self) -> None:
        """End the shell."""
        self.shell.close()

    def secret(self, name: str) -> str:
        """Return one of the site's secrets."""
        return self.site.secrets[name]


class LinuxPlace(Place):
    """Upstream's agents, as a site of kind linux has them."""

    name = "linux"

    def __init__(self, root: Path, holder: int) -> None:
        self.holder = holder
        super().__init__(root)

    def command(self, *argv: str) -> list[str]:
        return in_namespaces(self.holder, *argv)

    def outside(self, *argv: str, guest: str | None = None) -> list[str]:
        return self.command(*(["ip", "netns", "exec", guest] if guest else []), *argv)

    def pair_script(self, near: str, far: str, mac: str) -> str:
        return (
            f"ip link add dev {near} type veth peer name {far} address {mac}\n"
            f"ethtool -K {near} tx off >/dev/null; ethtool -K {far} tx off >/dev/null; ip link set dev {near} up\n"
        )

    def guest_script(self, guest: str, far: str) -> str:
        return f"ip netns add {guest} && ip link set dev {far} netns {guest} && ip -n {guest} link set dev {far} up\n"

    def removal_script(self, numbers: Sequence[int], guests: Sequence[str]) -> str:
        links = "".join(f"ip link delete dev {NEAR.format(number)}; " for number in numbers)
        return links + "".join(f"ip netns delete {guest}; " for guest in guests) + "true\n"

    def top(self) -> int:
        return int(Steps(self.site).supervisor.ask("status")["pid"])


class FreeBSDPlace(Place):
    """Our port of them, as a site of kind freebsd has them."""

    name = "freebsd"

    def command(self, *argv: str) -> list[str]:
        return simulator(self.layout, "run", "--name", self.layout.prefix, "--", *argv)

    def outside(self, *argv: str, guest: str | None = None) -> list[str]:
        where = ["--jail", guest] if guest else []
        return simulator(self.layout, "outside", "--name", self.layout.prefix, *where, "--", *argv)

    def pair_script(self, near: str, far: str, mac: str) -> str:
        return (
            "a=$(ifconfig epair create); b=${a%a}b\n"
            f"ifconfig $a -txcsum -txcsum6 name {near} >/dev/null; ifconfig $b -txcsum -txcsum6 name {far} >/dev/null\n"
            f"ifconfig {far} ether {mac}; ifconfig {near} up\n"
        )

    def guest_script(self, guest: str, far: str) -> str:
        return (
            f"jail -c name={guest} path=/ vnet persist host=inherit children.max=0 allow.raw_sockets >/dev/null"
            f" && ifconfig {far} vnet {guest} && ifconfig -j {guest} {far} up\n"
        )

    def removal_script(self, numbers: Sequence[int], guests: Sequence[str]) -> str:
        jails = "".join(f"jail -r {guest}; " for guest in guests)
        return jails + "".join(f"ifconfig {NEAR.format(number)} destroy; " for number in numbers) + "true\n"

    def top(self) -> int:
        listing = run(simulator(self.layout, "status", "--name", self.layout.prefix, "--json"))
        return int(json.loads(listing)["hosts"][0]["pid"])


@contextmanager
def linux() -> Iterator[LinuxPlace]:
    """Bring up a site of kind linux for as long as the block lasts."""
    with new_root("linux") as root, namespaces() as holder:
        up = in_namespaces(holder, BEASTACK, "--root", str(root))
        fetch(Layout(root))
        try:
            bring_up([*up, "up", "--host", "linux", "--json"])
            with closing(LinuxPlace(root, holder)) as place:
                yield place
        finally:
            destroy(root, up)


@contextmanager
def freebsd() -> Iterator[FreeBSDPlace]:
    """Bring up a site of kind freebsd, on a simulated host of its own, for as long as the block lasts."""
    with new_root("freebsd") as root:
        up = ["env", f"FREEBSD_SIM_STATE={state(root)}", BEASTACK, "--root", str(root)]
        state(root).mkdir()
        try:
            bring_up([*up, "up", "--host", "freebsd", "--role", "control+network", "--json"])
            with closing(FreeBSDPlace(root)) as place:
                yield place
        finally:
            destroy(root, up)
            subprocess.run(simulator(Layout(root), "remove", "--name", Layout(root).prefix), capture_output=True)


@contextmanager
def new_root(name: str) -> Iterator[Path]:
    """Make a directory for a site, which is deleted at the end with what stands beside it."""
    root = Path(tempfile.mkdtemp(prefix=f"beastack-bench-{name}-", dir="/var/tmp"))
    root.chmod(0o711)
    (root / "site.toml").write_text(DESCRIPTION)
    try:
        yield root
    finally:
        shutil.rmtree(root, ignore_errors=True)
        shutil.rmtree(state(root), ignore_errors=True)


def state(root: Path) -> Path:
    """Return where the simulator keeps a site's host."""
    return root.with_name(f"{root.name}-simulator")


def simulator(layout: Layout, *arguments: str) -> list[str]:
    """Return the command freebsd-sim for a site's host."""
    return ["env", f"FREEBSD_SIM_STATE={state(layout.root)}", SIMULATOR, *arguments]


def fetch(layout: Layout) -> None:
    """Do the steps of ``up`` that need a network: in a namespace of its own there is none."""
    description = operate.read_description(layout, None)
    operate.make_site(layout, description)
    actions = Steps(operate.open_site(layout, description)).actions()
    for name in FETCHING:
        if not actions[name].done():
            actions[name].apply(lambda text: None)


def bring_up(command: Sequence[str]) -> None:
    """Bring a site up; on a busy machine once more, which goes on where it stopped.

    :raises PlaceError: it does not come up
    """
    try:
        run(command, limit=900)
    except PlaceError:
        run(command, limit=900)


def destroy(root: Path, command: Sequence[str]) -> None:
    """Remove a site, whatever became of it; a second interrupt does not come between."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if (root / "site.json").exists():
        done = subprocess.run(
            [*command, "destroy", "--yes"], capture_output=True, text=True, stdin=subprocess.DEVNULL,
            start_new_session=True,
        )  # fmt: skip
        if done.returncode != 0:
            print(f"benchmarks/network: {root} could not be destroyed: {done.stdout}{done.stderr}", flush=True)


@contextmanager
def namespaces() -> Iterator[int]:
    """Hold network and mount namespaces; gives the process that has them."""
    with tempfile.TemporaryDirectory(prefix="beastack-bench-sys-") as directory:
        held = subprocess.Popen(
            ["unshare", "--net", "--mount", "--propagation", "private", "sh", "-c", HOLDER, "sh", directory],
            stdout=subprocess.PIPE, text=True, start_new_session=True,
        )  # fmt: skip
        try:
            assert held.stdout is not None
            if held.stdout.readline() != "ready\n":
                raise PlaceError("the namespaces cannot be made")
            yield held.pid
        finally:
            held.kill()
            held.wait()


def in_namespaces(holder: int, *argv: str) -> list[str]:
    """Return what runs a command in the namespaces of a process."""
    return ["nsenter", "--net", "--mount", "--target", str(holder), "--wdns=/", *argv]


def run(argv: Sequence[str], limit: float = 120) -> str:
    done = subprocess.run(argv, capture_output=True, text=True, timeout=limit, stdin=subprocess.DEVNULL)
    if done.returncode != 0:
        raise PlaceError(f"{shlex.join(argv)}: {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout
