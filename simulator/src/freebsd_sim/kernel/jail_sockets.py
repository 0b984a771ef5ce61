"""The sockets of a jail's stack, as far as they keep the jail from going."""

from __future__ import annotations

import contextlib

from freebsd_sim.kernel.stack import Stack

INODE_FIELD = 9  # of /proc/net/{tcp,udp,raw}; 0 stands for a socket that no descriptor refers to


def count_sockets(stack: Stack) -> int:
    """Return how many sockets hold a stack: open ones, and TCP connections that are not done (TIME_WAIT)."""
    return stack.run(_count_here)


def _count_here() -> int:
    count = 0
    for name in ("tcp", "tcp6", "udp", "udp6", "raw", "raw6"):
        # /proc/net is the main thread's; this thread is in another namespace.
        with contextlib.suppress(FileNotFoundError), open(f"/proc/thread-self/net/{name}") as file:
            next(file)
            for line in file:
                # A UDP socket without a descriptor is an interface's own (vxlan), which goes with the stack.
                if name.startswith("tcp") or line.split()[INODE_FIELD] != "0":
                    count += 1
    return count
