"""bhyve(8): refuse a wrong command line at once, or become the program that runs the guest."""

from __future__ import annotations

from freebsd_sim.bhyve import arguments
from freebsd_sim.bhyve.errors import BhyveExit
from freebsd_sim.call import Call, Exec

PYTHON = "/.sim/linux/usr/bin/python3"
PROGRAM = "/.sim/lib/freebsd_sim/bhyve/__main__.py"


def main(call: Call) -> int | Exec:
    """Run the command; see freebsd_sim.bhyve for what runs the guest."""
    options = arguments.OPTIONS_15 if call.kernel.release.at_least(15) else arguments.OPTIONS
    try:
        config = arguments.parse(call.argv[1:], lambda path: call.path(path).read_text(), options)
    except BhyveExit as stop:
        call.out(stop.out)
        call.err(stop.err)
        return stop.status
    # The process title that setproctitle(3) gives; the program shortens its arguments to that.
    title = f"bhyve: {config.get('name')}"
    return Exec([title, "-I", "-S", PROGRAM, *call.argv[1:]], program=PYTHON)
