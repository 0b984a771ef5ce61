"""nova-api with the site's pipelines, over databases of nova's own test fixtures: hosts of two hypervisors.

Nothing runs behind it: what reaches nova's compute API is noted, and goes no further.
"""

from __future__ import annotations

import json
import unittest
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import nova.tests.functional  # noqa: F401  # first: it forbids eventlet, which others would import
from nova import context, objects, test
from nova.compute import api as compute_api
from nova.compute import vm_states
from nova.network import model
from nova.objects import fields
from nova.tests import fixtures
from nova.tests.functional.api import client
from oslo_utils import uuidutils

from beastack.site import configuration
from beastack.site.configuration import Facts, Site
from beastack.site.description import Description
from beastack.site.layout import Layout
from bhyve_guests import make_flavor

#: Methods of nova's compute API, and what each returns.
METHODS: dict[str, Any] = {
    "pause": None, "suspend": None, "live_migrate": None, "trigger_crash_dump": None, "attach_volume": "/dev/vdb",
    "snapshot": {"id": uuidutils.generate_uuid()}, "backup": {"id": uuidutils.generate_uuid()},
}  # fmt: skip


def write_pipeline(root: Path, venv: Path) -> Path:
    """Write the description of nova-api's pipelines of a site below a directory."""
    facts = Facts(cpus=2, hostname="host1", novnc_pages="", python="", helper="")
    site = Site(Layout(root), Description(), {}, facts)
    (root / "venv").symlink_to(venv)
    file = root / configuration.PIPELINE
    file.write_text(configuration.nova.pipeline(site))
    return file


class ApiCloud(test.TestCase):  # type: ignore[misc]
    """The cloud; ``reached`` is what came to nova's compute API: methods and instances."""

    def __init__(self, body: Callable[[Any], None], pipeline: Path) -> None:
        super().__init__("runTest")
        self.body, self.pipeline = body, pipeline

    def setUp(self) -> None:
        super().setUp()
        # The fixtures would have upstream's developers hear of what SQLAlchemy will drop.
        warnings.simplefilter("ignore")
        self.flags(api_paste_config=str(self.pipeline), group="wsgi")
        self.useFixture(fixtures.RealPolicyFixture())
        self.server = self.useFixture(fixtures.OSAPIFixture(use_project_id_in_urls=True))
        self.reached: list[tuple[str, str]] = []
        self.nodes: dict[str, int] = {}
        patches = [mock.patch.object(compute_api.API, name, self._note(name, METHODS[name])) for name in METHODS]
        # There is no catalogue to find Glance in.
        patches.append(mock.patch("nova.image.glance.API.generate_image_url", return_value="http://image"))
        for patch in patches:
            patch.start()
            self.addCleanup(patch.stop)

    def _note(self, name: str, returned: Any) -> Callable[..., Any]:
        def method(api: Any, caller: Any, instance: Any, *arguments: Any, **named: Any) -> Any:
            self.reached.append((name, instance.uuid))
            return returned

        return method

    def runTest(self) -> None:
        self.body(self)

    def make_instance(self, hypervisor: str, state: str = vm_states.ACTIVE, **properties: str) -> str:
        """Make an instance on a host of a hypervisor, of an image of these properties, and return its number."""
        host = f"host-{hypervisor}"
        with context.target_cell(context.get_admin_context(), self.cell_mappings["cell1"]) as cell:
            if host not in self.nodes:
                self.nodes[host] = self._make_node(cell, host, hypervisor)
            instance = objects.Instance(
                cell, host=host, node=host, compute_id=self.nodes[host], project_id=self.server.project_id,
                user_id="fake", flavor=make_flavor({}), vm_state=state,
                system_metadata={f"image_{name}": value for name, value in properties.items()},
                image_ref=uuidutils.generate_uuid(), display_name="web",
                info_cache=objects.InstanceInfoCache(network_info=model.NetworkInfo()),
            )  # fmt: skip
            instance.create()
        self.map_instance(instance.uuid, self.cell_mappings["cell1"])
        return str(instance.uuid)

    def map_instance(self, number: str, cell: Any) -> None:
        """Say in what cell an instance is."""
        objects.InstanceMapping(
            context.get_admin_context(), instance_uuid=number, project_id=self.server.project_id, user_id="fake",
            queued_for_delete=False, cell_mapping=cell,
        ).create()  # fmt: skip

    @staticmethod
    def _make_node(cell: Any, host: str, hypervisor: str) -> int:
        node = objects.ComputeNode(
            cell, host=host, hypervisor_hostname=host, hypervisor_type=hypervisor, hypervisor_version=1,
            uuid=uuidutils.generate_uuid(), vcpus=4, memory_mb=4096, local_gb=10, vcpus_used=0, memory_mb_used=0,
            local_gb_used=0, cpu_info="", cpu_allocation_ratio=1.0, ram_allocation_ratio=1.0, disk_allocation_ratio=1.0,
            supported_hv_specs=[objects.HVSpec(arch="x86_64", hv_type=hypervisor.lower(), vm_mode=fields.VMMode.HVM)],
        )  # fmt: skip
        node.create()
        return int(node.id)

    def as_other_project(self) -> Any:
        """Return a client who is an administrator of nothing, in another project."""
        other = uuidutils.generate_uuid(dashed=False)
        return client.TestOpenStackClient(
            "stranger", f"{self.server.base_url.rpartition('/')[0]}/{other}", other, ["reader", "member"]
        )

    def post(self, path: str, body: Any, api: Any = None, version: str | None = None) -> Any:
        """Ask for something, as the administrator unless another client is given; returns requests' answer."""
        api = api or self.server.admin_api
        api.microversion = version
        text = body if isinstance(body, str) else json.dumps(body)
        return api.api_request(path, method="POST", body=text)

    def act(self, number: str, body: Any, api: Any = None, version: str | None = None) -> Any:
        """Have an instance do something."""
        return self.post(f"servers/{number}/action", body, api, version)


def run_in_cloud(body: Callable[[Any], None], pipeline: Path) -> str:
    """Run a function in a cloud of its own and return what went wrong: tracebacks, or nothing."""
    result = unittest.TestResult()
    ApiCloud(body, pipeline).run(result)
    return "\n".join(text for _, text in (*result.errors, *result.failures))
