"""Versions and bounds, as pkg(8) and Python's distributions write them."""

from __future__ import annotations

import pytest

from beastack.site.versions import is_within, parse_release


@pytest.mark.parametrize(
    ("text", "release"),
    [("50.0.0,1", (50,)), ("5.0.0_5", (5,)), ("7.2.2_1", (7, 2, 2)), ("2.92rel2,1", (2, 92)), ("g202508", ())],
)
def test_a_port_s_version_begins_with_the_release(text: str, release: tuple[int, ...]) -> None:
    assert parse_release(text) == release


@pytest.mark.parametrize(
    ("version", "bounds", "within"),
    [
        ("50.0.0,1", "<51,>=49.0.0", True),
        ("51.0.0,1", "<51,>=49.0.0", False),
        ("48.0.1", ">=49.0.0", False),
        ("49", ">=49.0.0", True),
        ("2.0.10", ">2.0.9", True),
        ("2.0.9", ">2.0.9", False),
        ("1.26.4_4,1", "", True),
        ("2.1.0", "!=2.1.0,>=2", False),
        ("2.1.1", "!=2.1.0,>=2", True),
        ("2.1.1", "!=2.1.*", False),
        ("2.1", "==2.1.*", True),
        ("1.4.9", "~=1.4.2", True),
        ("1.5", "~=1.4.2", False),
        ("1.5", "~=1.4", True),
        ("1.4.1", "~=1.4.2", False),
        ("3", "<=3.0", True),
    ],
)
def test_bounds_hold_as_python_s_installers_read_them(version: str, bounds: str, within: bool) -> None:
    assert is_within(version, bounds) is within


def test_what_is_no_bound_is_refused() -> None:
    with pytest.raises(ValueError, match="no bound"):
        is_within("1", ">=1.0a1")
