"""The calls of a spawn and of a delete before which nova-compute is killed, and how instances come to be held at them.

Each instance has an image of its own, so that all make the same calls: the
image is fetched, converted and cached for each, and none waits for another's.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from conftest import eventually
from crash_lab import LIMIT, Lab
from freebsd_guests import Guest, wait

OPERATIONS = ("spawn", "delete")
#: Instances that are held at once: nova-compute makes no more than ten, and each is a guest to be emulated.
AT_ONCE = 8
#: What only reads.
READS = re.compile(r"\tlibvirt vir(Connect|Domain)(Get|Lookup|Free|IsAlive|List)")
#: Made again and again until something has come about, by some instances more often than by others.
POLLS = re.compile(r"run (ps|ifconfig) |privileged .*read_guest_log")
#: Calls under a lock, of all images or of starts, or in one of the few threads of the privileged daemon: who is held
#: there keeps others from coming that far.
UNDER_LOCK = re.compile(r"storage-registry-lock|CreateWithFlags|as root: ")
#: Without --every-call: what changes something, and is not next to another such.
SAMPLE = {
    "spawn": re.compile(r"1\tremove .*directio|run cp |ovsdb DelPort|DefineXML|CreateWithFlags|2\trun ps"),
    "delete": re.compile(r"virDomainDestroy|ovsdb DelPort|remove disk|UndefineFlags|connect to control"),
}


@dataclass
class Calls:
    """Lines of calls: those that every instance makes, and those that are made once in a nova-compute's life."""

    usual: list[str]
    once: list[str] = field(default_factory=list)

    def rounds(self) -> list[list[str]]:
        """Return the lines in lists of which each can be waited for together, at most one under a lock, last."""
        locked = [call for call in self.usual if UNDER_LOCK.search(call)]
        others = [call for call in self.usual if not UNDER_LOCK.search(call)]
        rounds = [[call] for call in self.once]
        while locked or others:
            rounds.append([*others[: AT_ONCE - 1], *locked[:1]])
            others, locked = others[AT_ONCE - 1 :], locked[1:]
        return rounds


@dataclass
class Killed:
    """What came of the calls of one operation."""

    operation: str
    held: list[str] = field(default_factory=list)
    passed: list[str] = field(default_factory=list)

    def tell(self) -> None:
        """Print it. Every call must have been made again, but those that wait for something."""
        print(f"killed at {len(self.held)} calls of a {self.operation}; not made again: {self.passed}")
        assert self.held
        assert all(POLLS.search(call) for call in self.passed), self.passed


def note_sample(lab: Lab) -> dict[str, Calls]:
    """Note the calls of one instance, and choose some."""
    noted = _note(lab, "noted")
    chosen = {name: [call for call in noted[name] if SAMPLE[name].search(call)] for name in OPERATIONS}
    assert all(chosen.values())
    return {name: Calls(chosen[name]) for name in OPERATIONS}


def note_all(lab: Lab) -> dict[str, Calls]:
    """Note the calls of three instances, the first of them the first of a nova-compute's, and take all."""
    lab.restart("nova-compute")
    first, second, third = (_note(lab, name) for name in ("noted-first", "noted-second", "noted-third"))
    found = {}
    for name in OPERATIONS:
        usual = [call for call in second[name] if call in third[name] and not READS.search(call)]
        later = {*second[name], *third[name]}
        once = [call for call in first[name] if call not in later and not READS.search(call)]
        found[name] = Calls(usual, [call for call in once if not POLLS.search(call)])
    # The next instance is the first again.
    lab.restart("nova-compute")
    return found


def _note(lab: Lab, name: str) -> dict[str, list[str]]:
    guest = lab.boot_anew(name, spawn="", delete="")
    wait(lambda: guest.is_in("ACTIVE"), "the instance to run")
    lab.delete(guest)
    wait(lambda: lab.is_gone(guest), "the instance to be gone")
    lab.delete_all()
    return {operation: lab.calls(name, operation) for operation in OPERATIONS}


def hold_spawns(lab: Lab, name: str, calls: Sequence[str], killed: Killed) -> dict[str, Guest]:
    """Make an instance for each call, and return those that were held there, by their names."""
    planned = {f"{name}-{place}": call for place, call in enumerate(calls)}
    made: dict[str, Guest] = {}
    for locked in (False, True):
        now = {
            each: lab.boot_anew(each, spawn=call)
            for each, call in planned.items() if bool(UNDER_LOCK.search(call)) is locked
        }  # fmt: skip
        for each, guest in now.items():
            if _await_held(lab, each, "spawn", functools.partial(_is_made, guest)):
                made[each] = guest
                killed.held.append(planned[each])
            else:
                killed.passed.append(planned[each])
    return made


def hold_deletes(lab: Lab, name: str, calls: Sequence[str], killed: Killed) -> dict[str, Guest]:
    """Make and delete an instance for each call, and return those that were held there, by their names."""
    planned = {f"{name}-{place}": call for place, call in enumerate(calls)}
    made = {each: lab.boot_anew(each, delete=call) for each, call in planned.items()}
    for each, guest in made.items():
        wait(functools.partial(guest.is_in, "ACTIVE"), f"{each} to run")
    for guest in made.values():
        lab.delete(guest)
    held = {}
    for each, guest in made.items():
        if _await_held(lab, each, "delete", functools.partial(lab.is_gone, guest)):
            held[each] = guest
            killed.held.append(planned[each])
        else:
            killed.passed.append(planned[each])
    return held


def _is_made(guest: Guest) -> bool:
    return guest.is_in("ACTIVE") or guest.is_in("ERROR")


def _await_held(lab: Lab, name: str, operation: str, has_ended: Callable[[], bool]) -> bool:
    """Wait until an operation is held, or has ended without having come there; tells which."""
    eventually(
        lambda: lab.is_held(name, operation) or has_ended(), f"the {operation} of {name} to be held, or to end", LIMIT
    )
    return lab.is_held(name, operation)
