"""The file of the hosts that ``beastack host add`` added to this site's cloud; it is on the control host."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

from beastack.site.layout import Layout


class OtherHostError(Exception):
    """Another host cannot be added or removed; one line says why and what to do."""


@dataclass(frozen=True)
class Member:
    """A host that was added: its role, its address with prefix, when (seconds since 1970), and its broker password.

    Without the password it uses a broker that is not the site's own.
    """

    role: str
    address: str
    added: int
    broker_password: str | None = field(default=None, repr=False)

    @property
    def has_guests(self) -> bool:
        """Whether instances are on it."""
        return "compute" in self.role.split("+")


def registry(layout: Layout) -> Path:
    """Return the file of the hosts that were added."""
    return layout.root / "hosts.json"


def count_guest_hosts(layout: Layout) -> int:
    """Return how many of the hosts that were added have guests.

    :raises OtherHostError: the file is damaged
    """
    return sum(member.has_guests for member in read_members(layout).values())


def read_members(layout: Layout) -> dict[str, Member]:
    """Return the hosts that were added, by name.

    :raises OtherHostError: the file is damaged
    """
    try:
        text = registry(layout).read_text()
    except FileNotFoundError:
        return {}
    try:
        return {name: Member(**member) for name, member in json.loads(text).items()}
    except (ValueError, TypeError, AttributeError) as error:
        raise OtherHostError(f"{registry(layout)} is damaged: restore it from a backup, or remove it") from error
