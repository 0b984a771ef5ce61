"""Reads site.toml into a Description: checks it, and reports all that is wrong in it at once."""

from __future__ import annotations

import dataclasses
import difflib
import ipaddress
import re
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from beastack.site.description.key_lines import KeyLines
from beastack.site.description.kinds import rules_of
from beastack.site.description.tables import LOWEST_IPV6_MTU, TABLES, VXLAN_OVERHEAD, Description, Network, Ports
from beastack.site.description.wording import did_you_mean, dotted, listed, printable, type_name


class DescriptionError(Exception):
    """Something in the site's description is wrong; ``str()`` is one line.

    ``path`` is the file, ``line`` its line (from 1; None when no line can be
    named), ``key`` the dotted key (empty when it concerns the whole file) and
    ``problem`` what is wrong and what to do.  The error that
    ``load_description`` raises is the first one of the file; its ``problems``
    are all of them in the order of their lines, itself included.
    """

    def __init__(self, path: Path, line: int | None, key: str, problem: str) -> None:
        self.path = path
        self.line = line
        self.key = key
        self.problem = problem
        self.problems: tuple[DescriptionError, ...] = (self,)
        super().__init__(path, line, key, problem)

    def __str__(self) -> str:
        place = str(self.path) if self.line is None else f"{self.path}:{self.line}"
        parts = [place, self.key, self.problem] if self.key else [place, self.problem]
        return printable(": ".join(parts))


def load_description(path: Path | None, *, must_exist: bool = True) -> Description:
    """Read a site's description from ``path``; None gives the defaults.

    A missing file is an error unless ``must_exist`` is false, which is for
    the default place, where having no file means the defaults.  The ports
    come resolved.  Raises DescriptionError, whose ``problems`` are all that
    is wrong in the file.
    """
    if path is None:
        return Description()
    text = _read_file(path, must_exist)
    if text is None:
        return Description()
    document, lines = _parse(path, text)
    reader = _Reader(path, lines)
    description = reader.read(document)
    if reader.problems:
        problems = tuple(sorted(reader.problems, key=lambda problem: problem.line or 0))
        problems[0].problems = problems
        raise problems[0]
    return description


def _read_file(path: Path, must_exist: bool) -> str | None:
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        # A link that leads nowhere is a mistake, not the wish for the defaults.
        if must_exist or path.is_symlink():
            raise DescriptionError(path, None, "", "no such file; name one that exists, or none") from None
        return None
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise DescriptionError(path, None, "", f"cannot be read: {reason}") from None
    if content.startswith(b"\xef\xbb\xbf"):
        raise DescriptionError(path, 1, "", "begins with a byte order mark; save the file as UTF-8 without one")
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise DescriptionError(path, line, "", "is not UTF-8 text; save the file as UTF-8") from None
    return text.replace("\r\n", "\n")


# What tomllib says, and what a person needs to hear.
_SYNTAX_ADVICE = {
    "Cannot overwrite a value": "this key is set twice; keep one of the two",
    "Invalid value": "the value is not valid; text must be in quotes, true and false in small letters",
    "Invalid initial character for a key part": "a key is missing here",
    "Expected newline or end of document after a statement": (
        "something follows the value; text must be in quotes, and each key on a line of its own"
    ),
    "Expected '=' after a key in a key/value pair": "no = after the key; write KEY = VALUE",
    "Expected ']' at the end of a table declaration": "the table's name is not closed; write [NAME]",
}


def _parse(path: Path, text: str) -> tuple[dict[str, Any], dict[tuple[str, ...], int]]:
    try:
        return tomllib.loads(text), KeyLines(text).lines
    except RecursionError:
        raise DescriptionError(path, None, "", "is nested too deeply; a description needs one level") from None
    except ValueError as error:
        # TOMLDecodeError, or int()'s own refusal of a number with thousands of digits.
        raise _syntax_error(path, text, str(error)) from None


def _syntax_error(path: Path, text: str, message: str) -> DescriptionError:
    line: int | None = None
    match = re.search(r" \(at line ([0-9]+), column [0-9]+\)$", message)
    if match:
        line = int(match[1])
        message = message[: match.start()]
    elif message.endswith(" (at end of document)"):
        line = text.rstrip("\n").count("\n") + 1
        message = message.removesuffix(" (at end of document)")
    if re.match(r"Cannot (declare|mutate|redefine) ", message):
        advice = "this table is given twice; put all its keys under one header"
    elif re.match(r"(Illegal|Found invalid) character '\\n'", message):
        advice = "the line ends within a text; close it with a quote"
    else:
        advice = _SYNTAX_ADVICE.get(message, message[:1].lower() + message[1:])
    return DescriptionError(path, line, "", f"not valid TOML: {advice}")


