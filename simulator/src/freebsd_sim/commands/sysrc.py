"""sysrc(8): read and edit rc.conf(5) files."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from pathlib import Path

from freebsd_sim.call import Call, CommandExit, Exec, NotSimulated
from freebsd_sim.commands.bsd_options import parse_options
from freebsd_sim.commands.rc_files import DEFAULTS, FILES, LINE, read_file, read_variables
from freebsd_sim.kernel.errors import KernelError

USAGE = """\
Usage: sysrc [OPTIONS] name[[+|-]=value] ...
Try `sysrc --help' for more information."""


@dataclass
class Files:
    """The files in use: those given by -f, or the system's and those of one service."""

    call: Call
    names: tuple[str, ...] = FILES
    given: bool = False
    service: str = ""

    def all(self) -> tuple[str, ...]:
        """Return the files that are read, in order."""
        if self.given or not self.service:
            return self.names
        return (*self.names, f"/etc/rc.conf.d/{self.service}", f"/usr/local/etc/rc.conf.d/{self.service}")

    def values(self) -> dict[str, str]:
        """Return all variables."""
        return read_variables(self.call, self.all(), defaults=not self.given)

    def place(self, name: str) -> str:
        """Return the file that sets a variable last; "" for none."""
        for file in reversed(self.all()):
            if name in read_file(self.call.path(file), {}):
                return file
        if not self.given and name in read_file(self.call.path(DEFAULTS), {}):
            return DEFAULTS
        return ""

    def target(self, name: str) -> str:
        """Return the file where a variable is set from now on."""
        place = self.place(name)
        if place and place != DEFAULTS:
            return place
        for file in self.all()[len(self.names) :] if not self.given else ():
            if self.call.path(file).exists():
                return file
        return self.names[0]


def quote(value: str) -> str:
    """Return a value in double quotes as a shell reads them."""
    return '"' + re.sub(r'(["\\$`])', r"\\\1", value) + '"'


def write_variable(path: Path, name: str, value: str | None) -> None:
    """Set a variable in a file, on its own line if it has one; None removes it. :raises OSError: not writable."""
    lines = path.read_text(errors="surrogateescape").splitlines() if path.exists() else []
    kept = []
    done = value is None
    for line in lines:
        found = LINE.match(line)
        if found is None or found[1] != name:
            kept.append(line)
        elif value is not None and not done:
            kept.append(f"{name}={quote(value)}")
            done = True
    if not done and value is not None:
        kept.append(f"{name}={quote(value)}")
    path.write_text("".join(line + "\n" for line in kept), errors="surrogateescape")


def _delimiter(text: str) -> str:
    first = text[:1]
    return " " if not first or first.isspace() or (first.isascii() and (first.isalnum() or first in "./")) else first


def append(before: str, text: str) -> str:
    """Return a list with the words of another added, as NAME+=VALUE does."""
    delimiter = _delimiter(text)
    words = text.split(delimiter) if delimiter != " " else text.split()
    have = before.split(delimiter) if delimiter != " " else before.split()
    new = before
    for word in words:
        if word and word not in have:
            new += delimiter + word
    return new.removeprefix(delimiter)


def remove(before: str, text: str) -> str:
    """Return a list without the words of another, as NAME-=VALUE does."""
    delimiter = _delimiter(text)
    words = text.split(delimiter) if delimiter != " " else text.split()
    have = before.split(delimiter) if delimiter != " " else before.split()
    return delimiter.join(word for word in have if word and word not in words)


