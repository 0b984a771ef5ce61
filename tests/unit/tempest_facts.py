"""A cloud as Tempest's tests describe it."""

from __future__ import annotations

from beastack.cli.tempest.facts import Facts

FACTS = Facts(
    auth_url="http://127.0.0.1:5000/v3",
    region="RegionOne",
    password="0123456789abcdef",
    services=frozenset(("compute", "identity", "image", "network", "placement")),
    image="image-id",
    flavor="tiny-id",
    other_flavor="small-id",
    network="provider",
    external="",
    reachable=True,
    extensions=("agent", "port-security", "security-group"),
    compute_version="2.104",
    placement_version="1.39",
    disk_formats=("raw", "qcow2"),
    container_formats=("bare",),
    hypervisors=frozenset(("qemu",)),
    traits=frozenset(("COMPUTE_NODE",)),
    hosts=1,
)
