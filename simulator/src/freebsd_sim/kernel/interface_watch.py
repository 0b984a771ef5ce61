"""Notices what Linux programs do to links: one thread that listens to each stack's netlink events."""

from __future__ import annotations

import select
import sys
import threading
import traceback
from typing import TYPE_CHECKING

from freebsd_sim.kernel.stack import Stack

if TYPE_CHECKING:
    from freebsd_sim.kernel.interfaces import Interfaces


class Watcher:
    """Refreshes a vnet's records whenever its links change."""

    def __init__(self, interfaces: Interfaces) -> None:
        self.interfaces = interfaces
        self.stacks: dict[int, int] = {}  # inode of the stack by descriptor
        self.poll = select.epoll()
        self.started = False

    def start(self) -> None:
        """Begin to listen."""
        self.started = True
        threading.Thread(target=self._run, name="interfaces", daemon=True).start()

    def add(self, stack: Stack) -> None:
        """Listen to one more stack."""
        descriptor = stack.links.events.fileno()
        self.stacks[descriptor] = stack.inode
        self.poll.register(descriptor, select.EPOLLIN)

    def remove(self, stack: Stack) -> None:
        """Stop listening to a stack; call it before the stack is closed."""
        descriptor = stack.links.events.fileno()
        if self.stacks.pop(descriptor, None) is not None:
            self.poll.unregister(descriptor)

    def _run(self) -> None:
        while True:
            for descriptor, _ in self.poll.poll():
                with self.interfaces.kernel.lock:
                    vnet = self.interfaces.vnets.get(self.stacks.get(descriptor, 0))
                    if vnet is not None:
                        try:
                            self.interfaces.refresh(vnet)
                        except Exception:  # one bad event must not end the watch
                            traceback.print_exc(file=sys.stderr)
