"""What sysctl(8) prints of values and accepts as values."""

from __future__ import annotations

import pytest

from freebsd_sim.commands.sysctl import _split_assignment
from freebsd_sim.kernel.sysctl_table import MAC_DO_TABLE, TABLE, VMM_TABLE
from freebsd_sim.kernel.sysctls import INTEGERS, Value, Variable, format_value, make_topology, parse_value


def make_variable(kind: str, format_: str = "") -> Variable:
    return Variable("a.b", kind, "", lambda jail: 0, format=format_)


@pytest.mark.parametrize(
    ("kind", "format_", "value", "text"),
    [
        ("int", "", -1, "-1"),
        ("long", "", [1, 2, 3], "1 2 3"),
        ("string", "", "FreeBSD", "FreeBSD"),
        ("opaque", "S,loadavg", [0.1, 0.2, 0.3], "{ 0.10 0.20 0.30 }"),
        ("opaque", "S,clockinfo", [1000, 1000, 8128, 127], "{ hz = 1000, tick = 1000, profhz = 8128, stathz = 127 }"),
    ],
)
def test_values_are_printed(kind: str, format_: str, value: Value, text: str) -> None:
    assert format_value(make_variable(kind, format_), value) == text


def test_a_time_has_numbers_and_a_date() -> None:
    text = format_value(make_variable("opaque", "S,timeval"), [1700000000, 5])
    assert text.startswith("{ sec = 1700000000, usec = 5 } ")


def test_hexadecimal_is_padded_and_zero_has_no_prefix() -> None:
    assert format_value(make_variable("int"), 65, hexadecimal=True) == "0x00000041"
    assert format_value(make_variable("int"), 0, hexadecimal=True) == "0000000000"


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [("int", "12", 12), ("int", "0x10", 16), ("int", "010", 8), ("int", "4294967295", -1), ("uint", "-1", 4294967295)],
)
def test_numbers_are_read_as_in_c(kind: str, text: str, value: int) -> None:
    assert parse_value(make_variable(kind), text) == value


@pytest.mark.parametrize(
    ("kind", "text", "complaint"),
    [
        ("int", "x", "invalid integer 'x'"),
        ("ulong", "1z", "invalid unsigned long '1z'"),
        ("int", "", "empty numeric value"),
    ],
)
def test_bad_numbers_are_refused(kind: str, text: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        parse_value(make_variable(kind), text)


def test_an_assignment_is_split_at_the_first_equals_sign_or_colon() -> None:
    assert _split_assignment("a.b=c=d") == ("a.b", "c=d")
    assert _split_assignment("a.b: 3") == ("a.b", "3")
    assert _split_assignment('a.b="x y"') == ("a.b", "x y")
    assert _split_assignment("a.b") == ("a.b", None)


def test_the_table_is_sound() -> None:
    rows = TABLE + VMM_TABLE + MAC_DO_TABLE
    assert len({row[0] for row in rows}) == len(rows)
    for name, kind, default, flags, _ in rows:
        assert set(flags) <= set("rwtv"), name
        assert isinstance(default, str if kind == "string" else int), name
        assert kind == "string" or kind in INTEGERS, name


def test_the_topology_names_each_processor() -> None:
    assert '<cpu count="4" mask="f,0,0,0">0, 1, 2, 3</cpu>' in make_topology(4)
