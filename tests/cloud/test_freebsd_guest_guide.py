"""The guides' commands, as they stand there, inside the simulated host."""

from __future__ import annotations

from pathlib import Path

import pytest

import guide
from freebsd_guests import admin_api
from freebsd_pair import PairedSite

pytestmark = pytest.mark.cloud

DOCS = Path(guide.PROJECT) / "docs"
PAGES = (DOCS / "guide.md", DOCS / "operations.md")


def test_the_commands_of_the_guides_do_what_they_say(whole_site: PairedSite) -> None:
    shell = guide.Shell(whole_site.root, whole_site.host.name, whole_site.host.state)
    blocks = [block for page in PAGES for block in guide.read_blocks(page) if block.kind == "run"]
    try:
        for block, _, done in shell.run(blocks):
            assert done.returncode == 0, f"{block}\n{block.text}\n{done.stdout}\n{done.stderr}"
    finally:
        _tidy(whole_site)


def _tidy(site: PairedSite) -> None:
    """Delete what a guide that failed half way left."""
    with admin_api(site) as api:
        for server in api.ask("compute", "GET", "/servers?all_tenants=1")["servers"]:
            if server["name"] == "web":
                api.ask("compute", "DELETE", f"/servers/{server['id']}", ok=(204, 404))
