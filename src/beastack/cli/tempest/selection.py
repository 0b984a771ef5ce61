"""Which tests are run: Tempest's smoke set, the list of SCS-0128, or what the user names."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from beastack.cli.tempest.facts import TempestFailed

#: The sets by the names that they have on the command line.
SETS = ("smoke", "scs")

#: Tempest's smoke set of the services there are, and the scenarios through several of them.
SMOKE = r"^tempest\.(api\.(identity|image|compute|network)|scenario)\..*\[(.*,)?smoke(,.*)?\]"

SCS_LIST = Path(__file__).with_name("scs-0128-tempest-non-admin.lst")

#: Of the list, the tests of the services there are. Those of the volume service wait for one.
SCS_WANTED = ("tempest.api.identity.", "tempest.api.image.", "tempest.api.compute.", "tempest.api.network.")

_TAGS = re.compile(r"\[.*?\]")
_ID = re.compile(r"\bid-([0-9a-f-]{36})\b")


@dataclass(frozen=True)
class Case:
    """A test as Tempest lists it: its name, and the id that it keeps when it is moved or renamed."""

    line: str

    @property
    def name(self) -> str:
        """The name, as results have it: without what is in brackets."""
        return _TAGS.sub("", self.line, count=1)

    @property
    def id(self) -> str:
        """The id, or nothing."""
        found = _ID.search(self.line)
        return found[1] if found else ""


def smoke_options(names: Sequence[str] = ()) -> list[str]:
    """Return arguments of ``tempest run``: the smoke set, or all tests with a part of their name like one of these."""
    return ["--regex", "|".join(names) if names else SMOKE]


def own_list(options: Sequence[str]) -> tuple[list[str], list[Case] | None]:
    """Take a list of tests out of options of ``tempest run``, which leaves it out when it lists what it would run.

    :return: the other options, and the tests, or None if there is no list among the options
    :raises TempestFailed: the file cannot be read
    """
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--load-list", "--load_list", type=Path)
    found, others = parser.parse_known_args(options)
    if found.load_list is None:
        return others, None
    try:
        return others, listed(found.load_list.read_text().splitlines())
    except OSError as error:
        raise TempestFailed(f"{found.load_list} cannot be read: {error.strerror}") from error


def scs_tests(names: Sequence[str] = ()) -> list[Case]:
    """Return the tests of SCS-0128 that are run, as the standard's list has them; of some names, if there are any.

    :param names: regular expressions of a part of a name
    :raises TempestFailed: one is none
    """
    tests = [one for one in listed(SCS_LIST.read_text().splitlines()) if one.line.startswith(SCS_WANTED)]
    try:
        like = re.compile("|".join(names))
    except re.error as error:
        raise TempestFailed(f"{error.pattern!r} is no regular expression: {error}") from error
    return [one for one in tests if like.search(one.line)]


def listed(lines: Iterable[str]) -> list[Case]:
    """Return the tests of a list; what else is in it, such as comments and log lines, is left out."""
    return [Case(line.strip()) for line in lines if line.startswith("tempest.")]


def matching(wanted: Iterable[Case], known: Iterable[Case]) -> tuple[list[Case], list[Case]]:
    """Return the known tests that are wanted, and those wanted that are not known.

    By name, because an id is shared by the tests that a class inherits; by id, if a test has another name now.
    """
    by_name: dict[str, Case] = {}
    by_id: dict[str, list[Case]] = {}
    for one in known:
        by_name[one.name] = one
        by_id.setdefault(one.id, []).append(one)
    found: dict[str, Case] = {}
    unknown: list[Case] = []
    for one in wanted:
        ours = [by_name[one.name]] if one.name in by_name else by_id.get(one.id, []) if one.id else []
        found.update({test.line: test for test in ours})
        if not ours:
            unknown.append(one)
    return list(found.values()), unknown


def unknown_ids(wanted: Iterable[Case], package: Path) -> list[str]:
    """Return the names of tests whose id is nowhere in Tempest's code, which is read and not run."""
    wanted = list(wanted)
    pattern = re.compile(r"idempotent_id\(\s*['\"]([0-9a-f-]{36})['\"]")
    there = {found for path in package.glob("api/**/test_*.py") for found in pattern.findall(path.read_text())}
    return [one.name for one in wanted if one.id not in there]
