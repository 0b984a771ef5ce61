"""service(8): control the scripts of rc.d."""

from __future__ import annotations

import os
import re
from pathlib import Path

from freebsd_sim.call import Call, CommandExit, Exec, NotSimulated
from freebsd_sim.commands.bsd_options import parse_options
from freebsd_sim.commands.rc_files import read_variables
from freebsd_sim.kernel.errors import KernelError

LOCAL = "/usr/local/etc/rc.d"
DIRECTORIES = ("/etc/rc.d", LOCAL)
USAGE = """\

Usage:
service [-j <jail name or id>] -e
service [-j <jail name or id>] -q
service [-j <jail name or id>] -R
service [-j <jail name or id>] [-v] -l | -r
service [-j <jail name or id>] [-v] [-E var=value] <rc.d script> start|stop|etc.
service -h

-j\tPerform actions within the named jail
-E n=val\tSet variable n to val before executing the rc.d script
-d\tEnable debugging of rc.d scripts
-e\tShow services that are enabled
-R\tStop and start enabled /usr/local/etc/rc.d services
-l\tList all scripts in /etc/rc.d and /usr/local/etc/rc.d
-r\tShow the results of boot time rcorder
-v\tVerbose
"""
ENVIRONMENT = {"HOME": "/", "PATH": "/sbin:/bin:/usr/sbin:/usr/bin"}
YES = ("yes", "true", "on", "1")


def find_scripts(call: Call) -> list[str]:
    """Return the paths of all scripts, those of /etc first."""
    found = []
    for directory in DIRECTORIES:
        place = call.path(directory)
        if place.is_dir():
            found += [f"{directory}/{name}" for name in sorted(os.listdir(place)) if not name.startswith(".")]
    return found


def read_switch(script: Path) -> str | None:
    """Return the rc.conf(5) variable that switches a script on, or None."""
    text = script.read_text(errors="replace")
    name = re.search(r"^name=[\"']?([^\"'\s]+)", text, re.MULTILINE)
    switch = re.search(r"^rcvar=[\"']?([^\"'\n]+?)[\"']?\s*$", text, re.MULTILINE)
    if switch is None:
        return None
    value = switch[1]
    if name is not None:
        value = value.replace("${name}", name[1]).replace("$name", name[1])
    if value in ("`set_rcvar`", "$(set_rcvar)") and name is not None:
        value = f"{name[1]}_enable"
    return value


def main(call: Call) -> int | Exec:
    """Run the command."""
    options, words = parse_options(call, "j:E:dehlqrRv", USAGE)
    flags = {letter for letter, _ in options}
    jail = call.jail
    environment = dict(ENVIRONMENT)
    for letter, value in options:
        if letter == "j":
            try:
                jail = call.kernel.jails.get(value, call.jail)
            except KernelError as error:
                raise CommandExit(1, f"jexec: {error.text}") from None
        if letter == "E":
            name, _, setting = value.partition("=")
            environment[name] = setting
    if "h" in flags:
        call.out(USAGE)
        return 0
    if "R" in flags or "r" in flags:
        raise NotSimulated("service: -R and -r")
    if "e" in flags:
        variables = read_variables(call)
        for script in find_scripts(call):
            switch = read_switch(call.path(script))
            if switch is not None and variables.get(switch, "").lower() in YES:
                call.out(script + "\n")
        return 0
    if "l" in flags:
        for directory in DIRECTORIES:
            if "v" in flags:
                call.out(f"From {directory}:\n")
            if call.path(directory).is_dir():
                call.out("".join(f"{name}\n" for name in sorted(os.listdir(call.path(directory)))))
        return 0
    if len(words) < 2:
        call.out(USAGE)
        return 1
    script, *arguments = words
    if "d" in flags:
        environment["rc_debug"] = "YES"
    for directory in DIRECTORIES:
        path = call.path(f"{directory}/{script}")
        if "/" not in script and path.is_file() and os.access(path, os.X_OK):
            if "v" in flags:
                call.out(f"{script} is located in {directory}\n")
            return Exec([f"{directory}/{script}", *arguments], environ=environment, cwd="/", jail=jail)
    call.out(
        f"{script} does not exist in /etc/rc.d or the local startup\ndirectories ({LOCAL}), or is not executable\n"
    )
    return 1
