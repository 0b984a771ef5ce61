"""Ends nova-compute, and others, in the middle of making and deleting instances, and looks what is left of these.

A test names a call that nova-compute makes (see held_calls.py); the instance
made for it is held there. Many instances are held at once, each at a call of
its own, and one kill ends all of them.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from conftest import eventually
from freebsd_guests import Guest
from freebsd_pair import Api, PairedSite

LIMIT = 240
MODULE = "beastack_held_calls"
DEFINITIONS, LOGS = "/usr/local/etc/libvirt/bhyve", "/var/log/libvirt/bhyve"


@dataclass
class Lab:
    """The cloud, with what holds nova-compute in it."""

    site: PairedSite
    api: Api
    directory: Path
    flavor: str
    image: str
    network: str
    made: list[Guest] = field(default_factory=list)
    images: list[str] = field(default_factory=list)

    def boot(self, name: str, image: str = "", **plans: str) -> Guest:
        """Ask for an instance; ``plans`` are lines of its operations' calls, empty to have all noted."""
        for operation, line in plans.items():
            self.plan(name, operation, line)
        asked = {
            "name": name, "imageRef": image or self.image, "flavorRef": self.flavor,
            "networks": [{"uuid": self.network}],
        }  # fmt: skip
        made = self.api.ask("compute", "POST", "/servers", {"server": asked}, ok=(202,))["server"]
        self.made.append(Guest(self.site, self.api, made["id"]))
        return self.made[-1]

    def boot_anew(self, name: str, **plans: str) -> Guest:
        """Ask for an instance of an image that no other has had: every call is made again, and none waits."""
        file = self.directory / "empty.qcow2"
        if not file.exists():
            self.site.inside("qemu-img", "create", "-q", "-f", "qcow2", str(file), "1M")
        body = {"name": name, "disk_format": "qcow2", "container_format": "bare"}
        self.images.append(self.api.ask("image", "POST", "/v2/images", body)["id"])
        self.api.ask("image", "PUT", f"/v2/images/{self.images[-1]}/file", file=file)
        return self.boot(name, self.images[-1], **plans)

    def plan(self, name: str, operation: str, line: str) -> None:
        """Have an operation held at a call, or with an empty line noted."""
        (self.directory / f"{name}.{operation}").write_text(line)

    def calls(self, name: str, operation: str) -> list[str]:
        """Return the calls that were noted."""
        return (self.directory / f"{name}.{operation}.seen").read_text().splitlines()

    def is_held(self, name: str, operation: str) -> bool:
        """Tell whether it has come to where it is held."""
        return (self.directory / f"{name}.{operation}.held").exists()

    def await_held(self, operation: str, *names: str) -> None:
        """Wait until all of these have come to where they are held."""
        for name in names:
            eventually(functools.partial(self.is_held, name, operation), f"the {operation} of {name} to be held", LIMIT)

    def let_go(self, name: str, operation: str) -> None:
        """Let what is held go on."""
        (self.directory / f"{name}.{operation}.go").touch()

    def delete(self, guest: Guest) -> None:
        """Ask for an instance to be deleted."""
        self.api.ask("compute", "DELETE", f"/servers/{guest.number}", ok=(204, 404))

    def is_gone(self, guest: Guest) -> bool:
        """Tell whether nova knows it no more."""
        answer = self.api.ask("compute", "GET", f"/servers/{guest.number}", ok=(200, 404))
        return "server" not in answer

    def delete_all(self) -> None:
        """Delete every instance that was made, and wait until nova knows none of them."""
        for guest in self.made:
            self.delete(guest)
        for guest in self.made:
            eventually(functools.partial(self.is_gone, guest), f"{guest.number} to be gone", LIMIT)
        self.made.clear()
        for image in self.images:
            self.api.ask("image", "DELETE", f"/v2/images/{image}", ok=(204,))
            # Nova keeps for a day what it has whole of an image, and the image's lock for good.
            name = hashlib.sha1(image.encode()).hexdigest()
            for file in (f"_base/{name}", f"locks/nova-{name}"):
                (self.site.layout.data("nova") / "instances" / file).unlink(missing_ok=True)
        self.images.clear()

    def give_argument(self, guest: Guest, argument: str) -> None:
        """Have libvirt give a guest's bhyve one more argument from its next start on."""
        socket = self.site.layout.run("libvirt") / "libvirt-sock"
        virsh = ("virsh", "--quiet", "--connect", f"bhyve+unix:///system?socket={socket}")
        definition = self.site.inside(*virsh, "dumpxml", "--inactive", guest.domain)
        changed = self.directory / f"{guest.domain}.xml"
        end = "</bhyve:commandline>"
        changed.write_text(definition.replace(end, f"<bhyve:arg value='{argument}'/>{end}"))
        self.site.inside(*virsh, "define", str(changed))

    def write_as(self, file: Path, owner: os.stat_result) -> None:
        """Write a file, and the directories that it is in, as a user of the host."""
        missing = [path for path in file.parents if not path.exists()]
        for path in reversed(missing):
            path.mkdir()
        file.touch()
        for path in (file, *missing):
            os.chown(path, owner.st_uid, owner.st_gid)

    def unfinished(self) -> list[Path]:
        """Return what nova-compute has begun to write of images."""
        nova = self.site.layout.data("nova")
        return [*nova.glob("instances/_base/*.*"), *nova.glob("snapshots/*")]

    def restart(self, service: str) -> None:
        """Kill a service and wait until it runs again."""
        pid = self.site.kill(service)
        eventually(lambda: self.site.is_back(service, pid), f"{service} to come back", LIMIT)

    def kill_held(self, *held: tuple[str, str]) -> None:
        """Kill nova-compute, and what does something as root for it of these operations of instances."""
        files = [self.directory / f"{name}.{operation}.held" for name, operation in held]
        pids = {file.read_text() for file in files}
        pid = self.site.kill("nova-compute")
        for other in pids - {str(pid)}:
            self.site.inside("kill", "-KILL", other)
        eventually(lambda: self.site.is_back("nova-compute", pid), "nova-compute to come back", LIMIT)

    def records(self) -> set[str]:
        """Return what the cloud has written down of instances."""
        ports = self.api.list("ports", device_owner="compute:nova")
        found = {f"port {port['id']} of {port['device_id']}" for port in ports}
        for provider in self.api.ask("placement", "GET", "/resource_providers")["resource_providers"]:
            answer = self.api.ask("placement", "GET", f"/resource_providers/{provider['uuid']}/allocations")
            found |= {f"allocation of {consumer}" for consumer in answer["allocations"]}
        return found

    def traces(self) -> set[str]:
        """Return all that there is of instances, on the host and in the cloud's records."""
        inside, layout = self.site.inside, self.site.layout
        found = {f"interface {name}" for name in inside("ifconfig", "-l").split()}
        found |= {f"port {name}" for name in self.site.host.vsctl("list-ports", layout.interface("int")).split()}
        rows = self.site.host.vsctl("--bare", "--columns=name", "list", "Interface").split()
        found |= {f"row {name}" for name in rows}
        places = ("/dev/vmm", DEFINITIONS, LOGS, "/var/run/libvirt/bhyve")
        for place in places:
            found |= {f"{place}/{name}" for name in inside("ls", place, ok=False).split()}
        found |= {f"/dev/{name}" for name in inside("ls", "/dev").split() if name.startswith("nmdm")}
        found |= {f"process {pid}" for pid in self.site.find_processes("^bhyve|/usr/sbin/bhyve")}
        for top in (layout.data("nova"), layout.data("console")):
            found |= {str(file) for file in top.rglob("*")}
        return found | self.records()

    def await_nothing_beyond(self, before: set[str]) -> None:
        """Wait until there is of instances no more than there was."""
        deadline = time.monotonic() + LIMIT
        while left := self.traces() - before:
            assert time.monotonic() < deadline, f"left: {sorted(left)}"
            time.sleep(0.5)


