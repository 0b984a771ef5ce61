"""Starts the openvswitch agent, if none runs with the same configuration.

Two agents on one switch each take the other's flows for leftovers, delete
them, and hand out local VLANs without knowing of each other. Upstream does
not look for another.
"""

from __future__ import annotations

import fcntl
import os
import sys
from collections.abc import Sequence

_OPTION = "--config-file"
_held: list[int] = []


def find_file(words: Sequence[str]) -> str | None:
    """Return the first configuration file that a command line names."""
    for word, following in zip(words, [*words[1:], ""], strict=True):
        if word == _OPTION and following:
            return following
        if word.startswith(_OPTION + "="):
            return word.partition("=")[2]
    return None


def hold(path: str) -> None:
    """Lock the directory of a file for as long as this process lives; programs that it starts do not keep the lock.

    The file itself is made anew when the site's configuration is written.

    :raises SystemExit: another process holds it, or it cannot be opened
    """
    try:
        descriptor = os.open(os.path.dirname(path) or ".", os.O_RDONLY | os.O_CLOEXEC)
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise SystemExit(f"another openvswitch agent runs with {path}: stop it first (ps -axww)") from None
    except OSError as error:
        raise SystemExit(f"{path} cannot be locked: {error.strerror}") from None
    _held.append(descriptor)


def main() -> None:
    """Run the agent.

    :raises SystemExit: there is another
    """
    path = find_file(sys.argv[1:])
    if path is not None:
        hold(path)
    # Imported here: upstream reads its options while it is imported.
    from neutron.cmd.agents import ovs_neutron_agent

    ovs_neutron_agent.main()
