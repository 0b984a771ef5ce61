"""What a guest asks of a terminal: where its cursor is, what kind it is, what it shows.

Whoever comes to a console is shown what the guest printed before. A terminal
would answer what was asked there, and its answer be typed into whatever the
guest runs by now.
"""

from __future__ import annotations

import re

#: Of ECMA-48 and of xterm's control sequences (https://invisible-island.net/xterm/ctlseqs/ctlseqs.html).
QUERY = re.compile(
    rb"""
    \x05                                                # ENQ
    | \x1bZ                                             # DECID
    | \x1b\[ (?: \?? [0-9;]* n                          # DSR
              | [=>]? [0-9;]* c                         # DA
              | > [0-9;]* q                             # XTVERSION
              | \?? [0-9;]* \$p                         # DECRQM
              | [01]? x                                 # DECREQTPARM
              | (?: 1[1345689] | 2[01] ) [0-9;]* t )    # reports of the window
    | \x1b\] [0-9;]* (?: c; )? \? (?: \x07 | \x1b\\ )   # OSC: a colour, the clipboard
    | \x1bP [$+] q [^\x1b]* \x1b\\                      # DECRQSS, XTGETTCAP
    """,
    re.VERBOSE,
)


def without_queries(text: bytes) -> bytes:
    """Return what a guest printed without what a terminal would answer."""
    return QUERY.sub(b"", text)
