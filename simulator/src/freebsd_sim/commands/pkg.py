"""pkg(8), and pkg(7) as long as it is not installed: packages of the host and of its repository.

Texts are those of pkg's sources (src/install.c, delete.c, info.c, search.c,
query.c, utils.c, event.c) where standard output is no terminal.
"""

from __future__ import annotations

import fnmatch
import os
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from freebsd_sim.call import Call, CommandExit, NotSimulated
from freebsd_sim.commands import pkg_jobs, pkg_query
from freebsd_sim.package_database import Package, read_catalogue, read_installed

ABSENT = """\
The package management tool is not yet installed on your system.
Please set ASSUME_ALWAYS_YES=yes environment variable to be able to bootstrap in non-interactive \
(stdin not being a tty)"""
USAGE = """\
Usage: pkg [-v] [-d] [-l] [-N] [-j <jail name or id>|-c <chroot path>|-r <rootdir>] [-C <configuration file>] \
[-R <repo config dir>] [-o var=value] [-4|-6] <command> [<args>]

For more information on available commands and options see 'pkg help'."""
USAGES = {
    "info": """\
Usage: pkg info <pkg-name>
       pkg info -a
       pkg info [-AbBDdefIklOqRrs] [-Cgix] <pkg-name>
       pkg info [-AbBDdfIlqRrs] -F <pkg-file>

For more information see 'pkg help info'.""",
    "search": """\
Usage: pkg search [-eU] [-r repo] [-S search] [-L label] [-Q mod]... [-Cgix] <pkg-name>
       pkg search [-cDdefopqRU] [-r repo] [-Cgix] <pattern>

For more information see 'pkg help search'.""",
    "query": """\
Usage: pkg query <query-format> <pkg-name>
       pkg query [-a] <query-format>
       pkg query -F <pkg-name> <query-format>
       pkg query -e <evaluation> <query-format>
       pkg query [-Cgix] <query-format> <pattern> <...>

For more information see 'pkg help query.'""",
    "rquery": """\
Usage: pkg rquery [-r reponame] [-I|<query-format>] <pkg-name>
       pkg rquery [-a] [-r reponame] [-I|<query-format>]
       pkg rquery -e <evaluation> [-r reponame] <query-format>
       pkg rquery [-Cgix] [-r reponame] [-I|<query-format>] <pattern> <...>

For more information see 'pkg help rquery.'""",
    "install": """\
Usage: pkg install [-AfInFMqRUy] [-r reponame] [-Cgix] <pkg-name> ...

For more information see 'pkg help install'.""",
    "delete": """\
Usage: pkg delete [-DfnqRy] [-Cgix] <pkg-name> ...
       pkg delete [-Dnqy] -a

For more information see 'pkg help delete'.""",
}
NAMES = {"remove": "delete"}

P = TypeVar("P", bound=Package)


@dataclass
class Options:
    """A verb's options and operands, taken apart as getopt_long(3) with a leading + does."""

    flags: set[str] = field(default_factory=set)
    words: list[str] = field(default_factory=list)

    def chooser(self, default: str) -> Callable[[str, Iterable[P]], list[P]]:
        """Return a function that finds packages by a pattern: exact, glob or regular expression."""
        kind = "regex" if "x" in self.flags else "glob" if "g" in self.flags else default
        flags = 0 if "C" in self.flags else re.IGNORECASE
        if kind == "exact":

            def matches(pattern: str, text: str) -> bool:
                return re.fullmatch(re.escape(pattern), text, flags) is not None
        elif kind == "glob":

            def matches(pattern: str, text: str) -> bool:
                return re.fullmatch(fnmatch.translate(pattern), text, flags) is not None
        else:

            def matches(pattern: str, text: str) -> bool:
                return re.search(pattern, text, flags) is not None

        def choose(pattern: str, among: Iterable[P]) -> list[P]:
            return [
                one for one in among
                if any(matches(pattern, text) for text in (one.name, f"{one.name}-{one.version}", one.origin))
            ]  # fmt: skip

        return choose


