"""Numbers of rules that name a group, which stay the same when the agent starts again.

A rule that names a remote group is two sets of flows held together by a
number (ovs-fields(7), conjunctions). Upstream gives out new numbers at each
start, above the highest in use. Until both halves of a rule are rewritten,
packets of connections that go on fit neither, and upstream's flows take such
a connection for revoked: guests lose packets for seconds. With the numbers
kept in a file the flows are rewritten as they were.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from neutron.agent.linux.openvswitch_firewall import firewall
from oslo_log import log as logging

LOG = logging.getLogger(__name__)

FILE = "conjunctions.json"


class KeptConjIds(firewall.ConjIdMap):
    """Upstream's map, read from a file at the beginning and written to it at each change.

    An entry of a group that went while the agent was away stays: it costs a number.
    """

    _max_id: int

    def __new__(cls, int_br: Any, directory: Path) -> KeptConjIds:
        """Make one; upstream's class has one instance for ever."""
        made: KeptConjIds = object.__new__(cls)
        return made

    def __init__(self, int_br: Any, directory: Path) -> None:
        super().__init__(int_br)
        self._file = directory / FILE
        self.id_map.update(read_numbers(self._file))
        highest: int = max([self._max_id, *self.id_map.values()])
        self._max_id = highest
        self._written = len(self.id_map)

    def get_conj_id(self, sg_id: str, remote_id: str, direction: str, ethertype: str) -> int:
        """Return the number of a rule, and keep it."""
        number: int = super().get_conj_id(sg_id, remote_id, direction, ethertype)
        self._keep()
        return number

    def delete_sg(self, sg_id: str) -> Any:
        """Free the numbers of a group's rules."""
        freed = super().delete_sg(sg_id)
        self._keep()
        return freed

    def _keep(self) -> None:
        if len(self.id_map) != self._written:
            self._written = len(self.id_map)
            write_numbers(self._file, self.id_map)


def read_numbers(file: Path) -> dict[tuple[str, ...], int]:
    """Return the numbers that a file holds by rule; none where it is missing or damaged."""
    try:
        rows = json.loads(file.read_text())
        return {tuple(str(word) for word in key): int(number) for *key, number in rows if len(key) == 4}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError) as error:
        LOG.warning("The numbers of rules cannot be read, new ones are given out: %s", error)
        return {}


def write_numbers(file: Path, numbers: dict[tuple[str, ...], int]) -> None:
    """Write the numbers; the file is the old one or the new one, whole."""
    temporary = file.with_suffix(".new")
    try:
        temporary.write_text(json.dumps([[*key, number] for key, number in numbers.items()]))
        os.replace(temporary, file)
    except OSError as error:
        # The firewall works without: only the next start is rougher.
        LOG.warning("The numbers of rules cannot be kept: %s", error)
