"""getopt(3) as FreeBSD's programs use it: options end at the first operand, and what a bad one prints."""

from __future__ import annotations

from freebsd_sim.call import Call, CommandExit


def parse_options(call: Call, letters: str, usage: str, status: int = 1) -> tuple[list[tuple[str, str]], list[str]]:
    """Return (letter, argument) pairs and the operands of a command.

    :param letters: as for getopt(3): a letter followed by a colon takes an argument
    :raises CommandExit: a bad option; getopt's line and the usage text go to standard error
    """
    found: list[tuple[str, str]] = []
    words = call.argv[1:]
    name = call.argv[0]
    while words and words[0].startswith("-") and words[0] != "-":
        word = words.pop(0)
        if word == "--":
            break
        rest = word[1:]
        while rest:
            letter, rest = rest[0], rest[1:]
            place = letters.find(letter) if letter != ":" else -1
            if place < 0:
                raise CommandExit(status, f"{name}: illegal option -- {letter}\n{usage}")
            if letters[place + 1 : place + 2] != ":":
                found.append((letter, ""))
            elif rest or words:
                found.append((letter, rest or words.pop(0)))
                rest = ""
            else:
                raise CommandExit(status, f"{name}: option requires an argument -- {letter}\n{usage}")
    return found, words
