"""The guides' pages: what is in them is either run or said not to be, and links lead somewhere."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(PROJECT / "tests" / "cloud"))

import guide  # noqa: E402  (beside the tests that run them)

PAGES = sorted((PROJECT / "docs").glob("*.md"))
GUIDES = [PROJECT / "docs" / name for name in ("guide.md", "operations.md")]


@pytest.mark.parametrize("page", GUIDES, ids=lambda page: page.name)
def test_every_block_says_what_it_is(page: Path) -> None:
    blocks = guide.read_blocks(page)
    assert len(blocks) * 2 == page.read_text().count("\n```")
    assert {block.kind for block in blocks} <= set(guide.KINDS)
    assert [block for block in blocks if block.kind == "run"]


@pytest.mark.parametrize("page", [*PAGES, PROJECT / "README.md"], ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target, anchor in re.findall(r"\]\((?!https?:)([^)#]*)(?:#([^)]*))?\)", page.read_text()):
        file = page.parent / target if target else page
        assert file.exists(), target
        if anchor:
            titles = re.findall(r"^#+ (.*)$", file.read_text(), re.MULTILINE)
            known = {re.sub(r"[^a-z0-9 -]", "", title.lower()).replace(" ", "-") for title in titles}
            assert anchor in known, f"{target}#{anchor}"
