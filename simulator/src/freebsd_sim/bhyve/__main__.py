"""The bhyve process of a running guest; started inside the host with argument 0 as its title."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from freebsd_sim.bhyve import arguments, title
from freebsd_sim.bhyve.errors import BhyveExit
from freebsd_sim.bhyve.machine import Machine, leave


def main() -> None:
    """Run the guest that the command line asks for."""
    argv = sys.argv[1:]
    title.hide_arguments()
    try:
        Machine(arguments.parse(argv, lambda path: Path(path).read_text())).run()
    except BhyveExit as stop:
        sys.stdout.write(stop.out)
        sys.stdout.flush()
        sys.stderr.write(stop.err)
        leave(stop.status)


if __name__ == "__main__":
    main()
