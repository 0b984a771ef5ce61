"""tempest.conf: how to reach the cloud, and what it can and cannot do."""

from __future__ import annotations

from pathlib import Path

from beastack.cli.tempest.facts import Facts
from beastack.cli.tempest.features import compute_features, has_volumes
from beastack.site.configuration import Sections

#: Seconds for an instance to become active or to be reached. Guests are emulated where there is no KVM and no
#: real bhyve, and two of them boot at a time.
LIMIT = 600

#: The guest logs in as root and is a busybox: what Tempest takes for granted
#: in a guest is said in that guest's words.  The checks themselves stay: the
#: address, the metadata and the configuration drive are read inside the guest.
GUEST_PROLOGUE = " ".join((
    "set -eu -o pipefail; mkdir -p /mnt;",
    'sudo() { "$@"; };',
    'blkid() { findfs "LABEL=$2"; };',
    'curl() { if [ "$1" = -X ]; then wget -q -O - --post-data "$4" "$5"; else wget -q -O - "$1"; fi; };',
))  # fmt: skip


def sections(facts: Facts, other_image: str, workspace: Path, accounts: Path | None) -> Sections:
    """Return tempest.conf.

    :param other_image: the id of a second image, or that of the first if there is no other
    :param accounts: the file of the accounts that the tests use; without it they
        make their own, as the administrator, whose password only then is in the file
    """
    routers = "router" in facts.extensions
    return {
        "DEFAULT": {"log_dir": workspace / "log", "log_file": "tempest.log", "debug": False, "use_stderr": False},
        "oslo_concurrency": {"lock_path": workspace / "locks"},
        "auth": {
            **(_administrator(facts) if accounts is None else _accounts(accounts)),
            # A network of its own for each project is joined by a router; without
            # routers all of them use the one network that every project sees.
            "create_isolated_networks": routers,
        },
        "identity": {"uri_v3": facts.auth_url, "auth_version": "v3", "region": facts.region},
        "identity-feature-enabled": {
            "trust": True,
            "access_rules": True,
            # keystone.conf leaves both as upstream has them: off.
            "domain_specific_drivers": False,
            "security_compliance": False,
            "immutable_user_source": False,
        },
        # oslo.policy enforces scopes and the new defaults unless told otherwise.
        "enforce_scope": {name: True for name in ("keystone", "glance", "nova", "neutron", "placement")},
        "service_available": {
            "nova": "compute" in facts.services,
            "neutron": "network" in facts.services,
            "glance": "image" in facts.services,
            "cinder": has_volumes(facts),
            "swift": "object-store" in facts.services,
            "horizon": False,
        },
        "compute": {
            "image_ref": facts.image,
            "image_ref_alt": other_image,
            "flavor_ref": facts.flavor,
            "flavor_ref_alt": facts.other_flavor,
            "fixed_network_name": facts.network,
            "min_microversion": "2.1",
            "max_microversion": facts.compute_version,
            "min_compute_nodes": facts.hosts,
            "build_timeout": LIMIT,
        },
        "placement": {"min_microversion": "1.0", "max_microversion": facts.placement_version},
        "compute-feature-enabled": compute_features(facts),
        "image": {
            "disk_formats": ",".join(facts.disk_formats),
            "container_formats": ",".join(facts.container_formats),
            "build_timeout": LIMIT,
        },
        "image-feature-enabled": {
            "import_image": True,
            "os_glance_reserved": True,
            "manage_locations": False,
            "image_conversion": False,
            "image_format_enforcement": True,
            "http_store_enabled": False,
            "store_weight_enabled": False,
        },
        "network": {
            "project_networks_reachable": facts.reachable,
            "public_network_id": facts.external,
            "floating_network_name": facts.network if facts.external else "",
        },
        "network-feature-enabled": {
            "api_extensions": ",".join(facts.extensions),
            "floating_ips": routers and bool(facts.external),
            "ipv6": True,
            "ipv6_subnet_attributes": True,
            "port_admin_state_change": True,
            "port_security": "port-security" in facts.extensions,
        },
        "validation": {
            "run_validation": facts.reachable,
            "connect_method": "fixed",
            "network_for_ssh": facts.network,
            "ping_timeout": LIMIT,
            "ssh_timeout": LIMIT,
            "image_ssh_user": "root",
            "image_alt_ssh_user": "root",
            "ssh_shell_prologue": GUEST_PROLOGUE,
        },
    }


def _administrator(facts: Facts) -> dict[str, object]:
    return {
        "use_dynamic_credentials": True,
        "admin_username": "admin",
        "admin_project_name": "admin",
        "admin_domain_name": "Default",
        "admin_password": facts.password,
    }


def _accounts(accounts: Path) -> dict[str, object]:
    return {"use_dynamic_credentials": False, "test_accounts_file": accounts}
