"""What is asked of a cloud before Tempest is told of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from beastack.cli.tempest.facts import TempestFailed, ask, has_address
from beastack.site.api import Cloud
from beastack.site.configuration import Facts as HostFacts
from beastack.site.configuration import Site
from beastack.site.description import Description
from beastack.site.layout import Layout

HOST = {"id": "h1", "hypervisor_hostname": "one", "hypervisor_type": "BHYVE", "state": "up", "status": "enabled"}


class Answers(Cloud):
    """A cloud that gives prepared answers; what a test changes in ``content`` is what it says."""

    def __init__(self) -> None:
        self.content: dict[str, Any] = {
            "image /images": {"images": [{"id": "image-id", "name": "beastack-guest"}]},
            "compute /flavors": {"flavors": [{"id": f"{name}-id", "name": name} for name in ("m1.tiny", "m1.small")]},
            "network /networks": {"networks": [{"id": "net-id", "name": "provider", "router:external": False}]},
            "image /schemas/image": {"properties": {
                "disk_format": {"enum": [None, "ami", "raw", "qcow2"]}, "container_format": {"enum": ["ami", "bare"]},
            }},
            "compute /os-hypervisors/detail": {"hypervisors": [HOST]},
            "identity /services": {"services": [{"type": name} for name in ("compute", "image", "network")]},
            "network /extensions": {"extensions": [{"alias": "security-group"}, {"alias": "agent"}]},
            "compute /": {"version": {"version": "2.104"}},
            "placement /": {"versions": [{"max_version": "1.39"}]},
            "placement /resource_providers": {"resource_providers": [
                {"uuid": "p1", "name": "one"}, {"uuid": "p2", "name": "two"},
            ]},
            "placement /resource_providers/p1/traits": {"traits": ["COMPUTE_NODE", "COMPUTE_GRAPHICS_MODEL_GOP"]},
            "placement /resource_providers/p2/traits": {"traits": ["COMPUTE_NODE"]},
        }  # fmt: skip

    def get(self, service: str, path: str, **options: Any) -> Any:
        return self.content[f"{service} {path}"]


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """A site that nothing runs of."""
    host = HostFacts(cpus=2, hostname="one", novnc_pages="", python="", helper="")
    return Site(Layout(tmp_path), Description(), {"admin": "secret"}, host)


def test_everything_is_asked(site: Site) -> None:
    facts = ask(site, Answers())
    assert (facts.image, facts.flavor, facts.other_flavor) == ("image-id", "m1.tiny-id", "m1.small-id")
    assert facts.services == {"compute", "image", "network"}
    assert facts.extensions == ("agent", "security-group")
    assert facts.disk_formats == ("raw", "ami", "qcow2")
    assert facts.hypervisors == {"bhyve"}
    assert (facts.hosts, facts.external, facts.compute_version) == (1, "", "2.104")
    assert "COMPUTE_GRAPHICS_MODEL_GOP" in facts.traits


def test_a_trait_counts_only_if_every_host_has_it(site: Site) -> None:
    cloud = Answers()
    other = {**HOST, "hypervisor_hostname": "two", "hypervisor_type": "QEMU"}
    cloud.content["compute /os-hypervisors/detail"] = {"hypervisors": [HOST, other]}
    facts = ask(site, cloud)
    assert facts.traits == {"COMPUTE_NODE"}
    assert (facts.hosts, facts.hypervisors) == (2, {"bhyve", "qemu"})


def test_a_host_that_is_down_does_not_count(site: Site) -> None:
    cloud = Answers()
    cloud.content["compute /os-hypervisors/detail"] = {"hypervisors": [HOST, {**HOST, "state": "down"}]}
    assert ask(site, cloud).hosts == 1


def test_without_a_host_that_runs_guests_there_is_nothing_to_test(site: Site) -> None:
    cloud = Answers()
    cloud.content["compute /os-hypervisors/detail"] = {"hypervisors": [{**HOST, "status": "disabled"}]}
    with pytest.raises(TempestFailed, match="no host runs guests"):
        ask(site, cloud)


def test_what_the_user_removed_is_named(site: Site) -> None:
    cloud = Answers()
    cloud.content["image /images"] = {"images": []}
    with pytest.raises(TempestFailed, match="the image beastack-guest is gone"):
        ask(site, cloud)


def test_the_password_is_not_shown(site: Site) -> None:
    facts = ask(site, Answers())
    assert facts.password == "secret"
    assert "secret" not in repr(facts)


def test_an_address_of_this_machine_can_be_told_from_others() -> None:
    assert has_address("127.0.0.1")
    assert not has_address("192.0.2.1")
