"""kenv(1): list or modify the kernel environment."""

from __future__ import annotations

from freebsd_sim.call import Call, CommandExit
from freebsd_sim.commands.bsd_options import parse_options

USAGE = (
    "usage: kenv [-l|-s] [-hNq]\n"
    "       kenv [-qv] variable[=value]\n"
    "       kenv [-q] -u variable"
)  # fmt: skip
OF_KERNEL = ("hint.", "smbios.")


def main(call: Call) -> int:
    """Run the command."""
    options, words = parse_options(call, "hlNqsuv", USAGE)
    flags = {letter for letter, _ in options}
    environment = call.kernel.sysctls.environment
    if len(words) > 1 or ("u" in flags and not words):
        raise CommandExit(1, USAGE)
    with call.kernel.lock:
        if not words:
            return _list(call, environment, flags)
        name, equals, value = words[0].partition("=")
        quiet = "q" in flags
        if equals or "u" in flags:
            if not call.is_root or call.jail.jid != 0:
                verb = "unset" if "u" in flags else "set"
                raise CommandExit(1, "" if quiet else f"kenv: unable to {verb} {name}: Operation not permitted")
            if "u" in flags:
                if environment.pop(name, None) is None:
                    raise CommandExit(1, "" if quiet else f"kenv: unable to unset {name}: No such file or directory")
                return 0
            environment[name] = value
            call.out(f'{name}="{value}"\n')
            return 0
        if name not in environment:
            raise CommandExit(1, "" if quiet else f"kenv: unable to get {name}")
        call.out(f'{name}="{environment[name]}"\n' if "v" in flags else f"{environment[name]}\n")
    return 0


def _list(call: Call, environment: dict[str, str], flags: set[str]) -> int:
    for name, value in sorted(environment.items()):
        if "h" in flags and not name.startswith(OF_KERNEL):
            continue
        call.out(f"{name}\n" if "N" in flags else f'{name}="{value}"\n')
    return 0
