"""Configuration of Keystone, Glance and Placement."""

from __future__ import annotations

from beastack.site.configuration import shared
from beastack.site.configuration.shared import Sections
from beastack.site.configuration.site import Site


def keystone(site: Site) -> Sections:
    """Return keystone.conf."""
    data = site.layout.data("keystone")
    return shared.merge(
        shared.common(site, "keystone"),
        shared.database(site, "keystone", "keystone"),
        {
            "fernet_tokens": {"key_repository": data / "fernet-keys"},
            # Receipts share the tokens' keys, as upstream recommends.
            "fernet_receipts": {"key_repository": data / "fernet-keys"},
            "credential": {"key_repository": data / "credential-keys"},
            # In this process's memory: Keystone runs as one process, so nothing is answered from
            # what another has changed or revoked since.
            "cache": {"enabled": True, "backend": "oslo_cache.dict", "expiration_time": 30},
        },
    )


def glance(site: Site) -> Sections:
    """Return glance-api.conf."""
    data = site.layout.data("glance")
    return shared.merge(
        shared.common(site, "glance"),
        shared.database(site, "glance", "glance"),
        shared.token_check(site, "glance"),
        {
            "DEFAULT": {
                "enabled_backends": "file:file",
                "show_multiple_locations": False,
                "worker_self_reference_url": f"http://{site.url_host}:{site.ports.image}",
            },
            "glance_store": {"default_backend": "file"},
            "file": {"filesystem_store_datadir": data / "images"},
            "os_glance_staging_store": {"filesystem_store_datadir": data / "staging"},
            "os_glance_tasks_store": {"filesystem_store_datadir": data / "tasks"},
            # No caching flavor: it wants a database of its own and one store needs no cache.
            "paste_deploy": {
                "flavor": "keystone",
                "config_file": site.layout.venv / "etc/glance/glance-api-paste.ini",
            },
            "oslo_policy": {"policy_dirs": site.layout.etc("glance") / "policy.d"},
        },
    )


def placement(site: Site) -> Sections:
    """Return placement.conf."""
    return shared.merge(
        shared.common(site, "placement"),
        shared.database(site, "placement", "placement", "placement_database"),
        shared.token_check(site, "placement"),
        {"api": {"auth_strategy": "keystone"}},
    )
