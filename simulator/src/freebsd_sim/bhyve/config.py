"""bhyve's configuration variables, as bhyve_config(5) names them: a flat map in the order they were set."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from freebsd_sim.bhyve.errors import ERROR, BhyveExit, errx

TRUE = ("true", "on", "yes", "1")
FALSE = ("false", "off", "no", "0")
UNITS = {"": 0, "b": 0, "k": 10, "m": 20, "g": 30, "t": 40, "p": 50, "e": 60}


class Config:
    """Variables and their values; a value may name others as ``%(name)``."""

    def __init__(self, values: Mapping[str, str] | None = None) -> None:
        self.values: dict[str, str] = dict(values or {})

    def set(self, name: str, value: str) -> None:
        """Set a variable; a later value wins."""
        self.values[name] = value

    def get(self, name: str, default: str | None = None) -> str | None:
        """Return a variable's value with the variables in it expanded, or the default."""
        value = self.values.get(name)
        return default if value is None else self._expand(value, frozenset({name}))

    def get_bool(self, name: str, *, default: bool) -> bool:
        """Return a variable as a boolean.

        :raises BhyveExit: it is neither true nor false
        """
        value = self.get(name)
        if value is None:
            return default
        if value.lower() in TRUE:
            return True
        if value.lower() in FALSE:
            return False
        raise errx(ERROR, f"Invalid value for boolean variable {name}: '{value}'")

    def below(self, prefix: str) -> dict[str, str]:
        """Return the expanded variables whose names begin with ``prefix`` and a dot, without that."""
        names = [name for name in self.values if name.startswith(prefix + ".")]
        return {name[len(prefix) + 1 :]: self.get(name) or "" for name in names}

    def dump(self) -> str:
        """Return what ``-o config.dump=1`` prints."""
        return "".join(f"{name}={value}\n" for name, value in self.values.items())

    def devices(self) -> Iterator[tuple[tuple[int, int, int], dict[str, str]]]:
        """Return bus, slot and function of each PCI device, in that order, with its variables."""
        found = {
            tuple(int(number) for number in match.groups())
            for match in (re.match(r"pci\.(\d+)\.(\d+)\.(\d+)\.device$", name) for name in self.values)
            if match
        }
        for bus, slot, function in sorted(found):
            yield (bus, slot, function), self.below(f"pci.{bus}.{slot}.{function}")

    def _expand(self, value: str, seen: frozenset[str]) -> str:
        def replace(match: re.Match[str]) -> str:
            name = match[1]
            if name is None:
                return "%"
            if name in seen:
                raise errx(ERROR, f"Invalid recursive variable reference: {name}")
            inner = self.values.get(name)
            return "" if inner is None else self._expand(inner, seen | {name})

        return re.sub(r"%(?:%|\(([^)]*)\))", replace, value)


def parse_file(config: Config, path: str, text: str) -> None:
    """Set the variables of a configuration file (-k).

    :raises BhyveExit: a line is not ``name=value``
    """
    for number, line in enumerate(text.splitlines(), 1):
        if not line or line.startswith("#"):
            continue
        name, equals, value = line.partition("=")
        if not equals or not value:
            raise errx(ERROR, f"{path} line {number}: invalid config option '{line}'")
        config.set(name, value)


def parse_number(name: str, value: str) -> int:
    """Return a count of processors, sockets, cores or threads.

    :raises BhyveExit: it is no number from 1 to 65535
    """
    try:
        number = int(value, 0)
    except ValueError:
        number = 0
    if not 1 <= number <= 0xFFFF:
        raise errx(ERROR, f"Invalid value for {name}: '{value}'")
    return number


def parse_memory(value: str) -> int | None:
    """Return bytes for a size such as "512", "2G" or "1048576"; None when it is no size.

    A bare number below one mebibyte counts mebibytes.
    """
    match = re.fullmatch(r"(0[xX][0-9a-fA-F]+|\d+)([bkmgtpeBKMGTPE]?)", value)
    if match is None:
        return None
    number = int(match[1], 16) if match[1][:2] in ("0x", "0X") else int(match[1])
    if match[2] == "" and number < 1 << 20:
        return number << 20
    return number << UNITS[match[2].lower()]


def compute_topology(config: Config) -> tuple[int, int, int, int]:
    """Return the numbers of virtual processors, sockets, cores and threads.

    :raises BhyveExit: they do not agree
    """
    given = config.get("cpus")
    cpus = parse_number("cpus", given) if given is not None else 1
    cores = parse_number("cores", config.get("cores", "1") or "")
    threads = parse_number("threads", config.get("threads", "1") or "")
    sockets = parse_number("sockets", config.get("sockets", str(cpus)) or "")
    product = sockets * cores * threads
    if product > 0xFFFF:
        raise errx(ERROR, "Computed number of vCPUs too large")
    if given is not None and product != cpus:
        raise errx(
            ERROR,
            f"Topology ({sockets} sockets, {cores} cores, {threads} threads) does not match {cpus} vCPUs",
        )
    return product, sockets, cores, threads


def check_dump(config: Config) -> None:
    """Print all variables and end, when ``config.dump`` asks for it.

    :raises BhyveExit: it does
    """
    if config.get_bool("config.dump", default=False):
        raise BhyveExit(1, out=config.dump())
