"""Ends nova-compute, and others, in the middle of making and deleting instances, and looks what is left of these.

A test names a call that nova-compute makes (see held_calls.py); the instance
made for it is held there. Many instances are held at once, each at a call of
its own, and one kill ends all of them.
"""

from __future__ import annotations

import contextlib
import functools
import os
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from conftest import eventually
from freebsd_guests import Guest
from freebsd_pair import Api, PairedSite

LIMIT = 240
MODULE = "beastack_held_calls"
DEFINITIONS, LOGS = "/usr/local/etc/libvirt/bhyve", "/var/log/libvirt/bhyve"
HOOKS = "/usr/local/etc/libvirt/hooks/bhyve.d"


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

    def boot(self, name: str, **plans: str) -> Guest:
        """Ask for an instance; ``plans`` are lines of its operations' calls, empty to have all noted."""
        for operation, line in plans.items():
            self.plan(name, operation, line)
        asked = {
            "name": name, "imageRef": self.image, "flavorRef": self.flavor, "networks": [{"uuid": self.network}],
        }  # fmt: skip
        made = self.api.ask("compute", "POST", "/servers", {"server": asked}, ok=(202,))["server"]
        self.made.append(Guest(self.site, self.api, made["id"]))
        return self.made[-1]

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

    def traces(self) -> set[str]:
        """Return all that the host has of instances."""
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
        return found

    def await_nothing_beyond(self, before: set[str]) -> None:
        """Wait until the host has of instances no more than it had."""
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


#: libvirt's hooks (https://libvirt.org/hooks.html): before and after a guest's taps are made, when bhyve has been
#: started, and when its taps have been destroyed.
LIBVIRT_POINTS = ("prepare", "start", "started", "stopped", "release")

HOOK = """\
#!/bin/sh
# Kills libvirtd, which runs this, the first time that it comes to a point.
if [ "$2" = POINT ] && rm FILE 2>/dev/null; then
    kill -KILL $PPID
fi
"""


@contextlib.contextmanager
def kill_libvirtd_at(lab: Lab, point: str) -> Iterator[Callable[[], bool]]:
    """Have the next guest that comes to a point end libvirtd; gives what tells whether it has."""
    mark = lab.directory / f"libvirtd-{point}"
    mark.touch()
    made = lab.directory / "hook"
    made.write_text(HOOK.replace("POINT", point).replace("FILE", str(mark)))
    hook = f"{HOOKS}/zz-killed"
    lab.site.inside("install", "-m", "755", str(made), hook)
    try:
        yield lambda: not mark.exists()
    finally:
        lab.site.inside("rm", hook)
