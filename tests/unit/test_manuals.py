"""The manual pages: site.toml(5) is made from the rules, beastack(8) has all that the parser takes, mandoc agrees."""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from beastack.cli.main import parser
from beastack.site.description import manual

PAGES = Path(__file__).resolve().parents[2] / "docs" / "man"
#: What mandoc says of other pages, which are not installed or not in its index here.
OF_OTHERS = ("referenced manual not found", "outdated mandoc.db")


@pytest.fixture(scope="session")
def mandoc() -> str:
    """Return the program, installed if need be."""
    if shutil.which("mandoc") is None:
        if os.geteuid() != 0:
            pytest.skip("mandoc is not there, and only root can install it")
        subprocess.run(
            ["apt-get", "install", "-q", "-y", "--no-install-recommends", "mandoc"],
            env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"}, check=True, capture_output=True, timeout=600,
        )  # fmt: skip
    return "mandoc"


def test_the_page_of_the_description_is_made_from_its_rules() -> None:
    made = (PAGES / "site.toml.5").read_text()
    assert made == manual.manual(), "make it anew: beastack describe --mdoc > docs/man/site.toml.5"


@pytest.mark.parametrize("page", sorted(PAGES.glob("*.[0-9]")), ids=lambda page: page.name)
def test_mandoc_finds_nothing_wrong(mandoc: str, page: Path) -> None:
    done = subprocess.run([mandoc, "-T", "lint", str(page)], capture_output=True, text=True, timeout=60)
    found = [line for line in (done.stdout + done.stderr).splitlines() if not any(text in line for text in OF_OTHERS)]
    assert not found


def test_there_are_pages() -> None:
    assert {page.name for page in PAGES.iterdir()} >= {"beastack.8", "site.toml.5"}


# beastack(8)


def verbs(top: argparse.ArgumentParser, before: tuple[str, ...] = ()) -> Iterator[tuple[str, argparse.ArgumentParser]]:
    """Give each command's words and its parser; one with commands of its own stands for these."""
    for action in top._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, below in action.choices.items():
                deeper = list(verbs(below, (*before, name)))
                yield from deeper or [(" ".join((*before, name)), below)]


def options(one: argparse.ArgumentParser) -> set[str]:
    """Return the options of one command, as they are typed; what every command has is left out."""
    return {word for action in one._actions for word in action.option_strings} - {"-h", "--help"}


def described() -> dict[str, set[str]]:
    """Return each command of the page and its options, by the lines that head its paragraphs."""
    found = {}
    for line in (PAGES / "beastack.8").read_text().splitlines():
        if line.startswith(".It Cm "):
            words = line.removeprefix(".It Cm ")
            name = re.split(r" (?:O[op]|Ar)\b", words)[0]
            pairs = re.findall(r"Fl (-?[a-z][a-z0-9-]*)(?: \| (-[a-z][a-z0-9-]*))?", words)
            found[name] = {f"-{word}" for pair in pairs for word in pair if word}
    return found


def test_the_page_has_every_command_and_no_other() -> None:
    assert set(described()) == {name for name, _ in verbs(parser())}


@pytest.mark.parametrize("name", [name for name, _ in verbs(parser())])
def test_a_command_has_the_options_that_the_page_says(name: str) -> None:
    one = dict(verbs(parser()))[name]
    assert described()[name] == options(one)


def test_the_page_has_the_options_before_the_command() -> None:
    page = (PAGES / "beastack.8").read_text()
    assert all(f".It Fl {word.removeprefix('-')}" in page for word in options(parser()))