def parse(call: Call, verb: str, words: Sequence[str], plain: str, valued: str, absent: str) -> Options:
    """Take options apart; letters of ``absent`` are the real command's and not simulated."""
    options, left = Options(), list(words)
    while left and left[0].startswith("-") and left[0] != "-":
        word = left.pop(0)
        if word == "--":
            break
        if word.startswith("--"):
            raise NotSimulated(f"pkg {verb} {word}")
        rest = word[1:]
        while rest:
            letter, rest = rest[0], rest[1:]
            if letter in absent:
                raise NotSimulated(f"pkg {verb} -{letter}")
            if letter in valued:
                if not rest and not left:
                    raise CommandExit(1, f"pkg: option requires an argument -- {letter}\n{USAGES[verb]}")
                if not rest:
                    left.pop(0)
                rest = ""
            elif letter not in plain:
                raise CommandExit(1, f"pkg: illegal option -- {letter}\n{USAGES[verb]}")
            options.flags.add(letter)
    options.words = left
    return options


def main(call: Call) -> int:
    """Run the command."""
    words = call.argv[1:]
    if not words:
        raise CommandExit(1, f"pkg: not enough arguments\n{USAGE}")
    verb = NAMES.get(words[0], words[0])
    with call.kernel.lock:
        installed = read_installed(call.kernel.root)
        if "pkg" not in installed:
            return _without_pkg(call, verb, words)
        if verb == "-N":
            call.err(f"pkg: {len(installed)} packages installed\n")
            return 0
        if verb in ("-v", "--version"):
            call.out(installed["pkg"].version.partition("_")[0] + "\n")
            return 0
        if verb == "update":
            call.out(pkg_jobs.UPDATED)
            return 0
        if verb == "bootstrap":
            call.out("pkg already bootstrapped at /usr/local/sbin/pkg\n")
            return 0
        run = _VERBS.get(verb)
        if run is None:
            raise NotSimulated(f"pkg {verb}")
        return run(call, words[1:])


def _without_pkg(call: Call, verb: str, words: Sequence[str]) -> int:
    if verb == "-N":
        call.err("pkg: pkg is not installed\n")
        return 1
    sure = call.environ.get("ASSUME_ALWAYS_YES", "").lower() in ("yes", "true", "1", "on")
    if not sure and not (verb == "bootstrap" and "-y" in words):
        raise CommandExit(1, ABSENT)
    call.out("Bootstrapping pkg from pkg+https://pkg.FreeBSD.org/simulated, please wait...\n")
    pkg_jobs.bring(call, [read_catalogue(call.kernel.root)["pkg"]], automatic=())
    return 0 if verb == "bootstrap" else main(call)


def _info(call: Call, words: Sequence[str]) -> int:
    options = parse(call, "info", words, "aCdeEgiIkloOpqrsx", "", "AbBDfFR")
    have = list(read_installed(call.kernel.root).values())
    if not options.words or "a" in options.flags:
        for one in have:
            call.out(pkg_query.tagged(one, "" if "q" in options.flags else one.comment))
        return 0
    choose, status = options.chooser("glob"), 0
    for pattern in options.words:
        found = choose(pattern.rstrip("/"), have)
        if "e" in options.flags:
            status = status or (0 if found else 1)
            continue
        if not found:
            if "q" not in options.flags:
                call.err(f"pkg: No package(s) matching {pattern}\n")
            status = 1
        for one in found:
            call.out(pkg_query.described(one, options.flags, have, alone=len(options.words) == 1))
    return status


