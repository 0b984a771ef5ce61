"""Instances for tests of the bhyve driver: objects of nova's, without its database."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from pathlib import Path
from typing import Any

UUID = "5e6cba2d-7a8b-4e54-9f0d-2f4d6f5b1c01"
PROJECT = "c0ffee00000000000000000000000001"
IMAGE = "70a599e0-31e7-49b7-b260-868f441e862b"
NETWORK = "9a0f7d3c-2b45-4c9e-8a34-3f6ad3c2ee10"
PORTS = ("d3adbeef-0123-4567-89ab-cdef01234567", "0badcafe-0123-4567-89ab-cdef01234567")
CREATED = datetime.datetime(2026, 11, 1, 12, 0, 0, tzinfo=datetime.UTC)


def configure(directory: Path, **options: Any) -> Any:
    """Give nova a compute host's configuration, its files below a directory, and return it.

    :param options: ``GROUP__NAME`` or ``NAME``, and the value
    """
    import nova.conf
    import os_vif.objects
    from nova import objects

    from beastack.port.nova.bhyve import options as ours

    objects.register_all()
    os_vif.objects.register_all()
    ours.register()
    conf = nova.conf.CONF
    conf([], project="nova", default_config_files=[], default_config_dirs=[])
    chosen = {
        "host": "host1", "my_ip": "10.0.0.1", "state_path": str(directory),
        "instances_path": str(directory / "instances"), "force_raw_images": True, "use_cow_images": False,
        "compute_driver": "bhyve.BhyveDriver", "libvirt__virt_type": "bhyve",
        "libvirt__connection_uri": "bhyve:///system", "libvirt__images_type": "raw", "vnc__enabled": True,
        "vnc__server_listen": "127.0.0.1", "glance__enable_rbd_download": False,
        "oslo_concurrency__lock_path": str(directory / "locks"), **options,
    }  # fmt: skip
    for key, value in chosen.items():
        group, _, name = key.rpartition("__")
        conf.set_override(name, value, *([group] if group else []))
    Path(chosen["instances_path"]).mkdir(parents=True, exist_ok=True)
    return conf


def make_flavor(extra: Mapping[str, str], **figures: int) -> Any:
    """Return a flavor of so many vcpus, memory_mb, root_gb, ephemeral_gb and swap."""
    from nova import objects

    numbers = {"vcpus": 1, "memory_mb": 512, "root_gb": 1, "ephemeral_gb": 0, "swap": 0, **figures}
    return objects.Flavor(id=1, name="test", flavorid="test", extra_specs=dict(extra), rxtx_factor=1.0, **numbers)


def make_image(properties: Mapping[str, Any], image_id: str = IMAGE) -> Any:
    """Return an image of these properties."""
    from nova import objects

    return objects.ImageMeta.from_dict(
        {"id": image_id, "name": "guest", "disk_format": "raw", "container_format": "bare", "min_disk": 0,
         "min_ram": 0, "status": "active", "properties": dict(properties)}
    )  # fmt: skip


def make_instance(flavor: Any, uuid: str = UUID, number: int = 42, **fields: Any) -> Any:
    """Return an instance of a flavor."""
    from nova import objects

    values: dict[str, Any] = {
        "id": number, "uuid": uuid, "display_name": "web", "project_id": PROJECT, "user_id": PROJECT, "host": "host1",
        "node": "host1", "flavor": flavor, "vcpus": flavor.vcpus, "memory_mb": flavor.memory_mb,
        "root_gb": flavor.root_gb, "ephemeral_gb": flavor.ephemeral_gb, "image_ref": IMAGE, "kernel_id": "",
        "ramdisk_id": "", "os_type": None, "root_device_name": None, "config_drive": "", "system_metadata": {},
        "metadata": {}, "task_state": None, "vm_state": "building", "power_state": 0, "launched_at": CREATED,
        "created_at": CREATED, "numa_topology": None, "vm_mode": None, "migration_context": None, "architecture": None,
        "availability_zone": None,
        "pci_devices": objects.PciDeviceList(objects=[]),
        "pci_requests": objects.InstancePCIRequests(instance_uuid=uuid, requests=[]), "resources": None,
        "trusted_certs": None, "vcpu_model": None, "ephemeral_key_uuid": None, "device_metadata": None,
        "hostname": "web", "key_data": None, "key_name": None, "deleted": False, "tags": objects.TagList(objects=[]),
        **fields,
    }  # fmt: skip
    return objects.Instance(**values)


def make_port(number: int = 0, *, mtu: int = 1450, bridge: str = "br-int", **fields: Any) -> Any:
    """Return an interface of an instance, as neutron's openvswitch mechanism driver binds it."""
    from nova.network import model

    port = PORTS[number]
    subnet = model.Subnet(
        cidr="10.1.0.0/24", ips=[model.FixedIP(address=f"10.1.0.{number + 5}")], gateway=None, dns=[], routes=[]
    )
    network = model.Network(id=NETWORK, bridge=bridge, label="private", subnets=[subnet], mtu=mtu)
    return model.VIF(
        id=port, address=f"fa:16:3e:00:00:0{number + 1}", network=network, type=model.VIF_TYPE_OVS,
        devname=f"tap{port[:11]}", ovs_interfaceid=port, vnic_type="normal", active=False,
        details={"port_filter": True, "ovs_hybrid_plug": False, "datapath_type": "netdev", "bridge_name": bridge},
        delegate_create=True, profile={}, **fields,
    )  # fmt: skip


def make_context() -> Any:
    """Return a user's context."""
    from nova import context

    return context.RequestContext(PROJECT, PROJECT, auth_token="x")


def make_xml(driver: Any, instance: Any, image: Any, ports: list[Any], block_devices: Any = None) -> str:
    """Return the XML that a driver makes for an instance."""
    from nova.network import model
    from nova.virt.libvirt import blockinfo

    network_info = model.NetworkInfo(ports)
    disks = blockinfo.get_disk_info("bhyve", instance, image, block_devices)
    return str(
        driver._get_guest_xml(make_context(), instance, network_info, disks, image, block_device_info=block_devices)
    )
