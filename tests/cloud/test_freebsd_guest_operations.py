"""nova's operations on instances of bhyve, by the APIs, one after the other on the same few instances. Root only.

Guests boot under emulation: each step has several of them do something at once.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from beastack.cli import testing
from beastack.site import guest_image
from freebsd_guests import Guest, wait
from freebsd_pair import ApiFailed, PairedSite
from freebsd_workshop import Workshop, convert, disk_size, open_workshop, read_mark, write_mark

pytestmark = pytest.mark.cloud

GIB = 1 << 30
MARK = "written by the guest"
TAG = 142
METADATA = "http://169.254.169.254/openstack/latest/meta_data.json"
SMALL = {"vcpus": 1, "ram": 256, "disk": 1}
LARGE = {"vcpus": 1, "ram": 320, "disk": 2}
WIDE = {"vcpus": 2, "ram": 256, "disk": 1, "OS-FLV-EXT-DATA:ephemeral": 1, "swap": 64}


@pytest.fixture(scope="module")
def shop(whole_site: PairedSite) -> Iterator[Workshop]:
    with open_workshop(whole_site) as made:
        yield made


@pytest.fixture(scope="module")
def flavors(shop: Workshop) -> dict[str, str]:
    """Flavors by name."""
    return {
        "small": shop.make_flavor("ops.small", **SMALL),
        "large": shop.make_flavor("ops.large", **LARGE),
        "wide": shop.make_flavor("ops.wide", {"hw:cpu_cores": "2", "hw:cpu_max_sockets": "1"}, **WIDE),
    }


@pytest.fixture(scope="module")
def images(shop: Workshop, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Images by name, all qcow2: the project's own, and one with the drivers of emulated devices."""
    directory = tmp_path_factory.mktemp("images")
    work = testing.test_directory() / "guest-image"
    work.mkdir(parents=True, exist_ok=True)
    generic = guest_image.build_guest_image(work / "generic.raw", work, kernel=guest_image.GENERIC).path
    return {
        "plain": shop.plain_image(directory, "ops-plain"),
        "devices": shop.make_image(
            "ops-devices", convert(generic, directory / "g.qcow2"), hw_vif_model="e1000", hw_disk_bus="sata"
        ),
    }


@pytest.fixture(scope="module")
def plain(shop: Workshop, images: dict[str, str], flavors: dict[str, str]) -> Guest:
    """An instance of one processor."""
    return shop.make_guest("ops-plain", images["plain"], flavors["small"])


@pytest.fixture(scope="module")
def devices(shop: Workshop, plain: Guest, images: dict[str, str], flavors: dict[str, str]) -> Guest:
    """An instance with everything: two processors, SATA disks, a config drive on CD-ROM, an e1000 card."""
    return shop.make_guest("ops-devices", images["devices"], flavors["wide"], config_drive=True)


@pytest.fixture(scope="module")
def other(shop: Workshop, devices: Guest, images: dict[str, str], flavors: dict[str, str]) -> Guest:
    """A second instance of the first image; its config drive is a virtio disk."""
    return shop.make_guest("ops-other", images["plain"], flavors["small"], config_drive=True)


def cached(shop: Workshop) -> dict[str, int]:
    """Return the files of nova's image cache, and their inodes."""
    return {path.name: path.stat().st_ino for path in (shop.files() / "_base").iterdir()}


def test_instances_boot_from_qcow2_images(shop: Workshop, plain: Guest, devices: Guest) -> None:
    shop.wait_reached(plain, devices)
    for guest in (plain, devices):
        details = json.loads(shop.site.inside("qemu-img", "info", "--output=json", str(shop.files(guest) / "disk")))
        assert (details["format"], details["virtual-size"]) == ("raw", GIB)


def test_the_second_of_an_image_uses_the_cache(shop: Workshop, plain: Guest, other: Guest) -> None:
    before = cached(shop)
    shop.wait_for("ACTIVE", other)
    assert before and cached(shop) == before


def test_a_guest_sees_its_disks_and_itself(plain: Guest, devices: Guest) -> None:
    assert disk_size(plain) == GIB
    said = plain.shell("cat /sys/class/dmi/id/product_uuid /sys/class/dmi/id/product_name")
    assert said.split("\n")[:2] == [plain.number, "OpenStack Nova"]
    # Linux names SATA disks in the order in which they happen to answer.
    sizes = {f"/dev/{name}": disk_size(devices, name) for name in ("sda", "sdb", "sdc")}
    assert sorted(sizes.values()) == [64 << 20, GIB, GIB] and disk_size(devices) == 0
    assert sizes[devices.shell("findfs LABEL=EPHEMERAL0").strip()] == GIB
    (swap,) = (name for name, size in sizes.items() if size == 64 << 20)
    assert swap in devices.shell(f"swapon {swap} && cat /proc/swaps")


