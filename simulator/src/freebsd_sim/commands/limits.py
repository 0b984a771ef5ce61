"""limits(1): set or show the limits of a process."""

from __future__ import annotations

import re
import resource

from freebsd_sim.call import Call, CommandExit, Exec, NotSimulated
from freebsd_sim.kernel.errors import KernelError

USAGE = (
    "usage: limits [-C class|-P pid|-U user] [-eaSHBE] [-bcdfklmnoprstuvw [val]] [[name=val ...] cmd]"
)  # fmt: skip
# letter: name, Linux's limit, unit's factor, unit, csh name
LIMITS: dict[str, tuple[str, int | None, int, str]] = {
    "t": ("cputime", resource.RLIMIT_CPU, 1, "secs"),
    "f": ("filesize", resource.RLIMIT_FSIZE, 1024, "kB"),
    "d": ("datasize", resource.RLIMIT_DATA, 1024, "kB"),
    "s": ("stacksize", resource.RLIMIT_STACK, 1024, "kB"),
    "c": ("coredumpsize", resource.RLIMIT_CORE, 1024, "kB"),
    "m": ("memoryuse", resource.RLIMIT_RSS, 1024, "kB"),
    "l": ("memorylocked", resource.RLIMIT_MEMLOCK, 1024, "kB"),
    "u": ("maxprocesses", resource.RLIMIT_NPROC, 1, ""),
    "n": ("openfiles", resource.RLIMIT_NOFILE, 1, ""),
    "b": ("sbsize", None, 1, "bytes"),
    "v": ("vmemoryuse", resource.RLIMIT_AS, 1024, "kB"),
    "p": ("pseudo-terminals", None, 1, ""),
    "w": ("swapuse", None, 1024, "kB"),
    "k": ("kqueues", None, 1, ""),
    "o": ("umtxp", None, 1, ""),
}
SCALES = {"": 1, "b": 512, "k": 1024, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}


def parse_value(letter: str, text: str) -> int:
    """Return a limit in Linux's unit. :raises CommandExit: not a number."""
    if text in ("", "infinity", "inf", "unlimited", "unlimit", "-1"):
        return resource.RLIM_INFINITY
    found = re.fullmatch(r"(\d+)([bkmgt]?)", text.lower())
    if found is None:
        raise CommandExit(1, f"limits: invalid value `{text}' for option -{letter}")
    factor = SCALES[found[2]] if found[2] else LIMITS[letter][2]
    return int(found[1]) * factor


def _split(words: list[str]) -> tuple[dict[str, str], set[str], dict[str, str], list[str]]:
    """Return the limits, flags, options with an argument, and the command; a limit's value may be left out."""
    limits: dict[str, str] = {}
    flags: set[str] = set()
    values: dict[str, str] = {}
    while words and words[0].startswith("-") and len(words[0]) > 1:
        word = words.pop(0)
        if word == "--":
            break
        letter, rest = word[1], word[2:]
        if letter in "CPU":
            if not rest and not words:
                raise CommandExit(1, f"limits: option requires an argument -- {letter}\n{USAGE}")
            values[letter] = rest or words.pop(0)
        elif letter in LIMITS:
            if not rest and words and re.fullmatch(r"\d+[bkmgt]?|inf(inity)?|unlimit(ed)?|-1", words[0]):
                rest = words.pop(0)
            limits[letter] = rest
        elif letter in "aSHBEe":
            flags |= set(word[1:]) & set("aSHBEe")
        else:
            raise CommandExit(1, f"limits: illegal option -- {letter}\n{USAGE}")
    return limits, flags, values, words


def main(call: Call) -> int | Exec:
    """Run the command: limits apply to the caller's process, which becomes the command."""
    limits, flags, values, words = _split(list(call.argv[1:]))
    if "U" in values:
        raise NotSimulated("limits: -U")
    pid = call.pid
    if "P" in values:
        try:
            pid = call.kernel.processes.get(call.jail, int(values["P"])).pid
        except (KernelError, ValueError):
            raise CommandExit(1, "limits: sysctl: No such process") from None
    environment = dict(call.environ)
    while words and "=" in words[0]:
        name, _, value = words.pop(0).partition("=")
        environment[name] = value
    if words:
        _apply(call, limits, flags)
        return Exec(words, environ=environment, fail_text=f"limits: {words[0]}: ")
    _show(call, pid, limits or dict.fromkeys(LIMITS, ""), "H" in flags, "e" in flags)
    return 0


def _apply(call: Call, limits: dict[str, str], flags: set[str]) -> None:
    for letter, text in limits.items():
        number = LIMITS[letter][1]
        if number is None:
            continue
        wanted = parse_value(letter, text)
        soft, hard = resource.prlimit(call.pid, number)
        if "H" in flags or flags & {"B"} or not flags & {"S", "H"}:
            hard = wanted if call.is_root or wanted <= hard or hard == resource.RLIM_INFINITY else hard
        soft = wanted
        if hard != resource.RLIM_INFINITY and (soft == resource.RLIM_INFINITY or soft > hard):
            soft = hard
        try:
            resource.prlimit(call.pid, number, (soft, hard))
        except (OSError, ValueError):
            raise CommandExit(1, f"limits: setrlimit {LIMITS[letter][0]}: Operation not permitted") from None


def _show(call: Call, pid: int, limits: dict[str, str], hard: bool, evaluate: bool) -> None:
    if not evaluate:
        call.out("Resource limits (current):\n")
    for letter, (name, number, factor, unit) in LIMITS.items():
        if letter not in limits:
            continue
        value = resource.RLIM_INFINITY if number is None else resource.prlimit(pid, number)[int(hard)]
        shown = "infinity" if value == resource.RLIM_INFINITY else str(value // factor)
        if evaluate:
            call.out(f"ulimit -{letter} {'unlimited' if shown == 'infinity' else shown};\n")
        else:
            call.out(f"  {name:<17} {shown:>16}{' ' + unit if unit else ''}\n")
