"""Random sequences of changes, against a model of what must be there afterwards.

The model says where each interface is (on the host, or in which jail), what
it was made as and what hangs together with it. After each sequence it is
compared with what the library reads, and with ``ifconfig -l`` and ``jls``.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from beastack.freebsd import errors, interface, jail
from beastack.freebsd.command import CommandError, run
from beastack.freebsd.interface import Settings
from network_lab import new_name

MOST_INTERFACES = 8
MOST_JAILS = 2
LENGTHS = (3, 3, 4)


@dataclass(eq=False)
class Thing:
    """An interface as it must be. ``place`` None is the host."""

    name: str
    kind: str
    place: str | None = None
    up: bool = False
    description: str | None = None
    peer: Thing | None = None
    bridge: Thing | None = None
    address: str | None = None


@dataclass
class World:
    """All that was made, the names that are free again, and the steps of the sequence that runs."""

    dice: random.Random
    base: dict[str | None, list[str]]
    things: list[Thing] = field(default_factory=list)
    jails: list[str] = field(default_factory=list)
    steps: list[str] = field(default_factory=list)
    history: list[str] = field(default_factory=list)
    touched: set[str | None] = field(default_factory=set)
    addresses: int = 0
    number: int = 0

    def say(self, step: str, *places: str | None) -> None:
        """Note a step before it is made, and the places it touches."""
        self.steps.append(step)
        self.history.append(step)
        self.touched.update(places)

    def pick(self, condition: Callable[[Thing], bool] = lambda _: True) -> Thing | None:
        """Return one interface that fits, or None."""
        fitting = [thing for thing in self.things if condition(thing)]
        return self.dice.choice(fitting) if fitting else None

    def drop(self, thing: Thing) -> None:
        """Take an interface, and the other half of its pair, out of the model."""
        for each in (thing, thing.peer):
            if each is not None:
                self.touched.add(each.place)
                self.things.remove(each)
        for other in self.things:
            if other.bridge is thing:
                other.bridge = None

    def moved(self, thing: Thing, place: str | None) -> None:
        """Do what a move does: down, no address, no bridge, no members."""
        thing.place, thing.up, thing.bridge, thing.address = place, False, None, None
        for other in self.things:
            if other.bridge is thing:
                other.bridge = None


def make_epair(world: World) -> None:
    one, other = Thing(new_name("e"), "epair"), Thing(new_name("e"), "epair", up=True)
    world.say(f"epair {one.name} {other.name}", None)
    interface.create_epair(one.name, other.name, Settings(), Settings(up=True))
    one.peer, other.peer = other, one
    world.things += [one, other]


def make_single(world: World) -> None:
    kind = world.dice.choice(["tap", "bridge", "lo"])
    thing = Thing(
        new_name(kind), kind, up=world.dice.random() < 0.5, description=world.dice.choice([None, "described"])
    )
    world.say(f"{kind} {thing.name} up={thing.up} description={thing.description}", None)
    make = {"tap": interface.create_tap, "bridge": interface.create_bridge, "lo": interface.create_loopback}[kind]
    make(thing.name, Settings(up=thing.up or None, description=thing.description))
    world.things.append(thing)


def destroy(world: World) -> None:
    thing = world.pick()
    if thing is not None:
        world.say(f"destroy {thing.name}", thing.place)
        interface.destroy_interface(thing.name, jail=thing.place)
        world.drop(thing)


def rename(world: World) -> None:
    thing = world.pick()
    if thing is not None:
        new = new_name("r")
        world.say(f"rename {thing.name} {new}", thing.place)
        interface.rename_interface(thing.name, new, jail=thing.place)
        thing.name = new


def rename_to_taken(world: World) -> None:
    thing = world.pick()
    other = world.pick(lambda each: thing is not None and each is not thing and each.place == thing.place)
    if thing is not None and other is not None:
        world.say(f"rename {thing.name} to the taken {other.name}", thing.place)
        with pytest.raises(errors.InterfaceExists):
            interface.rename_interface(thing.name, other.name, jail=thing.place)


def move_in(world: World) -> None:
    thing = world.pick(lambda each: each.place is None)
    if thing is not None and world.jails:
        target = world.dice.choice(world.jails)
        world.say(f"move {thing.name} to {target}", None, target)
        interface.move_to_jail(thing.name, target)
        world.moved(thing, target)


def move_home(world: World) -> None:
    thing = world.pick(lambda each: each.place is not None)
    if thing is not None and thing.place is not None:
        world.say(f"bring {thing.name} home from {thing.place}", None, thing.place)
        interface.return_from_jail(thing.name, thing.place)
        world.moved(thing, None)


def switch(world: World) -> None:
    thing = world.pick()
    if thing is not None:
        thing.up = not thing.up
        world.say(f"{thing.name} {'up' if thing.up else 'down'}", thing.place)
        interface.change_interface(thing.name, Settings(up=thing.up), jail=thing.place)


def join(world: World) -> None:
    bridge = world.pick(lambda each: each.kind == "bridge")
    thing = world.pick(
        lambda each: (
            bridge is not None
            and each.place == bridge.place
            and each.kind in ("epair", "tap")
            and each.bridge is None
            and each.address is None
        )
    )
    if bridge is not None and thing is not None:
        world.say(f"add {thing.name} to {bridge.name}", thing.place)
        interface.add_member(bridge.name, thing.name, jail=thing.place)
        thing.bridge = bridge


def part(world: World) -> None:
    thing = world.pick(lambda each: each.bridge is not None)
    if thing is not None and thing.bridge is not None:
        world.say(f"take {thing.name} out of {thing.bridge.name}", thing.place)
        interface.delete_member(thing.bridge.name, thing.name, jail=thing.place)
        thing.bridge = None


def address(world: World) -> None:
    thing = world.pick(lambda each: each.bridge is None and each.address is None)
    if thing is not None:
        world.addresses += 1
        thing.address = f"198.18.{world.addresses >> 6 & 255}.{(world.addresses & 63) * 4 + 1}"
        world.say(f"address {thing.address} on {thing.name}", thing.place)
        interface.add_address(thing.name, f"{thing.address}/30", jail=thing.place)
        thing.up = True


def make_jail(world: World) -> None:
    if len(world.jails) < MOST_JAILS:
        name = new_name("j")
        world.say(f"jail {name}", name)
        jail.create_jail(name)
        world.jails.append(name)


def remove_jail(world: World) -> None:
    if world.jails:
        name = world.dice.choice(world.jails)
        world.say(f"remove jail {name}", None)
        inside = [thing for thing in world.things if thing.place == name]
        assert set(jail.remove_jail(name, interval=0.02)) == {thing.name for thing in inside}
        world.jails.remove(name)
        world.touched.discard(name)
        for thing in inside:
            world.moved(thing, None)


#: What may be done, and how often among a hundred steps.
STEPS: dict[Callable[[World], None], int] = {
    make_epair: 8, make_single: 8, destroy: 9, rename: 18, rename_to_taken: 7, move_in: 11, move_home: 6,
    switch: 10, join: 8, part: 4, address: 5, make_jail: 4, remove_jail: 2,
}  # fmt: skip


def compare(world: World, place: str | None) -> None:
    """Compare one place with what the library reads there and with what ifconfig prints."""
    expected = {thing.name: thing for thing in world.things if thing.place == place}
    where = [] if place is None else ["-j", place]
    printed = run(["ifconfig", *where, "-l"]).stdout.split()
    listed = interface.list_interfaces(place)
    assert [each.name for each in listed] == printed
    assert sorted(printed) == sorted([*expected, *world.base.get(place, ["lo0"])])
    for found in listed:
        thing = expected.get(found.name)
        if thing is None:
            continue
        addresses = [str(each.address) for each in found.addresses if each.version == 4]
        seen = (found.kind, found.is_up, found.description, addresses)
        assert seen == (thing.kind, thing.up, thing.description, [thing.address] if thing.address else []), found.name
        if found.bridge is not None:
            members = {member.name for member in found.bridge.members}
            assert members == {other.name for other in world.things if other.bridge is thing}, found.name


def run_sequence(world: World) -> None:
    """Make some random steps and compare what they touched."""
    world.steps.clear()
    world.touched.clear()
    for _ in range(world.dice.choice(LENGTHS)):
        step = world.dice.choices(list(STEPS), list(STEPS.values()))[0]
        if step in (make_epair, make_single) and len(world.things) >= MOST_INTERFACES:
            step = destroy
        step(world)
    for place in sorted(world.touched, key=str):
        compare(world, place)
    names = run(["jls", "name"]).stdout.split()
    assert set(names) - set(world.base) == set(world.jails)


def remove_everything(world: World) -> None:
    """Remove what is left, whether or not the model still holds."""
    for name in list(world.jails):
        try:
            jail.remove_jail(name)
        except CommandError:
            pass  # the comparison at the end, or the test's cleaning, tells
    for thing in world.things:
        try:
            interface.destroy_interface(thing.name, missing_ok=True)
        except CommandError:
            pass


def test_sequences(pytestconfig: pytest.Config) -> None:
    chosen = pytestconfig.getoption("--seed")
    seed = chosen if chosen is not None else random.SystemRandom().randrange(1 << 32)
    print(f"repeat this with --seed={seed}")
    before = interface.list_interfaces()
    jails = jail.list_jails()
    base: dict[str | None, list[str]] = {None: [each.name for each in before]}
    base.update({each.name: [] for each in jails})
    world = World(random.Random(seed), base)
    try:
        make_jail(world)
        for world.number in range(pytestconfig.getoption("--sequences")):
            run_sequence(world)
        for place in (None, *world.jails):
            compare(world, place)
    except BaseException:
        print(f"sequence {world.number} of seed {seed}:", *world.steps, sep="\n    ")
        print("what was done last, before and in it:", *world.history[-60:], sep="\n    ")
        raise
    finally:
        remove_everything(world)
    assert [each.name for each in interface.list_interfaces()] == [each.name for each in before]
    assert jail.list_jails(dying=True) == jails