def test_a_guest_sees_its_processors_and_its_card(devices: Guest) -> None:
    assert devices.shell("nproc").strip() == "2"
    topology = "/sys/devices/system/cpu/cpu1/topology"
    assert devices.shell(f"cat {topology}/physical_package_id {topology}/core_cpus_list").split() == ["0", "1"]
    assert devices.shell("readlink /sys/class/net/eth0/device/driver").strip().endswith("/e1000")


def told(guest: Guest) -> str:
    """Return what a guest has printed of where its metadata came from."""
    output = guest.api.ask("compute", "POST", f"/servers/{guest.number}/action", {"os-getConsoleOutput": {}})["output"]
    return next((line.strip() for line in str(output).splitlines() if "metadata uuid=" in line), "")


def test_guests_read_their_config_drives(devices: Guest, other: Guest) -> None:
    """One finds it on a CD-ROM, the other on a virtio disk."""
    for guest in (devices, other):
        wait(lambda guest=guest: told(guest), "the guest's own words in its log")  # type: ignore[misc]
        assert f"uuid={guest.number}" in told(guest) and told(guest).endswith("source=config-drive")


def test_consoles_have_urls_and_the_serial_one_takes_what_is_typed(shop: Workshop, plain: Guest) -> None:
    for protocol, kind, beginning in (("vnc", "novnc", "http://"), ("serial", "serial", "ws://")):
        url = shop.console_url(plain, protocol, kind)
        assert url.startswith(beginning) and "token" in url
    old = plain.api.ask(
        "compute", "POST", f"/servers/{plain.number}/action", {"os-getVNCConsole": {"type": "novnc"}},
        version="compute 2.1",
    )  # fmt: skip
    assert old["console"]["type"] == "novnc"
    assert "ops-plain" in shop.type_into(plain, "echo co$((40 + 2))le\r", "co42le")


def test_figures_of_an_instance_and_of_the_host(shop: Workshop, plain: Guest) -> None:
    path = f"/servers/{plain.number}/diagnostics"
    old = shop.admin.ask("compute", "GET", path, version="compute 2.1")
    assert old["memory"] == SMALL["ram"] * 1024 and old["cpu_time"] > 0 and old["vda_bus"] == "virtio"
    new = shop.admin.ask("compute", "GET", path, version="compute 2.48")
    assert (new["state"], new["driver"], new["hypervisor_os"]) == ("running", "libvirt", "freebsd")
    assert (new["num_cpus"], new["num_disks"], new["num_nics"]) == (1, 1, 1)
    assert new["memory_details"]["maximum"] == SMALL["ram"] and new["cpu_details"][0]["time"] > 0
    (host,) = shop.admin.ask("compute", "GET", "/os-hypervisors/detail", version="compute 2.1")["hypervisors"]
    assert host["hypervisor_type"] == "BHYVE" and host["vcpus"] > 0 and host["local_gb"] > 0
    uptime = shop.admin.ask("compute", "GET", f"/os-hypervisors/{host['id']}/uptime", version="compute 2.1")
    assert "load average" in uptime["hypervisor"]["uptime"]


def test_placement_has_inventory_and_traits(shop: Workshop, plain: Guest) -> None:
    (provider,) = shop.admin.ask("placement", "GET", "/resource_providers")["resource_providers"]
    path = f"/resource_providers/{provider['uuid']}"
    inventories = shop.admin.ask("placement", "GET", f"{path}/inventories")["inventories"]
    assert set(inventories) == {"VCPU", "MEMORY_MB", "DISK_GB"}
    traits = set(shop.admin.ask("placement", "GET", f"{path}/traits", version="placement 1.6")["traits"])
    assert {"COMPUTE_NET_VIF_MODEL_E1000", "COMPUTE_STORAGE_BUS_SATA", "COMPUTE_GRAPHICS_MODEL_GOP"} <= traits
    assert not {name for name in traits if "TAGGING" in name or "MULTI_ATTACH" in name or "VTPM" in name.upper()}
    held = shop.admin.ask("placement", "GET", f"/allocations/{plain.number}")["allocations"]
    assert held[provider["uuid"]]["resources"] == {"VCPU": 1, "MEMORY_MB": SMALL["ram"], "DISK_GB": 1}


def test_who_locks_an_instance_keeps_others_from_it(shop: Workshop, other: Guest) -> None:
    path = f"/servers/{other.number}/action"
    other.act(lock=None)
    assert other.api.ask("compute", "GET", f"/servers/{other.number}", version="compute 2.9")["server"]["locked"]
    shop.user.ask("compute", "POST", path, {"os-stop": None}, ok=(409,))
    other.act(unlock=None)
    assert other.is_in("ACTIVE")


