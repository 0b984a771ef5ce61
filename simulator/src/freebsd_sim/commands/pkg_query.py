"""How pkg(8) shows packages: one line with a comment, the fields of ``info``, and formats of ``query``."""

from __future__ import annotations

import re
from collections.abc import Iterable

from freebsd_sim.call import CommandExit, NotSimulated
from freebsd_sim.package_database import Installed, Package

#: What a format may hold, of a package and of each of several things of it.
SINGLE = frozenset("nvopca")
MULTIPLE = {"d": "nov", "r": "nov", "F": "p"}
_ESCAPES = {"n": "\n", "t": "\t", "a": "\a", "b": "\b", "f": "\f", "r": "\r", "\\": "\\"}
_FIELD = re.compile(r"%([drF][a-z]|.)|\\(.)", re.DOTALL)


def tagged(package: Package, comment: str, *, by_origin: bool = False) -> str:
    """Return a package's line: its name and version, or origin, and a comment at column 32."""
    tag = package.origin if by_origin else f"{package.name}-{package.version}"
    return f"{tag}{' ' * max(31 - len(tag), 1)}{comment}\n" if comment else f"{tag}\n"


def dependents(package: Package, among: Iterable[Package]) -> list[Package]:
    """Return the packages that depend directly on one."""
    return [one for one in among if package.name in one.depends]


def described(package: Installed, flags: set[str], have: list[Installed], *, alone: bool) -> str:
    """Return what ``info`` prints of a package: what the flags ask for, or all of it when it is asked for alone."""
    asked = flags & set("dIklopr")
    tag = f"{package.name}-{package.version}"
    by_name = {one.name: one for one in have}
    fields = {
        "o": package.origin, "p": "/usr/local", "I": package.comment, "k": "no",
        "d": "".join(f"\t{n}-{by_name[n].version}\n" for n in package.depends if n in by_name),
        "r": "".join(f"\t{one.name}-{one.version}\n" for one in dependents(package, have)),
        "l": "".join(f"\t{file}\n" for file in package.files),
    }  # fmt: skip
    if not asked:
        if flags & {"q", "E"} or not alone or flags & {"x", "g"}:
            return f"{tag}\n"
        return (
            f"{tag}\n{'Name':<15}: {package.name}\n{'Version':<15}: {package.version}\n"
            f"{'Origin':<15}: {package.origin}\n{'Prefix':<15}: /usr/local\n{'Comment':<15}: {package.comment}\n"
        )
    if len(asked) > 1:
        raise NotSimulated("pkg info with several of -dIklopr")
    (letter,) = asked
    value = fields[letter]
    if letter in "drl":
        return value.replace("\t", "") if "q" in flags else f"{tag}:\n{value}"
    return f"{value}\n" if "q" in flags else tag + " " * max(31 - len(tag), 1) + value + "\n"


def check_format(form: str, *, local: bool) -> None:
    """Check a format.

    :raises NotSimulated: the real command may know it
    """
    several = set()
    for match in _FIELD.finditer(form):
        word = match[1]
        if word is None or word == "%":
            continue
        if word[0] in MULTIPLE and len(word) == 2 and word[1] in MULTIPLE[word[0]]:
            several.add(word[0])
            if word[0] == "F" and not local:
                raise CommandExit(1, f"pkg: Invalid query: '%{word}' is not a known format")
        elif word not in SINGLE:
            raise NotSimulated(f"pkg query: the format %{word}")
    if len(several) > 1:
        raise CommandExit(1, "pkg: Invalid query: multiple multiline formats")


def formatted(package: Package, form: str, everything: list[Package]) -> str:
    """Return a format's lines for a package; one that names several things gives a line for each."""
    names = {one.name: one for one in everything}
    several = {match[1][0] for match in _FIELD.finditer(form) if match[1] and match[1][0] in MULTIPLE}
    items: list[Package | str | None] = [None]
    if "d" in several:
        items = [names[name] for name in package.depends if name in names]
    elif "r" in several:
        items = [*dependents(package, everything)]
    elif "F" in several:
        items = [*(package.files if isinstance(package, Installed) else ())]
    return "".join(_line(package, form, item) + "\n" for item in items)


def _line(package: Package, form: str, item: Package | str | None) -> str:
    def value(match: re.Match[str]) -> str:
        if match[2] is not None:
            return _ESCAPES.get(match[2], "")
        word = match[1]
        if word == "%":
            return "%"
        if word[0] in MULTIPLE and len(word) == 2:
            return item if isinstance(item, str) else _field(item, word[1]) if item else ""
        return _field(package, word)

    return _FIELD.sub(value, form)


def _field(package: Package, letter: str) -> str:
    automatic = isinstance(package, Installed) and package.automatic
    return {
        "n": package.name, "v": package.version, "o": package.origin.partition("@")[0], "p": "/usr/local",
        "c": package.comment, "a": str(int(automatic)),
    }[letter]  # fmt: skip
