"""What tests of operations on instances make through the APIs: images, flavors and instances of their own."""

from __future__ import annotations

import contextlib
import functools
import json
import subprocess
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from freebsd_guests import Guest, admin_api, user_api, wait
from freebsd_pair import HERE, Api, PairedSite

#: Where a guest writes what is to be found again: behind all that the image has.
PLACE = 512  # MiB
ECHO_LIMIT = 150  # seconds for a word from the serial line


def convert(source: Path, target: Path) -> Path:
    """Make a qcow2 file of a raw one."""
    subprocess.run(["qemu-img", "convert", "-f", "raw", "-O", "qcow2", str(source), str(target)], check=True)
    return target


def write_mark(guest: Guest, text: str) -> None:
    """Have a guest write a line to its root disk, where the image has nothing."""
    guest.shell(f"echo {text} | dd of=/dev/vda bs=1M seek={PLACE} conv=notrunc 2>/dev/null; sync")


def read_mark(guest: Guest, disk: str = "vda") -> str:
    """Return the line that a guest finds there."""
    return guest.shell(f"dd if=/dev/{disk} bs=1M skip={PLACE} count=1 2>/dev/null | head -n 1 | tr -d '\\000'").strip()


def disk_size(guest: Guest, name: str = "vda") -> int:
    """Return the bytes of a disk as the guest sees it."""
    return int(guest.shell(f"cat /sys/class/block/{name}/size") or 0) * 512


@contextlib.contextmanager
def open_workshop(site: PairedSite) -> Iterator[Workshop]:
    """Ask a cloud's APIs, and delete at the end what was made."""
    with admin_api(site) as admin, user_api(site) as user:
        made = Workshop(site, admin, user)
        try:
            yield made
        finally:
            made.tidy()


@dataclass
class Workshop:
    """A cloud, asked as the administrator and as its first user, and what was made in it."""

    site: PairedSite
    admin: Api
    user: Api
    made: list[tuple[str, str]] = field(default_factory=list)
    guests: list[Guest] = field(default_factory=list)

    def make_flavor(self, name: str, extra: dict[str, str] | None = None, **figures: int) -> str:
        """Make a flavor of so many vcpus, ram, disk, OS-FLV-EXT-DATA:ephemeral and swap."""
        made = self.admin.ask("compute", "POST", "/flavors", {"flavor": {"name": name, **figures}})["flavor"]
        self.made.append(("compute", f"/flavors/{made['id']}"))
        if extra:
            self.admin.ask("compute", "POST", f"/flavors/{made['id']}/os-extra_specs", {"extra_specs": extra})
        return str(made["id"])

    def make_image(self, name: str, file: Path, **properties: str) -> str:
        """Make an image of a qcow2 file."""
        body = {"name": name, "disk_format": "qcow2", "container_format": "bare", "visibility": "public", **properties}
        number = str(self.admin.ask("image", "POST", "/v2/images", body)["id"])
        self.made.append(("image", f"/v2/images/{number}"))
        self.admin.ask("image", "PUT", f"/v2/images/{number}/file", file=file)
        return number

    def make_guest(self, name: str, image: str, flavor: str, **more: Any) -> Guest:
        """Ask for an instance on the provider network."""
        (network,) = self.user.list("networks", name="provider")
        body = {
            "name": name, "imageRef": image, "flavorRef": flavor, "networks": [{"uuid": network["id"]}],
            "key_name": "beastack", **more,
        }  # fmt: skip
        number = self.user.ask("compute", "POST", "/servers", {"server": body})["server"]["id"]
        self.guests.append(Guest(self.site, self.admin, number))
        return self.guests[-1]

    def plain_image(self, directory: Path, name: str) -> str:
        """Make an image of the project's own, as qcow2; a directory is for the file."""
        own = self.site.layout.data("guest-image") / "beastack-guest.raw"
        return self.make_image(name, convert(own, directory / f"{name}.qcow2"))

    def show_image(self, number: str) -> dict[str, Any]:
        """Return what glance says of an image."""
        found: dict[str, Any] = self.admin.ask("image", "GET", f"/v2/images/{number}")
        return found

    def snapshot(self, guest: Guest, name: str) -> str:
        """Have an image made of an instance, and return its number when it is there."""
        path = f"/servers/{guest.number}/action"
        body = {"createImage": {"name": name}}
        number = str(self.admin.ask("compute", "POST", path, body, version="compute 2.45")["image_id"])
        self.made.append(("image", f"/v2/images/{number}"))
        wait(lambda: self.show_image(number)["status"] == "active" and not guest.task(), f"the image {name}")
        return number

    def console_url(self, guest: Guest, protocol: str, kind: str) -> str:
        """Return the URL of an instance's console."""
        path = f"/servers/{guest.number}/remote-consoles"
        body = {"remote_console": {"protocol": protocol, "type": kind}}
        answer = self.user.ask("compute", "POST", path, body, version="compute 2.6")
        return str(answer["remote_console"]["url"])

    def type_into(self, guest: Guest, typed: str, awaited: str) -> str:
        """Type into an instance's serial console, and return what came back when a text is in it."""
        program = [sys.executable, str(HERE / "serial_client.py"), self.console_url(guest, "serial", "serial")]
        process = self.site.host.start_outside(None, *program, typed, awaited, stdout=subprocess.PIPE)
        said, _ = process.communicate(timeout=ECHO_LIMIT)
        return str(said)

    def files(self, guest: Guest | None = None) -> Path:
        """Return the directory of an instance's files, or of all."""
        instances = self.site.layout.data("nova") / "instances"
        return instances / guest.number if guest else instances

    def wait_for(self, status: str, *guests: Guest) -> None:
        """Wait until nova has instances in a state.

        :raises AssertionError: nova failed
        """

        def is_there(guest: Guest) -> bool:
            seen = guest.show()
            assert seen["status"] != "ERROR", seen.get("fault")
            return bool(seen["status"] == status and seen["OS-EXT-STS:task_state"] is None)

        for guest in guests:
            wait(functools.partial(is_there, guest), f"{guest.number} to be {status}")

    def wait_reached(self, *guests: Guest) -> None:
        """Wait until instances run and answer over the network."""
        self.wait_for("ACTIVE", *guests)
        for guest in guests:
            wait(guest.is_reached, f"{guest.number} to be reached")

    def delete(self, guests: Iterable[Guest]) -> None:
        """Delete instances, and wait until they are gone."""
        gone = list(guests)
        for guest in gone:
            self.admin.ask("compute", "DELETE", f"/servers/{guest.number}", ok=(204, 404))
        for guest in gone:
            path = f"/servers/{guest.number}"
            wait(lambda path=path: self._is_missing(path), f"{path} to be gone")  # type: ignore[misc]
            self.guests.remove(guest)

    def _is_missing(self, path: str) -> bool:
        return "itemNotFound" in json.dumps(self.admin.ask("compute", "GET", path, ok=(200, 404)))

    def tidy(self) -> None:
        """Delete everything that was made."""
        self.delete(list(self.guests))
        for service, path in reversed(self.made):
            self.admin.ask(service, "DELETE", path, ok=(202, 204, 404))
