"""The machine's processes and interfaces as the checks see them, and the commands that mend them."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Process:
    """One process of this host: pid, parent's pid, arguments, and the inode of its network namespace."""

    pid: int
    parent: int
    argv: tuple[str, ...]
    namespace: int | None


@dataclass(frozen=True)
class Link:
    """One network interface: its name, flags as ip(8) names them, and addresses with prefix."""

    name: str
    flags: frozenset[str]
    addresses: tuple[str, ...] = ()

    @property
    def up(self) -> bool:
        """Whether it is set up."""
        return "UP" in self.flags

    @property
    def carrier(self) -> bool:
        """Whether something is at its other end."""
        return "LOWER_UP" in self.flags


@dataclass(frozen=True)
class Words:
    """Commands for an administrator, by kind of host; the first argument is an interface, a namespace or a guest."""

    raise_link: str
    delete_link: str
    set_address: str
    delete_namespace: str
    forget_guest: str


WORDS = {
    "linux": Words(
        "ip link set dev {} up", "ip link delete dev {}", "ip address replace {1} dev {0}",
        "ip netns pids {0} | xargs -r kill; ip netns delete {0}",
        "undefine --nvram {}",
    ),
    "freebsd": Words("ifconfig {} up", "ifconfig {} destroy", "ifconfig {} inet {} alias", "jail -R {}", "undefine {}"),
}  # fmt: skip


def read_process(entry: Path) -> Process:
    """Return what a process's directory below /proc says of it.

    :raises OSError: it is gone
    """
    fields = (entry / "stat").read_text().rpartition(")")[2].split()
    argv = tuple((entry / "cmdline").read_bytes().decode(errors="replace").rstrip("\0").split("\0"))
    namespace = None
    with contextlib.suppress(OSError):
        match = re.fullmatch(r"net:\[(\d+)\]", os.readlink(entry / "ns" / "net"))
        namespace = int(match.group(1)) if match else None
    return Process(int(entry.name), int(fields[1]), argv, namespace)


def descendants(processes: Sequence[Process], pids: Iterable[int]) -> set[int]:
    """Return the pids of all processes below some."""
    children: dict[int, list[int]] = {}
    for one in processes:
        children.setdefault(one.parent, []).append(one.pid)
    found: set[int] = set()
    queue = list(pids)
    while queue:
        below = [pid for pid in children.get(queue.pop(), []) if pid not in found]
        found.update(below)
        queue += below
    return found
