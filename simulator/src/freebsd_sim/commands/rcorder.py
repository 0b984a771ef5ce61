"""rcorder(8): the order in which rc scripts run, by what they say they provide and require."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from freebsd_sim.call import Call, CommandExit, NotSimulated
from freebsd_sim.commands.bsd_options import parse_options

USAGE = "usage: rcorder [-gp] [-k keep] [-s skip] file ..."
LINE = re.compile(r"#\s*(PROVIDE|REQUIRES?|BEFORE|KEYWORDS?):\s*(.*?)\s*$")


@dataclass
class Script:
    """A script's file and the words of its header."""

    file: str
    provides: list[str] = field(default_factory=list)
    requires: list[str] = field(default_factory=list)
    before: list[str] = field(default_factory=list)
    keywords: list[str] = field(default_factory=list)


def read_script(file: str, text: str) -> Script:
    """Read a script's header: its first lines of these kinds, up to the first other line after them."""
    script, begun = Script(file), False
    places = {"PROVIDE": script.provides, "REQUIRE": script.requires, "BEFORE": script.before,
              "KEYWORD": script.keywords}  # fmt: skip
    for line in text.splitlines():
        match = LINE.match(line)
        if match is None:
            if begun:
                break
            continue
        begun = True
        places[match[1].removesuffix("S")].extend(match[2].split())
    return script


def order(scripts: list[Script]) -> tuple[list[Script], list[str]]:
    """Return scripts so that each comes after what it requires, else as given; and what was wrong."""
    providers: dict[str, list[Script]] = {}
    for script in scripts:
        for word in script.provides:
            providers.setdefault(word, []).append(script)
    first: dict[str, list[Script]] = {script.file: [] for script in scripts}
    complaints = []
    for script in scripts:
        for word in script.requires:
            if word not in providers:
                complaints.append(f"rcorder: requirement `{word}' in file `{script.file}' has no providers.")
            first[script.file] += providers.get(word, [])
        for word in script.before:
            for later in providers.get(word, []):
                first[later.file].append(script)
    done: dict[str, Script] = {}
    under_way: list[str] = []

    def visit(script: Script) -> None:
        if script.file in done:
            return
        if script.file in under_way:
            complaints.append(f"rcorder: Circular dependency on file `{script.file}'.")
            return
        under_way.append(script.file)
        for earlier in first[script.file]:
            if earlier is not script:
                visit(earlier)
        under_way.pop()
        done[script.file] = script

    for script in scripts:
        visit(script)
    return list(done.values()), complaints


def main(call: Call) -> int:
    """Run the command."""
    options, files = parse_options(call, "gpk:s:", USAGE)
    letters = {letter for letter, _ in options}
    if letters & {"g", "p"}:
        raise NotSimulated("rcorder: -g and -p")
    if not files:
        raise CommandExit(1, USAGE)
    scripts = []
    for file in files:
        try:
            scripts.append(read_script(file, call.path(file).read_text(errors="replace")))
        except OSError as error:
            call.err(f"rcorder: could not open {file}: {error.strerror}\n")
    ordered, complaints = order(scripts)
    for complaint in complaints:
        call.err(complaint + "\n")
    keep = {value for letter, value in options if letter == "k"}
    skip = {value for letter, value in options if letter == "s"}
    for script in ordered:
        words = set(script.keywords)
        if not words & skip and (not keep or words & keep):
            call.out(script.file + "\n")
    return 0