class _Reader:
    """Reads a parsed file into a Description, gathering all that is wrong on the way."""

    def __init__(self, path: Path, lines: Mapping[tuple[str, ...], int]) -> None:
        self.path = path
        self.lines = lines
        self.problems: list[DescriptionError] = []

    def read(self, document: Mapping[str, Any]) -> Description:
        tables: dict[str, Any] = {}
        for name, content in document.items():
            if name not in TABLES:
                self.report((name,), _unknown_table(name))
            elif isinstance(content, list):
                self.report((name,), f"there is only one of it; write [{name}]")
            elif not isinstance(content, dict):
                self.report((name,), f"must be a table, not {type_name(content)}; write [{name}] above its keys")
            else:
                tables[name] = self.read_table(name, content)
        description = Description(**tables, source=self.path)
        self.check_network(description.network)
        return self.resolve_ports(description)

    def read_table(self, name: str, content: Mapping[str, Any]) -> Any:
        table = TABLES[name]
        rules = rules_of(table)
        values: dict[str, Any] = {}
        for key, value in content.items():
            if key not in rules:
                self.report((name, key), _unknown_key(name, key))
                continue
            try:
                values[key] = rules[key].kind.read(value)
            except ValueError as error:
                self.report((name, key), str(error))
        if table is Ports:
            return Ports(**values, explicit=frozenset(values))
        return table(**values)

    def resolve_ports(self, description: Description) -> Description:
        # A wrong value was replaced by its default: what that clashes with is not the user's doing.
        if self.is_wrong("ports") or self.is_wrong("site"):
            return description
        written = description.ports.explicit
        ports = description.ports.moved(description.site.port_offset)
        for fault in ports.faults():
            own = [name for name in fault.names if name in written]
            self.report(self.written("ports", *own) if own else ("site", "port_offset"), fault.sentence)
        return dataclasses.replace(description, ports=ports)

    def check_network(self, network: Network) -> None:
        if self.is_wrong("network"):
            return
        project = ipaddress.IPv4Network(network.project_cidr)
        provider = ipaddress.IPv4Network(network.provider_cidr)
        if project.overlaps(provider):
            self.report(
                self.written("network", "project_cidr", "provider_cidr"),
                f"project_cidr {project} and provider_cidr {provider} overlap; change one of them",
            )
        if network.project_name == network.provider_name:
            self.report(
                self.written("network", "project_name", "provider_name"),
                f"both networks are named {network.project_name}; give one of them another name",
            )
        least = LOWEST_IPV6_MTU
        if network.project_type == "vxlan":
            least += VXLAN_OVERHEAD[ipaddress.ip_address(network.local_ip).version]
        if network.project_cidr_v6 and network.mtu < least:
            self.report(
                ("network", "mtu"),
                f"must be at least {least} for project_cidr_v6: IPv6 needs {LOWEST_IPV6_MTU} inside"
                " the tunnel; raise it, or leave project_cidr_v6 out",
            )

    def written(self, table: str, *keys: str) -> tuple[str, ...]:
        """Of several keys at odds, the one latest in the file: the one to blame."""
        return max(((table, key) for key in keys), key=lambda path: self.lines.get(path, 0))

    def is_wrong(self, table: str) -> bool:
        return any(problem.key.partition(".")[0] == table for problem in self.problems)

    def line_of(self, path: Sequence[str]) -> int | None:
        """The line of a key, or of what holds it."""
        for length in range(len(path), 0, -1):
            if tuple(path[:length]) in self.lines:
                return self.lines[tuple(path[:length])]
        return None

    def report(self, path: Sequence[str], problem: str) -> None:
        self.problems.append(DescriptionError(self.path, self.line_of(path), dotted(path), problem))


def _unknown_table(name: str) -> str:
    homes = [f"{table}.{name}" for table, content in TABLES.items() if name in rules_of(content)]
    if homes:
        return f"unknown table; did you mean {' or '.join(homes)}?"
    return f"unknown table{did_you_mean(name, TABLES) or f'; there are {listed(TABLES)}'}"


def _unknown_key(table: str, key: str) -> str:
    rules = rules_of(TABLES[table])
    # Maps what people call a key to the key.
    names = {name: name for name in rules}
    for name, rule in rules.items():
        names.update(dict.fromkeys(rule.also, name))
    near = difflib.get_close_matches(key.lower().replace("-", "_"), names, n=1)
    if near:
        return f"unknown key; did you mean {names[near[0]]}?"
    homes = [f"{other}.{key}" for other, content in TABLES.items() if key in rules_of(content)]
    if homes:
        return f"unknown key; did you mean {' or '.join(homes)}?"
    return f"unknown key; there are {listed(rules)}"
