"""What ovs-vsctl and virsh print, as data."""

from __future__ import annotations

import json
import re
from typing import Any

Object = dict[str, Any]

#: libvirt's states of a guest (libvirt-domain.h, virDomainState).
GUEST_STATES = {0: "without state", 1: "running", 2: "blocked", 3: "paused", 4: "shutting down", 5: "shut off",
                6: "crashed", 7: "suspended"}  # fmt: skip
GUEST_RUNNING, GUEST_OFF = 1, 5


def rows_of(text: str) -> list[Object]:
    """Return the rows of a table that ovs-vsctl printed as JSON.

    Source: ovs-vsctl(8), --format=json; values are written as in RFC 7047,
    5.1: a set is ["set", [...]], a map ["map", [[key, value]...]], a uuid ["uuid", text].
    An empty set becomes None, a set of one its member.
    """
    table = json.loads(text)
    return [dict(zip(table["headings"], map(_value_of, row), strict=True)) for row in table["data"]]


def _value_of(value: Any) -> Any:
    if isinstance(value, list) and len(value) == 2:
        kind, content = value
        if kind == "set":
            members = [_value_of(one) for one in content]
            return members if len(members) > 1 else (members[0] if members else None)
        if kind == "map":
            return {key: _value_of(one) for key, one in content}
        return content
    return value


def states_of(text: str) -> dict[str, int]:
    """Return the state of each guest from the output of virsh domstats --state --raw."""
    found: dict[str, int] = {}
    name = ""
    for line in text.splitlines():
        domain = re.match(r"Domain: '(.*)'$", line)
        state = re.match(r"\s+state\.state=(\d+)$", line)
        if domain:
            name = domain.group(1)
        elif state and name:
            found[name] = int(state.group(1))
    return found
