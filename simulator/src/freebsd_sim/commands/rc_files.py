"""The variables of rc.conf(5) files, read without running them: assignments with shell quoting."""

from __future__ import annotations

import re
from pathlib import Path

from freebsd_sim.call import Call

DEFAULTS = "/etc/defaults/rc.conf"
FILES = ("/etc/rc.conf", "/etc/rc.conf.local")
LINE = re.compile(r"^\s*(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)=(.*)$")


def parse_line(line: str, known: dict[str, str]) -> tuple[str, str] | None:
    """Return a variable and its value if the line assigns one; $names are replaced by values known so far."""
    found = LINE.match(line)
    if found is None:
        return None
    name, rest = found[1], found[2]
    value = []
    quote = ""
    index = 0
    while index < len(rest):
        letter = rest[index]
        if quote == "'" or (quote == '"' and letter == "'"):
            if letter == quote:
                quote = ""
            else:
                value.append(letter)
        elif letter == "\\" and index + 1 < len(rest):
            index += 1
            value.append(rest[index])
        elif letter in "'\"":
            quote = "" if quote == letter else letter
        elif letter == "$":
            reference = re.match(r"\$\{?([A-Za-z_][A-Za-z0-9_]*)\}?", rest[index:])
            if reference is None:
                value.append(letter)
            else:
                value.append(known.get(reference[1], ""))
                index += len(reference[0]) - 1
        elif not quote and (letter.isspace() or letter in ";#"):
            break
        else:
            value.append(letter)
        index += 1
    return name, "".join(value)


def read_file(path: Path, known: dict[str, str]) -> dict[str, str]:
    """Return the variables that a file sets; {} when there is no such file."""
    found: dict[str, str] = {}
    try:
        lines = path.read_text(errors="surrogateescape").splitlines()
    except OSError:
        return found
    for line in lines:
        item = parse_line(line, known | found)
        if item is not None:
            found[item[0]] = item[1]
    return found


def read_variables(call: Call, files: tuple[str, ...] = FILES, *, defaults: bool = True) -> dict[str, str]:
    """Return the variables of files in order, over the defaults."""
    found = read_file(call.path(DEFAULTS), {}) if defaults else {}
    for file in files:
        found |= read_file(call.path(file), found)
    return found
