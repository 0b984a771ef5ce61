"""Numbers of rules that name a group are the same after a restart, with upstream's own class beneath."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

Apart = Callable[[Callable[[], None]], None]


class Bridge:
    """A bridge in whose flows a number is in use."""

    def dump_flows_for_table(self, table: int) -> list[str]:
        return ["table=82, conj_id=40,ct_state=+new actions=drop"]

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(name)


def _numbers_are_kept() -> None:
    from beastack.port.neutron.conjunctions import FILE, KeptConjIds

    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        first = KeptConjIds(Bridge(), directory)
        one = first.get_conj_id("web", "db", "ingress", "IPv4")
        two = first.get_conj_id("web", "db", "ingress", "IPv6")
        assert one > 40 and two > one
        again = KeptConjIds(Bridge(), directory)
        assert again is not first
        assert again.get_conj_id("web", "db", "ingress", "IPv6") == two
        assert again.get_conj_id("web", "db", "ingress", "IPv4") == one
        assert again.get_conj_id("web", "mail", "ingress", "IPv4") > two
        assert {number for _, number in again.delete_sg("db")} == {one, two}
        third = KeptConjIds(Bridge(), directory)
        assert len(third.id_map) == 1
        # A file that is damaged is no file.
        (directory / FILE).write_text("[[1,")
        assert len(KeptConjIds(Bridge(), directory).id_map) == 0


def test_numbers_are_kept(apart: Apart) -> None:
    apart(_numbers_are_kept)
