"""sysctl(8): get and set kernel state."""

from __future__ import annotations

from freebsd_sim.call import Call, CommandExit, NotSimulated
from freebsd_sim.commands.bsd_options import parse_options
from freebsd_sim.kernel.errors import KernelError
from freebsd_sim.kernel.jails import Jail
from freebsd_sim.kernel.sysctls import TYPE_NAMES, Variable, format_value, parse_value

USAGE = (
    "usage: sysctl [-j jail] [-bdeFhiJlNnoqTtVWx] [ -B <bufsize> ] [-f filename] name[=value] ...\n"
    "       sysctl [-j jail] [-bdeFhJlNnoqTtVWx] [ -B <bufsize> ] -a"
)
# Nodes whose leaves are numbered by process and binary.
BINARY_NODES = ("kern.proc",)


class Sysctl:
    """One run of the command."""

    def __init__(self, call: Call, flags: set[str], jail: Jail) -> None:
        self.call = call
        self.flags = flags
        self.jail = jail

    def report(self, text: str) -> None:
        """Print a complaint."""
        self.call.err(f"sysctl: {text}\n")

    def wanted(self, variable: Variable) -> bool:
        """Tell whether a listing shows a variable."""
        if "T" in self.flags and not variable.tunable:
            return False
        if "W" in self.flags and not (variable.writable and not variable.tunable):
            return False
        if "V" in self.flags and not variable.vnet:
            return False
        if "J" in self.flags and not variable.prison:
            return False
        return not variable.hidden

    def show_text(self, variable: Variable) -> str | None:
        """Return a variable as the options say, without the newline; None when its value cannot be shown."""
        name = variable.name
        if "N" in self.flags:
            return name
        head = "" if "n" in self.flags else name + ("=" if "e" in self.flags else ": ")
        if "t" in self.flags:
            return head + TYPE_NAMES[variable.kind]
        if "F" in self.flags:
            return head + variable.format
        if "d" in self.flags:
            return head + variable.description
        value = variable.read(self.jail)
        text = format_value(variable, value, hexadecimal="x" in self.flags, grouped="h" in self.flags)
        return head + text

    def show(self, variable: Variable) -> None:
        """Print a variable on a line."""
        text = self.show_text(variable)
        if text is not None:
            self.call.out(text + "\n")

    def list_below(self, prefix: str) -> None:
        """Print all variables of a node."""
        lines = [self.show_text(item) for item in self.call.kernel.sysctls.below(prefix) if self.wanted(item)]
        self.call.out("".join(f"{line}\n" for line in lines if line is not None))

    def handle(self, word: str, place: str = "") -> int:
        """Handle NAME or NAME=VALUE and return 1 for a failure, else 0."""
        name, value = _split_assignment(word)
        sysctls = self.call.kernel.sysctls
        try:
            variable = sysctls.find(name)
        except KernelError:
            return self._handle_node(name, value, place)
        if value is None or "d" in self.flags:
            self.show(variable)
            return 0
        return self._set(variable, word, value, place)

    def _handle_node(self, name: str, value: str | None, place: str) -> int:
        if name in BINARY_NODES or any(name == f"{node}.{leaf}" for node in BINARY_NODES for leaf in ("args", "pid")):
            raise NotSimulated(f"sysctl: {name}")
        if name and self.call.kernel.sysctls.below(name):
            if value is not None:
                self.report(f"oid '{name}' isn't a leaf node{place}")
                return 1
            if "d" in self.flags:
                self.call.out("" if "n" in self.flags else f"{name}: \n")
            self.list_below(name)
            return 0
        if "i" in self.flags:
            return 0
        if "q" not in self.flags:
            self.report(f"unknown oid '{name}'{place}")
        return 1

    def _set(self, variable: Variable, word: str, text: str, place: str) -> int:
        if not variable.writable:
            if variable.tunable:
                self.report(f"oid '{variable.name}' is a read only tunable{place}")
                self.report(f"Tunable values are set in /boot/loader.conf{place}")
            else:
                self.report(f"oid '{variable.name}' is read only{place}")
            return 1
        try:
            value = parse_value(variable, text)
        except ValueError as error:
            self.report(f"{error}{place}")
            return 1
        before = self.show_text(variable)
        quiet = "q" in self.flags
        try:
            self.call.kernel.sysctls.write(variable.name, value, self.jail, self.call.uid)
        except KernelError as error:
            if before is not None and not quiet:
                self.call.out(f"{before}\n")
            self.report(f"{word}: {error.text}{place}")
            return 1
        if not quiet:
            after = format_value(variable, variable.read(self.jail), hexadecimal="x" in self.flags)
            self.call.out(f"{before or ''} -> {after}\n")
        return 0


def _split_assignment(word: str) -> tuple[str, str | None]:
    for index, letter in enumerate(word):
        if letter in "=:":
            value = word[index + 1 :].lstrip()
            if len(value) > 1 and value[0] in "'\"" and value[-1] == value[0]:
                value = value[1:-1]
            return word[:index].strip(), value.rstrip()
    return word.strip(), None


def _read_file(call: Call, name: str) -> list[tuple[str, int]]:
    """Return the settings of a sysctl.conf(5) and their line numbers."""
    try:
        lines = call.path(name).read_text().splitlines()
    except OSError as error:
        raise CommandExit(1, f"sysctl: {name}: {error.strerror}") from None
    found = []
    for number, line in enumerate(lines, 1):
        text = line.partition("#")[0].strip()
        if text:
            found.append((text, number))
    return found


def main(call: Call) -> int:
    """Run the command; the exit status is the number of names that failed."""
    options, words = parse_options(call, "AaB:bdeFf:hiJj:lNnoqTtVWwxX", USAGE)
    flags = {letter for letter, _ in options}
    if {"b", "l", "o"} & flags - {"a", "A"} and not {"a", "A", "X"} & flags:
        raise NotSimulated("sysctl: -b, -l and -o")
    if "N" in flags and "n" in flags:
        raise CommandExit(1, USAGE)
    jail = call.jail
    for letter, value in options:
        if letter == "j":
            jail = _attach(call, value)
    files = [value for letter, value in options if letter == "f"]
    with call.kernel.lock:
        run = Sysctl(call, flags, jail)
        if not words and not files:
            if not {"a", "A", "X"} & flags and not {"T", "W", "V", "J"} & flags:
                raise CommandExit(1, USAGE)
            run.list_below("")
            return 0
        failures = 0
        for file in files:
            for text, number in _read_file(call, file):
                failures += run.handle(text, f" at line {number}")
        for word in words:
            failures += run.handle(word)
    return min(failures, 255)


def _attach(call: Call, name: str) -> Jail:
    try:
        jail = call.kernel.jails.get(name, call.jail)
    except KernelError as error:
        raise CommandExit(1, f"sysctl: {error.text}") from None
    if not call.is_root:
        raise CommandExit(1, f"sysctl: jail_attach({jail.jid}): Operation not permitted")
    return jail
