"""What a jail is: its record, and what follows from where it stands in the tree."""

from __future__ import annotations

from dataclasses import dataclass, field

from freebsd_sim.kernel.stack import Stack


@dataclass(eq=False)
class Jail:
    """A jail, or the host itself (jid 0, no parent).

    ``name`` is the full hierarchical name ("a.b"); ``parameters`` has the
    textual values of all parameters that are not attributes here.
    """

    jid: int
    name: str
    parent: Jail | None
    path: str
    stack: Stack
    vnet: bool
    persist: bool = False
    children_max: int = 0
    dying: bool = False
    cpuset: int = 0
    awaited: bool = False  # made without persist for a process that has not entered yet
    parameters: dict[str, str] = field(default_factory=dict)

    @property
    def label(self) -> str:
        """The last part of the name."""
        return self.name.rpartition(".")[2]

    @property
    def network(self) -> Jail:
        """The jail whose stack this one uses: itself, or the nearest one above that has its own."""
        jail = self
        while not jail.vnet and jail.parent is not None:
            jail = jail.parent
        return jail

    @property
    def host_owner(self) -> Jail:
        """The jail whose hostname and hostuuid this one uses."""
        jail = self
        while jail.parent is not None and jail.parameters["host"] == "inherit":
            jail = jail.parent
        return jail

    @property
    def hostname(self) -> str:
        """What hostname(1) prints inside."""
        return self.host_owner.parameters["host.hostname"]

    @hostname.setter
    def hostname(self, value: str) -> None:
        self.host_owner.parameters["host.hostname"] = value

    @property
    def hostuuid(self) -> str:
        """What kern.hostuuid is inside."""
        return self.host_owner.parameters["host.hostuuid"]

    def allows(self, what: str) -> bool:
        """Tell whether allow.WHAT is on; the host may do everything."""
        return self.parent is None or self.parameters.get(f"allow.{what}") == "true"

    def is_inside(self, other: Jail) -> bool:
        """Tell whether this jail is a descendant of another one."""
        jail = self.parent
        while jail is not None and jail is not other:
            jail = jail.parent
        return jail is not None
