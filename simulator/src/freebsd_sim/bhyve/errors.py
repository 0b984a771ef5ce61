"""How bhyve ends, and what it says then."""

from __future__ import annotations

# bhyve(8), "EXIT STATUS"
REBOOT = 0
POWER_OFF = 1
HALT = 2
TRIPLE_FAULT = 3
ERROR = 4

USAGE = 1
EX_USAGE = 64  # sysexits(3)
EX_OSERR = 71
NOT_SIMULATED = 78


class BhyveExit(Exception):
    """Ends bhyve with ``status``; ``err`` goes to standard error and ``out`` to standard output as they are."""

    def __init__(self, status: int, err: str = "", out: str = "") -> None:
        self.status = status
        self.err = err
        self.out = out
        super().__init__(err)


def errx(status: int, text: str) -> BhyveExit:
    """Make the exit that errx(3) makes."""
    return BhyveExit(status, f"bhyve: {text}\n")


def not_simulated(what: str) -> BhyveExit:
    """Make the exit for what the real bhyve can do and this one cannot."""
    return BhyveExit(NOT_SIMULATED, f"freebsd-sim: not simulated: bhyve: {what}\n")


def device_failure(text: str, reason: str) -> BhyveExit:
    """Make the exit of a device that does not come up: its own words, then main()'s."""
    return BhyveExit(ERROR, f"{text}\nDevice emulation initialization error: {reason}\n")
