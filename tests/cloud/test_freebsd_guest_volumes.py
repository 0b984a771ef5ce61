"""Instances of bhyve whose disks are ZFS volumes: the shared cloud, told to use a dataset for as long. Root only.

The first instance, whose disks are files, is shelved meanwhile: ``up`` refuses
to look for disks elsewhere than instances have them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from freebsd_guests import Guest, first_guest, wait
from freebsd_pair import PairedSite
from freebsd_workshop import Workshop, disk_size, open_workshop, read_mark, write_mark

pytestmark = pytest.mark.cloud

DATASET = "zroot/instances"
GIB = 1 << 30
SERVICES = "compute 2.53"  # forced_down
MARK = "written by the guest"
WIDE = {"vcpus": 1, "ram": 256, "swap": 64, "OS-FLV-EXT-DATA:ephemeral": 1}


@pytest.fixture(scope="module")
def shop(whole_site: PairedSite) -> Iterator[Workshop]:
    description = whole_site.root / "site.toml"
    before = description.read_text() if description.exists() else None
    description.write_text(f'{before or ""}\n[compute]\nzfs_dataset = "{DATASET}"\n')
    with open_workshop(whole_site) as outer:
        first = first_guest(whole_site, outer.admin)
        try:
            assert refusal(whole_site).endswith(
                f"compute.zfs_dataset cannot become {DATASET} while an instance has its disks in files "
                f"({first.number}): undo that in site.toml, and first shelve or delete them (openstack server shelve)\n"
            )
            first.act(shelve=None)
            outer.wait_for("SHELVED_OFFLOADED", first)
            whole_site.up()
            with open_workshop(whole_site) as made:
                yield made
        finally:
            description.write_text(before or "")
            if before is None:
                description.unlink()
            whole_site.up()
            if first.is_in("SHELVED_OFFLOADED"):
                first.act(unshelve=None)
            outer.wait_reached(first)


@pytest.fixture(scope="module")
def guests(shop: Workshop, tmp_path_factory: pytest.TempPathFactory) -> list[Guest]:
    """Two instances of one image, one with further disks."""
    image = shop.plain_image(tmp_path_factory.mktemp("images"), "zfs-plain")
    small = shop.make_flavor("zfs.small", vcpus=1, ram=256, disk=1)
    wide = shop.make_flavor("zfs.wide", disk=1, **WIDE)
    return [shop.make_guest("zfs-plain", image, small), shop.make_guest("zfs-wide", image, wide)]


@dataclass
class Lost:
    """What is known of an instance that was deleted while its host was away: its number, its ports in the switch."""

    number: str
    ports: list[str]


@pytest.fixture(scope="module")
def lost(shop: Workshop, guests: list[Guest]) -> Lost:
    """Delete an instance while the APIs hold its host for dead, so that nobody tells the host."""
    seen = guests[0].show()
    gone = shop.make_guest("zfs-lost", seen["image"]["id"], seen["flavor"]["id"])
    shop.wait_for("ACTIVE", gone)
    known = Lost(gone.number, gone.ports())
    (host,) = shop.admin.ask("compute", "GET", "/os-services?binary=nova-compute", version=SERVICES)["services"]
    path = f"/os-services/{host['id']}"
    shop.admin.ask("compute", "PUT", path, {"forced_down": True}, version=SERVICES)
    try:
        shop.delete([gone])
    finally:
        shop.admin.ask("compute", "PUT", path, {"forced_down": False}, version=SERVICES)
    return known


def refusal(site: PairedSite) -> str:
    """Return what ``up`` says when it refuses, with everything left as it was."""
    before = {name: item["pid"] for name, item in site.services().items()}
    done = site.run("up", "--host", "freebsd", ok=False)
    assert done.returncode == 1 and {name: item["pid"] for name, item in site.services().items()} == before
    return done.stderr


def volumes(shop: Workshop) -> dict[str, str]:
    """Return what is below the dataset, and what each was cloned from."""
    listing = shop.site.inside("zfs", "list", "-H", "-r", "-t", "volume,snapshot", "-o", "name,origin", DATASET)
    rows = [line.split("\t") for line in listing.splitlines()]
    return {name.removeprefix(f"{DATASET}/"): origin.removeprefix(f"{DATASET}/") for name, origin in rows}


def test_one_that_is_deleted_while_its_host_is_away_stays_there(shop: Workshop, lost: Lost) -> None:
    """nova-compute looks for such every minute; the last of these tests sees that it is gone."""
    assert lost.ports and f"{lost.number}_disk" in volumes(shop)


def test_a_disk_is_a_clone_of_its_image(shop: Workshop, guests: list[Guest]) -> None:
    shop.wait_reached(*guests)
    found = volumes(shop)
    origins = {found[f"{guest.number}_disk"] for guest in guests}
    assert len(origins) == 1 and origins.pop().startswith("base/")
    plain, wide = guests
    assert disk_size(plain) == GIB
    assert disk_size(wide, "vdb") == GIB and disk_size(wide, "vdc") == 64 << 20
    assert wide.shell("findfs LABEL=EPHEMERAL0").strip() == "/dev/vdb"
    assert "/dev/vdc" in wide.shell("swapon /dev/vdc && cat /proc/swaps")
    (host,) = shop.admin.ask("compute", "GET", "/os-hypervisors/detail", version="compute 2.1")["hypervisors"]
    listing = shop.site.inside("zfs", "list", "-Hp", "-o", "used,available", DATASET)
    assert host["local_gb"] == pytest.approx(sum(map(int, listing.split())) / GIB, abs=2)


def test_the_dataset_stays_while_there_are_disks_in_it(shop: Workshop, guests: list[Guest]) -> None:
    description = shop.site.root / "site.toml"
    text = description.read_text()
    try:
        description.write_text(text.replace(DATASET, f"{DATASET}-2"))
        said = refusal(shop.site)
    finally:
        description.write_text(text)
    assert f"cannot become {DATASET}-2 while " in said and f" instances have their disks below {DATASET} (" in said


def test_it_grows_goes_back_and_becomes_an_image(shop: Workshop, guests: list[Guest]) -> None:
    plain, wide = guests
    large = shop.make_flavor("zfs.large", vcpus=1, ram=256, disk=2)
    larger = shop.make_flavor("zfs.larger", disk=2, **WIDE)
    for guest in guests:
        write_mark(guest, MARK)
    image = shop.snapshot(plain, "zfs-snapshot")
    assert shop.show_image(image)["snapshot_consistency"] == "crash"
    assert not [name for name in volumes(shop) if "extract" in name]
    plain.act(resize={"flavorRef": large})
    wide.act(resize={"flavorRef": larger})
    shop.wait_for("VERIFY_RESIZE", *guests)
    plain.act(confirmResize=None)
    wait(wide.is_reached, "the resized instance to be reached")
    write_mark(wide, "written later")
    wide.act(revertResize=None)
    shop.wait_reached(*guests)
    assert disk_size(plain) == 2 * GIB and read_mark(plain) == MARK
    assert disk_size(wide) == GIB and read_mark(wide) == MARK and disk_size(wide, "vdb") == GIB
    assert not [name for name in volumes(shop) if "nova-resize" in name]
    wide.act(rebuild={"imageRef": image})
    plain.act(rescue={})
    shop.wait_for("RESCUE", plain)
    shop.wait_reached(wide)
    assert read_mark(wide) == MARK
    wait(lambda: read_mark(plain, "vdb") == MARK, "the rescued disk to be the second of the guest")
    plain.act(unrescue=None)
    shop.wait_for("ACTIVE", plain)
    assert not [name for name in volumes(shop) if "rescue" in name]


def test_nothing_is_left_of_deleted_instances(shop: Workshop, guests: list[Guest], lost: Lost) -> None:
    shop.delete(guests)
    wait(lambda: all(name.startswith("base/") for name in volumes(shop)), "no disk to be left")
    wait(lambda: not shop.site.find_processes("^bhyve: "), "no guest to be left")
    listing = shop.site.host.vsctl("list-ports", shop.site.layout.interface("int")).split()
    assert not set(lost.ports) & {*listing, *shop.site.inside("ifconfig", "-l").split()}
    assert lost.number not in {path.name for path in shop.files().iterdir()}


def test_nothing_touched_what_only_linux_has(shop: Workshop) -> None:
    assert shop.site.linuxisms() == []
