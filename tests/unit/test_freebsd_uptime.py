"""The boot time, and the seconds since."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from beastack.freebsd import uptime
from beastack.freebsd.uptime import Uptime
from recorded_commands import Commands, golden, play


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch) -> Iterator[Commands]:
    yield from play(monkeypatch)


@pytest.mark.parametrize(
    ("file", "boot_time"), [("boottime-14.4.txt", 1763800000.25), ("boottime-15.1.txt", 1795384000.0)]
)
def test_the_uptime_counts_from_the_boot_time(commands: Commands, file: str, boot_time: float) -> None:
    commands.expect("sysctl kern.boottime", golden(f"uptime/{file}"))
    assert uptime.read_uptime(clock=lambda: boot_time + 3600) == Uptime(boot_time, 3600.0)


def test_a_clock_that_is_behind_gives_no_negative_time(commands: Commands) -> None:
    commands.expect("sysctl kern.boottime", golden("uptime/boottime-15.1.txt"))
    assert uptime.read_uptime(clock=lambda: 0.0).seconds == 0.0


def test_another_form_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown form"):
        uptime.parse_boot_time("1795384000")