def test_quotas_are_respected(shop: Workshop, plain: Guest, images: dict[str, str], flavors: dict[str, str]) -> None:
    path = f"/os-quota-sets/{plain.show()['tenant_id']}"
    used = shop.admin.ask("compute", "GET", f"{path}/detail")["quota_set"]["instances"]["in_use"]
    shop.admin.ask("compute", "PUT", path, {"quota_set": {"instances": used}})
    try:
        with pytest.raises(ApiFailed, match=r"403 .*Quota exceeded for instances"):
            shop.make_guest("ops-too-many", images["plain"], flavors["small"])
    finally:
        shop.admin.ask("compute", "DELETE", path, ok=(202,))


#: What of an image, and why its instances do not start. With the first, nova does not try other hosts.
UNFIT = {
    ("hw_firmware_type", "bios"): "guests of bhyve have no firmware bios",
    ("hw_vif_model", "rtl8139"): "Requested hardware 'rtl8139' is not supported by the 'bhyve' virt driver",
}


def test_instances_that_cannot_start_say_why(shop: Workshop, flavors: dict[str, str], tmp_path: Path) -> None:
    file = tmp_path / "empty.raw"
    file.write_bytes(bytes(1 << 20))
    convert(file, tmp_path / "empty.qcow2")
    for (name, value), reason in UNFIT.items():
        image = shop.make_image(f"ops-{value}", tmp_path / "empty.qcow2", **{name: value})
        guest = shop.make_guest(f"ops-{value}", image, flavors["small"])
        wait(lambda guest=guest: guest.is_in("ERROR"), "the instance to have failed")  # type: ignore[misc]
        assert reason in guest.show()["fault"]["message"]
        shop.delete([guest])


def test_a_running_instance_becomes_an_image(shop: Workshop, plain: Guest, images: dict[str, str]) -> None:
    shop.user.ask("compute", "POST", f"/servers/{plain.number}/metadata", {"metadata": {"role": "web"}})
    write_mark(plain, MARK)
    before = plain.pids()
    images["snapshot"] = shop.snapshot(plain, "ops-snapshot")
    image = shop.show_image(images["snapshot"])
    assert (image["snapshot_consistency"], image["disk_format"]) == ("crash", "qcow2")
    assert plain.is_in("ACTIVE") and plain.pids() == before and read_mark(plain) == MARK
    wait(lambda: '"role": "web"' in plain.shell(f"wget -qO- {METADATA}"), "the guest to be told of its metadata")


def test_a_guest_that_powers_itself_off_is_noticed(devices: Guest) -> None:
    devices.shell("poweroff")
    wait(lambda: devices.is_in("SHUTOFF"), "nova to notice")
    assert devices.pids() == []


def cards(guest: Guest) -> int:
    """Return how many network cards a guest has."""
    return len(guest.shell("ls -d /sys/class/net/eth*").split())


def attach(shop: Workshop, guest: Guest, network: str) -> str:
    """Give an instance a further interface, and return the number of its port."""
    body = {"interfaceAttachment": {"net_id": network}}
    path = f"/servers/{guest.number}/os-interface"
    return str(shop.user.ask("compute", "POST", path, body)["interfaceAttachment"]["port_id"])


def detach(shop: Workshop, guest: Guest, port: str) -> None:
    """Take an interface from an instance, and wait until nova has done it."""
    path = f"/servers/{guest.number}/os-interface"
    shop.user.ask("compute", "DELETE", f"{path}/{port}", ok=(202,))
    wait(lambda: port not in json.dumps(shop.user.ask("compute", "GET", path)), "the interface to be gone")


@pytest.fixture(scope="module")
def vlan(shop: Workshop) -> str:
    """Return the number of a network that is a VLAN on the wire of the provider network."""
    network = shop.admin.make(
        "network", name="ops-vlan", shared=True,
        **{"provider:network_type": "vlan", "provider:physical_network": "provider", "provider:segmentation_id": TAG},
    )  # fmt: skip
    shop.made.append(("network", f"/v2.0/networks/{network['id']}"))
    shop.admin.make("subnet", network_id=network["id"], cidr="10.73.0.0/24", ip_version=4, gateway_ip=None)
    return str(network["id"])


def answers(shop: Workshop, address: str, *place: str) -> bool:
    """Tell whether an address answers the host, or a jail of it."""
    said = shop.site.inside(*place, "ping", "-c", "1", "-t", "3", address, ok=False)
    return " 1 packets received" in said