@dataclass
class Run:
    """One run of the command."""

    call: Call
    files: Files
    flags: set[str] = field(default_factory=set)

    @property
    def head(self) -> str:
        """What separates name and value."""
        return "=" if "e" in self.flags else ": "

    def line(self, name: str, value: str) -> str:
        """Return a variable's line as the options say."""
        if "N" in self.flags:
            return name
        shown = "" if "n" in self.flags else name
        if "e" in self.flags:
            return f'{shown}="{value}"' if shown else f'{value}"'
        return f"{shown}: {value}" if shown else value

    def prefix(self, name: str) -> str:
        """Return what -v puts before a line."""
        if "v" not in self.flags:
            return ""
        place = self.files.place(name)
        return f": {place}; " if "e" in self.flags else f"{place}: "

    def show(self, name: str) -> int:
        """Print a variable; 1 when there is none."""
        values = self.files.values()
        if name not in values:
            if not {"i", "q"} & self.flags:
                self.call.err(f"sysrc: unknown variable '{name}'\n")
            return 1
        if "c" in self.flags:
            return 0
        if {"x", "X"} & self.flags:
            return self.delete(name)
        if "F" in self.flags:
            place = self.files.place(name)
            self.call.out(f"{place}\n" if "n" in self.flags else f"{name}: {place}\n")
            return 0
        self.call.out(self.prefix(name) + self.line(name, values[name]) + "\n")
        return 0

    def delete(self, name: str) -> int:
        """Remove a variable from its file; 1 when no file but the defaults has it."""
        place = self.files.place(name)
        if not place or place == DEFAULTS:
            self.call.err(f"sysrc: unknown variable '{name}'\n")
            return 1
        return self._write(place, name, None)

    def _write(self, file: str, name: str, value: str | None) -> int:
        if not self.call.is_root:
            self.call.err(f"sysrc: cannot create {file}: Permission denied\n")
            return 1
        try:
            write_variable(self.call.path(file), name, value)
        except OSError:
            self.call.err(f"sysrc: cannot create {file}: No such file or directory\n")
            return 1
        return 0

    def assign(self, name: str, mode: str, text: str) -> int:
        """Set a variable and print what it was and is."""
        values = self.files.values()
        before = values.get(name, "")
        if {"x", "X"} & self.flags:
            return self.delete(name)
        if "c" in self.flags:
            return self._compare(name, values.get(name), text)
        new = append(before, text) if mode == "+" else remove(before, text) if mode == "-" else text
        prefix = ""
        if "v" in self.flags:
            target = self.files.target(name)
            prefix = f": {target}; " if "e" in self.flags else f"{target}: "
        old = self.files.place(name) if "F" in self.flags else before
        if self._write(self.files.target(name), name, new):
            return 1
        if "q" in self.flags:
            return 0
        if "N" in self.flags:
            self.call.out(f"{prefix}{name}\n")
            return 0
        now = self.files.place(name) if "F" in self.flags else self.files.values().get(name, "")
        shown = "" if "n" in self.flags else name
        if "e" in self.flags:
            self.call.out(f'{prefix}{shown}="{old}" # -> "{now}"\n')
        else:
            self.call.out(f"{prefix}{shown + ': ' if shown else ''}{old} -> {now}\n")
        return 0

    def _compare(self, name: str, before: str | None, text: str) -> int:
        verbose = "v" in self.flags
        if before is None:
            if verbose:
                self.call.out(f"{name}: not currently set\n")
            return 1
        if before == text:
            if verbose:
                self.call.out(f"{self.files.place(name)}: {name}: already set to `{text}'\n")
            return 0
        if verbose:
            self.call.out(f"{self.files.place(name)}: {name}: would change from `{before}' to `{text}'\n")
        return 1


def main(call: Call) -> int | Exec:
    """Run the command; the exit status is 1 when anything failed."""
    options, words = parse_options(call, "aAcdDeEf:Fhij:lLnNqR:s:vxX", USAGE)
    flags = {letter for letter, _ in options}
    files = Files(call)
    given = tuple(value for letter, value in options if letter == "f")
    if given:
        files = replace(files, names=given, given=True)
    for letter, value in options:
        if letter == "s":
            files.service = value
        if letter == "j":
            try:
                jail = call.kernel.jails.get(value, call.jail)
            except KernelError as error:
                raise CommandExit(1, f"jexec: {error.text}") from None
            if jail.path != "/":
                raise NotSimulated("sysrc: -j with a jail that has a root of its own")
    for letter in "dDLR":
        if letter in flags:
            raise NotSimulated(f"sysrc: -{letter}")
    run = Run(call, files, flags)
    if "l" in flags:
        for file in files.all():
            if "E" not in flags or call.path(file).exists():
                call.out(f"{file}\n")
        return 0
    if flags & {"a", "A"}:
        for name, value in sorted(read_variables(call, files.all(), defaults="A" in flags).items()):
            call.out(run.prefix(name) + run.line(name, value) + "\n")
        return 0
    if not words:
        raise CommandExit(1, USAGE)
    status = 0
    for word in words:
        name, equals, text = word.partition("=")
        mode = ""
        if name[-1:] in ("+", "-"):
            name, mode = name[:-1], name[-1]
        with call.kernel.lock:
            status |= run.assign(name, mode, text) if equals else run.show(name)
    return status
