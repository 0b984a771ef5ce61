"""What the site makes in a cloud: made once, corrected where it is the site's, else left."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from beastack.site.api import ApiUnreachable, Cloud
from beastack.site.resources import (
    CatalogService,
    Ensured,
    HostService,
    ResourceError,
    ensure_catalog,
    ensure_flavor,
    ensure_image,
    ensure_keypair,
    ensure_network,
    ensure_project,
    ensure_security_group_rules,
    ensure_server,
    ensure_service_user,
    ensure_subnet,
    ensure_user,
    get_console_output,
    get_console_url,
    hosts_up,
    wait_for_server,
)
from beastack.site.wait import WaitTimeout, wait_until
from fake_cloud import ADMIN_PASSWORD, REGION, FakeCloud

SERVICES = [
    CatalogService("keystone", "identity", "Identity", "http://127.0.0.1:5000/v3"),
    CatalogService("nova", "compute", "Compute", "http://127.0.0.1:8774/v2.1"),
]


@pytest.fixture
def fake() -> Iterator[FakeCloud]:
    cloud = FakeCloud()
    yield cloud
    cloud.stop()


@pytest.fixture
def cloud(fake: FakeCloud) -> Iterator[Cloud]:
    with closing(Cloud(fake.auth_url, "admin", ADMIN_PASSWORD, "admin", region=REGION)) as client:
        yield client


@pytest.fixture
def image_file(tmp_path: Path) -> Path:
    path = tmp_path / "guest.qcow2"
    path.write_bytes(b"QFI\xfb" + b"guest" * 1000)
    return path


def sha256_of(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


# Identity.


def test_the_catalogue_is_filled_once(fake: FakeCloud, cloud: Cloud) -> None:
    first = ensure_catalog(cloud, SERVICES)
    assert fake.changes() == [
        "POST identity /regions",
        *["POST identity /services", *["POST identity /endpoints"] * 3] * 2,
    ]
    assert [one.created for one in first.values()] == [True, True]
    endpoints = fake.all("identity", "endpoints")
    assert {one["interface"] for one in endpoints} == {"admin", "internal", "public"}
    assert {one["region_id"] for one in endpoints} == {REGION}

    fake.requests.clear()
    second = ensure_catalog(cloud, SERVICES)
    assert fake.changes() == []
    assert second == {kind: Ensured(one.id, False) for kind, one in first.items()}


def test_a_url_that_differs_is_corrected_in_its_region_only(fake: FakeCloud, cloud: Cloud) -> None:
    ensure_catalog(cloud, SERVICES)
    nova = next(one for one in fake.all("identity", "services") if one["type"] == "compute")
    abroad = fake.add(
        "identity",
        "endpoints",
        service_id=nova["id"],
        interface="public",
        region_id="Elsewhere",
        url="http://192.0.2.1/",
    )
    fake.requests.clear()
    moved = [SERVICES[0], CatalogService("nova", "compute", "Compute", "http://10.0.0.1:8774/v2.1")]
    done = ensure_catalog(cloud, moved)
    assert [text.split("/")[1] for text in fake.changes()] == ["endpoints"] * 3
    assert done["compute"].changed
    assert not done["identity"].changed
    assert "public endpoint was http://127.0.0.1:8774/v2.1" in done["compute"].note
    assert abroad["url"] == "http://192.0.2.1/"


def test_a_changed_catalogue_is_read_again(fake: FakeCloud, cloud: Cloud) -> None:
    ensure_catalog(cloud, SERVICES)
    cloud.get("network", "/networks")
    assert fake.log().count("POST identity /auth/tokens") == 2


def test_a_service_user_gets_project_password_and_roles_once(fake: FakeCloud, cloud: Cloud) -> None:
    first = ensure_service_user(cloud, "nova", "s3cret")
    assert first.created
    assert cloud.password_works("nova", "s3cret")
    assert [one["name"] for one in fake.all("identity", "roles")] == ["admin", "service"]
    assert [one["name"] for one in fake.all("identity", "projects")] == ["admin", "service"]
    assert len(fake.all("identity", "assignments")) == 2

    fake.requests.clear()
    assert ensure_service_user(cloud, "nova", "s3cret") == Ensured(first.id, False)
    assert fake.changes() == []


def test_a_password_that_no_longer_works_is_set(fake: FakeCloud, cloud: Cloud) -> None:
    user = ensure_service_user(cloud, "nova", "old")
    fake.requests.clear()
    again = ensure_service_user(cloud, "nova", "new")
    assert again == Ensured(user.id, False, True, "password set")
    assert fake.changes() == [f"PATCH identity /users/{user.id}"]
    assert cloud.password_works("nova", "new")


def test_a_run_killed_between_user_and_role_is_completed(fake: FakeCloud, cloud: Cloud) -> None:
    project = ensure_project(cloud, "demo")
    user = ensure_user(cloud, "demo", "pw", project_id=project.id, roles=())
    again = ensure_user(cloud, "demo", "pw", project_id=project.id)
    assert again == Ensured(user.id, False, True, "role member given")


# Flavors and key pairs.


def test_a_flavor_is_made_once(fake: FakeCloud, cloud: Cloud) -> None:
    first = ensure_flavor(cloud, "m1.tiny", 1, 256, 0)
    assert ensure_flavor(cloud, "m1.tiny", 1, 256, 0) == Ensured(first.id, False)
    assert fake.changes() == ["POST compute /flavors"]


def test_a_flavor_of_other_sizes_is_left_with_a_note(fake: FakeCloud, cloud: Cloud) -> None:
    fake.add("compute", "flavors", id="f-1", name="m1.tiny", vcpus=1, ram=512, disk=1)
    found = ensure_flavor(cloud, "m1.tiny", 1, 256, 1)
    assert found == Ensured("f-1", False, note="left as it is, though ram is 512, not 256")
    assert fake.changes() == []


def test_a_key_pair_is_made_once_whatever_its_comment(fake: FakeCloud, cloud: Cloud) -> None:
    assert ensure_keypair(cloud, "my key", "ssh-ed25519 AAAA me@here") == Ensured("my key", True)
    assert ensure_keypair(cloud, "my key", "ssh-ed25519 AAAA me@there\n") == Ensured("my key", False)
    assert fake.changes() == ["POST compute /os-keypairs"]


def test_another_key_of_the_name_is_replaced(fake: FakeCloud, cloud: Cloud) -> None:
    ensure_keypair(cloud, "site", "ssh-ed25519 AAAA")
    replaced = ensure_keypair(cloud, "site", "ssh-ed25519 BBBB")
    assert (replaced.created, replaced.changed) == (False, True)
    assert [one["public_key"] for one in fake.all("compute", "os-keypairs")] == ["ssh-ed25519 BBBB"]


# Network.


def test_a_network_and_its_subnet_are_made_once(fake: FakeCloud, cloud: Cloud) -> None:
    def make() -> list[Ensured]:
        net = ensure_network(
            cloud, "provider", network_type="flat", physical_network="phys", shared=True, external=True
        )
        sub = ensure_subnet(
            cloud,
            net.id,
            "provider-v4",
            "192.0.2.0/24",
            gateway=None,
            dns=["192.0.2.53"],
            allocation_pool=("192.0.2.10", "192.0.2.99"),
        )
        return [net, sub]

    first = make()
    second = make()
    assert second == [Ensured(one.id, False) for one in first]
    assert fake.changes() == ["POST network /networks", "POST network /subnets"]
    (network,) = fake.all("network", "networks")
    assert network["router:external"] is True
    assert network["project_id"] == "p-admin"
    # Only sent where it is not the default.
    assert "port_security_enabled" not in network
    (subnet,) = fake.all("network", "subnets")
    assert subnet["gateway_ip"] is None
    assert subnet["allocation_pools"] == [{"start": "192.0.2.10", "end": "192.0.2.99"}]


def test_another_projects_network_of_the_name_is_not_ours(fake: FakeCloud, cloud: Cloud) -> None:
    fake.add("network", "networks", name="private", project_id="p-other")
    made = ensure_network(cloud, "private", project_id="p-demo", network_type="vxlan")
    assert made.created


def test_a_network_that_differs_is_left_with_a_note(fake: FakeCloud, cloud: Cloud) -> None:
    ensure_network(cloud, "private", network_type="vlan", segmentation_id=7)
    found = ensure_network(cloud, "private", network_type="vxlan")
    assert not found.created
    assert found.note == "left as it is, though provider:network_type is vlan, not vxlan"


def test_an_ipv6_subnet_says_how_addresses_are_had(fake: FakeCloud, cloud: Cloud) -> None:
    net = ensure_network(cloud, "private", network_type="vxlan", port_security=False)
    ensure_subnet(
        cloud,
        net.id,
        "v6",
        "fd00::/64",
        gateway="fd00::1",
        ip_version=6,
        ipv6_ra_mode="slaac",
        ipv6_address_mode="slaac",
        project_id="p-demo",
    )
    (subnet,) = fake.all("network", "subnets")
    assert (subnet["ip_version"], subnet["ipv6_ra_mode"], subnet["project_id"]) == (6, "slaac", "p-demo")


def test_only_missing_security_group_rules_are_added(fake: FakeCloud, cloud: Cloud) -> None:
    group = fake.add("network", "security-groups", name="default", project_id="p-demo")
    rule = {"security_group_id": group["id"], "direction": "ingress", "port_range_min": None}
    fake.add(
        "network",
        "security-group-rules",
        **rule,
        ethertype="IPv4",
        protocol="icmp",
        remote_ip_prefix="0.0.0.0/0",
        port_range_max=None,
    )
    # From its own members only: not what is wanted, so it does not count.
    fake.add(
        "network",
        "security-group-rules",
        **rule,
        ethertype="IPv6",
        protocol="icmpv6",
        remote_group_id=group["id"],
        port_range_max=None,
    )
    first = ensure_security_group_rules(cloud, "p-demo")
    assert first.note == "rules added: IPv6 ipv6-icmp, IPv4 tcp, IPv6 tcp"
    assert fake.changes() == ["POST network /security-group-rules"] * 3
    assert ensure_security_group_rules(cloud, "p-demo") == Ensured(group["id"], False)
    assert len(fake.changes()) == 3


def test_a_project_without_the_group_is_an_error(cloud: Cloud) -> None:
    with pytest.raises(ResourceError, match="project p-demo has no security group named default"):
        ensure_security_group_rules(cloud, "p-demo")


# Images.


def test_an_image_is_uploaded_once(fake: FakeCloud, cloud: Cloud, image_file: Path) -> None:
    wanted = {"hw_firmware_type": "uefi", "hw_machine_type": "q35"}

    def make() -> Ensured:
        digest = sha256_of(image_file)
        return ensure_image(cloud, "guest", image_file, "qcow2", properties=wanted, sha256=digest)

    first = make()
    assert make() == Ensured(first.id, False)
    assert fake.changes() == ["POST image /images", f"PUT image /images/{first.id}/file"]
    assert fake.uploads[first.id] == image_file.read_bytes()
    (image,) = fake.all("image", "images")
    assert image["visibility"] == "public"
    assert image["hw_firmware_type"] == "uefi"


def test_what_a_killed_upload_left_is_deleted_first(fake: FakeCloud, cloud: Cloud, image_file: Path) -> None:
    digest = sha256_of(image_file)
    ours = {"name": "guest", "owner": "p-admin", "beastack_sha256": digest}
    fake.add("image", "images", id="i-saving", status="saving", **ours)
    fake.add("image", "images", id="i-queued", status="queued", **ours)
    # Somebody else's upload, under way: not ours to delete.
    fake.add("image", "images", id="i-theirs", status="saving", name="guest", owner="p-admin")
    made = ensure_image(cloud, "guest", image_file, "qcow2", sha256=digest)
    assert fake.changes() == [
        "DELETE image /images/i-saving",
        "DELETE image /images/i-queued",
        "POST image /images",
        f"PUT image /images/{made.id}/file",
    ]
    assert [one["id"] for one in fake.all("image", "images")] == ["i-theirs", made.id]


def test_an_upload_cut_off_leaves_nothing_and_can_be_repeated(fake: FakeCloud, cloud: Cloud, image_file: Path) -> None:
    digest = sha256_of(image_file)
    fake.break_uploads_after = 10
    with pytest.raises(ApiUnreachable):
        ensure_image(cloud, "guest", image_file, "qcow2", sha256=digest)
    assert fake.all("image", "images") == []
    fake.break_uploads_after = None
    assert ensure_image(cloud, "guest", image_file, "qcow2", sha256=digest).created


def test_a_file_that_is_not_what_was_promised_does_not_stay(fake: FakeCloud, cloud: Cloud, image_file: Path) -> None:
    with pytest.raises(ResourceError, match="is not the file it should be: its SHA-256 is"):
        ensure_image(cloud, "guest", image_file, "qcow2", sha256="0" * 64)
    assert fake.all("image", "images") == []


def test_newer_content_hides_the_older_image_of_the_name(fake: FakeCloud, cloud: Cloud, image_file: Path) -> None:
    old = ensure_image(cloud, "guest", image_file, "qcow2", sha256=sha256_of(image_file))
    image_file.write_bytes(b"newer")
    new = ensure_image(cloud, "guest", image_file, "qcow2", sha256=sha256_of(image_file))
    hidden = {one["id"]: one["os_hidden"] for one in fake.all("image", "images")}
    assert hidden == {old.id: True, new.id: False}


def test_an_image_uploaded_by_other_means_is_known_by_its_hash(fake: FakeCloud, cloud: Cloud, image_file: Path) -> None:
    content = image_file.read_bytes()
    fake.add(
        "image",
        "images",
        id="i-1",
        name="guest",
        owner="p-admin",
        status="active",
        size=len(content),
        os_hash_algo="sha512",
        os_hash_value=hashlib.sha512(content).hexdigest(),
    )
    kept = ensure_image(cloud, "guest", image_file, "qcow2", sha256=sha256_of(image_file))
    assert kept == Ensured("i-1", False)
    assert fake.changes() == []


# Servers.


def test_a_server_is_made_once(fake: FakeCloud, cloud: Cloud) -> None:
    def make() -> Ensured:
        return ensure_server(cloud, "a+b.c", "f-1", "i-1", ["n-1"], "site", user_data="#!/bin/sh\n")

    first = make()
    assert make() == Ensured(first.id, False)
    assert fake.changes() == ["POST compute /servers"]
    (server,) = fake.all("compute", "servers")
    assert base64.b64decode(server["user_data"]) == b"#!/bin/sh\n"
    assert server["networks"] == [{"uuid": "n-1"}]
    fake.add("compute", "servers", name="a+b.c")
    with pytest.raises(ResourceError, match="there are 2 servers named"):
        make()


def test_a_server_is_waited_for_through_its_states(fake: FakeCloud, cloud: Cloud) -> None:
    fake.server_states = [
        {"status": "BUILD", "OS-EXT-STS:task_state": "scheduling"},
        {"status": "BUILD", "OS-EXT-STS:task_state": "scheduling"},
        {"status": "BUILD", "OS-EXT-STS:task_state": "spawning"},
        {"status": "ACTIVE", "OS-EXT-STS:task_state": None},
    ]
    fake.refuse("GET compute /servers/s-1", 503, {"error": {"message": "restarting"}})
    told: list[str] = []
    server = wait_for_server(cloud, "s-1", timeout=60, progress=told.append)
    assert server["status"] == "ACTIVE"
    assert told == ["BUILD (scheduling)", "BUILD (spawning)", "ACTIVE"]


def test_a_server_in_error_is_reported_with_its_fault_and_where_to_look(fake: FakeCloud, cloud: Cloud) -> None:
    fake.server_states = [{"status": "ERROR", "fault": {"message": "No valid host\nwas found."}}]
    with pytest.raises(ResourceError) as caught:
        wait_for_server(cloud, "s-1", timeout=60)
    assert str(caught.value) == (
        "server first is in ERROR: No valid host was found.;"
        " see beastack logs nova-scheduler and openstack server event list s-1"
    )
    assert wait_for_server(cloud, "s-1", ("ERROR",), timeout=60)["status"] == "ERROR"


def test_a_server_that_is_gone_is_deleted(fake: FakeCloud, cloud: Cloud) -> None:
    assert wait_for_server(cloud, "s-9", ("DELETED",), timeout=60) == {"id": "s-9", "status": "DELETED"}
    with pytest.raises(ResourceError, match="server s-9 no longer exists"):
        wait_for_server(cloud, "s-9", timeout=60)


def test_a_server_that_takes_too_long_says_what_was_last_seen(fake: FakeCloud, cloud: Cloud) -> None:
    fake.server_states = [{"status": "BUILD", "OS-EXT-STS:task_state": "spawning"}]
    with pytest.raises(WaitTimeout) as caught:
        wait_for_server(cloud, "s-1", timeout=0)
    assert str(caught.value) == "waited 0 s for server s-1 to be ACTIVE; last seen: BUILD (spawning)"


def test_consoles_are_asked_for_by_kind(fake: FakeCloud, cloud: Cloud) -> None:
    assert get_console_url(cloud, "s-1", "novnc").startswith(f"{fake.url}/novnc?token=")
    assert fake.requests[-1].body == {"remote_console": {"protocol": "vnc", "type": "novnc"}}
    assert get_console_url(cloud, "s-1", "serial").startswith(f"{fake.url}/serial?token=")
    assert get_console_output(cloud, "s-1", lines=20) == "guest: address 10.0.0.7\n"
    assert fake.requests[-1].body == {"os-getConsoleOutput": {"length": 20}}


# Hosts and waiting.


def test_hosts_are_listed_with_what_is_alive(fake: FakeCloud, cloud: Cloud) -> None:
    fake.add("compute", "os-services", host="a", binary="nova-compute", state="up", status="enabled")
    fake.add("compute", "os-services", host="b", binary="nova-compute", state="down", status="disabled")
    fake.add("network", "agents", host="a", binary="neutron-dhcp-agent", alive=True, admin_state_up=True)
    seen = hosts_up(cloud)
    assert seen.compute[1] == HostService("b", "nova-compute", alive=False, enabled=False)
    assert seen.network == (HostService("a", "neutron-dhcp-agent", alive=True, enabled=True),)
    wanted = [("a", "nova-compute"), ("b", "nova-compute"), ("a", "neutron-dhcp-agent")]
    assert seen.missing(wanted) == [("b", "nova-compute")]


def test_a_condition_is_asked_until_it_holds() -> None:
    answers = iter([(False, "nothing"), (False, "a little"), (True, "all of it")])
    assert wait_until(lambda: next(answers), what="it", timeout=60, interval=0) == "all of it"


def test_a_limit_of_zero_asks_once() -> None:
    asked: list[int] = []

    def never() -> tuple[bool, str]:
        asked.append(1)
        return False, ""

    with pytest.raises(WaitTimeout, match="waited 0 s for rain; last seen: nothing"):
        wait_until(never, what="rain", timeout=0)
    assert len(asked) == 1
