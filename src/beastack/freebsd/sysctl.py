"""Kernel state by name: reading many names at once, and writing.

sysctl(8) prints no structured form, so what it prints as ``NAME: VALUE`` is
taken apart here, and the text of a value is turned into a number only where
the caller asks for one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from beastack.freebsd import command
from beastack.freebsd.command import CommandError, Result
from beastack.freebsd.errors import (
    InvalidArgument,
    JailDying,
    JailNotFound,
    PermissionDenied,
    SysctlNotFound,
    SysctlReadOnly,
    translate,
)

# What sysctl(8) prints when it refuses (sbin/sysctl/sysctl.c).
_REFUSALS: tuple[tuple[str, type[CommandError]], ...] = (
    ("unknown oid", SysctlNotFound),
    ("is a read only tunable", SysctlReadOnly),
    ("is read only", SysctlReadOnly),
    ("isn't a leaf node", InvalidArgument),
    ("sysctl: invalid ", InvalidArgument),
    ("empty numeric value", InvalidArgument),
    ("cannot set that", InvalidArgument),
    (": Invalid argument", InvalidArgument),
    (": Result too large", InvalidArgument),
    ("Operation not permitted", PermissionDenied),
    (" not found", JailNotFound),
    (" is dying", JailDying),
)


@dataclass(frozen=True)
class Values:
    """What one reading gave: the text of each name that exists."""

    texts: Mapping[str, str]

    def __contains__(self, name: object) -> bool:
        return name in self.texts

    def __iter__(self) -> Iterator[str]:
        return iter(self.texts)

    def text(self, name: str) -> str:
        """Return a value as sysctl(8) prints it.

        :raises KeyError: the name was not read, or was missing and allowed to be
        """
        return self.texts[name]

    def integer(self, name: str) -> int:
        """Return a value as a number; hexadecimal ones start with 0x.

        :raises KeyError: as ``text``
        :raises ValueError: the value is no integer
        """
        return parse_integer(self.texts[name])

    def integers(self, name: str) -> tuple[int, ...]:
        """Return an array (``kern.cp_time``) as numbers.

        :raises KeyError: as ``text``
        :raises ValueError: some element is no integer
        """
        return tuple(parse_integer(word) for word in self.texts[name].split())


def parse_integer(text: str) -> int:
    """Read one number as sysctl(8) prints it: decimal, or hexadecimal after 0x."""
    text = text.strip()
    return int(text, 16) if text.lower().startswith(("0x", "-0x")) else int(text)


def parse_values(output: str, names: Sequence[str]) -> Values:
    """Take ``NAME: VALUE`` output apart; a value may run over several lines."""
    wanted = set(names)
    texts: dict[str, list[str]] = {}
    current: list[str] | None = None
    for line in output.split("\n"):
        name, separator, value = line.partition(":")
        if separator and name in wanted and name not in texts:
            current = texts.setdefault(name, [value.removeprefix(" ")])
        elif current is not None:
            current.append(line)
    return Values({name: "\n".join(lines).rstrip("\n") for name, lines in texts.items()})


def read_values(names: Sequence[str], *, optional: Sequence[str] = (), jail: str | None = None) -> Values:
    """Read any number of leaf names with one command.

    :param optional: further names, left out of the answer when they do not exist
    :param jail: read inside this jail (its network stack's values)
    :raises SysctlNotFound: a name of ``names`` does not exist, or has no value that can be printed
    :raises JailNotFound, JailDying: there is no such jail; it is being removed
    """
    everything = [*names, *optional]
    argv = _sysctl(["-i"] if optional else [], everything, jail)
    result = _run(argv)
    values = parse_values(result.stdout, everything)
    absent = [name for name in names if name not in values]
    if absent:
        # With -i, or for a value the caller may not see, the name is left out without a word and with status 0.
        raise SysctlNotFound(argv, result.status, result.stdout, f"sysctl: no value for {', '.join(absent)}")
    return values


def read_text(name: str, *, jail: str | None = None) -> str:
    """Read one name as text; raises as ``read_values``."""
    return read_values([name], jail=jail).text(name)


def read_integer(name: str, *, jail: str | None = None) -> int:
    """Read one name as a number; raises as ``read_values``, and ValueError for no number."""
    return read_values([name], jail=jail).integer(name)


def read_integers(name: str, *, jail: str | None = None) -> tuple[int, ...]:
    """Read one name as numbers; raises as ``read_values``, and ValueError for no numbers."""
    return read_values([name], jail=jail).integers(name)


def write_values(values: Mapping[str, str | int], *, jail: str | None = None) -> None:
    """Write names with one command; a refusal of one does not stop the others.

    sysctl(8) exits with the number of names it could not write, so a failure
    here may mean that some were written.

    :raises SysctlNotFound: a name does not exist
    :raises SysctlReadOnly: a name can never be written, or only by the boot loader
    :raises InvalidArgument: no number where one is needed, out of range, or not a leaf
    :raises PermissionDenied: not root, or the jail may not write it
    :raises JailNotFound, JailDying: there is no such jail; it is being removed
    """
    _run(_sysctl([], [f"{name}={value}" for name, value in values.items()], jail))


def write_value(name: str, value: str | int, *, jail: str | None = None) -> None:
    """Write one name; raises as ``write_values``."""
    write_values({name: value}, jail=jail)


def _sysctl(options: Sequence[str], words: Sequence[str], jail: str | None) -> list[str]:
    # sysctl -j came with 14.3; earlier releases have no other way than jexec(8).
    inside = [] if jail is None else ["-j", jail]
    return ["sysctl", *inside, *options, *words]


def _run(argv: Sequence[str]) -> Result:
    try:
        return command.run(argv)
    except CommandError as error:
        if error.status is None:
            raise
        raise translate(error, _REFUSALS) from None
