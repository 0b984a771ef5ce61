"""Has something happen where libvirtd starts a program of its own: its hook, bhyve, bhyvectl or ovs-vsctl."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

from crash_lab import Lab

HOOKS = "/usr/local/etc/libvirt/hooks/bhyve.d"

#: libvirt's hooks (https://libvirt.org/hooks.html): before and after a guest's taps are made, when bhyve has been
#: started, and when its taps have been destroyed.
POINTS = ("prepare", "start", "started", "stopped", "release")

#: What else libvirtd runs for a guest: where it is, and how to know such a run by the parent's number and the
#: arguments. bhyve it runs by way of another process, and with other arguments to learn what it can.
PROGRAMS = {
    "ovs-vsctl": ("/usr/local/bin", '"NUMBER "*'),
    "bhyve": ("/usr/sbin", "*instance-*"),
    "bhyvectl": ("/usr/sbin", '"NUMBER "*'),
}
#: Whether the program then comes to run.
MOMENTS = {"before": "exit 1", "during": ":"}

HOOK = """\
#!/bin/sh
# Kills libvirtd, which runs this, the first time that it comes to a point.
if [ "$2" = POINT ] && rm FILE 2>/dev/null; then
    kill -KILL $PPID
fi
"""

#: bhyve_process.c: a restart writes its pid file between this point of another guest's start and its end.
RESTART = """\
#!/bin/sh
# Has MACHINE restart itself, the first time that another guest is started.
file=/var/run/libvirt/bhyve/MACHINE.pid
if [ "$2" = start ] && [ "$1" != MACHINE ] && rm FILE 2>/dev/null; then
    before=$(cat $file)
    bhyvectl --force-reset --vm=MACHINE
    tries=0
    while now=$(cat $file 2>/dev/null); [ -z "$now" ] || [ "$now" = "$before" ]; do
        tries=$((tries + 1))
        [ $tries -lt 600 ] || exit 1
        sleep 0.1
    done
fi
"""

STAND_IN = """\
#!/bin/sh
# Kills libvirtd the first time that it runs this.
case "$PPID $*" in
RUN)
    if rm FILE 2>/dev/null; then
        kill -KILL NUMBER
        THEN
    fi
    ;;
esac
exec REAL "$@"
"""


@contextlib.contextmanager
def kill_at_hook(lab: Lab, point: str) -> Iterator[Callable[[], bool]]:
    """Have the next guest that comes to a point end libvirtd; gives what tells whether it has."""
    with _hooked(lab, HOOK, POINT=point) as has_run:
        yield has_run


@contextlib.contextmanager
def restart_at_start(lab: Lab, machine: str) -> Iterator[Callable[[], bool]]:
    """Have a guest restart itself while another is started the next time; gives what tells whether it has begun."""
    with _hooked(lab, RESTART, MACHINE=machine) as has_run:
        yield has_run


@contextlib.contextmanager
def _hooked(lab: Lab, text: str, **words: str) -> Iterator[Callable[[], bool]]:
    mark = lab.directory / "libvirt-point"
    mark.touch()
    made = lab.directory / "hook"
    made.write_text(_fill(text, FILE=str(mark), **words))
    hook = f"{HOOKS}/zz-point"
    lab.site.inside("install", "-m", "755", str(made), hook)
    try:
        yield lambda: not mark.exists()
    finally:
        lab.site.inside("rm", hook)


def _fill(text: str, **words: str) -> str:
    for word, value in words.items():
        text = text.replace(word, value)
    return text


@contextlib.contextmanager
def kill_at_program(lab: Lab, program: str, moment: str) -> Iterator[Callable[[], bool]]:
    """Have libvirtd end when it next runs a program; gives what tells whether it has."""
    mark = lab.directory / f"libvirtd-{program}"
    directory, pattern = PROGRAMS[program]
    place = f"{directory}/{program}"
    kept = lab.directory / program
    pid = lab.site.services()["libvirtd"]["pid"]
    made = lab.directory / f"{program}.made"
    words = {"RUN": pattern, "NUMBER": str(pid), "FILE": str(mark), "THEN": MOMENTS[moment], "REAL": str(kept)}
    made.write_text(_fill(STAND_IN, **words))
    made.chmod(0o755)
    lab.site.inside("cp", "-P", place, str(kept))
    lab.site.inside("cp", "-p", str(made), f"{place}.new")
    mark.touch()
    lab.site.inside("mv", f"{place}.new", place)
    try:
        yield lambda: not mark.exists()
    finally:
        lab.site.inside("cp", "-P", str(kept), f"{place}.new")
        lab.site.inside("mv", f"{place}.new", place)
