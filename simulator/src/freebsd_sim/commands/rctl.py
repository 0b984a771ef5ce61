"""rctl(8): resource limits; the simulated host is booted without racct, as FreeBSD is by default."""

from __future__ import annotations

from freebsd_sim.call import Call, CommandExit

USAGE = (
    "usage: rctl [ -h ] [filter ...]\n"
    "       rctl -a rule ...\n"
    "       rctl [ -h ] -l filter ...\n"
    "       rctl -r filter ...\n"
    "       rctl [ -h ] -u filter ..."
)  # fmt: skip


def main(call: Call) -> int:
    """Run the command."""
    if call.kernel.sysctls.read_int("kern.racct.enable") == 0:
        raise CommandExit(1, "rctl: RACCT/RCTL present, but disabled; enable using kern.racct.enable=1 tunable")
    raise CommandExit(1, USAGE)
