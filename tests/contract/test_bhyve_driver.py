"""V1 to V6 and the bhyve driver: upstream's nova-compute code, over a libvirt that answers as the bhyve driver does."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bhyve_guests import IMAGE, UUID, make_context, make_flavor, make_image, make_instance, make_port, make_xml
from bhyve_host import make_driver
from bhyve_libvirt import libvirtError, virConnect

SEAMS = ("V1", "V2", "V3", "V4", "V5", "V6")
OnFreeBSD = Callable[..., None]


def test_it_starts_and_has_inventory_and_traits(tmp_path: Path, on_freebsd: OnFreeBSD) -> None:
    def body() -> None:
        driver = make_driver(tmp_path)
        driver.init_host("host1")
        from nova.compute import provider_tree

        found = driver.get_available_resource("host1")
        assert (found["hypervisor_type"], found["vcpus"], found["memory_mb"]) == ("BHYVE", 4, 16384)
        assert [list(each) for each in found["supported_instances"]] == [["x86_64", "bhyve", "hvm"]]
        tree = provider_tree.ProviderTree()
        tree.new_root("host1", "11111111-1111-1111-1111-111111111111")
        driver.update_provider_tree(tree, "host1")
        data = tree.data("host1")
        assert set(data.inventory) == {"VCPU", "MEMORY_MB", "DISK_GB"}
        assert {trait for trait in data.traits if trait.startswith("COMPUTE_")} == {
            "COMPUTE_ARCH_X86_64", "COMPUTE_GRAPHICS_MODEL_GOP", "COMPUTE_NET_VIF_MODEL_E1000",
            "COMPUTE_NET_VIF_MODEL_VIRTIO", "COMPUTE_STORAGE_BUS_SATA", "COMPUTE_STORAGE_BUS_VIRTIO",
        }  # fmt: skip
        assert {name for name, has in driver.capabilities.items() if has} == {
            "has_imagecache", "supports_attach_interface", "supports_evacuate", "supports_image_type_iso",
            "supports_image_type_qcow2", "supports_image_type_raw", "supports_trusted_certs",
        }  # fmt: skip

    on_freebsd(body, *SEAMS)


@pytest.mark.parametrize("without", SEAMS)
def test_without_any_one_of_the_seams_it_does_not(without: str, tmp_path: Path, on_freebsd: OnFreeBSD) -> None:
    def body() -> None:
        driver = make_driver(tmp_path)
        image = make_image({"hw_disk_bus": "sata"} if without == "V3" else {})
        xml = make_xml(driver, make_instance(make_flavor({})), image, [make_port()])
        assert without != "V3" or 'bus="sata"' in xml

    with pytest.raises(AssertionError):
        on_freebsd(body, *(seam for seam in SEAMS if seam != without))


def test_upstreams_tables_keep_what_they_had(tmp_path: Path, on_freebsd: OnFreeBSD) -> None:
    def body() -> None:
        make_driver(tmp_path)
        import nova.conf
        from nova import exception
        from nova.virt.libvirt import blockinfo, vif

        conf = nova.conf.CONF
        assert conf.libvirt.virt_type == "bhyve"
        with pytest.raises(ValueError):
            conf.set_override("virt_type", "xen", "libvirt")
        for table in (blockinfo.SUPPORTED_DEVICE_BUSES, vif.SUPPORTED_VIF_MODELS):
            assert {"qemu", "kvm", "lxc", "parallels"} < set(table)
        assert not vif.is_vif_model_valid_for_virt("bhyve", "rtl8139")
        assert blockinfo.get_disk_bus_for_device_type(None, "bhyve", make_image({}), "cdrom") == "sata"
        assert blockinfo.get_disk_bus_for_device_type(None, "bhyve", make_image({}), "floppy") is None
        assert blockinfo.get_disk_bus_for_device_type(None, "kvm", make_image({}), "disk") == "virtio"
        with pytest.raises(exception.UnsupportedVirtType):
            blockinfo.get_disk_bus_for_device_type(None, "xen", make_image({}), "disk")
        with pytest.raises(exception.UnsupportedHardware):
            blockinfo.get_disk_bus_for_device_type(None, "bhyve", make_image({"hw_disk_bus": "scsi"}), "disk")

    on_freebsd(body, *SEAMS)


def start_guest(driver: Any, **fields: Any) -> Any:
    """Have a guest defined and started, and return its instance."""
    instance = make_instance(make_flavor({}), **fields)
    os.makedirs(Path(driver.image_backend.by_name(instance, "disk").path).parent, exist_ok=True)
    driver._create_guest(make_context(), make_xml(driver, instance, make_image({}), [make_port()]), instance)
    return instance


def test_a_killed_bhyve_is_noticed_and_taken_down(tmp_path: Path, on_freebsd: OnFreeBSD) -> None:
    def body() -> None:
        from nova.compute import power_state

        driver = make_driver(tmp_path)
        instance = start_guest(driver)
        domain = driver.connection.domains[UUID]
        assert driver.get_info(instance).state == power_state.RUNNING
        domain.dead = True
        assert driver.get_info(instance).state == power_state.SHUTDOWN
        assert domain.calls == ["create", "destroy"]

    on_freebsd(body, *SEAMS)


def test_a_guest_whose_machine_never_was_is_taken_down(tmp_path: Path, on_freebsd: OnFreeBSD) -> None:
    def body() -> None:
        from nova import exception
        from nova.compute import power_state

        driver = make_driver(tmp_path)
        instance = start_guest(driver)
        domain = driver.connection.domains[UUID]
        domain.dead, driver.connection.broken_destroy = True, 1
        assert driver.get_info(instance).state == power_state.SHUTDOWN
        assert driver.privileged.calls == [("create_machine", "instance-0000002a")]
        # Nor does it keep the instance from being deleted.
        domain.createWithFlags()
        driver.privileged.calls.clear()
        domain.dead, driver.connection.broken_destroy = True, 1
        driver._destroy(instance)
        assert driver.privileged.calls == [("create_machine", "instance-0000002a")] and domain.ID() == -1
        # One that ends while it is started says why.
        started = domain.createWithFlags
        domain.createWithFlags = lambda flags=0: (started(flags), setattr(domain, "dead", True))
        with pytest.raises(exception.InternalError, match="vm_openf: No such file"):
            driver._host.get_guest(instance).launch()
        # A wrong argument is told first, and then all that would be right; of runs before, nothing.
        log = f"bhyve -m 512 {instance.name}\nold\nbhyve -Z {instance.name}\nbhyve: illegal option -- Z\n{'x' * 999}"
        driver.privileged.answers["read_guest_log"] = lambda name, size: log
        with pytest.raises(exception.InternalError, match=r"up: bhyve: illegal option -- Z\nx+ \.\.\. x{200}$"):
            driver._host.get_guest(instance).launch()

    on_freebsd(body, *SEAMS)


def test_guests_are_started_one_after_the_other(tmp_path: Path, on_freebsd: OnFreeBSD) -> None:
    def body() -> None:
        driver = make_driver(tmp_path)
        # Only now: libvirt has to be the stand-in.
        from beastack.port.nova.bhyve.guest import ONE_START

        instance = start_guest(driver)
        domain = driver.connection.domains[UUID]
        domain.destroy()
        held: list[bool] = []
        started = domain.createWithFlags
        domain.createWithFlags = lambda flags=0: (started(flags), held.append(ONE_START.locked()))
        driver._host.get_guest(instance).launch()
        assert held == [True]
        assert not ONE_START.locked()

    on_freebsd(body, *SEAMS)


@pytest.mark.parametrize("seen", ["no file", "the other's process"])
def test_a_guest_taken_for_one_that_restarted_itself_is_started_again(
    seen: str, tmp_path: Path, on_freebsd: OnFreeBSD
) -> None:
    def body() -> None:
        driver = make_driver(tmp_path)
        from beastack.port.nova.bhyve import leftovers
        from beastack.port.nova.bhyve.guest import TakenForAnother

        instance = start_guest(driver)
        domain = driver.connection.domains[UUID]
        domain.destroy()
        domain.calls.clear()
        removed: list[list[str]] = []
        leftovers.remove_taps = removed.append  # type: ignore[assignment]
        started = domain.createWithFlags
        mixed = [True]

        def start(flags: int = 0) -> None:
            started(flags)
            if mixed and mixed.pop(0):
                driver.processes.others[7001] = "bhyve: instance-0000002b"
                domain.pid = 7001
                if seen == "no file":
                    domain.pid = -1
                    raise libvirtError(f"internal error: Domain {domain.name()} didn't show up", 1)

        domain.createWithFlags = start
        driver._host.get_guest(instance).launch()
        assert domain.calls.count("create") == 2
        assert domain.pid > 0 and domain.pid != 7001
        assert removed == [[make_port()["devname"]]]
        # Once: what goes on has another reason.
        domain.destroy()
        mixed += [True, True]
        with pytest.raises(TakenForAnother):
            driver._host.get_guest(instance).launch()

    on_freebsd(body, *SEAMS)


def test_a_guest_left_frozen_goes_on(tmp_path: Path, on_freebsd: OnFreeBSD) -> None:
    def body() -> None:
        from dataclasses import replace

        driver = make_driver(tmp_path)
        from beastack.freebsd import process
        from beastack.port.nova.bhyve import watch

        instance = start_guest(driver)
        domain = driver.connection.domains[UUID]
        read = process.read_process
        process.read_process = lambda pid: replace(read(pid), state="T")
        process.list_processes = lambda: (process.read_process(domain.pid),) if domain.pid > 0 else ()
        watch.thaw_all(driver._list_domains())
        driver.power_off(instance)
        assert driver.privileged.calls == [("thaw_machine", "instance-0000002a", 5001)] * 2
        assert domain.ID() == -1

    on_freebsd(body, *SEAMS)


def test_no_other_process_is_signalled(tmp_path: Path, on_freebsd: OnFreeBSD) -> None:
    def body() -> None:
        driver = make_driver(tmp_path)
        instance = start_guest(driver)
        domain = driver.connection.domains[UUID]
        domain.dead, driver.processes.others[domain.pid] = True, "/usr/sbin/sshd -D"
        driver._host.get_guest(instance).shutdown()
        assert "shutdown" not in domain.calls and domain.ID() == -1

    on_freebsd(body, *SEAMS)


def test_diagnostics_count_what_libvirt_has_no_figures_of(tmp_path: Path, on_freebsd: OnFreeBSD) -> None:
    def body() -> None:
        driver = make_driver(tmp_path)
        found = driver.get_instance_diagnostics(start_guest(driver))
        assert (found.num_cpus, found.num_disks, found.num_nics, found.hypervisor_os) == (1, 1, 1, "freebsd")
        assert (found.memory_details.maximum, found.memory_details.used) == (512, 512)
        assert found.cpu_details[0].time == driver.connection.domains[UUID].info()[4]
        assert found.nic_details[0].mac_address == "fa:16:3e:00:00:01"

    on_freebsd(body, *SEAMS)


def test_stops_that_nobody_asked_for_are_told(tmp_path: Path, on_freebsd: OnFreeBSD) -> None:
    def body() -> None:
        driver = make_driver(tmp_path)
        from beastack.port.nova.bhyve.watch import Watcher

        start_guest(driver)
        told: list[Any] = []
        watcher = Watcher(driver._list_domains, told.append, 1.0)
        watcher.look()
        watcher.look()
        assert not told
        driver.connection.domains[UUID].dead = True
        watcher.look()
        watcher.look()
        assert [each.uuid for each in told] == [UUID]

    on_freebsd(body, *SEAMS)


def test_interfaces_come_and_go_at_the_next_start(tmp_path: Path, on_freebsd: OnFreeBSD) -> None:
    def body() -> None:
        from nova import objects
        from nova.network import model

        driver = make_driver(tmp_path)
        instance = start_guest(driver)
        objects.Instance.save = lambda *arguments, **named: None
        objects.Instance.get_network_info = lambda self: model.NetworkInfo([make_port()])
        driver._build_device_metadata = lambda *arguments: None
        plugged: list[str] = []
        driver.vif_driver.plug = lambda instance, vif: plugged.append(f"+{vif['devname']}")
        driver.vif_driver.unplug = lambda instance, vif: plugged.append(f"-{vif['devname']}")
        domain = driver.connection.domains[UUID]
        before, second = domain.xml, make_port(1)
        driver.attach_interface(make_context(), instance, make_image({}), second)
        assert domain.xml == before
        guest = driver._host.get_guest(instance)
        assert second["devname"] in guest.get_xml_desc(dump_inactive=True)
        domain.destroy()
        guest.launch()
        assert second["devname"] in domain.xml
        driver.detach_interface(make_context(), instance, second)
        assert second["devname"] in domain.xml
        domain.destroy()
        driver._host.get_guest(instance).launch()
        assert second["devname"] not in domain.xml
        # What bhyve is told of a card's slot goes with the card.
        assert "pci.0.16.0.mtu" in domain.xml
        domain.destroy()
        driver.detach_interface(make_context(), instance, make_port())
        assert "pci.0.16.0.mtu" not in domain.xml and "-U" in domain.xml
        driver._host.get_guest(instance).launch()
        # Of a guest that is off, at once; a whole new definition of nova's replaces what was kept.
        domain.destroy()
        driver.attach_interface(make_context(), instance, make_image({}), second)
        assert second["devname"] in domain.xml
        assert plugged == [f"+{second['devname']}", f"-{second['devname']}", "-tapd3adbeef-01", f"+{second['devname']}"]

    on_freebsd(body, *SEAMS)


def test_what_bhyve_cannot_do_is_refused_at_once(tmp_path: Path, on_freebsd: OnFreeBSD) -> None:
    def body() -> None:
        from nova import exception
        from nova.compute import power_state

        driver = make_driver(tmp_path)
        instance = start_guest(driver)
        for refused in (
            lambda: driver.pause(instance), lambda: driver.unpause(instance),
            lambda: driver.suspend(make_context(), instance), lambda: driver.resume(make_context(), instance, None),
            lambda: driver.attach_volume(make_context(), {}, instance, "/dev/vdb"),
        ):  # fmt: skip
            with pytest.raises(NotImplementedError):
                refused()
        with pytest.raises(exception.MigrationPreCheckError):
            driver.check_can_live_migrate_source(make_context(), instance, None)
        with pytest.raises(exception.TriggerCrashDumpNotSupported):
            driver.trigger_crash_dump(instance)
        with pytest.raises(exception.SetAdminPasswdNotSupported):
            instance.system_metadata = {}
            driver.set_admin_password(instance, "x")
        with pytest.raises(exception.InstanceQuiesceNotSupported):
            driver.quiesce(make_context(), instance, make_image({}))
        strict = {"image_os_require_quiesce": "yes"}
        instance = make_instance(make_flavor({}), system_metadata=strict, power_state=power_state.RUNNING)
        with pytest.raises(exception.InstanceQuiesceNotSupported):
            driver.snapshot(make_context(), instance, IMAGE, lambda *states: None)

    on_freebsd(body, *SEAMS)


#: Extra specs, image properties, and nova's error.
IMPOSSIBLE = (
    ({}, {"hw_firmware_type": "bios"}, "ImageUnacceptable"),
    ({"os:secure_boot": "required"}, {"hw_firmware_type": "uefi"}, "SecureBootNotSupported"),
    ({}, {"hw_video_model": "virtio"}, "InvalidVideoMode"),
    ({}, {"hw_vif_model": "rtl8139"}, "UnsupportedHardware"),
    ({"hw:serial_port_count": "2"}, {}, "SerialPortNumberLimitExceeded"),
)


def test_a_guest_that_is_to_have_what_there_is_not_is_refused(tmp_path: Path, on_freebsd: OnFreeBSD) -> None:
    def body() -> None:
        from nova import exception

        driver = make_driver(tmp_path)
        for extra, properties, error in IMPOSSIBLE:
            with pytest.raises(getattr(exception, error)):
                make_xml(driver, make_instance(make_flavor(extra)), make_image(properties), [make_port()])

    on_freebsd(body, *SEAMS)


def test_options_that_guests_could_not_live_with_are_refused(tmp_path: Path, on_freebsd: OnFreeBSD) -> None:
    def body() -> None:
        from nova import exception

        wrong = ({"force_raw_images": False}, {"libvirt__images_type": "qcow2"}, {"libvirt__images_type": "rbd"})
        for options in wrong:
            with pytest.raises(exception.InvalidConfiguration):
                make_driver(tmp_path, **options).init_host("host1")

    on_freebsd(body, *SEAMS)


#: Name of the golden file: extra specs, image properties, figures of the flavor, libvirt's version, ports.
GUESTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "large": {
        "flavor": {"vcpus": 4, "memory_mb": 4096, "root_gb": 20, "ephemeral_gb": 5, "swap": 512},
        "extra": {"hw:cpu_cores": "2", "hw:cpu_threads": "2"}, "ports": 2,
    },
    "e1000-sata": {"properties": {"hw_vif_model": "e1000", "hw_disk_bus": "sata"}},
    "no-random-device": {"extra": {"hw_rng:allowed": "False"}},
    "kept-variables": {"libvirt": 11_004_000, "variables": True},
    "two-lines": {"libvirt": 11_006_000, "extra": {"hw:serial_port_count": "2"}},
    "no-screen": {"options": {"vnc__enabled": False}},
    "config-drive": {"config_drive": "True"},
    "no-network": {"ports": 0},
    "volumes": {
        "flavor": {"ephemeral_gb": 5, "swap": 512}, "config_drive": "True",
        "options": {"libvirt__images_type": "default", "bhyve__zfs_dataset": "tank/instances"},
    },
}  # fmt: skip

GOLDEN = Path(__file__).with_name("golden") / "bhyve"


def describe_guest(case: dict[str, Any], directory: Path) -> str:
    """Return a guest's XML, with what differs between machines and releases put to fixed words."""
    from nova import version

    variables = directory / "VARS.fd"
    if case.get("variables"):
        variables.write_bytes(b"")
    driver = make_driver(
        directory, virConnect(case.get("libvirt", 11_003_000)), bhyve__firmware_variables=str(variables),
        **case.get("options", {}),
    )  # fmt: skip
    flavor = make_flavor(case.get("extra", {}), **case.get("flavor", {}))
    instance = make_instance(flavor, config_drive=case.get("config_drive", ""))
    disks = {"root_device_name": "/dev/vda", "block_device_mapping": [], "ephemerals": [], "swap": None}
    if flavor.swap:
        disks["swap"] = {"device_name": "/dev/vdc", "swap_size": flavor.swap}
    ports = [make_port(number) for number in range(case.get("ports", 1))]
    text = make_xml(driver, instance, make_image(case.get("properties", {})), ports, disks)
    text = re.sub(r"(?<=creationTime>)[^<]*", "2026-11-01 12:00:00", text)
    text = text.replace(version.version_string_with_package(), "RELEASE")
    return text.replace(str(directory), "/var/db/nova") + "\n"


def test_flavor_and_image_make_these_guests(tmp_path: Path, on_freebsd: OnFreeBSD) -> None:
    def body() -> None:
        wrong = []
        for name, case in GUESTS.items():
            directory = tmp_path / name
            directory.mkdir()
            text, file = describe_guest(case, directory), GOLDEN / f"{name}.xml"
            if os.environ.get("WRITE_GOLDEN"):
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(text)
            if text != file.read_text():
                wrong.append(f"{name}:\n{text}")
        assert not wrong, "\n".join(wrong)

    on_freebsd(body, *SEAMS)
