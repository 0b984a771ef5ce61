"""devfs(8): rules for device nodes; the predefined rule sets are listed, changing rules is not simulated."""

from __future__ import annotations

from freebsd_sim.call import Call, CommandExit, NotSimulated
from freebsd_sim.commands.bsd_options import parse_options

USAGE = "usage: devfs [-m mount-point] keyword argument ..."


def main(call: Call) -> int:
    """Run the command."""
    _, words = parse_options(call, "m:", USAGE)
    if not words or words[0] not in ("rule", "ruleset"):
        raise CommandExit(1, USAGE)
    if not call.is_root:
        raise CommandExit(1, "devfs: ioctl DEVFSIO_SGETNEXT: Operation not permitted")
    if words == ["rule", "showsets"]:
        call.out("".join(f"{number}\n" for number in range(1, 6)))
        return 0
    raise NotSimulated(f"devfs: {' '.join(words)}")
