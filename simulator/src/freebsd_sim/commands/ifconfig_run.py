"""What one ifconfig(8) command line has gathered so far, and how it fails."""

from __future__ import annotations

import ipaddress
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from freebsd_sim.call import Call, CommandExit
from freebsd_sim.kernel import interface_addresses
from freebsd_sim.kernel.errors import KernelError
from freebsd_sim.kernel.interface_macs import make_random
from freebsd_sim.kernel.interface_model import IFF_LOOPBACK, Address, Interface, IPAddress
from freebsd_sim.kernel.interfaces import Interfaces
from freebsd_sim.kernel.jails import Jail

LINK_FAMILIES = ("link", "ether", "lladdr")
FAMILIES = ("inet", "inet6", *LINK_FAMILIES)
Result = TypeVar("Result")


def fail(text: str) -> CommandExit:
    """Return the exception that ends ifconfig with a message."""
    return CommandExit(1, f"ifconfig: {text}")


@dataclass
class Clone:
    """Parameters that a cloner wants when it creates: those of vlan and vxlan."""

    tag: int | None = None
    device: str = ""
    protocol: str = "802.1q"
    pcp: int = 0
    vxlan: dict[str, object] = field(default_factory=dict)


@dataclass
class Run:
    """The state of one command line; it begins anew for each interface that it is applied to."""

    call: Call
    jail: Jail
    name: str
    family: str = "inet"
    setaddr: int = 0
    doalias: int = 0
    clearaddr: bool = False
    newaddr: bool = True
    address: IPAddress | None = None
    old_address: IPAddress | None = None
    mac: str | None = None
    prefixlen: int | None = None
    broadcast: ipaddress.IPv4Address | None = None
    destination: IPAddress | None = None
    words: list[str] = field(default_factory=list)
    pltime: int | None = None
    vltime: int | None = None
    clone: Clone = field(default_factory=Clone)
    printed: str = ""

    @property
    def interfaces(self) -> Interfaces:
        """The kernel's interfaces."""
        return self.call.kernel.interfaces

    def interface(self) -> Interface:
        """Return the interface that is meant now. :raises KernelError: ENXIO"""
        return self.interfaces.get(self.jail, self.name)

    def use_name(self, name: str) -> None:
        """Go on with another name, which is printed at the end."""
        self.name = self.printed = name

    def attempt(self, label: str, func: Callable[..., Result], *args: object, root: bool = True) -> Result:
        """Do a system call; its refusal ends the command with err(3)."""
        try:
            if root and not self.call.is_root:
                raise KernelError("EPERM")
            return func(*args)
        except KernelError as error:
            raise fail(f"{label}: {error.text}") from error

    def attempt_plain(self, label: str, func: Callable[..., Result], *args: object, root: bool = True) -> Result:
        """Do a system call whose refusal ends the command by Perror(), which has words of its own."""
        try:
            if root and not self.call.is_root:
                raise KernelError("EPERM")
            return func(*args)
        except KernelError as error:
            own = {"ENXIO": "no such interface", "EPERM": "permission denied"}
            raise fail(f"{label}: {own.get(error.name, error.text)}") from error

    def warn(self, text: str) -> None:
        """Print a warning."""
        self.call.err(f"ifconfig: {text}\n")

    # Addresses.

    def take_address(self, text: str) -> None:
        """Take a word that is no parameter: the address, or the destination when there is one."""
        if self.setaddr:
            self.destination = self._parse(text)
            return
        self.setaddr += 1
        if self.family in LINK_FAMILIES:
            self.mac = self._parse_mac(text)
            return
        if self.doalias == 0:
            self.clearaddr = True
        address = self._parse_with_length(text, self.doalias >= 0)
        if self.doalias >= 0:
            self.address = address
        else:
            self.old_address = address

    def note_alias(self, sign: int) -> None:
        """Take alias (1) or -alias (-1)."""
        if self.setaddr and self.doalias == 0 and sign < 0:
            self.old_address = self.address
        self.doalias = sign
        self.clearaddr = sign < 0
        if sign < 0:
            self.newaddr = False

    def _parse_mac(self, text: str) -> str:
        if text == "random":
            return make_random()
        if not re.fullmatch(r"[0-9a-fA-F]{1,2}([:-][0-9a-fA-F]{1,2}){5}", text):
            raise fail("malformed link-level address")
        return ":".join(f"{int(part, 16):02x}" for part in re.split("[:-]", text))

    def _parse_with_length(self, text: str, keep: bool) -> IPAddress:
        host, slash, length = text.rpartition("/")
        if not slash:
            return self._parse(text)
        if self.family == "inet":
            if not length[:1].isdigit() or not length.isdigit():
                raise fail(f"{text}: bad value (width invalid)")
            if int(length) > 32:
                raise fail(f"{text}: bad value (width too large)")
            self.prefixlen = int(length)
        else:
            self.take_prefixlen(length)
        del keep
        return self._parse(host)

    def take_prefixlen(self, text: str) -> None:
        """Take the length of an IPv6 prefix; IPv4 has no such word and ignores it."""
        if self.family != "inet6":
            return
        digits = re.match(r"\s*-?\d+", text)
        number = int(digits.group()) if digits else 0
        if not 0 <= number <= 128:
            raise fail(f"{text}: bad value")
        self.prefixlen = number or 128

    def _parse(self, text: str) -> IPAddress:
        try:
            if self.family == "inet6":
                return ipaddress.IPv6Address(text.partition("%")[0])
            return _parse_inet(text)
        except ValueError:
            raise fail(f"{text}: bad value") from None

    def take_netmask(self, text: str) -> None:
        """Take a mask: dotted, hexadecimal or a number."""
        if self.family in LINK_FAMILIES:
            raise fail("can't set link-level netmask or broadcast")
        if self.family == "inet6":
            mask = self._parse(text)
            self.prefixlen = bin(int(mask)).count("1")
        else:
            self.prefixlen = bin(int(self._parse(text))).count("1")

    def take_broadcast(self, text: str) -> None:
        """Take a broadcast address."""
        if self.family != "inet":
            raise (
                fail("can't set link-level netmask or broadcast")
                if self.family in LINK_FAMILIES
                else fail(f"{text}: bad value")
            )
        parsed = self._parse(text)
        assert isinstance(parsed, ipaddress.IPv4Address)
        self.broadcast = parsed

    def finish(self) -> None:
        """Do the address operation of the line, which comes after everything else."""
        if self.family in LINK_FAMILIES:
            if self.newaddr and self.mac is not None:
                mac = self.mac
                self.attempt("ioctl (SIOCAIFADDR)", lambda: self.interfaces.set_mac(self.interface(), mac))
            return
        if self.family == "inet" and self.address is not None and self.prefixlen is None and self.newaddr:
            self._guess_mask()
        if self.family == "inet6" and self.prefixlen is None:
            self.prefixlen = 64
        if self.clearaddr:
            self._delete()
        if self.newaddr and self.address is not None:
            self.attempt("ioctl (SIOCAIFADDR)", self._add)

    def _guess_mask(self) -> None:
        flags = self.interface().flags if self._exists() else 0
        if not flags & IFF_LOOPBACK:
            self.warn(
                "WARNING: setting interface address without mask is deprecated,\ndefault mask may not be correct."
            )
        first = int(self.address or 0) >> 24
        self.prefixlen = 8 if first < 128 else 16 if first < 192 else 24

    def _exists(self) -> bool:
        return any(item.name == self.name for item in self.interfaces.list(self.jail))

    def _delete(self) -> None:
        wanted = self.old_address
        if self.family == "inet6" and wanted is None:
            # The request for deletion is the one for adding: only the same address is replaced.
            return

        def delete() -> None:
            if wanted is None:
                interface_addresses.delete_first(self.interfaces, self.interface(), self.family)
            else:
                interface_addresses.delete(self.interfaces, self.interface(), wanted)

        self.attempt("ioctl (SIOCDIFADDR)", delete)

    def _add(self) -> None:
        assert self.address is not None and self.prefixlen is not None
        record: Address = interface_addresses.make_address(
            self.address, self.prefixlen, self.broadcast, self.destination
        )
        record.words = list(self.words)
        now = int(time.time())
        record.pltime = None if self.pltime is None else now + self.pltime
        record.vltime = None if self.vltime is None else now + self.vltime
        interface_addresses.add(self.interfaces, self.interface(), record)


def _parse_inet(text: str) -> ipaddress.IPv4Address:
    """Parse as inet_aton(3) does: one to four numbers, each decimal, octal or hexadecimal."""
    parts = text.split(".")
    if not 1 <= len(parts) <= 4:
        raise ValueError(text)
    numbers = []
    for part in parts:
        if not re.fullmatch(r"0[xX][0-9a-fA-F]+|[0-9]+", part):
            raise ValueError(text)
        base = 16 if part[:2].lower() == "0x" else 8 if part[0] == "0" and len(part) > 1 else 10
        numbers.append(int(part, base))
    tail_limit = 1 << (8 * (5 - len(parts)))
    if any(number > 255 for number in numbers[:-1]) or numbers[-1] >= tail_limit:
        raise ValueError(text)
    value = numbers[-1]
    for position, number in enumerate(numbers[:-1]):
        value |= number << (24 - 8 * position)
    return ipaddress.IPv4Address(value)


__all__ = ["FAMILIES", "LINK_FAMILIES", "Clone", "Run", "fail"]