def _search(call: Call, words: Sequence[str]) -> int:
    options = parse(call, "search", words, "CegioqUx", "r", "cDdfLpQRSs")
    if len(options.words) != 1:
        raise CommandExit(1, USAGES["search"])
    if not options.words[0]:
        raise CommandExit(1, "Pattern must not be empty.")
    choose = options.chooser("exact" if "e" in options.flags else "regex")
    found = choose(options.words[0], read_catalogue(call.kernel.root).values())
    for one in found:
        comment = "" if "q" in options.flags else one.comment
        call.out(pkg_query.tagged(one, comment, by_origin="o" in options.flags or "/" in options.words[0]))
    return 0 if found else 1


def _asked(call: Call, verb: str, words: Sequence[str], packages: Iterable[Package]) -> int:
    options = parse(call, verb, words, "aCgiUx", "r", "eFI")
    if not options.words or (len(options.words) > 1 and "a" in options.flags):
        raise CommandExit(1, USAGES[verb])
    form, *patterns = options.words
    everything = list(packages)
    pkg_query.check_format(form, local=verb == "query")
    choose = options.chooser("exact")
    found = [one for pattern in patterns for one in choose(pattern, everything)] if patterns else everything
    for one in found:
        call.out(pkg_query.formatted(one, form, everything))
    return 0 if found else 1


def _query(call: Call, words: Sequence[str]) -> int:
    return _asked(call, "query", words, read_installed(call.kernel.root).values())


def _rquery(call: Call, words: Sequence[str]) -> int:
    return _asked(call, "rquery", words, read_catalogue(call.kernel.root).values())


def _install(call: Call, words: Sequence[str]) -> int:
    options = parse(call, "install", words, "ACgiIMnqUxy", "r", "fFlR")
    if not options.words:
        raise CommandExit(1, USAGES["install"])
    if not call.is_root:
        raise CommandExit(1, "pkg: Insufficient privileges to install packages")
    if "U" not in options.flags and "q" not in options.flags:
        call.out(pkg_jobs.UPDATED)
    choose, offered = options.chooser("exact"), read_catalogue(call.kernel.root).values()
    wanted: list[Package] = []
    for pattern in options.words:
        found = choose(pattern, offered)
        if not found:
            call.err(
                f"pkg: No packages available to install matching '{pattern}' have been found in the repositories\n"
            )
            if "M" not in options.flags:
                return 1
        wanted += found
    return pkg_jobs.install(call, wanted, _says_yes(call, options), options.flags)


def _delete(call: Call, words: Sequence[str]) -> int:
    options = parse(call, "delete", words, "aCDfginqRxy", "", "")
    if not options.words and "a" not in options.flags:
        raise CommandExit(1, USAGES["delete"])
    if not call.is_root:
        raise CommandExit(1, "pkg: Insufficient privileges to delete packages")
    have = read_installed(call.kernel.root)
    choose = options.chooser("exact")
    chosen = list(have.values()) if "a" in options.flags else []
    for pattern in options.words:
        found = choose(pattern, have.values())
        if not found and "q" not in options.flags:
            call.out(f"No packages matched for pattern '{pattern}'\n\n")
        chosen += found
    return pkg_jobs.delete(call, chosen, len(options.words), _says_yes(call, options), options.flags)


def _says_yes(call: Call, options: Options) -> Callable[[str], bool]:
    """Return the answer to a question: yes by -y or the environment, else what is typed."""
    if "y" in options.flags or call.environ.get("ASSUME_ALWAYS_YES", "").lower() in ("yes", "true", "1", "on"):
        return lambda question: True

    def ask(question: str) -> bool:
        call.out(f"{question}[y/N]: ")
        typed = b""
        while not typed.endswith(b"\n"):
            letter = os.read(call.stdin, 1)
            if not letter:
                break
            typed += letter
        return typed.decode(errors="replace").strip().lower() in ("y", "yes")

    return ask


_VERBS: dict[str, Callable[[Call, Sequence[str]], int]] = {
    "info": _info, "search": _search, "query": _query, "rquery": _rquery, "install": _install, "delete": _delete,
}  # fmt: skip
