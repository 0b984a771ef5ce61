"""The process behind cu(1): pass bytes between this terminal and a line until "~." or the line hangs up."""

from __future__ import annotations

import contextlib
import os
import select
import sys
import termios
import tty

ESCAPE, END, NEWLINES = b"~", b".", b"\r\n"


def open_line(path: str) -> int:
    """Open a line raw, without waiting for its carrier and without minding its loss. Raises OSError."""
    line = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_NOCTTY)
    tty.setraw(line)
    mode = termios.tcgetattr(line)
    mode[2] |= termios.CLOCAL
    termios.tcsetattr(line, termios.TCSANOW, mode)
    return line


class Keyboard:
    """Looks for the escape: a tilde after a newline, then a dot."""

    def __init__(self) -> None:
        self.at_start = True
        self.escaped = False

    def filter(self, data: bytes) -> tuple[bytes, bool]:
        """Return what goes to the line, and whether the user wants to leave."""
        passed = bytearray()
        for number in data:
            key = bytes([number])
            if self.escaped:
                self.escaped = False
                if key == END:
                    return bytes(passed), True
                passed += key if key == ESCAPE else ESCAPE + key
            elif self.at_start and key == ESCAPE:
                self.escaped = True
                continue
            else:
                passed += key
            self.at_start = key in NEWLINES
        return bytes(passed), False


def talk(line: int) -> None:
    """Pass bytes both ways until it ends."""
    keyboard = Keyboard()
    sources = [0, line]
    while True:
        ready, _, _ = select.select(sources, [], [])
        if line in ready:
            try:
                data = os.read(line, 4096)
            except OSError:
                data = b""
            if not data:
                return
            os.write(1, data)
        if 0 in ready:
            data = os.read(0, 4096)
            if not data:
                sources.remove(0)  # as with a script's input: what still comes is shown
            passed, leave = keyboard.filter(data)
            with contextlib.suppress(BlockingIOError):
                os.write(line, passed)
            if leave:
                return


def main() -> int:
    """Connect to the line that is named."""
    try:
        line = open_line(sys.argv[1])
    except (OSError, termios.error) as error:
        print(f"{sys.argv[1]}: {error.args[1]}\nlink down", file=sys.stderr)
        return 1
    terminal = termios.tcgetattr(0) if os.isatty(0) else None
    os.write(1, b"Connected\r\n")
    if terminal is not None:
        tty.setraw(0)
    try:
        talk(line)
    finally:
        if terminal is not None:
            termios.tcsetattr(0, termios.TCSADRAIN, terminal)
        os.write(1, b"\r\n[EOT]\r\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
