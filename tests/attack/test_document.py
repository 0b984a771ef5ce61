"""docs/security.md names every context and every entry point of upstream's, and no other."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest

from beastack.site.services import CONTEXTS
from conftest import HERE

DOCUMENT = HERE.parent.parent / "docs" / "security.md"

Listing = dict[str, dict[str, list[str]]]


def read_document() -> Listing:
    """Return what the document lists: context, then module, then functions."""
    found: Listing = {}
    for section in re.split(r"^### `", DOCUMENT.read_text(), flags=re.MULTILINE)[1:]:
        context = section.partition("`")[0]
        rows = re.findall(r"^\| `([\w.]+)` \| ([\w, `]+) \|$", section, flags=re.MULTILINE)
        found[context] = {module: re.findall(r"`(\w+)`", functions) for module, functions in rows}
    return found


def test_the_contexts_are_those_of_the_closed_list() -> None:
    assert list(read_document()) == [context.name for context in CONTEXTS]


def test_their_modules_are_loaded_before_anybody_asks() -> None:
    assert {name: set(modules) for name, modules in read_document().items()} == {
        context.name: set(context.modules) for context in CONTEXTS
    }


def test_the_entry_points_are_upstreams(oslo_python: str) -> None:
    if subprocess.run([oslo_python, "-c", "import importlib.util as u; exit(not u.find_spec('nova'))"]).returncode:
        pytest.skip("the interpreter has oslo.privsep, but not OpenStack")
    done = subprocess.run(
        [oslo_python, "-W", "ignore", str(Path(__file__).with_name("entry_points.py"))],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    upstream: Listing = json.loads(done.stdout.splitlines()[-1])
    not_offered = {"os_brick.privileged.brick_privsep_hide_output"}
    assert set(upstream) - not_offered == {context.name for context in CONTEXTS}
    assert read_document() == {name: modules for name, modules in upstream.items() if name not in not_offered}
