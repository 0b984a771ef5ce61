"""Kernel state: what the library reads and writes, against what sysctl(8) prints, on the host and in a jail."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from beastack.freebsd import errors, sysctl
from beastack.freebsd.command import run
from network_lab import RELEASE, Lab, as_nobody
from slow_jail import dying_jail

NOWHERE = "net.btnowhere"
# How often TCP asks a silent peer: harmless to change by one, and one value per network stack.
WRITABLE = "net.inet.tcp.keepcnt"
LEAVES = ("kern.ostype", "kern.osrelease", "hw.ncpu", "hw.machine_arch", "kern.hostuuid", WRITABLE)

needs_jail_option = pytest.mark.skipif(RELEASE < (14, 3), reason="sysctl -j came with 14.3")


@pytest.fixture
def kept() -> Iterator[int]:
    """Return the value of ``WRITABLE``, and put it back after the test."""
    before = int(run(["sysctl", "-n", WRITABLE]).stdout)
    yield before
    run(["sysctl", f"{WRITABLE}={before}"])


def test_many_names_at_once() -> None:
    values = sysctl.read_values(LEAVES)
    assert list(values) == list(LEAVES)
    for name in LEAVES:
        assert name in values
        assert values.text(name) == run(["sysctl", "-n", name]).stdout.removesuffix("\n")
        assert values.text(name) == sysctl.read_text(name)
    assert values.text("kern.ostype") == "FreeBSD"
    assert values.integer("hw.ncpu") == sysctl.read_integer("hw.ncpu") == int(run(["sysctl", "-n", "hw.ncpu"]).stdout)
    assert sysctl.parse_values(run(["sysctl", *LEAVES]).stdout, LEAVES) == values


def test_numbers_in_other_forms() -> None:
    assert len(sysctl.read_integers("kern.cp_time")) == 5
    ticks = sysctl.read_values(["kern.cp_times"]).integers("kern.cp_times")
    assert len(ticks) == len(run(["sysctl", "-n", "kern.cp_times"]).stdout.split())
    number = sysctl.read_integer(WRITABLE)
    assert sysctl.parse_integer(run(["sysctl", "-nx", WRITABLE]).stdout) == number
    with pytest.raises(ValueError, match="FreeBSD"):
        sysctl.read_integer("kern.ostype")
    with pytest.raises(ValueError, match="FreeBSD"):
        sysctl.read_integers("kern.ostype")


def test_values_of_several_lines() -> None:
    name = "kern.sched.topology_spec"
    values = sysctl.read_values(["hw.ncpu", name, "kern.ostype"])
    assert "\n" in values.text(name)
    assert values.text(name).split() == run(["sysctl", "-n", name]).stdout.split()
    assert values.text("kern.ostype") == "FreeBSD"


def test_names_that_are_not_there() -> None:
    with pytest.raises(errors.SysctlNotFound) as missing:
        sysctl.read_text(NOWHERE)
    assert missing.value.status == 1 and NOWHERE in missing.value.stderr
    values = sysctl.read_values(["kern.ostype"], optional=[NOWHERE, "hw.ncpu"])
    assert NOWHERE not in values and "hw.ncpu" in values
    with pytest.raises(KeyError):
        values.text(NOWHERE)
    with pytest.raises(errors.SysctlNotFound, match=NOWHERE):
        sysctl.read_values(["kern.ostype", NOWHERE], optional=["hw.ncpu"])
    with pytest.raises(errors.SysctlNotFound, match="no value"):
        sysctl.read_text("net.inet.tcp")  # a node, not a leaf
    with pytest.raises(errors.SysctlNotFound):
        sysctl.write_value(NOWHERE, 1)


def test_writing(kept: int) -> None:
    sysctl.write_value(WRITABLE, kept + 1)
    assert sysctl.read_integer(WRITABLE) == kept + 1 == int(run(["sysctl", "-n", WRITABLE]).stdout)
    sysctl.write_value(WRITABLE, str(kept))
    assert sysctl.read_integer(WRITABLE) == kept


def test_one_refusal_does_not_stop_the_others(kept: int) -> None:
    with pytest.raises(errors.SysctlNotFound) as refused:
        sysctl.write_values({NOWHERE: 1, "net.btelse": 2, WRITABLE: kept + 1})
    assert refused.value.status == 2  # the number of names that could not be written
    assert sysctl.read_integer(WRITABLE) == kept + 1


def test_values_that_cannot_be_written(kept: int) -> None:
    with pytest.raises(errors.SysctlReadOnly):
        sysctl.write_value("kern.ostype", "Plan9")
    with pytest.raises(errors.SysctlReadOnly) as tunable:
        sysctl.write_value("kern.maxproc", 1000)
    assert "tunable" in tunable.value.stderr
    for wrong in ("many", "", "0x"):
        with pytest.raises(errors.InvalidArgument):
            sysctl.write_value(WRITABLE, wrong)
    with pytest.raises(errors.InvalidArgument):
        sysctl.write_value("net.inet.tcp", 1)
    with as_nobody(), pytest.raises(errors.PermissionDenied):
        sysctl.write_value(WRITABLE, kept + 1)
    assert sysctl.read_integer(WRITABLE) == kept


@needs_jail_option
def test_a_jail_has_values_of_its_own(lab: Lab, kept: int) -> None:
    jail = lab.add_jail()
    sysctl.write_values({"net.inet.ip.forwarding": 1, WRITABLE: kept + 1}, jail=jail)
    names = ["net.inet.ip.forwarding", WRITABLE]
    assert sysctl.read_values(names, jail=jail).texts == {names[0]: "1", names[1]: str(kept + 1)}
    assert run(["jexec", jail, "sysctl", "-n", WRITABLE]).stdout == f"{kept + 1}\n"
    assert sysctl.read_integer(WRITABLE) == kept
    assert sysctl.read_text("kern.ostype", jail=jail) == "FreeBSD"
    assert sysctl.read_integers("kern.cp_time", jail=jail)


@needs_jail_option
def test_what_a_jail_refuses(lab: Lab) -> None:
    jail = lab.add_jail()
    with pytest.raises(errors.PermissionDenied):
        sysctl.write_value("kern.coredump", 0, jail=jail)
    with pytest.raises(errors.SysctlNotFound):
        sysctl.read_text(NOWHERE, jail=jail)
    for missing in ("btnowhere", "99999"):
        with pytest.raises(errors.JailNotFound):
            sysctl.read_text("kern.ostype", jail=missing)
        with pytest.raises(errors.JailNotFound):
            sysctl.write_value(WRITABLE, 8, jail=missing)


@needs_jail_option
def test_a_jail_that_is_being_removed(lab: Lab) -> None:
    with dying_jail(lab) as jail:
        with pytest.raises(errors.JailDying):
            sysctl.read_text("kern.ostype", jail=jail)
        with pytest.raises(errors.JailDying):
            sysctl.write_value(WRITABLE, 8, jail=jail)