def _restart_parents(site: PairedSite) -> None:
    """Have the interpreters started anew that nova-compute is forked from, and nova-compute."""
    for pid in site.find_processes("^(beastack: )?parent (libraries|nova)"):
        site.inside("kill", "-KILL", str(pid), ok=False)
    pid = site.kill("nova-compute")
    eventually(lambda: site.is_back("nova-compute", pid), "nova-compute to come back", LIMIT)


@contextlib.contextmanager
def hold_calls(site: PairedSite, api: Api) -> Iterator[Lab]:
    """Have nova-compute do as held_calls.py says for as long as the block lasts."""
    (packages,) = (site.root / "venv/lib").glob("python3*/site-packages")
    directory = site.root / "held"
    directory.mkdir()
    directory.chmod(0o1777)
    shutil.copy(Path(__file__).with_name("held_calls.py"), packages / f"{MODULE}.py")
    start = packages / f"{MODULE}.pth"
    start.write_text(f"import {MODULE}; {MODULE}.begin({str(directory)!r})\n")
    flavors = api.ask("compute", "GET", "/flavors")["flavors"]
    images = api.ask("image", "GET", "/v2/images")["images"]
    lab = Lab(
        site, api, directory,
        next(one["id"] for one in flavors if one["name"] == "m1.tiny"),
        next(one["id"] for one in images if one["name"] == "beastack-guest"),
        api.list("networks", name="private")[0]["id"],
    )  # fmt: skip
    try:
        _restart_parents(site)
        yield lab
    finally:
        start.unlink()
        (packages / f"{MODULE}.py").unlink()
        _restart_parents(site)
        shutil.rmtree(directory)