def check_vlan(shop: Workshop, network: str, port: str) -> None:
    """See that a guest is reached on a VLAN from its network's jail, and from the wire with the VLAN's tag."""
    address = shop.admin.show("port", port)["fixed_ips"][0]["ip_address"]
    wait(lambda: answers(shop, address, "jexec", f"qdhcp-{network}"), "the guest to answer in its VLAN")
    wire = shop.site.layout.interface("host")
    words = ("vlan", str(TAG), "vlandev", wire, "inet", "10.73.0.250/24", "up")
    tagged = shop.site.inside("ifconfig", "vlan", "create", *words).strip()
    try:
        wait(lambda: answers(shop, address), "the guest to answer what has the tag")
    finally:
        shop.site.inside("ifconfig", tagged, "destroy")


def test_interfaces_resize_and_shelve(
    shop: Workshop, plain: Guest, devices: Guest, other: Guest, flavors: dict[str, str], vlan: str
) -> None:
    write_mark(other, MARK)
    devices.act(shelve=None)
    other.act(resize={"flavorRef": flavors["large"]})
    # Of a running guest: at its next start, and the port is down until then.
    first = attach(shop, plain, vlan)
    assert shop.admin.show("port", first)["status"] == "DOWN" and cards(plain) == 1
    plain.act(**{"os-stop": None})
    shop.wait_for("SHUTOFF", plain)
    assert plain.pids() == []
    (private,) = shop.user.list("networks", name="private")
    second = attach(shop, plain, private["id"])
    plain.act(**{"os-start": None})
    shop.wait_for("VERIFY_RESIZE", other)
    wait(other.is_reached, "the larger guest to be reached")
    assert disk_size(other) == 2 * GIB and read_mark(other) == MARK
    shop.wait_reached(plain)
    assert cards(plain) == 3
    for port in (first, second):
        wait(lambda port=port: shop.admin.show("port", port)["status"] == "ACTIVE", "the port to be up")  # type: ignore[misc]
    check_vlan(shop, vlan, first)
    shop.wait_for("SHELVED_OFFLOADED", devices)
    assert not shop.files(devices).exists()

    other.act(revertResize=None)
    devices.act(unshelve=None)
    # Its network goes at once, its card when the guest is started again.
    detach(shop, plain, first)
    assert len(plain.ports()) == 2 and cards(plain) == 3
    plain.act(**{"os-stop": None})
    shop.wait_for("SHUTOFF", plain)
    detach(shop, plain, second)
    plain.act(resize={"flavorRef": flavors["large"]})
    shop.wait_for("VERIFY_RESIZE", plain)
    plain.act(confirmResize=None)
    shop.wait_for("SHUTOFF", plain)
    plain.act(**{"os-start": None})
    shop.wait_reached(other, devices, plain)
    assert disk_size(other) == GIB and read_mark(other) == MARK
    assert disk_size(plain) == 2 * GIB and read_mark(plain) == MARK and cards(plain) == 1
    assert sorted(disk_size(devices, name) for name in ("sda", "sdb", "sdc")) == [64 << 20, GIB, GIB]


def test_rescue_and_rebuild(shop: Workshop, plain: Guest, devices: Guest, other: Guest, images: dict[str, str]) -> None:
    shop.delete([devices])
    plain.act(rescue={})
    write_mark(other, "written later")
    other.act(rebuild={"imageRef": images["snapshot"]})
    shop.wait_for("RESCUE", plain)
    wait(plain.is_reached, "the rescued guest to be reached")
    assert read_mark(plain) == "" and read_mark(plain, "vdb") == MARK
    shop.wait_reached(other)
    assert read_mark(other) == MARK
    plain.act(unrescue=None)
    shop.wait_reached(plain)
    assert read_mark(plain) == MARK


def test_instances_are_resumed_when_the_host_has_rebooted(shop: Workshop, plain: Guest, other: Guest) -> None:
    other.act(**{"os-stop": None})
    shop.wait_for("SHUTOFF", other)
    shop.site.host.simulator("stop", "--name", shop.site.host.name)
    shop.site.up()
    shop.wait_reached(plain)
    assert read_mark(plain) == MARK
    assert other.is_in("SHUTOFF") and other.pids() == []


def test_deleted_instances_leave_nothing(shop: Workshop, plain: Guest, other: Guest) -> None:
    guests, ports = [plain, other], [*plain.ports(), *other.ports()]
    domains = {guest.domain for guest in guests}
    shop.delete(guests)
    left = {*shop.site.inside("ifconfig", "-l").split()}
    left |= {*shop.site.host.vsctl("list-ports", shop.site.layout.interface("int")).split()}
    assert ports and not left & set(ports)
    assert not {guest.number for guest in guests} & {path.name for path in shop.files().iterdir()}
    assert not domains & set(shop.site.inside("ls", "/dev/vmm", ok=False).split())


def test_nothing_touched_what_only_linux_has(shop: Workshop) -> None:
    assert shop.site.linuxisms() == []
