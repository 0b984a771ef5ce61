"""cu(1): talk to a terminal line, such as the B side of an nmdm(4) pair."""

from __future__ import annotations

from freebsd_sim.call import Call, Exec, NotSimulated
from freebsd_sim.kernel.errors import KernelError

PYTHON = "/.sim/linux/usr/bin/python3"
PROGRAM = "/.sim/lib/freebsd_sim/programs/cu.py"
USAGE = "usage: cu [-ehotv] [-a acu] [-l line] [-s speed] [-# ] [phone-number]\n"


def main(call: Call) -> int | Exec:
    """Run the command: only -l and -s are known."""
    words, line = call.argv[1:], None
    while words:
        word = words.pop(0)
        if word[:2] not in ("-l", "-s"):
            if word[:2] in ("-e", "-h", "-o", "-t", "-v", "-a") or not word.startswith("-"):
                raise NotSimulated(f"cu: {word}")
            call.err(USAGE)
            return 1
        value = word[2:] or (words.pop(0) if words else "")
        if not value:
            call.err(USAGE)
            return 1
        if word.startswith("-l"):
            line = value
    if line is None:
        call.err(USAGE)
        return 1
    path = line if line.startswith("/") else f"/dev/{line}"
    if path.startswith("/dev/nmdm"):
        try:
            call.kernel.nmdm.lookup(path)
        except KernelError as error:
            call.err(f"{path}: {error.text}\nlink down\n")
            return 1
    return Exec(["cu", "-I", "-S", PROGRAM, path], program=PYTHON)
